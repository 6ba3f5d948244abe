// All that the executor remembers of one sequence: its cached rows, Phantom's anchor and TroL's
// streams. Nothing of a sequence is kept anywhere else.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <vector>

#include "kernels/kernels.h"
#include "model/config.h"

namespace revenant {

// Rows of one kind, each of so many bytes. Grows by half; large blocks move by remapping, not
// copying.
class CacheRows {
 public:
  std::byte* row(size_t r) { return data_.get() + r * row_bytes_; }
  const std::byte* row(size_t r) const { return data_.get() + r * row_bytes_; }
  void reserve(size_t rows, size_t row_bytes);
  void copy(const CacheRows& from, size_t first, size_t end);  // rows [first, end)
  size_t bytes() const { return capacity_ * row_bytes_; }

 private:
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  std::unique_ptr<std::byte, Free> data_;
  size_t capacity_ = 0, row_bytes_ = 0;
};

// Keys and values as attention reads them, [rows, kv_heads * head_dim]; with Phantom their
// unscaled ghosts too, once a token.
struct Stream {
  CacheRows k, v, ghost_k, ghost_v;
  void copy(const Stream& from, size_t first, size_t end);
};

// q, k, v of the sequence's first row in one layer.
struct Anchor {
  std::vector<float> q, k, v;
};

class Sequence {
 public:
  // `cache_type` is what keys and values are rounded to once, before anything reads them.
  explicit Sequence(const Config& config, WeightType cache_type = WeightType::f32)
      : cache_type(cache_type),
        streams_(size_t(config.trol.streams())),
        anchors_(size_t(config.layers)) {
    for (auto& stream : streams_) stream.resize(size_t(config.layers));
  }

  WeightType cache_type;
  int rows = 0;  // in the cache; set by forward, lowered to go back to a prefix

  Stream& stream(int layer, int pass) { return streams_[size_t(pass - 1)][size_t(layer)]; }
  Anchor& anchor(int layer) { return anchors_[size_t(layer)]; }
  // Second passes are needed only while the prompt may go on.
  void forget_later_passes();
  // Becomes `from`, of which it has the first `same` rows already; only the first passes' streams.
  void copy_rows(const Sequence& from, int same, int streams);
  size_t bytes() const;  // of the cache; grows in blocks of rows, see cache_row_bytes

 private:
  std::vector<std::vector<Stream>> streams_;  // [pass - 1][layer]
  std::vector<Anchor> anchors_;               // [layer]
};

// Bytes of one token's keys and values in all layers, with Phantom their ghosts: of one stream. A
// prompt that may go on has Config::trol.streams() of them.
size_t cache_row_bytes(const Config& config, WeightType type);

}  // namespace revenant
