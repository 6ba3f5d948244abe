#include "data/dataset.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "data/sources.h"
#include "support/temporary.h"

namespace revenant {
namespace {

class ReadRows : public testing::Test {
 protected:
  const Temporary place;
  const Path folder = place.path;
  Path file = folder / "rows.json";
  void SetUp() override {
    made_up::write_drawing(folder / "a.png", "a");
    made_up::write_drawing(folder / "b.png", "b");
  }
  std::string error_of(const std::string& json) {
    made_up::write(file, json);
    try {
      read_rows(file);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }
  std::string after_row(const std::string& json) {
    const std::string what = error_of(json), start = "[data] " + file.string() + ": row ";
    return what.starts_with(start) ? what.substr(start.size()) : what;
  }
};

const std::string kTalk = R"("conversations":[{"from":"human","value":"<image>\nWhat?"},
                             {"from":"gpt","value":"dog"}])";

TEST_F(ReadRows, ReadsEveryField) {
  made_up::write(file, R"([{"id":"x-1","image":"a.png",)" + kTalk +
                           R"(,"rejected":"cat","task":"name","split":"test","wording":"seen",
                              "source":"emoji"}])");
  const std::vector<Row> rows = read_rows(file);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].id, "x-1");
  EXPECT_EQ(rows[0].images, std::vector<Path>{folder / "a.png"});
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
            "2: image: expected a file, found " + (folder / "c.png").string());
  EXPECT_EQ(after_row(good + "{" + kTalk + "}]"),
            "2: conversations: expected 0 <image> marks, one a picture, found 1");
  EXPECT_EQ(after_row(good + R"({"image":["a.png","b.png"],)" + kTalk + "}]"),
            "2: conversations: expected 2 <image> marks, one a picture, found 1");
  EXPECT_EQ(after_row(good + "5]"), "2: row: expected an object, found 5");
  EXPECT_EQ(after_row(good + "{}]"), "2: conversations: expected a list, found null");
  EXPECT_EQ(after_row(R"([{"conversations":[]}])"),
            "1: conversations: expected pairs of human and gpt, found 0 messages");
  EXPECT_EQ(after_row(R"([{"conversations":[{"from":"gpt","value":"a"},
                                            {"from":"gpt","value":"b"}]}])"),
            "1: conversations: from: expected \"human\", found \"gpt\"");
  EXPECT_EQ(after_row(R"([{"task":3,"conversations":[{"from":"human","value":"a"},
                                                     {"from":"gpt","value":"b"}]}])"),
            "1: task: expected a string, found 3");
  EXPECT_EQ(after_row(R"([{"conversations":[{"from":"human","value":"a"},
                                            {"from":"gpt","value":""}]}])"),
            "1: conversations: value: expected an answer, found \"\"");
  EXPECT_EQ(after_row(R"([{"conversations":[{"from":"human","value":1},
                                            {"from":"gpt","value":"b"}]}])"),
            "1: conversations: value: expected a string, found 1");
}

TEST_F(ReadRows, RefusesWhatIsNoList) {
  EXPECT_EQ(error_of("{}"), "[data] " + file.string() + ": expected a list of rows, found {}");
  EXPECT_NE(error_of("[{").find("parse error"), std::string::npos);
  EXPECT_NE(error_of("").find("parse error"), std::string::npos);
}

}  // namespace
}  // namespace revenant
