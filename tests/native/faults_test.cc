// Faults planted from outside the product: each must push the golden comparison out of bounds, or
// the goldens prove nothing.
#include "model/decoder.h"
#include "model/tower.h"
#include "support/cases.h"
#include "support/random_network.h"

namespace revenant {
namespace {

struct Planted {
  Config config;
  Weights<Weight> weights;
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
    reserve(p.config, step, sequences);
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
  const int told = int(c.golden.shape("gen/logits")[1]);
  const auto values = logits_after<E>(c, p, std::min(8, told - 1));
  return misfit(values.data(), c.golden.f32("gen/logits"), 0, values.size());
}

// Calls test(case, a copy of its model to harm) for each case of the mechanism that has `needed`.
template <class F>
void for_each_phantom(const F& test, const std::string& needed = "prefill/logits") {
  for_each_case(needed, [&](const Case& c) {
    if (c.config().phantom.on) test(c, Planted{c.config(), c.network->weights});
  });
}
template <class F>
void for_each_trol(const F& test, const std::string& needed = "prefill/logits") {
  for_each_case(needed, [&](const Case& c) {
    if (c.config().trol.on) test(c, Planted{c.config(), c.network->weights});
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
  Tensor mix(const Mixer<Weight>& m, const Tensor& x, const Seen<Tensor>*,
             const std::vector<bool>* quiet, const Step& step) {
    return Executor::mix(m, x, nullptr, quiet, step);
  }
};

TEST(Faults, OwnHeadsInsteadOfTheFirstRows) {
  for_each_phantom(
      [](const Case& c, const Planted& p) { EXPECT_GT(prompt_misfit<OwnHeads>(c, p), 10); });
}

// Cached rows lose their ghosts before a decoding step reads them.
struct GhostsNotCached : Executor {
  using Executor::Executor;
  Halves<Tensor> attend(Site site, const Haunted<Tensor>& a, const Step& step, float eta,
                        const Part* rows) {
    const std::vector<float> zeros(size_t(a.plain.k.width));
    for (const Span& span : step.spans) {
      for (const CachePart part : {CachePart::ghost_k, CachePart::ghost_v})
        for (int h = 0; h < a.plain.k.heads; ++h)
          for (int r = 0; r < span.start; ++r)
            kernels().remember(zeros.data(), zeros.size(), Format::f32, block_of(part),
                               size_t(r % page_rows),
                               sequence_of(span).block(site.pass, site.layer, part, h, r));
    }
    return Executor::attend(site, a, step, eta, rows);
  }
};

TEST(Faults, GhostsNotCachedForDecoding) {
  for_each_phantom(
      [](const Case& c, const Planted& p) {
        EXPECT_LE(prompt_misfit<GhostsNotCached>(c, p), 1);  // the prompt does not notice
        EXPECT_GT(decode_misfit<GhostsNotCached>(c, p), 10);
      },
      "gen/logits");
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
  Halves<Tensor> attend(Site site, const Haunted<Tensor>& a, const Step& step, float eta,
                        const Part* part) {
    return Executor::attend({site.layer, 1}, a, step, eta, part);
  }
};

TEST(Faults, SecondPassWrittenToTheFirstStream) {
  for_each_trol(
      [](const Case& c, const Planted& p) {
        EXPECT_GT(decode_misfit<SecondPassInFirstStream>(c, p), 10);
      },
      "gen/logits");
}

TEST(Faults, GateUntied) {
  for_each_trol([](const Case& c, Planted p) {
    auto bias =
        std::make_shared<std::vector<float>>(*p.weights.layers[0].trol_gate.bias.vector.values);
    bias->front() += 1;
    p.weights.layers[0].trol_gate.bias.vector.values = bias;
    EXPECT_GT(prompt_misfit(c, p), 10);
  });
}

// The picture's low-rank branch on every row.
struct LoraEverywhere : Executor {
  using Executor::Executor;
  Tensor linear(const Linear<Weight>& w, const Tensor& x, const Step* step = nullptr) {
    if (!step) return Executor::linear(w, x);
    Step all = *step;
    all.picture.assign(all.picture.size(), 1);
    return Executor::linear(w, x, &all);
  }
  Qkv<Tensor> qkv(const AttentionWeights<Weight>& w, const Tensor& x, int d, const Step* step) {
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
      Packed& q = layer.attention.q.weight.packed;
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

// Both passes mixed by a gate that looks at the second one's output.
struct GateFromSecondOutput : Executor {
  using Executor::Executor;
  static inline const Linear<Weight>* gate = nullptr;
  template <class F>
  Tensor lerp_where(const Tensor& x, const Tensor&, const Step&, bool, const F& pass) {
    const Tensor again = pass(static_cast<const Part*>(nullptr));
    return lerp(x, again, affine(tanh(linear(*gate, again)), 0.5f, 0.5f));
  }
};

TEST(Faults, GateReadFromTheSecondOutput) {
  for_each_trol([](const Case& c, const Planted& p) {
    GateFromSecondOutput::gate = &p.weights.layers[0].trol_gate;
    EXPECT_GT(prompt_misfit<GateFromSecondOutput>(c, p), 10);
  });
}

// q is rotated before k in every layer; k loses the factor on cos and sin.
struct KeysWithoutRopeFactor : Executor {
  using Executor::Executor;
  int calls = 0;
  Tensor rope(const Tensor& x, const Step& step) {
    const Tensor rotated = Executor::rope(x, step);
    return calls++ % 2 == 0 ? rotated : affine(rotated, 1 / factor, 0);
  }
  static inline float factor = 1;
};

TEST(Faults, RotaryFactorMissingOnKeys) {
  for_each_case("prefill/logits", [](const Case& c) {
    const Planted p{c.config(), c.network->weights};
    KeysWithoutRopeFactor::factor = rope_rule(p.config.rope, p.config.head_dim, 1).factor;
    if (KeysWithoutRopeFactor::factor == 1) return;
    EXPECT_GT(prompt_misfit<KeysWithoutRopeFactor>(c, p), 10);
  });
}

// The tower through an executor of type E.
template <class E>
double vision_misfit(const Case& c, const Planted& p) {
  E e(p.config, kernels(), threads());
  const std::vector<float> pixels = c.pixels("vision");
  const Tensor seen = see(e, p.config, p.weights, std::span<const float>(pixels), c.tiles("vision"),
                          c.side("vision"));
  return misfit(seen.data(), c.golden.f32("vision/projected"));
}

template <class F>
void for_each_clip(const F& test) {
  for_each_case("clip_pos/original", [&](const Case& c) {
    const Planted p{c.config(), c.network->weights};
    EXPECT_LE(vision_misfit<Executor>(c, p), 1);
    test(c, p);
  });
}

// The tower's final norm, which the released checkpoints carry and nothing uses.
struct ClipFinalNorm : Executor {
  using Executor::Executor;
  static inline Norm<Weight> norm;
  Tensor drop_class(const Tensor& x, int tiles) {
    return Executor::drop_class(layer_norm(x, norm), tiles);
  }
};

Weight vector_of(const std::vector<float>& values, int columns = 1) {
  return {{},
          {int(values.size()) / columns, columns, std::make_shared<std::vector<float>>(values)}};
}

TEST(Faults, ClipWithItsFinalNorm) {
  for_each_clip([](const Case& c, const Planted& p) {
    const std::string name = "vit.vision_tower.vision_model.post_layernorm.";
    ClipFinalNorm::norm = {vector_of(to_floats(c.network->files.unused(name + "weight"))),
                           vector_of(to_floats(c.network->files.unused(name + "bias"))), 1e-5};
    EXPECT_GT(vision_misfit<ClipFinalNorm>(c, p), 10);
  });
}

// The class token stays and the last patch goes.
struct ClassTokenKept : Executor {
  using Executor::Executor;
  Tensor drop_class(const Tensor& x, int tiles) {
    const int tokens = x.rows / tiles;
    std::vector<int> rows;
    for (int r = 0; r < x.rows; ++r)
      if (r % tokens != tokens - 1) rows.push_back(r);
    return take(x, rows);
  }
};

TEST(Faults, ClassTokenKept) {
  for_each_clip(
      [](const Case& c, const Planted& p) { EXPECT_GT(vision_misfit<ClassTokenKept>(c, p), 10); });
}

TEST(Faults, PositionTableUnresized) {
  for_each_clip([](const Case& c, Planted p) {
    std::vector<float> table = c.golden.f32("clip_pos/original");
    table.resize(c.golden.f32("clip_pos/resized").size());
    p.weights.tower.positions = vector_of(table, p.config.vision.hidden);
    EXPECT_GT(vision_misfit<Executor>(c, p), 10);
  });
}

// With both mechanisms the anchor is the first pass's (design.md); no golden case has both, so what
// the fault changes is measured against the sound executor, which the cross tests hold to torch.
struct AnchorFromEveryPass : Executor {
  using Executor::Executor;
  template <class F>
  Anchors<Tensor> anchor(Site site, const Qkv<Tensor>& a, const PhantomWeights<Weight>& w,
                         float eta, const Step& step, const F& make) {
    return Executor::anchor({site.layer, 1}, a, w, eta, step, make);
  }
};

TEST(Faults, AnchorTakenFromTheSecondPass) {
  const Config config = random_config({.phantom = true, .trol = true});
  const Weights<Weight> weights = random_weights(config, 5);
  Ids ids;
  for (int i = 0; i < 20; ++i) ids.push_back(i);
  const auto run = [&](auto executor_type) {
    Sequence sequence(config);
    Sequence* const sequences[] = {&sequence};
    Step step;
    step.add(0, 0, int(ids.size()), int(ids.size()), true);
    reserve(config, step, sequences);
    typename decltype(executor_type)::type e(config, kernels(), threads(), sequences);
    const Tensor x = embed_prompt(e, weights, ids, static_cast<const Tensor*>(nullptr), step);
    const Tensor y = e.linear(weights.output, decode(e, config, weights, x, step));
    return std::vector<float>(y.data(), y.data() + y.size());
  };
  const auto sound = run(std::type_identity<Executor>{});
  EXPECT_GT(misfit(run(std::type_identity<AnchorFromEveryPass>{}).data(), sound), 10);
}

}  // namespace
}  // namespace revenant
