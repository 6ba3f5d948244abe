// What a model is, in numbers: read from a released `config.json` (Phantom's and TroL-3.8B's
// nesting, TroL-1.8B/7B's flat form) plus the extension object "revenant" (design.md, section 3).
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/prompt_family.h"
#include "base/tile_rule.h"

namespace revenant {

enum class Backbone { qwen2, internlm2, phi3, llama };
enum class Tower { intern_vit, clip, none };  // none: a language model alone

struct RopeConfig {
  enum Kind { plain, dynamic, su } kind = plain;
  double theta = 10000;
  int max_position = 0;           // dynamic: the length up to which the base stays as it is
  int original_max_position = 0;  // su: short factors up to here
  double factor = 1;
  std::vector<double> short_factors, long_factors;  // su, head_dim / 2 each
  double attention_factor = 0;  // su: on cos and sin; 0: by the rule of the two lengths
};

struct VisionConfig {
  Tower kind = Tower::intern_vit;
  int hidden = 0, intermediate = 0, layers = 0, heads = 0;
  int patch = 14, image = 448;  // pixels a side
  double norm_eps = 1e-6;
  int grid() const { return image / patch; }
  bool operator==(const VisionConfig&) const = default;
};

// Other ways of the mechanisms, for comparisons alone (docs/phantom.md, docs/trol.md); the first of
// each is the released code's.
enum class AnchorOf { first, learned, own };  // whose heads a row's look at: the first row's, ...
enum class PhantomMixing { gated, sum, mean };
enum class TrolMixing { gated, constant, uniform, second };

struct PhantomConfig {
  bool on = false;
  bool switched_off = false;  // by the extension key: its tensors may be there, and are not used
  double eta = 1e-4;
  bool eta_learnable = false;  // a weight of each layer, which begins as eta
  AnchorOf anchor = AnchorOf::first;
  bool widen = true;  // false: eta times the ghosts of q and k is added to them
  PhantomMixing mixing = PhantomMixing::gated;
};

// What passes more than once: the released code lets prompts of more than one token. `all` is the
// paper's "question and answer" (table 10), `off` its "nothing".
enum class Traverse { off, prompt, all };

struct TrolConfig {
  bool on = false;
  bool switched_off = false;  // as Phantom's
  int passes = 2;
  double threshold = 0;  // rows whose gate is less take nothing of a later pass; 0: as released
  bool gate_per_layer = false;  // the paper's; the released weights have one for all
  Traverse traverse = Traverse::prompt;
  TrolMixing mixing = TrolMixing::gated;
  int streams() const { return on && traverse != Traverse::off ? passes : 1; }
};

struct Config {
  std::string architecture;  // "phantom", "trol", "phantom-trol" or "revenant" (neither)
  Backbone backbone = Backbone::qwen2;
  int vocab = 0;           // rows of the output head
  int embedding_rows = 0;  // TroL/InternLM2: vocab + 1, the last row is the picture token
  int hidden = 0, intermediate = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0;
  double rms_eps = 1e-6;
  bool qkv_bias = false;
  bool tied_output = false;
  int padding_index = -1;   // embedding row that receives no gradient; -1: none
  int image_lora_rank = 0;  // TroL-1.8B/7B: low-rank branch on picture rows, 0: none
  RopeConfig rope;
  VisionConfig vision;
  int shuffle = 2;  // pixels of the tower's grid folded into one token, a side; 1 for CLIP
  int max_tiles = 6;
  bool thumbnail = true;
  PhantomConfig phantom;
  TrolConfig trol;
  int image_token = -1;
  std::vector<int> eos_tokens;        // any of them ends an answer
  std::vector<std::string> warnings;  // what the file says and is not done, or leaves open

  int tokens_per_tile() const {
    const int side = vision.grid() / shuffle;
    return side * side;
  }
  int shuffled_width() const { return vision.hidden * shuffle * shuffle; }
};

// `settings` are "key=value" with dotted keys ("vision_config.num_attention_heads=16"); they fill
// or replace what the file says. Throws Error, naming the field, where one is missing or malformed,
// or asks for something else than what the code computes.
Config parse_config(const nlohmann::json& json, const std::string& subject);
nlohmann::json with_settings(nlohmann::json json, const std::vector<std::string>& settings);

TileRule tile_rule(const Config& config);

const char* name_of(Backbone backbone);
const char* name_of(Traverse traverse);
const char* name_of(AnchorOf anchor);
const char* name_of(PhantomMixing mixing);
const char* name_of(TrolMixing mixing);

// Phantom and plain models share templates; llama uses qwen2's ChatML.
PromptFamily prompt_family(const Config& config);

}  // namespace revenant
