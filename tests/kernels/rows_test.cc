#include <functional>
#include <limits>

#include "kernels/guarded.h"

namespace revenant {
namespace {

using Loop = void (*)(const float*, size_t, float*) noexcept;

double phi(double x) { return 0.5 * std::erfc(-x * 0.70710678118654752440); }
double logistic(double x) { return 1 / (1 + std::exp(-x)); }

struct Function {
  const char* name;
  Loop Kernels::*loop;
  std::function<double(double)> truth;
  double units;                        // in the last place of f32, allowed
  std::function<double(double)> more;  // and as many more, by x
};

// What rounding the argument of exp costs is not the loop's fault: |argument| units.
const Function functions[] = {
    {"gelu", &Kernels::gelu, [](double x) { return x * phi(x); }, 6, [](double) { return 0; }},
    {"quick_gelu", &Kernels::quick_gelu, [](double x) { return x * logistic(1.702f * x); }, 4,
     [](double x) { return 1.71 * std::abs(x); }},
    {"silu", &Kernels::silu, [](double x) { return x * logistic(x); }, 4, [](double) { return 0; }},
    {"tanh", &Kernels::tanh, [](double x) { return std::tanh(x); }, 4, [](double) { return 0; }},
    {"sigmoid", &Kernels::sigmoid, logistic, 4, [](double) { return 0; }},
};

// Dense where functions bend, every magnitude down to 1e-30.
Guarded<float> sweep(double low, double high) {
  const size_t dense = 400001, tiny = 20000;
  Guarded<float> x(dense + tiny);
  for (size_t i = 0; i < dense; ++i) x[i] = float(low + (high - low) * double(i) / (dense - 1));
  for (size_t i = 0; i < tiny; ++i)
    x[dense + i] = float((i % 2 ? 1 : -1) * std::pow(10.0, -30 + 30 * double(i) / tiny));
  return x;
}

double unit(double x) { return std::ldexp(1.0, std::max(std::ilogb(x), -126) - 23); }

EACH_TABLE(Elementwise);

TEST_P(Elementwise, FewUnitsFromDouble) {
  for (const Function& f : functions) {
    const auto x = sweep(-40, 40);
    Guarded<float> out(x.size());
    (table->*f.loop)(x.data(), x.size(), out.data());
    double worst = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double truth = f.truth(x[i]);
      double allowed = (f.units + f.more(x[i])) * unit(truth) + 0x1p-140;  // subnormal steps
      // The twin's gelu rounds erfc's argument: x^2 more units in the negative tail.
      if (f.loop == &Kernels::gelu && table->isa == std::string("generic"))
        allowed *= 1 + double(x[i]) * x[i];
      worst = std::max(worst, std::abs(out[i] - truth) / unit(truth));
      ASSERT_NEAR(out[i], truth, allowed) << table->isa << " " << f.name << " of " << x[i];
    }
    RecordProperty(std::string(table->isa) + "." + f.name, std::to_string(worst));
    if (getenv("REVENANT_VERBOSE")) printf("%s %s worst %.2f ulp\n", table->isa, f.name, worst);
  }
}

TEST_P(Elementwise, EndsOfTheRange) {
  const float infinity = std::numeric_limits<float>::infinity();

  for (const Function& f : functions) {
    const float x[] = {0, -0.0f, 1e30f, infinity, -1e30f, std::nanf("")};
    const bool bounded = f.loop == &Kernels::tanh || f.loop == &Kernels::sigmoid;
    float out[6];
    (table->*f.loop)(x, 6, out);
    EXPECT_EQ(out[0], f.loop == &Kernels::sigmoid ? 0.5f : 0) << f.name;
    EXPECT_EQ(out[2], bounded ? 1 : 1e30f) << table->isa << f.name;
    EXPECT_EQ(out[3], bounded ? 1 : infinity) << table->isa << f.name;
    EXPECT_EQ(out[4], f.loop == &Kernels::tanh ? -1 : 0) << table->isa << f.name;
    EXPECT_TRUE(std::isnan(out[5])) << table->isa << f.name;
  }
}

TEST_P(Elementwise, SameAnywhereAndInPlace) {
  const auto x = normals(70, 5);

  for (const Function& f : functions) {
    Guarded<float> all(x.size());
    (table->*f.loop)(x.data(), x.size(), all.data());
    for (size_t n = 0; n <= x.size(); ++n) {
      Guarded<float> part(n);
      std::copy_n(x.data() + x.size() - n, n, part.data());
      (table->*f.loop)(part.data(), n, part.data());
      ASSERT_TRUE(same(part.data(), all.data() + x.size() - n, n)) << table->isa << f.name << n;
    }
  }
}

EACH_TABLE(Swiglu);

TEST_P(Swiglu, EqualsDouble) {
  for (size_t n : {0, 1, 7, 8, 31, 100}) {
    const auto gate = normals(n, 1), up = normals(n, 2);
    Guarded<float> out(n);
    table->swiglu(gate.data(), up.data(), n, out.data());
    for (size_t i = 0; i < n; ++i) {
      const double truth = gate[i] * logistic(gate[i]) * up[i];
      ASSERT_NEAR(out[i], truth, 5 * unit(truth)) << table->isa;
    }
  }
}

EACH_TABLE(Exponentials);

TEST_P(Exponentials, EqualDouble) {
  for (size_t n : {1, 7, 8, 16, 31, 100, 1025}) {
    auto x = normals(n, 1);
    for (size_t i = 0; i < n; ++i) x[i] = 40 * x[i] - 300;
    x[n - 1] = n > 8 ? x[n - 1] : -100;  // the greatest is the last, where there are few
    Guarded<float> out(n);
    const float sum = table->exponentials(x.data(), n, 0.125f, out.data());
    const double most = *std::max_element(x.data(), x.data() + n);
    double total = 0;
    for (size_t i = 0; i < n; ++i) {
      const double argument = 0.125 * (x[i] - most), truth = std::exp(argument);
      total += truth;
      ASSERT_NEAR(out[i], truth, (4 + std::abs(argument)) * unit(truth)) << table->isa << n;
    }
    EXPECT_NEAR(sum, total, 1e-5 * total) << table->isa << n;
    EXPECT_EQ(*std::max_element(out.data(), out.data() + n), 1) << table->isa << n;
    ASSERT_EQ(table->exponentials(x.data(), n, 0.125f, x.data()), sum);  // in place
    EXPECT_TRUE(same(x.data(), out.data(), n));
  }
}

struct Norm {
  Guarded<float> x, weight, bias;
  size_t rows, width;
};

Norm make_norm(size_t rows, size_t width) {
  Norm n{normals(rows * width, width), normals(width, 2), normals(width, 3), rows, width};
  for (size_t i = 0; i < rows * width; ++i) n.x[i] = n.x[i] * 3 + 10;  // a mean to lose digits by
  return n;
}

EACH_TABLE(Norms);

TEST_P(Norms, EqualDouble) {
  const float eps = 1e-5f;
  std::vector<size_t> widths = {64, 100, 896, 1024, 3001};
  for (size_t width = 1; width <= 40; ++width) widths.push_back(width);

  for (size_t width : widths) {
    const Norm n = make_norm(3, width);
    Guarded<float> rms(3 * width), layer(3 * width);
    table->rms_norm(n.x.data(), 3, width, n.weight.data(), eps, rms.data());
    table->layer_norm(n.x.data(), 3, width, n.weight.data(), n.bias.data(), eps, layer.data());
    for (size_t r = 0; r < 3; ++r) {
      const float* x = n.x.data() + r * width;
      double mean = 0, squares = 0, variance = 0;
      for (size_t i = 0; i < width; ++i) mean += x[i] / double(width);
      for (size_t i = 0; i < width; ++i) {
        squares += double(x[i]) * x[i] / double(width);
        variance += (x[i] - mean) * (x[i] - mean) / double(width);
      }
      for (size_t i = 0; i < width; ++i) {
        const double a = x[i] / std::sqrt(squares + eps) * n.weight[i];
        ASSERT_NEAR(rms[r * width + i], a, 2e-6 * std::abs(a)) << table->isa << width;
        const double inverse = 1 / std::sqrt(variance + eps);
        const double b = (x[i] - mean) * inverse * n.weight[i] + n.bias[i];
        const double lost = 2e-6 * std::abs(mean) * inverse * std::abs(n.weight[i]);
        ASSERT_NEAR(layer[r * width + i], b, lost + 4e-6 * std::abs(b) + 1e-6)
            << table->isa << width;
      }
    }
  }
}

TEST_P(Norms, RowAloneAndInPlace) {
  for (size_t width : {1, 31, 64, 333}) {
    const Norm n = make_norm(5, width);
    Guarded<float> rms(5 * width), layer(5 * width);
    table->rms_norm(n.x.data(), 5, width, n.weight.data(), 1e-6f, rms.data());
    table->layer_norm(n.x.data(), 5, width, n.weight.data(), n.bias.data(), 1e-6f, layer.data());
    for (size_t r = 0; r < 5; ++r) {
      Guarded<float> a(width), b(width);
      std::copy_n(n.x.data() + r * width, width, a.data());
      std::copy_n(n.x.data() + r * width, width, b.data());
      table->rms_norm(a.data(), 1, width, n.weight.data(), 1e-6f, a.data());
      table->layer_norm(b.data(), 1, width, n.weight.data(), n.bias.data(), 1e-6f, b.data());
      ASSERT_TRUE(same(a.data(), rms.data() + r * width, width)) << table->isa << width;
      ASSERT_TRUE(same(b.data(), layer.data() + r * width, width)) << table->isa << width;
    }
  }
}

EACH_TABLE(Weights);

// Nothing below the normal numbers is made.
TEST_P(Weights, AreNormalNumbersOrNone) {
  std::vector<float> x;
  for (int i = 0; i < 4000; ++i) x.push_back(-float(i) / 32);  // 0 to -125
  std::vector<float> out(x.size());
  table->exponentials(x.data(), x.size(), 1, out.data());
  int none = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    none += out[i] == 0;
    ASSERT_TRUE(out[i] == 0 || std::isnormal(out[i])) << table->isa << " " << x[i];
    ASSERT_NEAR(out[i], x[i] < -87 ? 0 : std::exp(double(x[i])), 4e-7 * out[i]) << table->isa;
  }
  EXPECT_GT(none, 1000);
}

