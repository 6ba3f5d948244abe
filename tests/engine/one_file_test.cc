// A model in one GGUF file is the model of the directory that it was made from.
#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "base/json.h"
#include "base/sha256.h"
#include "engine/generate.h"
#include "engine/quantize.h"
#include "engine/traced.h"
#include "io/gguf.h"
#include "support/distance.h"
#include "support/plain_model.h"
#include "support/program.h"
#include "support/random_checkpoint.h"
#include "support/temporary.h"
#include "trace/conformance.h"
#include "trace/trace.h"

namespace revenant {
namespace {

const Path golden_root = Path(REVENANT_SOURCE_DIR) / "tests/conformance/data";

std::vector<Path> golden_models() {
  std::vector<Path> models;
  for (const auto& entry : std::filesystem::directory_iterator(golden_root))
    if (std::filesystem::exists(entry.path() / "config.json")) models.push_back(entry.path());
  return models;
}

Arrays goldens_of(const Path& directory) {
  const Safetensors file(directory / "golden.safetensors");
  Arrays arrays;
  for (const auto& [name, view] : file.tensors()) {
    Array array{view.shape, {}, {}};
    if (view.dtype == DType::f32 || view.dtype == DType::f64)
      array.floats = to_floats(view);
    else
      array.ints = to_ints(view);
    arrays[name] = std::move(array);
  }
  return arrays;
}

Arrays traced(const Path& model, const std::vector<std::string>& settings, const Arrays& inputs) {
  NativeTraced native(std::make_unique<Model>(model, ModelOptions{settings, 2, Format::f32}));
  return trace(native, inputs);
}

// Every intermediate of the authors' goldens, in both layouts, by the bit; and so the authors'
// numbers as the directory gives them.
TEST(OneFile, OfF32GivesEveryNumberOfTheDirectory) {
  int models = 0;
  for (const Path& directory : golden_models()) {
    const Temporary place;
    const auto notes = read_json(directory / "golden.json");
    const auto settings = golden_settings(notes);
    const Arrays inputs = goldens_of(directory);
    const Arrays expected = traced(directory, settings, inputs);
    for (const bool portable : {false, true}) {
      const Path file = place.path / "m.gguf";
      quantize(directory, file, quantize_type("F32"),
               {.settings = settings, .portable = portable, .threads = 2});
      const Arrays found = traced(file, {}, inputs);
      ASSERT_EQ(found.size(), expected.size());
      for (const auto& [name, array] : expected) {
        EXPECT_EQ(found.at(name).shape, array.shape) << directory << " " << name;
        EXPECT_TRUE(found.at(name).floats == array.floats) << directory << " " << name;
      }
      for (const Comparison& c :
           compare_with_golden(inputs, found, golden_notes(notes, inputs), false))
        EXPECT_LE(c.error, 1) << directory << " " << c.name;
    }
    ++models;
  }
  EXPECT_GE(models, 7);
}

// The picture's features and the logits of the authors' prompts with everything else rounded to
// f16, which leaves eleven bits: end to end, over all layers, mechanisms loud.
TEST(OneFile, OfF16StaysNearTheAuthorsNumbers) {
  for (const Path& directory : golden_models()) {
    const Temporary place;
    const auto settings = golden_settings(read_json(directory / "golden.json"));
    const Arrays inputs = goldens_of(directory);
    const Path file = place.path / "m.gguf";
    quantize(directory, file, quantize_type("F16"), {.settings = settings, .threads = 2});
    const Arrays found = traced(file, {}, inputs);
    int compared = 0;
    for (const auto& [name, array] : inputs) {
      if (!name.ends_with("/logits") || !found.contains(name) || name.starts_with("gen")) continue;
      EXPECT_LT(distance(found.at(name).floats, array.floats), 0.01) << directory << " " << name;
      ++compared;
    }
    EXPECT_GT(compared, 0) << directory;
  }
}

// Rows of 256, and rows that are no whole blocks of 256.
Path wide_model(const Path& directory, uint64_t seed = 1) {
  write_random_phantom(directory, 5);  // its tokenizer
  nlohmann::json json = read_json(directory / "config.json");
  json["llm_config"].update({{"hidden_size", 256},
                             {"intermediate_size", 320},
                             {"num_hidden_layers", 8},
                             {"num_attention_heads", 4},
                             {"num_key_value_heads", 2}});
  json["vision_config"].update({{"hidden_size", 32}, {"intermediate_size", 64}});
  write_random_checkpoint(directory, json, seed);
  return directory;
}

// Its architecture, names, shapes and, but for panels, every number, by the bit.
TEST(OneFile, PyPisGgufReadsAlike) {
  if (output_of(venv_python + " -c 'import gguf' 2>&1").second != 0)
    GTEST_SKIP() << "no package gguf in .venv (tools/install.sh test)";
  const Temporary place;
  const Path model = wide_model(place.path / "model"), file = place.path / "m.gguf";
  for (const char* type :
       {"F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_1", "Q5_0", "Q4_K_M", "Q4_1", "Q4_0"})
    for (const bool portable : {false, true}) {
      SCOPED_TRACE(std::string(type) + (portable ? " portable" : ""));
      quantize(model, file, quantize_type(type), {.portable = portable, .threads = 2});
      const auto [text, status] = output_of(
          venv_python + " " REVENANT_SOURCE_DIR "/tests/engine/read_gguf.py " + file.string());
      ASSERT_EQ(status, 0) << text;
      const auto found = nlohmann::json::parse(text);
      EXPECT_EQ(found["architecture"], "phantom");
      const Gguf ours(file);
      ASSERT_EQ(found["tensors"].size(), ours.tensors().size());
      size_t compared = 0;
      for (const auto& [name, tensor] : ours.tensors()) {
        const auto& theirs = found["tensors"][name];
        EXPECT_EQ(theirs["shape"], nlohmann::json(tensor.shape)) << name;
        if (!tensor.format) {
          EXPECT_TRUE(!portable && theirs["digest"].is_null()) << name;
          continue;
        }
        const size_t columns = size_t(tensor.shape.back()),
                     bytes = row_bytes(*tensor.format, columns);
        std::vector<float> numbers(tensor.data.size() / bytes * columns);
        for (size_t r = 0; r * bytes < tensor.data.size(); ++r)
          unpack_row(*tensor.format, tensor.data.data() + r * bytes,
                     {numbers.data() + r * columns, columns});
        EXPECT_EQ(theirs["digest"],
                  sha256_of({reinterpret_cast<const char*>(numbers.data()), 4 * numbers.size()}))
            << name;
        ++compared;
      }
      EXPECT_GT(compared, 10u);
    }
}

std::vector<const Packed*> matrices_of(const Weights<Weight>& w) {
  std::vector<const Packed*> all = {&w.embedding.packed, &w.output.weight.packed,
                                    &w.projector.up.weight.packed, &w.projector.down.weight.packed,
                                    &w.tower.patch.weight.packed};
  for (const TowerLayer<Weight>& l : w.tower.layers)
    for (const auto* linear : {&l.q, &l.k, &l.v, &l.o, &l.up, &l.down})
      all.push_back(&linear->weight.packed);
  for (const LayerWeights<Weight>& l : w.layers)
    for (const auto* linear :
         {&l.attention.q, &l.attention.k, &l.attention.v, &l.attention.o, &l.mlp.gate, &l.mlp.up,
          &l.mlp.down, &l.attention.phantom.mix_q.q, &l.attention.phantom.gate1})
      all.push_back(&linear->weight.packed);
  return all;
}

bool same_bytes(const Packed& a, const Packed& b) {
  return a.format == b.format && a.rows == b.rows && a.columns == b.columns &&
         std::memcmp(a.data, b.data, a.bytes()) == 0;
}

// The last row's logits of a prompt with a picture.
std::vector<float> logits_of(const Model& model) {
  Image picture = blank_image(56, 56);
  for (size_t i = 0; i < picture.rgb.size(); ++i) picture.rgb[i] = uint8_t(i * 31 % 251);
  const Pictures pictures = model.encode({&picture, 1});
  std::vector<int> ids = {1, 2, 3};
  ids.insert(ids.end(), size_t(pictures.features.rows), model.image_token());
  for (int i = 0; i < 20; ++i) ids.push_back(40 + i * 7 % 90);
  Session session(model);
  const Tensor last = session.feed(ids, pictures.features);
  return {last.data(), last.data() + last.size()};
}

// The tower's scales by blocks, as a directory has them whose weights are quantised while read.
class OneFileType : public testing::TestWithParam<const char*> {};

TEST_P(OneFileType, IsWhatQuantisingTheDirectoryGives) {
  const Temporary place;
  const QuantizeType& type = quantize_type(GetParam());
  const Path directory = wide_model(place.path / "m"), file = place.path / "m.gguf";
  const Model while_read(directory, {.threads = 2, .weights = type});
  const auto expected = matrices_of(while_read.native().weights);
  const std::vector<float> logits = logits_of(while_read);
  for (const bool portable : {false, true}) {
    quantize(directory, file, type, {.portable = portable, .threads = 2, .per_channel = false});
    const Model model(file, {.threads = 2});
    const auto found = matrices_of(model.native().weights);
    for (size_t i = 0; i < expected.size(); ++i)
      EXPECT_TRUE(same_bytes(*found[i], *expected[i])) << i << (portable ? " portable" : "");
    EXPECT_EQ(logits_of(model), logits);
  }
}

INSTANTIATE_TEST_SUITE_P(, OneFileType,
                         testing::Values("Q8_0", "Q6_K", "Q5_K", "Q5_K_M", "Q5_1", "Q5_0", "Q4_K",
                                         "Q4_K_M", "Q4_1", "Q4_0"),
                         [](const auto& type) { return std::string(type.param); });

// Rows too narrow for blocks, and 16 bits of another kind.
TEST(OneFile, WhatIsNotQuantisedIsTheFilesToo) {
  const Temporary place;
  const Path directory = place.path / "m", file = place.path / "m.gguf";
  write_random_phantom(directory, 5);  // F32, most rows of 16
  const std::vector<float> wide = logits_of(Model(directory, {.threads = 2}));
  for (const char* name : {"BF16", "Q8_0"}) {
    const QuantizeType& type = quantize_type(name);
    const Model while_read(directory, {.threads = 2, .weights = type});
    quantize(directory, file, type, {.threads = 2, .per_channel = false});
    // Of bf16 files it is the reader who says whether inputs are rounded too.
    const bool brain = type.most == Format::bf16;
    const Model model(file, {.threads = 2, .weights = brain ? std::optional(type) : std::nullopt});
    const auto expected = matrices_of(while_read.native().weights),
               found = matrices_of(model.native().weights);
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(expected[i]->format, found[i]->format) << name << i;
      EXPECT_TRUE(same_bytes(*found[i], *expected[i])) << name << i;
      EXPECT_EQ(expected[i]->brain_inputs, found[i]->brain_inputs) << name << i;
    }
    EXPECT_EQ(while_read.cache_types().all, model.cache_types().all);
    EXPECT_EQ(logits_of(model), logits_of(while_read));
    EXPECT_NE(logits_of(model), wide);
    EXPECT_LT(distance(logits_of(model), wide), brain ? 0.1 : 0.05) << name;
  }
}

// Of the whole model, tower and projector too, against f32: the middle one of three, which more
// bits make smaller.
TEST(OneFile, LogitsStayNearThoseOfTheDirectory) {
  const struct {
    const char* type;
    double bound;
  } bounds[] = {{"Q8_0", 0.05},   {"Q6_K", 0.13}, {"Q5_K_M", 0.22}, {"Q5_0", 0.27},
                {"Q4_K_M", 0.35}, {"Q4_K", 0.45}, {"Q4_1", 0.55},   {"Q4_0", 0.55}};
  for (const auto& [type, bound] : bounds) {
    std::vector<double> off;
    for (uint64_t seed = 1; seed <= 3; ++seed) {
      const Temporary place;
      const Path directory = wide_model(place.path / "m", seed), file = place.path / "m.gguf";
      quantize(directory, file, quantize_type(type), {.threads = 2});
      off.push_back(distance(logits_of(Model(file, {.threads = 2})),
                             logits_of(Model(directory, {.threads = 2}))));
    }
    std::sort(off.begin(), off.end());
    RecordProperty(type, std::to_string(off[1]));
    EXPECT_LT(off[1], bound) << type;
    EXPECT_GT(off[1], bound / 5) << type << ": the bound says little";
  }
}

TEST(OneFile, AnswersAsItsDirectory) {
  const Temporary place;
  write_random_phantom(place.path / "m", 5);
  write_file(place.path / "m/generation_config.json", R"({"eos_token_id": [7, 257]})");
  quantize(place.path / "m", place.path / "m.gguf", quantize_type("F32"), {.threads = 2});
  const Model directory(place.path / "m", {.threads = 2}),
      file(place.path / "m.gguf", {.threads = 2});
  EXPECT_EQ(file.cache_types().all, Format::f32);
  EXPECT_EQ(file.speech().stop_ids, directory.speech().stop_ids);
  const Image picture = blank_image(56, 56, 99);
  const auto options = [] {
    GenerateOptions o;
    o.max_new_tokens = 12;
    return o;
  }();
  EXPECT_EQ(answer(file, std::span(&picture, 1), "what is in this picture", options).text,
            answer(directory, std::span(&picture, 1), "what is in this picture", options).text);
}

TEST(OneFile, MapsItsPanelsAndPacksNothing) {
  const Temporary place;
  const Path file = place.path / "m.gguf";
  quantize(wide_model(place.path / "m"), file, quantize_type("Q4_K"), {.threads = 2});
  const Network network = Network::open(file);
  EXPECT_EQ(network.files.layout(), "panels-1");
  for (const Packed* packed : matrices_of(network.weights)) EXPECT_FALSE(packed->owner);
}

// Settings go over the file's configuration as over a directory's.
TEST(OneFile, TakesSettings) {
  const Temporary place;
  write_random_phantom(place.path / "m", 5);
  quantize(place.path / "m", place.path / "m.gguf", quantize_type("Q8_0"), {.threads = 2});
  const Network network = Network::open(place.path / "m.gguf", {"revenant.phantom_eta=0.5"});
  EXPECT_EQ(network.config.phantom.eta, 0.5);
  EXPECT_FALSE(Network::open(place.path / "m.gguf", {"revenant.phantom=false"}).config.phantom.on);
}

// A file written anew with something else in it; what opening it says.
struct Rewritten {
  GgufKeys keys;
  std::vector<GgufSource> tensors;

