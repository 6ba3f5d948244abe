#include "train/loop.h"

#include <ATen/autocast_mode.h>
#include <fcntl.h>
#include <sys/file.h>
#include <torch/csrc/autograd/autograd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <map>
#include <mutex>
#include <optional>

#include "base/error.h"
#include "text/tokenizer_files.h"
#include "text/train_bpe.h"
#include "train/batch.h"
#include "train/checkpoint.h"
#include "train/optimizer.h"

namespace revenant {

std::atomic<int> stop_signal{0};

namespace {

namespace fs = std::filesystem;

// One run an output_dir: the lock goes with the process.
class DirectoryLock {
 public:
  explicit DirectoryLock(const Path& directory) {
    fs::create_directories(directory);
    const Path file = directory / ".lock";
    fd_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd_ < 0) throw Error("train", file.string(), "a file to write", std::strerror(errno));
    if (::flock(fd_, LOCK_EX | LOCK_NB) == 0) return;
    ::close(fd_);
    throw Error("train", directory.string(), "no other run in this output_dir",
                "one that holds its lock");
  }
  ~DirectoryLock() { ::close(fd_); }
  DirectoryLock(const DirectoryLock&) = delete;

 private:
  int fd_;
};

bool trains_tokenizer(const Recipe& recipe) {
  return recipe.tokenizer.empty() && recipe.model.empty();
}

Path tokenizer_directory_of(const Recipe& recipe) {
  if (!trains_tokenizer(recipe)) return recipe.tokenizer.empty() ? recipe.model : recipe.tokenizer;
  const Path own = recipe.output_dir / "tokenizer";
  const std::vector<Path> checkpoints = checkpoints_in(recipe.output_dir);
  return checkpoints.empty() || fs::exists(own) ? own : checkpoints.front();
}

// A tokenizer.json for the questions and answers of the data.
std::string trained_tokenizer(const Recipe& recipe, const TrainingData& data) {
  std::vector<std::string> texts;
  for (const TrainingSet& set : data.sets)
    for (const Row& row : set.rows) {
      texts.push_back(row.question + "\n" + row.answer);
      for (const Exchange& turn : row.later) texts.push_back(turn.question + "\n" + turn.answer);
    }
  const std::vector<std::string> specials = {"<|endoftext|>", "<|im_start|>", "<|im_end|>",
                                             "<img>",         "</img>",       "<IMG_CONTEXT>"};
  return train_byte_bpe(texts, recipe.tokenizer_vocab, specials);
}

Path config_file_of(const Recipe& recipe) {
  return recipe.config.empty() ? recipe.model / "config.json" : recipe.config;
}

// The config of a fresh model, but for what its tokenizer will say, or that of the model that the
// recipe goes on from.
nlohmann::json config_of(const Recipe& recipe) {
  const Path file = config_file_of(recipe);
  auto json = nlohmann::json::parse(read_file(file), nullptr, false);
  if (!json.is_object() || (recipe.model.empty() && !json.contains("llm_config")))
    throw Error("train", file.string(), "a JSON object with llm_config", "something else");
  if (recipe.model.empty()) json["llm_config"]["vocab_size"] = recipe.tokenizer_vocab;
  return json;
}

// A tokenizer that the recipe brings must know what the prompt needs, and fit the model.
void check_tokenizer(const Recipe& recipe, const Config& config, const PromptRule& rule) {
  const Path directory = tokenizer_directory_of(recipe);
  const Tokenizer tokenizer = tokenizer_for(rule, Tokenizer::open(directory));
  if (recipe.model.empty()) return;
  check_fit(rule, tokenizer, config.image_token, config.embedding_rows, directory.string());
}

// With the ids that only the tokenizer knows.
nlohmann::json completed(nlohmann::json json, const Tokenizer& tokenizer, const PromptRule& rule) {
  json["llm_config"]["vocab_size"] = tokenizer.size();
  json["image_token_index"] = tokenizer.id_of(rule.context_token);
  json["eos_token_id"] = json["pad_token_id"] = stop_ids(rule, tokenizer).front();
  return json;
}

// The meter of the log and the progress line.
class Meter {
 public:
  Meter(const Recipe& recipe, const TrainWatch& watch, int start)
      : recipe_(recipe),
        watch_(watch),
        log_(recipe.output_dir / log_name, std::ios::app),
        start_(start),
        since_(Clock::now()) {
    check_log();
  }

