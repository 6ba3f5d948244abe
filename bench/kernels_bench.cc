// bench_kernels [isa...]: each hot loop on one core beside what the machine can do, measured in the
// same run: the peak of the instruction that multiplies, and reading memory that no cache holds.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <span>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/limits.h"
#include "kernels/panels.h"

namespace revenant {
namespace {

constexpr size_t beyond_caches = size_t(256) << 20;  // bytes

// Of this thread alone, so that a busy machine distorts less.
double now() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

// The fastest of the runs that fit into `budget` seconds, at least three.
template <class F>
double seconds(F f, double budget = 0.5) {
  double best = 1e9, spent = 0;
  for (int run = 0; run < 3 || spent < budget; ++run) {
    const double begin = now();
    f();
    const double took = now() - begin;
    best = std::min(best, took), spent += took;
  }
  return best;
}

struct Buffers {
  std::vector<float> x, y, out;  // small numbers
  std::vector<char> weights;     // beyond_caches; zero bits, but touched
  Limits limits;                 // of the table that is measured
};

void print_rate(const char* isa, const char* name, double took, double work, const char* unit,
                double limit, const char* of) {
  const double rate = work / took;
  printf("%-10s %-42s %9.3f ms %8.1f %-8s %5.1f %% of %s\n", isa, name, took * 1e3, rate / 1e9,
         unit, limit > 0 ? 100 * rate / limit : 0.0, of);
}
void print_flops(const Buffers& b, const char* isa, const char* name, double flop, double took,
                 Input input = Input::f32) {
  const char* const peak = input == Input::int8   ? "the int8 peak"
                           : input == Input::bf16 ? "the bf16 peak"
                                                  : "the FMA peak";
  print_rate(isa, name, took, flop, "GFLOP/s", b.limits.of(input), peak);
}
void print_bytes(const Buffers& b, const char* isa, const char* name, double bytes, double took) {
  print_rate(isa, name, took, bytes, "GB/s", b.limits.read, "the read bandwidth");
}

// A product of some weights; its inputs are prepared beforehand.
double product_seconds(const Kernels& table, Buffers& b, const WeightView& w, size_t rows) {
  const Input input = w.input();
  std::vector<std::byte> prepared(rows * prepared_bytes(table, input, w.k));
  if (input != Input::f32) table.prepare(input, b.x.data(), rows, w.k, prepared.data());
  const void* x = input == Input::f32 ? static_cast<const void*>(b.x.data()) : prepared.data();
  return seconds([&] { table.product(w, x, rows, nullptr, b.out.data(), w.n); });
}

void bench_product(const Kernels& table, Buffers& b, Format format, size_t rows, size_t n, size_t k,
                   bool brains = false) {
  if (k % info(format).block != 0) return;
  const WeightView w{format, b.weights.data(), n, k, brains};
  const double took = product_seconds(table, b, w, rows);
  char name[80];
  snprintf(name, sizeof name, "product %zu x %zu, w %zu x %zu %s%s", rows, k, n, k,
           info(format).name, brains ? " x bf16" : "");
  print_flops(b, table.isa, name, 2.0 * double(rows * n * k), took, w.input());
}

// A decode step: one row through many different weights.
void bench_row(const Kernels& table, Buffers& b, Format format, size_t rows, size_t k) {
  if (k % info(format).block != 0) return;
  const size_t sixteen =
      is_quantised(format) ? panels_bytes(format, 16, k) : 16 * row_bytes(format, k);
  const size_t n = beyond_caches / sixteen * 16;
  const double took = product_seconds(table, b, {format, b.weights.data(), n, k}, rows);
  char name[80];
  snprintf(name, sizeof name, "product %zu x %zu, 256 MB of %s", rows, k, info(format).name);
  print_bytes(b, table.isa, name, double(n / 16 * sixteen), took);
}

// Blocks that lie side by side.
std::vector<const void*> blocks_of(const std::byte* first, size_t keys, size_t d, Format type) {
  std::vector<const void*> blocks;
  for (size_t j = 0; j < keys; j += key_block)
    blocks.push_back(first + j / key_block * block_bytes(type, d));
  return blocks;
}

std::vector<std::byte> remembered(const float* rows, size_t keys, size_t d, Format type,
                                  BlockOf of) {
  std::vector<std::byte> bytes((keys + key_block - 1) / key_block * block_bytes(type, d));
  for (size_t r = 0; r < keys; ++r)
    kernels().remember(rows + r * d, d, type, of, r % key_block,
                       bytes.data() + r / key_block * block_bytes(type, d));
  return bytes;
}

void bench_attend(const Kernels& table, Buffers& b, size_t queries, size_t keys, bool causal,
                  bool ghosts, Format type) {
  const size_t d = 64;
  std::vector<int> counts(queries, int(keys));
  std::vector<const float*> q(queries);
  std::vector<float*> plain(queries), ghost(queries);
  double seen = 0;
  for (size_t i = 0; i < queries; ++i) {
    if (causal) counts[i] = int(i + 1);
    seen += counts[i];
    q[i] = b.x.data() + i * d;
    plain[i] = b.out.data() + i * d, ghost[i] = b.out.data() + (queries + i) * d;
  }
  AttendArgs a;
  a.queries = int(queries), a.head_dim = int(d), a.counts = counts.data(), a.q = q.data();
  a.type = a.ghost_type = type;
  const auto keys_of = remembered(b.x.data(), keys, d, type, BlockOf::keys),
             values = remembered(b.y.data(), keys, d, type, BlockOf::values);
  const auto k = blocks_of(keys_of.data(), keys, d, type),
             v = blocks_of(values.data(), keys, d, type);
  a.k = k.data(), a.v = v.data(), a.scale = 0.125f, a.eta = 0.1f;
  a.plain = plain.data();
  if (ghosts) a.gq = q.data(), a.gk = a.k, a.gv = a.v, a.ghost = ghost.data();
  const double took = seconds([&] { table.attend(a); });
  char name[80];
  snprintf(name, sizeof name, "attend %zu x %zu x 64 %s%s%s", queries, keys, info(type).name,
           causal ? " causal" : "", ghosts ? " ghosts" : "");
  print_flops(b, table.isa, name, (ghosts ? 8 : 4) * seen * double(d), took);
}

// Decoding: a few queries of one row over caches that no cache holds.
void bench_decode(const Kernels& table, Buffers& b, size_t queries, size_t keys, Format type) {
  const size_t d = 64, head = (keys + key_block - 1) / key_block * block_bytes(type, d),
               heads = beyond_caches / (2 * head);
  const std::vector<int> counts(queries, int(keys));
  const std::vector<const float*> q(queries, b.x.data());
  const std::vector<float*> plain(queries, b.out.data());
  AttendArgs a;
  a.queries = int(queries), a.head_dim = int(d), a.counts = counts.data(), a.q = q.data();
  a.type = type, a.scale = 0.125f, a.plain = plain.data();
  std::vector<std::vector<const void*>> k, v;  // of each head
  for (size_t h = 0; h < heads; ++h) {
    const std::byte* first = reinterpret_cast<const std::byte*>(b.weights.data()) + 2 * h * head;
    k.push_back(blocks_of(first, keys, d, type));
    v.push_back(blocks_of(first + head, keys, d, type));
  }
  const double took = seconds([&] {
    for (size_t h = 0; h < heads; ++h) {
      a.k = k[h].data(), a.v = v[h].data();
      table.attend(a);
    }
  });
  char name[80];
  snprintf(name, sizeof name, "attend %zu x %zu x 64, 256 MB of %s", queries, keys,
           info(type).name);
  print_bytes(b, table.isa, name, double(heads * 2 * head), took);
}

template <class F>
void bench_elements(const Kernels& table, const char* name, size_t n, F f) {
  const double took = seconds(f, 0.1);
  printf("%-10s %-42s %9.3f ms %8.3f ns an element\n", table.isa, name, took * 1e3,
         took * 1e9 / double(n));
}

void bench_rows(const Kernels& table, Buffers& b) {
  const size_t rows = 64, width = 896, n = rows * width;
  const float *x = b.x.data(), *y = b.y.data();
  float* out = b.out.data();
  bench_elements(table, "inputs to int8", n,
                 [&] { table.prepare(Input::int8, x, rows, width, out); });
  bench_elements(table, "inputs to bf16", n,
                 [&] { table.prepare(Input::bf16, x, rows, width, out); });
  bench_elements(table, "gelu", n, [&] { table.gelu(x, n, out); });
  bench_elements(table, "quick_gelu", n, [&] { table.quick_gelu(x, n, out); });
  bench_elements(table, "silu", n, [&] { table.silu(x, n, out); });
  bench_elements(table, "tanh", n, [&] { table.tanh(x, n, out); });
  bench_elements(table, "sigmoid", n, [&] { table.sigmoid(x, n, out); });
  bench_elements(table, "swiglu", n, [&] { table.swiglu(x, y, n, out); });
  bench_elements(table, "rms_norm", n, [&] { table.rms_norm(x, rows, width, y, 1e-6f, out); });
  bench_elements(table, "layer_norm", n,
                 [&] { table.layer_norm(x, rows, width, y, y, 1e-6f, out); });
  bench_elements(table, "rope", n, [&] { table.rope(x, rows, 14, 64, y, y, out); });
  bench_elements(table, "attend_heads 14 over 2", n, [&] {
    for (size_t r = 0; r < rows; ++r)
      table.attend_heads(x + r * width, 14, y, y, 2, 64, out + r * width);
  });
}

void bench(const Kernels& table, Buffers& b) {
  Threads one(1);
  b.limits = measure_limits(table, one);
  printf(
      "%-10s limits of one core: %.0f GFLOP/s of FMA, %.0f of bf16, %.0f of int8; %.1f GB/s read\n",
      table.isa, b.limits.f32 / 1e9, b.limits.bf16 / 1e9, b.limits.int8 / 1e9, b.limits.read / 1e9);
  for (const FormatInfo& f : formats()) {
    bench_product(table, b, f.format, 512, 32, 896);  // within the caches
    bench_product(table, b, f.format, 512, 4864, 896);
    bench_product(table, b, f.format, 512, 896, 4864);
    bench_product(table, b, f.format, 1025, 4096, 1024);
    if (f.format == Format::bf16) bench_product(table, b, f.format, 512, 4864, 896, true);
    bench_product(table, b, f.format, 8, 4864, 896);
    bench_row(table, b, f.format, 1, 896);
    bench_row(table, b, f.format, 1, 4864);
    bench_row(table, b, f.format, 1, 4096);
  }
  for (bool ghosts : {false, true}) {
    bench_attend(table, b, 1025, 1025, false, ghosts, Format::f32);
    for (const Format type : {Format::f32, Format::f16, Format::q8_0})
      bench_attend(table, b, 1024, 1024, true, ghosts, type);
  }
  for (const Format type : {Format::f32, Format::f16, Format::q8_0})
    for (const size_t queries : {1, 7}) bench_decode(table, b, queries, 8192, type);
  bench_rows(table, b);
}

Buffers make_buffers() {
  const size_t most = size_t(1) << 26;
  Buffers b{std::vector<float>(size_t(1) << 22),
            std::vector<float>(size_t(1) << 22),
            std::vector<float>(most),
            std::vector<char>(beyond_caches),
            {}};
  for (size_t i = 0; i < b.x.size(); ++i)
    b.x[i] = std::sin(float(i)), b.y[i] = std::cos(float(i) * 0.7f);
  return b;
}

}  // namespace
}  // namespace revenant

int main(int argc, char** argv) {
  using namespace revenant;
  setvbuf(stdout, nullptr, _IOLBF, 0);
  Buffers buffers = make_buffers();
  static const char* const all[] = {"amx",  "avx512vnni", "avx512bf16", "avx512",
                                    "avx2", "neondot",    "neon",       "generic"};
  const std::span<const char* const> wanted(argv + 1, size_t(argc - 1));
  for (const char* isa : wanted.empty() ? std::span(all) : wanted)
    if (const Kernels* table = kernels_for(isa)) bench(*table, buffers);
}
