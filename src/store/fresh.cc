#include "store/fresh.h"

#include <algorithm>
#include <cmath>

namespace revenant {
namespace {

constexpr double kAmplitude = 1.5;  // of the sines; a patch's other channels are about 1
constexpr double kSharpness = 1.9;  // of queries and keys: nine tenths on the neighbour

// Channels that hold positions come in fours: sine and cosine of the column, then of the row.
int waves_of(const VisionConfig& v) { return v.hidden / v.heads / 4; }

double radians_a_patch(int wave, int waves) {
  constexpr double fastest = 2, slowest = 0.25;
  return fastest * std::pow(slowest / fastest, double(wave) / std::max(1, waves - 1));
}

using Floats = std::vector<float>;

Floats positions(const VisionConfig& v) {
  const int grid = v.grid(), waves = waves_of(v);
  Floats table(size_t(1 + grid * grid) * size_t(v.hidden), 0.0f);  // class token: none
  for (int patch = 0; patch < grid * grid; ++patch)
    for (int wave = 0; wave < waves; ++wave)
      for (int axis = 0; axis < 2; ++axis) {
        const double place = axis == 0 ? patch % grid : patch / grid;
        const double angle = radians_a_patch(wave, waves) * place;
        float* at = &table[size_t(1 + patch) * size_t(v.hidden) + size_t(4 * wave + 2 * axis)];
        at[0] = float(kAmplitude * std::sin(angle));
        at[1] = float(kAmplitude * std::cos(angle));
      }
  return table;
}

// qkv [3 * hidden, hidden]: adds what turns a head's queries to its neighbour.
void look_at_neighbours(const VisionConfig& v, Floats& qkv) {
  constexpr int neighbours[8][2] = {{-1, 0},  {1, 0}, {0, -1}, {0, 1},
                                    {-1, -1}, {1, 1}, {-1, 1}, {1, -1}};
  const int width = v.hidden / v.heads, waves = waves_of(v);
  const auto at = [&](int row, int column) -> float& {
    return qkv[size_t(row) * size_t(v.hidden) + size_t(column)];
  };
  for (int head = 0; head < v.heads; ++head)
    for (int wave = 0; wave < waves; ++wave)
      for (int axis = 0; axis < 2; ++axis) {
        const int sine = 4 * wave + 2 * axis, cosine = sine + 1;
        const double turn = radians_a_patch(wave, waves) * neighbours[head % 8][axis];
        const auto along = float(kSharpness * std::cos(turn));
        const auto across = float(kSharpness * std::sin(turn));
        const int q = head * width, k = v.hidden + q;
        at(q + sine, sine) += along;
        at(q + sine, cosine) += across;
        at(q + cosine, cosine) += along;
        at(q + cosine, sine) -= across;
        at(k + sine, sine) += float(kSharpness);
        at(k + cosine, cosine) += float(kSharpness);
      }
}

Floats normal(const TensorSpec& spec, double deviation, Random& random) {
  Floats values(size_t(TensorSpec::count(spec.stored_shape)));
  for (float& value : values) value = float(random.normal() * deviation);
  return values;
}

Floats tower_weight(const Config& c, const TensorSpec& spec, Random& random) {
  const double inputs = double(TensorSpec::count(spec.stored_shape)) / double(spec.stored_shape[0]);
  Floats weight = normal(spec, 1 / std::sqrt(inputs), random);
  if (c.vision.kind != Tower::intern_vit) return weight;
  if (spec.name == "v.patch_embd.weight")
    std::fill_n(weight.begin(), size_t(4 * waves_of(c.vision)) * size_t(inputs), 0.0f);
  if (spec.name.ends_with("attn_q.weight")) {
    const size_t queries_and_keys = 2 * size_t(c.vision.hidden) * size_t(c.vision.hidden);
    for (size_t i = 0; i < queries_and_keys; ++i) weight[i] *= 0.3f;
    look_at_neighbours(c.vision, weight);
  }
  return weight;
}

Floats language_weight(const Config& c, const TensorSpec& spec, Random& random) {
  const bool residual =
      spec.name.ends_with("attn_output.weight") || spec.name.ends_with("ffn_down.weight");
  double deviation = residual ? 0.02 / std::sqrt(2.0 * c.layers) : 0.02;
  if (spec.role == Role::mixer) deviation = 1 / std::sqrt(double(c.head_dim));
  if (spec.name.find(".anchor_") != spec.name.npos)
    deviation = 0.02 * std::sqrt(double(c.hidden));  // as heads are
  return normal(spec, deviation, random);
}

}  // namespace

std::vector<float> fresh_values(const Config& c, const TensorSpec& spec, Random& random) {
  const bool is_matrix = spec.stored_shape.size() > 1;
  const auto all = [&](double value) {
    return Floats(size_t(TensorSpec::count(spec.stored_shape)), float(value));
  };
  if (spec.role == Role::norm) return all(spec.name.ends_with(".bias") ? 0 : 1);
  if (spec.name.ends_with(".phantom_eta")) return all(c.phantom.eta);
  if (spec.role == Role::scale) return all(0.1);
  if (spec.role == Role::bias || (spec.role == Role::gate && !is_matrix)) return all(0);
  if (spec.name == "v.position_embd.weight" && c.vision.kind == Tower::intern_vit)
    return positions(c.vision);
  const bool of_tower = spec.name.starts_with("v.") && spec.role == Role::linear;
  return of_tower && is_matrix ? tower_weight(c, spec, random) : language_weight(c, spec, random);
}

}  // namespace revenant
