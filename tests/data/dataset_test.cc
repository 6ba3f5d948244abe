#include "data/dataset.h"

#include "data/rows_fixture.h"

namespace revenant {
namespace {

using ReadRows = Rows;

const std::string kTalk = R"("conversations":[{"from":"human","value":"<image>\nWhat?"},
                             {"from":"gpt","value":"dog"}])";

TEST_F(ReadRows, ReadsEveryField) {
  made_up::write(file, R"([{"id":"x-1","image":"a.png",)" + kTalk +
                           R"(,"rejected":"cat","task":"name","split":"test","wording":"seen",
                              "source":"emoji"}])");
  const std::vector<Row> rows = read_rows(file);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].id, "x-1");
  EXPECT_EQ(rows[0].images, std::vector<Picture>{folder / "a.png"});
  EXPECT_EQ(rows[0].question, "<image>\nWhat?");
  EXPECT_EQ(rows[0].answer, "dog");
  EXPECT_EQ(rows[0].rejected, "cat");
  EXPECT_EQ(rows[0].task + rows[0].split + rows[0].wording + rows[0].source, "nametestseenemoji");
  EXPECT_TRUE(rows[0].later.empty());
}

TEST_F(ReadRows, ReadsPlainConversationsOfManyTurnsAndPictures) {
  made_up::write(file, R"([{"id":7,"image":["a.png","b.png"],"conversations":[
      {"from":"human","value":"<image> and?"},{"from":"gpt","value":"A"},
      {"from":"user","value":"Now <image>?"},{"from":"assistant","value":"B"}]},
      {"conversations":[{"from":"human","value":"Hello"},{"from":"gpt","value":"Hi"}]}])");
  const std::vector<Row> rows = read_rows(file);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].id, "7");
  EXPECT_EQ(rows[0].images.size(), 2u);
  ASSERT_EQ(rows[0].later.size(), 1u);
  EXPECT_EQ(rows[0].later[0].question, "Now <image>?");
  EXPECT_EQ(rows[0].later[0].answer, "B");
  EXPECT_TRUE(rows[1].images.empty());
}

TEST_F(ReadRows, ErrorsNameFileRowAndKey) {
  const std::string good = R"([{"image":"a.png",)" + kTalk + "},";
  EXPECT_EQ(after_row(good + R"({"image":"c.png",)" + kTalk + "}]"),
            "2.image: expected a file, found " + (folder / "c.png").string());
  EXPECT_EQ(after_row(R"([{"image":["a.png",3],)" + kTalk + "}]"),
            "1.image[1]: expected a string, found 3");
  EXPECT_EQ(after_row(good + "{" + kTalk + "}]"),
            "2.conversations: expected 0 <image> marks, one a picture, found 1");
  EXPECT_EQ(after_row(good + R"({"image":["a.png","b.png"],)" + kTalk + "}]"),
            "2.conversations: expected 2 <image> marks, one a picture, found 1");
  EXPECT_EQ(after_row(good + "5]"), "2: expected an object, found 5");
  EXPECT_EQ(after_row(good + "{}]"), "2.conversations: expected a list, found null");
  EXPECT_EQ(after_row(R"([{"conversations":[]}])"),
            "1.conversations: expected pairs of human and gpt, found 0 messages");
  EXPECT_EQ(after_row(R"([{"conversations":[{"from":"human","value":"a"},
                                            {"from":"gpt","value":"b"},
                                            {"from":"human","value":"c"}]}])"),
            "1.conversations: expected pairs of human and gpt, found 3 messages");
  EXPECT_EQ(after_row(R"([{"conversations":[{"from":"human"},{"from":"gpt","value":"b"}]}])"),
            "1.conversations[0]: expected {\"from\", \"value\"}, found {\"from\":\"human\"}");
  EXPECT_EQ(after_row(R"([{"conversations":[{"from":"gpt","value":"a"},
                                            {"from":"gpt","value":"b"}]}])"),
            "1.conversations[0].from: expected \"human\", found \"gpt\"");
  EXPECT_EQ(after_row(R"([{"conversations":[{"from":"human","value":"a"},
                                            {"from":"human","value":"b"}]}])"),
            "1.conversations[1].from: expected \"gpt\", found \"human\"");
  EXPECT_EQ(after_row(R"([{"conversations":[{"from":"human","value":"a"},
                                            {"from":"gpt","value":"b"},
                                            {"from":"human","value":"c"},
                                            {"from":"gpt","value":""}]}])"),
            "1.conversations[3].value: expected an answer, found \"\"");
  EXPECT_EQ(after_row(R"([{"conversations":[{"from":"human","value":1},
                                            {"from":"gpt","value":"b"}]}])"),
            "1.conversations[0].value: expected a string, found 1");
}

TEST_F(ReadRows, EveryTextFieldMustBeText) {
  for (const std::string key : {"id", "task", "split", "wording", "source"}) {
    const std::string talk = R"("conversations":[{"from":"human","value":"a"},
                                                 {"from":"gpt","value":"b"}])";
    EXPECT_EQ(after_row("[{\"" + key + "\":[1]," + talk + "}]"),
              "1." + key + ": expected a string, found [1]");
    made_up::write(file, "[{\"" + key + "\":null," + talk + "}]");
    EXPECT_EQ(read_rows(file).size(), 1u);
  }
}

