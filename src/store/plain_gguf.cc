#include "store/plain_gguf.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/protobuf.h"
#include "base/shape.h"
#include "base/word_expressions.h"
#include "quant/format.h"

namespace revenant {
namespace {

using nlohmann::json;

constexpr int64_t most_factors = 128;  // half of the largest head
constexpr const char* tokens_key = "tokenizer.ggml.tokens";
enum TokenType { normal = 1, control = 3, user_defined = 4 };

bool flag(const Gguf& file, std::string_view key, bool usual) {
  const GgufValue* value = file.find(key);
  if (!value) return usual;
  if (const bool* truth = std::get_if<bool>(value)) return *truth;
  file.place(key).fail("a BOOL", "another type");
}

int64_t integer(const Gguf& file, std::string_view key, int64_t usual) {
  return file.find(key) ? file.integer(key) : usual;
}

struct Architecture {
  const char* name;
  bool pairs;  // llama.cpp turns the halves of each head of q and k into pairs
};
constexpr Architecture architectures[] = {
    {"llama", true}, {"qwen2", false}, {"internlm2", true}, {"phi3", false}};

const Architecture* architecture_of(const Gguf& file) {
  const auto found =
      std::ranges::find(architectures, file.text("general.architecture"),
                        [](const Architecture& a) { return std::string_view(a.name); });
  return found == std::end(architectures) ? nullptr : &*found;
}

// Phi-3's two lists of what divides the angles' speeds: tensors of the file, keys of a
// configuration.
constexpr std::pair<const char*, const char*> rope_factors[] = {
    {"rope_factors_short.weight", "short_factor"}, {"rope_factors_long.weight", "long_factor"}};

// Empty: speeds are not divided.
json rope_scaling_of(const Gguf& file, const std::string& a, int64_t head_dim) {
  json scaling;
  for (const auto& [name, key] : rope_factors) {
    const auto found = file.tensors().find(name);
    if (found == file.tensors().end()) continue;
    const GgufTensor& tensor = found->second;
    const int64_t count = std::min(head_dim / 2, most_factors);
    if (tensor.format != Format::f32 || tensor.shape != std::vector{count})
      file.place(name).fail("F32 " + shape_text({count}),
                            std::string(tensor.format ? info(*tensor.format).name : "I8") + " " +
                                shape_text(tensor.shape));
    std::vector<float> factors(size_t(tensor.shape[0]));
    unpack_row(Format::f32, tensor.data.data(), factors);
    scaling[key] = factors;
  }
  if (scaling.empty()) return scaling;
  const std::string attention = a + ".rope.scaling.attn_factor";
  const double factor = file.find(attention) ? file.number(attention) : 1;
  if (!(factor > 0) || !std::isfinite(factor))
    file.place(attention).fail("a number above 0", std::to_string(factor));
  scaling["type"] = "longrope";
  scaling["original_max_position_embeddings"] =
      file.integer(a + ".rope.scaling.original_context_length");
  scaling["attention_factor"] = factor;
  return scaling;
}

// What is not computed here may stand there only as what it is anyway.
void check_fixed(const Gguf& file, const std::string& a, int64_t head_dim, bool factors) {
  const auto fixed = [&](const std::string& key, int64_t only) {
    if (const int64_t found = integer(file, key, only); found != only)
      file.place(key).fail(std::to_string(only), std::to_string(found));
  };
  fixed(a + ".rope.dimension_count", head_dim);
  fixed(a + ".attention.value_length", head_dim);
  fixed(a + ".expert_count", 0);
  const std::string type = a + ".rope.scaling.type", expected = factors ? "longrope" : "none";
  if (file.find(type) && file.text(type) != expected)
    file.place(type).fail(expected, file.text(type));
  if (file.find(type) && !factors) return;  // "none" is the end of it
  for (const char* name : {".rope.scaling.factor", ".rope.scale_linear"}) {
    const std::string key = a + name;
    if (const double found = file.find(key) ? file.number(key) : 1; found != 0 && found != 1)
      file.place(key).fail("1", std::to_string(found));
  }
}

json config_of(const Gguf& file) {
  const std::string a = file.text("general.architecture");
  const int64_t hidden = file.integer(a + ".embedding_length"),
                heads = file.integer(a + ".attention.head_count");
  if (heads < 1) file.place(a + ".attention.head_count").fail("at least 1", std::to_string(heads));
  const int64_t head_dim = integer(file, a + ".attention.key_length", hidden / heads);
  const json scaling = rope_scaling_of(file, a, head_dim);
  check_fixed(file, a, head_dim, !scaling.empty());
  json config = {
      {"model_type", a},
      {"vocab_size", file.texts(tokens_key).size()},
      {"hidden_size", hidden},
      {"intermediate_size", file.integer(a + ".feed_forward_length")},
      {"num_hidden_layers", file.integer(a + ".block_count")},
      {"num_attention_heads", heads},
      {"num_key_value_heads", integer(file, a + ".attention.head_count_kv", heads)},
      {"head_dim", head_dim},
      {"max_position_embeddings", file.integer(a + ".context_length")},
      {"rms_norm_eps", file.number(a + ".attention.layer_norm_rms_epsilon")},
      {"rope_theta", file.find(a + ".rope.freq_base") ? file.number(a + ".rope.freq_base") : 1e4},
      {"tie_word_embeddings", !file.tensors().contains("output.weight")},
  };
  if (const int64_t end = integer(file, "tokenizer.ggml.eos_token_id", -1); end >= 0)
    config["eos_token_id"] = end;
  if (!scaling.empty()) config["rope_scaling"] = scaling;
  if (const int64_t window = integer(file, a + ".attention.sliding_window", 0); window > 0)
    config["sliding_window"] = window;
  return config;
}

// Throws Error unless the key's list has as many values as there are tokens.
void check_count(const Gguf& file, const char* key, size_t found, size_t tokens) {
  if (found != tokens)
    file.place(key).fail("one for each of " + std::to_string(tokens) + " tokens",
                         std::to_string(found));
}

struct Tokens {
  std::vector<std::string> texts;
  std::vector<int64_t> types;
};
Tokens tokens_of(const Gguf& file) {
  constexpr const char* types_key = "tokenizer.ggml.token_type";
  Tokens tokens{file.texts(tokens_key), {}};
  tokens.types.assign(tokens.texts.size(), normal);
  if (!file.find(types_key)) return tokens;
  const std::vector<double> types = file.numbers(types_key);
  check_count(file, types_key, types.size(), tokens.texts.size());
  for (size_t i = 0; i < types.size(); ++i) {
    if (!(types[i] >= 0 && types[i] < 100))
      file.place(types_key)[i].fail("a kind of token, a small number", std::to_string(types[i]));
    tokens.types[i] = int64_t(types[i]);
  }
  return tokens;
}

json byte_level(bool cuts) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", cuts}};
}

constexpr const char* pre_key = "tokenizer.ggml.pre";

// How words are cut, which llama.cpp only names.
json pre_tokenizer(const Gguf& file, const std::string& name) {
  const auto split = [](std::string_view expression) -> json {
    return {{"type", "Sequence"},
            {"pretokenizers",
             {{{"type", "Split"},
               {"pattern", {{"Regex", expression}}},
               {"behavior", "Isolated"},
               {"invert", false}},
              byte_level(false)}}};
  };
  if (name == "qwen2") return split(qwen2_expression);
  if (name == "llama-bpe") return split(llama3_expression);
  if (name == "smollm")
    return {
        {"type", "Sequence"},
        {"pretokenizers", {{{"type", "Digits"}, {"individual_digits", true}}, byte_level(true)}}};
  if (name == "gpt-2") return byte_level(true);
  file.place(pre_key).fail("qwen2, llama-bpe, smollm or gpt-2", name);
}

// Phi-3's own tokens swallow the spaces behind them but for three; a file says nothing of it, and
// llama.cpp knows it by name as well.
bool swallows_spaces(const Gguf& file) { return file.text("general.architecture") == "phi3"; }

// The tokens that are no pieces of words, as tokenizer.json lists them.
json added_tokens(const Gguf& file, const Tokens& tokens) {
  const bool swallow = swallows_spaces(file);
  json added = json::array();
  for (size_t i = 0; i < tokens.texts.size(); ++i) {
    if (tokens.types[i] != control && tokens.types[i] != user_defined) continue;
    const std::string& text = tokens.texts[i];
    const bool keeps = text == "<unk>" || text == "<s>" || text == "<|endoftext|>";
    added.push_back({{"id", i},
                     {"content", text},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", swallow && !keeps},
                     {"normalized", false},
                     {"special", tokens.types[i] == control}});
  }
  return added;
}

json byte_bpe_of(const Gguf& file) {
  const Tokens tokens = tokens_of(file);
  json vocab = json::object();
  for (size_t i = 0; i < tokens.texts.size(); ++i)
    if (!vocab.emplace(tokens.texts[i], i).second)
      file.place(tokens_key)[i].fail("each token once", tokens.texts[i] + " again");
  const std::string name = file.find(pre_key) ? file.text(pre_key) : "default";
  const json pre = pre_tokenizer(file, name);
  json unknown;  // for bytes that no token spells: SmolLM's vocabulary lacks some
  if (const int64_t id = integer(file, "tokenizer.ggml.unknown_token_id", -1);
      id >= 0 && size_t(id) < tokens.texts.size())
    unknown = tokens.texts[size_t(id)];
  return {{"version", "1.0"},
          {"added_tokens", added_tokens(file, tokens)},
          {"normalizer", name == "qwen2" ? json{{"type", "NFC"}} : json()},
          {"pre_tokenizer", pre},
          {"post_processor", nullptr},
          {"decoder", byte_level(false)},
          {"model",
           {{"type", "BPE"},
            {"unk_token", unknown},
            {"ignore_merges", name == "llama-bpe"},
            {"vocab", std::move(vocab)},
            {"merges", file.texts("tokenizer.ggml.merges")}}}};
}

// As SentencePiece writes its `tokenizer.model` (sentencepiece_model.proto).
std::string sentencepiece_of(const Gguf& file) {
  constexpr const char* scores_key = "tokenizer.ggml.scores";
  const Tokens tokens = tokens_of(file);
  const std::vector<double> scores = file.numbers(scores_key);
  check_count(file, scores_key, scores.size(), tokens.texts.size());
  std::string model;
  for (size_t i = 0; i < scores.size(); ++i)
    model += protobuf::bytes(1, protobuf::bytes(1, tokens.texts[i]) +
                                    protobuf::real(2, float(scores[i])) +
                                    protobuf::number(3, uint64_t(tokens.types[i])));
  const auto id = [&](const char* name, int64_t usual) {
    return uint64_t(integer(file, std::string("tokenizer.ggml.") + name + "_token_id", usual));
  };
  model += protobuf::bytes(
      2, protobuf::number(3, 2) + protobuf::number(35, 1) + protobuf::number(40, id("unknown", 0)) +
             protobuf::number(41, id("bos", 1)) + protobuf::number(42, id("eos", 2)));
  const bool prefix = flag(file, "tokenizer.ggml.add_space_prefix", true),
             extra = flag(file, "tokenizer.ggml.remove_extra_whitespaces", false);
  model += protobuf::bytes(
      3, protobuf::number(3, prefix) + protobuf::number(4, extra) + protobuf::number(5, 1));
  return model;
}

// The tokens with a part of their own, by what the file calls them.
json tokenizer_config(const Gguf& file) {
  const Tokens tokens = tokens_of(file);
  json config = json::object();
  for (const char* name : {"bos", "eos"}) {
    const std::string key = std::string("tokenizer.ggml.") + name + "_token_id";
    if (!file.find(key)) continue;
    const int64_t id = file.integer(key);
    if (id < 0 || size_t(id) >= tokens.texts.size())
      file.place(key).fail("the id of a token", std::to_string(id));
    config[std::string(name) + "_token"] = tokens.texts[size_t(id)];
  }
  for (const char* name : {"add_bos_token", "add_eos_token"})
    if (const std::string key = std::string("tokenizer.ggml.") + name; file.find(key))
      config[name] = flag(file, key, false);
  if (swallows_spaces(file))  // a tokenizer.model cannot say so
    for (const json& token : added_tokens(file, tokens))
      config["added_tokens_decoder"][std::to_string(token["id"].get<size_t>())] = token;
  return config;
}

}  // namespace

