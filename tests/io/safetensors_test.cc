#include "io/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "base/error.h"
#include "base/random.h"
#include "support/temporary.h"

namespace revenant {
namespace {

template <class T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span<const T>(values));
}

// A file of this header and this many zero bytes of data.
Path file_of(const Temporary& place, const std::string& header, size_t data) {
  const uint64_t length = header.size();
  std::string text(8, '\0');
  std::memcpy(text.data(), &length, 8);
  write_file(place.path / "x.safetensors", text + header + std::string(data, '\0'));
  return place.path / "x.safetensors";
}

std::string error_of(const Path& file) {
  try {
    Safetensors read(file);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST(Safetensors, RoundTripKeepsEveryByte) {
  const Temporary place;
  const std::vector<float> f = {1.5f, -0.0f, 3e-40f, 4};
  const std::vector<int64_t> i = {-7};
  const std::vector<uint8_t> u = {1, 2, 255};
  const std::vector<NamedTensor> out = {{"u", {DType::u8, {3}, bytes_of(u)}},
                                        {"model.f\"\n", {DType::f32, {2, 2}, bytes_of(f)}},
                                        {"scalar", {DType::i64, {}, bytes_of(i)}},
                                        {"empty", {DType::bf16, {0, 5}, {}}}};
  write_safetensors(place.path / "a", out);
  const Safetensors read(place.path / "a");
  ASSERT_EQ(read.tensors().size(), out.size());
  for (const auto& [name, view] : out) {
    const auto& got = read.tensors().at(name);
    EXPECT_EQ(got.dtype, view.dtype);
    EXPECT_EQ(got.shape, view.shape);
    EXPECT_TRUE(std::ranges::equal(got.data, view.data));
  }
  EXPECT_EQ(read.metadata(), (Metadata{{"format", "pt"}}));
  EXPECT_EQ(read_file(place.path / "a").size() % 8, 3u);  // padded header, then 48 + 3 bytes
  EXPECT_EQ(to_floats(read.tensors().at("model.f\"\n")), f);
  EXPECT_EQ(to_ints(read.tensors().at("scalar")), i);
}

TEST(Safetensors, NoTensorsIsAFile) {
  const Temporary place;
  write_safetensors(place.path / "a", std::span<const NamedTensor>(), {});
  EXPECT_TRUE(Safetensors(place.path / "a").tensors().empty());
  EXPECT_EQ(error_of(file_of(place, "{} ", 0)), "no error");
}

TEST(Safetensors, EachBrokenRuleIsNamed) {
  const Temporary place;
  struct Case {
    std::string header;
    size_t data;
    std::string part;
  };
  const std::string a = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  const std::vector<Case> cases = {
      {"{" + a + "}", 8, "no error"},
      {"{" + a + "}", 7, "x.safetensors: a: expected data_offsets within 7 bytes"},
      {"{" + a + "}", 9, "expected 8 bytes of data, found 9 bytes"},
      {"{" + a + R"(,"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})", 8,
       "b: expected data at offset 8, found [4, 8] (overlap)"},
      {"{" + a + R"(,"b":{"dtype":"U8","shape":[4],"data_offsets":[12,16]}})", 16,
       "b: expected data at offset 8, found [12, 16] (hole)"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12, "(hole)"},
      {R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8,
       "a: expected 12 bytes for F32 [3], found 8"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8, "found [8, 0]"},
      {R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8, "whole numbers"},
      {R"({"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", 8, "whole numbers"},
      {R"({"a":{"dtype":"F32","shape":"2","data_offsets":[0,8]}})", 8, "whole numbers"},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904,4611686018427387904],"data_offsets":[0,8]}})",
       8, "a: expected a size below 2^64"},
      {R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8]}})", 8,
       "whole numbers"},
      {R"({"a":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}})", 8, R"(found "F8_E4M3")"},
      {R"({"a":{"dtype":3,"shape":[8],"data_offsets":[0,8]}})", 8, "a: expected a dtype of"},
      {R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0]}})", 8, "two whole numbers"},
      {R"({"a":{"dtype":"U8","shape":[8]}})", 8, "dtype, shape and data_offsets"},
      {R"({"a":7})", 0, "dtype, shape and data_offsets"},
      {"{" + a + "," + a + "}", 8, "\"a\" twice"},
      {R"({"a":{"dtype":"U8","dtype":"U8","shape":[8],"data_offsets":[0,8]}})", 8,
       "\"dtype\" twice"},
      {R"({"__metadata__":{"n":1},)" + a + "}", 8, "__metadata__: expected strings, found n = 1"},
      {R"({"__metadata__":["n"],)" + a + "}", 8, "__metadata__: expected an object of strings"},
      {R"({"a":[[[[[[[[]]]]]]]]})", 0, "deeper nesting"},
      {"[1]", 0, "begins with '{'"},
      {" {}", 0, "begins with '{'"},
      {"", 0, "begins with '{'"},
      {"{" + a, 8, "expected JSON, found"},
      {"{\"\xff\":1}", 0, "expected JSON, found"},
  };
  for (const auto& c : cases) EXPECT_HAS(error_of(file_of(place, c.header, c.data)), c.part);
}

