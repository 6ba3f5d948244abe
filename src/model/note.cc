#include "model/note.h"

namespace revenant {

std::string_view name_of(Note note) {
  constexpr std::string_view names[] = {
      "embeddings",    "pre_layernorm", "tower_layer", "features", "shuffled", "projected",
      "inputs_embeds", "final_norm",    "q",           "k",        "v",        "q_ghost",
      "k_ghost",       "v_ghost",       "o1",          "o2",       "gate",     "attn_output",
      "output",        "pass1",         "pass2",       "trol_gate"};
  static_assert(std::size(names) == size_t(Note::trol_gate) + 1);
  return names[size_t(note)];
}

}  // namespace revenant
