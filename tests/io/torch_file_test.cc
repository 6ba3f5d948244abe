#include "io/torch_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "base/error.h"
#include "base/random.h"
#include "io/pickle.h"
#include "io/zip.h"
#include "support/temporary.h"

namespace revenant {
namespace {

using namespace std::string_literals;

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

// A little-endian field of n bytes.
std::string field(uint64_t value, size_t n) {
  std::string bytes(n, '\0');
  for (size_t i = 0; i < std::min<size_t>(n, 8); ++i) bytes[i] = char(value >> 8 * i);
  return bytes;
}

uint32_t crc_of(const std::string& data) {
  uint32_t c = ~0u;
  for (const char byte : data) {
    c ^= uint8_t(byte);
    for (int bit = 0; bit < 8; ++bit) c = (c & 1) ? 0xedb88320u ^ (c >> 1) : c >> 1;
  }
  return ~c;
}

using Files = std::vector<std::pair<std::string, std::string>>;

std::string zip_of(const Files& files) {
  std::string body, directory;
  for (const auto& [name, data] : files) {
    const std::string common = field(crc_of(data), 4) + field(data.size(), 4) +
                               field(data.size(), 4) + field(name.size(), 2) + field(0, 2);
    directory += "PK\1\2"s + field(0, 12) + common + field(0, 10) + field(body.size(), 4) + name;
    body += "PK\3\4"s + field(0, 10) + common + name + data;
  }
  const std::string count = field(files.size(), 2);
  return body + directory + "PK\5\6"s + field(0, 4) + count + count + field(directory.size(), 4) +
         field(body.size(), 4) + field(0, 2);
}

std::string text(const std::string& s) { return 'X' + field(s.size(), 4) + s; }
std::string number(int32_t n) { return 'J' + field(uint32_t(n), 4); }

std::string tuple_of(const std::vector<int32_t>& numbers) {
  std::string all = "(";
  for (const int32_t n : numbers) all += number(n);
  return all + "t";
}

std::string tensor(const std::string& key, int32_t elements, int32_t offset,
                   const std::vector<int32_t>& size, const std::vector<int32_t>& stride,
                   const std::string& type = "FloatStorage") {
  return "ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + "ctorch\n" + type + "\n" +
         text(key) + text("cpu") + number(elements) + "tQ" + number(offset) + tuple_of(size) +
         tuple_of(stride) + "\x89}tR";
}

std::string pickle_of(const std::string& body) { return "\x80\x02" + body + "."; }
std::string dict_of(const std::string& items) {
  return pickle_of("ccollections\nOrderedDict\n)R(" + items + "u");
}

const std::vector<float> six = {0, 1, 2, 3, 4, 5};
const std::string six_bytes(reinterpret_cast<const char*>(six.data()), 24);

std::string archive_of(const std::string& pickle) {
  return zip_of({{"g/data.pkl", pickle}, {"g/byteorder", "little"}, {"g/data/0", six_bytes}});
}

std::string legacy_of(const std::string& pickle, const std::string& keys, const std::string& data) {
  return "\x80\x02\x8a\nl\xfc\x9c"s + "F\xf9 j\xa8P\x19." + pickle_of("M\xe9\x03") +
         pickle_of("}(" + text("little_endian") + "\x88u") + pickle + keys + data;
}

class TorchFile : public testing::Test {
 protected:
  std::vector<std::pair<std::string, TorchTensor>> read(const std::string& bytes) {
    std::ofstream(place_.path / "g.pt", std::ios::binary) << bytes;
    return read_torch_file(place_.path / "g.pt");
  }
  std::string error_of(const std::string& bytes) {
    try {
      read(bytes);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }
  Temporary place_;
};

TEST_F(TorchFile, ZipFormInTheFilesOrder) {
  const auto got = read(archive_of(dict_of(
      text("z") + tensor("0", 6, 0, {2, 3}, {3, 1}) + text("a") +
      tensor("0", 6, 1, {3, 1}, {2, 1}) + text("t") + tensor("0", 6, 0, {3, 2}, {1, 3}) +
      text("s") + tensor("0", 6, 5, {}, {}) + text("e") + tensor("0", 6, 0, {0, 4}, {4, 1}))));
  ASSERT_EQ(got.size(), 5u);
  EXPECT_EQ(got[0].first, "z");
  EXPECT_EQ(got[0].second.shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(to_floats(got[0].second.view()), six);
  EXPECT_EQ(to_floats(got[1].second.view()), (std::vector<float>{1, 3, 5}));
  EXPECT_EQ(to_floats(got[2].second.view()), (std::vector<float>{0, 3, 1, 4, 2, 5}));
  EXPECT_EQ(to_floats(got[3].second.view()), (std::vector<float>{5}));
  EXPECT_EQ(got[4].second.data.size(), 0u);
}

TEST_F(TorchFile, LegacyForm) {
  const std::string pickle = dict_of(text("w") + tensor("77", 6, 0, {6}, {1}));
  const std::string keys = pickle_of("](" + text("77") + "e"), data = field(6, 8) + six_bytes;
  const auto got = read(legacy_of(pickle, keys, data));
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(to_floats(got[0].second.view()), six);
  EXPECT_HAS(error_of(legacy_of(pickle, keys, data.substr(0, 31))),
             "storage 77: the file ends within it");
  EXPECT_HAS(error_of(legacy_of(pickle, keys, "")), "storage 77: the file ends before it");
  EXPECT_HAS(error_of(legacy_of(pickle, keys, field(~0ull, 8) + six_bytes)), "ends within it");
  EXPECT_HAS(error_of(legacy_of(pickle, keys, data + "x")), "bytes after the last storage");
  EXPECT_HAS(error_of(legacy_of(pickle, pickle_of("]"), "")), "w: storage 77 is absent");
  EXPECT_HAS(error_of(legacy_of(pickle, keys, field(5, 8) + six_bytes.substr(4))),
             "should hold 6 elements, found 20 bytes");
}

TEST_F(TorchFile, CodeIsNamedAndNeverRun) {
  const auto error = [&](const std::string& body) { return error_of(archive_of(pickle_of(body))); };
  EXPECT_HAS(error("cposix\nsystem\n(" + text("touch /tmp/x") + "tR"),
             "byte 2: GLOBAL posix system is not allowed");
  EXPECT_HAS(error("cbuiltins\neval\n)R"), "GLOBAL builtins eval");
  EXPECT_HAS(error("ctorch\nFloatStorage\n)R"), "REDUCE: cannot apply torch FloatStorage");
  EXPECT_HAS(error("(ios\nsystem\n"), "opcode INST is not allowed");
  EXPECT_HAS(error("(S'ls'\no"), "opcode STRING is not allowed");
  EXPECT_HAS(error("}(\x81"), "opcode NEWOBJ is not allowed");
  EXPECT_HAS(error(text("os") + text("system") + "\x93"), "opcode STACK_GLOBAL is not allowed");
  EXPECT_HAS(error("\x82\x01"), "opcode EXT1 is not allowed");
  EXPECT_HAS(error("P1\n"), "opcode PERSID is not allowed");
  EXPECT_HAS(error("\xff"), "opcode 255 is not allowed");
  EXPECT_HAS(error("\x80\x04"), "PROTO: a protocol other than 2");
}

TEST_F(TorchFile, BrokenPicklesAreNamed) {
  const auto error = [&](const std::string& body) { return error_of(archive_of(pickle_of(body))); };
  EXPECT_HAS(error(""), "STOP: not exactly one value");
  EXPECT_HAS(error("NN"), "STOP: not exactly one value");
  EXPECT_HAS(error("R"), "the stack is empty");
  EXPECT_HAS(error("N(\x86"), "the stack is empty");
  EXPECT_HAS(error("t"), "no MARK");
  EXPECT_HAS(error("h\x05"), "a memo slot that was never set");
  EXPECT_HAS(error("}(Nu"), "SETITEMS: a key without a value");
  EXPECT_HAS(error("N(NNu"), "SETITEMS on what is no dictionary");
  EXPECT_HAS(error("NNa"), "APPEND to what is no list");
  EXPECT_HAS(error("N}b"), "BUILD of what is no dictionary");
  EXPECT_HAS(error("(" + text("x") + "tQ"), "BINPERSID: not a storage");
  EXPECT_HAS(error("X" + field(0xffffffff, 4)), "the pickle ends too early");
  EXPECT_HAS(error("\x8a\x09" + std::string(9, 'x')), "LONG1: a number beyond 64 bits");
  EXPECT_HAS(error("c" + std::string(1000, 'x')), "GLOBAL: a name without an end");
  EXPECT_HAS(error(std::string(2000, '(')), "too many MARKs");
  EXPECT_HAS(error(std::string(2 << 20, 'N')), "too many values");
  EXPECT_HAS(error(std::string(17 << 20, 'N')), "the pickle is too long");
  EXPECT_HAS(error("N"), "expected a dictionary");
  EXPECT_HAS(error("]q\1h\1a"), "expected a dictionary");  // a list that contains itself
}

TEST_F(TorchFile, TensorsStayInsideTheirStorage) {
  const auto error = [&](const std::string& value) {
    return error_of(archive_of(dict_of(text("w") + value)));
  };
  EXPECT_EQ(error(tensor("0", 6, 0, {6}, {1})), "no error");
  EXPECT_HAS(error(tensor("0", 6, 1, {6}, {1})), "w: reaches beyond its storage");
  EXPECT_HAS(error(tensor("0", 6, 0, {2, 3}, {4, 1})), "w: reaches beyond its storage");
  EXPECT_HAS(error(tensor("0", 6, 0, {2, 2}, {1 << 30, 1 << 30})), "w: reaches beyond");
  EXPECT_HAS(error(tensor("0", 6, -1, {1}, {1})), "w: not built from");
  EXPECT_HAS(error(tensor("0", 6, 0, {-1}, {1})), "w: size and stride must be");
  EXPECT_HAS(error(tensor("0", 6, 0, {6}, {-1})), "w: size and stride must be");
  EXPECT_HAS(error(tensor("0", 6, 0, {6}, {})), "w: impossible shape");
  EXPECT_HAS(error(tensor("0", 6, 0, {1 << 30, 1 << 30, 1 << 30}, {0, 0, 0})), "impossible shape");
  EXPECT_HAS(error(tensor("0", 6, 0, {1 << 30, 1 << 20}, {0, 0})), "w: tensors far larger");
  EXPECT_HAS(error(tensor("1", 6, 0, {6}, {1})), "w: storage 1 is absent");
  EXPECT_HAS(error(tensor("0", 7, 0, {6}, {1})), "should hold 7 elements, found 24 bytes");
  EXPECT_HAS(error(tensor("0", 6, 0, {6}, {1}, "HalfStorage")), "should hold 6 elements");
  EXPECT_HAS(error(tensor("0", 6, 0, {6}, {1}, "QInt8Storage")), "GLOBAL torch QInt8Storage");
  EXPECT_HAS(error(number(3)), "w: expected a tensor");
  const std::string half = tensor("0", 3, 0, {17 << 20}, {0}, "DoubleStorage");  // of the limit
  EXPECT_HAS(error_of(archive_of(dict_of(text("v") + half + text("w") + half))),
             "w: tensors far larger than their file");
  const std::string w = text("w") + tensor("0", 6, 0, {6}, {1});
  EXPECT_HAS(error_of(archive_of(dict_of(w + w))), "w: stands twice");
  EXPECT_HAS(error_of(archive_of(dict_of(number(1) + "N"))), "names as keys");
}

TEST_F(TorchFile, ZipRulesAreNamed) {
  const std::string pickle = dict_of(text("w") + tensor("0", 6, 0, {6}, {1}));
  const std::string good = archive_of(pickle);
  const auto changed = [&](size_t at, const std::string& bytes) {
    return error_of(std::string(good).replace(at, bytes.size(), bytes));
  };
  const size_t end = good.size() - 22, directory = good.find("PK\1\2");
  EXPECT_EQ(error_of(good), "no error");
  EXPECT_HAS(changed(directory + 8, "\1"), "g/data.pkl: encrypted");
  EXPECT_HAS(changed(directory + 10, "\x08"), "g/data.pkl: compressed");
  EXPECT_HAS(changed(8, "\x08"), "g/data.pkl: local header says compressed");
  EXPECT_HAS(changed(30, "h"), "g/data.pkl: local header has another name");
  EXPECT_HAS(changed(0, "PK\3\4"), "no error");
  EXPECT_HAS(changed(directory + 42, "\1"), "g/data.pkl: no local header");
  EXPECT_HAS(changed(directory + 42, "\xff\xff\xff\x7f"), "g/data.pkl: header outside");
  EXPECT_HAS(changed(directory + 20, "\1"), "g/data.pkl: two sizes");
  EXPECT_HAS(changed(directory + 20, "\xff\xff\xff\x7f\xff\xff\xff\x7f"), "data outside");
  EXPECT_HAS(changed(directory + 24, "\xff\xff\xff\xff"), "g/data.pkl: beyond 4 GB");
  EXPECT_HAS(changed(directory - 1, "x"), "g/data/0: checksum differs");
  EXPECT_HAS(changed(directory, "x"), "central directory: broken line");
  EXPECT_HAS(changed(directory + 28, "\xff\xff"), "central directory: line beyond its end");
  EXPECT_HAS(changed(end + 4, "\1"), "an archive in several parts");
  EXPECT_HAS(changed(end + 8, "\2\0\2"s), "central directory: bytes after its last line");
  EXPECT_HAS(changed(end + 16, "\xff\xff"), "central directory outside the file");
  EXPECT_HAS(changed(end, "x"), "no end of the central directory");
  EXPECT_HAS(error_of(zip_of({{"a/data.pkl", pickle}, {"a/data.pkl", pickle}})),
             "a/data.pkl: twice");
  EXPECT_HAS(error_of(zip_of({{"data.pkl", pickle}})), "an entry NAME/data.pkl");
  EXPECT_HAS(error_of(zip_of({{"g/data.pkl", pickle}, {"g/byteorder", "big"}})), "found big");
  EXPECT_HAS(error_of(good.substr(0, 10)), "too short for an archive");
  EXPECT_HAS(error_of("hello"), "expected a file of torch.save");
  EXPECT_HAS(error_of(""), "expected a file of torch.save");
}

TEST_F(TorchFile, EntriesMayNotOverlap) {
  const std::string inner = zip_of({{"g/data/0", six_bytes}});
  std::string outer = zip_of({{"g/x", inner}, {"g/data/0", six_bytes}});
  const size_t second = outer.rfind("PK\1\2");  // point it into the first entry's data
  outer.replace(second + 42, 4, field(outer.find("PK\3\4", 4), 4));
  EXPECT_HAS(error_of(outer), "g/data/0: overlaps another entry");
}

TEST_F(TorchFile, MutatedFilesNeverCrash) {
  const std::string pickle = dict_of(text("w") + tensor("77", 6, 0, {2, 3}, {3, 1}) + text("v") +
                                     tensor("77", 6, 1, {2}, {2}));
  const std::string keys = pickle_of("](" + text("77") + "e"), data = field(6, 8) + six_bytes;
  const std::vector<std::string> good = {legacy_of(pickle, keys, data), archive_of(pickle)};
  Random random(1);
  int errors = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string bad = good[round % 2];
    for (uint64_t n = 1 + random.below(3); n > 0; --n) {
      bad[random.below(bad.size())] = char(random.below(256));
    }
    if (round % 4 == 3) bad = archive_of(bad.substr(40, pickle.size()));  // past the checksums
    if (random.below(8) == 0) bad.resize(random.below(bad.size()));
    errors += error_of(bad) != "no error";
  }
  EXPECT_GT(errors, 2000);
}

}  // namespace
}  // namespace revenant
