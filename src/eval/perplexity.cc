#include "eval/perplexity.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "engine/sampling.h"

namespace revenant {
namespace {

constexpr int kRowsTogether = 64;  // of logits

// Of ids[1], ids[2], ... after x's rows [rows, hidden].
void add_losses(const Native& native, const Tensor& x, std::span<const int> targets,
                std::vector<double>& losses) {
  for (int first = 0; first < x.rows; first += kRowsTogether) {
    std::vector<int> rows;
    for (int r = first; r < std::min(x.rows, first + kRowsTogether); ++r) rows.push_back(r);
    const Tensor y = logits(native, take_rows(native, x, rows));
    for (size_t i = 0; i < rows.size(); ++i) {
      const std::span<const float> row(y.data() + i * size_t(y.width), size_t(y.width));
      losses.push_back(log_sum_exp(row) - double(row[size_t(targets[size_t(rows[i])])]));
    }
  }
}

void add_chunk(const Model& model, std::span<const int> ids, const GoOn& go_on,
               std::vector<double>& losses) {
  const Native native = model.native(nullptr, go_on);
  const int length = int(ids.size()), prompt = length / 2 + 1;
  Sequence sequence(model.config(), model.pages());
  Sequence* const sequences[] = {&sequence};
  Step first, second;
  first.add(0, 0, prompt, prompt, true);
  const Tensor before = forward(native, first, sequences, ids.first(size_t(prompt)));
  add_losses(native, last_rows(native, before, first), ids.subspan(size_t(prompt), 1), losses);
  const int generated = length - 1 - prompt;
  if (generated == 0) return;
  second.add(0, prompt, generated, length, false);
  const Tensor after =
      forward(native, second, sequences, ids.subspan(size_t(prompt), size_t(generated)));
  add_losses(native, after, ids.subspan(size_t(prompt) + 1), losses);
}

}  // namespace

double Perplexity::value() const { return std::exp(mean); }

Perplexity perplexity(const Model& model, std::span<const int> ids,
                      const PerplexityOptions& options) {
  CHECK(options.context >= 4);
  const size_t length = size_t(options.context), chunks = ids.size() / length;
  if (chunks == 0)
    throw Error("perplexity", "text", "at least " + std::to_string(length) + " tokens",
                std::to_string(ids.size()));
  model.check_ids("perplexity", ids);
  std::vector<double> losses;
  for (size_t i = 0; i < chunks; ++i) {
    add_chunk(model, ids.subspan(i * length, length), options.go_on, losses);
    if (options.progress) options.progress(i + 1, chunks);
  }
  Perplexity p{0, 0, int64_t(losses.size())};
  for (const double loss : losses) p.mean += loss / double(losses.size());
  for (const double loss : losses)
    p.deviation += (loss - p.mean) * (loss - p.mean) / double(losses.size());
  p.deviation = std::sqrt(p.deviation);
  return p;
}

}  // namespace revenant
