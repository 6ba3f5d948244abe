// revenant-train: the program that links libtorch. `revenant train ...` and every `--backend torch`
// replace themselves by it (execv), the way git finds its parts.
#include <unistd.h>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include <CLI/CLI.hpp>
#include <filesystem>

#include "base/error.h"
#include "base/progress.h"
#include "base/temporary_files.h"
#include "cli/commands.h"
#include "cli/make_set.h"
#include "cli/program.h"
#include "cli/trace_command.h"
#include "train/device.h"
#include "train/loop.h"
#include "train/ranks.h"
#include "train/sweep.h"
#include "train/traced.h"

namespace revenant {
namespace {

// libgomp reads this when it is loaded, so the program starts itself again with it (packages.md:
// two spinning threads on a busy machine cost a factor of ten).
void wait_passively(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY")) return;
  ::setenv("OMP_WAIT_POLICY", "passive", 1);
  ::execv("/proc/self/exe", argv);
}

void make_if_missing(const RecipeData& entry) {
  if (entry.make.empty()) return;
  if (std::filesystem::exists(entry.path)) {
    if (!made_by_another_version(entry.path.parent_path())) return;
    throw Error("data", entry.path.parent_path().string(),
                "a set of this version (revenant data make " + entry.make + ")",
                "one that another version made");
  }
  if (entry.path.parent_path().filename() != entry.make)
    throw Error("recipe", entry.path.string(),
                "a file in a folder " + entry.make + ", which make: " + entry.make + " fills",
                "another folder");
  MakeOptions options;
  options.directory = entry.path.parent_path().parent_path();
  make_set(entry.make, options);
}

void make_missing_data(const Recipe& recipe) {
  for (const RecipeData& entry : recipe.data) make_if_missing(entry);
  for (const RecipeData& entry : recipe.eval_data) make_if_missing(entry);
}

// Without the stack that torch writes into its messages.
std::string reason_with_torch(const std::exception& error) {
  const auto* torch_error = dynamic_cast<const c10::Error*>(&error);
  return torch_error ? std::string("[torch] ") + torch_error->what_without_backtrace()
                     : reason_of(error);
}

// Another rank is lost: what this one was doing cannot be ended in order.
void end_lost(const std::string& message) {
  const std::string line = message.empty() ? "" : "revenant-train: " + one_line(message) + "\n";
  if (::isatty(STDERR_FILENO) && !line.empty()) std::fputc('\n', stderr);  // below the bar
  std::fputs(line.c_str(), stderr);
  temporary_files::remove_all();
  ::_exit(1);
}

// Says once why it ended, on the rank that knows.
template <class Work>
void among_ranks(const Work& work) {
  const Ranks ranks(rank_place(), end_lost, reason_with_torch);
  try {
    work(ranks);
  } catch (const std::exception& error) {
    if (ranks.size() == 1) throw;
    if (!ranks.tells(error)) throw Exit{1};
    throw std::runtime_error(ranks.named(error));
  }
}

struct TrainingArgs {
  Path recipe;
  std::vector<std::string> settings;
};

void run_training(const TrainingArgs& args, const Ranks& ranks) {
  Recipe recipe;
  ranks.each([&] {
    recipe = read_recipe(args.recipe, args.settings);
    return nlohmann::json();
  });
  ranks.on_first([&] { make_missing_data(recipe); });
  for (const int number : {SIGINT, SIGTERM}) std::signal(number, [](int s) { stop_signal = s; });
  Progress bar("train", "steps");
  const auto tell = [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); };
  const auto progress = [&](size_t done, size_t total, const std::string& detail) {
    bar.show(done, total, detail);
  };
  if (!train(recipe, {tell, progress}, ranks)) throw Exit{128 + stop_signal.load()};
}

void add_training(CLI::App& app) {
  auto args = std::make_shared<TrainingArgs>();
  CLI::App* command =
      app.add_subcommand("train", "Trains a model as a recipe says (docs/training.md)");
  command->add_option("RECIPE", args->recipe, "YAML file")->required();
  command->add_option("--set", args->settings,
                      "key=value: replaces what the recipe says; may repeat");
  command->footer(
      "Example: revenant train recipes/phantom-nano-step1.yaml --set max_steps=100\n"
      "Several processes: torchrun --no-python --nproc-per-node 2 revenant-train train RECIPE");
  command->callback(
      [args] { among_ranks([&](const Ranks& ranks) { run_training(*args, ranks); }); });
}

struct SweepArgs {
  Path file;
  bool table = false;
};

// Before the first run: its trainings go on side by side.
void make_missing_data(const Sweep& sweep) {
  for (const Path& step : sweep.steps) make_missing_data(read_recipe(step, {}));
}

void sweep_command(const SweepArgs& args) {
  const Sweep sweep = read_sweep(args.file);
  if (!args.table) {
    make_missing_data(sweep);
    catch_signals();
    const Path own = std::filesystem::read_symlink("/proc/self/exe");
    Progress bar("sweep", "runs");
    const size_t failed = run_sweep(
        sweep, {own, own.parent_path() / "revenant"},
        {[](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); },
         [&](size_t done, size_t total, const std::string& now) { bar.show(done, total, now); },
         caught_signal});
    bar.finish();
    exit_if_signalled();
    if (failed > 0)
      throw Error("sweep", args.file.string(), "runs that end well; run the sweep again to go on",
                  std::to_string(failed) + " that failed");
  }
  std::printf("%s", sweep_table(sweep).c_str());
}

void add_sweep_command(CLI::App& app) {
  auto args = std::make_shared<SweepArgs>();
  CLI::App* command = app.add_subcommand(
      "sweep",
      "Trains and measures many variants of a recipe, several seeds each (docs/training.md)");
  command->add_option("SWEEP", args->file, "YAML file")->required();
  command->add_flag("--table", args->table, "only print the table of what is finished");
  command->footer("Example: revenant-train sweep recipes/ablation.yaml");
  command->callback([args] { sweep_command(*args); });
}

std::unique_ptr<Traced> open_torch(const Path& directory, const TraceOptions& options) {
  TorchModel model = load_torch_model(directory, options.settings, torch::kFloat64);
  move_to(model, device_of(options.device == "cuda" ? DeviceChoice::cuda : DeviceChoice::cpu));
  return std::make_unique<TorchTraced>(std::move(model));
}

}  // namespace
}  // namespace revenant

// jemalloc's settings: pages stay with the program for a while, since the next step asks for the
// same ones again, but not for ever: packed sequences are of ever new lengths, and what fits none
// is lost. Large ones too, which it would give back at once: a quarter of a step's time on models
// with a large vocabulary.
extern "C" {
const char* malloc_conf =
    "background_thread:false,dirty_decay_ms:10000,muzzy_decay_ms:10000,"
    "oversize_threshold:0";
}

int main(int argc, char** argv) {
  using namespace revenant;
  wait_passively(argv);
  CLI::App app("The part of revenant that links libtorch.", "revenant-train");
  app.require_subcommand(1);
  add_training(app);
  add_sweep_command(app);
  add_trace_command(app, open_torch, [] {});
  add_conformance_command(app, open_torch, [] {});
  return run_program(app, argc, argv, reason_with_torch);
}
