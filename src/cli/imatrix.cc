// revenant imatrix: what matters of a model's matrices.
#include <cstdio>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/predicting.h"
#include "cli/program.h"
#include "eval/importance.h"

namespace revenant {
namespace {

struct Args {
  ModelArgs model;
  std::vector<Path> data;
  RowOptions rows;
  ImportanceOptions options;
  std::string output;
};

void run(Args& args) {
  const std::vector<Row> rows = rows_of("imatrix", args.data, args.rows);
  const Model model(args.model.directory, args.model.options);
  tell_warnings(model.warnings());
  catch_signals();
  args.options.go_on = [] { return caught_signal() == 0; };
  Progress progress("imatrix", "rows");
  args.options.progress = [&](size_t done, size_t total) { progress.show(done, total); };
  Importance importance;
  try {
    importance = measure_importance(model, rows, args.options);
  } catch (const Stopped&) {
    exit_if_signalled();
  }
  progress.finish();
  std::string source;
  for (const Path& file : args.data) source += (source.empty() ? "" : " ") + file.string();
  write_importance(through_links(args.output), importance, source);
  std::printf("%s\n", args.output.c_str());
}

}  // namespace

void add_imatrix(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* command =
      app.add_subcommand("imatrix", "Measures how much each input of a model's matrices matters");
  add_model_options(*command, args->model);
  add_rows_options(*command, args->data, args->rows);
  add_picture_options(*command, args->options.reading);
  command->add_option("-o,--output", args->output, "the file to write")
      ->required()
      ->type_name("FILE")
      ->transform(at_home);
  command->footer(
      "Rows are read with their pictures and right answers. The file is one of llama.cpp's "
      "(GGUF).\n"
      "Example: revenant imatrix -m MODEL --data data/scenes/train.json --limit 500 -o m.imatrix\n"
      "         revenant quantize MODEL --type Q4_K --imatrix m.imatrix -o m.gguf");
  command->callback([args] { run(*args); });
}

}  // namespace revenant
