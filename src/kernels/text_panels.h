// Products of quantised weights in panels (panels.h) with rows of int8, lanes over outputs.
//
//   out[r, j] = sum over runs of  scale[j, run] xscale[r, run] (q[j] . xq[r])  (+ min[j] xtotal[r])
//
// q . xq is exact in int32; what follows is one fma a run (and one for the minimum of a unit), K
// ascending, the same for any number of rows: a result's bits depend on its own row and output
// only, and every instruction set gives the same ones.
//
// Four loops, from the outside:
//   strips of rows and pieces of K: their inputs are read by every panel and stay in the second
//   cache,
//     rows x piece x 1.5 bytes <= 768 KB, all rows and all of K where that holds; else
//     a strip reads all weights, a piece reads and writes all sums, 1 / rows + 8 / piece bytes a
//     multiply-add, which under that limit is least at 256 rows of 2,048 -> pieces of 4 chunks;
//   panels, two vectors of outputs at a time;
//   chunks of `depth` along K: a panel's, unpacked to a byte a number with f32 scales, is read by
//   every row and stays in the first cache,
//     32 outputs x depth (1 + 1/4) bytes + tile_rows x depth x 1.5 bytes <= 24 KB -> depth = 512;
//   tiles of tile_rows x two vectors, whose sums are in registers:
//     2 tile_rows int32 sums, as many f32, two weights, two scales and one x <= all registers.
// Between chunks the f32 sums wait in `out`, which does not change them.
// Up to `straight_rows` rows are bound by reading weights: a panel's numbers are unpacked in
// registers, into the dots: there is nothing to keep them for.
#pragma once

#include "kernels/panels.h"
#include "kernels/text_rows.h"

