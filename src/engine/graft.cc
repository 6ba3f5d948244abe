#include "engine/graft.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/json.h"
#include "base/named_seed.h"
#include "io/checkpoint.h"
#include "io/gguf.h"
#include "quant/format.h"
#include "store/fresh.h"
#include "store/fused.h"
#include "store/model_files.h"
#include "text/prompt.h"
#include "text/tokenizer_files.h"

namespace revenant {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// tanh of it is -1 but for 2.4e-7: what the second pass brings is lost in rounding, its gradient is
// not.
constexpr float kClosedGate = -8;

// Where tower and picture sizes come from.
struct TowerOf {
  Json config;
  std::optional<ModelFiles> files;  // none: fresh
};

TowerOf tower_of(const Path& path) {
  TowerOf tower;
  if (path.extension() == ".json") {
    tower.config = read_json(path, "graft");
  } else {
    tower.files = ModelFiles::open(path);
    tower.config = tower.files->config_json();
    if (tower.files->config().vision.kind != Tower::intern_vit)
      throw Error("graft", path.string(), "a model with an InternViT",
                  tower.files->config().vision.kind == Tower::clip ? "CLIP" : "no tower");
  }
  if (!tower.config.is_object() || !tower.config.contains("vision_config"))
    throw Error("graft", path.string(), "a configuration with vision_config", "none");
  return tower;
}

ModelFiles backbone_of(const Path& path) {
  ModelFiles files = ModelFiles::open(path);
  const Config& c = files.config();
  if (c.vision.kind != Tower::none || c.phantom.on || c.trol.on)
    throw Error("graft", path.string(),
                "a language model alone (model_type llama, qwen2, internlm2 or phi3)",
                c.vision.kind != Tower::none ? "a model that sees" : "one with a mechanism");
  return files;
}

// The template's tokens: spans like <|im_start|>, and what encode_prompt asks for.
std::vector<std::string> tokens_of(const PromptRule& rule) {
  std::vector<std::string> tokens;
  for (const std::string* text :
       {&rule.system, &rule.user_begin, &rule.user_end, &rule.assistant_begin, &rule.answer_end})
    for (size_t begin = 0; (begin = text->find("<|", begin)) != text->npos;) {
      const size_t end = text->find("|>", begin);
      if (end == text->npos) break;
      tokens.push_back(text->substr(begin, end + 2 - begin));
      begin = end + 2;
    }
  tokens.insert(tokens.end(), rule.stop_tokens.begin(), rule.stop_tokens.end());
  for (const std::string& token : {rule.picture_begin, rule.picture_end, rule.context_token})
    if (!token.empty()) tokens.push_back(token);
  std::vector<std::string> once;
  for (const std::string& token : tokens)
    if (std::ranges::find(once, token) == once.end()) once.push_back(token);
  return once;
}

Json config_of(const ModelFiles& backbone, const TowerOf& tower, const GraftOptions& options) {
  const bool one = options.phantom != options.trol;
  Json json = {{"model_type", !one              ? "revenant"
                              : options.phantom ? "phantom"
                                                : "trol"},
               {"architectures", {one && options.trol ? "TroLForCausalLM" : "PhantomForCausalLM"}},
               {"llm_config", backbone.config_json()},
               {"revenant", {{"phantom", options.phantom}, {"trol", options.trol}}}};
  for (const char* key :
       {"vision_config", "force_image_size", "downsample_ratio", "ps_version", "use_thumbnail"})
    if (tower.config.contains(key)) json[key] = tower.config[key];
  if (const Json own = tower.config.value("revenant", Json::object()); own.contains("max_tiles"))
    json["revenant"]["max_tiles"] = own["max_tiles"];
  return with_settings(std::move(json), options.settings);
}

// The template that the backbone brings, as text; empty: none.
std::string chat_template(const ModelFiles& backbone) {
  if (is_gguf(backbone.path())) {
    const Gguf file(backbone.path());
    return file.find("tokenizer.chat_template") ? file.text("tokenizer.chat_template") : "";
  }
  const FileSet& files = backbone.small();
  if (fs::exists(backbone.path() / "chat_template.jinja"))
    return read_file(backbone.path() / "chat_template.jinja");
  if (!files.has("tokenizer_config.json")) return "";
  const Json config = read_json(files, "tokenizer_config.json", "graft");
  const Json given = config.is_object() ? config.value("chat_template", Json()) : Json();
  return given.is_string() ? given.get<std::string>() : given.is_null() ? "" : given.dump();
}

// The graft speaks by the rule of its layout. Of a backbone that was taught another template it
// says so: what it learnt of conversations would be asked for in other words.
std::string other_template(const ModelFiles& backbone, const PromptRule& rule) {
  const std::string text = chat_template(backbone);
  if (text.empty()) return "";
  for (const std::string* mark : {&rule.user_begin, &rule.assistant_begin}) {
    const std::string word = mark->substr(0, mark->find_first_of("\n "));
    // "<|im_start|>user": templates write the role by a variable.
    const std::string token = word.substr(0, word.rfind('>') + 1);
    const std::string& wanted = token.empty() ? word : token;
    if (text.find(wanted) == text.npos)
      return backbone.path().string() + ": its chat template has no " + wanted +
             ", by which the new model is asked";
  }
  return "";
}

// How the vocabulary grows.
struct Growth {
  std::vector<std::string> tokens;
  int first = 0;  // id of the first
};

Growth grow(Json& json, const ModelFiles& backbone) {
  const PromptRule& rule = prompt_rule(prompt_family(parse_config(json, "graft")));
  const Tokenizer tokenizer = Tokenizer::open(backbone.small());
  Growth growth{{}, tokenizer.size()};
  const auto id_of = [&](const std::string& token) {
    if (const int known = tokenizer.id_of(token); known >= 0) return known;
    const auto added = std::ranges::find(growth.tokens, token);
    return growth.first + int(added - growth.tokens.begin());
  };
  for (const std::string& token : tokens_of(rule))
    if (tokenizer.id_of(token) < 0) growth.tokens.push_back(token);
  const int rows = backbone.config().vocab, ids = growth.first + int(growth.tokens.size());
  if (growth.first > rows)
    throw Error("graft", backbone.path().string() + ": tokenizer",
                "at most " + std::to_string(rows) + " tokens", std::to_string(growth.first));
  json["llm_config"]["vocab_size"] = std::max(rows, ids);
  json["image_token_index"] = id_of(rule.context_token);
  json["eos_token_id"] = json["pad_token_id"] = id_of(rule.stop_tokens.front());
  return growth;
}

// The parts put together.
class Maker {
 public:
  Maker(ModelFiles backbone, TowerOf tower, const Config& config, const Growth& growth,
        const GraftOptions& options)
      : backbone_(std::move(backbone)),
        tower_(std::move(tower)),
        config_(config),
        growth_(growth),
        options_(options),
        specs_(unique_tensors(config)),
        backbone_specs_(unique_tensors(backbone_.config())) {
    if (tower_.files) tower_specs_ = unique_tensors(tower_.files->config());
    check_tower();
  }

