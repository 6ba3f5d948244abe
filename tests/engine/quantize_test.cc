#include "engine/quantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "engine/model.h"
#include "engine/synth.h"
#include "io/gate_file.h"
#include "io/gguf.h"
#include "store/model_files.h"
#include "support/random_checkpoint.h"
#include "support/temporary.h"
#include "text/tokenizer.h"
#include "trace/conformance.h"

namespace revenant {
namespace {

const Path golden = Path(REVENANT_SOURCE_DIR) / "tests/conformance/data";

std::vector<TensorSpec> unique(const Config& config) {
  std::vector<TensorSpec> specs;
  std::set<std::string> seen;
  for (const TensorSpec& spec : tensor_table(config))
    if (seen.insert(spec.name).second) specs.push_back(spec);
  return specs;
}

// The weight as the checkpoint has it, taken out of what it is fused with.
std::vector<float> stored_numbers(const TensorSpec& spec, const std::vector<float>& all) {
  const int64_t width = spec.shape.size() == 1 ? 1 : spec.shape.back();
  std::vector<float> numbers;
  for (int64_t r = 0; r < TensorSpec::count(spec.shape) / width; ++r) {
    const auto row = all.begin() + spec.rows(r) * width;
    numbers.insert(numbers.end(), row, row + width);
  }
  return numbers;
}

struct Original {
  Checkpoint checkpoint;
  Config config;
  std::optional<GateFile> gate_file;
  Original(const Path& directory, const std::vector<std::string>& settings)
      : checkpoint(Checkpoint::open(directory)),
        config(parse_config(with_settings(checkpoint.config(), settings), "it")) {
    if (const std::string stem = stored_gate(config); !stem.empty())
      gate_file = gate_beside(checkpoint, stem);
  }
  TensorView view(const TensorSpec& spec) const {
    if (gate_file)
      for (const auto& [name, view] : gate_file->tensors(stored_gate(config)))
        if (name == spec.stored) return view;
    return checkpoint.tensor(spec.stored);
  }
};

void expect_near(const TensorSpec& spec, const GgufTensor& tensor, const std::vector<float>& x) {
  const size_t width = size_t(spec.shape.back()), bytes = row_bytes(*tensor.format, width);
  std::vector<float> row(width);
  for (size_t r = 0; r < x.size() / width; ++r) {
    unpack_row(*tensor.format, tensor.data.data() + r * bytes, row);
    const auto begin = x.begin() + long(r * width);
    float largest = 0;
    for (size_t i = 0; i < width; ++i) largest = std::max(largest, std::abs(begin[long(i)]));
    for (size_t i = 0; i < width; ++i)
      ASSERT_LE(std::abs(row[i] - begin[long(i)]), info(*tensor.format).error * largest + 1e-30)
          << spec.name << " " << info(*tensor.format).name << " " << r << " " << i;
  }
}

class Quantize : public testing::TestWithParam<const char*> {};

TEST_P(Quantize, HoldsEveryWeightOfEveryModel) {
  const QuantizeType& type = quantize_type(GetParam());
  int models = 0;
  for (const auto& entry : std::filesystem::directory_iterator(golden)) {
    if (!std::filesystem::exists(entry.path() / "config.json")) continue;
    const Temporary place;
    const auto settings = golden_settings(read_json(entry.path() / "golden.json"));
    quantize(entry.path(), place.path / "m.gguf", type,
             {.settings = settings, .portable = true, .threads = 1});
    const Gguf file(place.path / "m.gguf");
    const Original original(entry.path(), settings);
    const auto specs = unique(original.config);
    EXPECT_EQ(file.tensors().size(), specs.size()) << entry.path();
    for (const TensorSpec& spec : specs) {
      const GgufTensor& tensor = file.tensors().at(spec.name);
      EXPECT_EQ(tensor.shape, spec.shape) << spec.name;
      expect_near(spec, tensor, stored_numbers(spec, to_floats(original.view(spec))));
    }
    const std::string& config = file.text("revenant.file.config.json");
    EXPECT_EQ(settings.empty(), config == read_file(entry.path() / "config.json"));
    EXPECT_EQ(parse_json(config, {"it", "it"}),
              with_settings(original.checkpoint.config(), settings));
    const std::string kind = original.config.phantom.on ? "phantom" : "trol";
    EXPECT_EQ(file.text("general.architecture"), kind);
    EXPECT_EQ(file.integer(kind + ".block_count"), original.config.layers);
    EXPECT_EQ(file.integer("general.file_type"), int64_t(type.file_type));
    ++models;
  }
  EXPECT_GE(models, 7);
}

// A file's architecture says which mechanisms it has, and it opens as what it was.
TEST(QuantizeKinds, BothMechanismsAndNone) {
  for (const auto& [phantom, trol, name] :
       {std::tuple{true, true, "phantom-trol"}, {false, false, "revenant"}}) {
    const Temporary place;
    write_random_phantom(place.path / "m", 3);
    nlohmann::json config = read_json(place.path / "m/config.json");
    config["revenant"] = {{"phantom", phantom}, {"trol", trol}};
    write_random_checkpoint(place.path / "m", config, 5);
    quantize(place.path / "m", place.path / "m.gguf", quantize_type("Q8_0"), {.threads = 1});
    EXPECT_EQ(Gguf(place.path / "m.gguf").text("general.architecture"), name);
    const Config read = ModelFiles::open(place.path / "m.gguf").config();
    EXPECT_EQ(read.phantom.on, phantom);
    EXPECT_EQ(read.trol.on, trol);
  }
}

INSTANTIATE_TEST_SUITE_P(Types, Quantize, testing::Values("F32", "BF16", "Q8_0", "Q4_K_M", "Q4_0"),
                         [](const auto& type) { return std::string(type.param); });

// A wide model, whose rows hold the blocks of every format.
Path wide_model(const Temporary& place) {
  SynthOptions options;
  options.threads = 1;
  options.settings = {"llm_config.hidden_size=256",          "llm_config.intermediate_size=512",
                      "llm_config.num_hidden_layers=8",      "llm_config.num_attention_heads=4",
                      "llm_config.num_key_value_heads=2",    "vision_config.hidden_size=32",
                      "vision_config.intermediate_size=32",  "vision_config.num_hidden_layers=1",
                      "vision_config.num_attention_heads=2", "llm_config.vocab_size=151674"};
  synth(place.path / "m", released("phantom-0.5b"), options);
  return place.path / "m";
}

// What becomes what, by name: a mixture gives more bits where llama.cpp's does (layers 0, 3, 6, 7 -
// every third after the first eighth - and 7 of 8).
TEST(QuantizeFormats, ByRole) {
  const Temporary place;
  const Config c = parse_config(read_json(wide_model(place) / "config.json"), "it");
  const auto formats_of = [&](const char* type) {
    std::map<std::string, Format> formats;
    for (const TensorSpec& spec : unique(c))
      formats[spec.name] = format_for(quantize_type(type), c, spec, Format::bf16);
    return formats;
  };
  const auto mixed = formats_of("q4_k_m"), plain = formats_of("Q4_K"), half = formats_of("F16");
  const auto more = formats_of("Q5_K_M");
  for (const char* tensor : {".ffn_down.weight", ".attn_v.weight"})
    for (int layer = 0; layer < 8; ++layer) {
      const bool sensitive = std::set{0, 3, 6, 7}.contains(layer);
      const std::string name = "blk." + std::to_string(layer) + tensor;
      EXPECT_EQ(mixed.at(name), sensitive ? Format::q6_k : Format::q4_k) << name;
      EXPECT_EQ(more.at(name), sensitive ? Format::q6_k : Format::q5_k) << name;
    }
  EXPECT_EQ(mixed.at("blk.0.ffn_up.weight"), Format::q4_k);
  EXPECT_EQ(plain.at("blk.0.ffn_down.weight"), Format::q4_k);
  for (const auto& [name, format] :
       {std::pair("blk.0.attn_norm.weight", Format::f32),
        {"blk.0.attn_q.bias", Format::f32},
        {"v.class_embd", Format::f32},
        {"v.blk.0.ls1", Format::f32},
        {"blk.0.mix_q_q.weight", Format::bf16},
        {"blk.0.phantom_gate1.weight", Format::bf16},
        {"v.patch_embd.weight", Format::bf16},
        {"v.blk.0.ffn_up.weight", Format::q8_0},
        {"mm.2.weight", Format::q8_0},
        {c.tied_output ? "token_embd.weight" : "output.weight", Format::q6_k}})
    EXPECT_EQ(plain.at(name), format) << name;
  EXPECT_EQ(half.at("v.blk.0.ffn_up.weight"), Format::f16);
  EXPECT_EQ(half.at("blk.0.mix_q_q.weight"), Format::bf16);
}

TEST(QuantizeFile, IsTheSameForAnyNumberOfThreadsAndSpeaks) {
  const Temporary place;
  write_random_phantom(place.path / "m", 5);
  for (const int threads : {1, 3})
    quantize(place.path / "m", place.path / std::to_string(threads), quantize_type("Q4_0"),
             {.threads = threads});
  EXPECT_EQ(read_file(place.path / "1"), read_file(place.path / "3"));
  const Gguf file(place.path / "1");
  const std::string json = file.text("revenant.file.tokenizer.json");
  const FileSet files(place.path / "1", {{"tokenizer.json", json}});
  EXPECT_EQ(Tokenizer::open(files).encode("what is", Specials::as_text),
            Tokenizer::open(place.path / "m").encode("what is", Specials::as_text));
}

std::string complaint(const Path& directory, const Path& file, const char* type) {
  try {
    quantize(directory, file, quantize_type(type), {.threads = 2});
  } catch (const Error& error) {
    return error.what();
  }
  return "none";
}

TEST(QuantizeFile, NumbersThatTheFormatLacksAreRefused) {
  const Temporary place;
  const auto with = [&](float value) {
    write_random_phantom(place.path / "m", 5, [&](const TensorSpec& spec, std::vector<float>& x) {
      if (spec.name == "blk.1.ffn_up.weight") x[7] = value;
    });
    return place.path / "m";
  };
  const Path out = place.path / "m.gguf";
  EXPECT_EQ(complaint(with(NAN), out, "Q8_0"),
            "[quantize] language_model.model.layers.1.mlp.up_proj.weight: expected finite numbers, "
            "found nan");
  EXPECT_EQ(complaint(with(70000), out, "F16"),
            "[quantize] language_model.model.layers.1.mlp.up_proj.weight: expected numbers up to "
            "65504, found 70000.000000");
  EXPECT_EQ(complaint(with(70000), out, "BF16"), "none");
  // Scales and minima of blocks are F16.
  for (const char* type : {"Q8_0", "Q4_1", "Q5_K"})
    EXPECT_NE(complaint(with(-70000), out, type).find("numbers up to 65504, found -70000"),
              std::string::npos)
        << type;
  EXPECT_THROW(Model(with(70000), {.threads = 1, .weights = quantize_type("Q4_0")}), Error);
  EXPECT_THROW(quantize_type("Q3_K"), Error);
}

TEST(QuantizeFile, StoppedItLeavesNothing) {
  const Temporary place;
  write_random_phantom(place.path / "m", 5);
  struct Stop {};
  uint64_t reached = 0;
  QuantizeOptions options{.threads = 1, .on_progress = [&](uint64_t done, uint64_t total) {
                            EXPECT_GE(done, reached);
                            EXPECT_LE(done, total);
                            reached = done;
                            if (done > total / 2) throw Stop();
                          }};
  const Path file = place.path / "out" / "m.gguf";
  std::filesystem::create_directory(file.parent_path());
  EXPECT_THROW(quantize(place.path / "m", file, quantize_type("Q8_0"), options), Stop);
  EXPECT_TRUE(std::filesystem::is_empty(file.parent_path()));
}

}  // namespace
}  // namespace revenant
