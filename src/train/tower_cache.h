// What a frozen tower says of a tile, kept from one epoch to the next: its output does not change,
// and for small language models it is half of a step's work.
#pragma once

#include <torch/types.h>

#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <string>

namespace revenant {

// From any threads. Tiles are known by their numbers; of what does not fit the least recently used
// goes.
class TowerCache {
 public:
  explicit TowerCache(size_t limit) : limit_(limit) {}  // bytes

  // The output [1 + n, hidden] for a tile [3, S, S]: kept, or computed now. A tile is computed
  // alone, so that it does not show whether it was.
  torch::Tensor of(const torch::Tensor& tile,
                   const std::function<torch::Tensor(const torch::Tensor&)>& compute);
  size_t bytes() const;

 private:
  struct Entry {
    torch::Tensor output;
    std::list<std::string>::iterator place;
  };
  void keep(const std::string& key, const torch::Tensor& output);

  const size_t limit_;
  mutable std::mutex mutex_;  // over what follows
  std::map<std::string, Entry> entries_;
  std::list<std::string> used_;  // the latest first
  size_t bytes_ = 0;
};

}  // namespace revenant
