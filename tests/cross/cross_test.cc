// Each executor is the other's test: torch in float64 is the truth for native float32, and finite
// differences taken with the native executor are the truth for autograd.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "engine/quantize.h"
#include "engine/session.h"
#include "engine/traced.h"
#include "io/torch_file.h"
#include "support/random_checkpoint.h"
#include "train/objective.h"
#include "train/traced.h"

namespace revenant {
namespace {

using Json = nlohmann::json;
const ArrayNote silent = [](Site, Note, const Array&) {};

Path scratch(const std::string& name) {
  const Path directory =
      Path(testing::TempDir()) / ("cross_" + name + "_" + std::to_string(::getpid()));
  std::filesystem::create_directories(directory);
  return directory;
}

struct Shape {
  std::string backbone = "qwen2";
  int heads = 4, kv_heads = 2, head_dim = 64, layers = 2;
  bool phantom = true, trol = false, clip = false;
  bool own = false;            // an eta to learn and a gate in every layer
  Json ways = Json::object();  // of "revenant": other ways of the mechanisms
};

Json llm_json(const Shape& s) {
  Json llm = {{"model_type", s.backbone},
              {"vocab_size", 61},
              {"hidden_size", s.heads * s.head_dim},
              {"intermediate_size", 80},
              {"num_hidden_layers", s.layers},
              {"num_attention_heads", s.heads},
              {"num_key_value_heads", s.kv_heads},
              {"max_position_embeddings", 128},
              {"rope_theta", 10000.0},
              {"rms_norm_eps", 1e-6}};
  if (s.backbone == "internlm2") llm["rope_scaling"] = {{"type", "dynamic"}, {"factor", 2.0}};
  if (s.backbone == "phi3") {
    Json shorter = Json::array(), longer = Json::array();
    for (int i = 0; i < s.head_dim / 2; ++i)
      shorter.push_back(1 + 0.01 * i), longer.push_back(1 + 0.3 * i);
    llm["rope_scaling"] = {{"type", "su"}, {"short_factor", shorter}, {"long_factor", longer}};
    llm["original_max_position_embeddings"] = 64;
  }
  return llm;
}

Json config_json(const Shape& s) {
  const Json vision = {{"hidden_size", 24},      {"intermediate_size", 40},
                       {"num_hidden_layers", 2}, {"num_attention_heads", 2},
                       {"patch_size", 14},       {"image_size", 56},
                       {"layer_norm_eps", 1e-6}};
  Json json;
  if (s.clip) {
    json = llm_json(s);
    json["model_type"] = "internlm";
    json["img_size"] = 56;
    json["image_lora_rank"] = 5;
  } else {
    json = {{"model_type", "phantom"}, {"force_image_size", 56}, {"llm_config", llm_json(s)}};
  }
  json["vision_config"] = vision;
  json["image_token_index"] = 60;
  json["revenant"] = {{"phantom", s.phantom}, {"phantom_eta", 0.3}, {"trol", s.trol}};
  if (s.own) {
    json["revenant"]["phantom_eta_learnable"] = s.phantom;
    json["revenant"]["trol_gate"] = "per_layer";
  }
  json["revenant"].update(s.ways);
  return json;
}

std::string name_of(const Shape& s) {
  return s.backbone + (s.clip ? "_clip" : "") + (s.phantom ? "_phantom" : "") +
         (s.trol ? "_trol" : "") + (s.own ? "_own" : "") + "_h" + std::to_string(s.heads) + "g" +
         std::to_string(s.kv_heads) + "d" + std::to_string(s.head_dim);
}

Array random_pixels(Random& random, int tiles) {
  Array pixels{{tiles, 3, 56, 56}, {}, {}};
  for (int i = 0; i < tiles * 3 * 56 * 56; ++i) pixels.floats.push_back(float(random.normal()));
  return pixels;
}

// Ragged sequences; the first has a picture.
struct Rows {
  Step step;
  std::vector<int> ids;
  std::vector<int64_t> labels;
};

Rows random_rows(Random& random, const Config& c, int tiles, int sequences, int longest) {
  Rows rows;
  for (int s = 0; s < sequences; ++s) {
    std::vector<int> ids;
    std::vector<uint8_t> picture;
    const int pictures = s == 0 ? tiles * c.tokens_per_tile() : 0;
    const int text = 1 + int(random.below(uint64_t(longest)));
    for (int i = 0; i < pictures + text; ++i) {
      picture.push_back(i >= 1 && i <= pictures);
      ids.push_back(picture.back() ? c.image_token : int(random.below(60)));
      rows.labels.push_back(i > pictures / 2 ? int64_t(random.below(60)) : -100);
    }
    rows.step.add(s, 0, int(ids.size()), int(ids.size()), true, picture);
    rows.ids.insert(rows.ids.end(), ids.begin(), ids.end());
  }
  return rows;
}

double largest(const std::vector<float>& values) {
  double top = 0;
  for (const float value : values) top = std::max(top, std::abs(double(value)));
  return top;
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  EXPECT_FALSE(b.empty());
  double top = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double difference = std::abs(double(a[i]) - b[i]);
    top = std::isfinite(difference) ? std::max(top, difference) : INFINITY;
  }
  return top;
}

std::unique_ptr<const Model> open_native(const Path& directory) {
  return std::make_unique<Model>(directory);
}

// Whole prompts, then the first prompt again in pieces.
void expect_native_equals_truth(const Shape& shape, uint64_t seed, int sequences, int longest) {
  SCOPED_TRACE(name_of(shape) + " seed " + std::to_string(seed));
  const Path directory = scratch(name_of(shape));
  write_random_checkpoint(directory, config_json(shape), seed);
  NativeTraced native(open_native(directory));
  TorchTraced truth(load_torch_model(directory, {}, torch::kFloat64));
  Random random(seed + 1);
  const int tiles = shape.clip ? 1 : 2;
  const Array pixels = random_pixels(random, tiles);
  const Array seen = native.see(pixels, silent), true_seen = truth.see(pixels, silent);
  EXPECT_LE(distance(seen.floats, true_seen.floats), 1e-5 * largest(true_seen.floats));
  const Rows rows = random_rows(random, native.config(), tiles, sequences, longest);
  const Array logits = native.forward(rows.step, rows.ids, &true_seen, silent);
  const Array expected = truth.forward(rows.step, rows.ids, &true_seen, silent);
  EXPECT_LE(distance(logits.floats, expected.floats), 1e-5 * largest(expected.floats));

  const auto model = open_native(directory);
  const Span first = rows.step.spans[0];
  const size_t width = size_t(logits.shape.back());
  const std::vector<float> last(logits.floats.begin() + long((first.rows - 1) * width),
                                logits.floats.begin() + long(first.rows * width));
  for (const int piece : {1, 7}) {
    Session session(*model);
    Tensor out;
    size_t used = 0;
    for (int at = 0; at < first.rows; at += piece) {
      const int count = std::min(piece, first.rows - at);
      const std::span ids(rows.ids.data() + at, size_t(count));
      const int pictures = int(std::ranges::count(ids, native.config().image_token));
      const int hidden = int(true_seen.shape.back());
      const Tensor features =
          pictures ? Tensor::from(true_seen.floats.data() + used * size_t(hidden), pictures, hidden)
                   : Tensor();
      used += size_t(pictures);
      out = session.feed(ids, features, first.rows);
    }
    EXPECT_EQ(std::vector<float>(out.data(), out.data() + out.size()), last)
        << "pieces of " << piece;
  }
  std::filesystem::remove_all(directory);
}

TEST(Cross, NativeEqualsTorchInFloat64) {
  for (const std::string backbone : {"qwen2", "internlm2", "phi3"})
    for (const bool phantom : {false, true})
      for (const bool trol : {false, true})
        expect_native_equals_truth({backbone, 4, 2, 64, 2, phantom, trol, false}, 7, 3, 40);
  expect_native_equals_truth({"internlm2", 4, 2, 64, 2, false, true, true}, 7, 3, 40);
  expect_native_equals_truth({"internlm2", 4, 2, 64, 2, true, true, true}, 7, 3, 40);
  expect_native_equals_truth({"qwen2", 4, 2, 64, 2, true, true, false, true}, 7, 3, 40);
  const Json threshold = {{"trol_threshold", 0.5}};
  expect_native_equals_truth({"qwen2", 4, 2, 64, 2, true, true, false, true, threshold}, 7, 3, 40);
}

TEST(Cross, RandomShapes) {
  Random random(20261122);
  const char* const backbones[] = {"qwen2", "internlm2", "phi3"};
  const int head_dims[] = {64, 80, 96, 128}, groups[] = {1, 2, 3, 7};
  for (int i = 0; i < 12; ++i) {
    Shape s;
    s.backbone = backbones[random.below(3)];
    s.kv_heads = 1 + int(random.below(3));
    s.heads = s.kv_heads * groups[random.below(4)];
    s.head_dim = head_dims[random.below(4)];
    s.phantom = random.below(2);
    s.trol = random.below(2);
    expect_native_equals_truth(s, random.next() % 1000, 1 + int(random.below(5)),
                               i % 3 == 0 ? 300 : 60);
  }
}

const Json phantom_ways[] = {{{"phantom_anchor", "learned"}},
                             {{"phantom_anchor", "own"}},
                             {{"phantom_anchor", "own"}, {"phantom_widen", false}},
                             {{"phantom_mixing", "sum"}},
                             {{"phantom_mixing", "mean"}}};
const Json trol_ways[] = {
    {{"trol_mixing", "constant"}}, {{"trol_mixing", "uniform"}}, {{"trol_mixing", "second"}}};

TEST(Cross, OtherWaysOfTheMechanisms) {
  for (const Json& ways : phantom_ways) {
    SCOPED_TRACE(ways.dump());
    expect_native_equals_truth({"qwen2", 4, 2, 64, 2, true, false, false, false, ways}, 7, 3, 40);
  }
  for (const Json& ways : trol_ways) {
    SCOPED_TRACE(ways.dump());
    expect_native_equals_truth({"phi3", 4, 2, 64, 2, false, true, false, false, ways}, 7, 3, 40);
  }
}

// What a layer of one prompt notes. The weights up to the anchors do not depend on the way.
class Noted {
 public:
  Noted(bool phantom, bool trol, const Json& ways = Json::object(), int first_token = 3) {
    const Path directory = scratch("ways");
    const Shape shape{"qwen2", 4, 2, 16, 1, phantom, trol, false, false, ways};
    write_random_checkpoint(directory, config_json(shape), 5);
    NativeTraced native(open_native(directory));
    Step step;
    step.add(0, 0, 5, 5, true);
    const std::vector<int> ids = {first_token, 9, 14, 9, 27};
    native.forward(step, ids, nullptr, [&](Site site, Note note, const Array& array) {
      notes_[{site.pass, note}] = array.floats;
    });
    std::filesystem::remove_all(directory);
  }
  const std::vector<float>& operator()(Note note, int pass = 1) const {
    return notes_.at({pass, note});
  }

