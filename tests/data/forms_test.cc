// The forms in which people have rows, each as its own project writes it down.
#include "data/rows_fixture.h"
#include "image/image.h"

namespace revenant {
namespace {

using Forms = Rows;

TEST_F(Forms, JsonlEveryLineARowTheLastOneWithoutItsLineBreakToo) {
  const std::string one =
      R"({"conversations":[{"from":"human","value":"1"},{"from":"gpt","value":"a"}]})";
  const std::string two =
      R"({"conversations":[{"from":"human","value":"2"},{"from":"gpt","value":"b"}]})";
  for (const std::string name : {"rows.jsonl", "rows.json", "rows.txt"}) {
    file = folder / name;
    for (const std::string& text :
         {one + "\n" + two, one + "\n" + two + "\n", one + "\r\n" + two + "\r\n",
          "\xEF\xBB\xBF" + one + "\n\n \r\n" + two + "\n\n"}) {
      const std::vector<Row> rows = rows_of(text);
      ASSERT_EQ(rows.size(), 2u) << name;
      EXPECT_EQ(told(rows[0]), "1|a");
      EXPECT_EQ(told(rows[1]), "2|b");
    }
    EXPECT_EQ(rows_of(one).size(), 1u);
    EXPECT_NE(
        after_row(one + "\n{\"conversations\":\n" + two).find("2: expected JSON, found parse"),
        std::string::npos);
  }
  file = folder / "rows.jsonl";
  EXPECT_TRUE(rows_of("").empty());
  EXPECT_NE(after_row("{\"id\n" + one).find("1: expected JSON, found parse"), std::string::npos);
}

TEST_F(Forms, AListOverManyLines) {
  EXPECT_EQ(
      told(rows_of("\n[\n {\"conversations\": [\n{\"from\":\"human\",\"value\":\"]}, \\\"[\"},"
                   "\n{\"from\":\"gpt\",\"value\":\"b\"}]\n}\n]\n")
               .at(0)),
      "]}, \"[|b");
  const std::string row = R"({"question":"1","answer":"a"})";
  EXPECT_EQ(rows_of("[" + row + " , " + row + "]").size(), 2u);
  const std::string list = "[data] " + file.string() + ": expected ";
  EXPECT_EQ(error_of("[" + row + "] x"), list + "nothing after the ] of the list, found \"x\"");
  EXPECT_EQ(error_of("[" + row), list + "] after the last row, found the end of the file");
  EXPECT_EQ(error_of("["), list + "] after the last row, found the end of the file");
  EXPECT_EQ(error_of("[" + row + ",]"), list + "a row after the last comma, found ]");
  EXPECT_NE(after_row("[" + row + row + "]").find("1: expected JSON"), std::string::npos);
}

TEST_F(Forms, ShareGptWithASystemMessage) {
  const std::vector<Row> rows = rows_of(
      R"([{"conversations":[{"from":"system","value":"Be brief."},{"from":"human","value":"Hi"},
                            {"from":"gpt","value":"Ho"}]},
          {"image":"a.png","conversations":[{"from":"system","value":"Be brief."},
             {"from":"human","value":"<image>\nWhat?"},{"from":"gpt","value":"A"}]}])");
  EXPECT_EQ(told(rows[0]), "Be brief.\n\nHi|Ho");
  EXPECT_EQ(told(rows[1]), "<image>\nBe brief.\n\nWhat?|A|a.png");
  EXPECT_EQ(after_row(R"([{"conversations":[{"from":"human","value":"Hi"},
                          {"from":"system","value":"x"}]}])"),
            "1.conversations[1].from: expected \"gpt\", found \"system\"");
  EXPECT_EQ(after_row(R"([{"conversations":[{"from":"human","value":"Hi"},
                          {"from":"observation","value":"x"}]}])"),
            "1.conversations[1].from: expected \"gpt\", found \"observation\"");
}