  void count(const TorchBatch& batch) {
    tokens_ += batch.step.rows;
    pictures_ += batch.pictures;
  }
  void step(int step, double loss, double norm, double rate, double epoch) {
    ++steps_;
    loss_ += loss;
    if ((step + 1) % recipe_.logging_steps != 0 && step + 1 != recipe_.max_steps) return;
    const double seconds = std::chrono::duration<double>(Clock::now() - since_).count();
    const nlohmann::json line = {{"step", step + 1},
                                 {"epoch", epoch},
                                 {"loss", loss_ / steps_},
                                 {"grad_norm", norm},
                                 {"learning_rate", rate},
                                 {"tokens_per_second", double(tokens_) / seconds},
                                 {"images_per_second", double(pictures_) / seconds}};
    log_ << line.dump() << std::endl;
    check_log();
    char text[96];
    std::snprintf(text, sizeof text, "loss %.4f, %.0f tokens/s, %.1f images/s", loss_ / steps_,
                  double(tokens_) / seconds, double(pictures_) / seconds);
    watch_.progress(size_t(step + 1 - start_), size_t(recipe_.max_steps - start_), text);
    tokens_ = pictures_ = 0;
    steps_ = 0;
    loss_ = 0;
    since_ = Clock::now();
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr const char* log_name = "train.jsonl";
  void check_log() const {
    if (!log_) throw Error("train", (recipe_.output_dir / log_name).string(), "cannot write");
  }
  const Recipe& recipe_;
  const TrainWatch& watch_;
  std::ofstream log_;
  int start_, steps_ = 0;
  size_t tokens_ = 0, pictures_ = 0;
  double loss_ = 0;
  Clock::time_point since_;
};

struct Run {
  TorchModel model;
  std::optional<Optimizer> optimizer;
  int step = 0;
  Path from;  // the checkpoint that it goes on from
};

// From the last good checkpoint; one that cannot be used is named and the one before it is tried.
// If none can the run ends: what was reached is not overwritten by a fresh start.
bool resume(const Recipe& recipe, const TrainWatch& watch, Run& run) {
  const std::vector<Path> checkpoints = checkpoints_in(recipe.output_dir);
  for (const Path& checkpoint : checkpoints) {
    TrainerState state;
    try {
      state = read_trainer_state(checkpoint);
      run.model = load_torch_model(checkpoint);
      run.optimizer.emplace(recipe, run.model);
      load_optimizer(checkpoint, *run.optimizer);
      run.step = state.global_step;
    } catch (const Error& error) {
      watch.tell(std::string("passing over a checkpoint that cannot be used: ") + error.what());
      continue;
    }
    const auto vocab = [](int size) { return "a tokenizer_vocab of " + std::to_string(size); };
    if (trains_tokenizer(recipe) && state.tokenizer_vocab &&
        state.tokenizer_vocab != recipe.tokenizer_vocab)
      throw Error("train", checkpoint.string(), vocab(recipe.tokenizer_vocab),
                  vocab(state.tokenizer_vocab));
    if (state.seed != recipe.seed)
      throw Error("train", checkpoint.string(), "a run of seed " + std::to_string(recipe.seed),
                  "one of seed " + std::to_string(state.seed));
    if (run.step > recipe.max_steps)
      throw Error("train", "max_steps",
                  "at least the " + std::to_string(run.step) + " of " + checkpoint.string(),
                  std::to_string(recipe.max_steps));
    run.from = checkpoint;
    watch.tell("going on from " + checkpoint.string());
    return true;
  }
  if (!checkpoints.empty())
    throw Error("train", recipe.output_dir.string(), "a checkpoint to go on from, or none at all",
                std::to_string(checkpoints.size()) + " that cannot be used");
  return false;
}

// A run goes on as what it began as. `config` is what the recipe asks for.
void check_same(const Recipe& recipe, const nlohmann::json& config, const Run& run) {
  if (config != run.model.config_json)
    throw Error("train", config_file_of(recipe).string(),
                "the configuration that the run in " + recipe.output_dir.string() + " began with",
                "another");
  const Path tokenizer = tokenizer_directory_of(recipe);
  if (!same_tokenizer(tokenizer, run.from))
    throw Error("train", tokenizer.string(), "the tokenizer of " + run.from.string(), "another");
}

struct LossAndGradients {
  double loss = 0;
  std::vector<torch::Tensor> gradients;  // as the parameters; undefined where none reaches
};

// Autocast to bf16 on this thread, for as long as it lives.
class Autocast {
 public:
  explicit Autocast(bool on) { at::autocast::set_autocast_enabled(at::kCPU, on); }
  ~Autocast() { at::autocast::set_autocast_enabled(at::kCPU, false); }
  Autocast(const Autocast&) = delete;
};

LossAndGradients gradients_of(const TorchModel& model, const TorchBatch& batch, double share,
                              bool bf16) {
  const torch::Tensor loss = [&] {
    const Autocast autocast(bf16);
    return sft_loss(model, batch).to(torch::kFloat32) * share;
  }();
  std::vector<torch::Tensor> parameters;
  for (const auto& [name, parameter] : model.parameters) parameters.push_back(parameter);
  return {loss.item<double>(), torch::autograd::grad({loss}, parameters, {}, {}, false, true)};
}

void add_gradients(const TorchModel& model, const std::vector<torch::Tensor>& gradients) {
  size_t at = 0;
  for (const auto& [name, parameter] : model.parameters) {
    const torch::Tensor& gradient = gradients[at++];
    if (!gradient.defined()) continue;
    torch::Tensor& whole = parameter.mutable_grad();
    whole = whole.defined() ? whole.add_(gradient) : gradient.clone();
  }
}

// Gradients of the mean loss over all answer tokens of the step, whatever the micro-batches. They
// are added in the order of the micro-batches, each as soon as those before it are, so that the
// number of threads changes nothing.
double accumulate(const Recipe& recipe, const TorchModel& model,
                  const std::vector<TorchBatch>& batches, SideBySide& threads) {
  double total = 0;
  std::vector<double> counts;
  for (const TorchBatch& batch : batches) {
    counts.push_back(double(std::ranges::count_if(batch.labels, [](int64_t l) { return l >= 0; })));
    total += counts.back();
  }
  for (const auto& [name, parameter] : model.parameters) parameter.mutable_grad().reset();
  double sum = 0;
  std::mutex adding;
  std::map<size_t, LossAndGradients> waiting;
  size_t next = 0;
  threads.run(batches.size(), [&](size_t i) {
    LossAndGradients part = gradients_of(model, batches[i], counts[i] / total, recipe.bf16);
    const std::lock_guard lock(adding);
    waiting[i] = std::move(part);
    for (; waiting.contains(next); waiting.erase(next++)) {
      sum += waiting[next].loss;
      add_gradients(model, waiting[next].gradients);
    }
  });
  return sum;
}

// L2 norm of all gradients, after which they are scaled down to `limit`.
double clip_gradients(const TorchModel& model, double limit) {
  std::vector<torch::Tensor> gradients;
  for (const auto& [name, parameter] : model.parameters)
    if (parameter.grad().defined()) gradients.push_back(parameter.grad());
  const std::vector<torch::Tensor> norms = at::_foreach_norm(gradients);
  const double norm = torch::stack(norms).norm().item<double>();
  if (limit > 0 && norm > limit) at::_foreach_mul_(gradients, limit / (norm + 1e-6));
  return norm;
}

std::vector<TorchBatch> batches_of_step(const BatchMaker& maker, const TrainingData& data,
                                        const Recipe& recipe, int step) {
  const std::vector<Pick> picks = picks_of_step(data, recipe, step);
  const size_t size = size_t(recipe.per_device_train_batch_size);
  std::vector<TorchBatch> batches;
  for (size_t at = 0; at < picks.size(); at += size)
    batches.push_back(maker.make(std::span(picks).subspan(at, size)));
  return batches;
}

// Up to max_steps or a signal; the next batches are made while a step computes.
void run_steps(const Recipe& recipe, const TrainWatch& watch, const TrainingData& data,
               const BatchMaker& maker, const std::function<void(int)>& save, Run& run) {
  const double epoch_steps =
      double(data.pictures_an_epoch()) /
      (recipe.per_device_train_batch_size * recipe.gradient_accumulation_steps);
  Meter meter(recipe, watch, run.step);
  SideBySide threads(recipe.gradient_accumulation_steps);
  auto prepare = [&](int step) {
    return std::async(std::launch::async,
                      [&, step] { return batches_of_step(maker, data, recipe, step); });
  };
  std::future<std::vector<TorchBatch>> next;
  if (run.step < recipe.max_steps) next = prepare(run.step);
  for (; run.step < recipe.max_steps && !stop_signal; ++run.step) {
    std::vector<TorchBatch> batches = next.get();
    if (run.step + 1 < recipe.max_steps) next = prepare(run.step + 1);
    for (TorchBatch& batch : batches) meter.count(batch), round_up(batch);
    const double loss = accumulate(recipe, run.model, batches, threads);
    const double norm = clip_gradients(run.model, recipe.max_grad_norm);
    if (!std::isfinite(loss) || !std::isfinite(norm))
      throw Error("train", "step " + std::to_string(run.step + 1), "a finite loss and gradient",
                  std::to_string(loss) + " and " + std::to_string(norm));
    const double rate = learning_rate_at(recipe, run.step);
    run.optimizer->step(rate, threads);
    meter.step(run.step, loss, norm, rate, (run.step + 1) / epoch_steps);
    if ((run.step + 1) % recipe.save_steps == 0 || run.step + 1 == recipe.max_steps)
      save(run.step + 1);
  }
}

void finish(const Recipe& recipe, const TorchModel& model, const Path& tokenizer) {
  save_torch_model(model, recipe.output_dir,
                   recipe.save_dtype == "float32" ? DType::f32 : DType::bf16);
  copy_tokenizer(tokenizer, recipe.output_dir);
}

}  // namespace

bool train(const Recipe& recipe, const TrainWatch& watch) {
  const TrainingData data = read_training_data(recipe);
  nlohmann::json config = config_of(recipe);
  const Config parsed = parse_config(config, config_file_of(recipe).string());
  const PromptRule& rule = prompt_rule(prompt_family(parsed));
  const Path tokenizer_directory = tokenizer_directory_of(recipe);
  std::string made_tokenizer;
  if (!trains_tokenizer(recipe))
    check_tokenizer(recipe, parsed, rule);
  else if (checkpoints_in(recipe.output_dir).empty())
    made_tokenizer = trained_tokenizer(recipe, data);
  // Up to here nothing is written.
  const DirectoryLock lock(recipe.output_dir);
  if (!made_tokenizer.empty()) {
    fs::create_directories(tokenizer_directory);
    write_file(tokenizer_directory / "tokenizer.json", made_tokenizer);
  }
  const Tokenizer tokenizer = tokenizer_for(rule, Tokenizer::open(tokenizer_directory));
  if (recipe.model.empty()) config = completed(config, tokenizer, rule);

  Run run;
  if (resume(recipe, watch, run)) {
    check_same(recipe, config, run);
  } else {
    run.model = recipe.model.empty() ? init_torch_model(config, recipe.seed)
                                     : load_torch_model(recipe.model);
    run.optimizer.emplace(recipe, run.model);
    for (const std::string& warning : run.model.warnings) watch.tell(warning);
  }
  const BatchMaker maker{run.model.config,
                         tokenizer,
                         rule,
                         tile_rule_of(run.model.config),
                         recipe.questions_per_picture,
                         recipe.conversation_share};
  const auto save = [&](int step) {
    const TrainerState state{step, recipe.seed,
                             trains_tokenizer(recipe) ? recipe.tokenizer_vocab : 0};
    save_checkpoint(recipe.output_dir, run.model, *run.optimizer, state, tokenizer_directory,
                    recipe.save_total_limit);
  };
  const int start = run.step;
  run_steps(recipe, watch, data, maker, save, run);
  const bool finished = run.step == recipe.max_steps;
  if (finished)
    finish(recipe, run.model, tokenizer_directory);
  else if (run.step > start)
    save(run.step);
  return finished;
}

}  // namespace revenant