bool is_plain(const Gguf& file) { return architecture_of(file) != nullptr; }

FileSet small_files_of_plain(const Gguf& file) {
  std::map<std::string, std::string, std::less<>> contents = {
      {"config.json", json_text(config_of(file), 2)},
      {"tokenizer_config.json", json_text(tokenizer_config(file), 2)}};
  const std::string& model = file.text("tokenizer.ggml.model");
  if (model == "gpt2")
    contents["tokenizer.json"] = json_text(byte_bpe_of(file));
  else if (model == "llama")
    contents["tokenizer.model"] = sentencepiece_of(file);
  else
    file.place("tokenizer.ggml.model").fail("gpt2 or llama", model);
  return {file.path(), std::move(contents)};
}

std::map<std::string, GgufTensor> plain_tensors(const Gguf& file, const Config& config) {
  std::map<std::string, GgufTensor> all = file.tensors();
  for (const auto& [name, key] : rope_factors) all.erase(name);
  if (config.backbone != Backbone::phi3) return all;
  const int64_t q = int64_t(config.heads) * config.head_dim,
                kv = int64_t(config.kv_heads) * config.head_dim, wide = config.intermediate;
  using Parts = std::vector<std::pair<const char*, int64_t>>;  // names, rows
  const auto part = [&](const std::string& layer, const char* fused, const Parts& parts) {
    const auto found = all.find(layer + fused);
    if (found == all.end() || !found->second.format) return;  // named when a part is missed
    const GgufTensor whole = found->second;
    int64_t rows = 0;
    for (const auto& [name, count] : parts) rows += count;
    if (whole.shape.size() != 2 || whole.shape[0] != rows)
      file.place(layer + fused).fail(shape_text({rows, config.hidden}), shape_text(whole.shape));
    all.erase(found);
    const size_t width = row_bytes(*whole.format, size_t(whole.shape[1]));
    size_t at = 0;
    for (const auto& [name, count] : parts) {
      const size_t bytes = size_t(count) * width;
      const GgufTensor rest{whole.format, {count, whole.shape[1]}, whole.data.subspan(at, bytes)};
      if (!all.emplace(layer + name, rest).second)
        file.place(layer + name).fail("only " + layer + fused, "both");
      at += bytes;
    }
  };
  for (int i = 0; i < config.layers; ++i) {
    const std::string layer = "blk." + std::to_string(i) + ".";
    part(layer, "attn_qkv.weight",
         {{"attn_q.weight", q}, {"attn_k.weight", kv}, {"attn_v.weight", kv}});
    part(layer, "ffn_up.weight", {{"ffn_gate.weight", wide}, {"ffn_up.weight", wide}});
  }
  return all;
}

bool in_pairs(const Gguf& file, const TensorSpec& spec) {
  const Architecture* plain = architecture_of(file);
  return plain && plain->pairs && spec.shape.size() == 2 &&
         (spec.name.ends_with(".attn_q.weight") || spec.name.ends_with(".attn_k.weight"));
}

std::vector<std::byte> as_halves(std::span<const std::byte> rows, int heads, int head_dim) {
  const size_t d = size_t(head_dim), width = rows.size() / (size_t(heads) * d);
  std::vector<std::byte> out(rows.size());
  for (size_t h = 0; h < size_t(heads); ++h)
    for (size_t r = 0; r < d; ++r) {
      const size_t from = h * d + 2 * (r % (d / 2)) + r / (d / 2);
      std::memcpy(&out[(h * d + r) * width], &rows[from * width], width);
    }
  return out;
}

}  // namespace revenant
