// A directory with a random model and a picture, and the program run in it.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>

#include "cli/program.h"
#include "image/image.h"
#include "support/random_checkpoint.h"

namespace revenant {

using nlohmann::json;
using Words = std::vector<std::string>;

class Cli : public testing::Test {
 protected:
  void SetUp() override {
    place_ =
        Path(testing::TempDir()) / ("cli_" + std::to_string(::getpid()) + "_" +
                                    testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(place_);
    write_random_phantom(place_ / "model", 3);
    model_ = (place_ / "model").string();
    picture_ = (place_ / "picture.png").string();
    Image picture = blank_image(120, 60);
    Random random(1);
    for (uint8_t& level : picture.rgb) level = uint8_t(random.below(256));
    write_file(picture_, encode_png(picture));
  }
  void TearDown() override { std::filesystem::remove_all(place_); }

  Outcome run(const Words& arguments, const std::string& input = "") const {
    return run_program(place_, arguments, input);
  }
  // Fails with one clear line that has `part`, and says nothing on stdout.
  void expect_failure(const Words& arguments, const std::string& part) const {
    const Outcome got = run(arguments, "hello\n");
    EXPECT_EQ(got.code, 1) << got.err;
    EXPECT_EQ(got.out, "");
    EXPECT_TRUE(got.err.starts_with("revenant: [")) << got.err;
    EXPECT_EQ(got.err.find('\n'), got.err.size() - 1) << got.err;
    EXPECT_NE(got.err.find(part), std::string::npos) << got.err;
  }
  Path weights() const { return place_ / "model" / "model.safetensors"; }

  Path place_;
  std::string model_, picture_;
};

inline bool is_utf8(const std::string& text) {
  try {
    return json(text).dump().size() > 0;
  } catch (const json::exception&) {
    return false;
  }
}

}  // namespace revenant
