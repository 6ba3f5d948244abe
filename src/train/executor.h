// Executor 2: the verbs of model/verbs.h on torch::Tensor, with autograd, in float32, float64 or
// under bf16 autocast. Shapes as in verbs.h. Instantiated in forward.cc only.
#pragma once

#include <torch/types.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "model/rope.h"
#include "model/verbs.h"
#include "train/attend.h"
#include "train/ops.h"
#include "train/quantized.h"

namespace revenant {

using TorchNote = std::function<void(Site, Note, const torch::Tensor&)>;

// A step's rows as torch indices. Spans that hang together by their parents are one sequence.
// Attention runs over groups of sequences of like length, each padded to [sequences, longest] and
// back: right padding is never seen by a causal query, so no mask is needed beyond the causal one,
// but where there are branches, which do not see each other.
struct TorchRows {
  TorchRows() = default;
  // `asked`: rows whose outputs are wanted, in any order; undefined: all.
  TorchRows(const Config& c, const Step& step, torch::TensorOptions options,
            const torch::Tensor& asked = {});

  struct Group {
    int64_t sequences, longest;
    torch::Tensor mask;  // [sequences, 1, longest, longest] 0, or -inf where a row may not look
  };
  std::vector<Group> groups;
  std::shared_ptr<const std::vector<AttentionSpan>> spans;  // the same without padding
  torch::Tensor cos, sin;                                   // [R, 1, d / 2]
  torch::Tensor first;                                      // [S] first row of each sequence
  torch::Tensor padded, unpadded;  // row per place, group after group, and [R] place per row
  torch::Tensor pictures;          // rows of picture tokens
  torch::Tensor traversing;        // [R, 1] 1 on prompt rows that traverse
  // Some of the rows, in any order; of `own` only `pictures`.
  struct Part {
    torch::Tensor rows;
    std::shared_ptr<const TorchRows> own;
  };
  std::optional<Part> asked;
};

// A weight, and the adapter beside it where there is one.
struct TorchWeight {
  torch::Tensor tensor;
  QuantizedMatrix quantized = {};  // in its place, where the base is quantised
  bool in_float32 = false;         // under autocast too: what makes ghosts and gates
  torch::Tensor a = {}, b = {};    // [rank, in], [out, rank]
  double scale = 0;                // of B A x
  double dropout = 0;              // share of x that A does not see, in training
  operator const torch::Tensor&() const { return tensor; }
};

class TorchExecutor : public Verbs<TorchExecutor> {
 public:
  using Tensor = torch::Tensor;
  using Weight = TorchWeight;
  using Part = TorchRows::Part;
  // A weight [1], or undefined and a number.
  struct Eta {
    Tensor learnt;
    double usual;
    Tensor times(const Tensor& x) const {
      if (learnt.defined()) return learnt * x;
      return usual == 1 ? x : usual * x;
    }
  };

  // `recompute`: of a segment its input is kept, and what it computes is computed again.
  TorchExecutor(const Config& config, std::shared_ptr<const TorchRows> rows,
                const TorchNote* observer, uint64_t dropout_seed = 0, bool recompute = false)
      : c_(config),
        rows_(std::move(rows)),
        observer_(observer),
        dropout_seed_(dropout_seed),
        recompute_(recompute) {}

