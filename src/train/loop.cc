#include "train/loop.h"

#include <algorithm>
#include <cmath>
#include <future>
#include <limits>

#include "base/error.h"
#include "base/random.h"
#include "base/stop.h"
#include "train/adapters.h"
#include "train/prepare.h"

namespace revenant {

std::atomic<int> stop_signal{0};

namespace {

using Json = nlohmann::json;

// What all ranks' batches hold, of what each told.
StepCounts sum_of(const std::vector<Json>& told) {
  StepCounts sum;
  for (const Json& counts : told) {
    sum.tokens += counts.at("tokens").get<size_t>();
    sum.pictures += counts.at("pictures").get<size_t>();
    for (const Json& what : counts.at("left_out")) sum.left_out.push_back(what);
  }
  return sum;
}

int signal_of(const std::vector<Json>& told) {
  for (const Json& counts : told)
    if (counts.contains("signal")) return counts["signal"];
  return 0;
}

// A run's parts, between two steps. `recipe` counts the micro-batches of all ranks.
class Loop {
 public:
  Loop(const Recipe& recipe, const TrainWatch& watch, const Ranks& ranks, Preparation& prepared)
      : recipe_(recipe),
        ranks_(ranks),
        p_(prepared),
        run_(prepared.run),
        objective_(objective_of(recipe.objective)),
        maker_{run_.model.config, *p_.tokenizer, *p_.rule, tile_rule(run_.model.config),
               batch_options(recipe)},
        threads_(own_batches()),
        saved_(run_.state.global_step) {
    if (ranks.first()) meter_.emplace(recipe, watch, run_.state, adam_epsilons(run_.model, recipe));
  }

  // Up to max_steps or a signal; the next batches are made while a step computes.
  bool run() {
    if (run_.state.evaluation_due) end_step();  // it was not made when the run ended
    std::future<std::vector<TorchBatch>> next;
    const auto prepare_step = [&](int step) {
      if (step < recipe_.max_steps)
        next = std::async(std::launch::async, [this, step] { return batches_of_step(step); });
    };
    prepare_step(run_.state.global_step);
    while (run_.state.global_step < recipe_.max_steps) {
      MechanismStats mechanisms(run_.model);
      StepReport report;
      const Json metered = meter_state();
      const int skipped = run_.state.skipped_in_a_row;
      try {
        std::vector<TorchBatch> batches;
        const std::vector<Json> told = ranks_.each([&] {
          if (stop_signal) return Json{{"signal", stop_signal.load()}};
          batches = next.get();
          return counted(batches);
        });
        if (const int signal = signal_of(told)) {
          stop_signal = signal;
          break;
        }
        prepare_step(run_.state.global_step + 1);
        report = compute(batches, told, mechanisms);
      } catch (const std::exception& error) {  // weights are those of the step before
        run_.state.skipped_in_a_row = skipped;
        if (ranks_.together(error) && run_.state.global_step > saved_) save(metered);
        throw;
      }
      if (!report.skipped) run_.optimizer->step(report.learning_rate, threads_);
      if (meter_) meter_->step(run_.state.global_step, report, mechanisms);
      const int done = ++run_.state.global_step;
      run_.state.evaluation_due = recipe_.eval_steps > 0 && done % recipe_.eval_steps == 0;
      end_step();
    }
    const bool finished = run_.state.global_step == recipe_.max_steps;
    if (!finished && run_.state.global_step > saved_) save(meter_state());
    return finished;
  }

 private:
  int own_batches() const { return recipe_.gradient_accumulation_steps / ranks_.size(); }
  Json meter_state() const { return meter_ ? meter_->state() : Json(); }

  // This rank's share: those of rank 0 are the step's first. What is drawn for a micro-batch does
  // not depend on who computes it.
  std::vector<TorchBatch> batches_of_step(int step) const {
    const std::vector<Pick> picks = picks_of_step(p_.data, recipe_, step);
    const size_t size = size_t(recipe_.per_device_train_batch_size);
    const int begin = ranks_.rank() * own_batches(), end = begin + own_batches();
    std::vector<TorchBatch> batches;
    Random random(recipe_.seed + 0x9e3779b97f4a7c15 * uint64_t(step + 1));
    for (int i = 0; i < end; ++i) {
      const uint64_t dropout_seed = (random.next() | 2) & ~uint64_t(1);
      if (i < begin) continue;
      batches.push_back(maker_.make(std::span(picks).subspan(size_t(i) * size, size)));
      batches.back().dropout_seed = dropout_seed;
    }
    return batches;
  }

  Json counted(const std::vector<TorchBatch>& batches) const {
    double weight = 0;
    size_t tokens = 0, pictures = 0;
    Json left_out = Json::array();
    for (const TorchBatch& batch : batches) {
      weight += objective_.weight(batch);
      tokens += size_t(batch.step.rows);
      pictures += batch.pictures;
      for (const std::string& what : batch.left_out) left_out.push_back(what);
    }
    return {{"weight", weight}, {"tokens", tokens}, {"pictures", pictures}, {"left_out", left_out}};
  }

