// Language models alone, as directories and as GGUF files of llama.cpp's converter.
#pragma once

#include "base/json.h"
#include "engine/session.h"
#include "io/gguf.h"
#include "support/random_checkpoint.h"

namespace revenant {

// A language model alone as a directory, bytes and a few words its vocabulary.
inline Path write_plain_model(const Path& directory, const std::string& type, bool tied,
                              const std::vector<std::string>& specials = {"<|im_start|>",
                                                                          "<|im_end|>"}) {
  const std::map<std::string, std::string> architectures = {{"llama", "LlamaForCausalLM"},
                                                            {"qwen2", "Qwen2ForCausalLM"},
                                                            {"internlm2", "InternLM2ForCausalLM"},
                                                            {"phi3", "Phi3ForCausalLM"}};
  std::filesystem::create_directories(directory);
  write_random_checkpoint(directory,
                          {{"model_type", type},
                           {"architectures", {architectures.at(type)}},
                           {"vocab_size", 300},
                           {"hidden_size", 64},
                           {"intermediate_size", 96},
                           {"num_hidden_layers", 2},
                           {"num_attention_heads", 4},
                           {"num_key_value_heads", 2},
                           {"max_position_embeddings", 512},
                           {"rope_theta", 50000.0},
                           {"rms_norm_eps", 1e-5},
                           {"eos_token_id", 263},
                           {"tie_word_embeddings", tied}},
                          4);
  const std::vector<std::string> texts = {"what is in this picture of a house, what is that?"};
  write_file(directory / "tokenizer.json", train_byte_bpe(texts, 300, specials));
  return directory;
}

struct Plain {
  GgufKeys keys;
  std::vector<GgufSource> tensors;

  void set(const std::string& name, GgufValue value) {
    for (auto& [key, old] : keys)
      if (key == name) {
        old = std::move(value);
        return;
      }
    keys.emplace_back(name, std::move(value));
  }
};

// As convert_hf_to_gguf.py writes q and k of Llama and InternLM2:
//   w.reshape(heads, 2, d / 2, in).swapaxes(1, 2).reshape(w.shape)
inline std::vector<float> swapped(const std::vector<float>& w, size_t heads, size_t d, size_t in) {
  std::vector<float> out;
  for (size_t h = 0; h < heads; ++h)
    for (size_t i = 0; i < d / 2; ++i)
      for (size_t half = 0; half < 2; ++half) {
        const auto row = w.begin() + long(((h * 2 + half) * (d / 2) + i) * in);
        out.insert(out.end(), row, row + long(in));
      }
  return out;
}

// q|k|v and gate|up of Phi-3 lie in one tensor each.
inline Plain plain_of(const Path& directory, Format format) {
  const ModelFiles model = ModelFiles::open(directory);
  const Config& c = model.config();
  const std::string a = name_of(c.backbone);
  Plain plain;
  plain.keys = {{"general.architecture", a},
                {"general.name", std::string("tiny")},
                {a + ".block_count", uint32_t(c.layers)},
                {a + ".context_length", uint32_t(c.rope.max_position)},
                {a + ".embedding_length", uint32_t(c.hidden)},
                {a + ".feed_forward_length", uint32_t(c.intermediate)},
                {a + ".attention.head_count", uint32_t(c.heads)},
                {a + ".attention.head_count_kv", uint32_t(c.kv_heads)},
                {a + ".attention.layer_norm_rms_epsilon", float(c.rms_eps)},
                {a + ".rope.freq_base", float(c.rope.theta)},
                {a + ".rope.dimension_count", uint32_t(c.head_dim)}};
  const nlohmann::json json = read_json(directory / "tokenizer.json");
  std::vector<std::string> tokens(size_t(c.vocab)), merges;
  std::vector<int32_t> types(tokens.size(), 1);
  for (const auto& [token, id] : json["model"]["vocab"].items()) tokens[id] = token;
  for (const auto& added : json["added_tokens"]) {
    tokens[added["id"]] = added["content"];
    types[added["id"]] = 3;
  }
  for (size_t i = 0; i < tokens.size(); ++i)  // as the converter fills what the tokenizer lacks
    if (tokens[i].empty()) tokens[i] = "[PAD" + std::to_string(i) + "]", types[i] = 5;
  for (const auto& merge : json["model"]["merges"])
    merges.push_back(merge.is_string()
                         ? merge.get<std::string>()
                         : merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  plain.set("tokenizer.ggml.model", std::string("gpt2"));
  plain.set("tokenizer.ggml.pre", std::string("qwen2"));
  plain.set("tokenizer.ggml.tokens", gguf_array(tokens));
  plain.set("tokenizer.ggml.token_type", gguf_array(types));
  plain.set("tokenizer.ggml.merges", gguf_array(merges));
  plain.set("tokenizer.ggml.eos_token_id", uint32_t(263));
  std::map<std::string, std::vector<float>> weights;
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const TensorSpec& spec : tensor_table(c)) {
    if (weights.contains(spec.name)) continue;
    std::vector<float> values = floats_of(model.weight(spec), spec);
    const bool q = spec.name.ends_with("attn_q.weight"), k = spec.name.ends_with("attn_k.weight");
    if ((a == "llama" || a == "internlm2") && (q || k))
      values =
          swapped(values, size_t(q ? c.heads : c.kv_heads), size_t(c.head_dim), size_t(c.hidden));
    weights[spec.name] = std::move(values);
    shapes[spec.name] = spec.shape;
  }
  const auto fuse = [&](const std::string& fused, const std::vector<std::string>& parts) {
    std::vector<float> values;
    std::vector<int64_t> shape = {0, c.hidden};
    for (const std::string& part : parts) {
      const std::vector<float> rows = weights.extract(part).mapped();
      values.insert(values.end(), rows.begin(), rows.end());
      shape[0] += shapes.extract(part).mapped()[0];
    }
    weights[fused] = values, shapes[fused] = shape;
  };
  for (int i = 0; a == "phi3" && i < c.layers; ++i) {
    const std::string layer = "blk." + std::to_string(i);
    fuse(layer + ".attn_qkv.weight",
         {layer + ".attn_q.weight", layer + ".attn_k.weight", layer + ".attn_v.weight"});
    fuse(layer + ".ffn_up.weight", {layer + ".ffn_gate.weight", layer + ".ffn_up.weight"});
  }
  for (const auto& [name, values] : weights) {
    const std::vector<int64_t>& shape = shapes.at(name);
    const Format as = shape.size() == 1 ? Format::f32 : format;
    const size_t width = size_t(shape.back());
    plain.tensors.push_back({name, as, shape, [values, as, width](const Sink& sink) {
                               std::vector<std::byte> row(row_bytes(as, width));
                               for (size_t r = 0; r < values.size() / width; ++r) {
                                 pack_row(as, std::span(values).subspan(r * width, width),
                                          row.data());
                                 sink(row);
                               }
                             }});
  }
  return plain;
}

// Of a prompt of a few tokens, all rows.
inline std::vector<float> logits_of(const Network& network) {
  Threads threads(2);
  const Native native{network.config, network.weights, threads};
  Sequence sequence(network.config);
  Sequence* pointer = &sequence;
  const std::vector<int> ids = {5, 250, 17, 80, 3, 99, 120};
  Step step;
  step.add(0, 0, int(ids.size()), int(ids.size()), true);
  const Tensor y = logits(native, forward(native, step, {&pointer, 1}, ids));
  return {y.data(), y.data() + y.size()};
}

}  // namespace revenant
