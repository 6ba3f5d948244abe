// Packing: what sequences of a batch begin with in common is computed once. One picture with its
// questions, and both answers behind one prompt, become a tree of spans in one sequence, whose
// branches do not see each other and count their positions on from their parent (Span::parent).
#pragma once

#include "train/model.h"

namespace revenant {

// Of the spans from `first` on. Rows with labels are never shared, nor rows whose rotation depends
// on which sequence they stand in. Pairs name the spans of their answers afterwards.
void pack(TorchBatch& batch, int first, const RopeConfig& rope);

}  // namespace revenant
