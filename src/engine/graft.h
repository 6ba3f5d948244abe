// A language model made to see: a text backbone of Llama's, Qwen2's, InternLM2's or Phi-3's layout,
// a tower, a fresh projector and fresh mechanisms as one model, which says at first of a text what
// the backbone said.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/file.h"

namespace revenant {

struct GraftOptions {
  bool phantom = false, trol = false;  // the mechanisms
  std::vector<std::string> settings;   // "key=value" over the new config.json
  std::optional<DType> dtype;  // of all weights; else of each as the backbone has it, and float32
                               // of what is fresh or was quantised
  uint64_t seed = 1;           // of what is fresh
  std::function<void(uint64_t done, uint64_t total)> on_progress;  // bytes
};

// What a graft is, for reports.
struct Graft {
  std::vector<std::string> tokens;    // that its tokenizer lacked, added
  std::vector<std::string> warnings;  // of the backbone's and the tower's files, and where the
                                      // backbone was taught another chat template
};

// `backbone` is a directory or a GGUF file. `tower` is a model, whose InternViT is taken with its
// weights, or a config.json, by which a fresh one is made. Writes a Hugging Face directory with its
// tokenizer, a tensor at a time. Throws Error that names file and key.
//
// Phantom's ghosts of queries and values begin at zero (the last matrices of their mixers do), so
// that both halves of an attention are the backbone's. TroL's gate begins almost closed. Rows of
// added tokens are the mean of the others.
Graft graft(const Path& backbone, const Path& tower, const Path& output,
            const GraftOptions& options);

}  // namespace revenant
