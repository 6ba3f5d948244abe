// The vision towers, InternViT and CLIP-L, and the projector that turns their patches into rows of
// the language model. Shapes: T tiles of S x S pixels, n = (S / patch)^2 patches and a class token.
#pragma once

#include "model/resample.h"
#include "model/verbs.h"

namespace revenant {

// InternViT: exact GELU and layer scales. CLIP: quick GELU and neither.
template <class E, class M, class X>
X tower_layer(E& e, const Config& c, const TowerLayer<M>& w, const X& x, int tokens) {
  const VisionConfig& v = c.vision;
  const bool clip = v.kind == Tower::clip;
  const X attended =
      e.attend_tile(e.qkv(w, e.layer_norm(x, w.norm1), v.hidden / v.heads), tokens, w.q);
  const X o = e.linear(w.o, e.join(attended));
  const X y = e.add(x, clip ? o : e.mul(o, w.scale1));
  const X up = e.linear(w.up, e.layer_norm(y, w.norm2));
  const X m = e.linear(w.down, clip ? e.quick_gelu(up) : e.gelu(up));
  return e.add(y, clip ? m : e.mul(m, w.scale2));
}

// pixels [T, 3, S, S], normalised -> [T * (1 + n), hidden]; the last layer's output, no final norm.
template <class E, class M, class P>
auto tower(E& e, const Config& c, const TowerWeights<M>& w, const P& pixels, int tiles, int side) {
  const VisionConfig& v = c.vision;
  const int grid = side / v.patch, tokens = 1 + grid * grid;
  auto x = e.with_class(e.linear(w.patch, e.patches(pixels, tiles, side, v.patch)), w.class_token,
                        tiles);
  x = grid == v.grid()
          ? e.add_positions(x, w.positions)
          : e.add_positions(x, e.resample(w.positions, position_matrix(v.grid(), grid)));
  x = e.note({}, Note::embeddings, x);
  if (v.kind == Tower::clip) x = e.note({}, Note::pre_layernorm, e.layer_norm(x, w.pre_norm));
  const auto layer = [&c, tokens](E& some, const auto& l, const auto& y) {
    return tower_layer(some, c, l, y, tokens);
  };
  for (const TowerLayer<M>& l : w.layers)
    x = e.note({l.index, 1}, Note::tower_layer, segment(e, {l.index, 1}, l, x, layer));
  return x;
}

// [T * (1 + n), hidden] -> [T * n / shuffle^2, llm hidden]
template <class E, class M, class X>
X project(E& e, const Config& c, const ProjectorWeights<M>& w, const X& x, int tiles, int side) {
  const int grid = side / c.vision.patch;
  X y = e.note({}, Note::features, e.drop_class(x, tiles));
  if (c.vision.kind == Tower::intern_vit) {
    y = e.note({}, Note::shuffled, e.shuffle(y, grid, c.shuffle));
    y = e.layer_norm(y, w.norm);
  }
  return e.note({}, Note::projected, e.linear(w.down, e.gelu(e.linear(w.up, y))));
}

template <class E, class M, class P>
auto see(E& e, const Config& c, const Weights<M>& w, const P& pixels, int tiles, int side) {
  return project(e, c, w.projector, tower(e, c, w.tower, pixels, tiles, side), tiles, side);
}

}  // namespace revenant
