#include "train/sweep.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "base/sha256.h"
#include "data/dataset.h"
#include "store/model_files.h"
#include "text/tokenizer_files.h"
#include "train/recipe.h"
#include "train/run_directory.h"

namespace revenant {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

Path step_directory(const SweepRun& run, size_t step) {
  return run.directory / ("step" + std::to_string(step + 1));
}

Path answers_of(const SweepRun& run, const SweepEvaluation& evaluation) {
  return run.directory / (evaluation.name + ".json");
}

bool done(const Sweep& sweep, const SweepRun& run) {
  return !next_process(sweep, run, {}).has_value();
}

// As the step's training takes them.
std::vector<std::string> settings_of(const SweepRun& run, size_t step) {
  std::vector<std::string> settings = {"output_dir=" + step_directory(run, step).string(),
                                       "seed=" + std::to_string(run.seed)};
  if (step > 0) settings.push_back("model=" + step_directory(run, step - 1).string());
  std::ranges::copy(run.arm->settings[step], std::back_inserter(settings));
  return settings;
}

// Of files, each read once for all runs.
class Digests {
 public:
  Json of_rows(const std::vector<Path>& files) {
    Json all = Json::array();
    for (const Path& file : files) all.push_back(kept(file, [&] { return digest_of_rows(file); }));
    return all;
  }
  Json of_model(const Path& directory) {
    return kept(directory, [&] { return ModelFiles::open(directory).digest(); });
  }
  Json of_tokenizer(const Path& directory) {
    return kept(directory / "tokenizer",
                [&] { return digest_of(read_tokenizer_texts(directory)); });
  }

 private:
  template <class Make>
  const std::string& kept(const Path& key, const Make& make) {
    const auto it = digests_.find(key);
    return it != digests_.end() ? it->second : digests_.emplace(key, make()).first->second;
  }
  std::map<Path, std::string> digests_;
};

// What a run begins as, with the content of the files that decide about it and that its trainings
// do not look at again once they are finished. Throws Error where a recipe is wrong.
Json identity_of(const Sweep& sweep, const SweepRun& run, Digests& digests) {
  Json steps = Json::array(), evaluations = Json::object();
  for (size_t step = 0; step < sweep.steps.size(); ++step) {
    const Recipe recipe = read_recipe(sweep.steps[step], settings_of(run, step));
    if (recipe.lora.on())
      throw Error("sweep", sweep.steps[step].string() + ": lora", "nothing in a sweep's recipes",
                  "adapters");
    Json keys = Json::object();
    for (const auto& [key, entry] : recipe_keys(recipe))
      if (key != "output_dir" && key != "model") keys[key] = entry.value;
    if (!recipe.config.empty()) keys["config"] = sha256_of_file(recipe.config);
    if (!recipe.tower.empty()) keys["tower"] = digests.of_model(recipe.tower);
    if (!recipe.tokenizer.empty()) keys["tokenizer"] = digests.of_tokenizer(recipe.tokenizer);
    std::vector<Path> rows;
    for (const RecipeData& set : recipe.data) rows.push_back(set.path);
    keys["rows"] = digests.of_rows(rows);
    steps.push_back(std::move(keys));
  }
  for (const SweepEvaluation& e : sweep.evaluations)
    evaluations[e.name] = {{"data", digests.of_rows(e.data)},
                           {"pictures", e.pictures},
                           {"limit", e.limit},
                           {"predict", e.predict}};
  return {{"steps", steps}, {"evaluate", evaluations}};
}

Path identity_file(const SweepRun& run) { return run.directory / "run.json"; }

// A run goes on only as what it began as: finished parts are not looked at again. Evaluations may
// be added; `identity` gets those that it had before.
void check_same(const SweepRun& run, Json& identity) {
  const Path file = identity_file(run);
  if (!fs::exists(file)) return;
  const auto refuse = [&](const std::string& place, const std::string& what) {
    throw Error("sweep", file.string() + place,
                what + " that this run began with (else another output_dir)", "others");
  };
  const Json before = read_json(file, "sweep");
  if (before.value("steps", Json()) != identity["steps"])
    refuse("", "the recipes, settings and files");
  const Json evaluations = before.value("evaluate", Json::object());
  for (const auto& [name, evaluation] : evaluations.items()) {
    Json& now = identity["evaluate"][name];
    if (now.is_null()) now = evaluation;
    if (now != evaluation) refuse(": " + name, "the evaluation");
  }
}

// With the signals' usual meaning from its first moment on.
[[noreturn]] void become(std::vector<char*>& words, int output, pid_t parent) {
  for (const int number : {SIGINT, SIGTERM}) std::signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  setsid();                          // a terminal's Ctrl-C is for the sweep, which passes it on
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // a sweep that is killed leaves nothing that writes on
  if (getppid() != parent) _exit(126);
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  execv(words[0], words.data());
  dprintf(STDERR_FILENO, "%s: cannot start: %s\n", words[0], std::strerror(errno));
  _exit(127);
}

pid_t start(const std::vector<std::string>& words, const Path& log) {
  std::vector<char*> pointers;
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> output(std::fopen(log.c_str(), "ae"),
                                                               std::fclose);
  if (!output)
    throw Error("sweep", log.string(), std::string("cannot write: ") + std::strerror(errno));
  ::setenv("OMP_NUM_THREADS", "1", 1);
  sigset_t all, before;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &before);
  const pid_t parent = getpid(), child = fork();
  if (child == 0) become(pointers, fileno(output.get()), parent);
  sigprocmask(SIG_SETMASK, &before, nullptr);
  if (child < 0)
    throw Error("sweep", words[0], std::string("cannot start: ") + std::strerror(errno));
  return child;
}