EACH_TABLE(Remember);

// Every exponent, both signs, ties, subnormals, infinities and NaNs, at every length's tail.
TEST_P(Remember, RoundsAsTheScalarConversionDoes) {
  std::vector<float> hard = {0.0f,     -0.0f,    INFINITY, -INFINITY, NAN,     -NAN,
                             65504.0f, 65519.9f, 65520.0f, 1e-8f,     5.9e-8f, 3.3e38f};
  Random random(3);
  for (uint32_t exponent = 0; exponent < 255; ++exponent)
    for (uint32_t low : {0u, 0x1000u, 0x3000u, 0x8000u, 0x18000u, 0x7fffu, 0x1001u, 0x8001u})
      hard.push_back(std::bit_cast<float>(exponent << 23 | low | uint32_t(random.below(2)) << 31));

  for (size_t n : {1, 5, 16, 31, 256})
    for (Format type : {Format::f32, Format::f16, Format::bf16})
      for (BlockOf of : {BlockOf::keys, BlockOf::values})
        for (size_t first = 0; first + n <= hard.size(); first += n) {
          Guarded<uint8_t> block(block_bytes(type, n));
          table->remember(&hard[first], n, type, of, 63, block.data());
          const std::vector<float> wanted = rounded(&hard[first], n, type);
          for (size_t i = 0; i < n; ++i) {
            const float held = held_number(block.data(), n, type, of, 63, i);
            if (std::isnan(wanted[i]))
              ASSERT_TRUE(std::isnan(held)) << table->isa;
            else
              ASSERT_EQ(bits(held), bits(wanted[i])) << table->isa << " " << hard[first + i];
          }
        }
}

