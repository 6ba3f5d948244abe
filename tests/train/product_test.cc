// Products whose factors are rounded to bf16, with their gradients, against torch's.
#include "train/product.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "kernels/gemm.h"
#include "train/device.h"

namespace revenant {
namespace {

using torch::Tensor;

// Values and gradients are torch's of the rounded factors; gradients are rounded before they meet.
TEST(Product, IsTorchsOfRoundedFactors) {
  if (!has_bf16_gemm()) GTEST_SKIP() << "this machine has no amx";
  torch::manual_seed(4);
  const auto rounded = [](const Tensor& x) { return x.to(torch::kBFloat16).to(torch::kFloat64); };
  const Tensor x = torch::randn({3, 70, 40}).transpose(0, 1)[5].requires_grad_();
  const Tensor w = torch::randn({50, 40}).requires_grad_(),
               bias = torch::randn({50}).requires_grad_();
  const Tensor g = torch::randn({3, 50});
  for (const bool biased : {true, false}) {
    const Autocast narrow(true, torch::kCPU);
    ASSERT_TRUE(Autocast::in_products_alone());
    const Tensor y = biased ? linear_rows(x, w, bias) : linear_rows(x, w);
    ASSERT_EQ(y.scalar_type(), torch::kFloat32);
    const Tensor expected = torch::mm(rounded(x), rounded(w).t()) + (biased ? bias : bias * 0);
    EXPECT_TRUE(torch::allclose(y.to(torch::kFloat64), expected, 1e-5, 1e-5));
    std::vector<Tensor> leaves = {x, w};
    if (biased) leaves.push_back(bias);
    const auto found = torch::autograd::grad({(y * g).sum()}, leaves);
    EXPECT_TRUE(torch::allclose(found[0].to(torch::kFloat64), torch::mm(rounded(g), rounded(w)),
                                1e-5, 1e-5));
    EXPECT_TRUE(torch::allclose(found[1].to(torch::kFloat64), torch::mm(rounded(g).t(), rounded(x)),
                                1e-5, 1e-5));
    EXPECT_TRUE(!biased || torch::allclose(found.back(), g.sum(0)));
  }
}

// What is frozen has no gradient, in bf16 or not; without Autocast nothing is rounded.
TEST(Product, FrozenNarrowAndPlain) {
  torch::manual_seed(5);
  const Tensor x = torch::randn({4, 40}).requires_grad_(), w = torch::randn({8, 40});
  EXPECT_TRUE(torch::equal(linear_rows(x, w), torch::linear(x, w)));
  const Autocast narrow(true, torch::kCPU);
  if (!Autocast::in_products_alone()) GTEST_SKIP() << "this machine has no amx";
  const Tensor wide = linear_rows(x, w), kept = linear_rows(x, w.to(torch::kBFloat16));
  EXPECT_TRUE(torch::equal(wide, kept));
  EXPECT_TRUE(torch::autograd::grad({kept.sum()}, {x})[0].defined());
  EXPECT_EQ(linear_rows(torch::empty({0, 40}), w).sizes(), (std::vector<int64_t>{0, 8}));
}

}  // namespace
}  // namespace revenant
