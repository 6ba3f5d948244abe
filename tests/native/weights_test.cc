// A checkpoint whose tensors are not exactly the model's is refused, by name.
#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "io/checkpoint.h"
#include "native/network.h"
#include "support/golden.h"
#include "support/temporary.h"

namespace revenant {
namespace {

const Path source = Path(REVENANT_SOURCE_DIR) / "tests/conformance/data/phantom-0.5b";

// Writes the small Phantom checkpoint anew, with its tensors changed; the error that opening gives.
template <class F>
std::string error_of(const F& change) {
  const Temporary place;
  const Path& directory = place.path;
  const Checkpoint original = Checkpoint::open(source);
  std::vector<TensorSource> tensors;
  for (const auto& [tensor, view] : original.tensors())
    tensors.push_back(source_of({tensor, view}));
  change(tensors);
  write_checkpoint(directory, original.config(), tensors);
  std::string message = "none";
  try {
    Network::open(directory);
  } catch (const Error& error) {
    message = error.what();
  }
  return message;
}

TensorSource& find(std::vector<TensorSource>& tensors, const std::string& name) {
  for (TensorSource& tensor : tensors)
    if (tensor.name == name) return tensor;
  throw std::runtime_error(name);
}

const char* const norm = "language_model.model.norm.weight";

TEST(Weights, AnUnchangedCopyOpens) {
  EXPECT_EQ(error_of([](auto&) {}), "none");
}

TEST(Weights, AMissingTensorIsNamed) {
  const std::string message = error_of([](auto& tensors) {
    std::erase_if(tensors, [](const TensorSource& t) { return t.name == norm; });
  });
  EXPECT_NE(message.find(norm), std::string::npos) << message;
}

TEST(Weights, AnotherShapeIsNamedWithBoth) {
  const std::string message = error_of([](auto& tensors) {
    TensorSource& t = find(tensors, norm);
    t.shape = {1, t.shape[0]};
  });
  EXPECT_NE(message.find(norm), std::string::npos) << message;
  EXPECT_NE(message.find("expected [64], found [1, 64]"), std::string::npos) << message;
  EXPECT_NE(message.find("model.safetensors"), std::string::npos) << message;
}

TEST(Weights, AnUnusedTensorIsRefusedAndKnownOnesAreNot) {
  const auto add = [](const char* name) {
    return [name](std::vector<TensorSource>& tensors) {
      TensorSource extra = find(tensors, norm);
      extra.name = name;
      tensors.push_back(extra);
    };
  };
  const std::string message = error_of(add("language_model.model.ghost"));
  EXPECT_NE(message.find("language_model.model.ghost"), std::string::npos) << message;
  EXPECT_EQ(error_of(add("x.rotary_emb.inv_freq")), "none");
}

TEST(Weights, IntegersAreNoWeights) {
  const std::string message =
      error_of([](auto& tensors) { find(tensors, norm).dtype = DType::i32; });
  EXPECT_NE(message.find("expected F32, F16 or BF16, found I32"), std::string::npos) << message;
}

// A file may put a tensor at an address that its elements do not divide.
TEST(Weights, OddAddressesAreCopiedNotRead) {
  const Temporary place;
  const Path path = place.path / "odd";
  std::filesystem::copy(source, path);
  std::string file = golden::read_bytes(source / "model.safetensors");
  uint64_t header = 0;
  std::memcpy(&header, file.data(), 8);
  file.insert(8 + header, " ");
  ++header;
  std::memcpy(file.data(), &header, 8);
  write_file(path / "model.safetensors", file);
  const Network odd = Network::open(path), even = Network::open(source);
  const Packed &a = odd.weights.output.weight.packed, &b = even.weights.output.weight.packed;
  EXPECT_EQ(reinterpret_cast<uintptr_t>(a.data) % 4, 0u);
  EXPECT_EQ(std::memcmp(a.data, b.data, size_t(a.rows) * size_t(a.columns) * 4), 0);
}

}  // namespace
}  // namespace revenant
