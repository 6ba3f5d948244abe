#include "io/gate_file.h"

#include <filesystem>

namespace revenant {

std::optional<GateFile> read_gate_file(const Path& directory) {
  GateFile gate{directory / "trol_gating.pt", {}, {}, false};
  if (!std::filesystem::exists(gate.file)) return {};
  for (auto& [name, tensor] : read_torch_file(gate.file)) {
    std::optional<TorchTensor>* kind = name.ends_with(".weight") ? &gate.weight
                                       : name.ends_with(".bias") ? &gate.bias
                                                                 : nullptr;
    if (!kind) continue;
    gate.differ = gate.differ || (*kind && (*kind)->data != tensor.data);
    *kind = std::move(tensor);
  }
  return gate;
}

}  // namespace revenant
