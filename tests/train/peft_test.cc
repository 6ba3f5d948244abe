// Runs of adapters as PEFT's own package reads them.
#include <numeric>

#include "io/safetensors.h"
#include "over_base.h"
#include "store/merge.h"
#include "support/program.h"

namespace revenant {
namespace {

namespace fs = std::filesystem;

using Peft = OverBase;

float farthest(const torch::Tensor& a, const torch::Tensor& b) {
  return (a - b).abs().max().item<float>();
}

// Over a Qwen2 without mechanisms, which transformers knows: logits with the adapter beside the
// weights, and the merged weights of language model and tower.
TEST_F(Peft, GivesOurLogits) {
  const char* named = std::getenv("REVENANT_PEFT_PYTHON");
  const std::string python = named ? named : venv_python;
  if (output_of(python + " -c 'import peft, transformers' 2>&1").second != 0)
    GTEST_SKIP() << python << " has no packages peft and transformers (REVENANT_PEFT_PYTHON names "
                 << "a Python that has)";
  nlohmann::json config = small_config();
  config["revenant"]["phantom"] = false;
  write_file(root_ / "plain.json", config.dump());
  Recipe base = recipe("plain");
  base.config = root_ / "plain.json";
  base.max_steps = 2;
  base.save_dtype = Recipe::SaveType::float32;
  ASSERT_TRUE(train(base));
  Recipe r = over_base("tuned");
  r.model = base.output_dir;
  r.trainable = {"projector"};
  r.lora = {{4, 8, 0}, {"language", "vision"}};
  ASSERT_TRUE(train(r));

  std::vector<int64_t> ids(24);
  std::iota(ids.begin(), ids.end(), 40);
  Step step;
  step.add(0, 0, int(ids.size()), int(ids.size()), true);
  const auto of_text = [&](const TorchModel& model) {
    const torch::NoGradGuard no_grad;
    return forward(model, step, ids, {});
  };
  const TorchModel plain = load_torch_model(r.model), tuned = adapted(r);
  const torch::Tensor ours = of_text(tuned);
  EXPECT_GT(farthest(ours, of_text(plain)), 1e-2);

  const Path theirs = root_ / "theirs";
  merge_adapter(r.model, r.output_dir, theirs);
  const TorchModel ours_merged = load_torch_model(theirs);
  fs::remove(theirs / "model.safetensors");  // config and tokenizer stay, PEFT's weights follow
  std::string command = python + " " REVENANT_SOURCE_DIR "/tools/check_peft.py read";
  for (const Path& path : {r.model, r.output_dir, theirs}) command.append(" ").append(path);
  for (const int64_t id : ids) command.append(" ").append(std::to_string(id));
  const auto [text, status] = output_of(command + " 2>&1");
  ASSERT_EQ(status, 0) << text;

  const Safetensors file(theirs / "logits.safetensors");
  const TensorView& found = file.tensors().at("logits");
  ASSERT_EQ(found.shape, (std::vector<int64_t>{24, ours.size(1)}));
  EXPECT_LE(farthest(torch::tensor(to_floats(found)).view_as(ours), ours), 1e-5);
  fs::remove(theirs / "logits.safetensors");
  const TorchModel merged = load_torch_model(theirs);
  for (const auto& [name, weight] : ours_merged.parameters)
    EXPECT_LE(farthest(weight, merged.parameters.at(name)), 1e-5) << name;
  EXPECT_LE(farthest(of_text(merged), ours), 1e-5);
  EXPECT_LE(farthest(logits(merged), logits(tuned)), 1e-5);  // with pictures: the tower's too
  EXPECT_GT(farthest(logits(merged), logits(plain)), 1e-2);
}

}  // namespace
}  // namespace revenant
