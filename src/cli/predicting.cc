#include "cli/predicting.h"

#include <cstdio>

#include "base/clock.h"
#include "base/progress.h"
#include "cli/program.h"
#include "eval/answers_file.h"

namespace revenant {

void add_rows_options(CLI::App& command, std::vector<Path>& data, RowOptions& rows) {
  command.add_option("--data", data, "rows in a form of docs/data.md; may repeat")
      ->required()
      ->transform(at_home);
  add_fields_option(command, rows.fields);
  command.add_option("--limit", rows.limit, "only the first rows of each file; 0: all")
      ->check(whole_number(0))
      ->capture_default_str();
}

void add_predict_options(CLI::App& command, PredictOptions& options, Path& answers) {
  command.add_option("-n,--predict", options.max_new_tokens, "most tokens of an answer")
      ->check(whole_number(1))
      ->capture_default_str();
  command.add_option("--batch", options.batch, "pictures at a time")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command
      .add_option(
          "--answers", answers,
          "keep each answer in this file as it comes; a run that was stopped goes on from it")
      ->type_name("FILE")
      ->transform(at_home);
}

std::vector<Row> rows_of(const char* command, const std::vector<Path>& files,
                         const RowOptions& options) {
  std::vector<Row> rows;
  for (const Path& file : files) {
    std::vector<Row> more = read_rows(file, options);
    std::move(more.begin(), more.end(), std::back_inserter(rows));
  }
  if (rows.empty()) throw Error(command, files.front().string(), "at least one row", "none");
  return rows;
}

nlohmann::json run_of(const ModelArgs& args, const std::vector<Path>& data, const Model& model,
                      const PredictOptions& options) {
  nlohmann::json digests = nlohmann::json::array();
  for (const Path& file : data) digests.push_back(digest_of_rows(file));
  return {{"model", model.files().digest()},
          {"weights", args.options.weights ? args.options.weights->name : "as stored"},
          {"cache_type", int(model.cache_types().all)},
          {"data", digests},
          {"pictures", name_of(options.shown)},
          {"seed", options.shown == Shown::shuffled ? options.seed : 0},
          {"exif", int(options.reading.exif)},
          {"max_new_tokens", options.max_new_tokens},
          {"beams", std::max(1, options.beams)}};
}

std::vector<Prediction> predict_with_progress(const char* command, const Model& model,
                                              std::span<const Row> rows, PredictOptions options,
                                              const Path& answers, const nlohmann::json& run) {
  tell_warnings(model.warnings());
  model.speech();
  std::optional<AnswersFile> file;
  if (!answers.empty()) {
    file.emplace(through_links(answers), run, rows);
    options.known = file->known();
    options.on_answer = [&](size_t row, const Prediction& p) { file->add(row, p); };
  }
  catch_signals();
  options.go_on = [] { return caught_signal() == 0; };
  Progress progress(command, "rows");
  options.progress = [&, watch = Stopwatch()](size_t done, size_t total) {
    char rate[32];
    std::snprintf(rate, sizeof rate, "%.1f rows/s", double(done) / std::max(watch.seconds(), 1e-9));
    progress.show(done, total, rate);
  };
  std::vector<Prediction> predictions;
  try {
    predictions = predict(model, rows, options);
  } catch (const Stopped&) {
    if (file) std::fprintf(stderr, "stopped; the same command goes on from %s\n", answers.c_str());
    exit_if_signalled();
  }
  progress.finish();
  int longest = 0;
  for (const Prediction& p : predictions) longest = std::max(longest, p.tokens);
  const std::string warning = length_warning(model.config(), longest);
  if (!warning.empty()) tell_warnings({warning});
  return predictions;
}

}  // namespace revenant
