#include "io/gate_file.h"

#include <filesystem>

namespace revenant {

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
