#include "train/meter.h"

#include <cstdio>
#include <fstream>

namespace revenant {
namespace {

using Json = nlohmann::json;
constexpr size_t kTold = 10;  // left-out rows that are named; the others are counted

// Peak resident memory in MiB; Linux's, 0 elsewhere.
double peak_megabytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::stod(line.substr(6)) / 1024;
  return 0;
}

// "vision tower" -> "vision_tower".
std::string key_of(Part part) {
  std::string name = name_of(part);
  std::ranges::replace(name, ' ', '_');
  return name;
}

// Lists by their places: "train/gate/mean/0" is the first layer's.
void add_numbers(EventFile& events, const std::string& tag, int step, const Json& value) {
  if (value.is_number()) events.add(tag, step, value.get<double>());
  if (!value.is_structured()) return;
  for (const auto& [key, part] : value.items()) add_numbers(events, tag + "/" + key, step, part);
}

}  // namespace

Meter::Meter(const Recipe& recipe, const TrainWatch& watch, const TrainerState& from,
             std::map<Part, double> epsilons)
    : recipe_(recipe),
      watch_(watch),
      log_(recipe.output_dir / "train.jsonl", from.global_step, from.evaluation_due),
      speed_(recipe.output_dir / "speed.jsonl", from.global_step),
      epsilons_(std::move(epsilons)),
      start_(from.global_step),
      since_(Clock::now()) {
  if (recipe.report_to == Recipe::Report::tensorboard)
    events_.emplace(recipe.output_dir / "tensorboard", start_);
  const Json& state = from.meter;
  if (state.is_null()) return;
  steps_ = state.at("steps");
  sum_.loss = state.at("loss");
  sum_.metrics = state.at("metrics").get<std::map<std::string, double>>();
  left_out_ = state.at("left_out");
  skipped_ = state.at("skipped");
}

Json Meter::state() const {
  return {{"steps", steps_},
          {"loss", sum_.loss},
          {"metrics", sum_.metrics},
          {"left_out", left_out_},
          {"skipped", skipped_}};
}

void Meter::count(const StepCounts& counts) {
  tokens_ += counts.tokens;
  pictures_ += counts.pictures;
  left_out_ += int64_t(counts.left_out.size());
  for (const std::string& what : counts.left_out)
    if (told_++ < kTold)
      watch_.tell("left out: " + what +
                  (told_ == kTold ? " (further ones are counted in train.jsonl)" : ""));
}

bool Meter::logs(int step) const {
  return (step + 1) % recipe_.logging_steps == 0 || step + 1 == recipe_.max_steps;
}

void Meter::step(int step, const StepReport& report, const MechanismStats& mechanisms) {
  if (report.skipped) {
    ++skipped_;
    watch_.tell("step " + std::to_string(step + 1) + " is skipped: loss " +
                std::to_string(report.loss.loss) + ", gradient norm " +
                std::to_string(report.norms.all));
  } else {
    ++steps_;
    sum_.loss += report.loss.loss;
    for (const auto& [name, value] : report.loss.metrics) sum_.metrics[name] += value;
  }
  if (!logs(step)) return show(step);
  Json line = {{"step", step + 1},
               {"epoch", report.epoch},
               {"learning_rate", report.learning_rate},
               {"skipped_steps", skipped_},
               {"left_out", left_out_}};
  if (steps_ > 0) {
    line["loss"] = sum_.loss / steps_;
    for (const auto& [name, value] : sum_.metrics) line[name] = value / steps_;
  }
  if (!report.skipped) {
    line["grad_norm"] = report.norms.all;
    for (const auto& [part, norm] : report.norms.parts) line["grad_norm/" + key_of(part)] = norm;
    for (const auto& [part, value] : report.norms.root_mean_squares)
      line["grad_rms/" + key_of(part)] = value;
    for (const auto& [part, value] : epsilons_) line["adam_epsilon/" + key_of(part)] = value;
    line.update(mechanisms.json());
  }
  log_.write(line);
  write_events(step + 1, line);
  write_speed(step);
  steps_ = 0;
  sum_ = {};
}

void Meter::write_speed(int step) {
  const double seconds = std::chrono::duration<double>(Clock::now() - since_).count();
  const double tokens = double(tokens_) / seconds, pictures = double(pictures_) / seconds;
  const Json line = {{"step", step + 1},
                     {"tokens_per_second", tokens},
                     {"images_per_second", pictures},
                     {"peak_memory_mb", peak_megabytes()}};
  speed_.write(line);
  write_events(step + 1, line);
  char text[96];
  std::snprintf(text, sizeof text, "loss %.4f, %.0f tokens/s, %.1f images/s",
                steps_ > 0 ? sum_.loss / steps_ : 0, tokens, pictures);
  shown_ = text;
  show(step);
  tokens_ = pictures_ = 0;
  since_ = Clock::now();
}

void Meter::show(int step) const {
  watch_.progress(size_t(step + 1 - start_), size_t(recipe_.max_steps - start_), shown_);
}

void Meter::evaluated(int step, const StepLoss& loss, bool best, size_t left_out) {
  Json line = {
      {"step", step + 1}, {"eval_loss", loss.loss}, {"eval_left_out", left_out}, {"best", best}};
  for (const auto& [name, value] : loss.metrics) line["eval_" + name] = value;
  write_events(step + 1, line);
  log_.write(line);  // the last: an evaluation that failed has no line
  char text[96];
  std::snprintf(text, sizeof text, "step %d: eval_loss %.4f%s", step + 1, loss.loss,
                best ? ", the best so far" : "");
  watch_.tell(text);
}

void Meter::write_events(int step, const Json& line) {
  if (!events_) return;
  for (const auto& [name, value] : line.items())
    if (name != "step") add_numbers(*events_, "train/" + name, step, value);
  events_->flush();
}

}  // namespace revenant
