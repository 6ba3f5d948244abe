#include "engine/look.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <string>

#include "base/error.h"
#include "engine/batch.h"
#include "engine/running.h"

namespace revenant {
namespace {

// Sums of two non-negative measures; numbers are the ratios of what was added.
struct Ratios {
  Ratios(size_t rows, size_t columns) : columns(columns), part(rows * columns), whole(part) {}
  void add(size_t row, size_t column, double more_part, double more_whole) {
    part[row * columns + column] += more_part;
    whole[row * columns + column] += more_whole;
  }
  // `root`: the sums are of squares.
  Numbers numbers(bool root) const {
    Numbers out({columns ? part.size() / columns : 0, columns});
    for (size_t i = 0; i < part.size(); ++i) {
      const double ratio = whole[i] > 0 ? part[i] / whole[i] : 0;
      out.values[i] = float(root ? std::sqrt(ratio) : ratio);
    }
    return out;
  }
  size_t columns;
  std::vector<double> part, whole;
};

// |scale a|^2 and |b|^2 of every head of every row, to a ratio by head and one by row.
template <class A>
void add_squares(const A& a, const Tensor& b, size_t layer, int first, Ratios& by_head,
                 Ratios& by_row) {
  for (int r = 0; r < b.rows; ++r)
    for (int h = 0; h < b.heads; ++h) {
      const float* whole = b.row(r) + size_t(h) * size_t(b.width);
      double part = 0;
      for (int i = 0; i < b.width; ++i) {
        const double x = a(r, h * b.width + i);
        part += x * x;
      }
      const double square = std::transform_reduce(whole, whole + b.width, 0.0, std::plus<>(),
                                                  [](float v) { return double(v) * double(v); });
      by_head.add(layer, size_t(h), part, square);
      by_row.add(layer, size_t(first + r), part, square);
    }
}

class Watcher : public Observer {
 public:
  Watcher(const Native& native, Sequence& sequence, int most_rows, bool heads)
      : c_(native.config),
        sequence_(sequence),
        most_(size_t(most_rows)),
        heads_(heads),
        value_head_(layers(), size_t(c_.kv_heads)),
        value_row_(layers(), most_),
        output_head_(layers(), size_t(c_.heads)),
        output_row_(layers(), most_),
        score_(layers(), size_t(c_.heads)) {
    const PhantomConfig& phantom = c_.phantom;
    if (phantom.on && !(phantom.widen && phantom.mixing == PhantomMixing::gated))
      throw Error("look", "revenant", "wider heads and a gate (phantom_widen, phantom_mixing)",
                  "another way of the mechanism");
    if (c_.phantom.on) half_weight_ = Numbers({layers(), most_, size_t(c_.heads)});
    for (const LayerWeights<Weight>& layer : native.weights.layers) {
      const Weight& learnt = layer.attention.phantom.eta;
      etas_.push_back(learnt ? learnt.vector.data()[0] : c_.phantom.eta);
    }
  }

  // What the next forward computes: rows from `first`; its last row `chooses` an answer's token.
  void expect(int first, bool chooses) {
    first_ = first;
    if (chooses) attention_.push_back(Numbers());
    chooses_ = chooses;
  }
  // The forward is done, or another layer begins: the notes of a layer's attention are there, and
  // its rows are in the cache.
  void finish_layer() {
    if (held_.empty()) return;
    if (c_.phantom.on) add_ghosts(size_t(layer_));
    if (chooses_) add_attention(size_t(layer_));
    held_.clear();
  }

  void note(Site site, Note name, const Tensor& value) override {
    if (name == Note::trol_gate) {
      if (gates_.empty()) gates_.assign(size_t(c_.trol.passes - 1), Numbers({layers(), most_}));
      gated_ = size_t(first_ + value.rows);
      for (int r = 0; r < value.rows; ++r)
        gates_[size_t(site.pass - 2)].at(size_t(site.layer), size_t(first_ + r)) = *value.row(r);
    } else if (site.pass == 1 && wanted(name)) {
      if (site.layer != layer_) finish_layer();
      layer_ = site.layer;
      held_[name] = value;
    }
  }

