// All values of tests/conformance/data/quantisation, bit for bit.
#include <gtest/gtest.h>

#include "quant/int8.h"
#include "quant/nf4.h"
#include "quant/released.h"
#include "support/golden_parts.h"

namespace revenant {
namespace {

using golden::Golden;
using golden::lacks;

const Golden& values() {
  static const Golden all =
      golden::open(golden::conformance_root() / "quantisation" / "expected.safetensors");
  return all;
}

std::vector<float> floats(const std::string& name) { return values().f32(name); }

// Integer tensors of a type that the reader has no own verb for.
template <class T>
std::vector<T> integers(const std::string& name) {
  const std::string& bytes = values().at(name).bytes;
  std::vector<T> x(bytes.size() / sizeof(T));
  std::memcpy(x.data(), bytes.data(), bytes.size());
  return x;
}

class GoldenQuant : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* file : {"expected.safetensors", "expected.json"})
      if (const auto why = lacks(std::string("quantisation/") + file)) GTEST_SKIP() << *why;
  }
};

class GoldenInt8 : public GoldenQuant {};

TEST_F(GoldenInt8, Weight) {
  const auto& shape = values().shape("int8/weight");
  const Int8Matrix w = quantize_int8(floats("int8/weight"), shape[0], shape[1]);
  EXPECT_EQ(w.absmax, floats("int8/weight_absmax"));
  EXPECT_EQ(w.values, integers<int8_t>("int8/weight_q"));
  EXPECT_EQ(dequantize_int8(w), floats("int8/weight_dequantised"));
}

// What stands between `before` and `after` in the names of tensors: "0" and "6", or "a", "b", "c".
std::vector<std::string> names_between(const std::string& before, const std::string& after) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : values().tensors)
    if (name.starts_with(before) && name.ends_with(after))
      names.push_back(name.substr(before.size(), name.size() - before.size() - after.size()));
  return names;
}

TEST_F(GoldenInt8, Products) {
  const auto thresholds = names_between("int8/threshold_", "/output_fp32");
  EXPECT_FALSE(thresholds.empty());
  for (const std::string& name : thresholds) {
    SCOPED_TRACE(name);
    const std::string at = "int8/threshold_" + name + "/";
    const float threshold = std::stof(name);
    const auto& shape = values().shape("int8/input");
    const auto x = floats("int8/input");
    const Int8Input input = quantize_int8_input(x, shape[0], shape[1], threshold);
    EXPECT_EQ(input.quantized.absmax, floats(at + "input_absmax"));
    EXPECT_EQ(input.quantized.values, integers<int8_t>(at + "input_q"));
    const bool outliers = values().has(at + "outlier_columns");
    EXPECT_TRUE(outliers || threshold == 0);
    EXPECT_EQ(input.columns,
              outliers ? values().i64(at + "outlier_columns") : std::vector<int64_t>());
    const auto& wide = values().shape("int8/weight");
    const Int8Matrix w = quantize_int8(floats("int8/weight"), wide[0], wide[1]);
    EXPECT_EQ(dot_int8(input.quantized, w), integers<int32_t>(at + "accumulator"));
    EXPECT_EQ(matmul_int8(x, shape[0], w, floats("int8/bias"), Outliers::per_sequence, threshold),
              floats(at + "output_fp32"));
  }
}

// Without outliers in the batch the two ways agree.
TEST_F(GoldenInt8, PerRowWithoutOutliers) {
  if (golden::other_folder() && !values().has("int8/threshold_0/output_fp32"))
    GTEST_SKIP() << "no int8/threshold_0";
  const auto& shape = values().shape("int8/input");
  const auto& wide = values().shape("int8/weight");
  const Int8Matrix w = quantize_int8(floats("int8/weight"), wide[0], wide[1]);
  EXPECT_EQ(
      matmul_int8(floats("int8/input"), shape[0], w, floats("int8/bias"), Outliers::per_row, 0),
      floats("int8/threshold_0/output_fp32"));
}

class GoldenNf4 : public GoldenQuant {};

TEST_F(GoldenNf4, Tables) {
  EXPECT_EQ(std::vector(nf4_code.begin(), nf4_code.end()), floats("nf4/code"));
  const auto& nested = nf4_scale_code();
  EXPECT_EQ(std::vector(nested.begin(), nested.end()), floats("nf4/nested_code"));
}

TEST_F(GoldenNf4, PlainAndDouble) {
  const auto names = names_between("nf4/", "/weight");
  EXPECT_FALSE(names.empty());
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    const std::string at = "nf4/" + name + "/";
    const Nf4 plain = quantize_nf4(floats(at + "weight"));
    EXPECT_EQ(plain.packed, values().u8(at + "packed"));
    EXPECT_EQ(plain.absmax, floats(at + "absmax"));
    EXPECT_EQ(dequantize_nf4(plain), floats(at + "dequantised_plain"));
    const DoubleNf4 twice = quantize_nf4_double(floats(at + "weight"));
    EXPECT_EQ(twice.scales.offset, floats(at + "double/offset")[0]);
    EXPECT_EQ(twice.scales.absmax2, floats(at + "double/absmax2"));
    EXPECT_EQ(twice.scales.values, values().u8(at + "double/absmax_q"));
    EXPECT_EQ(dequantize_nf4_scales(twice.scales), floats(at + "double/absmax_dequantised"));
    EXPECT_EQ(dequantize_nf4(twice), floats(at + "double/dequantised"));
  }
}

class GoldenReleased : public GoldenQuant {};

TEST_F(GoldenReleased, LayersAsTheLoadersConvertThem) {
  const auto expected =
      golden::read_json(golden::conformance_root() / "quantisation" / "expected.json");
  const auto& models = expected["converted_linear_layers"];
  EXPECT_FALSE(models.empty());
  if (!golden::other_folder()) {
    EXPECT_EQ(models.size(), released_quantizations().size());
  }
  for (const auto& [model, lists] : models.items()) {
    const auto& rule = released_quantization(model);
    EXPECT_EQ(rule.bits, lists["bits"]) << model;
    EXPECT_EQ(std::vector<std::string>(rule.skip.begin(), rule.skip.end()),
              lists["skip_substrings"].get<std::vector<std::string>>())
        << model;
    for (const std::string layer : lists["converted"])
      EXPECT_TRUE(is_converted(rule, layer)) << layer;
    for (const std::string layer : lists["kept"]) EXPECT_FALSE(is_converted(rule, layer)) << layer;
  }
}

}  // namespace
}  // namespace revenant
