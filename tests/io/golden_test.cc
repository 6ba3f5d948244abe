// The gate files and checkpoints of the golden data, made by several versions of torch.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/json.h"
#include "io/checkpoint.h"
#include "io/torch_file.h"
#include "support/golden_parts.h"
#include "support/temporary.h"

namespace revenant {
namespace {

using golden::conformance_root;

// Another folder may have fewer.
int least(int of_ours) { return golden::other_folder() ? 1 : of_ours; }

// The authors' loader fills one tied gate layer by layer: the last entry stays.
TEST(GoldenIo, GateFiles) {
  if (const auto why = golden::lacks("units/gating_files/expected.json")) GTEST_SKIP() << *why;
  const Path place = conformance_root() / "units" / "gating_files";
  const std::map<std::string, DType> types = {
      {"float32", DType::f32}, {"float16", DType::f16}, {"bfloat16", DType::bf16}};
  int files = 0;
  const nlohmann::json all = read_json(place / "expected.json");
  for (const auto& [name, expected] : all.items()) {
    SCOPED_TRACE(name);
    const auto tensors = read_torch_file(place / name);
    ASSERT_GE(tensors.size(), 2u);
    EXPECT_EQ(tensors[0].first, "0.weight");
    EXPECT_EQ(tensors[1].first, "0.bias");
    const auto& weight = tensors[tensors.size() - 2].second;
    const auto& bias = tensors.back().second;
    EXPECT_EQ(weight.dtype, types.at(expected["dtype"]));
    EXPECT_EQ(weight.shape,
              (std::vector<int64_t>{1, int64_t(expected["effective_weight"].size())}));
    EXPECT_EQ(bias.shape, (std::vector<int64_t>{1}));
    EXPECT_EQ(to_floats(weight.view()), expected["effective_weight"].get<std::vector<float>>());
    EXPECT_EQ(to_floats(bias.view())[0], expected["effective_bias"].get<float>());
    const bool tied = weight.data == tensors[0].second.data;
    EXPECT_EQ(tied, expected["kind"] == "shared");
    ++files;
  }
  EXPECT_GE(files, least(11));
}

// Every checkpoint opens, and what is written back holds the same bytes.
TEST(GoldenIo, Checkpoints) {
  int checkpoints = 0;
  for (const auto& entry : std::filesystem::directory_iterator(conformance_root())) {
    if (!std::filesystem::exists(entry.path() / "config.json")) continue;
    SCOPED_TRACE(entry.path());
    const Checkpoint read = Checkpoint::open(entry.path());
    EXPECT_GT(read.tensors().size(), 10u);
    const Safetensors values(entry.path() / "golden.safetensors");
    EXPECT_FALSE(values.tensors().empty());
    const Temporary copy;
    std::vector<TensorSource> sources;
    for (const auto& [name, view] : read.tensors()) sources.push_back(source_of({name, view}));
    write_checkpoint(copy.path, read.config(), sources, 200'000);
    const Checkpoint again = Checkpoint::open(copy.path);
    EXPECT_EQ(again.config(), read.config());
    ASSERT_EQ(again.tensors().size(), read.tensors().size());
    for (const auto& [name, view] : read.tensors()) {
      EXPECT_EQ(again.tensor(name).shape, view.shape) << name;
      EXPECT_TRUE(std::ranges::equal(again.tensor(name).data, view.data)) << name;
    }
    ++checkpoints;
  }
  if (checkpoints == 0 && golden::other_folder()) GTEST_SKIP() << "REVENANT_CONFORMANCE: no models";
  EXPECT_GE(checkpoints, least(7));
}

}  // namespace
}  // namespace revenant
