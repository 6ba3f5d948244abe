#include <gtest/gtest.h>

#include "base/error.h"
#include "io/gate_file.h"
#include "io/torch_file.h"
#include "io/zip.h"
#include "support/temporary.h"

namespace revenant {
namespace {

const std::vector<float> six = {0, 1, 2, 3, 4, 5};
const std::vector<uint16_t> two = {to_bf16(1.5f), to_bf16(-2)};

NamedTensor named(const std::string& name, DType type, std::vector<int64_t> shape,
                  std::span<const std::byte> data) {
  return {name, {type, std::move(shape), data}};
}

TEST(TorchWrite, ReadsBackInOrder) {
  const Temporary t;
  const Path file = t.path / "gates.pt";
  const auto a = std::as_bytes(std::span(six)), b = std::as_bytes(std::span(two));
  const std::vector<NamedTensor> written = {named("1.weight", DType::f32, {2, 3}, a),
                                            named("0.bias", DType::bf16, {2}, b),
                                            named("again", DType::f32, {2, 3}, a)};
  write_torch_file(file, written);
  const auto read = read_torch_file(file);
  ASSERT_EQ(read.size(), 3u);
  for (size_t i = 0; i < read.size(); ++i) {
    EXPECT_EQ(read[i].first, written[i].name);
    EXPECT_EQ(read[i].second.dtype, written[i].view.dtype);
    EXPECT_EQ(read[i].second.shape, written[i].view.shape);
    EXPECT_TRUE(std::equal(read[i].second.data.begin(), read[i].second.data.end(),
                           written[i].view.data.begin(), written[i].view.data.end()));
  }
}

TEST(TorchWrite, TiedTensorsShareAnAlignedStorage) {
  const Temporary t;
  const Path file = t.path / "gates.pt";
  const auto a = std::as_bytes(std::span(six)), b = std::as_bytes(std::span(two));
  write_torch_file(file, std::vector<NamedTensor>{named("x", DType::f32, {6}, a),
                                                  named("y", DType::bf16, {1, 2}, b),
                                                  named("z", DType::f32, {6}, a)});
  const MappedFile mapped(file);
  const ZipEntries entries = read_zip(mapped.bytes(), "gates");
  ASSERT_TRUE(entries.contains("gates/data/0") && entries.contains("gates/data/1"));
  EXPECT_FALSE(entries.contains("gates/data/2"));
  for (const auto& [name, data] : entries)
    EXPECT_EQ((data.data() - mapped.bytes().data()) % 64, 0) << name;
}

TEST(TorchWrite, RefusesOtherTypesAndLeavesNothing) {
  const Temporary t;
  const std::vector<int64_t> numbers = {1};
  EXPECT_THROW(write_torch_file(t.path / "a.pt",
                                std::vector<NamedTensor>{named("n", DType::i64, {1},
                                                               std::as_bytes(std::span(numbers)))}),
               Error);
  EXPECT_TRUE(std::filesystem::is_empty(t.path));
}

TEST(GateFileTest, TheLastGateCountsAndDifferingOnesAreTold) {
  const Temporary t;
  const std::vector<float> first = {1, 2}, second = {3, 4};
  const auto a = std::as_bytes(std::span(first)), b = std::as_bytes(std::span(second));
  EXPECT_FALSE(read_gate_file(t.path));
  const Path file = t.path / "trol_gating.pt";
  write_torch_file(file, std::vector<NamedTensor>{named("0.weight", DType::f32, {1, 2}, a),
                                                  named("1.weight", DType::f32, {1, 2}, a)});
  EXPECT_EQ(read_gate_file(t.path)->warning, "");
  write_torch_file(file, std::vector<NamedTensor>{named("0.weight", DType::f32, {1, 2}, a),
                                                  named("1.weight", DType::f32, {1, 2}, b)});
  const std::optional<GateFile> gate = read_gate_file(t.path);
  EXPECT_NE(gate->warning.find("trol_gating.pt"), std::string::npos);
  EXPECT_EQ(to_floats(gate->weight->view()), second);
  EXPECT_FALSE(gate->bias);
}

}  // namespace
}  // namespace revenant
