#include "train/loop.h"

#include <cmath>
#include <future>
#include <limits>

#include "base/error.h"
#include "base/random.h"
#include "text/tokenizer_files.h"
#include "train/adapters.h"
#include "train/prepare.h"

namespace revenant {

std::atomic<int> stop_signal{0};

namespace {

// A run's parts, between two steps.
class Loop {
 public:
  Loop(const Recipe& recipe, const TrainWatch& watch, Preparation& prepared)
      : recipe_(recipe),
        p_(prepared),
        run_(prepared.run),
        objective_(objective_of(recipe.objective)),
        maker_{run_.model.config, *p_.tokenizer, *p_.rule, tile_rule(run_.model.config),
               batch_options(recipe)},
        meter_(recipe, watch, run_.state.global_step, run_.state.meter),
        threads_(recipe.gradient_accumulation_steps),
        saved_(run_.state.global_step) {}

  // Up to max_steps or a signal; the next batches are made while a step computes.
  bool run() {
    if (run_.state.evaluation_due) end_step();  // it failed when the run ended
    std::future<std::vector<TorchBatch>> next;
    const auto prepare_step = [&](int step) {
      if (step < recipe_.max_steps)
        next = std::async(std::launch::async, [this, step] { return batches_of_step(step); });
    };
    prepare_step(run_.state.global_step);
    while (run_.state.global_step < recipe_.max_steps && !stop_signal) {
      MechanismStats mechanisms(run_.model);
      StepReport report;
      const nlohmann::json metered = meter_.state();
      const int skipped = run_.state.skipped_in_a_row;
      try {
        std::vector<TorchBatch> batches = next.get();
        prepare_step(run_.state.global_step + 1);
        report = compute(batches, mechanisms);
      } catch (...) {  // weights are those of the step before
        run_.state.skipped_in_a_row = skipped;
        if (run_.state.global_step > saved_) save(metered);
        throw;
      }
      if (!report.skipped) run_.optimizer->step(report.learning_rate, threads_);
      meter_.step(run_.state.global_step, report, mechanisms);
      const int done = ++run_.state.global_step;
      run_.state.evaluation_due = recipe_.eval_steps > 0 && done % recipe_.eval_steps == 0;
      end_step();
    }
    const bool finished = run_.state.global_step == recipe_.max_steps;
    if (!finished && run_.state.global_step > saved_) save(meter_.state());
    return finished;
  }

 private:
  std::vector<TorchBatch> batches_of_step(int step) const {
    const std::vector<Pick> picks = picks_of_step(p_.data, recipe_, step);
    const size_t size = size_t(recipe_.per_device_train_batch_size);
    std::vector<TorchBatch> batches;
    for (size_t at = 0; at < picks.size(); at += size)
      batches.push_back(maker_.make(std::span(picks).subspan(at, size)));
    Random random(recipe_.seed + 0x9e3779b97f4a7c15 * uint64_t(step + 1));
    for (TorchBatch& batch : batches) batch.dropout_seed = (random.next() | 2) & ~uint64_t(1);
    return batches;
  }

  // Loss and clipped gradients of a step; it is to be skipped where they are no numbers, or where
  // all of its rows were left out.
  StepReport compute(std::vector<TorchBatch>& batches, MechanismStats& mechanisms) {
    const int step = run_.state.global_step, rows = batches.front().step.rows;
    double weight = 0;
    for (TorchBatch& batch : batches) {
      meter_.count(batch);
      weight += objective_.weight(batch);
      round_up(batch);
    }
    StepReport report;
    report.learning_rate = learning_rate_at(recipe_, step);
    report.epoch = double(step + 1) * pictures_a_step() / double(p_.data.pictures_an_epoch());
    report.loss.loss = std::numeric_limits<double>::quiet_NaN();
    if (weight > 0) {
      const TorchNote note = mechanisms.note(rows);
      report.loss = accumulate(run_.model, objective_, batches, recipe_.bf16, threads_,
                               meter_.logs(step) ? &note : nullptr);
      report.norms = gradient_norms(run_.model);
    }
    report.skipped = !std::isfinite(report.loss.loss) || !std::isfinite(report.norms.all);
    if (report.skipped) {
      check_skipped(step, report, weight > 0 ? "a finite loss and gradient" : "rows to learn from");
    } else {
      run_.state.skipped_in_a_row = 0;
      clip_gradients(run_.model, report.norms.all, recipe_.max_grad_norm);
    }
    return report;
  }

  double pictures_a_step() const {
    return double(recipe_.per_device_train_batch_size) * recipe_.gradient_accumulation_steps;
  }

  void check_skipped(int step, const StepReport& report, const std::string& expected) {
    const bool skips = recipe_.nan_policy == Recipe::NanPolicy::skip;
    if (skips && ++run_.state.skipped_in_a_row <= recipe_.max_skipped_steps) return;
    throw Error(
        "train", "step " + std::to_string(step + 1),
        expected +
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
    } catch (...) {
      save(meter_.state());
      throw;
    }
    if (saves) save(meter_.state());
  }

  // True if it is the best so far.
  bool evaluate() {
    const BatchMaker maker{maker_.config, maker_.tokenizer, maker_.rule, maker_.tile_rule,
                           evaluation_options(recipe_)};
    const auto batches = picks_in_order(p_.eval_data, recipe_.per_device_train_batch_size);
    std::atomic<size_t> left_out = 0;
    const auto batch = [&](size_t i) {
      TorchBatch made = maker.make(batches[i]);
      left_out += made.left_out.size();
      return made;
    };
    const StepLoss loss =
        measure(run_.model, objective_, batches.size(), batch, recipe_.bf16, threads_);
    TrainerState& state = run_.state;
    const bool best =
        std::isfinite(loss.loss) && (state.best_step == 0 || loss.loss < state.best_loss);
    if (best) state.best_step = state.global_step, state.best_loss = loss.loss;
    meter_.evaluated(state.global_step - 1, loss, best, left_out);
    state.evaluation_due = false;
    return best;
  }

  void save(const nlohmann::json& metered) {
    meter_.sync();
    run_.state.meter = metered;
    save_checkpoint(recipe_.output_dir, run_.model, *run_.optimizer, run_.state,
                    p_.tokenizer_directory, recipe_.save_total_limit);
    saved_ = run_.state.global_step;
  }

  const Recipe& recipe_;
  Preparation& p_;
  Run& run_;
  const Objective objective_;
  const BatchMaker maker_;
  Meter meter_;
  SideBySide threads_;
  int saved_;  // the step of the last checkpoint
};

void finish(const Recipe& recipe, const TorchModel& model, const Path& tokenizer) {
  save_trained(model, recipe.output_dir,
               recipe.save_dtype == Recipe::SaveType::float32 ? DType::f32 : DType::bf16);
  copy_tokenizer(tokenizer, recipe.output_dir);
}

}  // namespace

bool train(const Recipe& recipe, const TrainWatch& watch) {
  const std::unique_ptr<Preparation> prepared = prepare(recipe, watch.tell);
  if (!Loop(recipe, watch, *prepared).run()) return false;
  finish(recipe, prepared->run.model, prepared->tokenizer_directory);
  return true;
}

}  // namespace revenant