  Look result(std::vector<int> ids, int prompt) {
    Look look;
    const size_t rows = ids.size();
    look.ids = std::move(ids);
    look.prompt = prompt;
    for (const Numbers& gate : gates_) look.trol_gate.push_back(first_rows(gate, gated_));
    look.attention = std::move(attention_);
    if (c_.phantom.on)
      look.ghosts = {first_rows(half_weight_, rows),
                     value_head_.numbers(true),
                     first_rows(value_row_.numbers(true), rows),
                     output_head_.numbers(true),
                     first_rows(output_row_.numbers(true), rows),
                     score_.numbers(false)};
    return look;
  }

 private:
  size_t layers() const { return size_t(c_.layers); }
  static bool wanted(Note name) {
    constexpr Note used[] = {Note::q,  Note::v,  Note::q_ghost, Note::v_ghost,
                             Note::o1, Note::o2, Note::gate};
    return std::ranges::count(used, name) > 0;
  }

  void add_ghosts(size_t layer) {
    const Tensor &gate = held_[Note::gate], &v_ghost = held_[Note::v_ghost], &o1 = held_[Note::o1],
                 &o2 = held_[Note::o2];
    const double eta = etas_[layer];
    for (int r = 0; r < gate.rows; ++r)
      for (int h = 0; h < c_.heads; ++h)
        half_weight_.at(layer, size_t(first_ + r), size_t(h)) = gate.row(r)[h];
    add_squares([&](int r, int i) { return eta * double(v_ghost.row(r)[i]); }, held_[Note::v],
                layer, first_, value_head_, value_row_);
    add_squares([&](int r, int i) { return double(o2.row(r)[i]) - double(o1.row(r)[i]); }, o1,
                layer, first_, output_head_, output_row_);
  }

  // The last row's softmax((q.k + eta^2 gq.gk) / sqrt(d)) over the cached rows and itself.
  void add_attention(size_t layer) {
    const Tensor& q = held_[Note::q];
    const size_t keys = size_t(first_ + q.rows), heads = size_t(c_.heads);
    Numbers& to = attention_.back();
    if (layer == 0) to = Numbers({layers(), heads_ ? heads : 1, keys});
    std::vector<double> scores(keys);
    for (size_t h = 0; h < heads; ++h) {
      score_row(layer, h, scores);
      const double top = *std::max_element(scores.begin(), scores.end());
      double sum = 0;
      for (double& s : scores) sum += s = std::exp(s - top);
      for (size_t j = 0; j < keys; ++j)
        to.at(layer, heads_ ? h : 0, j) += float(scores[j] / sum / (heads_ ? 1 : double(heads)));
    }
  }

  void score_row(size_t layer, size_t h, std::vector<double>& scores) {
    const Tensor &q = held_[Note::q], &gq = held_[Note::q_ghost];
    const size_t d = size_t(c_.head_dim), head = h * d;
    const PageShape& shape = sequence_.shape();
    const auto with_row = [&](const Tensor& x, CachePart part, size_t j) {  // the last one's
      const std::byte* block =
          sequence_.block(1, int(layer), part, int(h) / (c_.heads / c_.kv_heads), int(j));
      double sum = 0;
      for (size_t i = 0; i < d; ++i)
        sum += double(x.row(x.rows - 1)[head + i]) *
               double(shape.number(block, part, int(j) % page_rows, int(i)));
      return sum;
    };
    const double scale = 1 / std::sqrt(double(d)),
                 eta2 = c_.phantom.on ? etas_[layer] * etas_[layer] : 0;
    for (size_t j = 0; j < scores.size(); ++j) {
      const double plain = with_row(q, CachePart::k, j);
      const double ghost = c_.phantom.on ? eta2 * with_row(gq, CachePart::ghost_k, j) : 0;
      score_.add(layer, h, std::abs(ghost), std::abs(plain));
      scores[j] = (plain + ghost) * scale;
    }
  }

  // [L, most, ...] to [L, rows, ...]
  static Numbers first_rows(const Numbers& from, size_t rows) {
    Numbers to({from.shape[0], rows, from.shape.size() > 2 ? from.shape[2] : 1});
    const size_t width = to.shape[2];
    for (size_t l = 0; l < from.shape[0]; ++l)
      std::copy_n(from.values.begin() + long(l * from.shape[1] * width), rows * width,
                  to.values.begin() + long(l * rows * width));
    to.shape.resize(from.shape.size());
    return to;
  }

