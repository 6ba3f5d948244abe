// A sweep: many trainings that differ in some settings and in their seeds, each in a process of its
// own, and how well every one answers. What is done is known by the files that it leaves, so a
// sweep goes on wherever it was stopped (docs/training.md "Sweeps").
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"

namespace revenant {

struct SweepEvaluation {
  std::string name;
  std::vector<Path> data;
  std::string pictures = "own";  // or blank, shuffle
  int limit = 0;                 // rows a file; 0: all
  int predict = 16;              // most tokens of an answer
};

struct SweepArm {
  std::string name;
  std::vector<std::vector<std::string>> settings;  // of each step, as `train --set` takes them
};

// Every arm with every seed.
struct SweepGroup {
  std::string name;
  std::vector<uint64_t> seeds;
  std::vector<SweepArm> arms;
};

struct Sweep {
  Path output_dir;
  std::vector<Path> steps;  // recipes, each of which goes on from the model of the one before
  int jobs = 1;             // at once, one thread each
  std::vector<SweepEvaluation> evaluations;
  std::vector<SweepGroup> groups;
};

// Throws Error naming file and key.
Sweep read_sweep(const Path& file);

// One arm with one seed, in output_dir/GROUP/ARM/SEED.
struct SweepRun {
  const SweepGroup* group;
  const SweepArm* arm;
  uint64_t seed;
  Path directory;
};
// Group after group; within one, every arm has its first seed before any has its second.
std::vector<SweepRun> runs_of(const Sweep& sweep);

struct SweepPrograms {
  Path train, revenant;
};
// A step's training, or an evaluation. When it has ended well `proof` is there: what it wrote under
// the name `output`, or, where that is empty, an empty file.
struct SweepProcess {
  std::vector<std::string> words;
  Path output, proof;
};
// Nothing: all is there.
std::optional<SweepProcess> next_process(const Sweep& sweep, const SweepRun& run,
                                         const SweepPrograms& programs);

struct SweepWatch {
  std::function<void(const std::string& line)> tell;
  std::function<void(size_t done, size_t total, const std::string& now)> progress;
  std::function<int()> signal;  // caught since; 0: none
};
// Runs what is not there yet. After a run its row stands in output_dir/results.jsonl. What fails is
// told and left for the next time, the rest goes on. Ends early where a signal was caught: the
// trainings save a checkpoint and stop. Returns the number of runs that failed. Throws Error where
// a recipe is wrong, a run was begun with other settings, or another sweep is at work there.
size_t run_sweep(const Sweep& sweep, const SweepPrograms& programs, const SweepWatch& watch);

// One JSON line a finished run, in the order of the runs: group, arm, seed, `evaluations` (the
// groups that `eval --json` writes, by name), `training` (the last line of each step's
// train.jsonl).
std::string sweep_results(const Sweep& sweep);

// Mean accuracy over all rows with its spread over seeds, by arm and evaluation.
std::string sweep_table(const Sweep& sweep);

}  // namespace revenant
