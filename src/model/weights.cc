#include "model/weights.h"

#include <set>
#include <string_view>

#include "base/error.h"

namespace revenant {
namespace {

// How a weight lies inside its stored tensor.
enum class Slice {
  whole,
  q_thirds,
  k_thirds,
  v_thirds,  // all q rows, then all k, then all v
  q_grouped,
  k_grouped,
  v_grouped,  // InternLM2: per kv head its query heads, its key, its value
  first_half,
  second_half,  // Phi-3: gate, then up
};

// `%` stands for the layer. The stem gets .weight / .bias (or .ffn.weight, .lora_A.weight ...).
struct Name {
  std::string_view canonical, stored;
  Slice slice = Slice::whole;
};

constexpr Name intern_vit_names[] = {
    {"v.patch_embd", "vision_model.embeddings.patch_embedding"},
    {"v.class_embd", "vision_model.embeddings.class_embedding"},
    {"v.position_embd.weight", "vision_model.embeddings.position_embedding"},
    {"v.blk.%.ln1", "vision_model.encoder.layers.%.norm1"},
    {"v.blk.%.ln2", "vision_model.encoder.layers.%.norm2"},
    {"v.blk.%.attn_q", "vision_model.encoder.layers.%.attn.qkv", Slice::q_thirds},
    {"v.blk.%.attn_k", "vision_model.encoder.layers.%.attn.qkv", Slice::k_thirds},
    {"v.blk.%.attn_v", "vision_model.encoder.layers.%.attn.qkv", Slice::v_thirds},
    {"v.blk.%.attn_out", "vision_model.encoder.layers.%.attn.proj"},
    {"v.blk.%.ffn_up", "vision_model.encoder.layers.%.mlp.fc1"},
    {"v.blk.%.ffn_down", "vision_model.encoder.layers.%.mlp.fc2"},
    {"v.blk.%.ls1", "vision_model.encoder.layers.%.ls1"},
    {"v.blk.%.ls2", "vision_model.encoder.layers.%.ls2"},
    {"mm.norm", "vision_proj.0"},
    {"mm.0", "vision_proj.1"},
    {"mm.2", "vision_proj.3"},
};

constexpr Name clip_names[] = {
    {"v.patch_embd", "vit.vision_tower.vision_model.embeddings.patch_embedding"},
    {"v.class_embd", "vit.vision_tower.vision_model.embeddings.class_embedding"},
    {"v.position_embd.weight",
     "vit.vision_tower.vision_model.embeddings.position_embedding.weight"},
    {"v.pre_ln", "vit.vision_tower.vision_model.pre_layrnorm"},
    {"v.blk.%.ln1", "vit.vision_tower.vision_model.encoder.layers.%.layer_norm1"},
    {"v.blk.%.ln2", "vit.vision_tower.vision_model.encoder.layers.%.layer_norm2"},
    {"v.blk.%.attn_q", "vit.vision_tower.vision_model.encoder.layers.%.self_attn.q_proj"},
    {"v.blk.%.attn_k", "vit.vision_tower.vision_model.encoder.layers.%.self_attn.k_proj"},
    {"v.blk.%.attn_v", "vit.vision_tower.vision_model.encoder.layers.%.self_attn.v_proj"},
    {"v.blk.%.attn_out", "vit.vision_tower.vision_model.encoder.layers.%.self_attn.out_proj"},
    {"v.blk.%.ffn_up", "vit.vision_tower.vision_model.encoder.layers.%.mlp.fc1"},
    {"v.blk.%.ffn_down", "vit.vision_tower.vision_model.encoder.layers.%.mlp.fc2"},
    {"mm.0", "vision_proj.0"},
    {"mm.2", "vision_proj.2"},
};

// The language side; the prefix "language_model." goes before these where configs are nested.
constexpr Name qwen2_names[] = {
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"blk.%.attn_norm", "model.layers.%.input_layernorm"},
    {"blk.%.attn_q", "model.layers.%.self_attn.q_proj"},
    {"blk.%.attn_k", "model.layers.%.self_attn.k_proj"},
    {"blk.%.attn_v", "model.layers.%.self_attn.v_proj"},
    {"blk.%.attn_output", "model.layers.%.self_attn.o_proj"},
    {"blk.%.ffn_norm", "model.layers.%.post_attention_layernorm"},
    {"blk.%.ffn_gate", "model.layers.%.mlp.gate_proj"},
    {"blk.%.ffn_up", "model.layers.%.mlp.up_proj"},
    {"blk.%.ffn_down", "model.layers.%.mlp.down_proj"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
};

constexpr Name phi3_names[] = {
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"blk.%.attn_norm", "model.layers.%.input_layernorm"},
    {"blk.%.attn_q", "model.layers.%.self_attn.qkv_proj", Slice::q_thirds},
    {"blk.%.attn_k", "model.layers.%.self_attn.qkv_proj", Slice::k_thirds},
    {"blk.%.attn_v", "model.layers.%.self_attn.qkv_proj", Slice::v_thirds},
    {"blk.%.attn_output", "model.layers.%.self_attn.o_proj"},
    {"blk.%.ffn_norm", "model.layers.%.post_attention_layernorm"},
    {"blk.%.ffn_gate", "model.layers.%.mlp.gate_up_proj", Slice::first_half},
    {"blk.%.ffn_up", "model.layers.%.mlp.gate_up_proj", Slice::second_half},
    {"blk.%.ffn_down", "model.layers.%.mlp.down_proj"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
};

constexpr Name internlm2_names[] = {
    {"token_embd.weight", "model.tok_embeddings.weight"},
    {"blk.%.attn_norm", "model.layers.%.attention_norm"},
    {"blk.%.attn_q", "model.layers.%.attention.wqkv", Slice::q_grouped},
    {"blk.%.attn_k", "model.layers.%.attention.wqkv", Slice::k_grouped},
    {"blk.%.attn_v", "model.layers.%.attention.wqkv", Slice::v_grouped},
    {"blk.%.attn_output", "model.layers.%.attention.wo"},
    {"blk.%.ffn_norm", "model.layers.%.ffn_norm"},
    {"blk.%.ffn_gate", "model.layers.%.feed_forward.w1"},
    {"blk.%.ffn_up", "model.layers.%.feed_forward.w3"},
    {"blk.%.ffn_down", "model.layers.%.feed_forward.w2"},
    {"output_norm", "model.norm"},
    {"output", "output"},
};

// The mechanisms; `@` is the backbone's attention module.
constexpr Name mechanism_names[] = {
    {"blk.%.mix_q_q", "model.layers.%.@.xattn_query_phantom.linear_q"},
    {"blk.%.mix_q_k", "model.layers.%.@.xattn_query_phantom.linear_k"},
    {"blk.%.mix_q_v", "model.layers.%.@.xattn_query_phantom.linear_v"},
    {"blk.%.mix_q_o", "model.layers.%.@.xattn_query_phantom.linear_o"},
    {"blk.%.mix_k_q", "model.layers.%.@.xattn_key_phantom.linear_q"},
    {"blk.%.mix_k_k", "model.layers.%.@.xattn_key_phantom.linear_k"},
    {"blk.%.mix_k_v", "model.layers.%.@.xattn_key_phantom.linear_v"},
    {"blk.%.mix_k_o", "model.layers.%.@.xattn_key_phantom.linear_o"},
    {"blk.%.mix_v_q", "model.layers.%.@.xattn_value_phantom.linear_q"},
    {"blk.%.mix_v_k", "model.layers.%.@.xattn_value_phantom.linear_k"},
    {"blk.%.mix_v_v", "model.layers.%.@.xattn_value_phantom.linear_v"},
    {"blk.%.mix_v_o", "model.layers.%.@.xattn_value_phantom.linear_o"},
    {"blk.%.phantom_gate1", "model.layers.%.@.gating_phantom_1"},
    {"blk.%.phantom_gate2", "model.layers.%.@.gating_phantom_2"},
    {"blk.%.anchor_q", "model.layers.%.@.anchor_query_phantom"},
    {"blk.%.anchor_k", "model.layers.%.@.anchor_key_phantom"},
    {"blk.%.anchor_v", "model.layers.%.@.anchor_value_phantom"},
    {"blk.%.phantom_eta", "model.layers.%.@.eta_phantom"},
    {"trol_gate", "model.trol_gating.0"},
    {"blk.%.trol_gate", "model.trol_gating.%"},
};

bool nested(const Config& c) { return c.vision.kind == Tower::intern_vit; }

// "blk.12.attn_q" -> "blk.%.attn_q" and "12".
std::pair<std::string, std::string> split_layer(const std::string& name) {
  const size_t blk = name.find("blk.");
  if (blk == std::string::npos) return {name, ""};
  const size_t begin = blk + 4, end = name.find('.', begin);
  return {name.substr(0, begin) + "%" + name.substr(end), name.substr(begin, end - begin)};
}

template <size_t n>
const Name* find(const Name (&names)[n], const std::string& pattern) {
  for (const Name& name : names)
    if (name.canonical == pattern) return &name;
  return nullptr;
}

const Name& find_name(const Config& c, const std::string& pattern) {
  const Name* name =
      c.vision.kind == Tower::clip ? find(clip_names, pattern) : find(intern_vit_names, pattern);
  if (!name) name = find(mechanism_names, pattern);
  if (!name) switch (c.backbone) {
      case Backbone::qwen2:
      case Backbone::llama:
        name = find(qwen2_names, pattern);
        break;
      case Backbone::phi3:
        name = find(phi3_names, pattern);
        break;
      case Backbone::internlm2:
        name = find(internlm2_names, pattern);
        break;
    }
  CHECK(name);
  return *name;
}

std::string stored_stem(const Config& c, const Name& name, const std::string& layer) {
  std::string stem(name.stored);
  const std::string attention = c.backbone == Backbone::internlm2 ? "attention" : "self_attn";
  if (const size_t at = stem.find('@'); at != std::string::npos) stem.replace(at, 1, attention);
  if (const size_t at = stem.find('%'); at != std::string::npos) stem.replace(at, 1, layer);
  const bool language = !name.canonical.starts_with("v.") && !name.canonical.starts_with("mm.");
  return language && nested(c) ? "language_model." + stem : stem;
}

struct Placement {
  RowMap rows;
  int64_t stored_rows;
};

Placement place(const Config& c, Slice slice, int64_t rows, bool tower) {
  const int64_t d = c.head_dim, group = c.heads / c.kv_heads;
  const int64_t q = tower ? rows : c.heads * d, kv = tower ? rows : c.kv_heads * d;
  const int64_t stride = (group + 2) * d;  // rows a kv head takes in a grouped tensor
  switch (slice) {
    case Slice::whole:
      return {{0, rows, 0}, rows};
    case Slice::q_thirds:
      return {{0, rows, 0}, q + 2 * kv};
    case Slice::k_thirds:
      return {{q, rows, 0}, q + 2 * kv};
    case Slice::v_thirds:
      return {{q + kv, rows, 0}, q + 2 * kv};
    case Slice::q_grouped:
      return {{0, group * d, stride}, c.kv_heads * stride};
    case Slice::k_grouped:
      return {{group * d, d, stride}, c.kv_heads * stride};
    case Slice::v_grouped:
      return {{(group + 1) * d, d, stride}, c.kv_heads * stride};
    case Slice::first_half:
      return {{0, rows, 0}, 2 * rows};
    case Slice::second_half:
      return {{rows, rows, 0}, 2 * rows};
  }
  return {};
}

// Checkpoints write a few tensors with more dimensions than the forward needs.
std::vector<int64_t> written_shape(const Config& c, const std::string& name,
                                   const std::vector<int64_t>& shape) {
  const VisionConfig& v = c.vision;
  if (name == "v.patch_embd.weight") return {v.hidden, 3, v.patch, v.patch};
  if (v.kind == Tower::clip) return shape;
  if (name == "v.class_embd") return {1, 1, v.hidden};
  if (name == "v.position_embd.weight") return {1, shape[0], shape[1]};
  return shape;
}

bool has_image_lora(const Config& c, const std::string& name) {
  return c.image_lora_rank > 0 && name.starts_with("blk.");
}

}  // namespace

namespace detail {

// in = 0 asks for the bias.
TensorSpec linear_spec(const Config& c, const std::string& name, int64_t out, int64_t in,
                       Role role) {
  const auto [pattern, layer] = split_layer(name);
  const bool tied = c.tied_output && name == "output";
  if (tied)
    return vector_spec(c, "token_embd.weight", {c.embedding_rows, c.hidden}, Role::embedding);
  const Name& entry = find_name(c, pattern);
  const Placement placement = place(c, entry.slice, out, name.starts_with("v."));
  TensorSpec spec;
  spec.name = name + (in ? ".weight" : ".bias");
  spec.shape = in ? std::vector<int64_t>{out, in} : std::vector<int64_t>{out};
  spec.stored = stored_stem(c, entry, layer) + (in && has_image_lora(c, name) ? ".ffn" : "") +
                (in ? ".weight" : ".bias");
  spec.stored_shape = spec.shape;
  spec.stored_shape[0] = placement.stored_rows;
  spec.stored_shape = written_shape(c, spec.name, spec.stored_shape);
  spec.rows = placement.rows;
  spec.role = in || role != Role::linear ? role : Role::bias;
  return spec;
}

TensorSpec vector_spec(const Config& c, const std::string& name, std::vector<int64_t> shape,
                       Role role) {
  auto [pattern, layer] = split_layer(name);
  std::string suffix;
  if (role == Role::norm) {  // the table holds stems for norms
    const size_t dot = pattern.rfind('.');
    suffix = pattern.substr(dot);
    pattern = pattern.substr(0, dot);
  }
  const Name& entry = find_name(c, pattern);
  TensorSpec spec;
  spec.name = name;
  spec.stored = stored_stem(c, entry, layer) + suffix;
  spec.stored_shape = written_shape(c, name, shape);
  spec.rows = {0, shape[0], 0};
  spec.shape = std::move(shape);
  spec.role = role;
  return spec;
}

// lora_a [rank, width] is stored once for fused weights, and is one tensor of the table then;
// lora_b [width, rank] is sliced like the weight.
TensorSpec lora_spec(const Config& c, const std::string& name, bool up, int64_t width) {
  const auto [pattern, layer] = split_layer(name);
  const Name& entry = find_name(c, pattern);
  const int64_t rank = c.image_lora_rank;
  TensorSpec spec;
  const bool halves = entry.slice == Slice::first_half || entry.slice == Slice::second_half;
  const std::string fused = "blk." + layer + (halves ? ".ffn_gate_up" : ".attn_qkv");
  spec.name = up ? name + ".lora_b" : (entry.slice == Slice::whole ? name : fused) + ".lora_a";
  spec.stored = stored_stem(c, entry, layer) + (up ? ".lora_B.weight" : ".lora_A.weight");
  spec.shape = up ? std::vector<int64_t>{width, rank} : std::vector<int64_t>{rank, width};
  spec.stored_shape = spec.shape;
  spec.rows = {0, spec.shape[0], 0};
  if (up) {
    const Placement placement = place(c, entry.slice, width, false);
    spec.stored_shape[0] = placement.stored_rows;
    spec.rows = placement.rows;
  }
  spec.role = Role::lora;
  return spec;
}

}  // namespace detail

std::vector<TensorSpec> tensor_table(const Config& config) {
  std::vector<TensorSpec> table;
  bind<int>(config, [&](const TensorSpec& spec) {
    table.push_back(spec);
    return 0;
  });
  return table;
}

std::string stored_name(const Config& config, const std::string& name) {
  for (const TensorSpec& spec : tensor_table(config))
    if (spec.name == name) return spec.stored;
  CHECK(false);
}

std::string stored_gate(const Config& config) {
  const bool shared = config.trol.on && !config.trol.gate_per_layer;
  const std::string weight = shared ? stored_name(config, "trol_gate.weight") : "";
  return weight.substr(0, weight.rfind('.'));
}

bool is_known_unused(const std::string& stored) {
  return stored.find(".post_layernorm.") != std::string::npos ||
         stored.ends_with(".position_ids") || stored.ends_with(".rotary_emb.inv_freq");
}

Part part_of(const TensorSpec& spec) {
  const bool phantoms =
      spec.name.ends_with(".phantom_eta") || spec.name.find(".anchor_") != spec.name.npos;
  if (spec.role == Role::mixer || spec.role == Role::gate || phantoms) return Part::mechanism;
  if (spec.name.starts_with("v.")) return Part::vision;
  if (spec.name.starts_with("mm.")) return Part::projector;
  return Part::language;
}

const char* name_of(Part part) {
  switch (part) {
    case Part::vision:
      return "vision tower";
    case Part::projector:
      return "projector";
    case Part::language:
      return "language model";
    case Part::mechanism:
      return "mechanisms";
  }
  return "?";
}

std::vector<int64_t> parameter_counts(const Config& config) {
  std::vector<int64_t> counts(4, 0);
  std::set<std::string> seen;
  for (const TensorSpec& spec : tensor_table(config)) {
    if (!seen.insert(spec.stored).second) continue;
    counts[size_t(part_of(spec))] += TensorSpec::count(spec.stored_shape);
  }
  return counts;
}

}  // namespace revenant