  Tensor embed(const Tensor& table, const Tensor& ids) {
    return torch::embedding(table, ids, c_.padding_index);
  }
  Tensor place(const Tensor& x, const Tensor& features, const Step&) {
    return x.index_copy(0, rows_->pictures, features.to(x.dtype()));
  }
  Tensor linear(const Linear<Weight>& w, const Tensor& x, const Step* = nullptr);
  Tensor heads(const Tensor& x, int d) { return x.view({x.size(0), -1, d}); }
  Tensor join(const Tensor& x) { return x.reshape({x.size(0), -1}); }
  Tensor rms_norm(const Tensor& x, const Norm<Weight>& n) {
    return rms_norm_rows(x, n.weight, n.eps);
  }
  Tensor layer_norm(const Tensor& x, const Norm<Weight>& n) {
    return torch::layer_norm(x, {x.size(-1)}, n.weight.tensor, n.bias.tensor, n.eps);
  }
  Tensor rope(const Tensor& x, const Step&) { return rotate_rows(x, rows_->cos, rows_->sin); }
  template <class F>
  Anchors<Tensor> anchor(Site site, const Qkv<Tensor>& a, const PhantomWeights<Weight>&, const Eta&,
                         const Step&, const F& make) {
    if (site.pass == 1)
      anchors_[site.layer] =
          make({take(a.q, rows_->first), take(a.k, rows_->first), take(a.v, rows_->first)});
    return anchors_.at(site.layer);
  }
  Tensor attend_heads(const Tensor& q, const Tensor& k, const Tensor& v, const Step&) {
    return attend_first_heads(q, k, v, rows_->first);
  }
  Tensor each(const Tensor& w, const Step&) { return w.expand({rows_->first.size(0), w.size(0)}); }
  Tensor attend_own_heads(const Tensor& q, const Tensor& k, const Tensor& v) {
    const Tensor rows = torch::arange(q.size(0), rows_->first.options());
    return attend_first_heads(q, k, v, rows);
  }
  Eta eta(const Tensor& learnt, double usual) { return {learnt, usual}; }
  Halves<Tensor> attend(Site, const Haunted<Tensor>& a, const Step&, const Eta& eta,
                        const Part* part);
  Tensor attend_tile(const Qkv<Tensor>& a, int tokens, const Linear<Weight>& w = {});
  Tensor patches(const Tensor& pixels, int tiles, int side, int patch);
  Tensor with_class(const Tensor& x, const Tensor& token, int tiles);
  Tensor drop_class(const Tensor& x, int tiles) {
    return x.view({tiles, -1, x.size(-1)}).slice(1, 1).reshape({-1, x.size(-1)});
  }
  Tensor resample(const Tensor& table, const std::vector<float>& matrix) {
    const Tensor m = torch::tensor(matrix).view({-1, table.size(0)}).to(table.options());
    return torch::matmul(m, table);
  }
  Tensor add_positions(const Tensor& x, const Tensor& p) {
    return (x.view({-1, p.size(0), p.size(1)}) + p).view_as(x);
  }
  Tensor shuffle(const Tensor& x, int grid, int factor);
  const Part* asked(const Step&) { return rows_->asked ? &*rows_->asked : nullptr; }
  template <class F>
  Tensor within(const Part& part, const F& f) {
    const auto all = std::exchange(rows_, part.own);
    const Tensor y = f(Step());
    rows_ = all;
    return y;
  }
  // The gradient is that of x, or what is 0 would stay 0.
  Tensor at_least(const Tensor& x, float least) {
    return x - x.masked_fill(x >= least, 0).detach();
  }
  Tensor take(const Tensor& x, const Tensor& rows) { return x.index_select(0, rows); }
  Tensor add(const Tensor& x, const Tensor& y) { return x + y; }
  Tensor sub(const Tensor& x, const Tensor& y) { return x - y; }
  Tensor mul(const Tensor& x, const Tensor& y) { return x * y; }
  Tensor lerp(const Tensor& a, const Tensor& b, const Tensor& t) { return a + t * (b - a); }
  Tensor affine(const Tensor& x, float scale, float shift) { return x * scale + shift; }
  Tensor gelu(const Tensor& x) { return torch::gelu(x); }
  Tensor quick_gelu(const Tensor& x) { return x * torch::sigmoid(1.702 * x); }
  Tensor silu(const Tensor& x) { return torch::silu(x); }
  Tensor silu_times(const Tensor& gate, const Tensor& up) { return revenant::silu_times(gate, up); }
  Tensor tanh(const Tensor& x) { return torch::tanh(x); }
  Tensor sigmoid(const Tensor& x) { return torch::sigmoid(x); }
  Tensor gate_prompt(const Tensor& gate, const Step&) { return gate * rows_->traversing; }
  template <class W, class F>
  Tensor segment(Site site, const W& w, const Tensor& x, const F& part) {
    if (!recompute_ || !torch::GradMode::is_enabled()) return part(*this, w, x);
    return forgotten(site.layer, x,
                     [w, part](TorchExecutor& e, const Tensor& y) { return part(e, w, y); });
  }
  Tensor note(Site site, Note name, const Tensor& x) {
    if (observer_) (*observer_)(site, name, x);
    return x;
  }

 private:
  using Computed = std::function<Tensor(TorchExecutor&, const Tensor&)>;
  Tensor forgotten(int layer, const Tensor& x, const Computed& part);
  Tensor attend_padded(const Haunted<Tensor>& a, double scale);
  // [R, n, d] -> [sequences, longest, n, d] for each group
  std::vector<Tensor> pad(const Tensor& x);
  // and back
  Tensor unpad(const std::vector<Tensor>& groups);

  const Config& c_;
  std::shared_ptr<const TorchRows> rows_;
  const TorchNote* observer_;
  uint64_t dropout_seed_;
  bool recompute_;
  std::map<int, Anchors<Tensor>> anchors_;  // by layer
};

}  // namespace revenant
