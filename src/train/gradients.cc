#include "train/gradients.h"

#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <mutex>

#include "base/error.h"
#include "train/device.h"
#include "train/parameters.h"

namespace revenant {
namespace {

struct BatchGradients {
  StepLoss loss;
  std::vector<torch::Tensor> gradients;  // as `trained`; undefined where none reaches
};

void add(StepLoss& sum, const StepLoss& part) {
  sum.loss += part.loss;
  for (const auto& [name, value] : part.metrics) sum.metrics[name] += value;
}

// What `of(i)` gives for each of `count` batches, handed to `take` in order.
template <class Of, class Take>
void in_order(size_t count, SideBySide& threads, const Of& of, const Take& take) {
  using Result = decltype(of(size_t(0)));
  std::mutex taking;
  std::map<size_t, Result> waiting;
  size_t next = 0;
  threads.run(count, [&](size_t i) {
    Result result = of(i);
    const std::lock_guard lock(taking);
    waiting.emplace(i, std::move(result));
    for (; waiting.contains(next); waiting.erase(next++)) take(waiting.at(next));
  });
}

nlohmann::json json_of(const StepLoss& loss) {
  return {{"loss", loss.loss}, {"metrics", loss.metrics}};
}

// Of the ranks' shares.
StepLoss sum_of(const std::vector<nlohmann::json>& shares) {
  StepLoss sum;
  for (const nlohmann::json& share : shares)
    add(sum, {share.at("loss"), share.at("metrics").get<std::map<std::string, double>>()});
  return sum;
}

// A weight that one rank's batches reach has a gradient on all; one that none's reach has none.
void add_gradients(const std::vector<torch::Tensor>& parameters,
                   const std::vector<nlohmann::json>& told, const Ranks& ranks) {
  std::vector<torch::Tensor> gradients;
  for (size_t p = 0; p < parameters.size(); ++p) {
    if (std::ranges::none_of(told, [&](const auto& share) { return share["reached"][p] == true; }))
      continue;
    torch::Tensor& gradient = parameters[p].mutable_grad();
    if (!gradient.defined()) gradient = torch::zeros_like(parameters[p]);
    gradients.push_back(gradient);
  }
  ranks.sum(gradients);
}

std::pair<torch::Tensor, StepLoss> loss_of(const TorchModel& model, const Objective& objective,
                                           const TorchBatch& batch, double total, bool bf16,
                                           const TorchNote* note = nullptr) {
  const AnswerScores scores = [&] {
    const Autocast autocast(bf16, model.device());
    return score_answers(model, batch, note);
  }();
  Objective::Value value = objective.value(batch, scores);
  const torch::Tensor loss = value.loss / total;
  for (auto& [name, metric] : value.metrics) metric /= total;
  return {loss, {loss.item<double>(), std::move(value.metrics)}};
}

}  // namespace

StepLoss accumulate(const TorchModel& model, const Objective& objective,
                    const std::vector<TorchBatch>& batches, double total, bool bf16,
                    SideBySide& threads, const Ranks& ranks, const TorchNote* note) {
  CHECK(total > 0);
  std::vector<torch::Tensor> parameters;
  for (auto& [name, parameter] : trained(model)) {
    parameter.mutable_grad().reset();
    parameters.push_back(parameter);
  }
  StepLoss own;
  const auto of_batch = [&](size_t i) {
    if (objective.weight(batches[i]) == 0) return BatchGradients{};
    auto [loss, part] = loss_of(model, objective, batches[i], total, bf16, i == 0 ? note : nullptr);
    return BatchGradients{std::move(part),
                          torch::autograd::grad({loss}, parameters, {}, {}, false, true)};
  };
  const auto take = [&](const BatchGradients& part) {
    add(own, part.loss);
    for (size_t p = 0; p < part.gradients.size(); ++p) {
      if (!part.gradients[p].defined()) continue;
      torch::Tensor& whole = parameters[p].mutable_grad();
      whole = whole.defined() ? whole.add_(part.gradients[p]) : part.gradients[p].clone();
    }
  };
  const auto losses = ranks.each([&] {
    in_order(batches.size(), threads, of_batch, take);
    nlohmann::json told = json_of(own);
    for (const torch::Tensor& parameter : parameters)
      told["reached"].push_back(parameter.grad().defined());
    return told;
  });
  add_gradients(parameters, losses, ranks);
  return sum_of(losses);
}

StepLoss measure(const TorchModel& model, const Objective& objective, size_t count,
                 const std::function<TorchBatch(size_t)>& batch, bool bf16, SideBySide& threads,
                 const Ranks& ranks) {
  const size_t rank = size_t(ranks.rank()), size = size_t(ranks.size());
  const size_t own_count = (count + size - 1 - rank) / size;
  StepLoss own;
  double own_total = 0, total = 0;
  const auto of_batch = [&](size_t i) {
    const torch::NoGradGuard no_grad;
    const TorchBatch made = batch(i * size + rank);
    const double weight = objective.weight(made);
    return std::pair(weight,
                     weight > 0 ? loss_of(model, objective, made, 1, bf16).second : StepLoss{});
  };
  const auto take = [&](const std::pair<double, StepLoss>& part) {
    own_total += part.first;
    add(own, part.second);
  };
  const auto losses = ranks.each([&] {
    in_order(own_count, threads, of_batch, take);
    nlohmann::json told = json_of(own);
    told["total"] = own_total;
    return told;
  });
  for (const nlohmann::json& part : losses) total += part.at("total").get<double>();
  ranks.on_first([&] {
    if (total == 0) throw Error("train", "eval_data", "an answer that can be used", "none");
  });
  StepLoss sum = sum_of(losses);
  sum.loss /= total;
  for (auto& [name, value] : sum.metrics) value /= total;
  return sum;
}

GradientNorms gradient_norms(const TorchModel& model) {
  std::map<Part, std::pair<double, double>> parts;  // sum of squares, count
  std::vector<torch::Tensor> gradients;
  std::vector<Part> part_of_gradient;
  for (const auto& [name, parameter] : trained(model))
    if (parameter.grad().defined()) {
      gradients.push_back(parameter.grad());
      part_of_gradient.push_back(part_of(model.specs.at(name)));
      parts[part_of_gradient.back()].second += double(parameter.numel());
    }
  GradientNorms norms;
  if (gradients.empty()) return norms;
  const torch::Tensor each = torch::stack(at::_foreach_norm(gradients)).cpu();
  for (size_t i = 0; i < gradients.size(); ++i)
    parts[part_of_gradient[i]].first += std::pow(each[int64_t(i)].item<double>(), 2);
  norms.all = each.norm().item<double>();
  for (const auto& [part, sums] : parts) {
    norms.parts[part] = std::sqrt(sums.first);
    norms.root_mean_squares[part] = std::sqrt(sums.first / sums.second);
  }
  return norms;
}

double clip_gradients(const TorchModel& model, double norm, double limit) {
  if (limit == 0 || norm <= limit) return 1;
  std::vector<torch::Tensor> gradients;
  for (const auto& [name, parameter] : trained(model))
    if (parameter.grad().defined()) gradients.push_back(parameter.grad());
  const double kept = limit / (norm + 1e-6);
  at::_foreach_mul_(gradients, kept);
  return kept;
}

}  // namespace revenant
