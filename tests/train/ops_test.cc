// The operators with their own gradients against their composed twins, and these against numbers.
#include "train/ops.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <functional>

namespace revenant {
namespace {

using torch::Tensor;
using Function = std::function<Tensor(const std::vector<Tensor>&)>;

// Output and all gradients, of a sum with fixed random weights, in float64.
void expect_same(const Function& ours, const Function& truth, const std::vector<Tensor>& inputs) {
  const auto all = [&](const Function& f) {
    std::vector<Tensor> leaves;
    for (const Tensor& x : inputs) leaves.push_back(x.detach().clone().requires_grad_());
    const Tensor y = f(leaves);
    torch::manual_seed(9);
    std::vector<Tensor> results = torch::autograd::grad({(y * torch::randn_like(y)).sum()}, leaves);
    results.push_back(y);
    return results;
  };
  const std::vector<Tensor> found = all(ours), expected = all(truth);
  for (size_t i = 0; i < found.size(); ++i)
    EXPECT_TRUE(torch::allclose(found[i], expected[i], 1e-12, 1e-12)) << "result " << i;
}

Tensor random_of(at::IntArrayRef shape) { return torch::randn(shape, torch::kFloat64); }

TEST(Ops, RmsNorm) {
  torch::manual_seed(1);
  expect_same([](const auto& x) { return rms_norm_rows(x[0], x[1], 1e-2); },
              [](const auto& x) { return composed::rms_norm_rows(x[0], x[1], 1e-2); },
              {random_of({70, 13}), random_of({13})});
}

TEST(Ops, Rotation) {
  torch::manual_seed(2);
  const Tensor angle = random_of({67, 1, 4}), cos = angle.cos(), sin = angle.sin();
  expect_same([&](const auto& x) { return rotate_rows(x[0], cos, sin); },
              [&](const auto& x) { return composed::rotate_rows(x[0], cos, sin); },
              {random_of({67, 3, 8})});
}

TEST(Ops, HeadsOfTheFirstRow) {
  torch::manual_seed(3);
  const Tensor first = torch::tensor({0, 5, 6}, torch::kLong);
  expect_same([&](const auto& x) { return attend_first_heads(x[0], x[1], x[2], first); },
              [&](const auto& x) { return composed::attend_first_heads(x[0], x[1], x[2], first); },
              {random_of({9, 4, 8}), random_of({3, 2, 8}), random_of({3, 2, 8})});
}

TEST(Ops, SiluTimes) {
  torch::manual_seed(4);
  expect_same([](const auto& x) { return silu_times(x[0], x[1]); },
              [](const auto& x) { return composed::silu_times(x[0], x[1]); },
              {random_of({70, 90}), random_of({70, 90})});
  const Tensor gate = torch::randn({5000}), up = torch::randn({5000});
  EXPECT_TRUE(torch::allclose(silu_times(gate, up), composed::silu_times(gate, up), 1e-6, 1e-6));
}

// By hand: two spans, of two rows and of one; each row sees the heads of its own span.
TEST(Ops, ComposedOnesGiveTheirFormulas) {
  const auto of = [](std::vector<double> values, at::IntArrayRef shape) {
    return torch::tensor(values, torch::kFloat64).view(shape);
  };
  const Tensor first = torch::tensor({0, 2}, torch::kLong);
  const Tensor q = of({1, 2, 3}, {3, 1, 1}), k = of({0, 1, 2, 0}, {2, 2, 1}),
               v = of({10, 20, 30, 40}, {2, 2, 1});
  const auto between = [](double a, double b, double to_b) {
    return a + (b - a) / (1 + std::exp(-to_b));
  };
  EXPECT_TRUE(torch::allclose(
      composed::attend_first_heads(q, k, v, first),
      of({between(10, 20, 1), between(10, 20, 2), between(30, 40, -6)}, {3, 1, 1}), 0, 1e-12));
  EXPECT_TRUE(torch::allclose(composed::rms_norm_rows(of({3, 4}, {1, 2}), of({1, 2}, {2}), 0.5),
                              of({3 / std::sqrt(13.0), 8 / std::sqrt(13.0)}, {1, 2}), 0, 1e-12));
  EXPECT_TRUE(torch::allclose(
      composed::rotate_rows(of({1, 2}, {1, 1, 2}), of({0.6}, {1, 1, 1}), of({0.8}, {1, 1, 1})),
      of({0.6 - 1.6, 1.2 + 0.8}, {1, 1, 2}), 0, 1e-12));
}

TEST(Ops, BrainFloatsComeBackAsFloats) {
  const Tensor x = torch::randn({4, 2, 8}).to(torch::kBFloat16);
  const Tensor one = torch::ones({4, 1, 4}), none = torch::zeros({4, 1, 4});
  EXPECT_TRUE(torch::equal(rotate_rows(x, one, none), x.to(torch::kFloat32)));
}

}  // namespace
}  // namespace revenant
