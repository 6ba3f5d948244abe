#include "train/executor.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <numeric>
#include <optional>
#include <set>

#include "train/adapters.h"
#include "train/device.h"
#include "train/product.h"
#include "train/recompute.h"

namespace revenant {
namespace {

constexpr int kLikeLength = 12;  // rows that lengths in a group may differ by

// On the CPU in float32 under autocast too: torch's bf16 attention sets up a oneDNN product anew
// for every head and block, which at small sizes takes longer than the products.
torch::Tensor attention(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                        bool causal, const torch::Tensor& mask = {},
                        std::optional<double> scale = {}) {
  std::optional<torch::Tensor> looks;
  if (mask.defined()) looks = mask.to(q.is_cpu() ? mask.scalar_type() : q.scalar_type());
  if (!q.is_cpu()) return at::scaled_dot_product_attention(q, k, v, looks, 0.0, causal, scale);
  const NoAutocast no_autocast;
  const auto wide = [](const torch::Tensor& x) {
    return x.scalar_type() == torch::kBFloat16 ? x.to(torch::kFloat32) : x;
  };
  return at::scaled_dot_product_attention(wide(q), wide(k), wide(v), looks, 0.0, causal, scale);
}

// Spans that hang together, one after the other.
struct Packed {
  int first_span, spans, first_row, rows;
};

std::vector<Packed> sequences_of(const Step& step) {
  std::vector<Packed> all;
  for (size_t s = 0; s < step.spans.size(); ++s) {
    const Span& span = step.spans[s];
    if (span.parent < 0)
      all.push_back({int(s), 0, span.first_row, 0});
    else
      CHECK(span.parent < int(s) && !all.empty() && span.parent >= all.back().first_span);
    ++all.back().spans;
    all.back().rows += span.rows;
  }
  return all;
}

// What the rows of branches see: their span's rows before them, and those of its parents. Padding
// sees itself. Undefined where no sequence has branches.
torch::Tensor mask_of(const Step& step, const std::vector<Packed>& sequences, int longest,
                      torch::TensorOptions options) {
  if (std::ranges::all_of(sequences, [](const Packed& s) { return s.spans == 1; })) return {};
  const float never = -std::numeric_limits<float>::infinity();
  const torch::Tensor mask = torch::full({int64_t(sequences.size()), 1, longest, longest}, never);
  auto* row = mask.data_ptr<float>();
  for (const Packed& s : sequences) {
    float* const begin = row;
    for (int at = s.first_span; at < s.first_span + s.spans; ++at) {
      const Span& own = step.spans[size_t(at)];
      for (int i = 0; i < own.rows; ++i, row += longest) {
        std::fill_n(row + own.first_row - s.first_row, i + 1, 0.0f);
        for (int above = own.parent; above >= 0; above = step.spans[size_t(above)].parent) {
          const Span& other = step.spans[size_t(above)];
          std::fill_n(row + other.first_row - s.first_row, other.rows, 0.0f);
        }
      }
    }
    for (int i = s.rows; i < longest; ++i, row += longest) row[i] = 0;
    CHECK(row == begin + size_t(longest) * size_t(longest));
  }
  return mask.to(options);
}

// Branches that stand before a span and are none of its parents are not seen.
AttentionSpan attention_span(const Step& step, const Packed& s) {
  AttentionSpan out{s.first_row, s.rows, /*causal=*/true};
  for (int at = s.first_span + 1; at < s.first_span + s.spans; ++at) {
    const Span& own = step.spans[size_t(at)];
    std::set<int> parents;
    for (int above = own.parent; above >= 0; above = step.spans[size_t(above)].parent)
      parents.insert(above);
    AttentionSpan::Branch branch{own.first_row - s.first_row,
                                 own.first_row - s.first_row + own.rows};
    for (int other = s.first_span; other < at; ++other) {
      const Span& before = step.spans[size_t(other)];
      const int64_t begin = before.first_row - s.first_row;
      if (!parents.contains(other)) branch.unseen.emplace_back(begin, begin + before.rows);
    }
    out.branches.push_back(std::move(branch));
  }
  return out;
}

}  // namespace

TorchRows::TorchRows(const Config& c, const Step& step, torch::TensorOptions options,
                     const torch::Tensor& asked_rows) {
  const RopeRows rope = rope_rows(c.rope, c.head_dim, step);
  cos = torch::tensor(rope.cos).view({step.rows, 1, c.head_dim / 2}).to(options);
  sin = torch::tensor(rope.sin).view({step.rows, 1, c.head_dim / 2}).to(options);

  const std::vector<Packed> sequences = sequences_of(step);
  std::vector<int> order(sequences.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, {}, [&](int s) { return sequences[size_t(s)].rows; });

  std::vector<int64_t> first_rows, row_of_place;
  std::vector<int64_t> place_of_row(size_t(step.rows)), picture_rows;
  std::vector<float> traverse_rows(size_t(step.rows), 0.0f);
  std::vector<AttentionSpan> unpadded_spans;
  for (const Packed& s : sequences) {
    first_rows.push_back(s.first_row);
    unpadded_spans.push_back(attention_span(step, s));
  }
  spans = std::make_shared<const std::vector<AttentionSpan>>(std::move(unpadded_spans));
  for (const Span& s : step.spans)
    for (int i = 0; i < s.rows; ++i)
      traverse_rows[size_t(s.first_row + i)] = traverses(c.trol, s, i);
  for (size_t begin = 0, end; begin < order.size(); begin = end) {
    const auto rows = [&](size_t at) { return sequences[size_t(order[at])].rows; };
    const int most = rows(begin) + kLikeLength;
    for (end = begin; end < order.size() && rows(end) <= most;) ++end;
    const int longest = rows(end - 1);
    std::vector<Packed> members;
    for (size_t at = begin; at < end; ++at) {
      const Packed& s = members.emplace_back(sequences[size_t(order[at])]);
      for (int i = 0; i < longest; ++i) {
        if (i < s.rows) place_of_row[size_t(s.first_row + i)] = int64_t(row_of_place.size());
        row_of_place.push_back(s.first_row + std::min(i, s.rows - 1));
      }
    }
    groups.push_back({int64_t(members.size()), longest, mask_of(step, members, longest, options)});
  }
  for (int r = 0; r < step.rows; ++r)
    if (step.picture[size_t(r)]) picture_rows.push_back(r);
  const torch::Device device = options.device();
  first = indices(first_rows, device);
  padded = indices(row_of_place, device);
  unpadded = indices(place_of_row, device);
  pictures = indices(picture_rows, device);
  traversing = torch::tensor(traverse_rows).view({-1, 1}).to(options);
  if (!asked_rows.defined()) return;
  const auto own = std::make_shared<TorchRows>();
  const torch::Tensor picture =
      torch::tensor(std::vector<int64_t>(step.picture.begin(), step.picture.end())).to(device);
  own->pictures = torch::nonzero(picture.index_select(0, asked_rows)).view(-1);
  asked = {asked_rows, own};
}

namespace {

torch::Tensor product(const torch::Tensor& x, const TorchWeight& w,
                      const torch::Tensor& bias = {}) {
  if (w.in_float32) {
    const NoAutocast no_autocast;
    return torch::linear(x.to(w.tensor.scalar_type()), w.tensor, bias);
  }
  if (!w.quantized.stored) return linear_rows(x, w.tensor, bias);
  const torch::Tensor y = times(x, w.quantized);
  return bias.defined() ? y + bias.to(y.scalar_type()) : y;
}

}  // namespace

torch::Tensor TorchExecutor::linear(const Linear<Weight>& w, const Tensor& x, const Step*) {
  Tensor y = product(x, w.weight, w.bias.tensor);
  if (w.weight.a.defined()) {
    const bool drops = w.weight.dropout > 0 && dropout_seed_ != 0;
    const Tensor kept =
        drops ? x * dropout_mask(dropout_seed_ += 2, x.sizes(), w.weight.dropout, x.options()) : x;
    y = y + linear_rows(linear_rows(kept, w.weight.a) * w.weight.scale, w.weight.b);
  }
  const bool branches = w.lora_a.tensor.defined() || w.lora_a.quantized.stored;
  if (!branches || rows_->pictures.numel() == 0) return y;
  const Tensor low = product(x.index_select(0, rows_->pictures), w.lora_a);
  return y.index_add(0, rows_->pictures, product(low, w.lora_b));
}

// Pass 1 sets the layer's anchor, which later passes get.
torch::Tensor TorchExecutor::forgotten(int layer, const Tensor& x, const Computed& part) {
  const auto as_list = [](const Anchors<Tensor>& a) {
    return std::vector{a.q.k, a.q.v, a.k.k, a.k.v, a.v.k, a.v.v};
  };
  const auto as_anchors = [](const std::vector<Tensor>& list) {  // behind x
    return Anchors<Tensor>{{list[1], list[2]}, {list[3], list[4]}, {list[5], list[6]}};
  };
  const bool anchored = anchors_.contains(layer);
  std::vector<Tensor> inputs = {x};
  if (anchored) std::ranges::copy(as_list(anchors_.at(layer)), std::back_inserter(inputs));
  const auto computation = [this, &c = c_, rows = rows_, seed = dropout_seed_, layer, part,
                            anchored, as_list,
                            as_anchors](const std::vector<Tensor>& in, bool again) {
    TorchExecutor e(c, rows, again ? nullptr : observer_, seed);
    if (anchored) e.anchors_[layer] = as_anchors(in);
    std::vector<Tensor> out = {part(e, in[0])};
    if (!anchored && e.anchors_.contains(layer))
      std::ranges::copy(as_list(e.anchors_.at(layer)), std::back_inserter(out));
    if (!again) dropout_seed_ = e.dropout_seed_;  // the first time: `this` is there
    return out;
  };
  const std::vector<Tensor> made = recomputed(computation, inputs);
  if (made.size() > 1) anchors_[layer] = as_anchors(made);
  return made[0];
}

std::vector<torch::Tensor> TorchExecutor::pad(const Tensor& x) {
  std::vector<int64_t> places;
  for (const TorchRows::Group& g : rows_->groups) places.push_back(g.sequences * g.longest);
  std::vector<Tensor> groups = x.index_select(0, rows_->padded).split_with_sizes(places);
  for (size_t i = 0; i < groups.size(); ++i) {
    const TorchRows::Group& g = rows_->groups[i];
    groups[i] = groups[i].view({g.sequences, g.longest, x.size(1), x.size(2)});
  }
  return groups;
}

torch::Tensor TorchExecutor::unpad(const std::vector<Tensor>& groups) {
  std::vector<Tensor> places;
  for (const Tensor& g : groups) places.push_back(g.reshape({-1, g.size(-2), g.size(-1)}));
  return torch::cat(places).index_select(0, rows_->unpadded);
}

// Concatenating [q, eta gq], [k, eta gk], [v, gv] gives P v and P gv in one attention, whose
// products may be bf16: v + eta gv would be v there at the released eta.
torch::Tensor TorchExecutor::attend_padded(const Haunted<Tensor>& a, double scale) {
  const int64_t group = a.plain.q.size(1) / a.plain.k.size(1);
  const auto joined = [&](const Tensor& x, const Tensor& ghost) {
    return pad(a.has_ghost ? torch::cat({x, ghost}, -1) : x);
  };
  const auto by_head = [&](const Tensor& x) { return x.transpose(1, 2); };
  const auto repeated = [&](const Tensor& x) {
    return group == 1 ? by_head(x) : by_head(x).repeat_interleave(group, 1);
  };
  const auto q = joined(a.plain.q, a.ghost.q), k = joined(a.plain.k, a.ghost.k),
             v = joined(a.plain.v, a.ghost.v);
  std::vector<Tensor> outputs;
  for (size_t i = 0; i < q.size(); ++i)
    outputs.push_back(attention(by_head(q[i]), repeated(k[i]), repeated(v[i]),
                                !rows_->groups[i].mask.defined(), rows_->groups[i].mask, scale)
                          .transpose(1, 2));
  return unpad(outputs);
}

Halves<torch::Tensor> TorchExecutor::attend(Site, const Haunted<Tensor>& a, const Step&,
                                            const Eta& eta, const Part* part) {
  const int64_t d = a.plain.q.size(2);
  const double scale = 1 / std::sqrt(double(d));
  Haunted<Tensor> loud = a;
  if (a.has_ghost) loud.ghost = {eta.times(a.ghost.q), eta.times(a.ghost.k), a.ghost.v};
  Halves<Tensor> o;
  if (Autocast::in_products_alone())
    o = attend_rows(loud, rows_->spans, scale);
  else if (const Tensor all = attend_padded(loud, scale); a.has_ghost)
    o = {all.slice(-1, 0, d), all.slice(-1, d)};
  else
    o.plain = all;
  if (part) o.plain = take(o.plain, part->rows);
  if (!a.has_ghost) return o;
  if (part) o.ghost = take(o.ghost, part->rows);
  const NoAutocast no_autocast;
  const Tensor plain = o.plain.to(a.ghost.v.scalar_type());
  return {plain, plain + eta.times(o.ghost.to(plain.scalar_type()))};
}

torch::Tensor TorchExecutor::attend_tile(const Qkv<Tensor>& a, int tokens, const Linear<Weight>&) {
  if (Autocast::in_products_alone()) {
    std::vector<AttentionSpan> spans;
    for (int64_t row = 0; row < a.q.size(0); row += tokens)
      spans.push_back({row, tokens, /*causal=*/false});
    return attend_rows({a, {}}, std::make_shared<const std::vector<AttentionSpan>>(spans),
                       1 / std::sqrt(double(a.q.size(2))))
        .plain;
  }
  const auto tiles = [&](const Tensor& x) {
    return x.view({-1, tokens, x.size(1), x.size(2)}).transpose(1, 2);
  };
  const Tensor o = attention(tiles(a.q), tiles(a.k), tiles(a.v), false);
  return o.transpose(1, 2).reshape(a.q.sizes());
}

torch::Tensor TorchExecutor::patches(const Tensor& pixels, int tiles, int side, int patch) {
  const int grid = side / patch;
  return pixels.view({tiles, 3, grid, patch, grid, patch})
      .permute({0, 2, 4, 1, 3, 5})
      .reshape({int64_t(tiles) * grid * grid, 3 * patch * patch});
}

torch::Tensor TorchExecutor::with_class(const Tensor& x, const Tensor& token, int tiles) {
  const Tensor rows = x.view({tiles, -1, x.size(-1)});
  return torch::cat({token.view({1, 1, -1}).expand({tiles, 1, -1}), rows}, 1)
      .reshape({-1, x.size(-1)});
}

torch::Tensor TorchExecutor::shuffle(const Tensor& x, int grid, int factor) {
  if (factor == 1) return x;
  const int64_t width = x.size(-1), side = grid / factor;
  return x.view({-1, grid, grid, width})
      .narrow(1, 0, side * factor)  // as the native executor: what fills no square is left out
      .narrow(2, 0, side * factor)
      .reshape({-1, side, factor, side, factor, width})
      .permute({0, 1, 3, 2, 4, 5})
      .reshape({-1, factor * factor * width});
}

}  // namespace revenant
