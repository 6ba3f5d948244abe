#include "eval/quality.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "engine/sampling.h"
#include "engine/session.h"
#include "eval/predict.h"

namespace revenant {
namespace {

std::span<const float> row_of(const Tensor& logits) {
  return {logits.data(), size_t(logits.width)};
}

// KL(p || q) of two distributions by their logits.
double divergence(std::span<const float> p, std::span<const float> q) {
  const double p_all = log_sum_exp(p), q_all = log_sum_exp(q);
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    const double log_p = double(p[i]) - p_all;
    sum += std::exp(log_p) * (log_p - (double(q[i]) - q_all));
  }
  return std::max(0.0, sum);
}

int top(std::span<const float> logits) {
  return int(std::ranges::max_element(logits) - logits.begin());
}

class Comparison {
 public:
  Comparison(const Model& reference, const Model& model, const QualityOptions& options)
      : reference_(reference), model_(model), options_(options) {
    if (reference.config().vocab != model.config().vocab)
      throw Error("quality", model.files().path().string() + ": vocab_size",
                  std::to_string(reference.config().vocab) + ", as the reference has it",
                  std::to_string(model.config().vocab));
  }

  void read(const Row& row, const Pictures& theirs, const Pictures& ours) {
    const RowPrompt expected = prompt_of(reference_, row, theirs);
    const RowPrompt found = prompt_of(model_, row, ours);
    if (expected.ids != found.ids)
      throw Error("quality", model_.files().path().string(), "the reference's tokenizer",
                  "one that says \"" + row.question + "\" otherwise");
    Session a(reference_), b(model_);
    Tensor p = a.feed(expected.ids, expected.features, 0, options_.go_on),
           q = b.feed(found.ids, found.features, 0, options_.go_on);
    const std::vector<int>& stops = reference_.speech().stop_ids;
    for (int token = 0;;) {
      divergences_.push_back(divergence(row_of(p), row_of(q)));
      const int said = top(row_of(p));
      quality_.same_top += said == top(row_of(q));
      if (std::ranges::find(stops, said) != stops.end() || ++token == options_.max_new_tokens)
        break;
      p = a.step(said), q = b.step(said);
    }
    ++quality_.rows;
  }

  Quality result() && {
    const auto count = double(divergences_.size());
    quality_.tokens = int64_t(divergences_.size());
    for (const double d : divergences_) quality_.divergence += d / count;
    double squares = 0;
    for (const double d : divergences_)
      squares += (d - quality_.divergence) * (d - quality_.divergence);
    quality_.divergence_error = std::sqrt(squares) / count;
    std::ranges::sort(divergences_);
    if (!divergences_.empty())
      quality_.divergence_99 = divergences_[size_t(0.99 * (count - 1) + 0.5)];
    return quality_;
  }

 private:
  const Model &reference_, &model_;
  const QualityOptions& options_;
  Quality quality_;
  std::vector<double> divergences_;
};

}  // namespace

Quality measure_quality(const Model& reference, const Model& model, std::span<const Row> rows,
                        const QualityOptions& options) {
  Comparison comparison(reference, model, options);
  size_t done = 0;
  for (const RowGroup& group : group_rows(rows)) {
    const std::vector<Image> images = images_of(rows[group.begin].images, options.reading);
    const Pictures theirs = reference.encode(images, options.go_on),
                   ours = model.encode(images, options.go_on);
    for (size_t row = group.begin; row < group.end; ++row) {
      stop_unless(options.go_on);
      comparison.read(rows[row], theirs, ours);
      if (options.progress) options.progress(++done, rows.size());
    }
  }
  return std::move(comparison).result();
}

}  // namespace revenant
