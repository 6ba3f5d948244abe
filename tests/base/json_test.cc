#include "base/json.h"

#include <gtest/gtest.h>

#include <ctime>

#include "support/temporary.h"

namespace revenant {
namespace {

std::string complaint(const std::string& text, size_t levels = most_json_levels) {
  try {
    parse_json(text, {"test", "a.json"}, levels);
    return "none";
  } catch (const Error& e) {
    return e.what();
  }
}

std::string repeated(const std::string& text, size_t n) {
  std::string all;
  for (size_t i = 0; i < n; ++i) all += text;
  return all;
}

TEST(Place, SaysRoomFileAndThePathInside) {
  const Place place{"config", "m/config.json"};
  EXPECT_EQ(place.text(), "m/config.json");
  EXPECT_EQ((place / "rope_scaling" / "short_factor")[3].text(),
            "m/config.json: rope_scaling.short_factor[3]");
  try {
    (place / "a").fail("one", "two");
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "[config] m/config.json: a: expected one, found two");
  }
}

// A million levels: whatever calls itself a level dies of it.
TEST(Json, RefusesDeepNestingAtItsByte) {
  for (const std::string open : {"[", "{\"a\":"}) {
    for (const size_t levels : {size_t(1'000'000), most_json_levels + 1})
      EXPECT_EQ(complaint(repeated(open, levels)),
                "[test] a.json: byte " + std::to_string(open.size() * most_json_levels) +
                    ": expected at most 512 levels of JSON, found deeper nesting");
  }
  const std::string most = repeated("[", most_json_levels) + repeated("]", most_json_levels);
  EXPECT_EQ(complaint(most), "none");
  EXPECT_EQ(complaint(R"(["[[[[\"[[", [{"[": "\\"}]])", 3), "none");
  EXPECT_NE(complaint(R"([[{"\\": []}]])", 3), "none");
  EXPECT_EQ(complaint(R"({"]]]]": 1, "a": [1], "b": [2], "c": [3]})", 2), "none");
}

TEST(Json, NamesAKeyThatStandsTwiceByItsPath) {
  EXPECT_EQ(complaint(R"({"a": [{"b": 1}, {"b": 2}], "c": {"b": 1, "d": 1, "b": 2}})"),
            "[test] a.json: c.b: expected unique keys, found \"b\" twice");
  EXPECT_EQ(complaint(R"({"a": 1, "\u0061": 2})"),
            "[test] a.json: a: expected unique keys, found \"a\" twice");
}

TEST(Json, SaysWhereItEndsToBeJsonInAShortLine) {
  const std::string text = complaint("{\n  \"a\": 1,\n  \"b\": tru}");
  EXPECT_NE(text.find("a.json: expected JSON, found parse error at line 3, column 11"),
            std::string::npos)
      << text;
  for (const std::string& bad :
       {"\"" + std::string(1'000'000, 'a'), std::string(100'000, '1') + "x",
        "{\"" + std::string(1'000'000, 'k') + "\": 1, \"" + std::string(1'000'000, 'k') + "\": 2}"})
    EXPECT_LT(complaint(bad).size(), 500u);
  for (const std::string bad : {"", "\xEF\xBB\xBF", "[1] 2", "\"\xFF\"", "[1,]"})
    EXPECT_NE(complaint(bad), "none") << bad;
}

TEST(Json, BuildsWhatThePlainParserBuilds) {
  for (const std::string text :
       {R"([])", R"({})", R"("a")", R"(-3)", R"(18446744073709551615)", R"(1.5e300)", R"(null)",
        R"({"b": [1, -2, 2.5, true, null, "x\u00e4", {"c": [[], {}, [{}]]}], "a": {"": 0}})"}) {
    const nlohmann::json plain = nlohmann::json::parse(text);
    EXPECT_EQ(parse_json(text, {"test", "a.json"}), plain) << text;
    EXPECT_EQ(parse_json(text, {"test", "a.json"}).type(), plain.type()) << text;
  }
  EXPECT_NE(complaint("1e999"), "none");
}

// A training set is one list of hundreds of thousands of rows: with a look at all of them after
// each one this takes minutes.
TEST(Json, TakesTimeInProportionToALongList) {
  constexpr int rows = 300'000;
  std::string text = "[";
  for (int i = 0; i < rows; ++i) text += R"({"id": 1, "turns": [{"from": "human"}]},)";
  text.back() = ']';
  const std::clock_t begin = std::clock();
  EXPECT_EQ(parse_json(text, {"test", "a.json"}).size(), size_t(rows));
  EXPECT_LT(double(std::clock() - begin) / CLOCKS_PER_SEC, 20);
}

TEST(Json, PassesOverAByteOrderMark) {
  EXPECT_EQ(parse_json("\xEF\xBB\xBF{\"a\": 1}", {"test", "a.json"}), nlohmann::json({{"a", 1}}));
}

TEST(Json, ReadsFilesUpToASize) {
  const Temporary directory;
  const Path file = directory.path / "a.json";
  write_file(file, "[1, 2]");
  EXPECT_EQ(read_json(file), nlohmann::json({1, 2}));
  EXPECT_EQ(read_json(file, "test", 6), nlohmann::json({1, 2}));
  EXPECT_THROW(read_json(file, "test", 5), Error);
}

TEST(Json, ShowsValuesInOneShortLineOfAscii) {
  EXPECT_EQ(shown({1, "\xC3\xA4\n\xFF"}), R"([1,"\u00e4\n\ufffd"])");
  EXPECT_EQ(shown(std::string(1000, 'a')), "\"" + std::string(76, 'a') + "...");
}

}  // namespace
}  // namespace revenant
