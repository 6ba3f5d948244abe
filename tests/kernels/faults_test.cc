// Faults planted in a table of kernels: the comparison with the plain twin must notice each.
#include <algorithm>
#include <functional>

#include "kernels/guarded.h"

namespace revenant {
namespace {

const Kernels& twin() { return *kernels_for("generic"); }

// The largest |a - b| in units of 1e-4 |b| + 1e-5.
double misfit(const Guarded<float>& a, const Guarded<float>& b) {
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double ratio = std::abs(double(a[i]) - b[i]) / (1e-4 * std::abs(double(b[i])) + 1e-5);
    worst = std::isfinite(ratio) ? std::max(worst, ratio) : INFINITY;
  }
  return worst;
}

// One call of an entry on fixed numbers.
using Call = std::function<Guarded<float>(const Kernels&)>;

Guarded<float> linear(const Kernels& table, Format format) {
  constexpr size_t rows = 5, n = 21, k = 21;
  const auto x = normals(rows * k, 1), bias = normals(n, 2), w = normals(n * k, 3);
  std::vector<std::byte> stored(n * row_bytes(format, k));
  pack_row(format, {w.data(), n * k}, stored.data());
  return product_of(table, {format, stored.data(), n, k}, x.data(), rows, bias.data());
}

Guarded<float> rms_norm(const Kernels& table) {
  auto x = normals(3 * 37, 1);
  for (size_t i = 0; i < x.size(); ++i) x[i] *= 0.01f;  // eps counts
  const auto weight = normals(37, 2);
  Guarded<float> out(x.size());
  table.rms_norm(x.data(), 3, 37, weight.data(), 1e-5f, out.data());
  return out;
}

Guarded<float> layer_norm(const Kernels& table) {
  auto x = normals(3 * 37, 1);
  for (size_t i = 0; i < x.size(); ++i) x[i] = 0.01f * x[i] + 0.1f;
  const auto weight = normals(37, 2), bias = normals(37, 3);
  Guarded<float> out(x.size());
  table.layer_norm(x.data(), 3, 37, weight.data(), bias.data(), 1e-5f, out.data());
  return out;
}

using Loop = void (*Kernels::*)(const float*, size_t, float*) noexcept;
Call map(Loop loop) {
  return [loop](const Kernels& table) {
    auto x = normals(101, 4);
    for (size_t i = 0; i < x.size(); ++i) x[i] *= 3;
    (table.*loop)(x.data(), x.size(), x.data());
    return x;
  };
}

Guarded<float> swiglu(const Kernels& table) {
  const auto gate = normals(101, 4), up = normals(101, 5);
  Guarded<float> out(101);
  table.swiglu(gate.data(), up.data(), 101, out.data());
  return out;
}

Guarded<float> rope(const Kernels& table) {
  const auto x = normals(3 * 2 * 24, 1), cos = normals(3 * 12, 2), sin = normals(3 * 12, 3);
  Guarded<float> out(x.size());
  table.rope(x.data(), 3, 2, 24, cos.data(), sin.data(), out.data());
  return out;
}

Guarded<float> attend(const Kernels& table, Format type) {
  constexpr size_t n = 4, keys = 150, d = 32;
  const auto q = normals(n * d, 1), gq = normals(n * d, 2);
  Guarded<float> out(2 * n * d);
  std::vector<Blocks> blocks;
  for (uint64_t i = 0; i < 4; ++i)
    blocks.emplace_back(normals(keys * d, 3 + i).data(), keys, d, type,
                        i % 2 == 0 ? BlockOf::keys : BlockOf::values);
  const int counts[n] = {1, 64, 65, 150};
  const float *queries[n], *ghosts[n];
  float *plain[n], *ghost[n];
  for (size_t i = 0; i < n; ++i) {
    queries[i] = q.data() + i * d, ghosts[i] = gq.data() + i * d;
    plain[i] = out.data() + i * d, ghost[i] = out.data() + (n + i) * d;
  }
  AttendArgs a;
  a.queries = n, a.head_dim = d, a.counts = counts, a.q = queries, a.gq = ghosts;
  a.k = blocks[0].pointers.data(), a.v = blocks[1].pointers.data();
  a.gk = blocks[2].pointers.data(), a.gv = blocks[3].pointers.data();
  a.type = a.ghost_type = type;
  a.scale = 0.2f, a.eta = 0.6f, a.plain = plain, a.ghost = ghost;
  table.attend(a);
  return out;
}

Guarded<float> attend_heads(const Kernels& table) {
  const auto q = normals(14 * 24, 1), k = normals(3 * 24, 2), v = normals(3 * 24, 3);
  Guarded<float> out(q.size());
  table.attend_heads(q.data(), 14, k.data(), v.data(), 3, 24, out.data());
  return out;
}

// A row of keys and one of values as a cache gives them back, then the greatest magnitudes.
Guarded<float> remember(const Kernels& table, Format type) {
  constexpr size_t d = 64;
  auto x = normals(d, 6);
  x[20] = -9;
  Guarded<float> out(2 * d + 2);
  for (const BlockOf of : {BlockOf::keys, BlockOf::values}) {
    const size_t at = of == BlockOf::keys ? 0 : d;
    Guarded<uint8_t> block(block_bytes(type, d));
    out[2 * d + at / d] = table.remember(x.data(), d, type, of, 37, block.data());
    for (size_t i = 0; i < d; ++i) out[at + i] = held_number(block.data(), d, type, of, 37, i);
  }
  return out;
}

template <class F>
std::vector<Call> by_type(F call) {
  std::vector<Call> calls;
  for (const Format type : cache_formats)
    calls.push_back([=](const Kernels& table) { return call(table, type); });
  return calls;
}

std::vector<Call> linears() {
  std::vector<Call> calls;
  for (const Format format : {Format::f32, Format::f16, Format::bf16})
    calls.push_back([=](const Kernels& table) { return linear(table, format); });
  return calls;
}

double distance(const Kernels& table, const std::vector<Call>& calls) {
  double worst = 0;
  for (const Call& call : calls) worst = std::max(worst, misfit(call(table), call(twin())));
  return worst;
}

EACH_TABLE(TwinFaults);

TEST_P(TwinFaults, NoneIsNoticed) {
  EXPECT_LE(distance(*table, linears()), 1);
  EXPECT_LE(distance(*table, by_type(attend)), 1);
  EXPECT_LE(distance(*table, by_type(remember)), 0);
  EXPECT_LE(distance(*table, {rms_norm, layer_norm, swiglu, rope, attend_heads}), 1);
  EXPECT_LE(distance(*table, {map(&Kernels::gelu), map(&Kernels::quick_gelu), map(&Kernels::silu),
                              map(&Kernels::tanh), map(&Kernels::sigmoid)}),
            1);
}

void expect_noticed(const char* what, const std::vector<Call>& calls,
                    const std::function<void(Kernels&)>& plant) {
  Kernels harmed = twin();
  plant(harmed);
  for (const Call& call : calls) EXPECT_GT(misfit(call(harmed), call(twin())), 10) << what;
}

TEST(KernelFaults, OfProducts) {
  const auto planted = [](const char* what, decltype(Kernels::product) fault) {
    expect_noticed(what, linears(), [=](Kernels& k) { k.product = fault; });
  };
  planted("no bias", [](const WeightView& w, const void* x, size_t r, const float*, float* o,
                        size_t os) noexcept { twin().product(w, x, r, nullptr, o, os); });
  planted("the first row for all", [](const WeightView& w, const void* x, size_t r, const float* b,
                                      float* o, size_t os) noexcept {
    for (size_t i = 0; i < r; ++i) twin().product(w, x, 1, b, o + i * os, os);
  });
  planted("last output from its neighbour", [](const WeightView& w, const void* x, size_t r,
                                               const float* b, float* o, size_t os) noexcept {
    twin().product(w, x, r, b, o, os);
    for (size_t i = 0; i < r; ++i) o[i * os + w.n - 1] = o[i * os + w.n - 2];
  });
  const auto crossed = [](const WeightView& w, const void* x, size_t r, const float* b, float* o,
                          size_t os) noexcept {
    const Format other = w.format == Format::f16 ? Format::bf16 : Format::f16;
    twin().product({other, w.data, w.n, w.k, false}, x, r, b, o, os);
  };
  std::vector<Call> halves = linears();
  halves.erase(halves.begin());
  expect_noticed("16-bit types exchanged", halves, [&](Kernels& k) { k.product = crossed; });
}

TEST(KernelFaults, OfNorms) {
  expect_noticed("rms: no eps", {rms_norm}, [](Kernels& k) {
    k.rms_norm = [](const float* x, size_t r, size_t w, const float* g, float, float* o) noexcept {
      twin().rms_norm(x, r, w, g, 0, o);
    };
  });
  expect_noticed("rms: one row's norm for all", {rms_norm}, [](Kernels& k) {
    k.rms_norm = [](const float* x, size_t r, size_t w, const float* g, float e,
                    float* o) noexcept {
      for (size_t i = 0; i < r; ++i) twin().rms_norm(x, 1, w, g, e, o + i * w);
    };
  });
  expect_noticed("layer: no bias", {layer_norm}, [](Kernels& k) {
    k.layer_norm = [](const float* x, size_t r, size_t w, const float* g, const float*, float e,
                      float* o) noexcept {
      const std::vector<float> none(w);
      twin().layer_norm(x, r, w, g, none.data(), e, o);
    };
  });
  expect_noticed("layer: the mean stays", {layer_norm}, [](Kernels& k) {
    k.layer_norm = [](const float* x, size_t r, size_t w, const float* g, const float* b, float e,
                      float* o) noexcept {
      twin().rms_norm(x, r, w, g, e, o);
      for (size_t i = 0; i < r * w; ++i) o[i] += b[i % w];
    };
  });
}

TEST(KernelFaults, OfElementwise) {
  expect_noticed("gelu by tanh", {map(&Kernels::gelu)}, [](Kernels& k) {
    k.gelu = [](const float* x, size_t n, float* o) noexcept {
      for (size_t i = 0; i < n; ++i)
        o[i] =
            0.5f * x[i] * (1 + std::tanh(0.7978845608f * (x[i] + 0.044715f * x[i] * x[i] * x[i])));
    };
  });
  expect_noticed("quick_gelu as gelu", {map(&Kernels::quick_gelu)},
                 [](Kernels& k) { k.quick_gelu = twin().gelu; });
  expect_noticed("silu as quick_gelu", {map(&Kernels::silu)},
                 [](Kernels& k) { k.silu = twin().quick_gelu; });
  expect_noticed("tanh as sigmoid", {map(&Kernels::tanh)},
                 [](Kernels& k) { k.tanh = twin().sigmoid; });
  expect_noticed("sigmoid as tanh", {map(&Kernels::sigmoid)},
                 [](Kernels& k) { k.sigmoid = twin().tanh; });
  expect_noticed("gate and up exchanged", {swiglu}, [](Kernels& k) {
    k.swiglu = [](const float* g, const float* u, size_t n, float* o) noexcept {
      twin().swiglu(u, g, n, o);
    };
  });
}

TEST(KernelFaults, OfRope) {
  expect_noticed("turned the other way", {rope}, [](Kernels& k) {
    k.rope = [](const float* x, size_t r, size_t h, size_t d, const float* c, const float* s,
                float* o) noexcept {
      std::vector<float> back(s, s + r * d / 2);
      for (float& v : back) v = -v;
      twin().rope(x, r, h, d, c, back.data(), o);
    };
  });
  expect_noticed("the first row's angles for all", {rope}, [](Kernels& k) {
    k.rope = [](const float* x, size_t r, size_t h, size_t d, const float* c, const float* s,
                float* o) noexcept {
      for (size_t i = 0; i < r; ++i) twin().rope(x + i * h * d, 1, h, d, c, s, o + i * h * d);
    };
  });
}

template <class Harm>
void attend_harmed(const char* what, Harm) {
  expect_noticed(what, by_type(attend), [](Kernels& k) {
    k.attend = [](const AttendArgs& args) noexcept {
      AttendArgs a = args;
      std::vector<int> counts(a.counts, a.counts + a.queries);
      a.counts = counts.data();
      Harm()(a, counts);
      twin().attend(a);
    };
  });
}

TEST(KernelFaults, OfAttention) {
  using Counts = std::vector<int>;
  attend_harmed("v from k", [](AttendArgs& a, Counts&) { a.v = a.k; });
  attend_harmed("ghost v from ghost k", [](AttendArgs& a, Counts&) { a.gv = a.gk; });
  attend_harmed("ghost k from k", [](AttendArgs& a, Counts&) { a.gk = a.k; });
  attend_harmed("ghost queries from the queries", [](AttendArgs& a, Counts&) { a.gq = a.q; });
  attend_harmed("no scale", [](AttendArgs& a, Counts&) { a.scale = 1; });
  attend_harmed("eta forgotten", [](AttendArgs& a, Counts&) { a.eta = 0; });
  attend_harmed("eta of another size", [](AttendArgs& a, Counts&) { a.eta = 0.36f; });
  attend_harmed("only the first block", [](AttendArgs&, Counts& counts) {
    for (int& count : counts) count = std::min(count, 64);
  });
  attend_harmed("not itself", [](AttendArgs&, Counts& counts) {
    for (int& count : counts) count = std::max(1, count - 1);
  });
}

TEST(KernelFaults, OfAttentionOverHeads) {
  expect_noticed("keys as values", {attend_heads}, [](Kernels& k) {
    k.attend_heads = [](const float* q, size_t n, const float* key, const float*, size_t m,
                        size_t d,
                        float* o) noexcept { twin().attend_heads(q, n, key, key, m, d, o); };
  });
  expect_noticed("the last head is not looked at", {attend_heads}, [](Kernels& k) {
    k.attend_heads = [](const float* q, size_t n, const float* key, const float* v, size_t m,
                        size_t d,
                        float* o) noexcept { twin().attend_heads(q, n, key, v, m - 1, d, o); };
  });
}

TEST(KernelFaults, OfRemembering) {
  const auto harmed = [](const char* what, auto harm) {
    expect_noticed(what, by_type(remember), [harm](Kernels& k) { k.remember = harm; });
  };
  harmed("cut off, not rounded",
         [](const float* x, size_t d, Format type, BlockOf of, size_t at, void* block) noexcept {
           std::vector<float> cut(x, x + d);
           for (float& one : cut) one = std::bit_cast<float>(bits(one) & 0xffff0000u);
           return twin().remember(cut.data(), d, type, of, at, block);
         });
  harmed("another row",
         [](const float* x, size_t d, Format type, BlockOf of, size_t at, void* block) noexcept {
           return twin().remember(x, d, type, of, at - 1, block);
         });
  harmed("values by columns",
         [](const float* x, size_t d, Format type, BlockOf, size_t at, void* block) noexcept {
           return twin().remember(x, d, type, BlockOf::keys, at, block);
         });
  harmed("the greatest, not the greatest magnitude",
         [](const float* x, size_t d, Format type, BlockOf of, size_t at, void* block) noexcept {
           twin().remember(x, d, type, of, at, block);
           return *std::max_element(x, x + d);
         });
}

}  // namespace
}  // namespace revenant
