// What only the vision towers use. T tiles of S x S pixels, H hidden.
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "kernels/panels.h"
#include "native/executor.h"

namespace revenant {

namespace {

// Queries, keys and values of one head of a tile, [tokens, d] each, and what becomes of them, all
// with one stride. In the tensors a head's rows lie some 4 KB apart, which many caches put into few
// of their places: keys and values are copied together once.
struct TileHead {
  const float* q;
  std::vector<float> k, v;
  float* out;
  size_t tokens, d, stride;

  TileHead(const Qkv<Tensor>& a, Tensor& result, size_t first, size_t count, size_t head)
      : tokens(count), d(size_t(a.q.width)), stride(a.q.row_size()) {
    const size_t at = first * stride + head * d;
    q = a.q.data() + at, out = result.data() + at;
    for (auto [from, to] : {std::pair{&a.k, &k}, std::pair{&a.v, &v}}) {
      to->resize(tokens * d);
      for (size_t r = 0; r < tokens; ++r)
        std::memcpy(to->data() + r * d, from->data() + at + r * stride, d * sizeof(float));
    }
  }
};

void attend_floats(const Kernels& kernels, const TileHead& h, float scale) {
  const std::vector<int> counts(h.tokens, int(h.tokens));
  std::vector<const float*> q;
  std::vector<float*> plain;
  std::vector<const void*> k, v;
  const size_t block = key_block * h.d;  // numbers
  std::vector<float> keys((h.tokens + key_block - 1) / key_block * block);
  for (size_t r = 0; r < h.tokens; ++r) {
    q.push_back(h.q + r * h.stride), plain.push_back(h.out + r * h.stride);
    float* to = &keys[r / key_block * block];
    if (r % key_block == 0) k.push_back(to), v.push_back(&h.v[r * h.d]);
    kernels.remember(&h.k[r * h.d], h.d, Format::f32, BlockOf::keys, r % key_block, to);
  }
  AttendArgs args;
  args.queries = int(h.tokens);
  args.head_dim = int(h.d);
  args.counts = counts.data();
  args.q = q.data();
  args.k = k.data();
  args.v = v.data();
  args.scale = scale;
  args.plain = plain.data();
  kernels.attend(args);
}

// Both products as those of weights in `format`, q8_0 or bf16, with inputs rounded alike: keys
// [tokens, d] meet queries, values [d, tokens] what the scores became. So many queries go together
// that their scores (200 KB of 1,025 tokens) and the keys stay in the second cache, and that they
// are whole tiles of every instruction set.
void attend_rounded(const Kernels& kernels, Threads& threads, const TileHead& h, float scale,
                    Format format) {
  const bool brain = format == Format::bf16;
  const Input input = brain ? Input::bf16 : Input::int8;
  const size_t together = brain ? 64 : 48, padded = (h.tokens + unit_k - 1) / unit_k * unit_k;
  Packed keys = packed_floats(format, int(h.tokens), int(h.d), threads, [&](int row, float* x) {
    std::memcpy(x, &h.k[size_t(row) * h.d], h.d * sizeof(float));
  });
  Packed values = packed_floats(format, int(h.d), int(padded), threads, [&](int column, float* x) {
    for (size_t r = 0; r < padded; ++r) x[r] = r < h.tokens ? h.v[r * h.d + size_t(column)] : 0;
  });
  keys.brain_inputs = values.brain_inputs = brain;
  const size_t ready = prepared_bytes(kernels, input, std::max(padded, h.d));
  Tensor queries(int(together), 1, int(h.d)), scores(int(together), 1, int(padded)),
      mixed(int(together), 1, int(h.d)),
      prepared(int(together), 1, int((ready + 3) / sizeof(float)));
  std::vector<float> totals(together);
  for (size_t first = 0; first < h.tokens; first += together) {
    const size_t rows = std::min(together, h.tokens - first);
    for (size_t r = 0; r < rows; ++r)
      std::memcpy(queries.row(int(r)), h.q + (first + r) * h.stride, h.d * sizeof(float));
    kernels.prepare(input, queries.data(), rows, h.d, prepared.data());
    kernels.product(keys.view(0, h.tokens), prepared.data(), rows, nullptr, scores.data(), padded);
    for (size_t r = 0; r < rows; ++r) {
      float* row = scores.row(int(r));
      totals[r] = kernels.exponentials(row, h.tokens, scale, row);
      std::fill(row + h.tokens, row + padded, 0.0f);
    }
    kernels.prepare(input, scores.data(), rows, padded, prepared.data());
    kernels.product(values.view(0, h.d), prepared.data(), rows, nullptr, mixed.data(), h.d);
    for (size_t r = 0; r < rows; ++r)
      for (size_t l = 0; l < h.d; ++l)
        h.out[(first + r) * h.stride + l] = mixed.row(int(r))[l] / totals[r];
  }
}

}  // namespace

Tensor Executor::attend_tile(const Qkv<Tensor>& a, int tokens, const Linear<Weight>& w) {
  const size_t heads = size_t(a.q.heads), d = size_t(a.q.width), count = size_t(tokens);
  const Packed& weights = w.weight.packed;
  const bool int8 = is_quantised(weights.format) && d % unit_k == 0;
  const float scale = float(1 / std::sqrt(double(d)));
  Tensor out(a.q.rows, a.q.heads, a.q.width);
  stop_unless(go_on_);
  const size_t items = size_t(a.q.rows) / count * heads;
  in_parts(items, 2 * count * count * d, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const TileHead head(a, out, i / heads * count, count, i % heads);
      if (int8 || weights.brain_inputs)
        attend_rounded(k_, threads_, head, scale, int8 ? Format::q8_0 : Format::bf16);
      else
        attend_floats(k_, head, scale);
    }
  });
  return out;
}