  GgufValue& key(const std::string& name) {
    for (auto& [key, value] : keys)
      if (key == name) return value;
    throw std::runtime_error(name);
  }
  GgufSource& tensor(const std::string& name) {
    for (GgufSource& tensor : tensors)
      if (tensor.name == name) return tensor;
    throw std::runtime_error(name);
  }
  void drop_key(const std::string& name) {
    std::erase_if(keys, [&](const auto& key) { return key.first == name; });
  }
};

template <class F>
std::string complaint(const Path& file, const F& change) {
  const Temporary place;
  const Gguf original(file);
  Rewritten r;
  for (const auto& key : original.keys())
    if (key.first != "general.alignment") r.keys.push_back(key);
  for (const auto& [name, tensor] : original.tensors())
    r.tensors.push_back({name, tensor.format, tensor.shape,
                         [data = tensor.data](const Sink& sink) { sink(data); }});
  change(r);
  write_gguf(place.path / "n.gguf", r.keys, r.tensors);
  try {
    Network::open(place.path / "n.gguf");
  } catch (const Error& error) {
    std::string text = error.what();
    const std::string prefix = (place.path / "n.gguf").string();
    for (size_t at; (at = text.find(prefix)) != text.npos;) text.replace(at, prefix.size(), "F");
    return text;
  }
  return "none";
}

// Whatever stands in a file, opening it gives a network or an Error.
TEST(OneFile, MutationsNeverCrash) {
  const Temporary place;
  write_random_phantom(place.path / "m", 5);
  Random random(3);
  int opened = 0, refused = 0;
  for (const bool portable : {false, true}) {
    quantize(place.path / "m", place.path / "m.gguf", quantize_type("Q4_0"),
             {.portable = portable, .threads = 1});
    const std::string original = read_file(place.path / "m.gguf");
    const size_t head = original.find("token_embd.weight") + 8000;  // keys, and the tensors' table
    for (int i = 0; i < 300; ++i) {
      std::string bytes = original;
      if (random.below(8) == 0) bytes.resize(random.below(bytes.size()));
      for (uint64_t flips = 1 + random.below(4); flips > 0; --flips) {
        const size_t range = std::min(head, bytes.size());
        if (range > 0) bytes[random.below(range)] ^= char(1 << random.below(8));
      }
      write_file(place.path / "n.gguf", bytes);
      try {
        Tokenizer::open(Network::open(place.path / "n.gguf").files.small());
        ++opened;
      } catch (const Error&) {
        ++refused;
      }
    }
  }
  EXPECT_GT(opened, 10);
  EXPECT_GT(refused, 100);
}

// Of both layouts and of other writers' files: keys, the tensors' table, and what they promise of
// the data behind. The reader is built with ASan and UBSan in every preset.
TEST(OneFile, ThousandsOfMutatedHeadsUnderAsan) {
  const Temporary place;
  write_random_phantom(place.path / "m", 5);
  std::string files;
  const auto add = [&](const std::string& name, const auto& write) {
    write(place.path / name);
    files += " " + (place.path / name).string();
  };
  for (const bool portable : {false, true})
    for (const char* type : {"Q4_0", "BF16"})
      add(std::string(type) + (portable ? ".portable" : ".panels"), [&](const Path& file) {
        quantize(place.path / "m", file, quantize_type(type), {.portable = portable, .threads = 1});
      });
  for (const char* type : {"llama", "qwen2", "internlm2", "phi3"})
    add(type, [&](const Path& file) {
      const Plain plain = plain_of(
          write_plain_model(place.path / (std::string("of-") + type), type, false), Format::q8_0);
      write_gguf(file, plain.keys, plain.tensors);
    });
  const auto [text, status] = output_of(REVENANT_BIN_DIR "/open_gguf 6000 1" + files + " 2>&1");
  ASSERT_EQ(status, 0) << text;
  int opened = 0, refused = 0;
  ASSERT_EQ(std::sscanf(text.c_str(), "%d %d", &opened, &refused), 2) << text;
  EXPECT_EQ(opened + refused, 6000);
  EXPECT_GT(opened, 50);
  EXPECT_GT(refused, 500);
}

TEST(OneFile, EachDisagreementIsNamed) {
  const Temporary place;
  const Path directory = wide_model(place.path / "m"), panels = place.path / "panels.gguf",
             standard = place.path / "standard.gguf";
  quantize(directory, panels, quantize_type("Q4_0"), {.threads = 2});
  quantize(directory, standard, quantize_type("Q4_0"), {.portable = true, .threads = 2});
  EXPECT_EQ(complaint(panels, [](Rewritten&) {}), "none");
  EXPECT_EQ(complaint(standard, [](Rewritten&) {}), "none");
  const std::string up = "blk.3.ffn_up.weight", norm = "output_norm.weight";
  const auto expect = [&](const Path& file, const auto& change, const std::string& text) {
    EXPECT_EQ(complaint(file, change), text);
  };
  expect(
      panels, [](Rewritten& r) { r.key("general.architecture") = std::string("gpt2"); },
      "[gguf] F: general.architecture: expected phantom, trol, phantom-trol, revenant, or llama, "
      "qwen2, internlm2 or phi3 (text only), found gpt2");
  expect(
      panels, [](Rewritten& r) { r.key("revenant.version") = uint32_t(2); },
      "[gguf] F: revenant.version: expected 1, found 2");
  expect(
      panels, [](Rewritten& r) { r.key("revenant.layout") = std::string("panels-9"); },
      "[gguf] F: revenant.layout: expected standard or panels-1, found panels-9");
  expect(
      panels, [](Rewritten& r) { r.drop_key("revenant.layout"); },
      "[gguf] F: revenant.layout: expected this key, found none");
  expect(
      panels, [](Rewritten& r) { r.drop_key("revenant.file.config.json"); },
      "[file] F: config.json: expected this part, found none");
  expect(
      panels, [](Rewritten& r) { r.key("revenant.file.config.json") = std::string("{"); },
      "[json] F: config.json: expected JSON, found parse error at line 1, column 2: syntax "
      "error while parsing object key - unexpected end of input; expected string literal");
  expect(
      panels,
      [](Rewritten& r) {
        r.key("revenant.panels.formats") = gguf_array(std::vector<std::string>{});
      },
      "[gguf] F: revenant.panels.formats: expected one for each of 66 tensors, found 0");
  expect(
      panels,
      [](Rewritten& r) {
        std::get<GgufArray>(r.key("revenant.panels.formats")).values[1] = std::string("F16");
      },
      "[gguf] F: revenant.panels.formats[1]: expected a format of blocks, found F16");
  expect(
      panels,
      [](Rewritten& r) {
        auto& names = std::get<GgufArray>(r.key("revenant.panels.tensors")).values;
        names[1] = names[0];
      },
      "[gguf] F: revenant.panels.tensors[1]: expected each tensor once, found "
      "v.blk.0.attn_q.weight again");
  expect(
      panels,
      [&](Rewritten& r) {
        std::erase_if(r.tensors, [&](const GgufSource& t) { return t.name == up; });
      },
      "[gguf] F: " + up + ": expected a tensor in panels, found none");
  expect(
      panels,
      [&](Rewritten& r) {
        GgufSource& t = r.tensor(up);
        t.shape = {64};
        t.produce = [](const Sink& sink) { sink(std::vector<std::byte>(64)); };
      },
      "[gguf] F: " + up +
          ": expected 46080 bytes (I8) of panels of Q4_0 [320, 256], found 64 bytes of I8");
  expect(
      standard,
      [&](Rewritten& r) {
        std::erase_if(r.tensors, [&](const GgufSource& t) { return t.name == norm; });
      },
      "[checkpoint] F: output_norm.weight: expected [256], found nothing");
  expect(
      standard,
      [&](Rewritten& r) {
        r.tensors.push_back(r.tensor(norm));
        r.tensors.back().name = "ghost";
      },
      "[checkpoint] F: ghost: expected only tensors of a phantom model on qwen2, found a tensor "
      "that nothing uses");
  expect(
      standard,
      [&](Rewritten& r) {
        r.tensor(norm).shape = {16, 16};
      },
      "[checkpoint] F: output_norm.weight: expected [256], found [16, 16]");
  expect(
      standard,
      [&](Rewritten& r) {
        GgufSource& t = r.tensor(norm);
        t.format = Format::q8_0;
        t.produce = [](const Sink& sink) { sink(std::vector<std::byte>(8 * 34)); };
      },
      "[weights] F: output_norm.weight: expected F32, F16 or BF16, found Q8_0");
  expect(
      standard,
      [&](Rewritten& r) {
        GgufSource& t = r.tensor(norm);
        t.format.reset();
        t.produce = [](const Sink& sink) { sink(std::vector<std::byte>(256)); };
      },
      "[weights] F: output_norm.weight: expected F32, F16 or BF16, found I8");
  EXPECT_THROW(Network::open(panels, {}, quantize_type("Q8_0")), Error);
  EXPECT_THROW(quantize(panels, place.path / "again", quantize_type("Q8_0")), Error);
  write_file(place.path / "other", "no model");
  EXPECT_THROW(Network::open(place.path / "other"), Error);
}

}  // namespace
}  // namespace revenant