TEST_F(Forms, MessagesWithTextOrContentParts) {
  const std::vector<Row> rows = rows_of(R"([
    {"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Ho"},
                 {"role":"user","content":"So?"},{"role":"assistant","content":"Yes"}]},
    {"messages":[{"role":"user","content":[{"type":"image"},{"type":"text","text":"What?"}]},
                 {"role":"assistant","content":[{"type":"text","text":"A"}]}],
     "images":["b.png"]},
    {"messages":[{"role":"user","content":[{"type":"text","text":"Is "},
                    {"type":"image_url","image_url":{"url":"a.png"}},
                    {"type":"text","text":" like "},{"type":"image","image":"b.png"},
                    {"type":"text","text":"?","image":null}]},
                 {"role":"assistant","content":"No"}]}])");
  EXPECT_EQ(told(rows[0]), "Hi|Ho|So?|Yes");
  EXPECT_EQ(told(rows[1]), "<image>What?|A|b.png");
  EXPECT_EQ(told(rows[2]), "Is <image> like <image>?|No|a.png|b.png");
  EXPECT_EQ(after_row(R"([{"messages":[{"role":"assistant","content":"Hi"},
                                       {"role":"user","content":"Ho"}]}])"),
            "1.messages[0].role: expected \"user\", found \"assistant\"");
  EXPECT_EQ(after_row(R"([{"messages":[{"role":"user","content":"Hi"}]}])"),
            "1.messages: expected pairs of user and assistant, found 1 messages");
  EXPECT_EQ(after_row(R"([{"messages":[{"role":"user","content":[{"type":"video"}]},
                                       {"role":"assistant","content":"Ho"}]}])"),
            "1.messages[0].content[0].type: expected \"text\", \"image\" or \"image_url\", found "
            "\"video\"");
  EXPECT_EQ(after_row(R"([{"messages":[{"role":"user","content":[{"type":"image_url",
                            "image_url":{"url":"https://x.org/a.png"}}]},
                                       {"role":"assistant","content":"Ho"}]}])"),
            "1.messages[0].content[0].image_url.url: expected a file: nothing is fetched, found "
            "\"https://x.org/a.png\"");
}

// Without marks the pictures stand before the first question, as TRL puts them; LLaVA's rows mark
// theirs.
TEST_F(Forms, PicturesWithoutMarks) {
  EXPECT_EQ(told(rows_of(R"([{"images":["a.png","b.png"],"messages":[
      {"role":"user","content":"Same?"},{"role":"assistant","content":"No"}]}])")
                     .at(0)),
            "<image><image>\nSame?|No|a.png|b.png");
  EXPECT_EQ(after_row(R"([{"images":["a.png","b.png"],"messages":[
      {"role":"user","content":"<image>Same?"},{"role":"assistant","content":"No"}]}])"),
            "1.messages: expected 2 <image> marks, one a picture, found 1");
  EXPECT_EQ(after_row(R"([{"image":"a.png","conversations":[
      {"from":"human","value":"What?"},{"from":"gpt","value":"A"}]}])"),
            "1.conversations: expected 1 <image> marks, one a picture, found 0");
}

TEST_F(Forms, PreferencesOfTrl) {
  const std::vector<Row> rows = rows_of(R"([
    {"prompt":"The sky is","chosen":" blue.","rejected":" green."},
    {"prompt":[{"role":"user","content":"What?"}],"images":["a.png"],
     "chosen":[{"role":"assistant","content":"A"}],"rejected":[{"role":"assistant","content":"B"}]},
    {"prompt":[{"role":"user","content":"1"},{"role":"assistant","content":"2"},
               {"role":"user","content":[{"type":"image"},{"type":"text","text":"3"}]}],
     "image":"b.png","chosen":"4","rejected":"5"},
    {"chosen":"The sky is blue.","rejected":"The sky is green."},
    {"chosen":[{"role":"user","content":"Q"},{"role":"assistant","content":"A"}],
     "rejected":[{"role":"user","content":"Q"},{"role":"assistant","content":"B"}]},
    {"chosen":"gr\u00e9","rejected":"gr\u00e8"}])");
  EXPECT_EQ(told(rows[0]), "The sky is| blue.|not  green.");
  EXPECT_EQ(told(rows[1]), "<image>\nWhat?|A|not B|a.png");
  EXPECT_EQ(told(rows[2]), "1|2|<image>3|4|not 5|b.png");
  EXPECT_EQ(told(rows[3]), "The sky is| blue.|not  green.");
  EXPECT_EQ(told(rows[4]), "Q|A|not B");
  EXPECT_EQ(told(rows[5]), "gr|\xC3\xA9|not \xC3\xA8");
  EXPECT_EQ(after_row(R"([{"chosen":"a","rejected":"b"}])"),
            "1.chosen: expected the beginning of rejected, found \"a\"");
  EXPECT_EQ(after_row(R"([{"chosen":"a","rejected":"a"}])"),
            "1.rejected: expected another answer than the chosen one, found the same");
  EXPECT_EQ(after_row(R"([{"prompt":"a","rejected":"a"}])"),
            "1.chosen: expected an answer, found none");
  EXPECT_EQ(after_row(R"([{"prompt":"a","chosen":"b","rejected":""}])"),
            "1.rejected: expected an answer, found \"\"");
  EXPECT_EQ(after_row(R"([{"prompt":"a","chosen":[{"role":"user","content":"Q"},
                          {"role":"assistant","content":"A"}]}])"),
            "1.chosen: expected one message of the assistant, found 2 messages");
  EXPECT_EQ(after_row(R"([{"chosen":[{"role":"user","content":"Q"},
                          {"role":"assistant","content":"A"}],
                          "rejected":[{"role":"user","content":"R"},
                          {"role":"assistant","content":"B"}]}])"),
            "1.rejected: expected a prompt that both answers share, and one answer, found 2 "
            "messages");
  EXPECT_EQ(after_row(R"([{"prompt":"a","messages":[],"chosen":"b"}])"),
            "1.prompt: expected nothing here, where there is messages, found \"a\"");
}

