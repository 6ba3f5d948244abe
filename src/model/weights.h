// The tensor table: every weight once, with its canonical name, shape and place in a checkpoint.
// `bind` walks it and builds the structs that the forward text uses, for any kind of handle M:
// native matrices, torch tensors, or the specs themselves (loading, saving, reports and freezing
// read those).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "model/config.h"

namespace revenant {

// Some checkpoints fuse several weights in one tensor. Row r of the weight is row
//   offset + (r / block) * stride + r % block
// of the stored tensor; a whole tensor has block = all rows.
struct RowMap {
  int64_t offset = 0, block = 0, stride = 0;
  int64_t operator()(int64_t row) const { return offset + row / block * stride + row % block; }
};

// `lora` is the picture's own branch of the released TroL; `adapter` what is trained beside a
// matrix (store/adapter.h), and no part of the table.
enum class Role { embedding, linear, bias, norm, scale, position, mixer, gate, lora, adapter };

struct TensorSpec {
  std::string name;            // canonical, llama.cpp's where one exists: blk.3.attn_q.weight
  std::vector<int64_t> shape;  // of the weight
  std::string stored;          // name in the checkpoint
  std::vector<int64_t> stored_shape;  // there; differs where weights are fused
  RowMap rows;
  Role role = Role::linear;

  bool whole() const { return count(shape) == count(stored_shape); }
  static int64_t count(const std::vector<int64_t>& extents) {
    int64_t product = 1;
    for (int64_t extent : extents) product *= extent;
    return product;
  }
};

// [out, in] and [out]; lora_a [rank, in] and lora_b [out, rank] act on picture rows only.
template <class M>
struct Linear {
  M weight{}, bias{}, lora_a{}, lora_b{};
};

template <class M>
struct Norm {
  M weight{}, bias{};  // [width]; RMSNorm has no bias
  double eps = 0;
};

// One XAttention of the released code: four bias-free [d, d] matrices shared by all heads.
template <class M>
struct Mixer {
  Linear<M> q, k, v, o;
};

template <class M>
struct PhantomWeights {
  Mixer<M> mix_q, mix_k, mix_v;
  Linear<M> gate1, gate2;                // [1, d], bias [1]: of the plain and of the ghost half
  M anchor_q{}, anchor_k{}, anchor_v{};  // [heads * d], where the anchor is learnt
  M eta{};  // [1] of the layer, where it is learnt; else the configuration has it
};

template <class M>
struct AttentionWeights {
  Linear<M> q, k, v, o;
  PhantomWeights<M> phantom;
};

template <class M>
struct MlpWeights {
  Linear<M> gate, up, down;
};

template <class M>
struct LayerWeights {
  int index = 0;
  Norm<M> attn_norm, mlp_norm;
  AttentionWeights<M> attention;
  MlpWeights<M> mlp;
  Linear<M> trol_gate;  // the same handle in every layer, unless each has its own
};

template <class M>
struct TowerLayer {
  int index = 0;
  Norm<M> norm1, norm2;
  Linear<M> q, k, v, o, up, down;
  M scale1{}, scale2{};  // InternViT's ls1, ls2
};

template <class M>
struct TowerWeights {
  Linear<M> patch;   // [hidden, 3 * patch * patch]
  M class_token{};   // [hidden]
  M positions{};     // [1 + grid^2, hidden]
  Norm<M> pre_norm;  // CLIP
  std::vector<TowerLayer<M>> layers;
};

template <class M>
struct ProjectorWeights {
  Norm<M> norm;  // InternViT's
  Linear<M> up, down;
};

template <class M>
struct Weights {
  TowerWeights<M> tower;
  ProjectorWeights<M> projector;
  M embedding{};  // [embedding_rows, hidden]
  std::vector<LayerWeights<M>> layers;
  Norm<M> output_norm;
  Linear<M> output;  // [vocab, hidden]
};

// Every spec in a fixed order. Fused tensors appear once a slice; what serves in several places (a
// tied output head, TroL's gate, the picture's lora_a of fused weights) appears once a place, under
// one name.
std::vector<TensorSpec> tensor_table(const Config& config);

// The stored name of TroL's one gate without ".weight" and ".bias"; "": no TroL, or a gate a layer.
std::string stored_gate(const Config& config);

// Where the checkpoint keeps a tensor of the table: its `stored` name.
std::string stored_name(const Config& config, const std::string& name);

// The released checkpoints' tensors that no forward uses; kept on re-save, shown by inspect.
bool is_known_unused(const std::string& stored);

// Parts for reports and freezing, by canonical name.
enum class Part { vision, projector, language, mechanism };
Part part_of(const TensorSpec& spec);
const char* name_of(Part part);

// Parameters by part, stored tensors counted once; index by Part.
std::vector<int64_t> parameter_counts(const Config& config);

namespace detail {
// What a spec needs beyond its canonical name, by weight kind; weights.cc.
TensorSpec linear_spec(const Config& c, const std::string& name, int64_t out, int64_t in,
                       Role role);
TensorSpec vector_spec(const Config& c, const std::string& name, std::vector<int64_t> shape,
                       Role role);
TensorSpec lora_spec(const Config& c, const std::string& name, bool up, int64_t width);
}  // namespace detail

// Builds the weights; `get(spec)` gives the handle of each tensor.
template <class M, class Get>
class Binder {
 public:
  Binder(const Config& config, Get get) : c(config), get_(std::move(get)) {}

