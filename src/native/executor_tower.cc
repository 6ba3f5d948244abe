// What only the vision towers use. T tiles of S x S pixels, H hidden.
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "native/executor.h"

namespace revenant {

Tensor Executor::attend_tile(const Qkv<Tensor>& a, int tokens) {
  const int heads = a.q.heads, d = a.q.width, tiles = a.q.rows / tokens;
  const size_t stride = a.q.row_size();
  Tensor out(a.q.rows, heads, d);
  const std::vector<int> counts(size_t(tokens), tokens);
  stop_unless(go_on_);
  const size_t work = 2 * size_t(tokens) * size_t(tokens) * size_t(d);
  in_parts(size_t(tiles) * size_t(heads), work, [&](size_t begin, size_t end) {
    std::vector<const float*> q(static_cast<size_t>(tokens));
    std::vector<float*> plain(static_cast<size_t>(tokens));
    std::vector<const void*> k, v;
    for (size_t i = begin; i < end; ++i) {
      const size_t first = i / size_t(heads) * size_t(tokens) * stride;
      const size_t at = first + i % size_t(heads) * size_t(d);
      for (size_t r = 0; r < size_t(tokens); ++r) {
        q[r] = a.q.data() + at + r * stride;
        plain[r] = out.data() + at + r * stride;
      }
      k.clear(), v.clear();
      for (size_t r = 0; r < size_t(tokens); r += key_block) {
        k.push_back(a.k.data() + at + r * stride);
        v.push_back(a.v.data() + at + r * stride);
      }
      AttendArgs args;
      args.queries = tokens;
      args.head_dim = d;
      args.counts = counts.data();
      args.q = q.data();
      args.k = k.data();
      args.v = v.data();
      args.stride = stride;
      args.scale = float(1 / std::sqrt(double(d)));
      args.plain = plain.data();
      k_.attend(args);
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
