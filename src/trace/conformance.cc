#include "trace/conformance.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

namespace revenant {
namespace {

constexpr double miss = std::numeric_limits<double>::infinity();

bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

// Empty: an input, or something that no executor's `trace` produces (beams).
std::string kind_of(const std::string& name) {
  static const char* const inputs[] = {"input_ids",        "attention_mask", "position_ids",
                                       "phantom_position", "pixel_values",   "image_u8",
                                       "labels",           "stop_id"};
  for (const char* input : inputs)
    if (name.ends_with(input)) return "";
  if (name.starts_with("train/grad/")) return "gradients";
  if (name.starts_with("train/adamw")) return "adamw";
  if (name == "train/sft_loss") return "loss";
  if (name.starts_with("po/")) return has(name, "/grad") ? "po_gradients" : "po";
  if (name == "off/logits") return "off";
  if (has(name, "gen_") || name.starts_with("gen/"))
    return has(name, "batch_row") ? "" : "generation";
  for (const char* group : {"vision", "prefill", "text", "long", "batch"})
    if (name.starts_with(std::string(group) + "/") ||
        name.starts_with(std::string(group) + "_interp/"))
      return group;
  return "";
}

// max |found - golden| / (absolute + relative |golden|); what is no number is a miss.
double largest_ratio(const Array& golden, const Array& found, double absolute, double relative) {
  double worst = 0;
  for (size_t i = 0; i < golden.floats.size(); ++i) {
    const double want = golden.floats[i];
    const double ratio = std::abs(found.floats[i] - want) / (absolute + relative * std::abs(want));
    worst = std::isfinite(ratio) ? std::max(worst, ratio) : miss;
  }
  return worst;
}

double gradient_error(const Array& golden, const Array& found, double global_norm) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < golden.floats.size(); ++i) {
    difference += std::pow(double(golden.floats[i]) - found.floats[i], 2);
    norm += std::pow(double(golden.floats[i]), 2);
  }
  if (difference == 0) return 0;
  const double error = std::sqrt(difference) / (2e-3 * std::sqrt(norm) + 1e-7 * global_norm);
  return std::isfinite(error) ? error : miss;
}

double adamw_error(const std::string& name, const Array& golden, const Array& found) {
  const double largest = largest_ratio(golden, found, 1, 0);
  if (name.ends_with("/losses")) return largest / 2e-3;
  double sum = 0;
  for (size_t i = 0; i < golden.floats.size(); ++i)
    sum += std::abs(double(golden.floats[i]) - found.floats[i]);
  return std::max(largest / 2e-4, sum / double(golden.floats.size()) / 5e-6);
}

double norm_of(const Array& array) {
  double squares = 0;
  for (const float value : array.floats) squares += double(value) * value;
  return std::sqrt(squares);
}

// The norms of the gradients that were found for "po/J/grad_norms", in the golden order; nothing if
// one is missing.
Array preference_norms(const std::string& name, const Arrays& found, const GoldenNotes& notes) {
  Array norms;
  for (const std::string& parameter : notes.preference_order) {
    const auto it = found.find(name.substr(0, name.rfind('/')) + "/grad/" + parameter);
    if (it == found.end()) return {};
    norms.floats.push_back(float(norm_of(it->second)));
  }
  return norms;
}

// "po/J/loss" and its terms, "po/logp_SIDE", which sums over tokens, "po/n_SIDE", "po/J/grad_norms"
// and "po/J/grad/NAME".
double preference_error(const std::string& name, const Array& golden, const Array& found,
                        const Arrays& goldens) {
  const auto of = [&](const std::string& other) {
    const auto it = goldens.find(other);
    return it == goldens.end() ? Array() : it->second;
  };
  if (has(name, "/grad")) {
    const double all = norm_of(of(name.substr(0, name.find("/grad")) + "/grad_norms"));
    return has(name, "/grad/") ? gradient_error(golden, found, all)
                               : largest_ratio(golden, found, 1e-7 * all, 2e-3);
  }
  const Array count = has(name, "logp_") ? of("po/n_" + name.substr(name.rfind('_') + 1)) : Array();
  return largest_ratio(golden, found, 2e-5 * (count.ints.empty() ? 1 : double(count.ints[0])), 0);
}

