#include "data/check.h"

#include "data/rows_fixture.h"
#include "image/tiles.h"
#include "text/train_bpe.h"

namespace revenant {
namespace {

class Check : public Rows {
 protected:
  CheckOptions options;
  std::vector<std::string> found;
  CheckTotals totals_of(const std::string& text) {
    made_up::write(file, text);
    found.clear();
    return check_rows(file, options, [&](const Finding& finding) {
      const std::string what = finding.text(), start = file.string() + ": ";
      EXPECT_TRUE(what.starts_with(start)) << what;
      found.push_back((finding.warning ? "warning " : "") + what.substr(start.size()));
    });
  }
  std::string one(const std::string& text) {
    totals_of(text);
    return found.size() == 1 ? found[0] : std::to_string(found.size()) + " findings";
  }
};

std::string row(const std::string& more, const std::string& answer = "A") {
  return R"({"question":"Q","answer":")" + answer + "\"" + (more.empty() ? "" : ",") + more + "}";
}

TEST_F(Check, NothingIsWrong) {
  const CheckTotals totals =
      totals_of("[" + row(R"("image":"a.png","rejected":"B","id":"1")") + "," +
                row(R"("image":"a.png")") + "," + row(R"("images":["a.png","b.png"])") + "," +
                R"({"conversations":[{"from":"human","value":"1"},{"from":"gpt","value":"2"},
                           {"from":"human","value":"3"},{"from":"gpt","value":"4"}]}])");
  EXPECT_TRUE(found.empty()) << found.front();
  EXPECT_TRUE(totals.good());
  EXPECT_EQ(totals.rows, 4u);
  EXPECT_EQ(totals.turns, 5u);
  EXPECT_EQ(totals.pairs, 1u);
  EXPECT_EQ(totals.text_only, 1u);
  EXPECT_EQ(totals.pictures, 4u);
  EXPECT_EQ(totals.decoded, 2u);
}

TEST_F(Check, EachFaultByPlaceFieldExpectedAndFound) {
  const std::string lines[] = {
      row(R"("rejected":"A")"),
      row(R"("image":"c.png")"),
      "{\"question\":",
      row("", " "),
      row(R"("rejected":"")"),
      R"({"image":"a.png","conversations":[{"from":"human","value":"Q"},{"from":"gpt","value":"A"}]})",
      R"({"conversations":[{"from":"human","value":"Q"},{"from":"human","value":"A"}]})",
      row(R"("images":["a.png",""],"rejected":" ")"),
      row(R"("image":"a.png")")};
  file = folder / "rows.jsonl";
  std::string text = "\n";
  for (const std::string& line : lines) text += line + "\n";
  const CheckTotals totals = totals_of(text);
  const std::vector<std::string> expected = {
      "row 1 (line 2): rejected: expected another answer than the chosen one, found the same",
      "row 2 (line 3): image: expected a file, found " + (folder / "c.png").string(),
      "row 3 (line 4): expected JSON, found parse error",
      "row 4 (line 5): answer: expected an answer, found \" \"",
      "row 5 (line 6): rejected: expected an answer, found \"\"",
      "row 6 (line 7): conversations: expected 1 <image> marks, one a picture, found 0",
      "row 7 (line 8): conversations[1].from: expected \"gpt\", found \"human\"",
      "row 8 (line 9): images[1]: expected a file, found " + (folder / "").string(),
      "row 8 (line 9): rejected: expected an answer, found \" \""};
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i)
    EXPECT_EQ(found[i].substr(0, expected[i].size()), expected[i]);
  EXPECT_EQ(totals.rows, 9u);
  EXPECT_EQ(totals.wrong, 8u);
  EXPECT_EQ(totals.findings, 9u);
  EXPECT_FALSE(totals.good());
}

TEST_F(Check, PicturesAreDecodedWhole) {
  const std::string whole = read_file(folder / "a.png");
  made_up::write(folder / "cut.png", whole.substr(0, whole.size() - 20));
  made_up::write(folder / "text.png", "no picture");
  for (const std::string name : {"cut.png", "text.png"}) {
    const std::string what = one("[" + row("\"images\":[\"a.png\",\"" + name + "\"]") + "]");
    EXPECT_TRUE(
        what.starts_with("row 1 (line 1): images[1]: expected a whole picture, found [image]"))
        << what;
  }
  // Named for every row that shows it, though decoded once.
  const CheckTotals totals =
      totals_of("[" + row(R"("image":"cut.png")") + "," + row(R"("image":"cut.png")") + "]");
  EXPECT_EQ(found.size(), 2u);
  EXPECT_EQ(totals.decoded, 1u);
  options.reading.max_pixels = 255;
  EXPECT_NE(one("[" + row(R"("image":"a.png")") + "]").find("255"), std::string::npos);
}

