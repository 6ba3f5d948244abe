#include "io/gate_file.h"

#include <filesystem>

namespace revenant {

Tensors GateFile::tensors(const std::string& stem) const {
  Tensors views;
  if (weight) views[stem + ".weight"] = weight->view();
  if (bias) views[stem + ".bias"] = bias->view();
  return views;
}

std::optional<GateFile> gate_beside(const Checkpoint& checkpoint, const std::string& stem) {
  if (checkpoint.tensors().contains(stem + ".weight")) return {};
  return read_gate_file(checkpoint.path());
}

std::optional<GateFile> read_gate_file(const Path& directory) {
  GateFile gate{directory / "trol_gating.pt", {}, {}, {}};
  if (!std::filesystem::exists(gate.file)) return {};
  for (auto& [name, tensor] : read_torch_file(gate.file)) {
    std::optional<TorchTensor>* kind = name.ends_with(".weight") ? &gate.weight
                                       : name.ends_with(".bias") ? &gate.bias
                                                                 : nullptr;
    if (!kind) continue;
    if (*kind && (*kind)->data != tensor.data)
      gate.warning = gate.file.string() +
                     ": the layers' gates differ; the last one is used everywhere, as the "
                     "authors' loader does";
    *kind = std::move(tensor);
  }
  return gate;
}

}  // namespace revenant
