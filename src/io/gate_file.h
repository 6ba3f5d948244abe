// TroL's trol_gating.pt, as the authors' loader would use it: the file lists one gate a layer, each
// copied into the one shared module, so the last of each kind is what their model uses
// (papers.md 4.2).
#pragma once

#include <optional>

#include "io/checkpoint.h"
#include "io/torch_file.h"

namespace revenant {

struct GateFile {
  Path file;
  std::optional<TorchTensor> weight, bias;  // [1, hidden] and [1]
  std::string warning;                      // the layers' entries are not all the same, or empty

  // As tensors of a checkpoint, whose gate is named `stem`; they point into this.
  Tensors tensors(const std::string& stem) const;
};

// Nothing if the directory has no such file. Throws Error if it is not a file of tensors.
std::optional<GateFile> read_gate_file(const Path& directory);
// The same, unless the checkpoint holds the gate itself.
std::optional<GateFile> gate_beside(const Checkpoint& checkpoint, const std::string& stem);

}  // namespace revenant