// 8 bits a number and a scale a run, the same bits on every machine; what is no number makes its
// run none.
TEST_P(Remember, EightBits) {
  for (const size_t d : {32, 64, 96, 256})
    for (const BlockOf of : {BlockOf::keys, BlockOf::values}) {
      auto x = normals(d, d);
      for (size_t i = 0; i < d; ++i) x[i] *= std::pow(10.0f, float(i / 32) - 4);
      Guarded<uint8_t> block(block_bytes(Format::q8_0, d));
      for (const size_t at : {0, 37, 63}) {
        table->remember(x.data(), d, Format::q8_0, of, at, block.data());
        const std::vector<float> wanted = rounded(x.data(), d, Format::q8_0);
        for (size_t i = 0; i < d; ++i)
          ASSERT_EQ(held_number(block.data(), d, Format::q8_0, of, at, i), wanted[i])
              << table->isa << " " << i;
      }
      std::fill_n(x.data(), 32, 0.0f), x[d - 1] = NAN;
      table->remember(x.data(), d, Format::q8_0, of, 5, block.data());
      EXPECT_TRUE(std::isnan(held_number(block.data(), d, Format::q8_0, of, 5, d - 32)));
      EXPECT_EQ(std::isnan(held_number(block.data(), d, Format::q8_0, of, 5, 0)), d == 32);
    }
}