  // Loss and clipped gradients of a step; it is to be skipped where they are no numbers, or where
  // all of its rows were left out. `told`: what the ranks' batches hold.
  StepReport compute(std::vector<TorchBatch>& batches, const std::vector<Json>& told,
                     MechanismStats& mechanisms) {
    const int step = run_.state.global_step, rows = batches.front().step.rows;
    if (meter_) meter_->count(sum_of(told));
    double weight = 0;  // of all ranks: a rank with more answers weighs more
    for (const Json& counts : told) weight += counts.at("weight").get<double>();
    for (TorchBatch& batch : batches) round_up(batch);
    StepReport report;
    report.learning_rate = learning_rate_at(recipe_, step);
    report.epoch = double(step + 1) * pictures_a_step() / double(p_.data.pictures_an_epoch());
    report.loss.loss = std::numeric_limits<double>::quiet_NaN();
    if (weight > 0) {
      const TorchNote note = mechanisms.note(batches.front(), rows);
      report.loss = accumulate(run_.model, objective_, batches, weight, recipe_.bf16, threads_,
                               ranks_, meter_ && meter_->logs(step) ? &note : nullptr);
      report.norms = gradient_norms(run_.model);
    }
    const auto skips = ranks_.each(
        [&] { return !std::isfinite(report.loss.loss) || !std::isfinite(report.norms.all); });
    report.skipped = std::ranges::count(skips, Json(true)) > 0;
    if (report.skipped) {
      ++run_.state.skipped_in_a_row;
      ranks_.on_first([&] { check_skipped(step, report, weight > 0); });
    } else {
      run_.state.skipped_in_a_row = 0;
      const double kept = clip_gradients(run_.model, report.norms.all, recipe_.max_grad_norm);
      for (auto& [part, value] : report.norms.root_mean_squares) value *= kept;
    }
    return report;
  }

  double pictures_a_step() const {
    return double(recipe_.per_device_train_batch_size) * recipe_.gradient_accumulation_steps;
  }

  // `rows_left`: some of the step's rows could be used. Where none could, that is no number that
  // nan_policy speaks of.
  void check_skipped(int step, const StepReport& report, bool rows_left) const {
    const bool skips = recipe_.nan_policy == Recipe::NanPolicy::skip || !rows_left;
    if (skips && run_.state.skipped_in_a_row <= recipe_.max_skipped_steps) return;
    throw Error(
        "train", "step " + std::to_string(step + 1),
        std::string(rows_left ? "a finite loss and gradient" : "rows to learn from") +
            (skips ? " within max_skipped_steps " + std::to_string(recipe_.max_skipped_steps) : ""),
        "loss " + std::to_string(report.loss.loss) + ", gradient norm " +
            std::to_string(report.norms.all));
  }

  // What is due after a step: its evaluation, a checkpoint. An evaluation that fails takes nothing
  // away from the step, and is made up for when the run goes on.
  void end_step() {
    const int done = run_.state.global_step;
    bool saves = done == saved_ || done % recipe_.save_steps == 0 || done == recipe_.max_steps;
    try {
      if (run_.state.evaluation_due) saves |= evaluate();
    } catch (const std::exception& error) {
      if (ranks_.together(error)) save(meter_state());
      throw;
    }
    if (saves) save(meter_state());
  }

  // True if it is the best so far.
  bool evaluate() {
    const BatchMaker maker{maker_.config, maker_.tokenizer, maker_.rule, maker_.tile_rule,
                           evaluation_options(recipe_)};
    const auto batches = picks_in_order(p_.eval_data, recipe_.per_device_train_batch_size);
    std::atomic<size_t> own_left_out = 0;
    const auto batch = [&](size_t i) {
      if (stop_signal && ranks_.size() == 1) throw Stopped();  // several end after the step
      TorchBatch made = maker.make(batches[i]);
      own_left_out += made.left_out.size();
      return made;
    };
    const StepLoss loss =
        measure(run_.model, objective_, batches.size(), batch, recipe_.bf16, threads_, ranks_);
    size_t left_out = 0;
    for (const Json& part : ranks_.each([&] { return own_left_out.load(); }))
      left_out += part.get<size_t>();
    TrainerState& state = run_.state;
    const bool best =
        std::isfinite(loss.loss) && (state.best_step == 0 || loss.loss < state.best_loss);
    if (best) state.best_step = state.global_step, state.best_loss = loss.loss;
    ranks_.on_first([&] { meter_->evaluated(state.global_step - 1, loss, best, left_out); });
    state.evaluation_due = false;
    return best;
  }

  void save(const Json& metered) {
    const NamedTensors moments = run_.optimizer->state();
    ranks_.on_first([&] {
      meter_->sync();
      run_.state.meter = metered;
      save_checkpoint(recipe_.output_dir, run_.model, moments, run_.state, p_.tokenizer_texts,
                      recipe_.save_total_limit);
    });
    saved_ = run_.state.global_step;
  }

  const Recipe& recipe_;
  const Ranks& ranks_;
  Preparation& p_;
  Run& run_;
  const Objective objective_;
  const BatchMaker maker_;
  std::optional<Meter> meter_;  // rank 0's
  SideBySide threads_;
  int saved_;  // the step of the last checkpoint
};

void finish(const Recipe& recipe, const Preparation& p) {
  save_trained(p.run.model, recipe.output_dir,
               recipe.save_dtype == Recipe::SaveType::float32 ? DType::f32 : DType::bf16);
  write_tokenizer_texts(p.tokenizer_texts, recipe.output_dir);
}

}  // namespace

bool train(const Recipe& recipe, const TrainWatch& watch, const Ranks& ranks) {
  Recipe whole = recipe;
  whole.gradient_accumulation_steps *= ranks.size();
  try {
    const std::unique_ptr<Preparation> prepared = prepare(whole, watch.tell, ranks);
    if (!Loop(whole, watch, ranks, *prepared).run()) return false;
    ranks.on_first([&] { finish(whole, *prepared); });
    return true;
  } catch (const Stopped&) {  // in what is made up for: a reference's answers, an evaluation
    return false;
  }
}

}  // namespace revenant