double error_of(const Comparison& c, const Array& golden, const Array& found, const Arrays& goldens,
                const GoldenNotes& notes) {
  if (golden.floats.size() != found.floats.size() || golden.ints.size() != found.ints.size())
    return miss;
  if (!golden.ints.empty()) return golden.ints == found.ints ? 0 : miss;
  if (c.kind == "gradients") return gradient_error(golden, found, notes.global_gradient_norm);
  if (c.kind == "adamw") return adamw_error(c.name, golden, found);
  if (c.kind == "loss") return largest_ratio(golden, found, 2e-5, 0);
  if (c.kind.starts_with("po")) return preference_error(c.name, golden, found, goldens);
  return largest_ratio(golden, found, 2e-4, 1e-4);
}

// The reference attends to padding there; its rows alone are what is right (README, "TroL
// traversal").
Array joined_rows(const Arrays& golden, const std::string& tensor) {
  Array rows = golden.at("batch_row.0/" + tensor);
  const Array& second = golden.at("batch_row.1/" + tensor);
  rows.floats.insert(rows.floats.end(), second.floats.begin(), second.floats.end());
  rows.ints.insert(rows.ints.end(), second.ints.begin(), second.ints.end());
  rows.shape[0] += second.shape[0];
  return rows;
}

}  // namespace

std::vector<Comparison> compare_with_golden(const Arrays& golden, const Arrays& found,
                                            const GoldenNotes& notes, bool autograd) {
  std::vector<Comparison> comparisons;
  for (const auto& [name, array] : golden) {
    const std::string kind = kind_of(name);
    if (kind.empty()) continue;
    if (!autograd && (kind == "adamw" || kind.ends_with("gradients"))) continue;
    if (kind == "gradients" && std::ranges::count(notes.zero_gradients, name.substr(11))) continue;
    // There the reference's padded row goes astray; only batch_row.* is right.
    if (notes.batch_from_single_rows && name == "batch_stop/tokens") continue;
    const bool replaced = notes.batch_from_single_rows && name.starts_with("batch/gen_");
    const bool norms = name.ends_with("/grad_norms");
    const auto it = found.find(name);
    Comparison& c = comparisons.emplace_back(Comparison{name, kind, miss});
    if (it == found.end() && !norms) continue;
    c.error = error_of(c, replaced ? joined_rows(golden, name.substr(6)) : array,
                       norms ? preference_norms(name, found, notes) : it->second, golden, notes);
  }
  return comparisons;
}

GoldenNotes golden_notes(const nlohmann::json& json, const Arrays& golden) {
  GoldenNotes notes;
  notes.global_gradient_norm = json.value("train_global_grad_norm", 0.0);
  notes.zero_gradients =
      json.value("gradient_zero_in_exact_arithmetic", std::vector<std::string>());
  if (const auto po = json.find("po"); po != json.end())
    notes.preference_order = po->value("grad_norm_order", std::vector<std::string>());
  notes.batch_from_single_rows =
      golden.contains("prefill/im_mask") && golden.contains("batch_row.1/gen_tokens");
  return notes;
}

std::vector<std::string> golden_settings(const nlohmann::json& notes) {
  std::vector<std::string> settings;
  if (notes.contains("clip_config") && notes["clip_config"].is_object())
    for (const char* key : {"hidden_size", "num_attention_heads", "num_hidden_layers",
                            "intermediate_size", "patch_size", "layer_norm_eps"})
      settings.push_back(std::string("vision_config.") + key + "=" +
                         notes["clip_config"].at(key).dump());
  if (notes.contains("low_rank_adapter") && notes["low_rank_adapter"].is_object())
    settings.push_back("image_lora_rank=" + notes["low_rank_adapter"].at("rank").dump());
  return settings;
}

}  // namespace revenant
