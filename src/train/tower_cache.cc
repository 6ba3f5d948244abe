#include "train/tower_cache.h"

#include "base/sha256.h"

namespace revenant {

using torch::Tensor;

Tensor TowerCache::of(const Tensor& tile, const std::function<Tensor(const Tensor&)>& compute) {
  const Tensor numbers = tile.to(torch::kCPU).contiguous();
  Sha256 digest;
  digest.add({static_cast<const char*>(numbers.const_data_ptr()), numbers.nbytes()});
  const std::string key = digest.digits();
  {
    const std::lock_guard lock(mutex_);
    if (const auto it = entries_.find(key); it != entries_.end()) {
      used_.splice(used_.begin(), used_, it->second.place);
      return it->second.output;
    }
  }
  const Tensor output = compute(tile);
  keep(key, output);
  return output;
}

void TowerCache::keep(const std::string& key, const Tensor& output) {
  const std::lock_guard lock(mutex_);
  if (output.nbytes() > limit_ || entries_.contains(key)) return;  // another thread was quicker
  while (bytes_ + output.nbytes() > limit_) {
    const auto oldest = entries_.find(used_.back());
    bytes_ -= oldest->second.output.nbytes();
    entries_.erase(oldest);
    used_.pop_back();
  }
  used_.push_front(key);
  entries_[key] = {output, used_.begin()};
  bytes_ += output.nbytes();
}

size_t TowerCache::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

}  // namespace revenant
