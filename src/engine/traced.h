// The native executor as `trace` and the cross checks see it.
#pragma once

#include "base/threads.h"
#include "engine/model.h"
#include "trace/trace.h"

namespace revenant {

class NativeTraced : public Traced {
 public:
  explicit NativeTraced(std::unique_ptr<const Model> model)
      : model_(std::move(model)), config_(model_->config()) {}

  const Config& config() const override { return config_; }
  void switch_mechanisms(bool on) override;
  Array see(const Array& pixels, const ArrayNote& note) override;
  Array forward(const Step& step, std::span<const int> ids, const Array* features,
                const ArrayNote& note) override;
  std::optional<Continuation> generate(std::span<const int> ids, const Array* features,
                                       int count) override;

 private:
  Native native(Observer* observer) const;
  std::unique_ptr<const Model> model_;
  Config config_;
};

}  // namespace revenant
