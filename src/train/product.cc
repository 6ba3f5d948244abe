#include "train/product.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/gemm.h"
#include "train/device.h"

namespace revenant {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

GemmFactor factor(const Tensor& x, bool along_k) {
  const bool narrow = x.scalar_type() == torch::kBFloat16;
  CHECK(narrow || x.scalar_type() == torch::kFloat32);
  return {x.const_data_ptr(), narrow, along_k, size_t(x.size(1))};
}

// `out` [m, n], k being what is left of x and y: each is [rows, k] or, not `along_k`, [k, rows].
void multiply(const Tensor& x, bool x_along_k, const Tensor& y, bool y_along_k, const Tensor& out,
              const Tensor& bias = {}) {
  const auto split = [](size_t count, const std::function<void(size_t, size_t)>& work) {
    at::parallel_for(0, int64_t(count), 1,
                     [&](int64_t begin, int64_t end) { work(size_t(begin), size_t(end)); });
  };
  bf16_gemm(size_t(out.size(0)), size_t(out.size(1)), size_t(x.size(x_along_k ? 1 : 0)),
            factor(x, x_along_k), factor(y, y_along_k),
            {out.mutable_data_ptr<float>(), size_t(out.size(1)), /*adds=*/false,
             bias.defined() ? bias.const_data_ptr<float>() : nullptr},
            split);
}

struct Product : torch::autograd::Function<Product> {
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& w,
                        const std::optional<Tensor>& bias) {
    const Tensor rows = x.contiguous(), weight = w.contiguous();
    const Tensor y = torch::empty({x.size(0), w.size(0)}, torch::kFloat32);
    multiply(rows, true, weight, true, y, bias ? bias->to(torch::kFloat32).contiguous() : Tensor());
    context->save_for_backward({rows, weight});
    context->saved_data["biased"] = bias.has_value();
    return y;
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& gradients) {
    const tensor_list saved = context->get_saved_variables();
    const Tensor &x = saved[0], &w = saved[1], g = gradients[0].contiguous();
    tensor_list out(3);
    if (context->needs_input_grad(0)) multiply(g, true, w, false, out[0] = torch::empty_like(x));
    if (context->needs_input_grad(1)) {
      out[1] = torch::empty(w.sizes(), torch::kFloat32);
      multiply(g, false, x, false, out[1]);
    }
    if (context->saved_data["biased"].toBool() && context->needs_input_grad(2)) out[2] = g.sum(0);
    return out;
  }
};

}  // namespace

Tensor rounded_product(const Tensor& x, const Tensor& y) {
  const Tensor out = torch::empty({x.size(0), y.size(1)}, torch::kFloat32);
  multiply(x.contiguous(), true, y.contiguous(), false, out);
  return out;
}

Tensor rounded_square(const Tensor& x) {
  const Tensor rows = x.contiguous(), out = torch::empty({x.size(0), x.size(0)}, torch::kFloat32);
  multiply(rows, true, rows, true, out);
  return out;
}

Tensor linear_rows(const Tensor& x, const Tensor& w, const Tensor& bias) {
  if (!Autocast::in_products_alone() || x.size(0) == 0) return torch::linear(x, w, bias);
  return Product::apply(x.to(torch::kFloat32), w,
                        bias.defined() ? std::optional(bias) : std::nullopt);
}

}  // namespace revenant