namespace revenant {
namespace {

constexpr size_t depth = 512, depth_units = depth / unit_k, piece_units = 4 * depth_units,
                 second_cache = 768 << 10, straight_rows = 4;
constexpr size_t tile_outputs = 2 * lanes, tile_panels = tile_outputs / panel_outputs;
static_assert(tile_outputs % panel_outputs == 0);

// Bytes of weights that are asked for before their turn: more than memory takes to answer.
constexpr size_t ahead = 8192;

// Of so many units of a panel: a scale a run, of which a unit has two at most, and a minimum a
// unit.
template <size_t units>
struct Scales {
  alignas(64) float scale[2 * units][panel_outputs];
  alignas(64) float min[units][panel_outputs];
};
// A chunk of a panel, ready for the tiles. q points into it, or to the panel where a number is a
// byte there.
struct Chunk : Scales<depth_units> {
  const uint8_t* q;
  alignas(64) uint8_t unpacked[depth_units][unit_groups][group_bytes];
};

// Bits [shift, shift + 8) of each byte that `mask` keeps; a shift brings a neighbour's bits in
// above.
inline Ints bits_of(Ints x, size_t shift, Ints mask) { return x >> (long long)shift & mask; }

// Groups 2v and 2v + 1 of a unit of fewer than 8 bits, bytes from i on.
inline void unpack_two(const uint8_t* unit, int bits, size_t v, size_t i, Ints& even, Ints& odd) {
  const Ints low = all(0x0f0f0f0f), in = load_ints(unit + v * group_bytes + i);
  even = bits_of(in, 0, low), odd = bits_of(in, 4, low);
  if (bits == 4) return;
  const size_t planes = size_t(bits - 4), at = 2 * v * planes;  // bits before group 2v's
  const Ints mask = all(bits == 5 ? 0x01010101 : 0x03030303);
  const Ints high = load_ints(unit + (4 + at / 8) * group_bytes + i);
  even |= bits_of(high, at % 8, mask) << 4, odd |= bits_of(high, at % 8 + planes, mask) << 4;
}

inline void unpack_unit(const uint8_t* packed, int bits, uint8_t (&out)[unit_groups][group_bytes]) {
  for (size_t i = 0; i < group_bytes; i += sizeof(Ints)) {
#pragma GCC unroll 4
    for (size_t v = 0; v < 4; ++v) {
      Ints even, odd;
      unpack_two(packed, bits, v, i, even, odd);
      store_ints(out[2 * v] + i, even), store_ints(out[2 * v + 1] + i, odd);
    }
  }
}

inline void widen_16(const uint8_t* half, float (&out)[panel_outputs]) {
  for (size_t i = 0; i < panel_outputs; i += lanes)
    store(out + i, load(reinterpret_cast<const Half*>(half) + i));
}

// Scales of a block of 32, or of the units of a block of 256.
template <size_t units>
inline void unpack_scales(const uint8_t* at, const PanelShape& s, size_t unit, Scales<units>& c) {
  if (s.block == unit_k) {
    widen_16(at, c.scale[unit]);
    if (s.mins) widen_16(at + 32, c.min[unit]);
    return;
  }
  float d[panel_outputs], dmin[panel_outputs] = {};
  widen_16(at, d);
  if (s.mins) widen_16(at + 32, dmin);
  const uint8_t* runs = at + (s.mins ? 64 : 32);
  for (size_t i = 0; i < panel_outputs; i += lanes) {
    const Vec whole = load(d + i), whole_min = load(dmin + i);
    for (size_t j = 0; j < 8 * s.runs; ++j) {
      const uint8_t* bytes = runs + j * panel_outputs + i;
      const Vec part = s.mins ? from_bytes(bytes) : from_signed_bytes(bytes);
      store(c.scale[unit * s.runs + j] + i, whole * part);
    }
    for (size_t j = 0; s.mins && j < 8; ++j) {
      const Vec part = from_bytes(runs + 128 + j * panel_outputs + i);
      store(c.min[unit + j] + i, all(-1.0f) * (whole_min * part));
    }
  }
}

struct Panels {
  const uint8_t* data;
  PanelShape shape;
  PanelSizes sizes;
  size_t n, k;
};

// Units [first, first + count) of a panel.
inline void unpack_chunk(const Panels& p, size_t panel, size_t first, size_t count, Chunk& c) {
  const uint8_t* begin = p.data + panel * p.sizes.panel;
  const uint8_t *units = begin + first * p.sizes.unit,
                *scales = begin + p.k / unit_k * p.sizes.unit;
  c.q = units;
  if (p.shape.bits < 8) {
    for (size_t u = 0; u < count; ++u) {
      const uint8_t* unit = units + u * p.sizes.unit;
      for (size_t i = 0; i < p.sizes.unit; i += group_bytes) __builtin_prefetch(unit + ahead + i);
      unpack_unit(unit, p.shape.bits, c.unpacked[u]);
    }
    c.q = c.unpacked[0][0];
  }
  const size_t each = p.shape.block / unit_k;
  for (size_t u = 0; u < count; u += each)
    unpack_scales(scales + (first + u) / each * p.sizes.scales, p.shape, u, c);
}

// Groups whose products 16 bits hold, where the instruction set sums there first; 0: none. A group
// is a pair of products in each half of a lane, at most 2 (2^bits - 1) 127.
constexpr size_t groups_in_16(int bits) {
  return !sums_in_16 ? 0 : bits == 4 ? 8 : bits == 5 ? 4 : bits == 6 ? 2 : 0;
}

// Dots of a run.
template <int bits>
struct Dots {
  static constexpr size_t together = groups_in_16(bits);
  static constexpr bool with_sign = bits == 8 && signed_eights;
  Ints sum, narrow;

