// What `look` gathers against the authors' intermediates, every case that the folder has.
#include "engine/look.h"
#include "engine/generate.h"
#include "support/cases.h"

namespace revenant {
namespace {

const Model& model_of(const Case& c) {
  static std::map<std::string, std::unique_ptr<Model>> open;
  auto& model = open[c.name];
  if (!model)
    model = std::make_unique<Model>(golden::conformance_root() / c.name,
                                    ModelOptions{golden_settings(c.notes), 2, Format::f32});
  return *model;
}

Look look_at(const Case& c, int tokens, bool heads = true) {
  const Tensor features =
      see(model_of(c).native(), c.pixels("vision"), c.tiles("vision"), c.side("vision"));
  return look(model_of(c), c.ids("prefill/input_ids"), features, {{}, tokens, {}, heads});
}

std::string layer_name(size_t layer, const char* name) {
  return "prefill/layer." + std::to_string(layer) + "." + name;
}

// Golden rows of one layer: [row][head][width].
struct Rows {
  std::vector<float> values;
  size_t heads, width;
  const float* at(size_t row, size_t head) const {
    return values.data() + (row * heads + head) * width;
  }
  size_t count() const { return values.size() / heads / width; }
};
Rows rows_of(const Case& c, size_t layer, const char* name) {
  const std::string full = layer_name(layer, name);
  const auto& shape = c.golden.shape(full);
  return {c.golden.f32(full), size_t(shape.at(2)), size_t(shape.at(3))};
}

// The goldens store v* = v + eta gv; this is eta gv.
Rows ghost_values(const Case& c, size_t layer) {
  Rows ghost = rows_of(c, layer, "v_phantom");
  const Rows v = rows_of(c, layer, "v");
  for (size_t i = 0; i < v.values.size(); ++i) ghost.values[i] -= v.values[i];
  return ghost;
}

double product(const float* a, const float* b, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += double(a[i]) * double(b[i]);
  return sum;
}

// sum_j P[j] v[j] of one layer and head, P of the row that chose answer token 0.
std::vector<float> weighted(const Look& seen, size_t layer, size_t head, size_t heads,
                            const Rows& v) {
  std::vector<float> out(v.width);
  for (size_t j = 0; j < v.count(); ++j)
    for (size_t i = 0; i < v.width; ++i)
      out[i] += seen.attention[0].at(layer, head, j) * v.at(j, head / (heads / v.heads))[i];
  return out;
}

TEST(Look, AnswersWithTheGoldenTokens) {
  for_each_case("gen/tokens", [](const Case& c) {
    const Ids expected = c.ids("gen/tokens");
    const Look seen = look_at(c, int(expected.size()));
    EXPECT_EQ(Ids(seen.ids.begin() + seen.prompt, seen.ids.end()), expected);
  });
}

// An answer's last token, which chooses nothing, has the row that it has in a longer answer.
TEST(Look, TheLastTokensRowIsItsOwn) {
  for_each_case("prefill/layer.0.o2", [](const Case& c) {
    const Look seen = look_at(c, 3), longer = look_at(c, 4);
    ASSERT_EQ(Ids(longer.ids.begin(), longer.ids.end() - 1), seen.ids);
    ASSERT_NE(seen.ids.back(), seen.ids[size_t(seen.prompt)]);
    for (size_t l = 0; l < size_t(c.config().layers); ++l)
      for (size_t r = 0; r < seen.ids.size(); ++r)
        EXPECT_EQ(seen.ghosts.value_by_row.at(l, r), longer.ghosts.value_by_row.at(l, r)) << r;
  });
}

TEST(Look, StopsAtAStopToken) {
  for_each_case("gen_stop/tokens", [](const Case& c) {
    const Tensor features =
        see(model_of(c).native(), c.pixels("vision"), c.tiles("vision"), c.side("vision"));
    const Look seen = look(model_of(c), c.ids("prefill/input_ids"), features,
                           {{}, 100, c.ids("gen_stop/stop_id"), false});
    EXPECT_EQ(Ids(seen.ids.begin() + seen.prompt, seen.ids.end()), c.ids("gen_stop/tokens"));
    EXPECT_TRUE(seen.stopped);
    EXPECT_EQ(seen.attention.size(), seen.ids.size() - size_t(seen.prompt));
  });
}

TEST(Look, GatesEqualTheGoldens) {
  for_each_case("prefill/layer.0.gate", [](const Case& c) {
    const Look seen = look_at(c, 2);
    const size_t prompt = size_t(seen.prompt);
    for (size_t l = 0; l < size_t(c.config().layers); ++l) {
      const auto expected = c.golden.f32(layer_name(l, "gate"));
      const Numbers& gate = c.config().trol.on ? seen.trol_gate.at(0) : seen.ghosts.half_weight;
      const size_t per_layer = gate.values.size() / gate.shape[0];
      EXPECT_GE(per_layer, expected.size());
      EXPECT_LE(misfit(gate.values.data() + l * per_layer, expected), 1) << l;
      EXPECT_EQ(gate.shape[1], c.config().trol.on ? prompt : prompt + 2);
    }
  });
}

TEST(Look, GhostSizesByRowEqualTheGoldens) {
  for_each_case("prefill/layer.0.o2", [](const Case& c) {
    const Look seen = look_at(c, 1);
    for (size_t l = 0; l < size_t(c.config().layers); ++l) {
      const Rows v = rows_of(c, l, "v"), ghost = ghost_values(c, l), o1 = rows_of(c, l, "o1"),
                 o2 = rows_of(c, l, "o2");
      for (size_t r = 0; r < v.count(); ++r) {
        const size_t n = v.heads * v.width, m = o1.heads * o1.width;
        const double value = std::sqrt(product(ghost.at(r, 0), ghost.at(r, 0), n) /
                                       product(v.at(r, 0), v.at(r, 0), n));
        double change = 0;
        for (size_t i = 0; i < m; ++i) change += std::pow(o2.at(r, 0)[i] - o1.at(r, 0)[i], 2);
        change = std::sqrt(change / product(o1.at(r, 0), o1.at(r, 0), m));
        EXPECT_NEAR(seen.ghosts.value_by_row.at(l, r), value, 1e-3 * value + 1e-6);
        EXPECT_NEAR(seen.ghosts.output_by_row.at(l, r), change, 1e-3 * change + 1e-6);
      }
    }
  });
}

// By head the sizes are those of the goldens' rows and of the one answer token that follows them.
TEST(Look, GhostSizesByHeadAreThoseOfTheirRows) {
  for_each_case("prefill/layer.0.o2", [](const Case& c) {
    const Look seen = look_at(c, 1);
    for (size_t l = 0; l < size_t(c.config().layers); ++l) {
      const Rows v = rows_of(c, l, "v"), ghost = ghost_values(c, l);
      for (size_t h = 0; h < v.heads; ++h) {
        double part = 0, whole = 0;
        for (size_t r = 0; r < v.count(); ++r) {
          part += product(ghost.at(r, h), ghost.at(r, h), v.width);
          whole += product(v.at(r, h), v.at(r, h), v.width);
        }
        const double expected = std::sqrt(part / whole);
        EXPECT_NEAR(seen.ghosts.value_by_head.at(l, h), expected, 0.15 * expected);
      }
    }
  });
}

TEST(Look, GhostScoresEqualTheGoldens) {
  for_each_case("prefill/layer.0.q_phantom", [](const Case& c) {
    const Look seen = look_at(c, 1);
    for (size_t l = 0; l < size_t(c.config().layers); ++l) {
      const Rows q = rows_of(c, l, "q"), k = rows_of(c, l, "k"), gq = rows_of(c, l, "q_phantom"),
                 gk = rows_of(c, l, "k_phantom");
      const size_t last = q.count() - 1, group = q.heads / k.heads;
      for (size_t h = 0; h < q.heads; ++h) {
        double part = 0, whole = 0;
        for (size_t j = 0; j < k.count(); ++j) {
          part += std::abs(product(gq.at(last, h), gk.at(j, h / group), q.width));
          whole += std::abs(product(q.at(last, h), k.at(j, h / group), q.width));
        }
        EXPECT_NEAR(seen.ghosts.score_by_head.at(l, h), part / whole, 1e-3 * part / whole);
      }
    }
  });
}

TEST(Look, AttentionRowsSumToOne) {
  for_each_case("gen/tokens", [](const Case& c) {
    const Look each = look_at(c, 5), mean = look_at(c, 5, false);
    ASSERT_EQ(each.attention.size(), 5u);
    for (size_t a = 0; a < 5; ++a) {
      const Numbers &of_heads = each.attention[a], &of_all = mean.attention[a];
      const size_t heads = size_t(c.config().heads), keys = size_t(each.prompt) + a;
      ASSERT_EQ(of_heads.shape, (std::vector<size_t>{size_t(c.config().layers), heads, keys}));
      ASSERT_EQ(of_all.shape, (std::vector<size_t>{size_t(c.config().layers), 1, keys}));
      for (size_t l = 0; l < of_heads.shape[0]; ++l) {
        for (size_t h = 0; h < heads; ++h) {
          double sum = 0;
          for (size_t j = 0; j < keys; ++j) sum += of_heads.at(l, h, j);
          EXPECT_NEAR(sum, 1, 1e-5);
        }
        for (size_t j = 0; j < keys; ++j) {
          double sum = 0;
          for (size_t h = 0; h < heads; ++h) sum += of_heads.at(l, h, j);
          EXPECT_NEAR(of_all.at(l, 0, j), sum / double(heads), 1e-6);
        }
      }
    }
  });
}

TEST(Look, AttentionTimesValuesIsTheGoldenOutput) {
  for_each_case("prefill/layer.0.o2", [](const Case& c) {
    const Look seen = look_at(c, 1);
    for (size_t l = 0; l < size_t(c.config().layers); ++l) {
      const Rows v = rows_of(c, l, "v"), ghost = ghost_values(c, l), o1 = rows_of(c, l, "o1"),
                 o2 = rows_of(c, l, "o2");
      for (size_t h = 0; h < o1.heads; ++h) {
        const auto plain = weighted(seen, l, h, o1.heads, v),
                   more = weighted(seen, l, h, o1.heads, ghost);
        for (size_t i = 0; i < o1.width; ++i) {
          const float *one = o1.at(o1.count() - 1, h), *two = o2.at(o2.count() - 1, h);
          EXPECT_NEAR(plain[i], one[i], 1e-4 + 1e-4 * std::abs(one[i]));
          EXPECT_NEAR(plain[i] + more[i], two[i], 2e-4 + 1e-4 * std::abs(two[i]));
        }
      }
    }
  });
}

// TroL's goldens have the cached values and what the output projection made of their mean.
TEST(Look, AttentionTimesCachedValuesIsTheFirstPass) {
  for_each_case("prefill/layer.0.cache_v", [](const Case& c) {
    const Look seen = look_at(c, 1);
    Threads threads(1);
    Executor e(c.config(), kernels(), threads);
    for (size_t l = 0; l < size_t(c.config().layers); ++l) {
      const Rows v = rows_of(c, l, "cache_v");
      std::vector<float> joined;
      for (size_t h = 0; h < size_t(c.config().heads); ++h)
        for (const float x : weighted(seen, l, h, size_t(c.config().heads), v)) joined.push_back(x);
      const Tensor out = e.linear(c.network->weights.layers[l].attention.o,
                                  Tensor::from(joined.data(), 1, int(joined.size())));
      const auto expected = c.golden.f32(layer_name(l, "attn_output_pass1"));
      EXPECT_LE(misfit(out.data(), expected, expected.size() - size_t(out.width)), 1) << l;
    }
  });
}

}  // namespace
}  // namespace revenant
