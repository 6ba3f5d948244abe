// AdamW whose moments lie in 8 bits (Dettmers et al. 2022, arXiv 2110.02861): in blocks of 256,
// each a multiple of its value of the largest magnitude, by the dynamic maps of quant/dynamic8.h. A
// quarter of the memory.
#pragma once

#include <torch/types.h>

#include "train/parameters.h"

namespace revenant {

// A flattened tensor; float32 at a time are those that are looked at.
class Moment8 {
 public:
  Moment8() = default;
  Moment8(const torch::Tensor& values, bool has_sign);  // rounded to the nearest
  torch::Tensor floats(at::IntArrayRef shape) const;

  static constexpr int64_t kBlock = 256;
  // On the CPU: the values of a block, and in their place new ones; the same numbers.
  void unpack(int64_t block, float* values) const;
  void pack(int64_t block, const float* values);

 private:
  torch::Tensor places_;   // uint8 [blocks, 256]
  torch::Tensor largest_;  // float32 [blocks, 1], with its sign
  bool has_sign_ = false;
};

class AdamW8bit {
 public:
  static constexpr int64_t kSmallest = 4096;  // of fewer values the moments are worth nothing

  AdamW8bit(double beta1, double beta2) : beta1_(beta1), beta2_(beta2) {}

  // One step of a weight by its gradient; torch's formula.
  void step(const std::string& name, const torch::Tensor& parameter,
            const ParameterSettings& settings, double learning_rate);

  // The state of a weight as AdamW's: exp_avg, exp_avg_sq and steps; rounding it again changes
  // nothing. Steps are 0 where there is none.
  struct State {
    torch::Tensor first, second;
    int64_t steps = 0;
  };
  State state(const std::string& name, const torch::Tensor& parameter) const;
  void set(const std::string& name, const State& state);

 private:
  struct Moments {
    Moment8 first, second;
    int64_t steps = 0;
  };
  std::map<std::string, Moments> moments_;
  double beta1_, beta2_;
};

}  // namespace revenant