  // A number is w - zero; `xs`: the sum of the run's x.
  void begin(int zero, int32_t xs) { sum = all(with_sign ? 0 : -zero * xs); }
  // The run's groups in order, `group` from 0 on.
  void add(Ints w, Ints four, size_t group) {
    if constexpr (with_sign) {
      sum = add_signed_fours(sum, w, four);
    } else if constexpr (together == 0) {
      sum = add_fours(sum, w, four);
    } else {
      narrow = group % together == 0 ? pairs(w, four) : add_pairs(narrow, w, four);
      if (group % together == together - 1) sum = add_narrow(sum, narrow);
    }
  }
};

// Adds `units` units to the sums of M rows and two vectors of outputs.
template <size_t M, int bits, size_t runs, bool mins>
inline void add_tile(const Chunk* chunks, size_t units, int zero, const Int8Block* const (&x)[M],
                     Vec (&sum)[M][2]) {
  constexpr size_t groups = unit_groups / runs;
  const uint8_t* q[2];
  const float *scale[2], *min[2];
  for (size_t v = 0; v < 2; ++v) {
    const size_t at = v * lanes % panel_outputs;
    const Chunk& c = chunks[v * lanes / panel_outputs];
    q[v] = c.q + 4 * at, scale[v] = c.scale[0] + at, min[v] = c.min[0] + at;
  }
  for (size_t u = 0; u < units; ++u) {
#pragma GCC unroll 2
    for (size_t run = 0; run < runs; ++run) {
      Dots<bits> dot[M][2];
#pragma GCC unroll 8
      for (size_t m = 0; m < M; ++m) {
        const int32_t* sums = x[m][u].sums;
        for (Dots<bits>& d : dot[m]) d.begin(zero, runs == 1 ? sums[0] + sums[1] : sums[run]);
      }
#pragma GCC unroll 8
      for (size_t g = run * groups; g < (run + 1) * groups; ++g) {
        const Ints w0 = load_ints(q[0] + g * group_bytes), w1 = load_ints(q[1] + g * group_bytes);
#pragma GCC unroll 8
        for (size_t m = 0; m < M; ++m) {
          const Ints four = all_four(x[m][u].q + 4 * g);
          dot[m][0].add(w0, four, g - run * groups), dot[m][1].add(w1, four, g - run * groups);
        }
      }
      const Vec s0 = load(scale[0]), s1 = load(scale[1]);
      scale[0] += panel_outputs, scale[1] += panel_outputs;
#pragma GCC unroll 8
      for (size_t m = 0; m < M; ++m) {
        const Vec xs = all(x[m][u].scale);
        sum[m][0] = fma(to_floats(dot[m][0].sum), s0 * xs, sum[m][0]);
        sum[m][1] = fma(to_floats(dot[m][1].sum), s1 * xs, sum[m][1]);
      }
    }
    q[0] += unit_groups * group_bytes, q[1] += unit_groups * group_bytes;
    if constexpr (mins) {
      const Vec m0 = load(min[0]), m1 = load(min[1]);
      min[0] += panel_outputs, min[1] += panel_outputs;
#pragma GCC unroll 8
      for (size_t m = 0; m < M; ++m) {
        const Vec total = all(x[m][u].total);
        sum[m][0] = fma(m0, total, sum[m][0]), sum[m][1] = fma(m1, total, sum[m][1]);
      }
    }
  }
}

struct Int8Product {
  Panels w;
  const Int8Block* x;
  size_t rows;
  const float* bias;
  float* out;
  size_t out_stride;
};

inline Vec get(const float* p, size_t n) {
  return n >= lanes ? load(p) : n > 0 ? load_some(p, n) : zero();
}
inline void put(float* p, size_t n, Vec x) {
  if (n >= lanes) return store(p, x);
  if (n > 0) store_some(p, n, x);
}

// Rows [r, r + M) through a chunk that begins at unit `first`, outputs from j on.
template <size_t M, int bits, size_t runs, bool mins>
void tile(const Int8Product& p, const Chunk* chunks, size_t r, size_t j, size_t first,
          size_t units) {
  const size_t all_units = p.w.k / unit_k;
  const size_t left = p.w.n - j, n[2] = {left, left > lanes ? left - lanes : 0};
  const Int8Block* x[M];
  Vec sum[M][2];
#pragma GCC unroll 8
  for (size_t m = 0; m < M; ++m) {
    x[m] = p.x + (r + m) * all_units + first;
    const float* out = p.out + (r + m) * p.out_stride + j;
#pragma GCC unroll 2
    for (size_t v = 0; v < 2; ++v) sum[m][v] = first ? get(out + v * lanes, n[v]) : zero();
  }
  add_tile<M, bits, runs, mins>(chunks, units, p.w.shape.zero, x, sum);
  const bool last = first + units == all_units;
#pragma GCC unroll 8
  for (size_t m = 0; m < M; ++m) {
    float* out = p.out + (r + m) * p.out_stride + j;
#pragma GCC unroll 2
    for (size_t v = 0; v < 2; ++v) {
      const Vec bias = last && p.bias ? get(p.bias + j + v * lanes, n[v]) : zero();
      put(out + v * lanes, n[v], last && p.bias ? sum[m][v] + bias : sum[m][v]);
    }
  }
}

template <int bits, size_t runs, bool mins, size_t M = tile_rows>
inline void rest_of_rows(const Int8Product& p, const Chunk* c, size_t r, size_t count, size_t j,
                         size_t first, size_t units) {
  if constexpr (M > 0) {
    if (count == M) return tile<M, bits, runs, mins>(p, c, r, j, first, units);
    rest_of_rows<bits, runs, mins, M - 1>(p, c, r, count, j, first, units);
  }
}

// Rows [r, r + rows) and the outputs from j on, through one chunk.
template <int bits, size_t runs, bool mins>
void chunk_of_panels(const Int8Product& p, size_t r, size_t rows, size_t j, size_t first) {
  const size_t units = lesser(depth_units, p.w.k / unit_k - first);
  Chunk chunks[tile_panels];
  const size_t last = (p.w.n - 1) / panel_outputs;
  for (size_t i = 0; i < tile_panels; ++i)
    unpack_chunk(p.w, lesser(j / panel_outputs + i, last), first, units, chunks[i]);
  const size_t end = r + rows;
  for (; r < end; r += tile_rows)
    rest_of_rows<bits, runs, mins>(p, chunks, r, lesser(tile_rows, end - r), j, first, units);
}

// M rows through all of K and two vectors of outputs, nothing unpacked but in registers.
template <size_t M, int bits, size_t runs, bool mins>
void straight(const Int8Product& p, size_t j) {
  constexpr size_t groups = unit_groups / runs;
  const size_t units = p.w.k / unit_k, last = (p.w.n - 1) / panel_outputs;
  const bool wide_blocks = p.w.shape.block > unit_k;
  const uint8_t *unit[2], *scales[2];
  size_t at[2];  // of the vector's first output in its panel
  for (size_t v = 0; v < 2; ++v) {
    at[v] = v * lanes % panel_outputs;
    const size_t panel = lesser(j / panel_outputs + v * lanes / panel_outputs, last);
    unit[v] = p.w.data + panel * p.w.sizes.panel;
    scales[v] = unit[v] + units * p.w.sizes.unit;
  }
  Vec sum[M][2];
#pragma GCC unroll 4
  for (size_t m = 0; m < M; ++m) sum[m][0] = sum[m][1] = zero();
  Scales<8> block[2];  // of blocks of 256
  for (size_t u = 0; u < units; ++u) {
    const size_t in_block = wide_blocks ? u % 8 : 0;
    if (wide_blocks && in_block == 0)
      for (size_t v = 0; v < 2; ++v) {
        unpack_scales(scales[v], p.w.shape, 0, block[v]);
        scales[v] += p.w.sizes.scales;
      }
#pragma GCC unroll 2
    for (size_t run = 0; run < runs; ++run) {
      Dots<bits> dot[M][2];
#pragma GCC unroll 4
      for (size_t m = 0; m < M; ++m) {
        const int32_t* sums = p.x[m * units + u].sums;
        for (Dots<bits>& d : dot[m])
          d.begin(p.w.shape.zero, runs == 1 ? sums[0] + sums[1] : sums[run]);
      }
#pragma GCC unroll 4
      for (size_t g = run * groups; g < (run + 1) * groups; g += 2) {
        Ints w[2][2];
#pragma GCC unroll 2
        for (size_t v = 0; v < 2; ++v) {
          if constexpr (bits == 8) {
            w[v][0] = load_ints(unit[v] + g * group_bytes + 4 * at[v]);
            w[v][1] = load_ints(unit[v] + (g + 1) * group_bytes + 4 * at[v]);
          } else {
            unpack_two(unit[v], bits, g / 2, 4 * at[v], w[v][0], w[v][1]);
          }
        }
#pragma GCC unroll 4
        for (size_t m = 0; m < M; ++m) {
          const int8_t* x = p.x[m * units + u].q + 4 * g;
          const Ints four = all_four(x), next = all_four(x + 4);
#pragma GCC unroll 2
          for (size_t v = 0; v < 2; ++v) {
            dot[m][v].add(w[v][0], four, g - run * groups);
            dot[m][v].add(w[v][1], next, g + 1 - run * groups);
          }
        }
      }
      Vec s[2];
#pragma GCC unroll 2
      for (size_t v = 0; v < 2; ++v)
        s[v] = wide_blocks ? load(block[v].scale[in_block * runs + run] + at[v])
                           : load(reinterpret_cast<const Half*>(scales[v]) + at[v]);
#pragma GCC unroll 4
      for (size_t m = 0; m < M; ++m) {
        const Vec xs = all(p.x[m * units + u].scale);
#pragma GCC unroll 2
        for (size_t v = 0; v < 2; ++v)
          sum[m][v] = fma(to_floats(dot[m][v].sum), s[v] * xs, sum[m][v]);
      }
    }
    if constexpr (mins) {
#pragma GCC unroll 2
      for (size_t v = 0; v < 2; ++v) {
        const Vec min = wide_blocks ? load(block[v].min[in_block] + at[v])
                                    : load(reinterpret_cast<const Half*>(scales[v] + 32) + at[v]);
#pragma GCC unroll 4
        for (size_t m = 0; m < M; ++m)
          sum[m][v] = fma(min, all(p.x[m * units + u].total), sum[m][v]);
      }
    }
    for (size_t v = 0; v < 2; ++v) {
      if (v == 0 || at[1] == 0)
        for (size_t i = 0; i < p.w.sizes.unit; i += group_bytes)
          __builtin_prefetch(unit[v] + ahead + i);
      unit[v] += p.w.sizes.unit;
      if (!wide_blocks) scales[v] += p.w.sizes.scales;
    }
  }
#pragma GCC unroll 4
  for (size_t m = 0; m < M; ++m)
#pragma GCC unroll 2
    for (size_t v = 0; v < 2; ++v) {
      if (j + v * lanes >= p.w.n) continue;
      const size_t n = p.w.n - j - v * lanes;
      const Vec bias = p.bias ? get(p.bias + j + v * lanes, n) : zero();
      put(p.out + m * p.out_stride + j + v * lanes, n, p.bias ? sum[m][v] + bias : sum[m][v]);
    }
}

template <int bits, size_t runs, bool mins, size_t M = straight_rows>
inline void straight_of(const Int8Product& p) {
  if constexpr (M > 0) {
    if (p.rows != M) return straight_of<bits, runs, mins, M - 1>(p);
    for (size_t j = 0; j < p.w.n; j += tile_outputs) straight<M, bits, runs, mins>(p, j);
  }
}

template <int bits, size_t runs, bool mins>
void product_of(const Int8Product& p) {
  const size_t units = p.w.k / unit_k;
  if (p.rows <= straight_rows) return straight_of<bits, runs, mins>(p);
  const bool fits = p.rows * units * sizeof(Int8Block) <= second_cache;
  const size_t deep = fits ? units : lesser(units, piece_units),
               room = second_cache / (deep * sizeof(Int8Block)) / tile_rows * tile_rows,
               strip = fits ? p.rows : room;
  for (size_t r = 0; r < p.rows; r += strip)
    for (size_t piece = 0; piece < units; piece += deep)
      for (size_t j = 0; j < p.w.n; j += tile_outputs)
        for (size_t first = piece; first < lesser(piece + deep, units); first += depth_units)
          chunk_of_panels<bits, runs, mins>(p, r, lesser(strip, p.rows - r), j, first);
}

void product_of_panels(const WeightView& w, const void* x, size_t rows, const float* bias,
                       float* out, size_t out_stride) {
  const PanelShape shape = panel_shapes[size_t(w.format) - size_t(Format::q8_0)];
  const Int8Product p{
      {static_cast<const uint8_t*>(w.data), shape, panel_sizes(w.format, w.k), w.n, w.k},
      static_cast<const Int8Block*>(x),
      rows,
      bias,
      out,
      out_stride};
  switch (shape.bits) {
    case 8:
      return product_of<8, 1, false>(p);
    case 6:
      return product_of<6, 2, false>(p);
    case 5:
      return shape.mins ? product_of<5, 1, true>(p) : product_of<5, 1, false>(p);
    default:
      return shape.mins ? product_of<4, 1, true>(p) : product_of<4, 1, false>(p);
  }
}

// 32 numbers as whole ones: scale = the largest magnitude / 127, nearest, ties to even. An infinity
// or a NaN makes the scale one, and with it all that the block meets.
inline void quantise_32(const float* x, Int8Block& out) {
  constexpr size_t vectors = unit_k / lanes;
  Vec v[vectors], top = zero(), poison = zero();
#pragma GCC unroll 4
  for (size_t i = 0; i < vectors; ++i) {
    v[i] = load(x + i * lanes);
    top = greatest(top, magnitude(v[i]));
    poison = poison + (v[i] - v[i]);
  }
  const float most = largest(top), inverse = most > least_int8_input ? 127.0f / most : 0.0f;
  Ints half[2] = {all(0), all(0)};
#pragma GCC unroll 4
  for (size_t i = 0; i < vectors; ++i) {
    const Ints whole = to_ints(v[i] * all(inverse));
    store_low_bytes(out.q + i * lanes, whole);
    half[2 * i / vectors] = add(half[2 * i / vectors], whole);
  }
  const bool poisoned = any_nan(poison);
  out.sums[0] = poisoned ? 0 : sum(half[0]), out.sums[1] = poisoned ? 0 : sum(half[1]);
  out.scale = poisoned ? __builtin_nanf("") : most / 127.0f;
  out.total = out.scale * float(out.sums[0] + out.sums[1]);
}

}  // namespace
}  // namespace revenant
