// Blocks against PyPI's gguf, bit for bit, and each format's error against what its table says.
#include "quant/format.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "base/random.h"

namespace revenant {
namespace {

// As tests/quant/gguf_literals.py prints them; 0: gguf does not quantise to it.
struct Literal {
  const char* name;
  uint32_t ggml_type;
  uint64_t unpacked, packed;
};
constexpr Literal literals[] = {
    {"Q8_0", 8, 0x0e17b8b5207fa138, 0x76503327f22df887},
    {"Q6_K", 14, 0xdcf3dfd12c075839, 0},
    {"Q5_K", 13, 0xe891242d4b3f4459, 0},
    {"Q5_1", 7, 0x6267622abdc1cb12, 0x02a6437728d88e85},
    {"Q5_0", 6, 0x35329eb15a7f6779, 0x34b757a4b4b2e549},
    {"Q4_K", 12, 0xa883c3a03edb7438, 0},
    {"Q4_1", 3, 0x318c858bc1aa1bcd, 0x9535354707051488},
    {"Q4_0", 2, 0x7d5878ae6d218266, 0xda2e773750b3a35d},
    {"BF16", 30, 0x4ae647d729e20388, 0xdbf64dd74b10f18f},
    {"F16", 1, 0x8059a3ddf0ce4faf, 0xe0489bfd5e92822f},
};

uint64_t digest(const void* data, size_t size) {  // FNV-1a
  uint64_t hash = 0xcbf29ce484222325;
  for (size_t i = 0; i < size; ++i)
    hash = (hash ^ static_cast<const uint8_t*>(data)[i]) * 0x100000001b3;
  return hash;
}

// The script's numbers() and blocks().
std::vector<float> numbers(size_t count) {
  Random random(5);
  std::vector<float> x(count);
  for (float& value : x) value = float(random.next() >> 40) * 0x1p-23f - 1;
  for (size_t i = 0; i < count; ++i) {
    const int run = int(i / 32);
    x[i] = run == 1 ? 0.0f : std::ldexp(x[i], run % 7 - 3);
  }
  return x;
}

std::vector<std::byte> blocks(size_t size) {
  Random random(9);
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = std::byte(random.next() >> 56 & 0xbb);
  return bytes;
}

TEST(Formats, UnpackLikeGguf) {
  for (const Literal& l : literals) {
    const Format format = format_named(l.name).value();
    EXPECT_EQ(info(format).ggml_type, l.ggml_type) << l.name;
    std::vector<float> out(1024);
    unpack_row(format, blocks(row_bytes(format, out.size())).data(), out);
    EXPECT_EQ(digest(out.data(), out.size() * 4), l.unpacked) << l.name;
  }
}

TEST(Formats, PackLikeGguf) {
  const std::vector<float> x = numbers(1024);
  for (const Literal& l : literals) {
    if (l.packed == 0) continue;
    const Format format = format_named(l.name).value();
    std::vector<std::byte> row(row_bytes(format, x.size()));
    pack_row(format, x, row.data());
    EXPECT_EQ(digest(row.data(), row.size()), l.packed) << l.name;
  }
}

std::vector<float> through(Format format, const std::vector<float>& x,
                           const float* importance = nullptr) {
  std::vector<std::byte> row(row_bytes(format, x.size()));
  pack_row(format, x, row.data(), importance);
  std::vector<float> back(x.size());
  unpack_row(format, row.data(), back);
  return back;
}

// Normal numbers, of one sign, with one far larger than the rest, all equal, a ramp.
std::vector<std::vector<float>> kinds_of_rows() {
  Random random(3);
  std::vector<std::vector<float>> rows(7, std::vector<float>(2048));
  for (size_t i = 0; i < 2048; ++i) {
    const float x = float(random.normal());
    rows[0][i] = x;
    rows[1][i] = std::fabs(x);
    rows[2][i] = -std::fabs(x) - 1;
    rows[3][i] = i % 256 == 77 ? -30.0f : x;
    rows[4][i] = 0.25f;
    rows[5][i] = float(i % 256) - 100;
    rows[6][i] = float(random.uniform());
  }
  return rows;
}

TEST(Formats, ErrorIsWithinTheTablesBound) {
  for (const FormatInfo& f : formats()) {
    double worst = 0;
    const size_t block = std::max<size_t>(f.block, 1);
    for (const std::vector<float>& x : kinds_of_rows()) {
      const std::vector<float> back = through(f.format, x);
      for (size_t begin = 0; begin < x.size(); begin += block) {
        double top = 0, error = 0;
        for (size_t i = begin; i < begin + block; ++i) {
          top = std::max(top, double(std::fabs(x[i])));
          error = std::max(error, std::fabs(double(x[i]) - double(back[i])));
        }
        worst = std::max(worst, error / top);
      }
    }
    RecordProperty(f.name, std::to_string(worst));
    EXPECT_LE(worst, f.error) << f.name;
    EXPECT_GE(worst, f.error * 0.6) << f.name << ": the bound says little";
  }
}

double mean_square(const std::vector<float>& x, const std::vector<float>& y,
                   const std::vector<float>& weight) {
  double sum = 0, all = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double e = double(x[i]) - double(y[i]);
    sum += double(weight[i]) * e * e, all += double(weight[i]);
  }
  return sum / all;
}

TEST(Formats, ImportanceLowersTheErrorThatCounts) {
  Random random(4);
  std::vector<float> x(4096), weight(4096);
  for (float& v : x) v = float(random.normal());
  for (float& v : weight) v = float(std::pow(random.uniform(), 8)) + 1e-4f;
  for (const FormatInfo& f : formats()) {
    if (!is_quantised(f.format) || f.format == Format::q8_0) continue;
    const double plain = mean_square(x, through(f.format, x), weight),
                 weighted = mean_square(x, through(f.format, x, weight.data()), weight);
    EXPECT_LT(weighted, 0.97 * plain) << f.name;
  }
}

// Of normal numbers: what a good search of scales reaches, in units of their variance.
TEST(Formats, KQuantsSpendTheirBitsWell) {
  Random random(6);
  std::vector<float> x(65536), even(65536, 1.0f);
  for (float& v : x) v = float(random.normal());
  const auto error = [&](Format format) { return mean_square(x, through(format, x), even); };
  RecordProperty("Q4_K", std::to_string(error(Format::q4_k)));
  EXPECT_LT(error(Format::q4_k), 0.0054);
  EXPECT_LT(error(Format::q4_k), 0.8 * error(Format::q4_0));
  EXPECT_LT(error(Format::q5_k), 0.0016);
  EXPECT_LT(error(Format::q6_k), 0.0004);
}

TEST(Formats, RowsThatAreNoWholeBlocksFallBack) {
  EXPECT_EQ(format_for(Format::q4_k, 512), Format::q4_k);
  EXPECT_EQ(format_for(Format::q4_k, 896), Format::q5_0);
  EXPECT_EQ(format_for(Format::q5_k, 896), Format::q5_1);
  EXPECT_EQ(format_for(Format::q6_k, 896), Format::q8_0);
  EXPECT_EQ(format_for(Format::q4_0, 588), Format::f16);
  EXPECT_EQ(format_for(Format::bf16, 588), Format::bf16);
}

TEST(Formats, NamesAreFoundInAnyCase) {
  EXPECT_EQ(format_named("q4_k"), Format::q4_k);
  EXPECT_EQ(format_named("Q4"), std::nullopt);
  EXPECT_EQ(format_named("Q4_K_M"), std::nullopt);
  for (const FormatInfo& f : formats()) {
    EXPECT_EQ(format_named(f.name), f.format);
    EXPECT_EQ(&info(f.format), &f);
  }
}

}  // namespace
}  // namespace revenant
