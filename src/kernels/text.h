// The loops in vectors, written once over the Vec that the including file chose; one include an
// instruction set. The including file is compiled with that set's flags, so nothing here may be
// an inline function with external linkage (the linker might keep this file's copy for machines
// without the set): no standard library, everything in unnamed namespaces.
#pragma once

#include "kernels/text_attend.h"
#include "kernels/text_linear.h"
#include "kernels/text_rows.h"

namespace revenant {
namespace {

constexpr Kernels table_named(const char* isa) {
  return {isa,  linear,  rms_norm, layer_norm, gelu,   quick_gelu, silu,
          tanh, sigmoid, swiglu,   rope,       attend, narrow,     attend_heads};
}

}  // namespace
}  // namespace revenant
