// revenant calibrate: when a model had better be silent.
#include <cmath>
#include <cstdio>

#include "base/json.h"
#include "base/random.h"
#include "cli/commands.h"
#include "cli/predicting.h"
#include "cli/program.h"
#include "engine/calibration.h"
#include "eval/report.h"
#include "eval/score.h"

namespace revenant {
namespace {

using nlohmann::json;

struct Args {
  ModelArgs model;
  std::vector<Path> data;
  RowOptions rows;
  PredictOptions predict;
  size_t examples = 200, others = 0;
  double risk = 0.05;
  Score by = Score::probability;
  Path out, answers;
  bool json = false;
};

// Drawn without putting back: the examples, then the others.
std::vector<Row> drawn(const Args& args) {
  std::vector<Row> rows = rows_of("calibrate", args.data, args.rows);
  const size_t wanted = args.examples + args.others;
  if (rows.size() < wanted)
    throw Error("calibrate", args.data.front().string(), std::to_string(wanted) + " rows",
                std::to_string(rows.size()));
  Random random(args.predict.seed);
  random.shuffle(rows);
  rows.resize(wanted);
  return rows;
}

std::vector<Scored> scored(std::span<const Row> rows, std::span<const Prediction> predictions,
                           Score by) {
  std::vector<Scored> all;
  for (size_t i = 0; i < rows.size(); ++i)
    if (predictions[i].grounding)
      all.push_back({score_of(*predictions[i].grounding, by), is_right(rows[i], predictions[i])});
  return all;
}

double share(int part, int whole) { return whole > 0 ? double(part) / whole : 0; }

json coverage_json(const Coverage& o) {
  const Interval wrong = wilson(o.wrong, o.answered);
  return {{"questions", o.questions},
          {"answered", o.answered},
          {"wrong", o.wrong},
          {"coverage", share(o.answered, o.questions)},
          {"wrong_of_answered", share(o.wrong, o.answered)},
          {"low", wrong.low},
          {"high", wrong.high},
          {"wrong_of_all", share(o.wrong, o.questions)}};
}

void print(const char* of, const Coverage& o) {
  const Interval wrong = wilson(o.wrong, o.answered);
  std::printf("%-18s %6.1f %% answered, of these %5.2f %% wrong (%.2f to %.2f), %.2f %% of all\n",
              of, 100 * share(o.answered, o.questions), 100 * share(o.wrong, o.answered),
              100 * wrong.low, 100 * wrong.high, 100 * share(o.wrong, o.questions));
}

// What the surest answers of a share would be, by either score.
json curves(std::span<const Row> rows, std::span<const Prediction> predictions, bool told) {
  json all = json::object();
  for (const Score by : {Score::probability, Score::grounding}) {
    const std::vector<Scored> of = scored(rows, predictions, by);
    json curve = json::array();
    if (told) std::printf("by %s: AUROC %.3f\n", name_of(by), separation(of));
    for (const double part : {1.0, 0.9, 0.8, 0.7, 0.5}) {
      const Coverage o = coverage_at(of, part);
      curve.push_back(coverage_json(o));
      if (told) print("  surest", o);
    }
    all[name_of(by)] = {{"auroc", separation(of)}, {"surest", curve}};
  }
  return all;
}

void calibrate(const Args& args) {
  most_wrong(args.examples, args.risk);  // throws while nothing is lost
  const std::vector<Row> rows = drawn(args);
  const Model model(args.model.directory, args.model.options);
  PredictOptions options = args.predict;
  options.grounding = true;
  json run;
  if (!args.answers.empty()) {
    run = run_of(args.model, args.data, model, options);
    run.update({{"fields", args.rows.fields},
                {"drawn", {args.examples, args.others}},
                {"drawn_seed", args.predict.seed}});
  }
  const std::vector<Prediction> predictions =
      predict_with_progress("calibrate", model, rows, options, args.answers, run);
  const std::string failed = failure_note(predictions);
  if (!failed.empty()) throw Error("calibrate", "rows", failed);
  const auto part = [&](size_t begin, size_t count) {
    return std::pair(std::span(rows).subspan(begin, count),
                     std::span(predictions).subspan(begin, count));
  };
  const auto [own_rows, own] = part(0, args.examples);
  const auto [other_rows, others] = part(args.examples, args.others);
  const std::vector<Scored> examples = scored(own_rows, own, args.by);
  Calibration made{model.files().digest(), args.by, threshold_for(examples, args.risk), args.risk};
  made.examples = coverage(examples, made.threshold);
  write_calibration(through_links(args.out), made);
  const Coverage on_others = coverage(scored(other_rows, others, args.by), made.threshold);
  const auto [curve_rows, curve_of] =
      args.others > 0 ? std::pair(other_rows, others) : std::pair(own_rows, own);
  if (!args.json) {
    std::printf(
        "by %s: answered at %.4f and above; of all questions like these at most %.4g %% are "
        "answered wrongly, on average\n",
        name_of(made.by), made.threshold, 100 * made.risk);
    print("examples", made.examples);
    if (args.others > 0) print("other rows", on_others);
    curves(curve_rows, curve_of, true);
    return;
  }
  json report = {{"by", name_of(made.by)},
                 {"threshold", made.threshold},
                 {"risk", made.risk},
                 {"examples", coverage_json(made.examples)},
                 {"curves", curves(curve_rows, curve_of, false)}};
  if (args.others > 0) report["others"] = coverage_json(on_others);
  std::printf("%s\n", json_text(report, 1).c_str());
}

}  // namespace

void add_calibrate(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* command = app.add_subcommand(
      "calibrate", "From labelled examples, when to be silent (serve --abstain)");
  args->model.options.cache_memory = size_t(4) << 30;
  add_model_options(*command, args->model);
  command->add_option("--data", args->data, "rows with a picture, of docs/data.md; may repeat")
      ->required()
      ->transform(at_home);
  command->add_option("-o,--output", args->out, "the calibration, a JSON file")
      ->required()
      ->transform(at_home);
  command
      ->add_option("--risk", args->risk,
                   "the share of all questions that may be answered wrongly, on average")
      ->check(CLI::Range(0.0001, 0.9999))
      ->capture_default_str();
  command
      ->add_option_function<std::string>(
          "--by",
          [args](const std::string& text) {
            args->by = text == name_of(Score::grounding) ? Score::grounding : Score::probability;
          },
          "what makes an answer sure: its probability, or how much of that it owes to "
          "the\npictures "
          "(probability)")
      ->check(CLI::IsMember({name_of(Score::probability), name_of(Score::grounding)}));
  command->add_option("--examples", args->examples, "rows drawn to choose the threshold by")
      ->check(whole_number(1))
      ->capture_default_str();
  command
      ->add_option("--others", args->others,
                   "other rows drawn, on which the threshold is then tried")
      ->check(whole_number(0))
      ->capture_default_str();
  command->add_option("-s,--seed", args->predict.seed, "of the drawing")
      ->check(whole_number(0))
      ->capture_default_str();
  add_fields_option(*command, args->rows.fields);
  add_predict_options(*command, args->predict, args->answers);
  add_picture_options(*command, args->predict.reading);
  command->add_flag("--json", args->json, "the numbers as one JSON object");
  command->footer(
      "Answers are greedy, and compared as eval does. docs/serve.md says what the bound means.\n"
      "Example: revenant calibrate -m MODEL --data data/scenes/test.json --risk 0.05 -o nano.json\n"
      "         revenant serve -m MODEL --abstain nano.json");
  command->callback([args] { calibrate(*args); });
}

}  // namespace revenant
