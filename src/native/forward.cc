// The one place where the forward text meets the native executor.
#include "native/forward.h"

#include "base/error.h"
#include "model/decoder.h"
#include "model/tower.h"

namespace revenant {
namespace {

Executor executor(const Native& n, std::span<Sequence* const> sequences = {}) {
  return {n.config, n.kernels ? *n.kernels : kernels(), n.threads, sequences, n.observer, n.go_on};
}

}  // namespace

Tensor see(const Native& n, std::span<const float> pixels, int tiles, int side) {
  const Threads::Awake awake(n.threads);
  Executor e = executor(n);
  return see(e, n.config, n.weights, pixels, tiles, side);
}

void reserve(const Config& c, const Step& step, std::span<Sequence* const> sequences) {
  for (const Span& span : step.spans)
    for (int pass = 1; pass <= (traverses(c.trol, span) ? c.trol.passes : 1); ++pass)
      sequences[size_t(span.sequence)]->reserve(pass, span.start, span.rows);
}

Forwarded forward_each(const Native& n, const Step& step, std::span<Sequence* const> sequences,
                       std::span<const int> ids, const Tensor* features) {
  CHECK(ids.size() == size_t(step.rows));
  for (const Span& span : step.spans)
    CHECK(span.generated == 0 && span.parent < 0);  // teacher forcing and packing are training's
  reserve(n.config, step, sequences);
  const Threads::Awake awake(n.threads);
  Executor e = executor(n, sequences);
  Tensor x = embed_prompt(e, n.weights, ids, features, step);
  x = e.note({}, Note::final_norm,
             decode(e, n.config, n.weights, e.note({}, Note::inputs_embeds, x), step));
  std::vector<std::optional<Error>> failures;
  for (const Span& span : step.spans) failures.push_back(e.failure_of(span));
  return {x, failures};
}

Tensor forward(const Native& n, const Step& step, std::span<Sequence* const> sequences,
               std::span<const int> ids, const Tensor* features) {
  const Forwarded made = forward_each(n, step, sequences, ids, features);
  for (const auto& failure : made.failures)
    if (failure) throw *failure;
  for (const Span& span : step.spans)
    sequences[size_t(span.sequence)]->rows = span.start + span.rows;
  return made.x;
}

Tensor logits(const Native& n, const Tensor& x) { return executor(n).linear(n.weights.output, x); }

Tensor last_rows(const Native& n, const Tensor& x, const Step& step) {
  std::vector<int> rows;
  for (const Span& span : step.spans) rows.push_back(span.first_row + span.rows - 1);
  return take_rows(n, x, rows);
}

Tensor take_rows(const Native& n, const Tensor& x, std::span<const int> rows) {
  return executor(n).take(x, rows);
}

}  // namespace revenant
