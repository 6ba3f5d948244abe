#include "train/recompute.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>
#include <torch/custom_class.h>

#include <set>
#include <utility>

#include "train/device.h"

namespace revenant {
namespace {

using torch::Tensor;
using torch::autograd::Node;
using Tensors = std::vector<Tensor>;

// The weights that outputs were computed from.
Tensors leaves_of(const Tensors& outputs) {
  Tensors leaves;
  std::set<const Node*> seen;
  std::vector<Node*> open;
  for (const Tensor& output : outputs) open.push_back(output.grad_fn().get());
  while (!open.empty()) {
    Node* const node = open.back();
    open.pop_back();
    if (!node || !seen.insert(node).second) continue;
    if (auto* const leaf = dynamic_cast<torch::autograd::AccumulateGrad*>(node))
      leaves.push_back(leaf->variable);
    for (const torch::autograd::Edge& edge : node->next_edges())
      open.push_back(edge.function.get());
  }
  return leaves;
}

Tensors detached(const Tensors& tensors, bool with_gradients) {
  Tensors out;
  for (const Tensor& t : tensors)
    out.push_back(t.detach().requires_grad_(with_gradients && t.requires_grad()));
  return out;
}

struct Kept : torch::CustomClassHolder {
  Computation computation;
  Tensors inputs, leaves, values;
  bool bf16 = false;
};

struct Recompute : torch::autograd::Function<Recompute> {
  using Context = torch::autograd::AutogradContext;

  static Tensors forward(Context* context, const c10::intrusive_ptr<Kept>& kept, at::TensorList) {
    context->saved_data["kept"] = c10::IValue::make_capsule(kept);
    return std::exchange(kept->values, {});
  }

  // Gradients of the inputs, then of the leaves.
  static Tensors backward(Context* context, const Tensors& gradients) {
    const auto capsule = std::exchange(context->saved_data["kept"], {}).toCapsule();
    const auto& kept = static_cast<const Kept&>(*capsule);
    const torch::AutoGradMode with_gradients(true);
    const Tensors inputs = detached(kept.inputs, true);
    const Tensors outputs = [&] {
      const Autocast autocast(kept.bf16, inputs[0].device());
      return kept.computation(inputs, true);
    }();
    Tensors reached, of_reached, all = inputs, wanted;
    for (size_t i = 0; i < outputs.size(); ++i)
      if (gradients[i].defined() && outputs[i].requires_grad()) {
        reached.push_back(outputs[i]);
        of_reached.push_back(gradients[i]);
      }
    all.insert(all.end(), kept.leaves.begin(), kept.leaves.end());
    for (const Tensor& t : all)
      if (t.requires_grad()) wanted.push_back(t);
    const Tensors found = torch::autograd::grad(reached, wanted, of_reached, {}, false, true);
    Tensors out(1);  // none of `kept`
    auto next = found.begin();
    for (const Tensor& t : all) out.push_back(t.requires_grad() ? *next++ : Tensor());
    return out;
  }
};

}  // namespace

Tensors recomputed(const Computation& computation, const Tensors& inputs) {
  // The graph of this run tells which weights there are, and goes with it.
  const Tensors outputs = computation(detached(inputs, false), false);
  const auto kept = c10::make_intrusive<Kept>();
  kept->computation = computation;
  kept->inputs = inputs;
  kept->leaves = leaves_of(outputs);
  kept->values = detached(outputs, false);
  kept->bf16 = Autocast::is_on(inputs[0].device());
  Tensors all = inputs;
  all.insert(all.end(), kept->leaves.begin(), kept->leaves.end());
  return Recompute::apply(kept, at::TensorList(all));
}

}  // namespace revenant
