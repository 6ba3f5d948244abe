// All that the executor remembers of one sequence: its cached rows, Phantom's anchor and TroL's
// streams. Nothing of a sequence is kept anywhere else.
#pragma once

#include <cstdlib>
#include <memory>
#include <vector>

#include "model/config.h"

namespace revenant {

// Rows of one kind, [rows, width] f32. Grows by half; large blocks move by remapping, not copying.
class CacheRows {
 public:
  float* data() { return data_.get(); }
  const float* data() const { return data_.get(); }
  void reserve(size_t rows, size_t width);
  void copy(const CacheRows& from, size_t first, size_t end);  // rows [first, end)
  size_t bytes() const { return capacity_ * width_ * sizeof(float); }

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  std::unique_ptr<float, Free> data_;
  size_t capacity_ = 0, width_ = 0;
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
  explicit Sequence(const Config& config)
      : streams_(size_t(config.trol.streams())), anchors_(size_t(config.layers)) {
    for (auto& stream : streams_) stream.resize(size_t(config.layers));
  }

  int rows = 0;  // in the cache; set by forward, lowered to go back to a prefix

  Stream& stream(int layer, int pass) { return streams_[size_t(pass - 1)][size_t(layer)]; }
  Anchor& anchor(int layer) { return anchors_[size_t(layer)]; }
  // Second passes are needed only while the prompt may go on.
  void forget_later_passes();
  // Becomes `from`, of which it has the first `same` rows already; only the first passes' streams.
  void copy_rows(const Sequence& from, int same, int streams);
  size_t bytes() const;

 private:
  std::vector<std::vector<Stream>> streams_;  // [pass - 1][layer]
  std::vector<Anchor> anchors_;               // [layer]
};

}  // namespace revenant
