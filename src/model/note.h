// What the forward text shows an observer (`note` of verbs.h), named as in the golden files.
#pragma once

#include <string_view>

namespace revenant {

enum class Note {
  // tower and projector; all but tower_layer once a forward
  embeddings,
  pre_layernorm,
  tower_layer,
  features,
  shuffled,
  projected,
  // language model, once a forward
  inputs_embeds,
  final_norm,
  // attention, once a layer and pass; ghosts are unscaled
  q,
  k,
  v,
  q_ghost,
  k_ghost,
  v_ghost,
  o1,    // Phantom's plain half of the output
  o2,    // and its ghost half
  gate,  // Phantom: the weight of o1
  attn_output,
  // layers
  output,
  pass1,
  pass2,  // TroL: of each pass after the first
  trol_gate,
};
std::string_view name_of(Note note);

}  // namespace revenant
