// What an inputs file of `trace` must hold. The executors are never reached: what would crash them
// is refused before.
#include "trace/trace.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>

#include "base/error.h"
#include "model/released.h"
#include "support/golden.h"
#include "trace/conformance.h"

namespace revenant {
namespace {

const std::string model = "phantom-0.5b";  // a picture row takes 28 x 28 pixels
constexpr int64_t vocab = 151655, picture = 151648, hidden = 896;

size_t count(const std::vector<int64_t>& shape) {
  size_t product = 1;
  for (const int64_t extent : shape) product *= size_t(extent);
  return product;
}
Array floats(std::vector<int64_t> shape) {
  std::vector<float> values(count(shape));
  return {std::move(shape), std::move(values), {}};
}
Array ints(std::vector<int64_t> shape, std::vector<int64_t> values) {
  return {std::move(shape), {}, std::move(values)};
}
Array ones(std::vector<int64_t> shape) {
  std::vector<int64_t> values(count(shape), 1);
  return ints(std::move(shape), std::move(values));
}

// One picture of one row; the second row of the batch has one token of padding.
Arrays good() {
  const Array pixels = floats({1, 3, 28, 28}), ids = ints({2, 3}, {1, picture, 2, 0, 1, 2});
  const Array mask = ints({2, 3}, {1, 1, 1, 0, 1, 1});
  return {{"vision/pixel_values", pixels},
          {"vision_interp/pixel_values", floats({2, 3, 56, 56})},
          {"prefill/input_ids", ints({1, 3}, {1, picture, 2})},
          {"gen/tokens", ones({1, 2})},
          {"gen_stop/stop_id", ones({1})},
          {"text/input_ids", ones({3})},
          {"text/gen_tokens", ones({2})},
          {"batch/input_ids", ids},
          {"batch/attention_mask", mask},
          {"batch/pixel_values", pixels},
          {"batch/gen_tokens", ones({2, 4})},
          {"batch_row.1/gen_tokens", ones({1, 4})},
          {"train/input_ids", ids},
          {"train/attention_mask", mask},
          {"train/pixel_values", pixels},
          {"train/labels", ints({2, 3}, {-100, -100, 2, -100, -100, vocab - 1})},
          {"po/chosen_input_ids", ints({1, 3}, {1, picture, 2})},
          {"po/chosen_labels", ints({1, 3}, {-100, -100, 2})},
          {"po/rejected_input_ids", ints({4}, {1, picture, 2, 3})},
          {"po/rejected_labels", ints({4}, {-100, -100, 2, 3})},
          {"po/pixel_values", pixels}};
}

std::string complaint(const Config& config, const Arrays& inputs) {
  try {
    check_inputs(config, inputs);
  } catch (const Error& error) {
    return error.what();
  }
  return "no complaint";
}

// `good` with one tensor replaced, or taken away.
std::string complaint(const std::string& name, const std::optional<Array>& array) {
  Arrays inputs = good();
  inputs.erase(name);
  if (array) inputs[name] = *array;
  return complaint(parse_config(released(model).config, model), inputs);
}

struct Row {
  const char* name;
  std::optional<Array> array;
  std::string told;  // after the name
};

void expect_complaints(const std::vector<Row>& rows) {
  for (const Row& row : rows)
    EXPECT_EQ(complaint(row.name, row.array),
              std::string("[trace] ") + row.name + ": expected " + row.told);
}

TEST(TraceInputs, GoodOnesPass) {
  EXPECT_EQ(complaint("vision_interp/pixel_values", {}), "no complaint");
  EXPECT_EQ(complaint("prefill/input_ids", ints({3}, {1, picture, 2})), "no complaint");
  EXPECT_EQ(complaint("vision/projected", floats({1, hidden})), "no complaint");
  EXPECT_EQ(complaint("vision/projected", floats({1, 1, hidden})), "no complaint");
  EXPECT_EQ(complaint("batch/labels", ones({2, 3})), "no complaint");
  EXPECT_EQ(complaint("an/output", floats({0})), "no complaint");
}

TEST(TraceInputs, Sequences) {
  const std::string row = "integers [N] or [1, N], found ", one = "integers [1] or [1, 1], found ";
  const std::string range = "integers in [0, 151655), found ";
  expect_complaints({
      {"prefill/input_ids", ones({1, 0}), row + "empty [1, 0]"},
      {"prefill/input_ids", floats({1, 3}), row + "floats [1, 3]"},
      {"prefill/input_ids", ones({2, 3}), row + "integers [2, 3]"},
      {"prefill/input_ids", ones({}), row + "integers []"},
      {"prefill/input_ids", ones({1, 1, 3}), row + "integers [1, 1, 3]"},
      {"prefill/input_ids", ints({2}, {(int64_t(1) << 32) + 5, 2}), range + "4294967301"},
      {"prefill/input_ids", ints({2}, {2, -7}), range + "-7"},
      {"prefill/input_ids", ints({2}, {vocab, 2}), range + "151655"},
      {"prefill/input_ids", ones({2}), "1 picture tokens, one a row of its pictures, found 0"},
      {"text/input_ids", ints({2}, {1, picture}),
       "0 picture tokens, one a row of its pictures, found 1"},
      {"long/input_ids", floats({2}), row + "floats [2]"},
      {"gen/tokens", floats({1, 2}), row + "floats [1, 2]"},
      {"gen/tokens", ints({2}, {100'000'000, 3}), range + "100000000"},
      {"text/gen_tokens", ones({0}), row + "empty [0]"},
      {"gen_stop/stop_id", floats({1, 2}), one + "floats [1, 2]"},
      {"gen_stop/stop_id", ones({2}), one + "integers [2]"},
      {"batch_stop/stop_id", ints({1}, {-1}), range + "-1"},
  });
}

TEST(TraceInputs, Pictures) {
  const std::string shape = "floats [T, 3, S, S] with S a multiple of 28, found ";
  const std::string rows = "floats [..., 896], found ";
  expect_complaints({
      {"vision/pixel_values", floats({0, 3, 28, 28}), shape + "empty [0, 3, 28, 28]"},
      {"vision/pixel_values", floats({3}), shape + "floats [3]"},
      {"vision/pixel_values", floats({1, 3, 7, 9}), shape + "floats [1, 3, 7, 9]"},
      {"vision/pixel_values", floats({1, 3, 42, 42}), shape + "floats [1, 3, 42, 42]"},
      {"vision/pixel_values", floats({1, 1, 28, 28}), shape + "floats [1, 1, 28, 28]"},
      {"vision/pixel_values", ones({1, 3, 28, 28}), shape + "integers [1, 3, 28, 28]"},
      {"vision_interp/pixel_values", floats({}),
       "floats [T, 3, S, S] with S a multiple of 14, found floats []"},
      {"batch/pixel_values", floats({1, 3, 28}), shape + "floats [1, 3, 28]"},
      {"train/pixel_values", floats({1, 3, 0, 0}), shape + "empty [1, 3, 0, 0]"},
      {"vision/image_u8", floats({1, 3, 28, 28}),
       "integers [T, 3, S, S] with S a multiple of 28, found floats [1, 3, 28, 28]"},
      {"vision/image_u8", ints({1, 3, 28, 28}, std::vector<int64_t>(2352, 256)),
       "integers in [0, 256), found 256"},
      {"vision/projected", floats({3, 0}), rows + "empty [3, 0]"},
      {"vision/projected", floats({}), rows + "floats []"},
      {"vision/projected", floats({3, 7}), rows + "floats [3, 7]"},
      {"batch/projected", ones({1, hidden}), rows + "integers [1, 896]"},
  });
  EXPECT_EQ(
      complaint("vision/pixel_values", floats({2, 3, 56, 56})),
      "[trace] prefill/input_ids: expected 8 picture tokens, one a row of its pictures, found "
      "1");
}

TEST(TraceInputs, MasksAndPositionsSayWhatIsComputedAnyway) {
  EXPECT_EQ(complaint("prefill/attention_mask", ones({1, 3})), "no complaint");
  EXPECT_EQ(complaint("prefill/position_ids", ints({1, 3}, {0, 1, 2})), "no complaint");
  EXPECT_EQ(complaint("batch/position_ids", ints({2, 3}, {0, 1, 2, 9, 0, 1})), "no complaint");
  expect_complaints({
      {"prefill/attention_mask", ints({1, 3}, {0, 1, 1}),
       "a one for each of the input_ids, found others"},
      {"text/attention_mask", ones({4}), "a one for each of the input_ids, found others"},
      {"prefill/position_ids", ints({1, 3}, {5, 6, 7}), "0 for token 0 of its row, found 5"},
      {"prefill/position_ids", ones({1, 2}), "integers [1, 3], found integers [1, 2]"},
      {"batch/position_ids", ints({2, 3}, {0, 1, 2, 0, 1, 2}), "0 for token 1 of its row, found 1"},
      {"train/position_ids", ints({2, 3}, {0, 1, 3, 0, 0, 1}), "2 for token 2 of its row, found 3"},
  });
}

TEST(TraceInputs, Batches) {
  const std::string like = "integers [2, 3], found ",
                    nothing = "a tensor of the inputs file, found ";
  expect_complaints({
      {"batch/input_ids", floats({2, 3}), "integers [R, N], found floats [2, 3]"},
      {"batch/input_ids", ones({6}), "integers [R, N], found integers [6]"},
      {"batch/input_ids", ints({1, 2}, {vocab, 1}), "integers in [0, 151655), found 151655"},
      {"batch/attention_mask", {}, nothing + "nothing"},
      {"batch/attention_mask", ones({1, 3}), like + "integers [1, 3]"},
      {"batch/attention_mask", floats({2, 3}), like + "floats [2, 3]"},
      {"batch/attention_mask", ints({2, 3}, {1, 1, 1, 0, 1, 2}), "integers in [0, 2), found 2"},
      {"batch/attention_mask", ints({2, 3}, {1, 1, 1, 0, 0, 0}),
       "zeros, then ones, in each row, found another row 1"},
      {"batch/attention_mask", ints({2, 3}, {1, 0, 1, 1, 1, 1}),
       "zeros, then ones, in each row, found another row 0"},
      {"train/attention_mask", ints({2, 3}, {1, 1, 1, 0, 0, 0}),
       "a one in each row, found another row 1"},
      {"batch/labels", ones({2, 2}), like + "integers [2, 2]"},
      {"batch/gen_tokens", ones({1, 4}), "integers [2, N], found integers [1, 4]"},
      {"batch/gen_tokens", ints({2, 1}, {1, vocab}), "integers in [0, 151655), found 151655"},
      {"batch_row.1/gen_tokens", ones({3}), "integers [4] or [1, 4], found integers [3]"},
  });
  EXPECT_EQ(complaint("batch/gen_tokens", {}),
            "[trace] batch/gen_tokens: expected a tensor of the inputs file, found nothing");
  EXPECT_EQ(complaint("batch/pixel_values", {}),
            "[trace] batch/input_ids: expected 0 picture tokens, one a row of its pictures, found "
            "1");
}

TEST(TraceInputs, Training) {
  const std::string like = "integers [2, 3], found ",
                    nothing = "a tensor of the inputs file, found ";
  const std::string target = "a label of at least 0 after the first token of a row, found none";
  const auto labels = [](int64_t first, int64_t later) {
    return ints({2, 3}, {first, later, later, 1, first, later});
  };
  expect_complaints({
      {"train/labels", {}, nothing + "nothing"},
      {"train/labels", ones({2, 2}), like + "integers [2, 2]"},
      {"train/labels", floats({2, 3}), like + "floats [2, 3]"},
      {"train/labels", labels(-100, vocab), "integers in [-100, 151655), found 151655"},
      {"train/labels", labels(1, -100), target},
      {"train/pixel_values", {}, nothing + "nothing"},
  });
}

TEST(TraceInputs, Pairs) {
  const std::string like = "integers [1, 3], found ",
                    nothing = "a tensor of the inputs file, found nothing";
  const std::string target = "a label of at least 0 after the first token, found none";
  expect_complaints({
      {"po/chosen_input_ids", {}, nothing},
      {"po/rejected_input_ids", {}, nothing},
      {"po/rejected_labels", {}, nothing},
      {"po/chosen_input_ids", ones({2, 3}), "integers [N] or [1, N], found integers [2, 3]"},
      {"po/chosen_labels", ones({3}), like + "integers [3]"},
      {"po/chosen_labels", ints({1, 3}, {1, 2, vocab}), "integers in [-100, 151655), found 151655"},
      {"po/chosen_labels", ints({1, 3}, {1, -100, -100}), target},
      {"po/pixel_values", floats({3}),
       "floats [T, 3, S, S] with S a multiple of 28, found floats "
       "[3]"},
  });
  EXPECT_EQ(complaint("po/pixel_values", {}),
            "[trace] po/chosen_input_ids: expected 0 picture tokens, one a row of its pictures, "
            "found 1");
}

// What is no number is no match, wherever it stands.
TEST(Conformance, SeesWhatIsNotANumberAndWhatIsMissing) {
  const std::vector<std::string> names = {"prefill/logits",
                                          "train/grad/w",
                                          "train/sft_loss",
                                          "train/adamw_wd0/losses",
                                          "train/adamw_wd0/param_after/w",
                                          "po/0/loss",
                                          "po/0/grad/w"};
  const Array two = {{2}, {1, 2}, {}};
  const auto errors = [&](const Array& last) {
    Arrays golden, found;
    for (const std::string& name : names) golden[name] = two, found[name] = last;
    std::map<std::string, double> worst;
    for (const Comparison& c : compare_with_golden(golden, found, {{}, 1, false}, true))
      worst[c.name] = c.error;
    EXPECT_FALSE(worst.empty());
    return worst;
  };
  for (const auto& [name, error] : errors(two)) EXPECT_EQ(error, 0) << name;
  for (const float odd : {NAN, INFINITY})
    for (const auto& values : {std::vector<float>{odd, 2}, std::vector<float>{1, odd}})
      for (const auto& [name, error] : errors({{2}, values, {}}))
        EXPECT_EQ(error, INFINITY) << name << " " << values[0] << " " << values[1];
  for (const auto& [name, error] : errors({{3}, {1, 2, 3}, {}})) EXPECT_EQ(error, INFINITY) << name;
}

// A kind that the trace has nothing of is a miss, whichever it is.
TEST(Conformance, AComparisonThatFindsNothingHasFailed) {
  const std::multimap<std::string, std::string> kinds = {
      {"vision", "vision/projected"},   {"vision", "vision_interp/last"},
      {"prefill", "prefill/layer.0.q"}, {"off", "off/logits"},
      {"generation", "gen/tokens"},     {"text", "text/logits"},
      {"long", "long/logits"},          {"batch", "batch/logits"},
      {"loss", "train/sft_loss"},       {"po", "po/0/loss"},
      {"po", "po/logp_chosen"},         {"po_gradients", "po/0/grad/w"},
      {"gradients", "train/grad/w"},    {"adamw", "train/adamw_wd0/losses"},
      {"generation", "long/gen_tokens"}};
  Arrays golden;
  for (const auto& [kind, name] : kinds) golden[name] = {{2}, {1, 2}, {}};
  for (const auto& [kind, name] : kinds) {
    Arrays found = golden;
    found.erase(name);
    for (const bool autograd : {false, true}) {
      const auto all = compare_with_golden(golden, found, {{}, 1, false}, autograd);
      const bool asked = autograd || (kind != "adamw" && !kind.ends_with("gradients"));
      EXPECT_EQ(all.size(), golden.size() - (autograd ? 0 : 3));
      for (const Comparison& c : all) EXPECT_EQ(c.error, c.name == name ? INFINITY : 0) << c.name;
      EXPECT_EQ(std::ranges::count(all, name, &Comparison::name), asked ? 1 : 0) << name;
    }
  }
}

// Norms stand in the order of golden.json, one a gradient; a sum over an answer's tokens has the
// tolerance of each.
TEST(Conformance, PreferencesAreHeldToTheirOwnRules) {
  const auto number = [](double value) { return Array{{}, {float(value)}, {}}; };
  const Arrays golden = {{"po/0/grad_norms", {{2}, {5, 13}, {}}},
                         {"po/0/loss", number(1)},
                         {"po/n_chosen", {{1}, {}, {10}}},
                         {"po/logp_chosen", {{1}, {-20}, {}}}};
  const auto errors = [&](double first, double loss, double logp, bool both = true) {
    Arrays found = {{"po/0/grad/b", {{2}, {float(3 * first), float(4 * first)}, {}}},
                    {"po/0/loss", number(loss)},
                    {"po/n_chosen", {{1}, {}, {10}}},
                    {"po/logp_chosen", {{1}, {float(logp)}, {}}}};
    if (both) found["po/0/grad/a"] = {{2}, {5, 12}, {}};
    std::map<std::string, double> all;
    for (const Comparison& c : compare_with_golden(golden, found, {{}, 0, false, {"b", "a"}}, true))
      all[c.name] = c.error;
    return all;
  };
  for (const auto& [name, error] : errors(1, 1, -20)) EXPECT_EQ(error, 0) << name;
  EXPECT_NEAR(errors(1.001, 1, -20).at("po/0/grad_norms"), 0.5, 0.01);
  EXPECT_EQ(errors(1, 1, -20, false).at("po/0/grad_norms"), INFINITY);
  EXPECT_NEAR(errors(1, 1 + 1e-5, -20).at("po/0/loss"), 0.5, 0.01);
  EXPECT_NEAR(errors(1, 1, -20 - 1e-4).at("po/logp_chosen"), 0.5, 0.01);
}

TEST(TraceInputs, GoldensPass) {
  int ran = 0;
  for (const auto& place : std::filesystem::directory_iterator(golden::conformance_root())) {
    const std::filesystem::path file = place.path() / "golden.safetensors";
    if (!std::filesystem::exists(file)) continue;
    const golden::Golden opened = golden::open(file);
    Arrays inputs;
    for (const auto& [name, tensor] : opened.tensors) {
      Array& array = inputs[name] = {tensor.shape, {}, {}};
      if (tensor.dtype == "I64") array.ints = opened.i64(name);
      if (tensor.dtype == "F32") array.floats = opened.f32(name);
      if (tensor.dtype != "U8") continue;
      const std::vector<uint8_t> bytes = opened.u8(name);
      array.ints.assign(bytes.begin(), bytes.end());
    }
    const auto settings = golden_settings(golden::read_json(place.path() / "golden.json"));
    const nlohmann::json json = golden::read_json(place.path() / "config.json");
    const Config config = parse_config(with_settings(json, settings), "golden");
    EXPECT_EQ(complaint(config, inputs), "no complaint") << file;
    EXPECT_EQ(config.warnings, std::vector<std::string>()) << file;
    ++ran;
  }
  EXPECT_GT(ran, 0);
}

}  // namespace
}  // namespace revenant