std::string last_line(const Path& file) {
  std::string text = fs::exists(file) ? read_file(file) : "";
  while (text.ends_with('\n')) text.pop_back();
  const size_t end = text.rfind('\n');
  return end == text.npos ? text : text.substr(end + 1);
}

std::string label(const SweepRun& run) {
  return run.group->name + "/" + run.arm->name + "/" + std::to_string(run.seed);
}

// The weights and logs stay.
void remove_checkpoints(const Sweep& sweep, const SweepRun& run) {
  for (size_t step = 0; step < sweep.steps.size(); ++step)
    for (const fs::directory_entry& entry : fs::directory_iterator(step_directory(run, step)))
      if (entry.path().filename().string().starts_with("checkpoint-")) fs::remove_all(entry);
}

// A training that was killed a moment ago may hold its folder still.
constexpr const char* locked = "found one that holds its lock";
constexpr int most_tries = 20, poll_microseconds = 50'000;

class Running {
 public:
  Running(const Sweep& sweep, const SweepPrograms& programs, const SweepWatch& watch)
      : sweep_(sweep),
        programs_(programs),
        watch_(watch),
        lock_(sweep.output_dir),
        runs_(runs_of(sweep)) {
    std::signal(SIGCHLD, SIG_DFL);  // whoever started us may have had it ignored
    Digests digests;                // a file that is not there throws now, not after hours
    for (const SweepRun& run : runs_) {
      identities_.push_back(identity_of(sweep, run, digests));
      check_same(run, identities_.back());
    }
    for (const SweepRun& run : runs_)
      if (done(sweep, run)) {
        remove_checkpoints(sweep, run);
        ++done_;
      }
  }

  size_t run() {
    write_results();
    show();
    while (fill(), !children_.empty()) {
      int status = 0;
      const pid_t child = waitpid(-1, &status, WNOHANG);
      if (child > 0) ended(child, status);
      if (child <= 0) usleep(poll_microseconds);
      pass_signal_on();
    }
    return failed_;
  }

 private:
  struct Child {
    const SweepRun* run;
    SweepProcess process;
    int tries;
  };

  void fill() {
    while (!signalled_ && next_ < runs_.size() && children_.size() < size_t(sweep_.jobs)) {
      const size_t i = next_++;
      if (done(sweep_, runs_[i])) continue;
      attempt(runs_[i], [&] {
        fs::create_directories(runs_[i].directory);
        write_file(identity_file(runs_[i]), json_text(identities_[i], 1) + "\n");
        go_on(runs_[i]);
      });
    }
  }

  // What goes wrong with one run, a full disk say, is that run's failure.
  template <class Work>
  void attempt(const SweepRun& run, const Work& work) {
    try {
      work();
    } catch (const std::exception& error) {
      fail(run, error.what());
    }
  }

  void fail(const SweepRun& run, const std::string& reason) {
    ++failed_;
    watch_.tell(label(run) + " failed: " + reason);
  }

  void go_on(const SweepRun& run, int tries = 0) {
    if (const auto process = next_process(sweep_, run, programs_)) {
      if (!signalled_)
        children_[start(process->words, run.directory / "log.txt")] = {&run, *process, tries};
    } else {
      write_results();
      remove_checkpoints(sweep_, run);
      ++done_;
    }
    show();
  }

  void ended(pid_t pid, int status) {
    const auto found = children_.extract(pid);
    if (!found) return;
    const Child& child = found.mapped();
    const SweepRun& run = *child.run;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
      return attempt(run, [&] {
        keep(child.process);
        go_on(run);
      });
    if (signalled_) return;
    const std::string reason = last_line(run.directory / "log.txt");
    if (reason.find(locked) == reason.npos || child.tries == most_tries) return fail(run, reason);
    usleep(10 * poll_microseconds);
    attempt(run, [&] { go_on(run, child.tries + 1); });
  }

  // Its exit code says that it is whole; the proof, that it said so.
  static void keep(const SweepProcess& process) {
    if (process.output.empty())
      write_file(process.proof, "");
    else
      fs::rename(process.output, process.proof);
    sync_directory(process.proof.parent_path());
  }

  void pass_signal_on() {
    if (!signalled_) signalled_ = watch_.signal();
    if (signalled_)
      for (const auto& [pid, child] : children_) kill(pid, SIGTERM);
  }

  void show() const {
    std::string now;
    for (const auto& [pid, child] : children_) now += (now.empty() ? "" : ", ") + label(*child.run);
    watch_.progress(done_, runs_.size(), now);
  }

