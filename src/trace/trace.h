// Every intermediate of a forward under the golden names (conformance README), for any executor:
// `trace` runs whatever inputs it finds (vision/*, vision_interp/*, prefill/*, text/*, long/*,
// batch/*, train/*, po/*) and returns what the authors' modules would have shown.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "model/config.h"
#include "model/note.h"
#include "model/step.h"

namespace revenant {

// A tensor that has left its executor: one of the two vectors is in use.
struct Array {
  std::vector<int64_t> shape;
  std::vector<float> floats;
  std::vector<int64_t> ints;
};
using Arrays = std::map<std::string, Array>;
using ArrayNote = std::function<void(Site, Note, const Array&)>;

// What an executor must be able to do to be traced.
class Traced {
 public:
  virtual ~Traced() = default;
  virtual const Config& config() const = 0;
  // Phantom off, or TroL in one pass, until switched on again.
  virtual void switch_mechanisms(bool on) = 0;
  // pixels [T, 3, S, S] -> [T * tokens, hidden]
  virtual Array see(const Array& pixels, const ArrayNote& note) = 0;
  // Whole sequences, nothing cached before; logits [rows, vocab] of every row.
  virtual Array forward(const Step& step, std::span<const int> ids, const Array* features,
                        const ArrayNote& note) = 0;

  struct Continuation {
    std::vector<int> tokens;
    Array logits;  // [n, vocab]; row t chose tokens[t]
  };
  // Greedy generation with a cache; nothing where the executor has none (`trace` does without).
  virtual std::optional<Continuation> generate(std::span<const int> ids, const Array* features,
                                               int count) {
    (void)ids, (void)features, (void)count;
    return {};
  }
  // Gradients of the mean answer loss by parameter name, and AdamW sequences; asked for only where
  // the executor has autograd, and then it owes them.
  virtual bool has_autograd() const { return false; }
  virtual Arrays train(const Step& step, std::span<const int> ids, std::span<const int64_t> labels,
                       const Array& pixels) {
    (void)step, (void)ids, (void)labels, (void)pixels;
    return {};
  }
  // Phantom Optimization over a chosen and a rejected answer, the two sequences of the step, which
  // share the pictures (none: nullptr): "J/loss", "J/sft_term", "J/preference_term", the metrics of
  // training and "J/grad/NAME" for setting J. Asked for and owed as `train`.
  virtual Arrays prefer(const Step& step, std::span<const int> ids, std::span<const int64_t> labels,
                        const Array* pixels) {
    (void)step, (void)ids, (void)labels, (void)pixels;
    return {};
  }
};

// The settings of Phantom Optimization that the goldens have; J counts them.
struct PreferenceSetting {
  double beta, gamma;
};
inline constexpr PreferenceSetting preference_settings[] = {{2, 0.5}, {10, 5}, {0.1, 0}};

// Throws Error, naming the tensor, if one that `trace` reads is not of the type, the shape or the
// range it must have (the conformance README lists them), or if pictures and picture tokens differ
// in number. Sequences may be [N] or [1, N]; other tensors are not looked at.
void check_inputs(const Config& config, const Arrays& inputs);

// Checks the inputs first. `new_tokens`: how many tokens to generate where the inputs do not hold a
// golden continuation; 0: as many as the goldens, 20 after prefill/ and 16 after others. An
// executor without a cache computes the whole sequence anew for every token.
Arrays trace(Traced& traced, const Arrays& inputs, int new_tokens = 0);

// Mean over the rows with a target (>= 0) of its -log p, summed in double; logits [rows, vocab].
double answer_loss(const Array& logits, std::span<const int64_t> targets);

}  // namespace revenant