// Columns in the order of the convolution's weights: channel, y, x.
Tensor Executor::patches(std::span<const float> pixels, int tiles, int side, int patch) {
  const int grid = side / patch;
  CHECK(grid * patch == side);
  CHECK(pixels.size() == size_t(tiles) * 3 * size_t(side) * size_t(side));
  Tensor out(tiles * grid * grid, 1, 3 * patch * patch);
  for (int r = 0; r < out.rows; ++r) {
    const int tile = r / (grid * grid), cell = r % (grid * grid);
    float* to = out.row(r);
    for (int channel = 0; channel < 3; ++channel)
      for (int y = 0; y < patch; ++y, to += patch) {
        const size_t line =
            (size_t(tile) * 3 + size_t(channel)) * size_t(side) + size_t(cell / grid * patch + y);
        std::memcpy(to, pixels.data() + line * size_t(side) + size_t(cell % grid * patch),
                    size_t(patch) * sizeof(float));
      }
  }
  return out;
}

Tensor Executor::with_class(const Tensor& x, const Weight& class_token, int tiles) {
  CHECK(class_token.vector.rows == x.width);
  const int n = x.rows / tiles;
  const size_t bytes = x.row_size() * sizeof(float);
  Tensor out(tiles * (1 + n), 1, x.width);
  for (int t = 0; t < tiles; ++t) {
    std::memcpy(out.row(t * (1 + n)), class_token.vector.data(), bytes);
    std::memcpy(out.row(t * (1 + n) + 1), x.row(t * n), size_t(n) * bytes);
  }
  return out;
}

Tensor Executor::drop_class(const Tensor& x, int tiles) {
  const int n = x.rows / tiles - 1;
  Tensor out(tiles * n, 1, x.width);
  for (int t = 0; t < tiles; ++t)
    std::memcpy(out.row(t * n), x.row(t * (1 + n) + 1), size_t(n) * x.row_size() * sizeof(float));
  return out;
}

Tensor Executor::resample(const Weight& table, const std::vector<float>& matrix) {
  const size_t from = size_t(table.vector.rows), width = size_t(table.vector.columns);
  Tensor out(int(matrix.size() / from), 1, table.vector.columns);
  std::memset(out.data(), 0, out.size() * sizeof(float));
  threads_.parallel_for(size_t(out.rows), 8, [&](size_t begin, size_t end) {
    for (size_t r = begin; r < end; ++r)
      for (size_t i = 0; i < from; ++i) {
        const float weight = matrix[r * from + i];
        if (weight == 0) continue;  // all but 16 are
        for (size_t j = 0; j < width; ++j)
          out.row(int(r))[j] += weight * table.vector.data()[i * width + j];
      }
  });
  return out;
}

Tensor Executor::add_positions(const Tensor& x, const Weight& positions) {
  return add_positions(
      x, Tensor::from(positions.vector.data(), positions.vector.rows, positions.vector.columns));
}

// InternVL's pixel_shuffle, "v2": token (i, j) holds its factor x factor cells row by row.
Tensor Executor::shuffle(const Tensor& x, int grid, int factor) {
  if (factor == 1) return x;
  const int side = grid / factor, tiles = x.rows / (grid * grid);
  const size_t width = x.row_size();
  Tensor out(tiles * side * side, 1, x.width * factor * factor);
  for (int r = 0; r < out.rows; ++r) {
    const int tile = r / (side * side), i = r / side % side, j = r % side;
    for (int cell = 0; cell < factor * factor; ++cell) {
      const int y = i * factor + cell / factor, z = j * factor + cell % factor;
      std::memcpy(out.row(r) + size_t(cell) * width, x.row((tile * grid + y) * grid + z),
                  width * sizeof(float));
    }
  }
  return out;
}

}  // namespace revenant
