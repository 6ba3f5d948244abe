#include "io/gguf.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <numeric>

#include "base/error.h"
#include "base/random.h"
#include "support/temporary.h"

namespace revenant {
namespace {

const Path others = Path(REVENANT_SOURCE_DIR) / "tests/io/data/by_gguf_py.gguf";

std::vector<float> unpacked(const GgufTensor& tensor) {
  if (!tensor.format) return std::vector<float>(tensor.data.size());
  const size_t columns = size_t(tensor.shape.back()), bytes = row_bytes(*tensor.format, columns);
  std::vector<float> values(tensor.data.size() / bytes * columns);
  for (size_t r = 0; r < values.size() / columns; ++r)
    unpack_row(*tensor.format, tensor.data.data() + r * bytes,
               std::span(values).subspan(r * columns, columns));
  return values;
}

std::vector<float> counted(int first, int count) {
  std::vector<float> values(static_cast<size_t>(count));
  std::iota(values.begin(), values.end(), float(first));
  return values;
}

// Written by PyPI's gguf 0.17 (GGUFWriter), every type of value and three of tensors.
TEST(Gguf, ReadsAnotherWritersFile) {
  const Gguf file(others);
  EXPECT_EQ(file.text("general.architecture"), "llama");
  EXPECT_EQ(file.integer("k.u8"), 200);
  EXPECT_EQ(file.integer("k.i8"), -5);
  EXPECT_EQ(file.integer("k.u16"), 60000);
  EXPECT_EQ(file.integer("k.i16"), -300);
  EXPECT_EQ(file.integer("k.u32"), 4000000000);
  EXPECT_EQ(file.integer("k.i32"), -70000);
  EXPECT_EQ(file.integer("k.u64"), int64_t(1) << 40);
  EXPECT_EQ(file.integer("k.i64"), -(int64_t(1) << 40));
  EXPECT_EQ(file.number("k.f32"), 0.25);
  EXPECT_EQ(file.number("k.f64"), 1e-300);
  EXPECT_EQ(file.number("k.u8"), 200);
  EXPECT_TRUE(std::get<bool>(*file.find("k.bool")));
  EXPECT_EQ(file.text("k.text"), "\u00e4 b");
  EXPECT_EQ(file.texts("k.texts"), (std::vector<std::string>{"a", "", "\u3000"}));
  EXPECT_EQ(file.numbers("k.ints"), (std::vector<double>{1, -2, 3}));
  EXPECT_EQ(file.numbers("k.floats"), (std::vector<double>{0.5, -1.5}));
  EXPECT_EQ(file.find("k"), nullptr);
  ASSERT_EQ(file.tensors().size(), 3u);
  EXPECT_EQ(file.tensors().at("plain").shape, (std::vector<int64_t>{2, 32}));
  EXPECT_EQ(file.tensors().at("half").shape, (std::vector<int64_t>{4, 16}));
  EXPECT_EQ(unpacked(file.tensors().at("plain")), counted(-20, 64));
  EXPECT_EQ(unpacked(file.tensors().at("half")), counted(-20, 64));
  EXPECT_EQ(file.tensors().at("q8").format, Format::q8_0);
  const std::vector<float> q8 = unpacked(file.tensors().at("q8"));
  for (size_t i = 0; i < 64; ++i) EXPECT_NEAR(q8[i], float(i) - 20, 0.2);
}

template <class F>
std::string complaint(const F& work) {
  try {
    work();
    return "none";
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(Gguf, ValuesOfAnotherTypeAreRefusedByName) {
  const Gguf file(others);
  const auto says = [&](const auto& work, const std::string& text) {
    const std::string found = complaint(work);
    EXPECT_NE(found.find(text), std::string::npos) << found;
    EXPECT_NE(found.find("by_gguf_py.gguf: k."), std::string::npos) << found;
  };
  says([&] { file.integer("k.f32"); },
       "k.f32: expected a whole number, found a value of type FLOAT32");
  says([&] { file.integer("k.bool"); },
       "k.bool: expected a whole number, found a value of type BOOL");
  says([&] { file.number("k.text"); }, "k.text: expected a number, found a value of type STRING");
  says([&] { file.text("k.u8"); }, "k.u8: expected a text, found a value of type UINT8");
  says([&] { file.texts("k.text"); }, "k.text: expected an array, found a value of type STRING");
  says([&] { file.texts("k.ints"); }, "k.ints[0]: expected a text, found a value of type INT32");
  says([&] { file.numbers("k.texts"); }, "k.texts[0]: expected a number");
  says([&] { file.text("k.none"); }, "k.none: expected this key, found none");
}

GgufSource source_of(const std::string& name, Format format, std::vector<int64_t> shape,
                     const std::string& bytes) {
  return {name, format, std::move(shape), [bytes](const Sink& sink) {
            const auto all = std::as_bytes(std::span(bytes));
            sink(all.first(bytes.size() / 3));  // in pieces
            sink(all.subspan(bytes.size() / 3));
          }};
}

TEST(Gguf, RoundTripKeepsEveryByte) {
  const Temporary place;
  const GgufKeys keys = {{"general.architecture", std::string("phantom")},
                         {"a", uint32_t(7)},
                         {"b", gguf_array(std::vector<std::string>{"x", "\0y"})},
                         {"c", gguf_array(std::vector<float>{1.5f})},
                         {"d", gguf_array(std::vector<int32_t>{})},
                         {"e", true}};
  const std::string q(34 * 3, 'q'), f(4 * 5, 'f'), k(144, 'k');
  const std::vector<GgufSource> tensors = {source_of("blk.0.x", Format::q8_0, {3, 32}, q),
                                           source_of("bias", Format::f32, {5}, f),
                                           source_of("blk.1.x", Format::q4_k, {1, 1, 256}, k)};
  write_gguf(place.path / "a.gguf", keys, tensors);
  EXPECT_TRUE(is_gguf(place.path / "a.gguf"));
  const Gguf file(place.path / "a.gguf");
  EXPECT_EQ(file.integer("general.alignment"), 64);
  ASSERT_EQ(file.keys().size(), keys.size() + 1);
  for (size_t i = 0; i < keys.size(); ++i) EXPECT_EQ(file.keys()[i + 1].first, keys[i].first);
  EXPECT_EQ(file.texts("b").size(), 2u);
  EXPECT_EQ(file.numbers("c"), std::vector<double>{1.5});
  for (const auto& [source, bytes] : {std::pair(tensors[0], q), {tensors[1], f}, {tensors[2], k}}) {
    const GgufTensor& tensor = file.tensors().at(source.name);
    EXPECT_EQ(tensor.format, source.format);
    EXPECT_EQ(tensor.shape, source.shape);
    EXPECT_TRUE(std::ranges::equal(tensor.data, std::as_bytes(std::span(bytes))));
    EXPECT_EQ((reinterpret_cast<uintptr_t>(tensor.data.data())) % 64, 0u);
  }
}

TEST(Gguf, ATensorOfAnotherSizeIsNotWritten) {
  const Temporary place;
  const Path path = place.path / "a.gguf";
  EXPECT_EQ(complaint([&] {
              write_gguf(path, {}, std::vector{source_of("x", Format::f32, {2, 2}, "too short")});
            }),
            "[gguf] " + path.string() + ": x: expected 16 bytes, found 9");
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_FALSE(is_gguf(path));
  write_file(path, "GGU");
  EXPECT_FALSE(is_gguf(path));
  EXPECT_FALSE(is_gguf(place.path));
}

// A header built by hand: each rule of the format broken once.
struct Header {
  std::string bytes = "GGUF";
  template <class T>
  Header& put(T value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Header& text(const std::string& text) {
    put(uint64_t(text.size()));
    bytes += text;
    return *this;
  }
  Header& begin(uint64_t tensors, uint64_t keys, uint32_t version = 3) {
    return put(version).put(tensors).put(keys);
  }
  Header& tensor(const std::string& name, std::vector<uint64_t> extents, uint32_t type,
                 uint64_t offset) {
    text(name).put(uint32_t(extents.size()));
    for (const uint64_t extent : extents) put(extent);
    return put(type).put(offset);
  }
};

TEST(Gguf, EveryRuleIsHeld) {
  const auto refused = [](const Header& header, const std::string& text, size_t data = 256) {
    const Temporary place;
    std::ofstream(place.path / "a.gguf", std::ios::binary) << header.bytes << std::string(data, 0);
    const std::string found = complaint([&] { Gguf{place.path / "a.gguf"}; });
    EXPECT_NE(found.find("a.gguf"), std::string::npos) << found;
    EXPECT_NE(found.find(text), std::string::npos) << found;
  };
  const uint64_t huge = uint64_t(1) << 62;
  refused(Header{"GGML"}.begin(0, 0), "begins with GGUF");
  refused(Header{}.begin(0, 0, 1), "version 2 or 3");
  refused(Header{}.begin(0, 0, 0x03000000), "little-endian");
  refused(Header{}, "bytes more", 0);
  refused(Header{}.begin(0, huge), "number of keys: expected at most as many");
  refused(Header{}.begin(huge, 0), "number of tensors: expected at most as many");
  refused(Header{}.begin(0, 1).put(huge), "bytes more");
  refused(Header{}.begin(0, 1).text("k").put(uint32_t(13)), "k: expected a type from 0 to 12");
  refused(Header{}.begin(0, 1).text("k").put(uint32_t(7)).put(uint8_t(2)), "k: expected 0 or 1");
  refused(Header{}.begin(0, 1).text("k").put(uint32_t(8)).put(huge), "k: expected");
  refused(Header{}.begin(0, 1).text("k").put(uint32_t(9)).put(uint32_t(0)).put(huge),
          "k: expected at most as many");
  // 40 numbers of 8 bytes, for which 256 bytes are no room.
  refused(Header{}.begin(0, 1).text("k").put(uint32_t(9)).put(uint32_t(10)).put(uint64_t(40)),
          "k: expected at most as many");
  Header nested = Header{}.begin(0, 1).text("k").put(uint32_t(9));
  for (int i = 0; i < 1000; ++i) nested.put(uint32_t(9)).put(uint64_t(1));
  refused(nested, "arrays in at most 4 levels");
  refused(
      Header{}.begin(0, 1).text("k").put(uint32_t(9)).put(uint32_t(1)).put(uint64_t(1 << 22) + 1),
      "at most 4194304 values", (1 << 22) + 100);
  refused(
      Header{}.begin(0, 2).text("k").put(uint32_t(0)).put('1').text("k").put(uint32_t(0)).put('1'),
      "k: expected unique keys");
  refused(Header{}.begin(1, 0).tensor("t", {1, 1, 1, 1, 1}, 0, 0),
          "t: expected at most 4 dimensions");
  refused(Header{}.begin(1, 0).tensor("t", {4, 0}, 0, 0), "t: expected extents above 0");
  refused(Header{}.begin(1, 0).tensor("t", {huge, 4}, 0, 0), "t: expected a size below 2^64");
  refused(Header{}.begin(1, 0).tensor("t", {1, huge, 8}, 0, 0), "t: expected a size below 2^64");
  refused(Header{}.begin(1, 0).tensor("t", {4}, 99, 0), "ggml type 99");
  refused(Header{}.begin(1, 0).tensor("t", {33}, 8, 0), "t: expected whole blocks of 32");
  refused(Header{}.begin(1, 0).tensor("t", {4}, 0, 16), "t: expected an offset in steps of 32");
  refused(Header{}.begin(1, 0).tensor("t", {4}, 0, huge), "t: expected data inside the file");
  refused(Header{}.begin(1, 0).tensor("t", {64}, 0, 0), "t: expected data inside the file", 200);
  refused(Header{}.begin(2, 0).tensor("t", {8}, 0, 0).tensor("u", {8}, 0, 0), "some of t");
  refused(Header{}.begin(2, 0).tensor("t", {8}, 0, 0).tensor("t", {8}, 0, 32),
          "t: expected unique");
  refused(Header{}.begin(0, 1).text("general.alignment").put(uint32_t(4)).put(uint32_t(24)),
          "a power of two");
}

// Every outcome is a file that can be read whole, or an Error.
TEST(Gguf, TwoThousandMutationsNeverCrash) {
  const Temporary place;
  const std::string original = read_file(others);
  Random random(11);
  int errors = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string bytes = original;
    if (random.below(4) == 0) bytes.resize(random.below(bytes.size()));
    for (uint64_t flips = 1 + random.below(6); flips > 0 && !bytes.empty(); --flips)
      bytes[random.below(bytes.size())] ^= char(1 << random.below(8));
    std::ofstream(place.path / "a.gguf", std::ios::binary) << bytes;
    try {
      const Gguf file(place.path / "a.gguf");
      for (const auto& [name, tensor] : file.tensors()) unpacked(tensor);
    } catch (const Error& error) {
      ASSERT_TRUE(std::string(error.what()).starts_with("[gguf] ")) << error.what();
      ++errors;
    }
  }
  EXPECT_GT(errors, 200);
  EXPECT_LT(errors, 1900);
}

}  // namespace
}  // namespace revenant
