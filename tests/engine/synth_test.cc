#include "engine/synth.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "engine/model.h"
#include "io/checkpoint.h"
#include "support/temporary.h"

namespace revenant {
namespace {

// A released model with its vocabulary and vision rules, but narrow and shallow.
SynthOptions small(const std::string& name) {
  SynthOptions options;
  options.threads = 1;
  const bool flat = name == "trol-1.8b" || name == "trol-7b";
  const std::string llm = flat ? "" : "llm_config.";
  const int heads = released(name).config.value("/llm_config/num_key_value_heads"_json_pointer, 2);
  options.settings = {
      llm + "hidden_size=" + (name == "phantom-3.8b" || name == "trol-3.8b" ? "384" : "64"),
      llm + "intermediate_size=64",
      llm + "num_hidden_layers=2",
      llm + "num_attention_heads=4",
      llm + "num_key_value_heads=" + (heads == 32 ? "4" : "2"),
      "vision_config.hidden_size=32",
      "vision_config.intermediate_size=32",
      "vision_config.num_hidden_layers=1",
      "vision_config.num_attention_heads=2"};
  return options;
}

std::string error_of(const Path& directory, const std::string& name, const SynthOptions& options) {
  try {
    synth(directory, released(name), options);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

class Synth : public testing::TestWithParam<std::string> {};

TEST_P(Synth, OpensAsAModelThatSpeaks) {
  const Temporary t;
  synth(t.path, released(GetParam()), small(GetParam()));
  const Model model(t.path, {{}, 1});
  EXPECT_TRUE(model.warnings().empty());
  EXPECT_GT(model.speech().tokenizer.size(), 32000);
  EXPECT_GE(model.image_token(), 32000);
  EXPECT_EQ(model.config().trol.on, std::filesystem::exists(t.path / "trol_gating.pt"));
  for (const StoredTensor& tensor : model.files().tensors())
    EXPECT_EQ(tensor.type, "BF16") << tensor.name;
}

INSTANTIATE_TEST_SUITE_P(All, Synth, testing::ValuesIn(released_names()), [](const auto& info) {
  std::string name = info.param;
  for (char& c : name) c = std::isalnum(uint8_t(c)) ? c : '_';
  return name;
});

TEST(SynthWeights, AreNormalAndNormsAreOne) {
  const Temporary t;
  synth(t.path, released("phantom-0.5b"), small("phantom-0.5b"));
  const Checkpoint checkpoint = Checkpoint::open(t.path);
  const auto values = to_floats(checkpoint.tensor("language_model.model.embed_tokens.weight"));
  double sum = 0, squares = 0, fourth = 0;
  for (const double x : values) sum += x, squares += x * x, fourth += x * x * x * x;
  const double n = double(values.size()), variance = squares / n;
  EXPECT_NEAR(sum / n, 0, 1e-4);
  EXPECT_NEAR(std::sqrt(variance), 0.02, 1e-4);
  EXPECT_NEAR(fourth / n / (variance * variance), 3, 0.02);  // of a normal distribution
  for (const float x : to_floats(checkpoint.tensor("language_model.model.norm.weight")))
    EXPECT_EQ(x, 1);
  const std::string block = "vision_model.encoder.layers.0.";
  for (const float x : to_floats(checkpoint.tensor(block + "ls1"))) EXPECT_NEAR(x, 0.1, 1e-3);
  for (const float x : to_floats(checkpoint.tensor(block + "norm1.bias"))) EXPECT_EQ(x, 0);
}

TEST(SynthWeights, DependOnSeedAndNameAlone) {
  const Temporary a, b, c;
  SynthOptions options = small("trol-1.8b");
  synth(a.path, released("trol-1.8b"), options);
  options.threads = 3;
  synth(b.path, released("trol-1.8b"), options);
  options.seed = 2;
  synth(c.path, released("trol-1.8b"), options);
  for (const char* file : {"model.safetensors", "trol_gating.pt"}) {
    EXPECT_EQ(read_file(a.path / file), read_file(b.path / file)) << file;
    EXPECT_NE(read_file(a.path / file), read_file(c.path / file)) << file;
  }
  const Checkpoint checkpoint = Checkpoint::open(a.path);
  const std::string layers = "model.layers.";
  EXPECT_NE(to_floats(checkpoint.tensor(layers + "0.attention.wo.ffn.weight")),
            to_floats(checkpoint.tensor(layers + "1.attention.wo.ffn.weight")));
}

TEST(SynthWeights, ClipKeepsItsUnusedNorm) {
  const Temporary t;
  synth(t.path, released("trol-7b"), small("trol-7b"));
  EXPECT_TRUE(Checkpoint::open(t.path).tensors().contains(
      "vit.vision_tower.vision_model.post_layernorm.weight"));
}

TEST(SynthWeights, ShardsAsTold) {
  const Temporary t;
  Released model = released("phantom-3.8b");
  model.shard_bytes = 30'000'000;
  synth(t.path, model, small("phantom-3.8b"));
  EXPECT_EQ(Checkpoint::open(t.path).files().size(), 2u);
}

TEST(SynthRoom, RefusesWithoutRoomAndLeavesNothing) {
  const Temporary t;
  SynthOptions options;  // full size: nothing may be written at all
  options.free_bytes = 16'000'000'000;
  const std::string what = error_of(t.path / "a" / "b", "phantom-7b", options);
  EXPECT_NE(what.find("bytes of free space, found 16000000000"), what.npos) << what;
  EXPECT_TRUE(std::filesystem::is_empty(t.path));
}

TEST(SynthRoom, AFailureLeavesNothing) {
  const Temporary t;
  SynthOptions options = small("trol-3.8b");
  options.on_progress = [](uint64_t done, uint64_t) {
    if (done > 1'000'000) throw Error("test", "disk", "breaks");
  };
  EXPECT_NE(error_of(t.path / "a" / "b", "trol-3.8b", options).find("breaks"), std::string::npos);
  EXPECT_TRUE(std::filesystem::is_empty(t.path));
}

TEST(SynthRoom, RefusesADirectoryWithFiles) {
  const Temporary t;
  write_file(t.path / "precious", "x");
  EXPECT_NE(error_of(t.path, "phantom-0.5b", small("phantom-0.5b")).find("empty directory"),
            std::string::npos);
  EXPECT_EQ(read_file(t.path / "precious"), "x");
}

TEST(SynthTokenizer, CopiesAnother) {
  const Temporary from, to, none;
  synth(from.path, released("phantom-1.8b"), small("phantom-1.8b"));
  write_file(from.path / "added_tokens.json", read_file(from.path / "added_tokens.json") + "\n");
  SynthOptions options = small("phantom-1.8b");
  options.tokenizer = from.path;
  synth(to.path / "x", released("phantom-1.8b"), options);
  EXPECT_EQ(read_file(from.path / "added_tokens.json"),
            read_file(to.path / "x" / "added_tokens.json"));
  options.tokenizer = none.path;
  EXPECT_NE(error_of(to.path / "y", "phantom-1.8b", options).find("tokenizer files"),
            std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(to.path / "y"));
}

}  // namespace
}  // namespace revenant