  void write_results() const {
    write_file(sweep_.output_dir / "results.jsonl", sweep_results(sweep_));
  }

  const Sweep& sweep_;
  const SweepPrograms& programs_;
  const SweepWatch& watch_;
  const DirectoryLock lock_;
  const std::vector<SweepRun> runs_;
  std::vector<Json> identities_;  // of the runs
  std::map<pid_t, Child> children_;
  size_t next_ = 0, done_ = 0, failed_ = 0;
  int signalled_ = 0;
};

std::vector<Json> results_of(const Sweep& sweep) {
  std::vector<Json> rows;
  for (const SweepRun& run : runs_of(sweep)) {
    if (!done(sweep, run)) continue;
    Json row = {{"group", run.group->name}, {"arm", run.arm->name}, {"seed", run.seed}};
    for (const SweepEvaluation& e : sweep.evaluations)
      row["evaluations"][e.name] = read_json(answers_of(run, e), "sweep").at("groups");
    for (size_t step = 0; step < sweep.steps.size(); ++step) {
      const Path log = step_directory(run, step) / "train.jsonl";
      row["training"].push_back(parse_json(last_line(log), {"sweep", log.string()}));
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

// The first of `eval`'s groups has all rows.
double accuracy_of(const Json& groups) { return groups.at(0).at("accuracy").get<double>(); }

// Mean and standard deviation.
std::string cell_of(const std::vector<double>& values) {
  double sum = 0, squares = 0;
  for (const double value : values) sum += value;
  const double mean = sum / double(values.size());
  for (const double value : values) squares += (value - mean) * (value - mean);
  const double spread = std::sqrt(squares / double(std::max<size_t>(values.size() - 1, 1)));
  char text[48];
  std::snprintf(text, sizeof text, values.size() > 1 ? " %.2f ± %.2f |" : " %.2f |", mean, spread);
  return text;
}

}  // namespace

std::vector<SweepRun> runs_of(const Sweep& sweep) {
  std::vector<SweepRun> runs;
  for (const SweepGroup& group : sweep.groups)
    for (const uint64_t seed : group.seeds)
      for (const SweepArm& arm : group.arms)
        runs.push_back(
            {&group, &arm, seed, sweep.output_dir / group.name / arm.name / std::to_string(seed)});
  return runs;
}

std::optional<SweepProcess> next_process(const Sweep& sweep, const SweepRun& run,
                                         const SweepPrograms& programs) {
  for (size_t step = 0; step < sweep.steps.size(); ++step) {
    const Path proof = step_directory(run, step).string() + ".done";
    if (fs::exists(proof)) continue;
    std::vector<std::string> words = {programs.train.string(), "train", sweep.steps[step].string()};
    for (const std::string& setting : settings_of(run, step))
      words.insert(words.end(), {"--set", setting});
    return SweepProcess{words, {}, proof};
  }
  for (const SweepEvaluation& e : sweep.evaluations) {
    const Path proof = answers_of(run, e), output = proof.string() + ".part";
    if (fs::exists(proof)) continue;
    std::vector<std::string> words = {programs.revenant.string(),
                                      "eval",
                                      "-t",
                                      "1",
                                      "-m",
                                      step_directory(run, sweep.steps.size() - 1).string(),
                                      "--limit",
                                      std::to_string(e.limit),
                                      "--predict",
                                      std::to_string(e.predict),
                                      "--json",
                                      output.string()};
    for (const Path& data : e.data) words.insert(words.end(), {"--data", data.string()});
    if (e.pictures != "own") words.push_back("--" + e.pictures);
    return SweepProcess{words, output, proof};
  }
  return {};
}

size_t run_sweep(const Sweep& sweep, const SweepPrograms& programs, const SweepWatch& watch) {
  return Running(sweep, programs, watch).run();
}

std::string sweep_results(const Sweep& sweep) {
  std::string lines;
  for (const Json& row : results_of(sweep)) lines += json_text(row) + "\n";
  return lines;
}

std::string sweep_table(const Sweep& sweep) {
  std::string table = "| group | arm | seeds |", rule = "| --- | --- | --- |";
  for (const SweepEvaluation& e : sweep.evaluations) table += " " + e.name + " |", rule += " --- |";
  table += "\n" + rule + "\n";
  const std::vector<Json> results = results_of(sweep);
  for (const SweepGroup& group : sweep.groups)
    for (const SweepArm& arm : group.arms) {
      std::vector<Json> of_arm;
      std::ranges::copy_if(results, std::back_inserter(of_arm), [&](const Json& row) {
        return row["group"] == group.name && row["arm"] == arm.name;
      });
      if (of_arm.empty()) continue;
      table += "| " + group.name + " | " + arm.name + " | " + std::to_string(of_arm.size()) + " |";
      for (const SweepEvaluation& e : sweep.evaluations) {
        std::vector<double> points;
        for (const Json& row : of_arm)
          points.push_back(100 * accuracy_of(row["evaluations"][e.name]));
        table += cell_of(points);
      }
      table += "\n";
    }
  return table;
}

}  // namespace revenant
