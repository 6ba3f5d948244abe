// What torchrun says, and who keeps which moments.
#include "train/ranks.h"

#include <cstdlib>

#include "noise.h"
#include "train/optimizer.h"

namespace revenant {
namespace {

class Variables : public testing::Test {
 protected:
  static constexpr const char* kNames[] = {"RANK",        "WORLD_SIZE",  "LOCAL_RANK",
                                           "MASTER_ADDR", "MASTER_PORT", "LOCAL_WORLD_SIZE"};
  void SetUp() override { TearDown(); }
  void TearDown() override {
    for (const char* name : kNames) ::unsetenv(name);
  }
  static std::string refusal() {
    try {
      rank_place();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
};

TEST_F(Variables, SayWhereARankStands) {
  EXPECT_EQ(rank_place().size, 1);
  const char* values[] = {"3", "4", "1", "10.0.0.7", "29500", "2"};
  for (size_t i = 0; i < std::size(values); ++i) ::setenv(kNames[i], values[i], 1);
  const RankPlace place = rank_place();
  EXPECT_EQ(place.rank, 3);
  EXPECT_EQ(place.size, 4);
  EXPECT_EQ(place.local_rank, 1);
  EXPECT_EQ(place.local_size, 2);
  EXPECT_EQ(place.address, "10.0.0.7");
  EXPECT_EQ(place.port, 29500);
}

TEST_F(Variables, AreRefusedByName) {
  ::setenv("RANK", "0", 1);
  EXPECT_PRED2(has, refusal(), "WORLD_SIZE: expected a whole number");
  ::setenv("WORLD_SIZE", "two", 1);
  EXPECT_PRED2(has, refusal(), "found \"two\"");
  ::setenv("WORLD_SIZE", "2", 1);
  EXPECT_PRED2(has, refusal(), "MASTER_ADDR: expected a host's name");
  ::setenv("MASTER_ADDR", "localhost", 1);
  EXPECT_PRED2(has, refusal(), "MASTER_PORT: expected a whole number from 1 to 65535");
  ::setenv("MASTER_PORT", "29500", 1);
  EXPECT_EQ(refusal(), "");
  ::setenv("RANK", "2", 1);
  EXPECT_PRED2(has, refusal(), "RANK: expected a whole number from 0 to 1");
}

using Owners = Noise;

TEST_F(Owners, EachWeightHasOneAndNoneHasMuchMore) {
  const TorchModel model = init_torch_model(small_config_with_ids(), 1);
  for (auto& [name, parameter] : model.parameters) parameter.requires_grad_(true);
  const std::map<std::string, int> owners = owners_of(model, 3);
  EXPECT_EQ(owners.size(), trained(model).size());
  std::vector<int64_t> values(3, 0);
  int64_t all = 0, largest = 0;
  for (const auto& [name, owner] : owners) {
    const int64_t size = model.parameters.at(name).numel();
    values.at(size_t(owner)) += size;
    all += size;
    largest = std::max(largest, size);
  }
  for (const int64_t own : values) EXPECT_LE(own, all / 3 + largest);
}

}  // namespace
}  // namespace revenant
