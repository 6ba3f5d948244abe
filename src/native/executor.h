// The native executor: the verbs of model/verbs.h on Tensor and Weight. One executor computes one
// step. Work is split over rows, heads and outputs, never over a sum, so results do not depend on
// the number of threads, the batch or the way a prompt was cut into pieces.
#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <span>

#include "base/error.h"
#include "base/stop.h"
#include "base/threads.h"
#include "kernels/kernels.h"
#include "model/rope.h"
#include "model/verbs.h"
#include "native/sequence.h"
#include "native/tensor.h"
#include "native/weights.h"

namespace revenant {

// Multiplications below which waking another thread costs more than it brings.
constexpr size_t least_work = 1 << 15;
// Items of `work` multiplications each that are worth a thread.
inline size_t grain_for(size_t work) {
  return std::max<size_t>(1, least_work / std::max<size_t>(1, work));
}

// Sees every value that the forward text notes, and what products read.
struct Observer {
  virtual ~Observer() = default;
  virtual void note(Site site, Note name, const Tensor& value) = 0;
  // Rows [x.rows * x.heads, x.width] that meet a weight, which lies where it was loaded.
  virtual void product(const Packed& /*weight*/, const Tensor& /*x*/) {}
};

class Executor : public Verbs<Executor> {
 public:
  // Some of a step's rows, ascending; of `step` only what a product wants to know of them.
  struct Part {
    std::vector<int> rows;
    Step step;
  };

  // `sequences` are what Span::sequence counts. `go_on` is asked before every product, and within
  // long ones.
  Executor(const Config& config, const Kernels& kernels, Threads& threads,
           std::span<Sequence* const> sequences = {}, Observer* observer = nullptr, GoOn go_on = {})
      : c_(config),
        k_(kernels),
        threads_(threads),
        sequences_(sequences),
        observer_(observer),
        go_on_(std::move(go_on)) {}

  Tensor embed(const Weight& table, std::span<const int> ids);
  Tensor place(const Tensor& x, const Tensor& features, const Step& step);
  Tensor linear(const Linear<Weight>& w, const Tensor& x, const Step* step = nullptr);
  template <class W>
  Qkv<Tensor> qkv(const W& w, const Tensor& x, int head_dim, const Step* step = nullptr) {
    const auto [q, k, v] = linears<3>({&w.q, &w.k, &w.v}, x, step);
    return {heads(q, head_dim), heads(k, head_dim), heads(v, head_dim)};
  }
  Tensor swiglu(const MlpWeights<Weight>& w, const Tensor& x, const Step& step);
  Tensor heads(const Tensor& x, int d) { return x.shaped(x.width / d, d); }
  Tensor join(const Tensor& x) { return x.shaped(1, x.heads * x.width); }
  Tensor rms_norm(const Tensor& x, const Norm<Weight>& norm);
  Tensor layer_norm(const Tensor& x, const Norm<Weight>& norm);

  Tensor rope(const Tensor& x, const Step& step);
  template <class F>
  Anchors<Tensor> anchor(Site site, const Qkv<Tensor>& a, const PhantomWeights<Weight>& w,
                         float eta, const Step& step, const F& make) {
    if (const std::vector<int> rows = beginnings(site, step); !rows.empty())
      keep_anchors(site, step, make({take(a.q, rows), take(a.k, rows), take(a.v, rows)}),
                   eta * eta * w.mix_q.o.weight.norm * w.mix_k.o.weight.norm);
    return kept_anchors(site, step);
  }
  Tensor each(const Weight& w, const Step& step);
  Tensor attend_heads(const Tensor& q, const Tensor& k, const Tensor& v, const Step& step);
  Tensor attend_own_heads(const Tensor& q, const Tensor& k, const Tensor& v);
  float eta(const Weight& learnt, double usual) {
    return learnt ? learnt.vector.data()[0] : float(usual);
  }
  Tensor mix(const Mixer<Weight>& m, const Tensor& x, const Seen<Tensor>* seen,
             const std::vector<bool>* quiet, const Step& step);
  Tensor gate_of(const Linear<Weight>& gate1, const Tensor& plain, const Linear<Weight>& gate2,
                 const Tensor& ghost);
  Halves<Tensor> attend(Site site, const Haunted<Tensor>& a, const Step& step, float eta,
                        const Part* part = nullptr);

  Tensor attend_tile(const Qkv<Tensor>& a, int tokens, const Linear<Weight>& w = {});
  Tensor patches(std::span<const float> pixels, int tiles, int side, int patch);
  Tensor with_class(const Tensor& x, const Weight& class_token, int tiles);
  Tensor drop_class(const Tensor& x, int tiles);
  Tensor resample(const Weight& table, const std::vector<float>& matrix);
  Tensor add_positions(const Tensor& x, const Weight& positions);
  Tensor add_positions(const Tensor& x, const Tensor& positions);
  Tensor shuffle(const Tensor& x, int grid, int factor);

