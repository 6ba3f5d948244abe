#include "train/objective.h"

#include "base/error.h"
#include "train/device.h"

namespace revenant {
namespace {

using torch::Tensor;

double answer_tokens(const TorchBatch& batch) {
  double count = 0;
  for (const int64_t label : batch.labels) count += label >= 0;
  return count;
}

double pairs(const TorchBatch& batch) { return double(batch.pairs.size()); }

// Both answers of every pair of a batch, [pairs] each.
struct Sides {
  Tensor chosen, rejected;  // log-probabilities, sums
  Tensor chosen_tokens, rejected_tokens;

  Sides averages() const {
    return {chosen / chosen_tokens, rejected / rejected_tokens, chosen_tokens, rejected_tokens};
  }
};

Sides sides_of(const TorchBatch& batch, const AnswerScores& scores) {
  std::vector<int64_t> chosen, rejected, chosen_tokens, rejected_tokens;
  for (const AnswerPair& pair : batch.pairs) {
    chosen.push_back(pair.chosen);
    rejected.push_back(pair.rejected);
    chosen_tokens.push_back(scores.counts.at(size_t(pair.chosen)));
    rejected_tokens.push_back(scores.counts.at(size_t(pair.rejected)));
    CHECK(chosen_tokens.back() > 0 && rejected_tokens.back() > 0);
  }
  const auto picked = [&](const std::vector<int64_t>& spans) {
    return scores.sums.index_select(0, indices(spans, scores.sums.device()));
  };
  const auto counted = [&](const std::vector<int64_t>& tokens) {
    return torch::tensor(tokens, torch::kLong).to(scores.sums.options());
  };
  return {picked(chosen), picked(rejected), counted(chosen_tokens), counted(rejected_tokens)};
}

// Their log-probabilities under the reference.
Sides reference_of(const TorchBatch& batch, const Sides& sides) {
  CHECK(batch.reference.chosen.size() == batch.pairs.size());
  const auto as = [&](const std::vector<double>& values) {
    return torch::tensor(values, torch::kFloat64).to(sides.chosen.options());
  };
  return {as(batch.reference.chosen), as(batch.reference.rejected), sides.chosen_tokens,
          sides.rejected_tokens};
}

double sum_of(const Tensor& x) { return x.detach().sum().item<double>(); }

Objective::Value value_of(const Tensor& losses, const Sides& logps, const Tensor& chosen_rewards,
                          const Tensor& rejected_rewards) {
  return {losses.sum(),
          {{"rewards/chosen", sum_of(chosen_rewards)},
           {"rewards/rejected", sum_of(rejected_rewards)},
           {"rewards/margins", sum_of(chosen_rewards - rejected_rewards)},
           {"rewards/accuracies", sum_of((chosen_rewards > rejected_rewards).to(torch::kFloat64))},
           {"logps/chosen", sum_of(logps.chosen)},
           {"logps/rejected", sum_of(logps.rejected)}}};
}

// PO, and SimPO where sft_weight is 0.
Objective::Value po_value(const ObjectiveConfig& c, double sft_weight, const TorchBatch& batch,
                          const AnswerScores& scores) {
  const Sides mean = sides_of(batch, scores).averages();
  const Tensor chosen = c.beta * mean.chosen, rejected = c.beta * mean.rejected;
  const Tensor preference = torch::softplus(-(chosen - rejected - c.gamma));
  Objective::Value value = value_of(preference - sft_weight * mean.chosen, mean, chosen, rejected);
  value.metrics["nll_loss"] = -sum_of(mean.chosen);
  value.metrics["preference_loss"] = sum_of(preference);
  return value;
}

Objective::Value reference_value(const ObjectiveConfig& c, const TorchBatch& batch,
                                 const AnswerScores& scores) {
  const bool averages = c.kind == ObjectiveConfig::Kind::ipo;
  const Sides sums = sides_of(batch, scores), sums_before = reference_of(batch, sums);
  const Sides now = averages ? sums.averages() : sums;
  const Sides before = averages ? sums_before.averages() : sums_before;
  const Tensor chosen = now.chosen - before.chosen, rejected = now.rejected - before.rejected;
  const Tensor difference = chosen - rejected;
  const Tensor losses =
      averages ? (difference - 1 / (2 * c.beta)).square() : torch::softplus(-c.beta * difference);
  return value_of(losses, now, c.beta * chosen, c.beta * rejected);
}

Objective over_answers(const ObjectiveConfig& c) {
  switch (c.kind) {
    case ObjectiveConfig::Kind::sft:
      return {answer_tokens, [](const TorchBatch&, const AnswerScores& scores) {
                return Objective::Value{-scores.sums.sum(), {}};
              }};
    case ObjectiveConfig::Kind::po:
    case ObjectiveConfig::Kind::simpo: {
      const double sft_weight = c.kind == ObjectiveConfig::Kind::po ? c.sft_weight : 0;
      return {pairs, [c, sft_weight](const TorchBatch& batch, const AnswerScores& scores) {
                return po_value(c, sft_weight, batch, scores);
              }};
    }
    case ObjectiveConfig::Kind::dpo:
    case ObjectiveConfig::Kind::ipo:
      return {pairs, [c](const TorchBatch& batch, const AnswerScores& scores) {
                return reference_value(c, batch, scores);
              }};
  }
  return {};
}

}  // namespace

Objective objective_of(const ObjectiveConfig& c) {
  const Objective answers = over_answers(c);
  if (c.traverse_budget == 0) return answers;
  return {answers.weight, [=](const TorchBatch& batch, const AnswerScores& scores) {
            Objective::Value value = answers.value(batch, scores);
            if (!scores.gate.defined() || !torch::GradMode::is_enabled()) return value;
            const double weight = answers.weight(batch);
            value.loss = value.loss + c.traverse_budget * weight * scores.gate;
            value.metrics["traverse_gate"] = weight * scores.gate.item<double>();
            return value;
          }};
}

torch::Tensor mean_loss(const Objective& objective, const TorchModel& model,
                        const TorchBatch& batch) {
  return objective.value(batch, score_answers(model, batch)).loss / objective.weight(batch);
}

}  // namespace revenant
