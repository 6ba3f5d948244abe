// The directory of a run: one process at a time, checkpoints, and logs that hold each step once.
#pragma once

#include <functional>
#include <optional>

#include "train/checkpoint.h"

namespace revenant {

// One run an output_dir: the lock goes with the process.
class DirectoryLock {
 public:
  explicit DirectoryLock(
      const Path& directory);  // makes the directory; throws Error where it is held
  ~DirectoryLock();
  DirectoryLock(const DirectoryLock&) = delete;

 private:
  int fd_;
};

// A file of one JSON object a line, each with the "step" after which it was written.
class StepLog {
 public:
  // Goes on after `step`: lines of later steps, and one that was broken off, are cut away; so is
  // the evaluation after `step` where it is still to be made.
  StepLog(const Path& file, int step, bool evaluation_due = false);
  ~StepLog();
  StepLog(const StepLog&) = delete;
  void write(const nlohmann::json& line);  // throws Error
  void sync();                             // makes what was written durable; throws Error

 private:
  Path file_;
  int fd_;
};

// A run as it stands between two steps.
struct Run {
  TorchModel model;
  std::optional<Optimizer> optimizer;
  TrainerState state;
};

// Fills `run` from the last good checkpoint and returns its directory; nothing if there is no
// checkpoint. One that cannot be used is told of and the one before it is tried; if none can an
// Error ends the run: what was reached is not overwritten by a fresh start.
// `asked` is what must stay the same (TrainerState::run) as the recipe says it: an Error names the
// first key that differs. Keys that change nothing up to the checkpoint's step may differ.
std::optional<Path> go_on(const Recipe& recipe, const nlohmann::json& asked,
                          const std::function<void(const std::string&)>& tell, Run& run,
                          const Ranks& ranks = no_ranks());

// Fills `run` from a checkpoint that another rank went on from.
void go_on_from(const Path& checkpoint, const Recipe& recipe, Run& run, const Ranks& ranks);

}  // namespace revenant
