// files/preferences.parquet is pyarrow's: five pairs as Hugging Face's `datasets` stores them, two
// a row group, with pictures of one pixel as {bytes, path}; the third has none, the fourth two.
#include "data/parquet.h"

#include <nlohmann/json.hpp>

#include "data/check.h"
#include "data/rows_fixture.h"

namespace revenant {
namespace {

const Path rows_file = Path(REVENANT_SOURCE_DIR) / "tests/data/files/preferences.parquet";

bool has_arrow() {
  return std::filesystem::exists(Path(REVENANT_BIN_DIR) / "librevenant_parquet.so");
}

std::string refusal(const Path& file) {
  try {
    read_rows(file);
    return "no error";
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(Parquet, RowsWithTheirPictures) {
  if (!has_arrow()) {
    EXPECT_EQ(refusal(rows_file), "[data] " + rows_file.string() +
                                      ": expected a build that reads Parquet (cmake "
                                      "-DREVENANT_PARQUET=ON, with Arrow: docs/data.md), found "
                                      "one without Arrow");
    return;
  }
  const std::vector<Row> rows = read_rows(rows_file);
  ASSERT_EQ(rows.size(), 5u);
  EXPECT_EQ(told(rows[0]), "<image>\nWhat is 0?|good 0|not bad 0|inside /images/0/bytes");
  EXPECT_EQ(told(rows[2]), "What is 2?|good 2|not bad 2");
  EXPECT_EQ(told(rows[3]),
            "<image><image>\nWhat is 3?|good 3|not bad 3|inside /images/0/bytes|"
            "inside /images/1/bytes");
  EXPECT_EQ(rows[4].id, "4");
  const auto pixel = [&](size_t row, size_t picture) {
    return read_picture(rows[row].images.at(picture)).rgb;
  };
  // From one row group to another and back.
  for (const uint8_t row : {4, 0, 3, 1})
    EXPECT_EQ(pixel(row, 0), (std::vector<uint8_t>{uint8_t(10 * row), 0, 7}));
  EXPECT_EQ(pixel(3, 1), (std::vector<uint8_t>{200, 3, 0}));
  EXPECT_EQ(group_rows(rows).size(), 5u);
  EXPECT_TRUE(picture_files(rows).empty());
  EXPECT_EQ(read_rows(rows_file, {.limit = 3}).size(), 3u);
}

TEST(Parquet, ADamagedFileIsAnError) {
  if (!has_arrow()) return;
  const Temporary place;
  const Path file = place.path / "rows.parquet";
  const std::string whole = read_file(rows_file);
  for (const size_t size : {size_t(4), size_t(100), whole.size() - 1}) {
    made_up::write(file, whole.substr(0, size));
    EXPECT_NE(refusal(file).find(file.string()), std::string::npos) << size;
  }
  for (size_t at = 4; at < whole.size(); at += 29) {  // an Error, or rows; nothing else
    std::string bytes = whole;
    bytes[at] = char(bytes[at] ^ 0x55);
    made_up::write(file, bytes);
    try {
      for (const Row& row : read_rows(file))
        for (const Picture& picture : row.images) read_picture(picture);
    } catch (const Error&) {
    }
  }
}

TEST(Parquet, IsChecked) {
  if (!has_arrow()) return;
  const CheckTotals totals =
      check_rows(rows_file, {}, [](const Finding& finding) { ADD_FAILURE() << finding.text(); });
  EXPECT_EQ(totals.rows, 5u);
  EXPECT_EQ(totals.pairs, 5u);
  EXPECT_EQ(totals.pictures, 5u);
  EXPECT_EQ(totals.decoded, 5u);
  EXPECT_EQ(totals.text_only, 1u);
}

}  // namespace
}  // namespace revenant
