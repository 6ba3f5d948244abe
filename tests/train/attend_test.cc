// Attention in products of bf16, with its gradients, against torch's in float64.
#include "train/attend.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>

#include "kernels/gemm.h"

namespace revenant {
namespace {

using torch::Tensor;

// What rows see, [R, R]: 0, or -inf.
Tensor mask_of(const std::vector<AttentionSpan>& spans, int64_t rows) {
  const Tensor mask = torch::full({rows, rows}, -INFINITY, torch::kFloat64);
  for (const AttentionSpan& s : spans)
    for (int64_t i = 0; i < s.rows; ++i) {
      const Tensor row = mask[s.first_row + i].narrow(0, s.first_row, s.causal ? i + 1 : s.rows);
      row.zero_();
      for (const auto& b : s.branches)
        if (b.begin <= i && i < b.end)
          for (const auto& [begin, end] : b.unseen) row.slice(0, begin, end).fill_(-INFINITY);
    }
  return mask;
}

// q, k, v, and their ghosts where there are six.
std::vector<Tensor> in_float64(const std::vector<Tensor>& in, const Tensor& mask, double scale) {
  const int64_t group = in[0].size(1) / in[1].size(1);
  const auto heads = [&](size_t i) {
    const Tensor x = in[i].to(torch::kFloat64).transpose(0, 1);
    return i % 3 == 0 ? x : x.repeat_interleave(group, 0);
  };
  Tensor scores = torch::matmul(heads(0), heads(1).transpose(1, 2));
  if (in.size() > 3) scores = scores + torch::matmul(heads(3), heads(4).transpose(1, 2));
  const Tensor p = torch::softmax(scores * scale + mask, -1);
  std::vector<Tensor> out = {torch::matmul(p, heads(2)).transpose(0, 1)};
  if (in.size() > 3) out.push_back(torch::matmul(p, heads(5)).transpose(0, 1));
  return out;
}

std::vector<Tensor> ours(const std::vector<Tensor>& in, const std::vector<AttentionSpan>& spans,
                         double scale) {
  Haunted<Tensor> a = {{in[0], in[1], in[2]}, {}, in.size() > 3};
  if (a.has_ghost) a.ghost = {in[3], in[4], in[5]};
  const auto o = attend_rows(a, std::make_shared<const std::vector<AttentionSpan>>(spans), scale);
  return a.has_ghost ? std::vector{o.plain, o.ghost} : std::vector{o.plain};
}

// Outputs and gradients, each within 1 % of its size.
void expect_near(const std::vector<AttentionSpan>& spans, int64_t rows, int64_t heads,
                 int64_t shared, int64_t d, bool ghosts) {
  std::vector<Tensor> in;
  for (int i = 0; i < (ghosts ? 6 : 3); ++i)
    in.push_back(torch::randn({rows, i % 3 == 0 ? heads : shared, d}).requires_grad_());
  const double scale = 1 / std::sqrt(double(d));
  const auto all = [&](const std::vector<Tensor>& outputs) {
    torch::manual_seed(5);
    Tensor sum = torch::zeros({}, torch::kFloat64);
    for (const Tensor& o : outputs)
      sum = sum + (o.to(torch::kFloat64) * torch::randn(o.sizes(), torch::kFloat64)).sum();
    std::vector<Tensor> results = torch::autograd::grad({sum}, in);
    results.insert(results.end(), outputs.begin(), outputs.end());
    return results;
  };
  const auto found = all(ours(in, spans, scale)),
             expected = all(in_float64(in, mask_of(spans, rows), scale));
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i)
    EXPECT_LT((found[i] - expected[i]).norm().item<double>(),
              0.01 * expected[i].norm().item<double>())
        << "result " << i << " of " << rows << " rows, " << heads << " heads, " << d << " wide";
}

class TrainAttend : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_bf16_gemm()) GTEST_SKIP() << "this machine has no amx";
    torch::manual_seed(6);
  }
};

TEST_F(TrainAttend, TilesOfATower) {
  expect_near({{0, 65, false}, {65, 65, false}}, 130, 4, 4, 24, false);
  expect_near({{0, 140, false}}, 140, 1, 1, 64, false);
}

TEST_F(TrainAttend, SequencesWhoseHeadsShareKeys) {
  expect_near({{0, 1, true}, {1, 33, true}, {34, 150, true}, {184, 270, true}}, 454, 6, 2, 32,
              false);
}

TEST_F(TrainAttend, Ghosts) { expect_near({{0, 40, true}, {40, 131, true}}, 171, 6, 3, 32, true); }

// A trunk of 20 rows with two branches, one of which branches again.
TEST_F(TrainAttend, BranchesDoNotSeeEachOther) {
  const AttentionSpan packed = {
      3, 50, true, {{20, 30, {}}, {30, 40, {}}, {40, 50, {{30, 40}}}, {35, 40, {{20, 30}}}}};
  expect_near({{0, 3, true}, packed}, 53, 2, 1, 16, true);
}

// Weights that are all alike are the mean, to the last bit of bf16's.
TEST_F(TrainAttend, EqualScoresTakeTheMean) {
  const Tensor q = torch::zeros({4, 1, 8}),
               v = torch::arange(4).to(torch::kFloat32).view({4, 1, 1});
  const Tensor o = ours({q, q, v.expand({4, 1, 8}).contiguous()}, {{0, 4, false}}, 1)[0];
  EXPECT_TRUE(torch::equal(o, torch::full({4, 1, 8}, 1.5f)));
}

}  // namespace
}  // namespace revenant
