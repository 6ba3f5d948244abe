// Event files as TensorBoard's own package reads them.
#include "noise.h"
#include "support/program.h"

namespace revenant {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

using TensorBoard = Noise;

// A run that goes on three steps back: what the log says of each step stands there once.
TEST_F(TensorBoard, ReadsWhatTheLogSays) {
  if (output_of(venv_python + " -c 'import tensorboard' 2>&1").second != 0)
    GTEST_SKIP() << "no package tensorboard in .venv (tools/install.sh test)";
  Recipe r = recipe("events");
  r.eval_data = r.data, r.eval_steps = 2;
  ASSERT_TRUE(train(r));
  fs::remove_all(r.output_dir / "checkpoint-6");
  fs::remove_all(r.output_dir / "checkpoint-4");  // the best after an evaluation
  ASSERT_TRUE(train(r));
  const auto [text, status] =
      output_of(venv_python + " " REVENANT_SOURCE_DIR "/tests/train/read_events.py " +
                (r.output_dir / "tensorboard").string());
  ASSERT_EQ(status, 0) << text;
  std::map<std::string, Json> expected;
  const std::function<void(const std::string&, int, const Json&)> add =
      [&](const std::string& tag, int step, const Json& value) {
        if (value.is_number()) expected[tag].push_back({step, value.get<float>()});
        if (value.is_structured())
          for (const auto& [key, part] : value.items()) add(tag + "/" + key, step, part);
      };
  for (const Json& line : log_of(r.output_dir))
    for (const auto& [key, value] : line.items())
      if (key != "step") add("train/" + key, line["step"], value);
  EXPECT_EQ(expected.at("train/loss").size(), 6u);
  EXPECT_EQ(expected.at("train/eval_loss").size(), 3u);
  EXPECT_EQ(expected.at("train/gate/mean/1").size(), 6u);
  const Json found = Json::parse(text);
  for (const auto& [tag, values] : expected) {
    ASSERT_TRUE(found.contains(tag)) << tag;
    ASSERT_EQ(found[tag].size(), values.size()) << tag;
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_EQ(found[tag][i][0], values[i][0]) << tag;
      EXPECT_EQ(found[tag][i][1].get<float>(), values[i][1].get<float>()) << tag;
    }
  }
  EXPECT_EQ(found.at("train/images_per_second").size(), 6u);
}

}  // namespace
}  // namespace revenant