// Asked without what they show, such rows would train and score blindness.
TEST_F(ReadRows, WhatIsNotShownIsRefusedByName) {
  const std::string talk = R"("conversations":[{"from":"human","value":"a"},
                                               {"from":"gpt","value":"b"}])";
  EXPECT_EQ(after_row(R"([{"images":["a.png"],)" + talk + "}]"),
            "1.conversations: expected 1 <image> marks, one a picture, found 0");
  for (const std::string key : {"video", "videos", "audio", "audios", "tools"})
    EXPECT_EQ(after_row("[{\"" + key + "\":\"a.mp4\"," + talk + "}]"),
              "1." + key +
                  ": expected nothing: only pictures are shown, and no tools called, found "
                  "\"a.mp4\"");
  made_up::write(file, R"([{"images":[],"video":null,"model":"x",)" + talk + "}]");
  EXPECT_EQ(read_rows(file).size(), 1u);
}

TEST_F(ReadRows, RefusesWhatIsNoList) {
  EXPECT_EQ(after_row("{}"), "1.conversations: expected a list, found null");
  EXPECT_EQ(error_of("rows"), "[data] " + file.string() +
                                  ": expected rows of JSON, JSONL or Parquet, found \"rows\"");
  EXPECT_NE(error_of("[{").find("parse error"), std::string::npos);
  EXPECT_NE(error_of(" \n").find("found an empty file"), std::string::npos);
  EXPECT_NE(error_of("[1e999]").find("number overflow"), std::string::npos) << error_of("[1e999]");
  made_up::write(file, "[]");
  EXPECT_TRUE(read_rows(file).empty());
}

TEST_F(ReadRows, DepthHasABound) {
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  EXPECT_NE(error_of(deep).find(file.string()), std::string::npos);
  EXPECT_NE(error_of(deep).find("levels of JSON"), std::string::npos) << error_of(deep);
  std::string rows = "[{\"deep\":" + deep + "," + kTalk + "}]";
  EXPECT_NE(error_of(rows).find("levels of JSON"), std::string::npos);
}

TEST_F(ReadRows, FilesAsOtherProgramsWriteThem) {
  made_up::write(file, "\xEF\xBB\xBF[\r\n{\"image\":\"a.png\",\r\n" + kTalk + "}\r\n]\r\n");
  EXPECT_EQ(read_rows(file).size(), 1u);
}

TEST_F(ReadRows, PathsOfPictures) {
  const auto image = [&](const std::string& path) {
    made_up::write(file, "[{\"image\":\"" + path + "\"," + kTalk + "}]");
    return read_rows(file).at(0).images.at(0).file;
  };
  made_up::write_drawing(folder / "with space/\xC3\xA9%20.png", "c");
  std::filesystem::create_directories(folder / "sub");
  EXPECT_TRUE(std::filesystem::equivalent(image("sub/../b.png"), folder / "b.png"));
  EXPECT_EQ(image((folder / "b.png").string()), folder / "b.png");
  EXPECT_EQ(image("with space/\xC3\xA9%20.png"),
            folder / "with space/\xC3\xA9%20.png");  // as it stands
  EXPECT_EQ(image("with space/\\u00e9%20.png"), folder / "with space/\xC3\xA9%20.png");
  for (const std::string bad :
       {"with%20space/\xC3\xA9%20.png", "sub", "", "file:///a.png", "A.PNG", "a.png\\u0000"})
    EXPECT_THROW(image(bad), Error) << bad;
}

// 20,000 rows are read in well under a second; quadratic, they would take minutes.
TEST_F(ReadRows, ManyRows) {
  std::string rows = "[";
  for (int i = 0; i < 20'000; ++i)
    rows += (i ? ",{\"id\":" : "{\"id\":") + std::to_string(i) +
            (i % 3 ? ",\"image\":\"a.png\"," : ",\"image\":\"b.png\",") + kTalk + "}";
  made_up::write(file, rows + "]");
  const std::vector<Row> read = read_rows(file);
  ASSERT_EQ(read.size(), 20'000u);
  EXPECT_EQ(read[19'999].id, "19999");
  EXPECT_EQ(read_rows(file, {.limit = 7}).size(), 7u);
  EXPECT_EQ(read_rows(file, {.limit = 7}).back().id, "6");
  EXPECT_EQ(read_rows(file, {.limit = 30'000}).size(), 20'000u);
  EXPECT_EQ(group_rows(read).size(), 13'334u);
}

std::vector<std::pair<size_t, size_t>> groups_of(const std::vector<std::vector<Path>>& images) {
  std::vector<Row> rows(images.size());
  for (size_t i = 0; i < rows.size(); ++i)
    rows[i].images.assign(images[i].begin(), images[i].end());
  std::vector<std::pair<size_t, size_t>> groups;
  for (const RowGroup& group : group_rows(rows)) groups.emplace_back(group.begin, group.end);
  return groups;
}

TEST(GroupRows, RowsThatFollowEachOtherAndShareAllTheirPictures) {
  using Groups = std::vector<std::pair<size_t, size_t>>;
  EXPECT_EQ(groups_of({}), Groups{});
  EXPECT_EQ(groups_of({{"a"}, {"a"}, {"b"}, {"a"}}), (Groups{{0, 2}, {2, 3}, {3, 4}}));
  EXPECT_EQ(groups_of({{"a", "b"}, {"a", "c"}}), (Groups{{0, 1}, {1, 2}}));
  EXPECT_EQ(groups_of({{"a", "b"}, {"b", "a"}, {"b"}}), (Groups{{0, 1}, {1, 2}, {2, 3}}));
  EXPECT_EQ(groups_of({{"a", "b"}, {"a", "b"}, {"a", "b"}}), (Groups{{0, 3}}));
  EXPECT_EQ(groups_of({{}, {}}), (Groups{{0, 1}, {1, 2}}));  // without pictures nothing is shared
}

}  // namespace
}  // namespace revenant
