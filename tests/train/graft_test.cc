// A language model made to see says of a text what it said before.
#include "engine/graft.h"

#include "noise.h"
#include "support/plain_model.h"
#include "support/reason.h"

namespace revenant {
namespace {

namespace fs = std::filesystem;

GraftOptions with(bool phantom, bool trol) {
  GraftOptions options;
  options.phantom = phantom;
  options.trol = trol;
  options.settings = {"revenant.phantom_eta=1"};
  return options;
}

class Grafting : public Noise {
 protected:
  void SetUp() override {
    Noise::SetUp();
    nlohmann::json tower = small_config();
    tower["vision_config"]["layer_norm_eps"] = 1e-6;
    write_file(root_ / "tower.json", tower.dump());
  }
  Path file_of(const Path& directory, Format format) const {
    const Plain plain = plain_of(directory, format);
    write_gguf(root_ / "backbone.gguf", plain.keys, plain.tensors);
    return root_ / "backbone.gguf";
  }
  Path backbone(const std::string& type = "llama", bool tied = true) const {
    return write_plain_model(root_ / type, type, tied);
  }
  Graft to(const std::string& name, const Path& from, const GraftOptions& options) const {
    return graft(from, root_ / "tower.json", root_ / name, options);
  }
};

// The logits of the first `known` tokens.
std::vector<float> known_logits(const Path& model, int known) {
  const Network network = Network::open(model);
  const std::vector<float> all = logits_of(network);
  std::vector<float> some;
  for (size_t i = 0; i < all.size(); ++i)
    if (int(i % size_t(network.config.vocab)) < known) some.push_back(all[i]);
  return some;
}

TEST_F(Grafting, SaysOfATextWhatItsBackboneSaid) {
  for (const char* type : {"llama", "qwen2", "internlm2", "phi3"}) {
    const Path from = backbone(type, std::string(type) == "llama");
    const int known = Tokenizer::open(from).size();  // rows after these are spare
    const std::vector<float> expected = known_logits(from, known);
    for (const auto& [phantom, trol] :
         {std::pair(false, false), {true, false}, {false, true}, {true, true}}) {
      if (trol && std::string(type) != "llama" && std::string(type) != "qwen2")
        continue;  // the released templates want tokens that this vocabulary lacks
      const std::string name =
          std::string("of_") + type + (phantom ? "_phantom" : "") + (trol ? "_trol" : "");
      to(name, from, with(phantom, trol));
      const ModelFiles made = ModelFiles::open(root_ / name);
      EXPECT_TRUE(made.warnings().empty()) << made.warnings().front();
      EXPECT_EQ(made.config().phantom.on, phantom);
      EXPECT_EQ(made.config().trol.on, trol);
      const std::vector<float> found = known_logits(root_ / name, known);
      ASSERT_EQ(found.size(), expected.size());
      for (size_t i = 0; i < found.size(); ++i)
        ASSERT_NEAR(found[i], expected[i], 1e-4) << name << " " << i;
    }
  }
}

// A file of another writer, in blocks; the tokens that prompts with pictures want.
TEST_F(Grafting, TakesAFileInBlocksAndAddsTokens) {
  const Path from = file_of(backbone(), Format::q8_0);
  const Graft told = to("seeing", from, with(true, false));
  EXPECT_EQ(told.tokens, (std::vector<std::string>{"<img>", "</img>", "<IMG_CONTEXT>"}));
  const ModelFiles files = ModelFiles::open(root_ / "seeing"), source = ModelFiles::open(from);
  EXPECT_EQ(files.config().vocab, 303);
  EXPECT_EQ(files.config().image_token, 302);
  const Tokenizer tokenizer = Tokenizer::open(files.small()), old = Tokenizer::open(source.small());
  EXPECT_EQ(tokenizer.id_of("<img>"), 300);
  EXPECT_TRUE(tokenizer.is_special(302));
  EXPECT_EQ(tokenizer.encode("what is this<img>", Specials::as_text),
            old.encode("what is this<img>", Specials::as_text));
  EXPECT_EQ(tokenizer.encode("<img>", Specials::as_tokens), std::vector<int32_t>{300});
  const auto rows = [](const ModelFiles& of) {
    const TensorSpec spec = unique_tensors(of.config()).at("token_embd.weight");
    return floats_of(of.weight(spec), spec);
  };
  const std::vector<float> before = rows(source), after = rows(files);
  EXPECT_TRUE(std::equal(before.begin(), before.end(), after.begin()));
  double sum = 0;
  for (size_t r = 0; r < 300; ++r) sum += double(before[r * 64 + 7]);
  EXPECT_NEAR(after[300 * 64 + 7], sum / 300, 1e-6);
  EXPECT_EQ(after[302 * 64 + 7], after[300 * 64 + 7]);
}

// Rows that the backbone has to spare are used before more are made; an output matrix of its own
// grows too.
TEST_F(Grafting, UsesSpareRows) {
  const Path from = backbone("qwen2", false);
  const std::vector<std::string> specials = {"<|im_start|>", "<|im_end|>"};
  write_file(from / "tokenizer.json", train_byte_bpe({}, 258, specials));
  to("spare", from, with(false, false));
  EXPECT_EQ(ModelFiles::open(root_ / "spare").config().vocab, 300);
  EXPECT_EQ(ModelFiles::open(root_ / "spare").config().image_token,
            Tokenizer::open(from).size() + 2);
  const Path full = backbone("phi3", false);
  std::vector<std::string> more;
  for (int i = 0; i < 44; ++i) more.push_back("<more " + std::to_string(i) + ">");
  write_file(full / "tokenizer.json", train_byte_bpe({}, 300, more));
  to("full", full, with(false, false));
  const TensorSpecs specs = unique_tensors(ModelFiles::open(root_ / "full").config());
  EXPECT_EQ(specs.at("output.weight").shape[0],
            306);  // <|user|>, <|assistant|>, <|end|>, three more
  EXPECT_EQ(specs.at("output.weight").shape, specs.at("token_embd.weight").shape);
}

TEST_F(Grafting, TakesATowerWithItsWeights) {
  Recipe r = recipe("sees");
  r.max_steps = 1;
  r.save_dtype = Recipe::SaveType::float32;
  ASSERT_TRUE(train(r));
  graft(backbone(), root_ / "sees", root_ / "seeing", with(false, false));
  const ModelFiles from = ModelFiles::open(root_ / "sees"), to = ModelFiles::open(root_ / "seeing");
  const TensorSpecs before = unique_tensors(from.config()), after = unique_tensors(to.config());
  int towers = 0;
  for (const auto& [name, spec] : before)
    if (part_of(spec) == Part::vision) {
      ++towers;
      EXPECT_EQ(floats_of(from.weight(spec), spec), floats_of(to.weight(after.at(name)), spec));
    }
  EXPECT_GT(towers, 10);
  EXPECT_EQ(to.config().max_tiles, 1);
}

// Nothing is dead: one run moves mixers and gates, whose ghosts begin at zero, and the answers.
TEST_F(Grafting, FirstStepTrainsMechanisms) {
  to("seeing", backbone(), with(true, true));
  Recipe r = recipe("run");
  r.config.clear();
  r.model = root_ / "seeing";
  r.objective.kind = ObjectiveConfig::Kind::po;
  r.trainable = {"projector", "mechanism"};
  r.learning_rate = 1e-2;
  r.save_dtype = Recipe::SaveType::float32;
  ASSERT_TRUE(train(r));
  const auto lines = log_of(root_ / "run");
  EXPECT_LT(lines.back()["loss"].get<double>(), lines.front()["loss"].get<double>());
  const ModelFiles from = ModelFiles::open(root_ / "seeing"), to = ModelFiles::open(root_ / "run");
  for (const auto& [name, spec] : unique_tensors(from.config()))
    EXPECT_EQ(floats_of(from.weight(spec), spec) != floats_of(to.weight(spec), spec),
              part_of(spec) == Part::mechanism || part_of(spec) == Part::projector)
        << name;
}

// The rule is ChatML here; whoever was taught to talk otherwise is told.
TEST_F(Grafting, AnotherChatTemplateIsTold) {
  const auto told = [&](const Path& from) {
    static int number = 0;
    return graft(from, root_ / "tower.json", root_ / ("told" + std::to_string(number++)),
                 with(true, false))
        .warnings;
  };
  const std::string chatml =
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}";
  const Path from = backbone("llama", false), file = root_ / "b.gguf";
  EXPECT_TRUE(told(from).empty());  // none at all
  for (const auto& [text, warnings] :
       {std::pair(chatml, 0u), std::pair(std::string("[INST] {{ m.content }} [/INST]"), 1u)}) {
    Plain plain = plain_of(from, Format::f32);
    plain.set("tokenizer.chat_template", text);
    write_gguf(file, plain.keys, plain.tensors);
    EXPECT_EQ(told(file).size(), warnings) << text;
    write_file(from / "tokenizer_config.json", nlohmann::json{{"chat_template", text}}.dump());
    const auto of_directory = told(from);
    EXPECT_EQ(of_directory.size(), warnings) << text;
    if (warnings > 0) {
      EXPECT_TRUE(has(of_directory[0], "its chat template has no <|im_start|>"));
    }
  }
}

TEST_F(Grafting, RefusesWhatItCannotTake) {
  const Path from = backbone();
  const auto reason = [&](const Path& text, const Path& tower, const std::string& output) {
    return reason_of([&] { graft(text, tower, root_ / output, {}); });
  };
  const Path tower = root_ / "tower.json";
  fs::create_directories(root_ / "taken");
  write_file(root_ / "taken/a", "");
  EXPECT_TRUE(has(reason(from, tower, "taken"), "expected a directory that is new or empty"));
  to("seeing", from, with(true, false));
  EXPECT_TRUE(has(reason(root_ / "seeing", tower, "x"), "expected a language model alone"));
  EXPECT_TRUE(has(reason(from, from, "x"), "expected a model with an InternViT, found no tower"));
  write_file(root_ / "none.json", "{}");
  EXPECT_TRUE(
      has(reason(from, root_ / "none.json", "x"), "expected a configuration with vision_config"));
  EXPECT_FALSE(fs::exists(root_ / "x"));
}

}  // namespace
}  // namespace revenant