  std::vector<TensorSource> sources() const {
    std::map<std::string, const TensorSpec*> stored;
    for (const auto& [name, spec] : specs_) stored.emplace(spec.stored, &spec);
    std::vector<TensorSource> all;
    auto done = std::make_shared<uint64_t>(0);
    uint64_t total = 0;
    for (const auto& [name, spec] : stored)
      total += uint64_t(TensorSpec::count(spec->stored_shape)) * size_of(dtype_of(*spec));
    for (const auto& [name, spec] : stored) {
      const DType dtype = dtype_of(*spec);
      all.push_back({name, dtype, spec->stored_shape,
                     [this, spec = spec, dtype, done, total](const Sink& sink) {
                       const std::vector<float> values = values_of(*spec);
                       const Format format = *format_of(dtype);
                       std::vector<std::byte> bytes(row_bytes(format, values.size()));
                       pack_row(format, values, bytes.data());
                       sink(bytes);
                       *done += bytes.size();
                       if (options_.on_progress) options_.on_progress(*done, total);
                     }});
    }
    return all;
  }

 private:
  void check_tower() const {
    for (const auto& [name, spec] : tower_specs_)
      if (const auto own = specs_.find(name);
          own != specs_.end() && part_of(spec) == Part::vision && own->second.shape != spec.shape)
        throw Error("graft", tower_.files->path().string() + ": " + name,
                    Json(own->second.shape).dump(), Json(spec.shape).dump());
  }