TEST_F(Check, IdsTwiceAreAWarning) {
  const CheckTotals totals = totals_of("[" + row(R"("id":"x")") + "," + row(R"("id":7)") + ",\n" +
                                       row(R"("id":"x")") + "]");
  EXPECT_EQ(found,
            std::vector<std::string>{
                "warning row 3 (line 2): id: expected an id of its own, found \"x\", row 1's "
                "too"});
  EXPECT_TRUE(totals.good());
  EXPECT_EQ(totals.warnings, 1u);
}

TEST_F(Check, FilesThatCannotBeReadToTheirEnd) {
  const CheckTotals totals = totals_of("[" + row("") + "," + row("", ""));
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0], "row 2 (line 1): answer: expected an answer, found \"\"");
  EXPECT_NE(found[1].find("] after the last row"), std::string::npos);
  EXPECT_EQ(totals.rows, 2u);
  EXPECT_EQ(one("[]"), "expected at least one row, found none");
  EXPECT_THROW(totals_of("rows"), Error);
}

TEST_F(Check, AMetaFilesPartsOnceEach) {
  made_up::write(folder / "some.jsonl", row("") + "\n" + row("", "") + "\n" + row("", ""));
  made_up::write(file, R"({"s":{"root":"","annotation":"some.jsonl","repeat_time":5,"length":4}})");
  std::vector<std::string> texts;
  const CheckTotals totals =
      check_rows(file, options, [&](const Finding& finding) { texts.push_back(finding.text()); });
  const std::string some = (folder / "some.jsonl").string();
  EXPECT_EQ(texts, (std::vector<std::string>{
                       some + ": row 2 (line 2): answer: expected an answer, found \"\"",
                       some + ": row 3 (line 3): answer: expected an answer, found \"\"",
                       some + ": s.length: expected 4 rows, found 3"}));
  EXPECT_EQ(totals.rows, 3u);
  EXPECT_EQ(totals.warnings, 1u);
}

TEST_F(Check, LengthsAreThoseOfTraining) {
  const std::vector<std::string> texts = {"user assistant Q A"};
  const std::vector<std::string> specials = {"<|endoftext|>", "<|im_start|>", "<|im_end|>",
                                             "<img>",         "</img>",       "<IMG_CONTEXT>"};
  made_up::write(folder / "tokenizer.json", train_byte_bpe(texts, 262, specials));
  const PromptRule& rule = prompt_rule(PromptFamily::phantom_qwen2);
  options.measure.emplace(Measure{rule, Tokenizer::open(folder), {.size = 8}, 4});
  const std::string rows = "[" + row(R"("image":"a.png","rejected":"BBBB")") + "," + row("") + "]";
  const CheckTotals totals = totals_of(rows);
  EXPECT_TRUE(totals.good());
  EXPECT_EQ(totals.measured, 2u);
  // <|im_start|>user\n <img> pictures </img> Q <|im_end|> <|im_start|>assistant\n BBBB <|im_end|>;
  // the picture of 16 x 16 has four tiles and a thumbnail of four tokens each.
  EXPECT_EQ(totals.longest, size_t(1 + 5 + 1 + 5 * 4 + 1 + 1 + 1 + 1 + 10 + 4 + 1));
  EXPECT_EQ(totals.tokens, totals.longest + (1 + 5 + 1 + 1 + 1 + 10 + 1 + 1));
  options.measure->max_length = int(totals.longest);
  EXPECT_TRUE(totals_of(rows).good());
  options.measure->max_length -= 1;
  EXPECT_EQ(one(rows), "row 1 (line 1): expected at most " + std::to_string(totals.longest - 1) +
                           " tokens (max_length), found " + std::to_string(totals.longest));
}

TEST_F(Check, ManyRowsOnSeveralThreads) {
  std::string text;
  for (int i = 0; i < 3000; ++i)
    text += row(i % 3 ? R"("image":"a.png")" : R"("image":"b.png")", i % 1000 ? "A" : "") + "\n";
  options.threads = 3;
  uint64_t last = 0;
  options.progress = [&](uint64_t done, uint64_t total) {
    EXPECT_GT(done, last);
    EXPECT_LE(done, total);
    last = done;
  };
  const CheckTotals totals = totals_of(text);
  EXPECT_EQ(totals.rows, 3000u);
  EXPECT_EQ(totals.decoded, 2u);
  EXPECT_EQ(found.size(), 3u);
  EXPECT_EQ(found[1].substr(0, 20), "row 1001 (line 1001)");
  EXPECT_GT(last, 0u);
}

}  // namespace
}  // namespace revenant
