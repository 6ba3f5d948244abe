// The torch executor as `trace` and the cross checks see it.
#pragma once

#include <memory>

#include "trace/trace.h"
#include "train/model.h"

namespace revenant {

class TorchTraced : public Traced {
 public:
  explicit TorchTraced(TorchModel model) : model_(std::move(model)) {}

  const Config& config() const override { return model_.config; }
  void switch_mechanisms(bool on) override;
  Array see(const Array& pixels, const ArrayNote& note) override;
  Array forward(const Step& step, std::span<const int> ids, const Array* features,
                const ArrayNote& note) override;
  bool has_autograd() const override { return true; }
  // "grad/NAME" for every parameter, and "adamw_wdD/losses", "adamw_wdD/param_after/NAME" for
  // decays 0 and 0.01 (lr 1e-3, three steps on the same batch, decay on everything).
  Arrays train(const Step& step, std::span<const int> ids, std::span<const int64_t> labels,
               const Array& pixels) override;
  Arrays prefer(const Step& step, std::span<const int> ids, std::span<const int64_t> labels,
                const Array* pixels) override;

 private:
  void trace_adamw(const TorchBatch& batch, double decay, const std::string& name,
                   Arrays& out) const;
  TorchModel model_;
};

}  // namespace revenant
