#include "train/fresh.h"

#include <algorithm>
#include <cmath>
#include <vector>

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

torch::Tensor positions(const VisionConfig& v) {
  const int grid = v.grid(), waves = waves_of(v);
  torch::Tensor table = torch::zeros({1 + int64_t(grid) * grid, v.hidden});  // class token: none
  auto at = table.accessor<float, 2>();
  for (int patch = 0; patch < grid * grid; ++patch)
    for (int wave = 0; wave < waves; ++wave)
      for (int axis = 0; axis < 2; ++axis) {
        const double place = axis == 0 ? patch % grid : patch / grid;
        const double angle = radians_a_patch(wave, waves) * place;
        at[1 + patch][4 * wave + 2 * axis] = float(kAmplitude * std::sin(angle));
        at[1 + patch][4 * wave + 2 * axis + 1] = float(kAmplitude * std::cos(angle));
      }
  return table;
}

// qkv [3 * hidden, hidden]: adds what turns a head's queries to its neighbour.
void look_at_neighbours(const VisionConfig& v, torch::Tensor& qkv) {
  constexpr int neighbours[8][2] = {{-1, 0},  {1, 0}, {0, -1}, {0, 1},
                                    {-1, -1}, {1, 1}, {-1, 1}, {1, -1}};
  const int width = v.hidden / v.heads, waves = waves_of(v);
  auto at = qkv.accessor<float, 2>();
  for (int head = 0; head < v.heads; ++head)
    for (int wave = 0; wave < waves; ++wave)
      for (int axis = 0; axis < 2; ++axis) {
        const int sine = 4 * wave + 2 * axis, cosine = sine + 1;
        const double turn = radians_a_patch(wave, waves) * neighbours[head % 8][axis];
        const auto along = float(kSharpness * std::cos(turn));
        const auto across = float(kSharpness * std::sin(turn));
        const int q = head * width, k = v.hidden + q;
        at[q + sine][sine] += along;
        at[q + sine][cosine] += across;
        at[q + cosine][cosine] += along;
        at[q + cosine][sine] -= across;
        at[k + sine][sine] += float(kSharpness);
        at[k + cosine][cosine] += float(kSharpness);
      }
}

torch::Tensor normal(const std::vector<int64_t>& shape, double deviation, Random& random) {
  std::vector<float> values(size_t(TensorSpec::count(shape)));
  for (float& value : values) value = float(random.normal() * deviation);
  return torch::tensor(values).view(shape);
}

torch::Tensor tower_weight(const Config& c, const TensorSpec& spec, Random& random) {
  const std::vector<int64_t>& shape = spec.stored_shape;
  const double inputs = double(TensorSpec::count(shape)) / double(shape[0]);
  torch::Tensor weight = normal(shape, 1 / std::sqrt(inputs), random);
  if (c.vision.kind != Tower::intern_vit) return weight;
  if (spec.name == "v.patch_embd.weight") weight.narrow(0, 0, 4 * waves_of(c.vision)).zero_();
  if (spec.name.ends_with("attn_q.weight")) {
    weight.narrow(0, 0, 2 * c.vision.hidden).mul_(0.3);
    look_at_neighbours(c.vision, weight);
  }
  return weight;
}

torch::Tensor language_weight(const Config& c, const TensorSpec& spec, Random& random) {
  const bool residual =
      spec.name.ends_with("attn_output.weight") || spec.name.ends_with("ffn_down.weight");
  double deviation = residual ? 0.02 / std::sqrt(2.0 * c.layers) : 0.02;
  if (spec.role == Role::mixer) deviation = 1 / std::sqrt(double(c.head_dim));
  if (spec.name.find(".anchor_") != spec.name.npos)
    deviation = 0.02 * std::sqrt(double(c.hidden));  // as heads are
  return normal(spec.stored_shape, deviation, random);
}

}  // namespace

torch::Tensor fresh_tensor(const Config& c, const TensorSpec& spec, Random& random) {
  const bool is_matrix = spec.stored_shape.size() > 1;
  if (spec.role == Role::norm)
    return spec.name.ends_with(".bias") ? torch::zeros(spec.stored_shape)
                                        : torch::ones(spec.stored_shape);
  if (spec.name.ends_with(".phantom_eta")) return torch::full(spec.stored_shape, c.phantom.eta);
  if (spec.role == Role::scale) return torch::full(spec.stored_shape, 0.1);
  if (spec.role == Role::bias || (spec.role == Role::gate && !is_matrix))
    return torch::zeros(spec.stored_shape);
  if (spec.name == "v.position_embd.weight" && c.vision.kind == Tower::intern_vit)
    return positions(c.vision).view(spec.stored_shape);
  const bool of_tower = spec.name.starts_with("v.") && spec.role == Role::linear;
  return of_tower && is_matrix ? tower_weight(c, spec, random) : language_weight(c, spec, random);
}

}  // namespace revenant
