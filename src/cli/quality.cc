// revenant quality: what fewer bits cost.
#include "eval/quality.h"

#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/predicting.h"
#include "cli/program.h"
#include "cli/rows.h"
#include "engine/quantize.h"
#include "eval/report.h"
#include "store/fused.h"

namespace revenant {
namespace {

using Json = nlohmann::json;

struct Args {
  ModelArgs model;
  std::vector<Path> data, files;
  std::vector<std::string> types, match;
  RowOptions rows;
  QualityOptions options;
  std::string output = "table";
};

constexpr const char* columns[] = {"model",    "MiB",   "rows",     "tokens", "kl",
                                   "kl_error", "kl_99", "same_top", "right"};

// Bytes of a model's weights files, or as its matrices lie in memory.
double megabytes(const Model& model, const std::optional<QuantizeType>& while_read) {
  double bytes = 0;
  if (!while_read) {
    for (const Path& file : model.files().weight_files())
      bytes += double(std::filesystem::file_size(file));
    return bytes / 1048576;
  }
  for (const auto& [name, spec] : unique_tensors(model.config())) {
    const StoredWeight stored = model.files().weight(spec);
    const Format format = format_for(*while_read, model.config(), spec, stored.format);
    bytes += double(TensorSpec::count(spec.shape) / spec.shape.back()) *
             double(row_bytes(format, size_t(spec.shape.back())));
  }
  return bytes / 1048576;
}

// A model some of whose weights are quantised, in a file that goes with it.
class Partly {
 public:
  Partly(const Args& args, const QuantizeType& type, const std::string& pattern) {
    QuantizeOptions options;
    options.settings = args.model.options.settings;
    options.threads = args.model.options.threads;
    options.match = {pattern};
    quantize(args.model.directory, file, type, options);
  }
  ~Partly() {
    std::error_code ignored;
    std::filesystem::remove(file, ignored);
  }
  Partly(const Partly&) = delete;

  const Path file = std::filesystem::temp_directory_path() /
                    ("revenant-quality-" + std::to_string(::getpid()) + ".gguf");
};

// Share of right answers, its own.
double right_share(const Model& model, std::span<const Row> rows, const Args& args) {
  PredictOptions options;
  options.max_new_tokens = args.options.max_new_tokens;
  options.reading = args.options.reading;
  options.go_on = args.options.go_on;
  const std::vector<Prediction> all = predict(model, rows, options);
  int64_t right = 0;
  for (size_t i = 0; i < rows.size(); ++i) right += is_right(rows[i], all[i]);
  return double(right) / double(rows.size());
}

void run(Args& args) {
  if (args.types.empty() && args.files.empty())
    throw CLI::ValidationError("--type or --file", "what is to be measured is missing");
  if (!args.match.empty() && args.types.empty())
    throw CLI::ValidationError("--match", "needs --type");
  const std::vector<Row> rows = rows_of("quality", args.data, args.rows);
  const Model reference(args.model.directory, args.model.options);
  tell_warnings(reference.warnings());
  catch_signals();
  args.options.go_on = [] { return caught_signal() == 0; };
  Json table = Json::array();
  try {
    table.push_back({{"model", "reference"},
                     {"MiB", megabytes(reference, args.model.options.weights)},
                     {"rows", rows.size()},
                     {"right", right_share(reference, rows, args)}});
    const auto measure = [&](const std::string& name, const Path& path,
                             std::optional<QuantizeType> type) {
      ModelOptions options = args.model.options;
      options.weights = type;
      const Model model(path, options);
      Progress progress(name, "rows");
      args.options.progress = [&](size_t done, size_t total) { progress.show(done, total); };
      const Quality q = measure_quality(reference, model, rows, args.options);
      progress.finish();
      table.push_back({{"model", name},
                       {"MiB", megabytes(model, type)},
                       {"rows", q.rows},
                       {"tokens", q.tokens},
                       {"kl", q.divergence},
                       {"kl_error", q.divergence_error},
                       {"kl_99", q.divergence_99},
                       {"same_top", double(q.same_top) / double(q.tokens)},
                       {"right", right_share(model, rows, args)}});
    };
    for (const std::string& name : args.types) {
      const QuantizeType& type = quantize_type(name);
      for (const std::string& pattern : args.match)
        measure(type.name + (" of " + pattern), Partly(args, type, pattern).file, {});
      if (args.match.empty()) measure(type.name, args.model.directory, type);
    }
    for (const Path& file : args.files) measure(file.filename().string(), file, {});
  } catch (const Stopped&) {
    exit_if_signalled();
  }
  print_rows(table, columns, args.output);
}

}  // namespace

void add_quality(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* command = app.add_subcommand(
      "quality", "What fewer bits cost: answers beside those of the whole model");
  args->model.options.cache_memory = size_t(4) << 30;
  add_model_options(*command, args->model);
  add_rows_options(*command, args->data, args->rows);
  add_picture_options(*command, args->options.reading);
  std::vector<std::string> names;
  for (const QuantizeType& type : quantize_types()) names.push_back(type.name);
  command
      ->add_option("--type", args->types,
                   "measures the model quantised so while it is read; may repeat")
      ->allow_extra_args(false)
      ->check(CLI::IsMember(names, CLI::ignore_case));
  command
      ->add_option("--match", args->match,
                   "with --type: of the weights that this shell pattern names alone "
                   "(blk.*.ffn_down.weight), through a file in TMPDIR; may repeat, a row each")
      ->allow_extra_args(false);
  command->add_option("--file", args->files, "measures this file or directory; may repeat")
      ->allow_extra_args(false)
      ->transform(at_home);
  command->add_option("-n,--predict", args->options.max_new_tokens, "most tokens of an answer")
      ->check(whole_number(1))
      ->capture_default_str();
  command->add_option("-o,--output", args->output, "table, csv or json")
      ->check(CLI::IsMember({"table", "csv", "json"}))
      ->capture_default_str();
  command->footer(
      "kl: mean divergence of a token's distribution from the reference's, over the reference's "
      "greedy\n"
      "answers; kl_99: its 99th percentile; same_top: share of tokens that the model finds the "
      "likeliest\n"
      "too; right: share of right answers of its own.\n"
      "Example: revenant quality -m MODEL --data data/scenes/test.json --limit 300 --type Q8_0 "
      "--type Q4_K");
  command->callback([args] { run(*args); });
}

}  // namespace revenant
