#include "train/adamw_8bit.h"

#include <cmath>

#include "quant/dynamic8.h"

namespace revenant {
namespace {

using torch::Tensor;

constexpr int64_t kBlock = 256;

Tensor map_on(bool has_sign, torch::Device device) {
  const auto& map = has_sign ? signed_dynamic_map() : unsigned_dynamic_map();
  return torch::tensor(at::ArrayRef<float>(map.data(), map.size())).to(device);
}

}  // namespace

Moment8::Moment8(const Tensor& values, bool has_sign) : has_sign_(has_sign) {
  const int64_t blocks = (values.numel() + kBlock - 1) / kBlock;
  const Tensor flat =
      torch::constant_pad_nd(values.flatten(), {0, blocks * kBlock - values.numel()})
          .view({-1, kBlock});
  // With its sign, so that it is 1 of the map, which has no -1: what was rounded once stays.
  largest_ = flat.gather(1, flat.abs().argmax(1, true));
  const Tensor map = map_on(has_sign, values.device());
  const Tensor between = (map.slice(0, 1) + map.slice(0, 0, -1)) / 2;
  const Tensor scaled = flat / torch::where(largest_ == 0, 1, largest_);
  places_ = torch::bucketize(scaled, between).to(torch::kUInt8);
}

Tensor Moment8::floats(at::IntArrayRef shape) const {
  const Tensor map = map_on(has_sign_, places_.device());
  const Tensor scaled = map.index_select(0, places_.flatten().to(torch::kInt)).view_as(places_);
  return (scaled * largest_).flatten().slice(0, 0, c10::multiply_integers(shape)).view(shape);
}

void AdamW8bit::step(const std::string& name, const Tensor& parameter,
                     const ParameterSettings& settings, double learning_rate) {
  const Tensor& gradient = parameter.grad();
  if (!gradient.defined()) return;
  State now = state(name, parameter);
  if (now.steps == 0) now = {torch::zeros_like(parameter), torch::zeros_like(parameter), 0};
  now.first.lerp_(gradient, 1 - beta1_);
  now.second.mul_(beta2_).addcmul_(gradient, gradient, 1 - beta2_);
  ++now.steps;
  const double rate = settings.rate * learning_rate;
  const double correction1 = 1 - std::pow(beta1_, double(now.steps));
  const double correction2 = 1 - std::pow(beta2_, double(now.steps));
  const Tensor root = (now.second.sqrt() / std::sqrt(correction2)).add_(settings.adam_epsilon);
  parameter.detach().mul_(1 - rate * settings.weight_decay);
  parameter.detach().addcdiv_(now.first, root, -rate / correction1);
  set(name, now);
}

AdamW8bit::State AdamW8bit::state(const std::string& name, const Tensor& parameter) const {
  const auto it = moments_.find(name);
  if (it == moments_.end()) return {};
  const auto& [first, second, steps] = it->second;
  return {first.floats(parameter.sizes()), second.floats(parameter.sizes()), steps};
}

void AdamW8bit::set(const std::string& name, const State& state) {
  moments_[name] = {Moment8(state.first, true), Moment8(state.second, false), state.steps};
}

}  // namespace revenant