TEST_F(Forms, OtherProgramsPairs) {
  const std::vector<Row> rows = rows_of(R"([
    {"conversations":[{"from":"human","value":"Q"}],"chosen":{"from":"gpt","value":"A"},
     "rejected":{"from":"gpt","value":"B"}},
    {"messages":[{"role":"user","content":"Q"},{"role":"assistant","content":"A"}],
     "rejected_response":"B"}])");
  EXPECT_EQ(told(rows[0]), "Q|A|not B");
  EXPECT_EQ(told(rows[1]), "Q|A|not B");
}

TEST_F(Forms, TriplesUnderAnyNames) {
  EXPECT_EQ(
      told(rows_of(R"([{"question":"Q","answer":"A","rejected":"B","image":"a.png"}])").at(0)),
      "<image>\nQ|A|not B|a.png");
  const FieldNames names = {
      {"question", "q"}, {"chosen", "a"}, {"rejected", "b"}, {"image", "img"}, {"messages", ""}};
  const std::string triple =
      R"({"q":"Q","a":"A","b":"B","img":"a.png","chosen":"C","messages":"M"})";
  EXPECT_EQ(told(rows_of("[" + triple + "]", {names}).at(0)), "<image>\nQ|A|not B|a.png");
  EXPECT_EQ(after_row("[" + triple + R"(,{"a":"A"}])", {names}),
            "2.conversations: expected a list, found null");
  EXPECT_EQ(after_row("[" + triple + R"(,{"q":"Q"}])", {names}),
            "2.a: expected an answer, found none");
  EXPECT_EQ(after_row("[" + triple + R"(,{"q":"Q","a":"A","img":"c.png"}])", {names}),
            "2.img: expected a file, found " + (folder / "c.png").string());
  EXPECT_EQ(told(rows_of(R"([{"question":"Q","chosen":"A","rejected":"B"}])",
                         {{{"chosen", "rejected"}, {"rejected", "chosen"}}})
                     .at(0)),
            "Q|B|not A");
  const std::string at = "[data] " + file.string() + ": ";
  EXPECT_EQ(error_of("[" + triple + "]",
                     {{{"question", "q"}, {"chosen", "a"}, {"image", "imgg"}, {"messages", ""}}}),
            at + "expected a field imgg in some row, found none");
  EXPECT_NE(
      error_of("[]", {{{"picture", "img"}}}).find(at + "fields: picture: expected one of id,"),
      std::string::npos);
}

TEST_F(Forms, PicturesInsideTheFile) {
  const std::string uri =
      "data:image/png;base64,"
      "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ"
      "\\/pLvAAAAAElFTkSuQmCC";
  const std::string row =
      R"({"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":")" + uri +
      R"("}}]},{"role":"assistant","content":"A"}]})";
  for (const std::string& text : {"[" + row + " ]", row + "\n" + row, " " + row}) {
    const Row read = rows_of(text).back();
    ASSERT_EQ(told(read), "<image>|A|inside /messages/0/content/0/image_url/url");
    const Image image = read_picture(read.images[0]);
    EXPECT_EQ(image.rgb, (std::vector<uint8_t>{255, 0, 0}));
  }
  const Row plain = rows_of(R"([{"question":"Q","answer":"A","image":{"path":"a.png"}},
                                {"question":"Q","answer":"A","image":"data:text,abc"}])")
                        .at(1);
  try {
    read_picture(plain.images.at(0));
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("/image: expected data:image/...;base64"),
              std::string::npos)
        << error.what();
  }
}