TEST_P(Remember, TouchesItsRowOnly) {
  for (const Format type : cache_formats)
    for (const BlockOf of : {BlockOf::keys, BlockOf::values}) {
      const auto x = normals(64, 1);
      Guarded<uint8_t> block(block_bytes(type, 64), 0x55);
      table->remember(x.data(), 64, type, of, 9, block.data());
      const Guarded<uint8_t> before(block.size(), 0x55);
      for (size_t row = 0; row < key_block; ++row)
        for (size_t i = 0; i < 64 && row != 9; ++i)
          ASSERT_EQ(held_number(block.data(), 64, type, of, row, i),
                    held_number(before.data(), 64, type, of, row, i))
              << table->isa << " " << int(type) << " " << row;
    }
}

TEST_P(Remember, TellsTheGreatestMagnitude) {
  for (const Format type : cache_formats)
    for (size_t n : {32, 64}) {
      const auto x = normals(n, n);
      x[n - 1] = -70000;
      Guarded<uint8_t> block(block_bytes(type, n));
      EXPECT_NEAR(table->remember(x.data(), n, type, BlockOf::keys, 0, block.data()), 70000, 0.01)
          << table->isa;
    }
}

EACH_TABLE(Rope);

TEST_P(Rope, EqualsDoubleAndInPlace) {
  const size_t rows = 3, heads = 2;

  for (size_t d : {2, 6, 16, 48, 64, 80, 96, 128}) {
    const auto x = normals(rows * heads * d, d), cos = normals(rows * d / 2, 1),
               sin = normals(rows * d / 2, 2);
    Guarded<float> out(x.size()), inside(x.size());
    std::copy_n(x.data(), x.size(), inside.data());
    table->rope(x.data(), rows, heads, d, cos.data(), sin.data(), out.data());
    table->rope(inside.data(), rows, heads, d, cos.data(), sin.data(), inside.data());
    ASSERT_TRUE(same(out.data(), inside.data(), x.size())) << table->isa << d;
    for (size_t i = 0; i < x.size(); ++i) {
      const size_t l = i % d, half = d / 2, r = i / (heads * d);
      const double c = cos[r * half + l % half], s = sin[r * half + l % half];
      const double other = l < half ? -double(x[i + half]) : double(x[i - half]);
      ASSERT_NEAR(out[i], x[i] * c + other * s, 2e-7 * (std::abs(x[i] * c) + std::abs(other * s)))
          << table->isa << " d " << d << " at " << i;
    }
  }
}

}  // namespace
}  // namespace revenant
