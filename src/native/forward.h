// The forward text on the native executor, as plain functions.
#pragma once

#include "native/executor.h"

namespace revenant {

// What every forward needs. The parts outlive it. `go_on` can stop it within a second, also in a
// long piece of a prompt of a large model; then it throws Stopped and no sequence has new rows.
struct Native {
  const Config& config;
  const Weights<Weight>& weights;
  Threads& threads;
  Observer* observer = nullptr;
  const Kernels* kernels = nullptr;  // null: the best that this machine has
  GoOn go_on = {};
};

// Pixels [tiles, 3, side, side], normalised -> rows of the language model, tile by tile.
Tensor see(const Native& native, std::span<const float> pixels, int tiles, int side);

// Makes room for the step's rows in the caches, as `forward` does before it computes anything.
// Throws Error where the limit of pages leaves none.
void reserve(const Config& config, const Step& step, std::span<Sequence* const> sequences);

// Rows of the step after the final norm, [rows, hidden], those that it asks for, and of each span
// why its rows are worth nothing: a key that its cache cannot hold. The others' are what they are
// without it.
struct Forwarded {
  Tensor x;
  std::vector<std::optional<Error>> failures;
};
// Enters the rows into the sequences' caches, behind those that count: `rows` of each sequence is
// the caller's to raise. `features` (null: none) has a row for each picture row of the step.
Forwarded forward_each(const Native& native, const Step& step, std::span<Sequence* const> sequences,
                       std::span<const int> ids, const Tensor* features = nullptr);
// Raises them; throws the first failure, with no sequence changed.
Tensor forward(const Native& native, const Step& step, std::span<Sequence* const> sequences,
               std::span<const int> ids, const Tensor* features = nullptr);

Tensor logits(const Native& native, const Tensor& x);                       // of every row
Tensor last_rows(const Native& native, const Tensor& x, const Step& step);  // one per span
Tensor take_rows(const Native& native, const Tensor& x, std::span<const int> rows);

}  // namespace revenant
