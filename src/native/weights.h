// Weights of a model for the native executor: matrices stay where they are mapped, or become panels
// once; vectors and position tables are converted to f32 once.
#pragma once

#include <optional>

#include "native/packed.h"
#include "store/model_files.h"
#include "store/quantize_type.h"

namespace revenant {

// The weights point into the files' mappings.
// `wanted`: each weight takes the format that a file of that type would have it in (format_for),
// and under bf16 what such matrices meet is rounded to brain floats too. Throws Error if the files
// are quantised already, or a weight is no number that its format can have.
Weights<Weight> load_weights(const ModelFiles& files,
                             const std::optional<QuantizeType>& wanted = {});

// An upper bound of the matrix's 2-norm, at most a few times it: of W its own, |W' W|_F^(1/2).
float norm_bound(const Packed& matrix);

}  // namespace revenant
