// Faults planted from outside the product: each must push the golden comparison out of bounds, or
// the goldens prove nothing.
#include "model/decoder.h"
#include "model/tower.h"
#include "support/cases.h"

namespace revenant {
namespace {

struct Planted {
  Config config;
  Weights<Matrix> weights;
};

Threads& threads() {
  static Threads pool(1);
  return pool;
}

Tensor features_of(const Case& c) {
  return see(native_of(c, threads()), c.pixels("vision"), c.tiles("vision"), c.side("vision"));
}

// The prompt in one piece, then the golden tokens one by one, through an executor of type E.
// Without steps the logits of all prompt rows, otherwise of the last row of each forward.
template <class E>
std::vector<float> logits_after(const Case& c, const Planted& p, int steps) {
  Sequence sequence(p.config);
  Sequence* const sequences[] = {&sequence};
  Ids ids = c.ids("prefill/input_ids");
  const Ids told = c.ids("gen/tokens");
  const Tensor features = features_of(c);
  std::vector<float> all;
  for (int t = 0; t <= steps; ++t) {
    Step step;
    step.add(0, sequence.rows, int(ids.size()), sequence.rows + int(ids.size()), t == 0,
             c.pictures(ids));
    E e(p.config, kernels(), threads(), sequences);
    const Tensor x = embed_prompt(e, p.weights, ids, t == 0 ? &features : nullptr, step);
    const Tensor y = e.linear(p.weights.output, decode(e, p.config, p.weights, x, step));
    sequence.rows += int(ids.size());
    const float* from = steps == 0 ? y.row(0) : y.row(y.rows - 1);
    all.insert(all.end(), from, y.row(y.rows - 1) + y.row_size());
    if (t < steps) ids = {told[size_t(t)]};
  }
  return all;
}

template <class E = Executor>
double prompt_misfit(const Case& c, const Planted& p) {
  return misfit(logits_after<E>(c, p, 0).data(), c.golden.f32("prefill/logits"));
}

template <class E = Executor>
double decode_misfit(const Case& c, const Planted& p) {
  const auto values = logits_after<E>(c, p, 8);
  return misfit(values.data(), c.golden.f32("gen/logits"), 0, values.size());
}

// Calls test(case, a copy of its model to harm) for each case of the mechanism.
template <class F>
void for_each_phantom(const F& test) {
  for_each_case("prefill/layer.0.q_phantom", [&](const Case& c) {
    test(c, Planted{c.config(), c.network->weights});
  });
}
template <class F>
void for_each_trol(const F& test) {
  for_each_case("prefill/layer.0.pass2", [&](const Case& c) {
    test(c, Planted{c.config(), c.network->weights});
  });
}

TEST(Faults, NoneFitsEveryCase) {
  for_each_case("gen/logits", [](const Case& c) {
    const Planted p{c.config(), c.network->weights};
    EXPECT_LE(prompt_misfit(c, p), 1);
    EXPECT_LE(decode_misfit(c, p), 1);
  });
}

TEST(Faults, PhantomOff) {
  for_each_phantom([](const Case& c, Planted p) {
    p.config.phantom.on = false;
    EXPECT_GT(prompt_misfit(c, p), 10);
  });
}

TEST(Faults, EtaTenTimesLarger) {
  for_each_phantom([](const Case& c, Planted p) {
    p.config.phantom.eta *= 10;
    EXPECT_GT(prompt_misfit(c, p), 10);
  });
}

TEST(Faults, GatesSwapped) {
  for_each_phantom([](const Case& c, Planted p) {
    for (auto& layer : p.weights.layers)
      std::swap(layer.attention.phantom.gate1, layer.attention.phantom.gate2);
    EXPECT_GT(prompt_misfit(c, p), 10);
  });
}

// Every row looks at its own heads instead of the first row's.
struct OwnHeads : Executor {
  using Executor::Executor;
  Qkv<Tensor> anchor(Site, const Qkv<Tensor>& a, const Step&) { return a; }
  Tensor attend_heads(const Tensor& q, const Tensor& k, const Tensor& v, const Step&) {
    Step rows;
    for (int r = 0; r < q.rows; ++r) rows.add(0, 0, 1, 1, true);
    return Executor::attend_heads(q, k, v, rows);
  }
};

TEST(Faults, OwnHeadsInsteadOfTheFirstRows) {
  for_each_phantom(
      [](const Case& c, const Planted& p) { EXPECT_GT(prompt_misfit<OwnHeads>(c, p), 10); });
}

// Cached rows lose their ghosts before a decoding step reads them.
struct GhostsNotCached : Executor {
  using Executor::Executor;
  Halves<Tensor> attend(Site site, const Haunted<Tensor>& a, const Step& step, float eta) {
    for (const Span& span : step.spans) {
      Stream& stream = sequence_of(span).stream(site.layer, site.pass);
      const size_t cached = size_t(span.start) * a.plain.k.row_size();
      std::fill_n(stream.ghost_k.data(), cached, 0.0f);
      std::fill_n(stream.ghost_v.data(), cached, 0.0f);
    }
    return Executor::attend(site, a, step, eta);
  }
};

TEST(Faults, GhostsNotCachedForDecoding) {
  for_each_phantom([](const Case& c, const Planted& p) {
    EXPECT_LE(prompt_misfit<GhostsNotCached>(c, p), 1);  // the prompt does not notice
    EXPECT_GT(decode_misfit<GhostsNotCached>(c, p), 10);
  });
}

TEST(Faults, SecondPassSkipped) {
  for_each_trol([](const Case& c, Planted p) {
    p.config.trol.passes = 1;
    EXPECT_GT(prompt_misfit(c, p), 10);
  });
}

// The second pass writes where generation reads.
struct SecondPassInFirstStream : Executor {
  using Executor::Executor;
  Halves<Tensor> attend(Site site, const Haunted<Tensor>& a, const Step& step, float eta) {
    return Executor::attend({site.layer, 1}, a, step, eta);
  }
};

TEST(Faults, SecondPassWrittenToTheFirstStream) {
  for_each_trol([](const Case& c, const Planted& p) {
    EXPECT_GT(decode_misfit<SecondPassInFirstStream>(c, p), 10);
  });
}

TEST(Faults, GateUntied) {
  for_each_trol([](const Case& c, Planted p) {
    auto bias = std::make_shared<std::vector<float>>(*p.weights.layers[0].trol_gate.bias.values);
    bias->front() += 1;
    p.weights.layers[0].trol_gate.bias.values = bias;
    EXPECT_GT(prompt_misfit(c, p), 10);
  });
}

// The picture's low-rank branch on every row.
struct LoraEverywhere : Executor {
  using Executor::Executor;
  Tensor linear(const Linear<Matrix>& w, const Tensor& x, const Step* step = nullptr) {
    if (!step) return Executor::linear(w, x);
    Step all = *step;
    all.picture.assign(all.picture.size(), 1);
    return Executor::linear(w, x, &all);
  }
  Qkv<Tensor> qkv(const AttentionWeights<Matrix>& w, const Tensor& x, int d, const Step* step) {
    return {heads(linear(w.q, x, step), d), heads(linear(w.k, x, step), d),
            heads(linear(w.v, x, step), d)};
  }
};

TEST(Faults, PictureBranchOnTextRows) {
  for_each_trol([](const Case& c, const Planted& p) {
    if (p.config.image_lora_rank == 0) return;
    EXPECT_GT(prompt_misfit<LoraEverywhere>(c, p), 10);
  });
}

TEST(Faults, QueriesOfFusedTensorReadInPlainOrder) {
  for_each_case("prefill/logits", [](const Case& c) {
    Planted p{c.config(), c.network->weights};
    if (p.config.backbone != Backbone::internlm2 || p.config.kv_heads == 1) return;
    for (auto& layer : p.weights.layers) {
      Matrix& q = layer.attention.q.weight;
      q.map = {0, q.rows, 0};
    }
    EXPECT_GT(prompt_misfit(c, p), 10);
  });
}

TEST(Faults, LongAndShortRotaryFactorsSwapped) {
  for_each_case("prefill/logits", [](const Case& c) {
    Planted p{c.config(), c.network->weights};
    if (p.config.rope.kind != RopeConfig::su) return;
    std::swap(p.config.rope.long_factors, p.config.rope.short_factors);
    EXPECT_GT(prompt_misfit(c, p), 10);
  });
}

}  // namespace
}  // namespace revenant
