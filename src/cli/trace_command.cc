#include "cli/trace_command.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "cli/commands.h"
#include "cli/program.h"
#include "io/safetensors.h"
#include "trace/conformance.h"

namespace revenant {
namespace {

struct Args {
  Path model, inputs, output;
  TraceOptions options;
  std::string backend = "native";
  int new_tokens = 0;
};

Arrays read_arrays(const Safetensors& file) {
  Arrays arrays;
  for (const auto& [name, view] : file.tensors()) {
    const bool floating = view.dtype == DType::f32 || view.dtype == DType::f16 ||
                          view.dtype == DType::bf16 || view.dtype == DType::f64;
    Array array{view.shape, {}, {}};
    if (floating)
      array.floats = to_floats(view);
    else
      array.ints = to_ints(view);
    arrays[name] = std::move(array);
  }
  return arrays;
}

void write_arrays(const Path& file, const Arrays& arrays) {
  std::vector<NamedTensor> tensors;
  for (const auto& [name, array] : arrays) {
    const bool floating = array.ints.empty();
    const auto bytes =
        floating ? std::as_bytes(std::span(array.floats)) : std::as_bytes(std::span(array.ints));
    tensors.push_back({name, {floating ? DType::f32 : DType::i64, array.shape, bytes}});
  }
  write_safetensors(file, tensors);
}

void add_common(CLI::App& command, Args& args) {
  command.add_option(
      "--config-set", args.options.settings,
      "key=value over config.json, e.g. vision_config.num_attention_heads=16; may repeat");
  command.add_option("--backend", args.backend, "native (float32) or torch (float64)")
      ->check(CLI::IsMember({"native", "torch"}))
      ->capture_default_str();
  command.add_option("--device", args.options.device, "cpu or cuda; only torch knows another")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
}

void check_device(const Args& args) {
  if (args.backend == "native" && args.options.device != "cpu")
    throw Error("cli", "--device", "cpu, which --backend native computes on", args.options.device);
}

// One line a kind: how many tensors, the worst and its error in units of the tolerance.
bool report(const std::string& name, const std::vector<Comparison>& comparisons) {
  std::map<std::string, std::vector<const Comparison*>> kinds;
  for (const Comparison& comparison : comparisons) kinds[comparison.kind].push_back(&comparison);
  bool good = true;
  for (const auto& [kind, members] : kinds) {
    const Comparison& worst =
        **std::ranges::max_element(members, {}, [](const Comparison* c) { return c->error; });
    good = good && worst.error <= 1;
    std::printf("%-28s %-12s %4zu tensors  %9.4f  %s  %s\n", name.c_str(), kind.c_str(),
                members.size(), worst.error, worst.error <= 1 ? "ok  " : "MISS",
                worst.name.c_str());
  }
  if (std::fflush(stdout) != 0) throw Error("cli", "stdout", "cannot write all of the output");
  return good && !kinds.empty();
}

bool check_case(const Path& directory, const Args& args, const OpenTraced& open) {
  const Safetensors file(directory / "golden.safetensors");
  const Arrays golden = read_arrays(file);
  const nlohmann::json json = read_json(directory / "golden.json");
  TraceOptions options = args.options;
  const std::vector<std::string> own = golden_settings(json);
  options.settings.insert(options.settings.begin(), own.begin(), own.end());
  const std::unique_ptr<Traced> traced = open(directory, options);
  return report(directory.filename().string(),
                compare_with_golden(golden, trace(*traced, golden), golden_notes(json, golden),
                                    traced->has_autograd()));
}

std::vector<Path> cases_in(const Path& directory) {
  namespace fs = std::filesystem;
  const auto is_case = [](const Path& place) {
    return fs::exists(place / "golden.safetensors") && fs::exists(place / "config.json");
  };
  if (is_case(directory)) return {directory};
  std::vector<Path> cases;
  if (fs::is_directory(directory))
    for (const auto& entry : fs::directory_iterator(directory))
      if (is_case(entry.path())) cases.push_back(entry.path());
  std::ranges::sort(cases);
  if (cases.empty())
    throw Error("conformance", directory.string(),
                "a model case (config.json, golden.safetensors) or a folder of them", "none");
  return cases;
}

}  // namespace

void add_trace_command(CLI::App& app, const OpenTraced& open,
                       const std::function<void()>& become_torch) {
  auto args = std::make_shared<Args>();
  CLI::App* command =
      app.add_subcommand("trace", "Writes every intermediate of a forward under the golden names");
  command
      ->add_option("-m,--model", args->model,
                   "model directory or GGUF file; no tokenizer is needed")
      ->required()
      ->transform(at_home);
  command
      ->add_option(
          "--inputs", args->inputs,
          "safetensors with vision/*, vision_interp/*, prefill/*, text/*, long/*, batch/*, "
          "train/*, po/*")
      ->required()
      ->transform(at_home);
  command->add_option("-o,--output", args->output, "safetensors to write")
      ->required()
      ->transform(at_home);
  command
      ->add_option("-n", args->new_tokens,
                   "tokens to generate after each prompt, where the inputs hold no continuation to "
                   "be as long as;\n"
                   "0: 20 after prefill, 16 after others")
      ->check(CLI::Range(0, 4096));
  add_common(*command, *args);
  command->footer(
      "vision/projected among the inputs replaces the tower for prefill/*, batch/projected for\n"
      "batch/*: each stage by itself. Only torch writes train/grad/*, train/adamw_* and "
      "po/*/grad/*; native writes none.\n"
      "Example: revenant trace -m MODEL --inputs golden.safetensors -o trace.safetensors --backend "
      "torch");
  command->callback([=] {
    check_device(*args);
    if (args->backend == "torch") become_torch();
    const Path output = through_links(args->output);
    const Safetensors inputs(args->inputs);
    const std::unique_ptr<Traced> traced = open(args->model, args->options);
    write_arrays(output, trace(*traced, read_arrays(inputs), args->new_tokens));
  });
}

void add_conformance_command(CLI::App& app, const OpenTraced& open,
                             const std::function<void()>& become_torch) {
  auto args = std::make_shared<Args>();
  CLI::App* command =
      app.add_subcommand("conformance", "Compares a model's numbers with the authors'");
  command->add_option("DIR", args->model, "a golden case, or a folder of them")
      ->required()
      ->transform(at_home);
  add_common(*command, *args);
  command->footer(
      "Prints the largest error of each kind in units of its tolerance; exit 1 if one is above 1.\n"
      "Example: revenant conformance tests/conformance/data");
  command->callback([=] {
    check_device(*args);
    if (args->backend == "torch") become_torch();
    bool good = true;
    for (const Path& place : cases_in(args->model)) good = check_case(place, *args, open) && good;
    if (!good) throw Exit{1};
  });
}

}  // namespace revenant
