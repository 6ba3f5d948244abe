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

class GoldenInt8Input : public GoldenQuant, public testing::WithParamInterface<int> {};

TEST_P(GoldenInt8Input, Product) {
  const std::string at = "int8/threshold_" + std::to_string(GetParam()) + "/";
  const auto& shape = values().shape("int8/input");
  const auto x = floats("int8/input");
  const Int8Input input = quantize_int8_input(x, shape[0], shape[1], float(GetParam()));
  EXPECT_EQ(input.quantized.absmax, floats(at + "input_absmax"));
  EXPECT_EQ(input.quantized.values, integers<int8_t>(at + "input_q"));
  const auto columns = GetParam() ? values().i64(at + "outlier_columns") : std::vector<int64_t>();
  EXPECT_EQ(input.columns, columns);
  const auto& wide = values().shape("int8/weight");
  const Int8Matrix w = quantize_int8(floats("int8/weight"), wide[0], wide[1]);
  EXPECT_EQ(dot_int8(input.quantized, w), integers<int32_t>(at + "accumulator"));
  const auto y =
      matmul_int8(x, shape[0], w, floats("int8/bias"), Outliers::per_sequence, float(GetParam()));
  EXPECT_EQ(y, floats(at + "output_fp32"));
}

INSTANTIATE_TEST_SUITE_P(Thresholds, GoldenInt8Input, testing::Values(0, 6));

// Without outliers in the batch the two ways agree.
TEST_F(GoldenInt8, PerRowWithoutOutliers) {
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

class GoldenNf4Weight : public GoldenQuant, public testing::WithParamInterface<const char*> {};

TEST_P(GoldenNf4Weight, PlainAndDouble) {
  const std::string at = std::string("nf4/") + GetParam() + "/";
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

INSTANTIATE_TEST_SUITE_P(Shapes, GoldenNf4Weight, testing::Values("a", "b", "c"));

class GoldenReleased : public GoldenQuant {};

TEST_F(GoldenReleased, LayersAsTheLoadersConvertThem) {
  const auto expected =
      golden::read_json(golden::conformance_root() / "quantisation" / "expected.json");
  const auto& models = expected["converted_linear_layers"];
  EXPECT_EQ(models.size(), released_quantizations().size());
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
