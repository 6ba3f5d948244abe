// What a run tells while it goes on. train.jsonl holds what follows from the recipe alone, so that
// a run that was broken off and gone on with writes the file of an unbroken one, byte for byte;
// speed.jsonl holds what the machine took for it; both go to TensorBoard too.
#pragma once

#include <chrono>

#include "train/event_file.h"
#include "train/gradients.h"
#include "train/mechanism_stats.h"
#include "train/run_directory.h"

namespace revenant {

// Who wants to see a run: lines to be read, and how far it is.
struct TrainWatch {
  std::function<void(const std::string& line)> tell = [](const std::string&) {};
  std::function<void(size_t done, size_t total, const std::string& detail)> progress =
      [](size_t, size_t, const std::string&) {};
};

// Of one step, for the log.
struct StepReport {
  StepLoss loss;
  GradientNorms norms;
  double learning_rate = 0, epoch = 0;
  bool skipped = false;
};

// What a step's batches hold, pictures' rows too.
struct StepCounts {
  size_t tokens = 0, pictures = 0;
  std::vector<std::string> left_out;
};

class Meter {
 public:
  // Goes on from a checkpoint, or from nothing. `epsilons`: Adam's, of each part.
  Meter(const Recipe& recipe, const TrainWatch& watch, const TrainerState& from,
        std::map<Part, double> epsilons);

  void count(const StepCounts& counts);
  // After step `step` (from 0). `mechanisms`: as noted in it, if it is one that is logged.
  void step(int step, const StepReport& report, const MechanismStats& mechanisms);
  void evaluated(int step, const StepLoss& loss, bool best, size_t left_out);
  bool logs(int step) const;

  nlohmann::json state() const;
  void sync() { log_.sync(); }

 private:
  using Clock = std::chrono::steady_clock;
  void show(int step) const;
  void write_speed(int step);
  void write_events(int step, const nlohmann::json& line);

  const Recipe& recipe_;
  const TrainWatch& watch_;
  StepLog log_, speed_;
  std::optional<EventFile> events_;
  std::string shown_;  // beside the progress, until the next line of the log
  const std::map<Part, double> epsilons_;
  int start_;
  // Since the last line of the log.
  int steps_ = 0;
  StepLoss sum_;
  int64_t left_out_ = 0, skipped_ = 0;  // since the run began
  size_t tokens_ = 0, pictures_ = 0, told_ = 0;
  Clock::time_point since_;
};

}  // namespace revenant