  // Of a weight, wherever it comes from; null: it is fresh.
  const TensorSpec* source_of(const TensorSpec& spec) const {
    const Part part = part_of(spec);
    if (part == Part::language) return &backbone_specs_.at(spec.name);
    return part == Part::vision && tower_.files ? &tower_specs_.at(spec.name) : nullptr;
  }
  const ModelFiles& files_of(const TensorSpec& spec) const {
    return part_of(spec) == Part::language ? backbone_ : *tower_.files;
  }

  DType dtype_of(const TensorSpec& spec) const {
    if (options_.dtype) return *options_.dtype;
    const TensorSpec* source = source_of(spec);
    if (!source) return DType::f32;
    switch (files_of(spec).weight(*source).format) {
      case Format::f16:
        return DType::f16;
      case Format::bf16:
        return DType::bf16;
      default:
        return DType::f32;
    }
  }

  std::vector<float> values_of(const TensorSpec& spec) const {
    if (!source_of(spec)) return fresh(spec);
    return stored_floats(specs_, spec.stored, [this](const TensorSpec& weight) {
      const TensorSpec& source = *source_of(weight);
      std::vector<float> values = floats_of(files_of(weight).weight(source), source);
      if (grows(weight)) add_rows(values, weight);
      return values;
    });
  }

  static bool grows(const TensorSpec& weight) {
    return weight.name == "token_embd.weight" || weight.name == "output.weight";
  }
  void add_rows(std::vector<float>& values, const TensorSpec& weight) const {
    const size_t width = size_t(weight.shape[1]), known = size_t(growth_.first);
    values.resize(size_t(TensorSpec::count(weight.shape)));
    for (size_t i = 0; i < width; ++i) {
      double sum = 0;
      for (size_t r = 0; r < known; ++r) sum += double(values[r * width + i]);
      for (size_t r = known; r < known + growth_.tokens.size(); ++r)
        values[r * width + i] = float(sum / double(known));
    }
  }

  std::vector<float> fresh(const TensorSpec& spec) const {
    Random random(named_seed(options_.seed, spec.stored));
    std::vector<float> values = fresh_values(config_, spec, random);
    const bool ghost_of_none =
        spec.name.ends_with(".mix_q_o.weight") || spec.name.ends_with(".mix_v_o.weight");
    if (ghost_of_none || spec.role == Role::gate) std::ranges::fill(values, 0.0f);
    if (spec.name.ends_with("trol_gate.bias")) std::ranges::fill(values, kClosedGate);
    return values;
  }

  ModelFiles backbone_;
  TowerOf tower_;
  const Config& config_;
  const Growth& growth_;
  const GraftOptions& options_;
  TensorSpecs specs_, backbone_specs_, tower_specs_;
};

}  // namespace

Graft graft(const Path& backbone_path, const Path& tower_path, const Path& output,
            const GraftOptions& options) {
  if (fs::exists(output) && !fs::is_empty(output))
    throw Error("graft", output.string(), "a directory that is new or empty", "one with files");
  const ModelFiles backbone = backbone_of(backbone_path);
  TowerOf tower = tower_of(tower_path);
  Graft told{{}, backbone.warnings()};
  if (tower.files) {
    const auto& more = tower.files->warnings();
    told.warnings.insert(told.warnings.end(), more.begin(), more.end());
  }
  Json json = config_of(backbone, tower, options);
  const Growth growth = grow(json, backbone);
  told.tokens = growth.tokens;
  const Config config = parse_config(json, "graft");
  if (const std::string other = other_template(backbone, prompt_rule(prompt_family(config)));
      !other.empty())
    told.warnings.push_back(other);
  const Maker maker(backbone, std::move(tower), config, growth, options);
  write_checkpoint(output, json, maker.sources());
  write_tokenizer(backbone.small(), output, growth.tokens, growth.first);
  return told;
}

}  // namespace revenant
