#include "store/adapter.h"

#include <cmath>

#include "base/error.h"
#include "base/json.h"

namespace revenant {
namespace {

using Json = nlohmann::json;
constexpr std::string_view prefix = "base_model.model.", suffix = ".weight",
                           saved = ".modules_to_save";

// Keys of adapter_config.json that touch no number of a finished adapter, or are in its tensors'
// shapes and names.
constexpr std::string_view inert[] = {"auto_mapping",
                                      "base_model_name_or_path",
                                      "ensure_weight_tying",
                                      "exclude_modules",
                                      "inference_mode",
                                      "layers_pattern",
                                      "layers_to_transform",
                                      "lora_dropout",
                                      "megatron_core",
                                      "modules_to_save",
                                      "peft_version",
                                      "qalora_group_size",
                                      "r",
                                      "rank_pattern",
                                      "revision",
                                      "runtime_config",
                                      "target_modules",
                                      "task_type",
                                      "bias",
                                      "eva_config",
                                      "init_lora_weights"};

bool means_nothing(const Json& value) {
  return value.is_null() || value == Json(false) ||
         ((value.is_object() || value.is_array() || value.is_string()) && value.empty());
}

// The starts that leave the base as it is.
bool keeps_base(const Json& start) {
  if (!start.is_string()) return true;
  const std::string name = start.get<std::string>();
  return name == "gaussian" || name == "eva" || name == "orthogonal" || name == "true" ||
         name == "false";
}

void check_config(const Json& config, const Path& file) {
  const auto refuse = [&](const std::string& key, const std::string& expected) {
    throw Error("adapter", file.string() + ": " + key, expected, shown(config.value(key, Json())));
  };
  if (!config.is_object()) throw Error("adapter", file.string(), "a JSON object", "something else");
  if (config.value("peft_type", Json()) != "LORA") refuse("peft_type", "LORA");
  if (!config.contains("lora_alpha") || !config["lora_alpha"].is_number())
    refuse("lora_alpha", "a number");
  if (!keeps_base(config.value("init_lora_weights", Json())))
    refuse("init_lora_weights", "a start that leaves the base model as it is");
  if (const Json rs = config.value("use_rslora", Json(false)); !rs.is_boolean() && !rs.is_null())
    refuse("use_rslora", "true or false");
  const std::set<std::string_view> known(std::begin(inert), std::end(inert));
  for (const auto& [key, value] : config.items()) {
    if (key == "peft_type" || key == "lora_alpha" || key == "use_rslora" || key == "alpha_pattern")
      continue;
    if (!known.contains(key) && !means_nothing(value))
      refuse(key, "nothing, or a key whose meaning is known here");
  }
}

// PEFT's patterns are the ends of modules' names, between dots; they may be expressions.
// Of several that fit, PEFT takes the one that stands first, which is not known here any more.
double alpha_of(const Json& config, const std::string& module, const Path& file) {
  const Json patterns = config.value("alpha_pattern", Json::object());
  const auto refuse = [&](const std::string& expected, const std::string& found) {
    throw Error("adapter", file.string() + ": alpha_pattern", expected, found);
  };
  std::optional<double> own;
  for (const auto& [pattern, alpha] : patterns.items()) {
    if (pattern.find_first_of("()[]{}*+?|^$\\") != pattern.npos || !alpha.is_number())
      refuse("ends of modules' names, with numbers", pattern + ": " + shown(alpha));
    if (module != pattern && !module.ends_with("." + pattern)) continue;
    if (own && *own != alpha.get<double>())
      refuse("one number for " + module, shown(Json(*own)) + " and " + shown(alpha));
    own = alpha.get<double>();
  }
  return own ? *own : config.at("lora_alpha").get<double>();
}

std::string stem_of(const std::string& name) {
  CHECK(name.ends_with(suffix));
  return name.substr(0, name.size() - suffix.size());
}

// "blk.3.attn_k" -> "blk.3.attn_qkv": what stands for all that are fused.
std::string fused_stem(const std::string& stem) {
  const size_t dot = stem.rfind('.');
  return stem.substr(0, dot) + (stem.find("ffn", dot) == stem.npos ? ".attn_qkv" : ".ffn_gate_up");
}

}  // namespace

// As PEFT does, without a word of `modules_to_save` but where the name would say something else: an
// image-only branch has matrices that are called as an adapter's.
std::string adapter_key(const std::string& stored) {
  const bool as_adapter = stored.ends_with(".lora_A.weight") || stored.ends_with(".lora_B.weight");
  return std::string(prefix) +
         (as_adapter ? stem_of(stored) + std::string(saved) + std::string(suffix) : stored);
}

std::string adapter_key(const std::string& matrix, const char* kind) {
  return std::string(prefix) + stem_of(matrix) + "." + kind + std::string(suffix);
}

std::pair<TensorSpec, TensorSpec> adapter_specs(const TensorSpec& matrix, int64_t rank) {
  const std::string stem = stem_of(matrix.name);
  TensorSpec a, b;
  a.name = (matrix.whole() ? stem : fused_stem(stem)) + ".adapter_a";
  a.stored = adapter_key(matrix.stored, "lora_A");
  a.shape = a.stored_shape = {rank, matrix.shape[1]};
  a.rows = {0, rank, 0};
  b.name = stem + ".adapter_b";
  b.stored = adapter_key(matrix.stored, "lora_B");
  b.shape = {matrix.shape[0], rank};
  b.stored_shape = {matrix.stored_shape[0], rank};
  b.rows = matrix.rows;
  a.role = b.role = Role::adapter;
  return {a, b};
}

Json adapter_config(const AdapterSettings& settings, const std::set<std::string>& matrices,
                    const std::set<std::string>& whole, const std::string& base) {
  std::set<std::string> modules, saved;
  for (const std::string& name : matrices) modules.insert(stem_of(name));
  for (const std::string& name : whole)  // modules have weights and biases, parameters only names
    saved.insert(name.ends_with(".weight") || name.ends_with(".bias")
                     ? name.substr(0, name.rfind('.'))
                     : name);
  return {{"peft_type", "LORA"},
          {"task_type", nullptr},
          {"base_model_name_or_path", base},
          {"r", settings.rank},
          {"lora_alpha", settings.alpha},
          {"lora_dropout", settings.dropout},
          {"target_modules", modules},
          {"modules_to_save", saved.empty() ? Json(nullptr) : Json(saved)},
          {"bias", "none"},
          {"fan_in_fan_out", false},
          {"use_rslora", false},
          {"use_dora", false},
          {"inference_mode", true}};
}

void AdapterFiles::add(const std::string& key, const TensorView& view, const Json& config) {
  const auto refuse = [&](const std::string& expected, const std::string& found) {
    throw Error("adapter", file_.string() + ": " + key, expected, found);
  };
  if (!key.starts_with(prefix)) refuse("a name that begins with base_model.model.", key);
  std::string name = key.substr(prefix.size());
  if (const size_t at = name.find(saved); at != name.npos) {
    replaced_[name.erase(at, saved.size())] = view;
    return;
  }
  for (const char* kind : {".lora_A.weight", ".lora_B.weight"}) {
    if (!name.ends_with(kind)) continue;
    const std::string module = name.substr(0, name.size() - std::string_view(kind).size());
    StoredAdapter& adapter = adapters_[module + std::string(suffix)];
    (kind[6] == 'A' ? adapter.a : adapter.b) = view;
    adapter.scale = alpha_of(config, module, path_ / adapter_config_name);
    return;
  }
  if (name.find(".lora_") != name.npos)
    refuse("lora_A and lora_B of matrices", "another kind of adapter");
  replaced_[name] = view;
}

AdapterFiles AdapterFiles::open(const Path& directory) {
  AdapterFiles files;
  files.path_ = directory;
  files.file_ = directory / adapter_weights_name;
  const Path config_file = directory / adapter_config_name;
  const Json config = read_json(config_file, "adapter");
  check_config(config, config_file);
  if (const Json base = config.value("base_model_name_or_path", Json()); base.is_string())
    files.base_ = base.get<std::string>();
  files.tensors_ = std::make_shared<Safetensors>(files.file_);
  for (const auto& [key, view] : files.tensors_->tensors()) files.add(key, view, config);
  const bool rooted = config.value("use_rslora", Json()) == Json(true);
  for (auto& [name, adapter] : files.adapters_) {
    const auto &a = adapter.a.shape, &b = adapter.b.shape;
    if (a.size() != 2 || b.size() != 2 || a[0] != b[1] || a[0] == 0)
      throw Error("adapter", files.file_.string() + ": " + name,
                  "lora_A [rank, in] and lora_B [out, rank]",
                  a.empty() || b.empty() ? "one of them" : "others");
    adapter.scale /= rooted ? std::sqrt(double(a[0])) : double(a[0]);
  }
  if (files.adapters_.empty() && files.replaced_.empty())
    throw Error("adapter", files.file_.string(), "at least one tensor", "none");
  return files;
}

}  // namespace revenant