  // Of later passes only rows that traverse are computed.
  template <class F>
  Tensor again(const Tensor& x, const Step& step, const F& passes) {
    if (!later_) later_ = later_part(step);
    if (int(later_->rows.size()) == x.rows) return passes(x, step);
    std::swap(rotation_, later_->rotation);
    const Tensor mixed = passes(take(x, later_->rows), later_->step);
    std::swap(rotation_, later_->rotation);
    return put(x, later_->rows, mixed);
  }
  const Part* asked(const Step& step) {
    if (!step.asked) return nullptr;
    if (!asked_) asked_ = part_of(step, *step.asked);
    return &*asked_;
  }
  template <class F>
  Tensor within(const Part& part, const F& f) {
    return f(part.step);
  }
  template <class F>
  Tensor lerp_where(const Tensor& x, const Tensor& gate, const Step& step, bool last,
                    const F& pass) {
    const std::vector<int> rows = passing(gate, step, last);
    if (int(rows.size()) == x.rows) return lerp(x, pass(static_cast<const Part*>(nullptr)), gate);
    const Part part = part_of(step, rows);
    return put(x, rows, lerp(take(x, rows), pass(&part), take(gate, rows)));
  }
  Tensor take(const Tensor& x, std::span<const int> rows);
  Tensor add(const Tensor& x, const Tensor& y);
  Tensor sub(const Tensor& x, const Tensor& y);
  Tensor mul(const Tensor& x, const Tensor& y);
  Tensor mul(const Tensor& x, const Weight& y);
  Tensor lerp(const Tensor& a, const Tensor& b, const Tensor& t);
  Tensor affine(const Tensor& x, float scale, float shift);
  Tensor at_least(const Tensor& x, float least);
  Tensor gate_prompt(const Tensor& gate, const Step&) { return gate; }  // see `again`
  Tensor gelu(const Tensor& x) { return map(x, k_.gelu); }
  Tensor quick_gelu(const Tensor& x) { return map(x, k_.quick_gelu); }
  Tensor silu(const Tensor& x) { return map(x, k_.silu); }
  Tensor tanh(const Tensor& x) { return map(x, k_.tanh); }
  Tensor sigmoid(const Tensor& x) { return map(x, k_.sigmoid); }

  const Tensor& note(Site site, Note name, const Tensor& x) {
    if (observer_) observer_->note(site, name, x);
    return x;
  }

  // Why the rows that a span has entered into its cache are worth nothing, if they are.
  std::optional<Error> failure_of(const Span& span) const {
    return failures_.empty() ? std::nullopt : failures_[size_t(span.sequence)];
  }

 protected:
  Sequence& sequence_of(const Span& span) const { return *sequences_[size_t(span.sequence)]; }

 private:
  // Items [begin, end) of a loop, `work` multiplications each: in parts, before each of which
  // `go_on` is asked, so that nobody who waits for a step of his own waits for the end of a long
  // loop.
  template <class F>
  void in_parts(size_t items, size_t work, const F& fn) {
    constexpr size_t most_work = size_t(1) << 30;  // some 30 ms of two slow cores
    const size_t together =
        go_on_ ? std::max<size_t>(1, most_work / std::max<size_t>(1, work)) : items;
    for (size_t first = 0; first < items; first += together) {
      stop_unless(go_on_);
      threads_.parallel_for(std::min(together, items - first), grain_for(work),
                            [&](size_t begin, size_t end) { fn(first + begin, first + end); });
    }
  }
  using Map = void (*)(const float*, size_t, float*) noexcept;
  Tensor map(const Tensor& x, Map fn);
  template <class F>
  Tensor each(const Tensor& x, const F& fn);
  template <class F>
  Tensor each_line(const Tensor& x, const F& fn);
  // Several products of the same x, which is prepared once, in one job.
  template <size_t n>
  std::array<Tensor, n> linears(const std::array<const Linear<Weight>*, n>& w, const Tensor& x,
                                const Step* step) {
    std::array<Tensor, n> out;
    linears(w, x, step, out);
    return out;
  }
  void linears(std::span<const Linear<Weight>* const> w, const Tensor& x, const Step* step,
               std::span<Tensor> out);
  struct Term;
  void products(std::span<const Term> terms, size_t rows);
  Tensor gated(const MlpWeights<Weight>& w, const Tensor& x);
  Tensor prepared(Input input, const Tensor& x);
  void add_picture_branch(const Linear<Weight>& w, const Tensor& x, const Step& step, Tensor& out);
  void alone(const Linear<Weight>& w, const float* x, size_t rows, float* out) const;
  std::vector<int> beginnings(Site site, const Step& step) const;
  void keep_anchors(Site site, const Step& step, const Anchors<Tensor>& made, float norms);
  Anchors<Tensor> kept_anchors(Site site, const Step& step) const;
  std::vector<int> passing(const Tensor& gate, const Step& step, bool last) const;
  Part part_of(const Step& step, std::span<const int> rows) const;
  void remember(Site site, const Haunted<Tensor>& a, const Step& step);
  void remember(Site site, const Tensor& x, const Span& span, CachePart part);

  const Config& c_;
  const Kernels& k_;
  Threads& threads_;
  std::span<Sequence* const> sequences_;
  Observer* observer_;
  GoOn go_on_;
  std::optional<RopeRows> rotation_;  // of this executor's step
  // Of this step the rows that traverse.
  struct Later {
    Step step;
    std::vector<int> rows;
    std::optional<RopeRows> rotation;
  };
  Later later_part(const Step& step) const;
  Tensor put(const Tensor& x, std::span<const int> rows, const Tensor& values);
  std::optional<Later> later_;
  std::optional<Part> asked_;                   // of this step
  std::vector<std::optional<Error>> failures_;  // [sequences], or none of any
};

}  // namespace revenant