  Weights<M> bind() {
    Weights<M> w;
    if (c.vision.kind != Tower::none) w.tower = tower(), w.projector = projector();
    w.embedding = get_(
        detail::vector_spec(c, "token_embd.weight", {c.embedding_rows, c.hidden}, Role::embedding));
    if (c.trol.on && !c.trol.gate_per_layer)
      gate_ = linear("trol_gate", 1, c.hidden, true, Role::gate);
    for (int i = 0; i < c.layers; ++i) w.layers.push_back(layer(i));
    w.output_norm = norm("output_norm", c.hidden, false, c.rms_eps);
    w.output = linear("output", c.vocab, c.hidden, false, Role::linear, false);
    return w;
  }

 private:
  const Config& c;
  Get get_;
  Linear<M> gate_;

  Linear<M> linear(const std::string& name, int64_t out, int64_t in, bool bias,
                   Role role = Role::linear, bool lora = false) {
    Linear<M> l;
    const TensorSpec spec = detail::linear_spec(c, name, out, in, role);
    l.weight = get_(spec);
    if (bias) l.bias = get_(detail::linear_spec(c, name, out, 0, role));
    if (lora && c.image_lora_rank > 0) {
      l.lora_a = get_(detail::lora_spec(c, name, false, in));
      l.lora_b = get_(detail::lora_spec(c, name, true, out));
    }
    return l;
  }
  Norm<M> norm(const std::string& name, int64_t width, bool bias, double eps) {
    Norm<M> n;
    n.weight = get_(detail::vector_spec(c, name + ".weight", {width}, Role::norm));
    if (bias) n.bias = get_(detail::vector_spec(c, name + ".bias", {width}, Role::norm));
    n.eps = eps;
    return n;
  }
  Mixer<M> mixer(const std::string& name) {
    const int64_t d = c.head_dim;
    return {linear(name + "_q", d, d, false, Role::mixer),
            linear(name + "_k", d, d, false, Role::mixer),
            linear(name + "_v", d, d, false, Role::mixer),
            linear(name + "_o", d, d, false, Role::mixer)};
  }
  LayerWeights<M> layer(int i) {
    const std::string b = "blk." + std::to_string(i) + ".";
    const int64_t h = c.hidden, q = int64_t(c.heads) * c.head_dim,
                  kv = int64_t(c.kv_heads) * c.head_dim;
    LayerWeights<M> w;
    w.index = i;
    w.attn_norm = norm(b + "attn_norm", h, false, c.rms_eps);
    w.attention.q = linear(b + "attn_q", q, h, c.qkv_bias, Role::linear, true);
    w.attention.k = linear(b + "attn_k", kv, h, c.qkv_bias, Role::linear, true);
    w.attention.v = linear(b + "attn_v", kv, h, c.qkv_bias, Role::linear, true);
    w.attention.o = linear(b + "attn_output", h, q, false, Role::linear, true);
    if (c.phantom.on) {
      PhantomWeights<M>& p = w.attention.phantom;
      p = {mixer(b + "mix_q"), mixer(b + "mix_k"), mixer(b + "mix_v"),
           linear(b + "phantom_gate1", 1, c.head_dim, true, Role::gate),
           linear(b + "phantom_gate2", 1, c.head_dim, true, Role::gate)};
      if (c.phantom.anchor == AnchorOf::learned) {
        const auto anchor = [&](const char* of, int64_t width) {
          return get_(detail::vector_spec(c, b + "anchor_" + of, {width}, Role::position));
        };
        p.anchor_q = anchor("q", q);
        p.anchor_k = anchor("k", kv);
        p.anchor_v = anchor("v", kv);
      }
      if (c.phantom.eta_learnable)
        p.eta = get_(detail::vector_spec(c, b + "phantom_eta", {1}, Role::scale));
    }
    w.mlp_norm = norm(b + "ffn_norm", h, false, c.rms_eps);
    w.mlp.gate = linear(b + "ffn_gate", c.intermediate, h, false, Role::linear, true);
    w.mlp.up = linear(b + "ffn_up", c.intermediate, h, false, Role::linear, true);
    w.mlp.down = linear(b + "ffn_down", h, c.intermediate, false, Role::linear, true);
    w.trol_gate = c.trol.on && c.trol.gate_per_layer
                      ? linear(b + "trol_gate", 1, c.hidden, true, Role::gate)
                      : gate_;
    return w;
  }
  TowerWeights<M> tower() {
    const VisionConfig& v = c.vision;
    const bool clip = v.kind == Tower::clip;
    TowerWeights<M> w;
    w.patch = linear("v.patch_embd", v.hidden, int64_t(3) * v.patch * v.patch, !clip);
    w.class_token = get_(detail::vector_spec(c, "v.class_embd", {v.hidden}, Role::position));
    w.positions = get_(detail::vector_spec(
        c, "v.position_embd.weight", {1 + int64_t(v.grid()) * v.grid(), v.hidden}, Role::position));
    if (clip) w.pre_norm = norm("v.pre_ln", v.hidden, true, v.norm_eps);
    for (int i = 0; i < v.layers; ++i) w.layers.push_back(tower_layer(i, clip));
    return w;
  }
  TowerLayer<M> tower_layer(int i, bool clip) {
    const VisionConfig& v = c.vision;
    const std::string b = "v.blk." + std::to_string(i) + ".";
    TowerLayer<M> w;
    w.index = i;
    w.norm1 = norm(b + "ln1", v.hidden, true, v.norm_eps);
    w.q = linear(b + "attn_q", v.hidden, v.hidden, true);
    w.k = linear(b + "attn_k", v.hidden, v.hidden, true);
    w.v = linear(b + "attn_v", v.hidden, v.hidden, true);
    w.o = linear(b + "attn_out", v.hidden, v.hidden, true);
    w.norm2 = norm(b + "ln2", v.hidden, true, v.norm_eps);
    w.up = linear(b + "ffn_up", v.intermediate, v.hidden, true);
    w.down = linear(b + "ffn_down", v.hidden, v.intermediate, true);
    if (!clip) {
      w.scale1 = get_(detail::vector_spec(c, b + "ls1", {v.hidden}, Role::scale));
      w.scale2 = get_(detail::vector_spec(c, b + "ls2", {v.hidden}, Role::scale));
    }
    return w;
  }
  ProjectorWeights<M> projector() {
    ProjectorWeights<M> w;
    const int64_t width = c.shuffled_width();
    if (c.vision.kind == Tower::intern_vit) w.norm = norm("mm.norm", width, true, 1e-5);
    w.up = linear("mm.0", c.hidden, width, true);
    w.down = linear("mm.2", c.hidden, c.hidden, true);
    return w;
  }
};

template <class M, class Get>
Weights<M> bind(const Config& config, Get get) {
  return Binder<M, Get>(config, std::move(get)).bind();
}

}  // namespace revenant