 private:
  std::map<std::pair<int, Note>, std::vector<float>> notes_;
};

std::vector<float> rows_from_second(const std::vector<float>& all) {
  return {all.begin() + long(all.size() / 5), all.end()};
}

// A row's ghosts know the first row, constants, or nothing but the row.
TEST(Cross, AnchorsAreWhatTheirNamesSay) {
  for (const auto& [anchor, knows] :
       std::map<std::string, bool>{{"first", true}, {"learned", false}, {"own", false}}) {
    SCOPED_TRACE(anchor);
    const Json ways = {{"phantom_anchor", anchor}};
    const Noted one(true, false, ways), other(true, false, ways, 4);
    for (const Note ghost : {Note::q_ghost, Note::k_ghost, Note::v_ghost}) {
      EXPECT_EQ(rows_from_second(one(ghost)) != rows_from_second(other(ghost)), knows);
      EXPECT_NE(one(ghost), other(ghost));
    }
  }
  // The token of rows 1 and 3 is the same: their values' ghosts are, by whatever anchor. Of `own`
  // row 0 is its own anchor, as it is of `first`.
  const auto row = [](const std::vector<float>& all, size_t r) {
    const size_t width = all.size() / 5;
    return std::vector(all.begin() + long(r * width), all.begin() + long((r + 1) * width));
  };
  const Noted first(true, false, {{"phantom_anchor", "first"}}),
      own(true, false, {{"phantom_anchor", "own"}}),
      learned(true, false, {{"phantom_anchor", "learned"}});
  EXPECT_EQ(row(own(Note::v_ghost), 1), row(own(Note::v_ghost), 3));
  EXPECT_EQ(row(own(Note::v_ghost), 0), row(first(Note::v_ghost), 0));
  EXPECT_NE(row(own(Note::v_ghost), 1), row(first(Note::v_ghost), 1));
  EXPECT_NE(row(learned(Note::v_ghost), 0), row(first(Note::v_ghost), 0));
}

// The halves are what they are; only what is made of them differs.
TEST(Cross, HalvesAreMixedAsTheWaySays) {
  const Noted gated(true, false), sum(true, false, {{"phantom_mixing", "sum"}}),
      mean(true, false, {{"phantom_mixing", "mean"}});
  EXPECT_EQ(gated(Note::o2), sum(Note::o2));
  const std::vector<float>&whole = sum(Note::attn_output), &half = mean(Note::attn_output);
  for (size_t i = 0; i < whole.size(); ++i) EXPECT_NEAR(half[i], whole[i] / 2, 1e-6);
  EXPECT_GT(distance(whole, gated(Note::attn_output)), 1e-3);
}

TEST(Cross, AnAdapterDoesNotWiden) {
  const Json own = {{"phantom_anchor", "own"}},
             adapter = {{"phantom_anchor", "own"}, {"phantom_widen", false}};
  const Noted wide(true, false, own), narrow(true, false, adapter);
  EXPECT_EQ(wide(Note::q_ghost), narrow(Note::q_ghost));
  EXPECT_GT(distance(wide(Note::o1), narrow(Note::o1)), 1e-4);
  Json none = adapter;
  none["phantom_eta"] = 0.0;
  const Noted plain(false, false), silent_one(true, false, none);
  EXPECT_LE(distance(silent_one(Note::attn_output), plain(Note::attn_output)), 1e-6);
}

TEST(Cross, PassesAreMixedAsTheWaySays) {
  const Noted constant(false, true, {{"trol_mixing", "constant"}});
  const std::vector<float>& gate = constant(Note::trol_gate, 2);
  EXPECT_EQ(std::set(gate.begin(), gate.end()).size(), 1u);
  EXPECT_NE(gate[0], 0.5f);
  const Noted uniform(false, true, {{"trol_mixing", "uniform"}}),
      second(false, true, {{"trol_mixing", "second"}}), gated(false, true);
  EXPECT_EQ(std::set(uniform(Note::trol_gate, 2).begin(), uniform(Note::trol_gate, 2).end()),
            std::set{0.5f});
  EXPECT_GT(std::set(gated(Note::trol_gate, 2).begin(), gated(Note::trol_gate, 2).end()).size(),
            1u);
  EXPECT_LE(distance(second(Note::output), second(Note::pass2, 2)), 1e-5);
  EXPECT_GT(distance(second(Note::pass1), second(Note::pass2, 2)), 1e-2);
  const std::vector<float>&once = uniform(Note::pass1), &twice = uniform(Note::pass2, 2);
  for (size_t i = 0; i < once.size(); ++i)
    EXPECT_NEAR(uniform(Note::output)[i], (once[i] + twice[i]) / 2, 1e-5);
}

// A cache, row by row, against whole forwards: `trace` on an executor with one and on one without.
// Phi-3's rule changes within the answer, at 64 tokens.
TEST(Cross, GreedyContinuationsAgree) {
  constexpr int prompt = 61, made = 6;
  for (const Shape& shape : {Shape{"qwen2", 4, 2, 64, 2, true, false, false},
                             Shape{"internlm2", 4, 2, 64, 2, false, true, true},
                             Shape{"phi3", 4, 2, 64, 2, true, true, false}}) {
    SCOPED_TRACE(name_of(shape));
    const Path directory = scratch("greedy");
    write_random_checkpoint(directory, config_json(shape), 3);
    NativeTraced native(open_native(directory));
    TorchTraced truth(load_torch_model(directory, {}, torch::kFloat64));
    Random random(4);
    Array ids{{1, prompt}, {}, {}};
    for (int i = 0; i < prompt; ++i) ids.ints.push_back(int64_t(random.below(60)));
    const Arrays inputs = {{"text/input_ids", ids}};
    const Arrays mine = trace(native, inputs, made), theirs = trace(truth, inputs, made);
    EXPECT_EQ(theirs.at("text/gen_tokens").shape, (std::vector<int64_t>{1, made}));
    EXPECT_EQ(mine.at("text/gen_tokens").ints, theirs.at("text/gen_tokens").ints);
    const std::vector<float>& expected = theirs.at("text/gen_logits").floats;
    EXPECT_LE(distance(mine.at("text/gen_logits").floats, expected), 1e-5 * largest(expected));
    std::filesystem::remove_all(directory);
  }
}

// The loss of a model directory on the native executor, summed in double.
class NativeLoss {
 public:
  NativeLoss(const Path& directory, const Rows& rows, const Array& pixels)
      : directory_(directory), rows_(rows), pixels_(pixels) {}
  double operator()() const {
    NativeTraced native(open_native(directory_));
    const Array features = native.see(pixels_, silent);
    const Array logits = native.forward(rows_.step, rows_.ids, &features, silent);
    return answer_loss(logits, rows_.labels);
  }