TEST_F(Forms, HomeInPathsOfPictures) {
  const char* home = std::getenv("HOME");
  const std::string before = home ? home : "";
  ::setenv("HOME", folder.c_str(), 1);
  const Path found =
      rows_of(R"([{"question":"Q","answer":"A","image":"~/a.png"}])").at(0).images.at(0).file;
  ::setenv("HOME", before.c_str(), 1);
  EXPECT_EQ(found, folder / "a.png");
}

class Meta : public Rows {
 protected:
  void SetUp() override {
    Rows::SetUp();
    made_up::write_drawing(folder / "root/p/a.png", "c");
    std::string lines;
    for (const char* n : {"0", "1", "2", "3"})
      lines += R"({"image":"p/a.png","conversations":[{"from":"human","value":"<image>)" +
               std::string(n) + R"("},{"from":"gpt","value":"x"}]})" + "\n";
    made_up::write(folder / "some.jsonl", lines);
    made_up::write(folder / "text.jsonl", R"({"question":"t","answer":"x"})");
    file = folder / "meta.json";
  }
  static std::string entry(const std::string& more) {
    return R"({"root":"root","annotation":"some.jsonl")" + more + "}";
  }
  std::string questions(const std::string& text, size_t limit = 0) {
    std::string all;
    for (const Row& row : rows_of(text, {{}, limit})) all += row.question.back();
    return all;
  }
};

TEST_F(Meta, RootAnnotationAndRepeatTimeAreHonoured) {
  EXPECT_EQ(rows_of("{\"s\":" + entry("") + "}").at(0).images.at(0).file, folder / "root/p/a.png");
  EXPECT_EQ(questions("{\"s\":" + entry("") + "}"), "0123");
  const auto times = [&](const std::string& number) {
    return questions("{\"s\":" + entry(",\"data_augment\":false,\"repeat_time\":" + number) +
                     ",\n\"t\":{\"root\":\"\",\"annotation\":\"text.jsonl\"}}");
  };
  EXPECT_EQ(times("1"), "0123t");
  EXPECT_EQ(times("3"), "012301230123t");
  EXPECT_EQ(times("0.5"), "01t");
  EXPECT_EQ(times("0.9"), "012t");
  EXPECT_EQ(times("0.1"), "t");
  EXPECT_EQ(questions("{\"s\":" + entry(",\"repeat_time\":3") + "}", 6), "012301");
}

TEST_F(Meta, WhatChangesNumbersIsRefusedByName) {
  const auto refused = [&](const std::string& more) {
    const std::string what = error_of("{\"s\":" + entry(more) + "}");
    return what.substr(what.find("s."));
  };
  EXPECT_EQ(refused(",\"data_augment\":true"),
            "s.data_augment: expected false: InternVL's noise is not applied here, found true");
  EXPECT_EQ(refused(",\"max_dynamic_patch\":12"),
            "s.max_dynamic_patch: expected root, annotation, repeat_time, data_augment or length, "
            "found a setting not honoured");
  for (const std::string bad : {"0", "-1", "1.5", "\"2\"", "1e300"})
    EXPECT_NE(refused(",\"repeat_time\":" + bad).find("a share of the rows below 1, or a whole"),
              std::string::npos);
  EXPECT_NE(error_of(R"({"s":{"annotation":"some.jsonl"}})").find("s.root: expected a path"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"s":{"root":"","annotation":"none.jsonl"}})").find("none.jsonl"),
            std::string::npos);
}

TEST_F(Meta, ItsDigestCoversItsAnnotations) {
  made_up::write(file, "{\"s\":" + entry("") + "}");
  const std::string before = digest_of_rows(file), lines = read_file(folder / "some.jsonl");
  made_up::write(folder / "some.jsonl", lines + "\n");
  EXPECT_NE(digest_of_rows(file), before);
  made_up::write(folder / "some.jsonl", lines);
  EXPECT_EQ(digest_of_rows(file), before);
  EXPECT_EQ(digest_of_rows(folder / "text.jsonl"),
            "bec1ab01e3aaf5086b33ea6d3d1589aae72d8661854838c149091c2ce360bd79");
}

}  // namespace
}  // namespace revenant
