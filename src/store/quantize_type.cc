#include "store/quantize_type.h"

#include <string>

#include "base/ascii.h"
#include "base/error.h"

namespace revenant {
namespace {

constexpr QuantizeType types[] = {
    {"F32", Format::f32, false, 0},     {"F16", Format::f16, false, 1},
    {"BF16", Format::bf16, false, 32},  {"Q8_0", Format::q8_0, false, 7},
    {"Q6_K", Format::q6_k, false, 18},  {"Q5_K", Format::q5_k, false, 16},
    {"Q5_K_M", Format::q5_k, true, 17}, {"Q5_1", Format::q5_1, false, 9},
    {"Q5_0", Format::q5_0, false, 8},   {"Q4_K", Format::q4_k, false, 14},
    {"Q4_K_M", Format::q4_k, true, 15}, {"Q4_1", Format::q4_1, false, 3},
    {"Q4_0", Format::q4_0, false, 2},
};

double bits(Format format) {
  const FormatInfo& f = info(format);
  return 8.0 * double(f.bytes) / double(f.block);
}

Format at_least(Format floor, Format wanted) { return bits(wanted) < bits(floor) ? floor : wanted; }

// llama.cpp's choice of the layers that a mixture gives more bits to: the first and the last
// eighth, and every third between.
bool gets_more(int layer, int layers) {
  const int eighth = layers / 8;
  return layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
}

Format of_bulk(const QuantizeType& type, const Config& config, const std::string& name) {
  if (!type.mixed) return type.most;
  const bool sensitive = name.ends_with(".attn_v.weight") || name.ends_with(".ffn_down.weight");
  const int layer = name.starts_with("blk.") ? std::stoi(name.substr(4)) : 0;
  return sensitive && gets_more(layer, config.layers) ? at_least(Format::q6_k, type.most)
                                                      : type.most;
}

bool is_output(const Config& c, const std::string& name) {
  return name == "output.weight" || (c.tied_output && name == "token_embd.weight");
}

}  // namespace

std::span<const QuantizeType> quantize_types() { return types; }

const QuantizeType& quantize_type(std::string_view name) {
  std::string names;
  for (const QuantizeType& type : types) {
    if (lower_ascii(type.name) == lower_ascii(name)) return type;
    names += std::string(names.empty() ? "" : ", ") + type.name;
  }
  throw Error("quantize", "type", names, std::string(name));
}

Format format_for(const QuantizeType& type, const Config& config, const TensorSpec& spec,
                  Format stored) {
  const auto fitting = [&](Format wanted) { return format_for(wanted, size_t(spec.shape.back())); };
  switch (spec.role) {
    case Role::bias:
    case Role::norm:
    case Role::scale:
    case Role::position:
      return Format::f32;
    case Role::mixer:
    case Role::gate:
      return stored;
    case Role::lora:
    case Role::adapter:
      return fitting(at_least(Format::q8_0, type.most));
    case Role::embedding:
    case Role::linear:
      break;
  }
  if (spec.name == "v.patch_embd.weight") return stored;
  if (spec.name.starts_with("v.") || spec.name.starts_with("mm."))
    return fitting(at_least(Format::q8_0, type.most));
  if (is_output(config, spec.name)) return fitting(at_least(Format::q6_k, type.most));
  return fitting(of_bulk(type, config, spec.name));
}

bool may_be_per_channel(const TensorSpec& spec) {
  return spec.name.starts_with("v.blk.") && spec.role == Role::linear;
}

}  // namespace revenant
