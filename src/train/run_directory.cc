#include "train/run_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/json.h"
#include "train/adapters.h"
#include "train/device.h"

namespace revenant {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

[[noreturn]] void fail(const Path& file, const char* what) {
  throw Error("train", file.string(), std::string(what) + ": " + std::strerror(errno));
}

// The lines up to `step`, whole ones; without its evaluation's where that is still due.
std::string lines_up_to(const std::string& text, int step, bool evaluation_due) {
  std::string kept;
  for (size_t begin = 0, end; (end = text.find('\n', begin)) != text.npos; begin = end + 1) {
    const Json line = Json::parse(text.substr(begin, end - begin), nullptr, false);
    if (!line.is_object() || line.value("step", Json()) > Json(step)) break;
    if (evaluation_due && line.contains("eval_loss") && line.value("step", 0) == step) break;
    kept += text.substr(begin, end + 1 - begin);
  }
  return kept;
}

// Up to the first step that is below the level, a level schedule does not depend on where it ends.
bool level_so_far(const Json& run, int step) {
  return run.value("lr_scheduler_type", Json()) == "warmup_stable_decay" &&
         step <= std::stoi(run.value("max_steps", "0")) - std::stoi(run.value("decay_steps", "0"));
}

// A checkpoint knows no keys that are newer than itself: they stood at their defaults.
void check_same_run(const Json& asked, const TrainerState& state, const Path& checkpoint) {
  const bool open_end =
      level_so_far(state.run, state.global_step) && level_so_far(asked, state.global_step);
  Json defaults = Json::object();
  for (const auto& [key, entry] : recipe_keys({}))
    if (!entry.may_change) defaults[key] = entry.value;
  Json keys = defaults;
  keys.update(state.run);
  keys.update(asked);
  for (const auto& [key, value] : keys.items()) {
    if (open_end && (key == "max_steps" || key == "decay_steps")) continue;
    const Json standard = defaults.value(key, Json());
    const Json began = state.run.value(key, standard), now = asked.value(key, standard);
    const auto shown = [](const Json& v) {
      return v.is_string() ? v.get<std::string>() : json_text(v);
    };
    if (began != now)
      throw Error("train",
                  checkpoint.string() + ": " + key +
                      (key == "gradient_accumulation_steps" ? ", of all processes together" : ""),
                  shown(now) + ", as the recipe says (another output_dir starts anew)",
                  shown(began));
  }
  if (state.global_step > std::stoi(asked.value("max_steps", "0")))
    throw Error("train", checkpoint.string() + ": max_steps",
                "at least the " + std::to_string(state.global_step) + " steps done",
                asked.value("max_steps", ""));
}

// As the checkpoint has it: whole, or what differs from the base.
TorchModel model_of(const Recipe& recipe, const Path& checkpoint) {
  const bool adapts = recipe.lora.on();
  TorchModel model =
      load_to_train(adapts ? recipe.model : checkpoint,
                    adapts ? recipe.config_set : std::vector<std::string>(), base_of(recipe));
  set_trainable(model, recipe);
  if (adapts) {
    add_adapters(model, recipe);
    load_adapters(model, checkpoint);
  }
  move_to(model, device_of(recipe.device));
  return model;
}

void load_weights(const Path& checkpoint, const Recipe& recipe, Run& run, const Ranks& ranks) {
  run.model = model_of(recipe, checkpoint);
  run.optimizer.emplace(recipe, run.model, ranks);
  load_optimizer(checkpoint, *run.optimizer);
}

}  // namespace

void go_on_from(const Path& checkpoint, const Recipe& recipe, Run& run, const Ranks& ranks) {
  run.state = read_trainer_state(checkpoint);
  load_weights(checkpoint, recipe, run, ranks);
}

DirectoryLock::DirectoryLock(const Path& directory) {
  fs::create_directories(directory);
  const Path file = directory / ".lock";
  fd_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd_ < 0) fail(file, "cannot open");
  if (::flock(fd_, LOCK_EX | LOCK_NB) == 0) return;
  ::close(fd_);
  throw Error("train", directory.string(), "no other run in this output_dir",
              "one that holds its lock");
}

DirectoryLock::~DirectoryLock() { ::close(fd_); }

StepLog::StepLog(const Path& file, int step, bool evaluation_due) : file_(file) {
  const std::string before = fs::exists(file) ? read_file(file) : "";
  const std::string kept = lines_up_to(before, step, evaluation_due);
  if (kept != before) write_file(file, kept);
  fd_ = ::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd_ < 0) fail(file, "cannot open");
}

StepLog::~StepLog() { ::close(fd_); }

void StepLog::write(const Json& line) {
  const std::string text = json_text(line) + "\n";
  for (size_t done = 0; done < text.size();) {
    const ssize_t n = ::write(fd_, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(file_, "cannot write");
    done += size_t(n);
  }
}

void StepLog::sync() {
  if (::fsync(fd_) != 0) fail(file_, "cannot flush");
}

std::optional<Path> go_on(const Recipe& recipe, const Json& asked,
                          const std::function<void(const std::string&)>& tell, Run& run,
                          const Ranks& ranks) {
  const std::vector<Path> checkpoints = checkpoints_in(recipe.output_dir);
  const auto usable = [&](const auto& read) {
    try {
      read();
      return true;
    } catch (const Error& error) {
      tell(std::string("passing over a checkpoint that cannot be used: ") + error.what());
      return false;
    }
  };
  for (const Path& checkpoint : checkpoints) {
    if (!usable([&] {
          check_manifest(checkpoint);
          run.state = read_trainer_state(checkpoint);
        }))
      continue;
    check_same_run(asked, run.state, checkpoint);
    if (!usable([&] { load_weights(checkpoint, recipe, run, ranks); })) continue;
    tell("going on from " + checkpoint.string());
    return checkpoint;
  }
  if (!checkpoints.empty())
    throw Error("train", recipe.output_dir.string(), "a checkpoint to go on from, or none at all",
                std::to_string(checkpoints.size()) + " that cannot be used");
  return {};
}

}  // namespace revenant
