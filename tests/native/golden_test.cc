// The native executor against the authors' numbers, every case that the folder has.
#include "model/phantom.h"
#include "model/resample.h"
#include "support/cases.h"

namespace revenant {
namespace {

// Keeps whatever the forward text notes, as "layer.3.q" or, for later passes, "layer.3.q@2".
struct Recorder : Observer {
  std::map<std::string, Tensor> seen;
  void note(Site site, Note name, const Tensor& value) override {
    const std::string pass = site.pass > 1 ? std::string("@") + std::to_string(site.pass) : "";
    seen["layer." + std::to_string(site.layer) + "." + std::string(name_of(name)) + pass] = value;
  }
};

Threads& threads() {
  static Threads pool(2);
  return pool;
}

struct Result {
  Tensor logits;
  std::map<std::string, Tensor> seen;
};

// A whole prompt; `rope_length` 0: its own length.
Result run(const Case& c, const Native& native, const Ids& ids, const Tensor* features,
           int rope_length = 0) {
  Recorder recorder;
  Native observed = native;
  observed.observer = &recorder;
  Sequence sequence(native.config);
  Sequence* const sequences[] = {&sequence};
  Step step;
  step.add(0, 0, int(ids.size()), rope_length ? rope_length : int(ids.size()), true,
           c.pictures(ids));
  const Tensor x = forward(observed, step, sequences, ids, features);
  return {logits(observed, x), std::move(recorder.seen)};
}

// The golden features where the case has them, so that each stage is held to the goldens by itself:
// the loud decoders turn a tower's rounding noise into most of a tolerance.
Tensor see_group(const Case& c, const std::string& group) {
  if (const std::string name = group + "/projected"; c.golden.has(name)) {
    const auto rows = c.golden.f32(name);
    const int width = c.config().hidden;
    return Tensor::from(rows.data(), int(rows.size()) / width, width);
  }
  return see(native_of(c, threads()), c.pixels(group), c.tiles(group), c.side(group));
}

TEST(Golden, Vision) {
  for_each_case("vision/projected", [](const Case& c) {
    Recorder recorder;
    const Tensor projected = see(native_of(c, threads(), &recorder), c.pixels("vision"),
                                 c.tiles("vision"), c.side("vision"));
    EXPECT_TRUE(matches(projected, c.golden, "vision/projected"));
    auto& seen = recorder.seen;
    EXPECT_TRUE(matches(seen["layer.0.embeddings"], c.golden, "vision/embeddings"));
    for (int i = 0; i < c.config().vision.layers; ++i) {
      const std::string layer = "layer." + std::to_string(i);
      EXPECT_TRUE(matches(seen[layer + ".tower_layer"], c.golden, "vision/" + layer));
    }
    for (const std::string name : {"pre_layernorm", "features", "shuffled"}) {
      if (!c.golden.has("vision/" + name)) continue;
      EXPECT_TRUE(matches(seen["layer.0." + name], c.golden, "vision/" + name));
    }
  });
}

TEST(Golden, VisionOnALargerGrid) {
  for_each_case("vision_interp/last", [](const Case& c) {
    Recorder recorder;
    see(native_of(c, threads(), &recorder), c.pixels("vision_interp"), c.tiles("vision_interp"),
        c.side("vision_interp"));
    auto& seen = recorder.seen;
    const std::string last = "layer." + std::to_string(c.config().vision.layers - 1);
    EXPECT_TRUE(matches(seen["layer.0.embeddings"], c.golden, "vision_interp/embeddings"));
    EXPECT_TRUE(matches(seen[last + ".tower_layer"], c.golden, "vision_interp/last"));
  });
}

// {name in the goldens, name in the forward text, is it a ghost}: ghosts are stored scaled.
struct Pair {
  const char *golden, *noted;
  bool ghost = false;
};
constexpr Pair phantom_pairs[] = {{"q", "q"},
                                  {"k", "k"},
                                  {"v", "v"},
                                  {"q_phantom", "q_ghost", true},
                                  {"k_phantom", "k_ghost", true},
                                  {"o1", "o1"},
                                  {"o2", "o2"},
                                  {"gate", "gate"},
                                  {"attn_output", "attn_output"},
                                  {"output", "output"}};
constexpr Pair trol_pairs[] = {{"pass1", "pass1"},
                               {"pass2", "pass2@2"},
                               {"attn_output_pass1", "attn_output"},
                               {"attn_output_pass2", "attn_output@2"},
                               {"gate", "trol_gate@2"},
                               {"cache_k", "k"},
                               {"cache_v", "v"},
                               {"output", "output"}};

template <size_t n>
void expect_layer(const Case& c, std::map<std::string, Tensor>& seen, const std::string& layer,
                  const Pair (&pairs)[n]) {
  for (const Pair& pair : pairs) {
    const std::string stored = "prefill/" + layer + pair.golden, noted = layer + pair.noted;
    EXPECT_TRUE(c.golden.has(stored)) << stored;
    EXPECT_TRUE(matches(seen[noted], c.golden, stored, pair.ghost ? c.config().phantom.eta : 1));
  }
}

// v* = v + eta y.
void expect_ghost_values(const Case& c, std::map<std::string, Tensor>& seen,
                         const std::string& layer) {
  const Tensor &v = seen[layer + "v"], &y = seen[layer + "v_ghost"];
  std::vector<float> sum;
  for (size_t i = 0; i < v.size(); ++i)
    sum.push_back(v.data()[i] + float(c.config().phantom.eta) * y.data()[i]);
  const Tensor both = Tensor::from(sum.data(), v.rows, int(v.row_size()));
  EXPECT_TRUE(matches(both, c.golden, "prefill/" + layer + "v_phantom"));
}

TEST(Golden, PrefillEveryLayer) {
  for_each_case("prefill/logits", [](const Case& c) {
    const Tensor features = see_group(c, "vision");
    Result r = run(c, native_of(c, threads()), c.ids("prefill/input_ids"), &features);
    EXPECT_TRUE(matches(r.seen["layer.0.inputs_embeds"], c.golden, "prefill/inputs_embeds"));
    for (int i = 0; i < c.config().layers; ++i) {
      const std::string layer = "layer." + std::to_string(i) + ".";
      if (c.config().phantom.on) {
        expect_layer(c, r.seen, layer, phantom_pairs);
        expect_ghost_values(c, r.seen, layer);
      }
      if (c.config().trol.on) expect_layer(c, r.seen, layer, trol_pairs);
    }
    EXPECT_TRUE(matches(r.seen["layer.0.final_norm"], c.golden, "prefill/final_norm"));
    EXPECT_TRUE(matches(r.logits, c.golden, "prefill/logits"));
  });
}

TEST(Golden, MechanismOff) {
  for_each_case("off/logits", [](const Case& c) {
    const Tensor features = see_group(c, "vision");
    Config off = c.config();
    off.phantom.on = off.trol.on = false;
    Native native{off, c.network->weights, threads()};
    EXPECT_TRUE(matches(run(c, native, c.ids("prefill/input_ids"), &features).logits, c.golden,
                        "off/logits"));
  });
}

TEST(Golden, TextOnly) {
  for (const std::string group : {"text", "long"})
    for_each_case(group + "/logits", [&](const Case& c) {
      const Result r = run(c, native_of(c, threads()), c.ids(group + "/input_ids"), nullptr);
      EXPECT_TRUE(matches(r.logits, c.golden, group + "/logits"));
    });
}

// Left-padded rows are fed as ragged rows. The reference decides its rotary rule over the padded
// batch, so the length told here is the padded one.
TEST(Golden, Batch) {
  for_each_case("batch/logits", [](const Case& c) {
    const Tensor features = see_group(c, "batch");
    const auto expected = c.golden.f32("batch/logits");
    const auto prompts = c.batch();
    std::vector<Sequence> sequences;
    for (size_t r = 0; r < prompts.size(); ++r) sequences.emplace_back(c.config());
    std::vector<Sequence*> pointers;
    for (Sequence& sequence : sequences) pointers.push_back(&sequence);
    Step step;
    Ids ids;
    for (size_t r = 0; r < prompts.size(); ++r) {
      const Ids& row = prompts[r].ids;
      step.add(int(r), 0, int(row.size()), prompts[r].padded, true, c.pictures(row));
      ids.insert(ids.end(), row.begin(), row.end());
    }
    const Native native = native_of(c, threads());
    const Tensor all = logits(native, forward(native, step, pointers, ids, &features));
    for (size_t r = 0; r < prompts.size(); ++r) {
      const size_t width = size_t(c.config().vocab), padded = size_t(prompts[r].padded);
      const size_t count = prompts[r].ids.size() * width;
      const size_t first = (r + 1) * padded * width - count;
      EXPECT_LE(misfit(all.row(step.spans[r].first_row), expected, first, count), 1) << "row " << r;
    }
  });
}

// TroL's CLIP table: the checkpoint stores what this resampling makes of the original.
TEST(Golden, PositionTableResampled) {
  for_each_case("clip_pos/original", [](const Case& c) {
    const auto original = c.golden.f32("clip_pos/original");
    const int width = c.config().vision.hidden, to = c.config().vision.grid();
    const int from = int(std::lround(std::sqrt(double(original.size()) / width - 1)));
    const auto matrix = position_matrix(from, to);
    const size_t columns = 1 + size_t(from) * from;
    std::vector<float> resized(matrix.size() / columns * size_t(width));
    for (size_t r = 0; r < matrix.size() / columns; ++r)
      for (size_t k = 0; k < columns; ++k)
        for (size_t j = 0; j < size_t(width); ++j)
          resized[r * width + j] += matrix[r * columns + k] * original[k * width + j];
    EXPECT_LE(misfit(resized.data(), c.golden.f32("clip_pos/resized")), 1);
  });
}

}  // namespace
}  // namespace revenant
