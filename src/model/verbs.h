// The verbs that the forward text uses, and the default compositions of the coarse ones. An
// executor derives from Verbs<itself>, has a type Tensor, and gives these verbs, all returning
// values:
// clang-format off
//
//   embed(table, ids)                  [R, H]            rows of the embedding table
//   place(x, features, step)           [R, H]            features overwrite the picture rows, in order
//   linear(w, x, step*)                [..., out]        on the last dimension; image LoRA if w has one
//   heads(x, d)                        [R, n, d]         from [R, n * d]; join(x) is its inverse
//   rms_norm(x, norm), layer_norm(x, norm)               on the last dimension
//   rope(x, step)                      [R, n, d]         half-split rotation of q or k
//   anchor(site, qkv, w, eta, step, make)  Anchors      make(each sequence's first row), one per span;
//                                                        kept with the sequence, set by pass 1 only. Where
//                                                        eta^2 |y_q| |y_k| cannot count in a score, a
//                                                        sequence may be quiet: without these ghosts
//   each(w, step)                      [S, H]            a weight [H] once a span
//   attend_heads(q, k, v, step)        [R, n, d]         row r's heads look at the heads of its span's
//                                                        k, v; softmax over heads, scale 1/sqrt(d)
//   attend_own_heads(q, k, v)          [R, n, d]         the same over the row's own heads
//   attend(site, haunted, step, eta, part)  Halves       causal, within sequences, over cached rows too;
//                                                        scores (q.k + eta^2 gq.gk) / sqrt(d),
//                                                        plain = P v, ghost = plain + eta P gv
//   eta(learnt, usual)                                   what attend takes: the layer's weight, or the
//                                                        configuration's number where it has none
//   attend_tile(qkv, tokens, w)        [T * tokens, n, d]  every token of a tile looks at all of it; qkv
//                                                        came of w, whose format may be attention's too
//   patches(pixels, tiles, side, patch)  [T * grid^2, 3 * patch * patch]
//   with_class(x, class_token, tiles)  [T * (1 + n), H]  drop_class(x, tiles) is its inverse
//   resample(table, matrix)            [m, H]            matrix [m, n] (row-major floats) times table [n, H]
//   add_positions(x, positions)                          positions [m, H] repeated over tiles
//   shuffle(x, grid, factor)           space-to-depth, [T * grid^2, H] -> [T * (grid/f)^2, H * f^2]
//   take(x, rows)                      [n, H]            selected rows
//   add, sub, mul(x, y)                                  elementwise; mul's y may be [H], for every row
//   lerp(a, b, t)                                        a + t (b - a); t broadcasts over the last dimension
//   affine(x, scale, shift)                              scale x + shift
//   asked(step)                        Part*             of the step's rows those that are asked for, or null: all
//   within(part, f)                    f(step)           what f computes are rows of the part, under their own step
//   again(x, step, passes)             [R, H]            passes(rows, their step), of rows that traverse at
//                                                        least; the others, if they are there, are gated out
//   at_least(x, t)                                       x, 0 where it is less than t
//   gate_prompt(gate, step)                              gate, 0 on rows that do not traverse (step.h)
//   gelu (exact), quick_gelu, silu, tanh, sigmoid
//   note(site, name, x)                                  x; the only hook for observers
//
// An executor has a type Part, some of a step's rows, with a member `rows` that take() takes.
// It may have one more verb, segment(site, w, x, part): part(executor, w, x), a layer of weights
// w, of which what is computed on the way may be forgotten and computed again.
// clang-format on
#pragma once

#include "model/note.h"
#include "model/step.h"
#include "model/weights.h"

namespace revenant {

// Queries, keys and values, [rows, heads, head_dim] each; k and v have kv_heads.
template <class T>
struct Qkv {
  T q, k, v;
};

// With ghosts: the unscaled y of XAttention, same shapes; empty tensors where Phantom is off.
template <class T>
struct Haunted {
  Qkv<T> plain, ghost;
  bool has_ghost = false;
};

// What a mixer's queries look at of each sequence, [S, heads, head_dim], in the mixers of q, k and
// v.
template <class T>
struct Seen {
  T k, v;
};
template <class T>
struct Anchors {
  Seen<T> q, k, v;
  std::vector<bool> quiet = {};  // [S], or nobody is
};

// What attention gives: P v, and P (v + eta y) where there are ghosts. [rows, heads, head_dim]
template <class T>
struct Halves {
  T plain, ghost;
};

template <class E, class W, class X, class F>
X segment(E& e, Site site, const W& w, const X& x, const F& part) {
  if constexpr (requires { e.segment(site, w, x, part); })
    return e.segment(site, w, x, part);
  else
    return part(e, w, x);
}

template <class E>
struct Verbs {
  template <class X, class F>
  X again(const X& x, const Step& step, const F& passes) {
    return passes(x, step);
  }
  // x + gate (pass - x); rows whose gate is 0 need no pass beyond its keys and values, nor, `last`
  // of all passes, do those that nobody asks for. pass(part) computes all rows, or those of a part.
  template <class X, class F>
  X lerp_where(const X& x, const X& gate, const Step& /*step*/, bool /*last*/, const F& pass) {
    E& e = static_cast<E&>(*this);
    return e.lerp(x, pass(static_cast<const typename E::Part*>(nullptr)), gate);
  }
  // Phantom's mixing of heads (phantom.h): x's look at `seen`, or at their own row's. Rows of
  // sequences that are quiet (null: nobody is) may be left out.
  template <class M, class X>
  X mix(const M& m, const X& x, const Seen<X>* seen, const std::vector<bool>* /*quiet*/,
        const Step& step) {
    E& e = static_cast<E&>(*this);
    const X q = e.gelu(e.linear(m.q, x));
    if (seen) return e.gelu(e.linear(m.o, e.attend_heads(q, seen->k, seen->v, step)));
    return e.gelu(
        e.linear(m.o, e.attend_own_heads(q, e.gelu(e.linear(m.k, x)), e.gelu(e.linear(m.v, x)))));
  }
  // Phantom's gate of each row and head, [R, n, 1], read from the two halves.
  template <class L, class X>
  X gate_of(const L& gate1, const X& plain, const L& gate2, const X& ghost) {
    E& e = static_cast<E&>(*this);
    return e.sigmoid(e.sub(e.linear(gate1, plain), e.linear(gate2, ghost)));
  }
  template <class W, class X>
  auto swiglu(const W& w, const X& x, const Step& step) {
    E& e = static_cast<E&>(*this);
    return e.linear(w.down, e.silu_times(e.linear(w.gate, x, &step), e.linear(w.up, x, &step)),
                    &step);
  }
  template <class X>
  X silu_times(const X& gate, const X& up) {
    E& e = static_cast<E&>(*this);
    return e.mul(e.silu(gate), up);
  }
  // w has q, k, v; the decoder's rows follow `step`, the tower's have none.
  template <class W, class X>
  Qkv<X> qkv(const W& w, const X& x, int head_dim, const Step* step = nullptr) {
    E& e = static_cast<E&>(*this);
    return {e.heads(e.linear(w.q, x, step), head_dim), e.heads(e.linear(w.k, x, step), head_dim),
            e.heads(e.linear(w.v, x, step), head_dim)};
  }
};

}  // namespace revenant
