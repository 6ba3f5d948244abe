// revenant eval: accuracy on question-answer files.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/predicting.h"
#include "cli/program.h"
#include "eval/report.h"
#include "image/orientation.h"

namespace revenant {
namespace {

struct Args {
  ModelArgs model;
  std::vector<Path> data, train;
  PredictOptions predict;
  RowOptions rows;
  bool blank = false, shuffle = false;
  std::string json;  // file, or "-"
  Path answers;
};

Shown shown_to(const Args& args) {
  return args.blank ? Shown::blank : args.shuffle ? Shown::shuffled : Shown::own;
}

std::vector<Prediction> predict_rows(const Args& args, const std::vector<Row>& rows) {
  const Model model(args.model.directory, args.model.options);
  PredictOptions options = args.predict;
  options.shown = shown_to(args);
  nlohmann::json run;
  if (!args.answers.empty()) {
    run = run_of(args.model, args.data, model, options);
    run.update({{"fields", args.rows.fields}, {"limit", args.rows.limit}});
  }
  return predict_with_progress("eval", model, rows, options, args.answers, run);
}

nlohmann::json names_of(const std::vector<Path>& files) {
  nlohmann::json names = nlohmann::json::array();
  for (const Path& file : files) names.push_back(file.string());
  return names;
}

void eval(const Args& args) {
  const std::vector<Row> rows = rows_of("eval", args.data, args.rows);
  const Majorities majorities =
      args.train.empty() ? majority_answers(rows)
                         : majority_answers(rows_of("eval", args.train, {args.rows.fields}));
  const std::vector<Prediction> predictions = predict_rows(args, rows);
  const auto groups = tally(rows, predictions, majorities);
  const char* shown = name_of(shown_to(args));
  const nlohmann::json report = {
      {"model", args.model.directory.string()},
      {"data", names_of(args.data)},
      {"pictures", shown},
      {"majority_of", names_of(args.train.empty() ? args.data : args.train)},
      {"max_new_tokens", args.predict.max_new_tokens},
      {"beams", std::max(1, args.predict.beams)},
      {"groups", table_json(groups)}};
  const std::string text = json_text(report, 1) + "\n";
  const std::string out = args.json == "-" ? text : table_text(groups);
  std::fwrite(out.data(), 1, out.size(), stdout);
  std::fprintf(stderr,
               "pictures: %s; majority: each task's most frequent answer in %s; unparsed: empty, "
               "or no end within %d tokens\n",
               shown, args.train.empty() ? "the rows asked (no --train)" : "the --train rows",
               args.predict.max_new_tokens);
  const Survey seen = survey(picture_files(rows), args.predict.reading, args.model.options.threads);
  const std::string turned = orientation_note(seen, args.predict.reading.exif);
  if (!turned.empty()) std::fprintf(stderr, "%s\n", turned.c_str());
  const auto later = std::ranges::count_if(rows, [](const Row& row) { return !row.later.empty(); });
  if (later > 0)
    std::fprintf(stderr, "of %td rows with several turns only the first question is asked\n",
                 later);
  if (!args.json.empty() && args.json != "-") write_file(through_links(args.json), text);
  const std::string failed = failure_note(predictions);
  if (!failed.empty()) throw Error("eval", "rows", failed);  // the results are written; exit code 1
}

}  // namespace

void add_eval(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* command = app.add_subcommand("eval", "Accuracy per task, with 95 % intervals");
  args->model.options.cache_memory = size_t(4) << 30;
  add_model_options(*command, args->model);
  add_rows_options(*command, args->data, args->rows);
  command->add_option("--train", args->train, "take the majority answers from these files")
      ->transform(at_home);
  add_predict_options(*command, args->predict, args->answers);
  add_beam_option(*command, args->predict.beams);
  CLI::Option* blank =
      command->add_flag("--blank", args->blank, "show grey instead of the pictures");
  command->add_flag("--shuffle", args->shuffle, "show the pictures of other rows")->excludes(blank);
  command->add_option("-s,--seed", args->predict.seed, "of --shuffle")
      ->check(whole_number(0))
      ->capture_default_str();
  add_picture_options(*command, args->predict.reading);
  command
      ->add_option("--json", args->json,
                   "write the numbers to this file too; \"-\": to stdout, in place of the table")
      ->type_name("FILE")
      ->transform(at_home);
  command->footer(
      "Answers are compared without regard to case, white space around and a final period. A row "
      "that\ncannot be answered (a damaged picture, say) is left out and counted; the results are "
      "written,\nand the exit code is 1.\nExample: revenant eval -m MODEL --data "
      "data/easy-vqa/test.json");
  command->callback([args] { eval(*args); });
}

}  // namespace revenant