  const Config& c_;
  Sequence& sequence_;
  size_t most_, gated_ = 0;  // rows at most; rows that traverse
  bool heads_, chooses_ = false;
  int first_ = 0, layer_ = 0;
  std::map<Note, Tensor> held_;  // notes of layer_ so far
  Numbers half_weight_;
  std::vector<Numbers> gates_, attention_;
  Ratios value_head_, value_row_, output_head_, output_row_, score_;
  std::vector<double> etas_;  // by layer
};

void check(const Model& model, const Request& request) {
  const GenerateOptions& options = request.options;
  check(options.sampling);
  if (request.ids.empty()) throw Error("look", "prompt", "at least one token", "none");
  if (options.max_new_tokens < 1)
    throw Error("look", "answer", "at least one token", std::to_string(options.max_new_tokens));
  if (options.beams > 1) throw Error("look", "beams", "one", std::to_string(options.beams));
  model.check_prompt("look", request.ids, request.features);
}

}  // namespace

Numbers::Numbers(std::vector<size_t> dimensions, float fill) : shape(std::move(dimensions)) {
  size_t count = 1;
  for (const size_t n : shape) count *= n;
  values.assign(count, fill);
}

size_t Numbers::index(size_t i, size_t j, size_t k) const {
  return shape.size() < 3 ? i * shape[1] + j : (i * shape[1] + j) * shape[2] + k;
}

struct Looking::State {
  State(const Model& model, Request request, bool heads)
      : prompt(int(request.ids.size())),
        stop_ids(request.options.stop_ids),
        session(model, request.salt),
        watcher(model.native(), session.sequence(), prompt + request.options.max_new_tokens, heads),
        running(model, with_session(std::move(request), session)) {
    running.begin();
  }
  static Request with_session(Request request, Session& session) {
    CHECK(!request.session);
    request.session = &session;
    return request;
  }

  int prompt;
  std::vector<int> stop_ids;
  Session session;
  Watcher watcher;
  Running running;
  bool told = false;  // the answer is whole; its last token has no row yet
};

Looking::Looking(const Model& model, Request request, bool heads) {
  check(model, request);
  state_ = std::make_unique<State>(model, std::move(request), heads);
}

Looking::~Looking() = default;

void Looking::cancel() {
  if (!state_->told && !state_->running.done()) state_->running.cancel();
}

size_t Looking::wanted_bytes() const { return state_->running.wanted_bytes(); }

bool Looking::step(int most) {
  State& s = *state_;
  if (s.running.done() && !s.told) {
    s.told = true;
    made_ = std::move(s.running).result();
    if (made_.failure || made_.finish_reason == Finish::cancelled) return false;
    s.session.put(made_.ids.back());  // the last token, too, has a row
  }
  const Plan plan = s.session.plan(most);
  if (plan.rows == 0) return false;
  const Entry entry{&s.session, plan.rows, &s.watcher};
  s.watcher.expect(plan.begin, plan.last && !s.told);
  Computed computed;
  try {
    computed = compute_rows(std::span(&entry, 1));
  } catch (const std::bad_alloc&) {
    computed.of = {{.failure = no_memory()}};
  }
  s.watcher.finish_layer();
  const Computed::Of& of = computed.of[0];
  if (s.told) {
    made_.failure = of.failure;
    return false;
  }
  if (of.failure)
    s.running.fail(*of.failure);
  else if (of.logits >= 0)
    s.running.take(computed, of.logits);
  return true;
}

Look Looking::look() {
  State& s = *state_;
  std::vector<int> all(s.session.ids().begin(), s.session.ids().begin() + s.prompt);
  all.insert(all.end(), made_.ids.begin(), made_.ids.end());
  Look seen = s.watcher.result(std::move(all), s.prompt);
  seen.stopped = std::count(s.stop_ids.begin(), s.stop_ids.end(), made_.ids.back()) > 0;
  return seen;
}

Look look(const Model& model, std::span<const int> ids, const Tensor& features,
          const LookOptions& options) {
  Request request{
      .session = nullptr, .ids = {ids.begin(), ids.end()}, .features = features, .options = {}};
  request.options.sampling = options.sampling;
  request.options.max_new_tokens = options.max_new_tokens;
  request.options.stop_ids = options.stop_ids;
  Looking looking(model, std::move(request), options.heads);
  while (looking.step()) continue;
  if (looking.made().failure) throw *looking.made().failure;
  return looking.look();
}

}  // namespace revenant
