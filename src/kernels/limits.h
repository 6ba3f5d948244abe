// What the machine can do at most, measured with the instructions that a table's products are made
// of: what the rates of `revenant bench` are shares of.
#pragma once

#include "base/threads.h"
#include "kernels/kernels.h"

namespace revenant {

// Multiplications and additions a second by kind of input, and bytes read from memory a second, of
// all the threads together. 0: this build cannot tell.
struct Limits {
  double f32 = 0, bf16 = 0, int8 = 0, read = 0;

  double of(Input input) const {
    return input == Input::f32 ? f32 : input == Input::bf16 ? bf16 : int8;
  }
};
Limits measure_limits(const Kernels& kernels, Threads& threads);

}  // namespace revenant
