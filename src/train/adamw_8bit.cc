#include "train/adamw_8bit.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "quant/dynamic8.h"
#include "train/each_isa.h"

namespace revenant {
namespace {

using torch::Tensor;

const std::array<float, 256>& map_of(bool has_sign) {
  return has_sign ? signed_dynamic_map() : unsigned_dynamic_map();
}

// Where values stand in a map: after how many of the middles between its neighbours. The first bits
// of a float say where to begin to look.
class Places {
 public:
  explicit Places(const std::array<float, 256>& map) {
    for (size_t i = 0; i < 255; ++i) between_[i] = (map[i + 1] + map[i]) / 2;
    for (uint32_t head = 0; head < start_.size(); ++head) {
      const bool negative = head >> 13;  // its lowest value ends in ones
      const float low = std::bit_cast<float>(head << kTail | (negative ? (1u << kTail) - 1 : 0));
      start_[head] = uint8_t(std::ranges::lower_bound(between_, low) - between_.begin());
    }
  }
  uint8_t operator()(float value) const {
    size_t place = start_[std::bit_cast<uint32_t>(value) >> kTail];
    while (place < 255 && between_[place] < value) ++place;
    return uint8_t(place);
  }

 private:
  static constexpr int kTail = 18;
  std::array<float, 255> between_;
  std::array<uint8_t, 1 << (32 - kTail)> start_;
};

const Places& places_of(bool has_sign) {
  static const Places with(map_of(true)), without(map_of(false));
  return has_sign ? with : without;
}

// What a step is made of, but for the values.
struct Update {
  float beta1, beta2, kept, root, epsilon, rate;
};

// torch's formula, of `n` values.
EACH_ISA void update_values(const float* gradient, float* weight, float* first, float* second,
                            int64_t n, const Update& u) {
  for (int64_t i = 0; i < n; ++i) {
    const float g = gradient[i];
    first[i] += (1 - u.beta1) * (g - first[i]);
    second[i] = u.beta2 * second[i] + (1 - u.beta2) * g * g;
    weight[i] =
        u.kept * weight[i] - u.rate * first[i] / (std::sqrt(second[i]) * u.root + u.epsilon);
  }
}

void step_by_blocks(Moment8& firsts, Moment8& seconds, const Tensor& parameter, const Update& u) {
  const Tensor gradient = parameter.grad().contiguous();
  const auto* g = gradient.const_data_ptr<float>();
  auto* const w = static_cast<float*>(parameter.data_ptr());
  const int64_t count = parameter.numel(), blocks = (count + Moment8::kBlock - 1) / Moment8::kBlock;
  at::parallel_for(0, blocks, 64, [&](int64_t begin, int64_t end) {
    float first[Moment8::kBlock], second[Moment8::kBlock];
    for (int64_t block = begin; block < end; ++block) {
      const int64_t at = block * Moment8::kBlock;
      firsts.unpack(block, first), seconds.unpack(block, second);
      update_values(g + at, w + at, first, second, std::min(Moment8::kBlock, count - at), u);
      firsts.pack(block, first), seconds.pack(block, second);
    }
  });
}

void step_composed(Moment8& firsts, Moment8& seconds, const Tensor& parameter, const Update& u) {
  const Tensor& gradient = parameter.grad();
  const Tensor first = firsts.floats(parameter.sizes()), second = seconds.floats(parameter.sizes());
  first.lerp_(gradient, 1 - u.beta1);
  second.mul_(u.beta2).addcmul_(gradient, gradient, 1 - u.beta2);
  parameter.detach().mul_(u.kept);
  parameter.detach().addcdiv_(first, (second.sqrt() * u.root).add_(u.epsilon), -u.rate);
  firsts = Moment8(first, true);
  seconds = Moment8(second, false);
}

Tensor map_on(bool has_sign, torch::Device device) {
  const auto& map = map_of(has_sign);
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

void Moment8::unpack(int64_t block, float* values) const {
  const auto& map = map_of(has_sign_);
  const uint8_t* places = places_.const_data_ptr<uint8_t>() + block * kBlock;
  const float largest = largest_.const_data_ptr<float>()[block];
  for (int64_t i = 0; i < kBlock; ++i) values[i] = map[places[i]] * largest;
}

void Moment8::pack(int64_t block, const float* values) {
  const Places& place = places_of(has_sign_);
  float largest = values[0];
  for (int64_t i = 1; i < kBlock; ++i)
    if (std::abs(values[i]) > std::abs(largest)) largest = values[i];
  largest_.data_ptr<float>()[block] = largest;
  uint8_t* places = places_.data_ptr<uint8_t>() + block * kBlock;
  const float divisor = largest == 0 ? 1 : largest;
  for (int64_t i = 0; i < kBlock; ++i) places[i] = place(values[i] / divisor);
}

void AdamW8bit::step(const std::string& name, const Tensor& parameter,
                     const ParameterSettings& settings, double learning_rate) {
  if (!parameter.grad().defined()) return;
  Moments& moments = moments_[name];
  if (moments.steps == 0) {
    const Tensor zeros = torch::zeros_like(parameter);
    moments = {Moment8(zeros, true), Moment8(zeros, false), 0};
  }
  ++moments.steps;
  const double rate = settings.rate * learning_rate;
  const double correction1 = 1 - std::pow(beta1_, double(moments.steps));
  const double correction2 = 1 - std::pow(beta2_, double(moments.steps));
  const Update update{float(beta1_),
                      float(beta2_),
                      float(1 - rate * settings.weight_decay),
                      float(1 / std::sqrt(correction2)),
                      float(settings.adam_epsilon),
                      float(rate / correction1)};
  if (parameter.is_cpu() && parameter.is_contiguous())
    step_by_blocks(moments.first, moments.second, parameter, update);
  else
    step_composed(moments.first, moments.second, parameter, update);
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
