// `open_gguf COUNT SEED FILE...`: so often one of these models' heads, changed by mutate.h or in a
// few numbers, its tensors behind it or some of them, is opened and read whole. Built with ASan and
// UBSan in every preset: what is neither an end nor an Error ends the program. Prints how many were
// opened, and how many refused.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "fuzz/mutate.h"
#include "io/gguf.h"
#include "model/weights.h"
#include "store/model_files.h"
#include "support/temporary.h"
#include "text/tokenizer.h"

namespace revenant::fuzz {
namespace {

struct Seed {
  std::string head, data;      // keys and the table of tensors; what lies behind them
  std::vector<size_t> places;  // in the head, behind the name of each key and tensor
  Mutator mutator;
};

Seed seed_of(const Path& file, uint64_t seed) {
  const Gguf gguf(file);
  const std::string bytes = read_file(file);
  std::vector<size_t> places;
  const auto add = [&](const std::string& name) {
    places.push_back(bytes.find(name) + name.size());
  };
  for (const auto& [name, value] : gguf.keys()) add(name);
  size_t data = 0;
  for (const auto& [name, tensor] : gguf.tensors()) {
    add(name);
    data += tensor.data.size();
  }
  const std::string head = bytes.substr(0, bytes.size() - data);
  return {head, bytes.substr(head.size()), places, Mutator({head}, seed, head.size() + 4096)};
}

// One to three bits or whole numbers of types, counts, shapes, offsets and what keys say: of lists,
// which fill most of a head, the beginning.
std::string changed(const Seed& seed, Random& random) {
  constexpr size_t reach = 40;
  constexpr uint64_t numbers[] = {0,          1,          1u << 31, 1ull << 32,
                                  1ull << 62, 1ull << 63, ~0ull,    ~63ull};
  std::string head = seed.head;
  for (uint64_t changes = 1 + random.below(3); changes > 0; --changes) {
    const size_t place = seed.places[random.below(seed.places.size())] + random.below(reach),
                 at = std::min(place, head.size() - sizeof(uint64_t));
    if (random.below(2))
      head[at] ^= char(1 << random.below(8));
    else
      std::memcpy(head.data() + at, &numbers[random.below(std::size(numbers))], sizeof(uint64_t));
  }
  return head;
}

// As an executor reads it (native/weights.cc): every weight, every word.
void open_whole(const Path& file) {
  const ModelFiles files = ModelFiles::open(file);
  unsigned sum = 0;
  for (const TensorSpec& spec : tensor_table(files.config())) {
    const StoredWeight weight = files.weight(spec);
    if (weight.in_panels)
      for (const std::byte b : weight.data) sum += unsigned(b);
    else
      sum += unsigned(floats_of(weight, spec).size());
  }
  volatile unsigned read = sum;
  (void)read;
  Tokenizer::open(files.small()).encode("what is in this picture", Specials::as_tokens);
}

void run(int count, uint64_t seed, std::span<char*> files) {
  const Temporary place;
  Random random(seed);
  std::vector<Seed> seeds;
  for (const char* file : files) seeds.push_back(seed_of(file, ++seed));
  int opened = 0;
  for (int i = 0; i < count; ++i) {
    Seed& from = seeds[size_t(i) % seeds.size()];
    const Path file = place.path / "mutated.gguf";
    std::FILE* out = std::fopen(file.c_str(), "wb");
    CHECK(out != nullptr);
    const std::string head = random.below(2) ? from.mutator.next() : changed(from, random);
    std::fwrite(head.data(), 1, head.size(), out);
    const size_t whole = from.data.size(), kept = random.below(8) ? whole : random.below(whole);
    std::fwrite(from.data.data(), 1, kept, out);
    std::fclose(out);
    try {
      open_whole(file);
      ++opened;
    } catch (const Error&) {
    }
  }
  std::printf("%d %d\n", opened, count - opened);
}

}  // namespace
}  // namespace revenant::fuzz

int main(int argc, char** argv) {
  const std::span words(argv, size_t(argc));
  if (argc < 4) return 2;
  revenant::fuzz::run(std::atoi(words[1]), std::strtoull(words[2], nullptr, 10), words.subspan(3));
}