 private:
  const Path& directory_;
  const Rows& rows_;
  const Array& pixels_;
};

void write_model(const Path& directory, const Json& config,
                 const std::map<std::string, torch::Tensor>& parameters) {
  TorchModel model;
  model.config_json = config;
  model.config = parse_config(config, "test");
  model.specs = unique_tensors(model.config);
  model.parameters = parameters;
  save_torch_model(model, directory, DType::f32);
}

// Central differences along one random direction a parameter, with steps chosen for a loss change
// of about 1e-3, where neither rounding nor curvature matters at the 1 % asked for; two step sizes
// (Richardson) remove the third-order term.
void expect_gradients(const Shape& shape) {
  SCOPED_TRACE(name_of(shape) + " " + shape.ways.dump());
  const Path directory = scratch("gradients");
  Json config = config_json(shape);
  config["revenant"]["phantom_eta"] = 1.0;  // the mixers' slopes must stand above float32's noise
  write_random_checkpoint(directory, config, 11, [](const TensorSpec& spec, auto& values) {
    if (spec.name.find(".anchor_") != spec.name.npos)
      for (float& value : values) value *= 8;  // as large as heads are
  });
  TorchModel model = load_torch_model(directory, {}, torch::kFloat64);
  Random random(12);
  const Array pixels = random_pixels(random, shape.clip ? 1 : 2);
  const Rows rows = random_rows(random, model.config, shape.clip ? 1 : 2, 3, 12);
  TorchBatch batch;
  batch.step = rows.step, batch.ids = {rows.ids.begin(), rows.ids.end()};
  batch.labels = rows.labels;
  batch.pixels = torch::tensor(pixels.floats).view(pixels.shape).to(torch::kFloat64);
  mean_loss(objective_of({}), model, batch).backward();
  const NativeLoss loss(directory, rows, pixels);
  int checked = 0, at_random = 0;
  for (const auto& [name, parameter] : model.parameters) {
    if (name.starts_with("v.") && name.ends_with("attn_k.bias") && shape.clip)
      continue;  // zero in exact arithmetic
    std::vector<double> values;
    for (int64_t i = 0; i < parameter.numel(); ++i) values.push_back(random.normal());
    const torch::Tensor direction = torch::tensor(values, torch::kFloat64).view(parameter.sizes());
    const torch::Tensor gradient = parameter.grad();
    if (gradient.norm().item<double>() < 1e-6) continue;
    // At random; where that slope would not stand above the rounding noise, along the gradient as
    // much as at random, which sees less of an error that is orthogonal to it. Both uphill: they
    // must not cancel.
    const bool uphill = (gradient * direction).sum().item<double>() > 0;
    const torch::Tensor chance = (uphill ? direction : -direction) / direction.norm();
    const double reach = 0.06 * (1e-3 + parameter.detach().norm().item<double>());
    const bool steep = std::abs((gradient * chance).sum().item<double>()) * reach > 1e-4;
    at_random += steep;
    const torch::Tensor mixed = steep ? chance : chance + gradient / (gradient.norm() + 1e-30);
    const double slope = std::abs((gradient * mixed).sum().item<double>());
    const double size = std::min(5e-4 / slope, reach);
    const auto difference = [&](double step) {
      auto moved = model.parameters;
      const torch::Tensor plus =
          (parameter.detach() + step * mixed).to(torch::kFloat32).to(torch::kFloat64);
      const torch::Tensor minus =
          (parameter.detach() - step * mixed).to(torch::kFloat32).to(torch::kFloat64);
      const double expected =
          (gradient * (plus - minus)).sum().item<double>();  // of what was really moved
      moved[name] = plus;
      write_model(directory, config, moved);
      const double high = loss();
      moved[name] = minus;
      write_model(directory, config, moved);
      return std::pair(high - loss(), expected);
    };
    const auto [wide, wide_expected] = difference(size);
    const auto [narrow, narrow_expected] = difference(size / 2);
    const double found = (8 * narrow - wide), expected = (8 * narrow_expected - wide_expected);
    EXPECT_NEAR(found, expected, 0.01 * std::abs(expected)) << name;
    EXPECT_GT(expected, 0) << name;
    ++checked;
  }
  EXPECT_GE(checked, int(model.parameters.size()) * 9 / 10);
  EXPECT_GE(at_random, checked / 2);
  std::filesystem::remove_all(directory);
}

TEST(Cross, AutogradEqualsFiniteDifferences) {
  expect_gradients({"qwen2", 4, 2, 16, 2, true, false, false});
  expect_gradients({"phi3", 2, 2, 16, 1, false, true, false});
  expect_gradients({"internlm2", 4, 2, 16, 1, true, true, true});
  expect_gradients({"qwen2", 4, 2, 16, 1, true, true, false, true});
  expect_gradients({"qwen2", 4, 2, 16, 1, true, false, false, false, phantom_ways[0]});
  expect_gradients({"qwen2", 4, 2, 16, 1, true, false, false, false, phantom_ways[2]});
}

// What `conformance --backend torch` is held to: a gradient and its AdamW steps of every parameter.
TEST(Cross, TorchTracesItsTraining) {
  const Path directory = scratch("training");
  write_random_checkpoint(directory, config_json({"qwen2", 4, 2, 16, 1, true, true, false}), 6);
  const TorchModel model = load_torch_model(directory, {}, torch::kFloat64);
  TorchTraced torch_traced(model);
  Random random(7);
  const int tiles = 1, rows = tiles * model.config.tokens_per_tile() + 6;
  Array ids{{1, rows}, {}, {}}, ones{{1, rows}, {}, {}};
  for (int i = 0; i < rows; ++i) {
    ids.ints.push_back(i < rows - 6 ? model.config.image_token : i);
    ones.ints.push_back(1);
  }
  const Arrays found = trace(torch_traced, {{"train/pixel_values", random_pixels(random, tiles)},
                                            {"train/input_ids", ids},
                                            {"train/attention_mask", ones},
                                            {"train/labels", ids}});
  EXPECT_TRUE(torch_traced.has_autograd());
  for (const auto& [name, parameter] : as_stored(model, model.parameters))
    for (const std::string kind : {"grad/", "adamw_wd0/param_after/", "adamw_wd0.01/param_after/"})
      EXPECT_EQ(found.at("train/" + kind + name).floats.size(), size_t(parameter.numel()));
  std::filesystem::remove_all(directory);
}

// One file serves both executors, with the same numbers.
TEST(Cross, OneFileIsReadAlike) {
  const Path directory = scratch("one_file");
  Shape shape;
  shape.trol = true;
  write_random_checkpoint(directory, config_json(shape), 8);
  for (const char* type : {"F32", "Q4_K"})
    for (const bool portable : {false, true}) {
      const Path file = directory / "m.gguf";
      quantize(directory, file, quantize_type(type), {.portable = portable, .threads = 2});
      const TorchModel model = load_torch_model(file);
      const Network network = Network::open(file);
      const Packed& up = network.weights.layers[1].mlp.up.weight.packed;
      std::vector<float> row(size_t(up.columns));
      const torch::Tensor parameter = model.parameters.at("blk.1.ffn_up.weight");
      for (const int r : {0, 17, up.rows - 1}) {
        up.unpack_row(r, row.data());
        EXPECT_TRUE(torch::equal(parameter[r], torch::tensor(row))) << type << " " << r;
      }
      const bool exact = std::string(type) == "F32";
      const TorchModel original = load_torch_model(directory);
      EXPECT_EQ(torch::equal(parameter, original.parameters.at("blk.1.ffn_up.weight")), exact);
      EXPECT_TRUE(torch::equal(model.parameters.at("blk.1.mix_q_q.weight"),
                               original.parameters.at("blk.1.mix_q_q.weight")));
    }
  std::filesystem::remove_all(directory);
}

// Both loaders take the last gate of the file, and tell that the gates differ.
TEST(Cross, GateFilesAreReadAlike) {
  const Path directory = scratch("gates");
  Shape shape;
  shape.phantom = false, shape.trol = true;
  write_random_checkpoint(directory, config_json(shape), 5);
  const Config config = parse_config(config_json(shape), "test");
  const std::string weight = stored_name(config, "trol_gate.weight");
  std::vector<TensorSource> kept;
  const Checkpoint whole = Checkpoint::open(directory);
  for (const auto& [name, view] : whole.tensors())
    if (name != weight && name != stored_name(config, "trol_gate.bias"))
      kept.push_back(source_of({name, view}));
  const Path place = directory / "without";
  write_checkpoint(place, whole.config(), kept);
  const std::vector<float> first(256, 0.5f), last(256, -0.25f), bias = {0.125f};
  const auto row = [](const std::string& name, const std::vector<float>& values) {
    const std::vector<int64_t> shape =
        name.ends_with("bias") ? std::vector<int64_t>{1} : std::vector<int64_t>{1, 256};
    return NamedTensor{name, {DType::f32, shape, std::as_bytes(std::span(values))}};
  };
  write_torch_file(place / "trol_gating.pt",
                   std::vector<NamedTensor>{row("0.weight", first), row("0.bias", bias),
                                            row("1.weight", last), row("1.bias", bias)});
  const Network native = Network::open(place);
  const TorchModel torch_model = load_torch_model(place);
  ASSERT_EQ(native.warnings.size(), 1u);
  EXPECT_EQ(torch_model.warnings, native.warnings);
  const torch::Tensor& taken = torch_model.parameters.at("trol_gate.weight");
  EXPECT_EQ(taken.min().item<float>(), -0.25f);
  EXPECT_EQ(taken.max().item<float>(), -0.25f);
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace revenant
