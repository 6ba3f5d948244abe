// revenant inspect: what a model directory or file holds.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "cli/commands.h"
#include "cli/program.h"
#include "engine/session.h"
#include "model/weights.h"
#include "native/network.h"

namespace revenant {
namespace {

using nlohmann::json;

struct Args {
  Path directory;
  std::vector<std::string> settings;
  bool as_json = false, ghosts = false;
};

json config_json(const Config& c) {
  const VisionConfig& v = c.vision;
  return {{"architecture", c.architecture},
          {"backbone", name_of(c.backbone)},
          {"prompt", name_of(prompt_family(c))},
          {"vocab", c.vocab},
          {"embedding_rows", c.embedding_rows},
          {"hidden", c.hidden},
          {"intermediate", c.intermediate},
          {"layers", c.layers},
          {"heads", c.heads},
          {"kv_heads", c.kv_heads},
          {"head_dim", c.head_dim},
          {"tied_output", c.tied_output},
          {"image_lora_rank", c.image_lora_rank},
          {"rope",
           {{"kind", c.rope.kind == RopeConfig::plain     ? "plain"
                     : c.rope.kind == RopeConfig::dynamic ? "dynamic"
                                                          : "su"},
            {"theta", c.rope.theta},
            {"factor", c.rope.factor}}},
          {"vision",
           {{"tower", v.kind == Tower::none   ? "none"
                      : v.kind == Tower::clip ? "clip"
                                              : "intern_vit"},
            {"hidden", v.hidden},
            {"intermediate", v.intermediate},
            {"layers", v.layers},
            {"heads", v.heads},
            {"patch", v.patch},
            {"image", v.image},
            {"tokens_per_tile", c.tokens_per_tile()},
            {"max_tiles", c.max_tiles},
            {"thumbnail", c.thumbnail}}}};
}

json mechanisms_json(const Config& c) {
  json on = json::object();
  if (c.phantom.on)
    on["phantom"] = {{"eta", c.phantom.eta}, {"eta_learnable", c.phantom.eta_learnable}};
  if (c.trol.on) on["trol"] = {{"passes", c.trol.passes}, {"traverse", name_of(c.trol.traverse)}};
  const auto other = [&](const char* mechanism, const char* key, bool is, const json& value) {
    if (is && on.contains(mechanism)) on[mechanism][key] = value;
  };
  other("phantom", "anchor", c.phantom.anchor != AnchorOf::first, name_of(c.phantom.anchor));
  other("phantom", "widen", !c.phantom.widen, false);
  other("phantom", "mixing", c.phantom.mixing != PhantomMixing::gated, name_of(c.phantom.mixing));
  other("trol", "threshold", c.trol.threshold > 0, c.trol.threshold);
  other("trol", "mixing", c.trol.mixing != TrolMixing::gated, name_of(c.trol.mixing));
  return on;
}

// CLIP's last norm; position_ids and the like are no parameters.
int64_t unused_parameters(const Network& network) {
  int64_t count = 0;
  const std::vector<std::string>& unused = network.files.unused();
  for (const StoredTensor& tensor : network.files.tensors())
    if (std::ranges::count(unused, tensor.name) &&
        (tensor.name.ends_with(".weight") || tensor.name.ends_with(".bias")))
      count += tensor.numbers;
  return count;
}

json parameters_json(const Network& network) {
  const Config& c = network.config;
  const std::vector<int64_t> counts = parameter_counts(c);
  json parts = json::object();
  int64_t total = 0;
  for (size_t part = 0; part < counts.size(); ++part) {
    parts[name_of(Part(part))] = counts[part];
    total += counts[part];
  }
  if (const int64_t unused = unused_parameters(network)) {
    parts["unused"] = unused;
    total += unused;
  }
  parts["total"] = total;
  if (c.trol.on)  // as published: TroL's gate lies in a file of its own
    parts["total without TroL's gate"] = total - (c.hidden + 1);
  return parts;
}

json files_json(const ModelFiles& model) {
  json files = json::array();
  for (const Path& file : model.weight_files())
    files.push_back(
        {{"name", file.filename().string()}, {"bytes", std::filesystem::file_size(file)}});
  return files;
}

// How many tensors, numbers and bytes of each type, as they lie there: where rows fell back to
// another format, it shows.
json types_json(const ModelFiles& model) {
  json types = json::object();
  for (const StoredTensor& tensor : model.tensors()) {
    json& type = types[tensor.type];
    if (type.is_null()) type = json::object();
    const auto add = [&](const char* key, int64_t n) { type[key] = type.value(key, 0l) + n; };
    add("tensors", 1);
    add("numbers", tensor.numbers);
    add("bytes", int64_t(tensor.bytes));
  }
  return types;
}

// Of all weights together.
double bits_a_number(const ModelFiles& model) {
  double bytes = 0, numbers = 0;
  for (const StoredTensor& tensor : model.tensors())
    bytes += double(tensor.bytes), numbers += double(tensor.numbers);
  return std::round(800 * bytes / numbers) / 100;
}

// TroL's further passes are there only while a prompt is open.
json memory_json(const Network& network, const json& files) {
  const Config& c = network.config;
  int64_t weights = 0;
  for (const json& file : files) weights += file["bytes"].get<int64_t>();
  const CacheTypes types = network.cache_types();
  const int64_t cache = 1000 * int64_t(PageShape(c, types).token_bytes());
  json memory = {{"weights", weights},
                 {"cache_type", cache_name(types.all)},
                 {"cache_per_1000_tokens", cache},
                 {"cache_per_1000_prompt_tokens", cache * c.trol.streams()}};
  if (c.phantom.on) memory["cache_type_of_value_ghosts"] = cache_name(types.ghost_v);
  return memory;
}

json describe(const Network& network) {
  const ModelFiles& model = network.files;
  const json files = files_json(model);
  return {{"config", config_json(network.config)},
          {"layout", model.layout()},
          {"mechanisms", mechanisms_json(network.config)},
          {"parameters", parameters_json(network)},
          {"tensors", model.tensors().size()},
          {"dtypes", types_json(model)},
          {"bits_a_number", bits_a_number(model)},
          {"files", files},
          {"memory", memory_json(network, files)},
          {"unused", model.unused()},
          {"warnings", network.warnings}};
}

std::string grouped(int64_t number) {
  std::string text = std::to_string(number);
  for (int64_t at = int64_t(text.size()) - 3; at > 0; at -= 3) text.insert(size_t(at), ",");
  return text;
}

// One "name  value" line a leaf, objects as headings.
std::string lines(const json& value, const std::string& indent) {
  std::string text;
  for (const auto& [key, item] : value.items()) {
    const std::string name = indent + (value.is_array() ? "-" : key);
    if (item.is_structured()) {
      text += name + (item.empty() ? ": none\n" : ":\n") + lines(item, indent + "  ");
      continue;
    }
    const std::string shown = item.is_string()           ? one_line(item.get<std::string>())
                              : item.is_number_integer() ? grouped(item.get<int64_t>())
                                                         : item.dump();
    text += name + (value.is_array() ? " " : ": ") + shown + "\n";
  }
  return text;
}

// Computes the first row of the model's own prompts, which its anchors are.
json ghosts_json(const Args& args) {
  const Model model(args.directory, {args.settings});
  const Config& c = model.config();
  if (!c.phantom.on || c.phantom.anchor != AnchorOf::first)
    throw Error("inspect", "--ghosts", "a Phantom whose anchor is the first row", c.architecture);
  const Speech& speech = model.speech();
  const Turn turn;
  const auto ids =
      encode_prompt(speech.tokenizer, speech.rule, chat_pieces(speech.rule, {&turn, 1}), {}).ids;
  Session session(model);
  session.feed(std::vector<int>{int(ids.front())}, {}, 2);  // of a prompt of more than one row
  json layers = json::array();
  int64_t quiet = 0;
  for (int layer = 0; layer < c.layers; ++layer) {
    const Anchor& anchor = session.sequence().anchor(layer);
    layers.push_back(anchor.ghosts_add);
    quiet += anchor.quiet();
  }
  return {{"first_token", ids.front()},
          {"left_out_below", Anchor::counts},
          {"layers_left_out", quiet},
          {"add_at_most", layers}};
}

void inspect(const Args& args) {
  json report = describe(Network::open(args.directory, args.settings));
  if (args.ghosts) report["mechanisms"]["phantom"]["ghosts_of_scores"] = ghosts_json(args);
  const std::string text = args.as_json ? json_text(report, 1) + "\n" : lines(report, "");
  std::fwrite(text.data(), 1, text.size(), stdout);
}

}  // namespace

void add_inspect(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* command = app.add_subcommand("inspect", "What a model directory or file holds");
  command
      ->add_option("-m,--model", args->directory,
                   "model directory or GGUF file; needs no tokenizer")
      ->required()
      ->transform(at_home);
  command->add_option("--config-set", args->settings, "key=value over config.json; may repeat")
      ->allow_extra_args(false);
  command->add_flag(
      "--ghosts", args->ghosts,
      "Phantom: what the ghosts of queries and keys add to a score at most, by layer,\n"
      "behind the first token of the model's prompts (docs/phantom.md)");
  command->add_flag("--json", args->as_json, "as JSON");
  command->footer("Example: revenant inspect -m MODEL --json");
  command->callback([args] { inspect(*args); });
}

}  // namespace revenant