TEST(Safetensors, LengthFieldIsNotTrusted) {
  const Temporary place;
  const Path file = place.path / "x";
  write_file(file, "1234567");
  EXPECT_HAS(error_of(file), "expected at least 8 bytes, found 7 bytes");
  write_file(file, std::string("\x10\0\0\0\0\0\0\0{}", 10));
  EXPECT_HAS(error_of(file), "expected a header of 16 bytes, found 2 bytes (file truncated)");
  write_file(file, std::string(8, '\xff') + "{}");
  EXPECT_HAS(error_of(file), "at most 100000000 bytes, found 18446744073709551615");
  write_file(file, "");
  EXPECT_HAS(error_of(file), "found 0 bytes");
}

TEST(Safetensors, WriterRefusesWhatItCouldNotRead) {
  const Temporary place;
  const Path file = place.path / "x";
  const std::vector<float> f = {1, 2};
  const std::vector<NamedTensor> twice(2, {"a", {DType::f32, {2}, bytes_of(f)}});
  EXPECT_THROW(write_safetensors(file, twice), Error);
  const std::vector<NamedTensor> small = {{"a", {DType::f32, {3}, bytes_of(f)}}};
  EXPECT_THROW(write_safetensors(file, small), Error);
  const std::vector<NamedTensor> reserved = {{"__metadata__", {DType::f32, {2}, bytes_of(f)}}};
  EXPECT_THROW(write_safetensors(file, reserved), Error);
  EXPECT_TRUE(std::filesystem::is_empty(place.path));  // no half-written file stays
}

// Whatever the bytes, reading gives tensors that lie inside the file or an Error.
TEST(Safetensors, MutatedFilesNeverCrash) {
  const Temporary place;
  const std::vector<float> f = {1, 2, 3, 4};
  const std::vector<NamedTensor> out = {{"a", {DType::f32, {2, 2}, bytes_of(f)}},
                                        {"b", {DType::f16, {8}, bytes_of(f)}}};
  write_safetensors(place.path / "a", out);
  const std::string good = read_file(place.path / "a");
  Random random(1);
  int errors = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string bad = good;
    for (uint64_t n = 1 + random.below(3); n > 0; --n) {
      bad[random.below(bad.size())] = char(random.below(256));
    }
    if (random.below(4) == 0) bad.resize(random.below(bad.size()));
    std::ofstream(place.path / "b", std::ios::binary) << bad;
    try {
      const Safetensors read(place.path / "b");
      for (const auto& [name, view] : read.tensors()) {
        EXPECT_EQ(byte_count(view.dtype, view.shape), view.data.size());
        if (view.dtype == DType::f32 || view.dtype == DType::f16) to_floats(view);
      }
    } catch (const Error&) {
      ++errors;
    }
  }
  EXPECT_GT(errors, 1000);
}

TEST(Tensor, ConvertsEveryType) {
  const std::vector<uint16_t> half = {0x3c00, 0xc000}, brain = {0x3f80, 0xc000};
  const std::vector<double> wide = {1, -2};
  const std::vector<float> expected = {1, -2};
  EXPECT_EQ(to_floats({DType::f16, {2}, bytes_of(half)}), expected);
  EXPECT_EQ(to_floats({DType::bf16, {2}, bytes_of(brain)}), expected);
  EXPECT_EQ(to_floats({DType::f64, {2}, bytes_of(wide)}), expected);
  const std::vector<int8_t> small = {-1, 5};
  EXPECT_EQ(to_ints({DType::i8, {2}, bytes_of(small)}), (std::vector<int64_t>{-1, 5}));
  EXPECT_EQ(to_ints({DType::u8, {2}, bytes_of(small)}), (std::vector<int64_t>{255, 5}));
  const std::vector<int32_t> word = {-70000};
  EXPECT_EQ(to_ints({DType::i32, {1}, bytes_of(word)}), (std::vector<int64_t>{-70000}));
  const std::vector<int16_t> pair = {-300};
  EXPECT_EQ(to_ints({DType::i16, {1}, bytes_of(pair)}), (std::vector<int64_t>{-300}));
  EXPECT_THROW(to_ints({DType::f32, {1}, bytes_of(word)}), Error);
  EXPECT_THROW(to_floats({DType::i32, {1}, bytes_of(word)}), Error);
}

}  // namespace
}  // namespace revenant
