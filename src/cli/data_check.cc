// revenant data check: what is wrong with rows, before hours are spent on them.
#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/program.h"
#include "data/check.h"
#include "model/config.h"
#include "model/rope.h"
#include "store/model_files.h"

namespace revenant {
namespace {

using nlohmann::json;

struct Args {
  std::vector<Path> files;
  Path model;
  std::optional<int> max_length;
  CheckOptions options;
  std::string json;  // file, or "-"
};

// Reads no weights.
Measure measure_of(const Path& model, std::optional<int> max_length) {
  const FileSet files = small_files_of(model);
  const Config config =
      parse_config(read_json(files, "config.json"), files.place_of("config.json"));
  const PromptRule& rule = prompt_rule(prompt_family(config));
  const Tokenizer tokenizer = tokenizer_for(rule, Tokenizer::open(files));
  check_fit(rule, tokenizer, config.image_token, config.embedding_rows, model.string());
  return {rule, tokenizer, tile_rule(config), config.tokens_per_tile(),
          max_length.value_or(rope_reach(config.rope))};
}

json json_of(const Finding& finding) {
  const auto& [place, fault, warning] = finding;
  json object = {{"file", place.file.string()},
                 {"field", fault.field},
                 {"expected", fault.expected},
                 {"found", fault.found},
                 {"warning", warning}};
  if (place.row > 0) object["row"] = place.row;
  if (place.row > 0 && place.line > 0) object["line"] = place.line;
  return object;
}

json json_of(const CheckTotals& t) {
  return {{"rows", t.rows},           {"wrong", t.wrong},       {"findings", t.findings},
          {"warnings", t.warnings},   {"turns", t.turns},       {"pairs", t.pairs},
          {"text_only", t.text_only}, {"pictures", t.pictures}, {"decoded", t.decoded},
          {"oriented", t.oriented},   {"tokens", t.tokens},     {"longest", t.longest},
          {"measured", t.measured}};
}

std::string counted(size_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

std::string text_of(const Path& file, const CheckTotals& t, Exif exif) {
  std::string text = file.string() + ": " + counted(t.rows, "row") + ", " +
                     std::to_string(t.wrong) + " wrong (" + counted(t.findings, "finding") + ", " +
                     counted(t.warnings, "warning") + "); " + counted(t.turns, "turn") + ", " +
                     counted(t.pairs, "pair") + ", " + std::to_string(t.text_only) +
                     " without a picture; " + counted(t.pictures, "picture") + " shown, " +
                     std::to_string(t.decoded) + " decoded";
  if (t.oriented > 0)
    text += ", " + std::to_string(t.oriented) + " with an EXIF orientation (" +
            (exif == Exif::apply ? "turned)" : "not turned)");
  if (t.measured > 0)
    text += "; longest " + counted(t.longest, "token") + ", " +
            std::to_string(t.tokens / t.measured) + " on average";
  return text;
}

void say(const std::string& line) { std::printf("%s\n", one_line(line).c_str()); }

// A bar on a terminal, nothing elsewhere.
std::function<void(uint64_t, uint64_t)> bar_for(std::optional<Progress>& bar) {
  if (!moves_the_cursor(STDERR_FILENO)) return {};
  bar.emplace("check", "%");
  return [&bar](uint64_t done, uint64_t total) {
    if (total > 0) bar->show(size_t(100.0 * double(done) / double(total)), 100);
  };
}

void check(Args& args) {
  if (!args.model.empty()) args.options.measure.emplace(measure_of(args.model, args.max_length));
  json reports = json::array();
  bool good = true;
  for (const Path& file : args.files) {
    std::optional<Progress> bar;
    args.options.progress = bar_for(bar);
    json findings = json::array();
    const CheckTotals totals = check_rows(file, args.options, [&](const Finding& finding) {
      if (!args.json.empty()) findings.push_back(json_of(finding));
      if (args.json == "-") return;
      if (bar) bar->finish();
      say((finding.warning ? "warning: " : "") + finding.text());
    });
    if (bar) bar->finish();
    good = good && totals.good();
    reports.push_back(
        {{"file", file.string()}, {"totals", json_of(totals)}, {"findings", findings}});
    if (args.json != "-") say(text_of(file, totals, args.options.reading.exif));
  }
  const std::string text = json_text(reports.size() == 1 ? reports[0] : reports, 1) + "\n";
  if (args.json == "-")
    std::fwrite(text.data(), 1, text.size(), stdout);
  else if (!args.json.empty())
    write_file(through_links(args.json), text);
  if (!good) throw Exit{1};
}

}  // namespace

void add_data_check(CLI::App& data) {
  auto args = std::make_shared<Args>();
  CLI::App* command =
      data.add_subcommand("check", "Says what is wrong with rows; exit code 1 if anything is");
  command->add_option("FILE", args->files, "rows in a form of docs/data.md; may repeat")
      ->required()
      ->transform(at_home);
  CLI::Option* model =
      command->add_option("-m,--model", args->model, "measures rows as this model reads them")
          ->transform(at_home);
  command
      ->add_option("--max-length", args->max_length,
                   "longer rows are wrong, as training leaves them out; 0: none is; without it\n"
                   "as long as the model was made for (max_position_embeddings)")
      ->check(whole_number(0))
      ->needs(model);
  add_fields_option(*command, args->options.fields);
  add_picture_options(*command, args->options.reading);
  command->add_option("-t,--threads", args->options.threads, "0: as many as the machine has")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command
      ->add_option("--json", args->json,
                   "write all of it to this file too; \"-\": to stdout, in place of the text")
      ->type_name("FILE")
      ->transform(at_home);
  command->footer(
      "Identical answers in a pair, missing and broken pictures, <image> marks that are not as "
      "many as\npictures, empty answers, turns out of order, rows that are too long (with -m); "
      "ids that stand\ntwice are a warning.\n"
      "Example: revenant data check rows.jsonl -m models/phantom-nano --max-length 2048");
  command->callback([args] { check(*args); });
}

}  // namespace revenant
