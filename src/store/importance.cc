#include "store/importance.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "io/gguf.h"

namespace revenant {
namespace {

constexpr std::string_view sums_end = ".in_sum2", counts_end = ".counts";

GgufSource floats(const std::string& name, std::vector<float> values) {
  return {name, Format::f32, {1, int64_t(values.size())}, [values](const Sink& sink) {
            sink(std::as_bytes(std::span(values)));
          }};
}

std::vector<float> floats_in(const Gguf& file, const std::string& name) {
  const auto it = file.tensors().find(name);
  if (it == file.tensors().end()) file.place(name).fail("a tensor", "none");
  const GgufTensor& tensor = it->second;
  if (tensor.format != Format::f32 || tensor.data.empty())
    file.place(name).fail("numbers (F32)", "something else");
  std::vector<float> values(tensor.data.size() / sizeof(float));
  unpack_row(Format::f32, tensor.data.data(), values);
  for (const float value : values)
    if (!(value >= 0) || std::isinf(value))
      file.place(name).fail("numbers from 0 up", std::to_string(value));
  return values;
}

}  // namespace

void write_importance(const Path& file, const Importance& importance, const std::string& source) {
  std::vector<GgufSource> tensors;
  for (const auto& [name, squares] : importance) {
    tensors.push_back(
        floats(name + std::string(sums_end), {squares.sums.begin(), squares.sums.end()}));
    tensors.push_back(floats(name + std::string(counts_end), {float(squares.rows)}));
  }
  write_gguf(file,
             {{"general.type", std::string("imatrix")},
              {"imatrix.datasets", gguf_array(std::vector{source})},
              {"imatrix.chunk_count", uint32_t(1)},
              {"imatrix.chunk_size", uint32_t(1)}},
             tensors);
}

Importance read_importance(const Path& path) {
  const Gguf file(path);
  if (file.text("general.type") != "imatrix")
    file.place("general.type").fail("\"imatrix\"", "\"" + file.text("general.type") + "\"");
  Importance importance;
  for (const auto& [name, tensor] : file.tensors()) {
    if (!name.ends_with(sums_end)) continue;
    const std::string weight = name.substr(0, name.size() - sums_end.size());
    const std::vector<float> sums = floats_in(file, name),
                             counts = floats_in(file, weight + std::string(counts_end));
    // Several matrices in one tensor are a mixture of experts, which no model here has.
    if (counts.size() != 1)
      file.place(weight + std::string(counts_end))
          .fail("one number", std::to_string(counts.size()));
    if (counts[0] < 1)
      file.place(weight + std::string(counts_end)).fail("rows that were seen", "none");
    importance[weight] = {{sums.begin(), sums.end()}, int64_t(counts[0])};
  }
  if (importance.empty())
    throw Error("gguf", path.string(), "tensors NAME.in_sum2 and NAME.counts", "none");
  return importance;
}

std::vector<float> weights_of(const InputSquares& squares) {
  const double largest = std::ranges::max(squares.sums);
  std::vector<float> weights;
  for (const double sum : squares.sums)
    weights.push_back(float(std::max(sum, 1e-6 * largest) / double(squares.rows) + 1e-20));
  return weights;
}

}  // namespace revenant
