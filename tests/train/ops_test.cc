// The operators with their own gradients against what autograd makes of torch's operators.
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
  expect_same(
      [](const auto& x) { return rms_norm_rows(x[0], x[1], 1e-2); },
      [](const auto& x) { return x[0] * torch::rsqrt(x[0].square().mean(-1, true) + 1e-2) * x[1]; },
      {random_of({70, 13}), random_of({13})});
}

TEST(Ops, Rotation) {
  torch::manual_seed(2);
  const Tensor angle = random_of({67, 1, 4}), cos = angle.cos(), sin = angle.sin();
  expect_same(
      [&](const auto& x) { return rotate_rows(x[0], cos, sin); },
      [&](const auto& x) {
        const auto half = x[0].chunk(2, -1);
        return torch::cat({half[0] * cos - half[1] * sin, half[1] * cos + half[0] * sin}, -1);
      },
      {random_of({67, 3, 8})});
}

TEST(Ops, HeadsOfTheFirstRow) {
  torch::manual_seed(3);
  const Tensor first = torch::tensor({0, 5, 6}, torch::kLong);
  const Tensor span = torch::tensor({0, 0, 0, 0, 0, 1, 2, 2, 2}, torch::kLong);
  expect_same([&](const auto& x) { return attend_first_heads(x[0], x[1], x[2], first); },
              [&](const auto& x) {
                const auto of_row = [&](const Tensor& y) { return y.index_select(0, span); };
                const Tensor scores =
                    torch::bmm(x[0], of_row(x[1]).transpose(1, 2)) / std::sqrt(8.0);
                return torch::bmm(torch::softmax(scores, -1), of_row(x[2]));
              },
              {random_of({9, 4, 8}), random_of({3, 2, 8}), random_of({3, 2, 8})});
}

TEST(Ops, BrainFloatsComeBackAsFloats) {
  const Tensor x = torch::randn({4, 2, 8}).to(torch::kBFloat16);
  const Tensor one = torch::ones({4, 1, 4}), none = torch::zeros({4, 1, 4});
  EXPECT_TRUE(torch::equal(rotate_rows(x, one, none), x.to(torch::kFloat32)));
}

}  // namespace
}  // namespace revenant
