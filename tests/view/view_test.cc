// `revenant view` from outside, on a random model with both mechanisms: the page and the numbers.
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <set>

#include "cli/program.h"
#include "image/image.h"
#include "support/random_checkpoint.h"

namespace revenant {
namespace {

using nlohmann::json;
using Words = std::vector<std::string>;

class View : public testing::Test {
 protected:
  void SetUp() override {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    place_ = Path(testing::TempDir()) / ("view_" + std::to_string(::getpid()) + info->name());
    std::filesystem::remove_all(place_);
    write_random_phantom(place_ / "model", 3);
    json config = json::parse(read_file(place_ / "model" / "config.json"));
    config["revenant"] = {{"phantom", true}, {"phantom_eta", 0.5}, {"trol", true}};
    write_random_checkpoint(place_ / "model", config, 5);
    Image picture = blank_image(120, 60);
    Random random(1);
    for (uint8_t& level : picture.rgb) level = uint8_t(random.below(256));
    write_file(place_ / "picture.png", encode_png(picture));
  }
  void TearDown() override { std::filesystem::remove_all(place_); }

  Outcome view(const Words& more) const {
    Words words = {"view", "-o", path("view.html"), "-n", "6"};
    if (std::ranges::find(more, "-m") == more.end())
      words.insert(words.end(), {"-m", path("model")});
    words.insert(words.end(), more.begin(), more.end());
    return run_program(place_, words);
  }
  json numbers(Words more) const {
    more.insert(more.end(), {"--json", "-"});
    const Outcome got = view(more);
    EXPECT_EQ(got.code, 0) << got.err;
    return json::parse(got.out);
  }
  std::string path(const char* name) const { return (place_ / name).string(); }
  std::string page() const { return read_file(path("view.html")); }

  Path place_;
};

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++n;
  return n;
}

TEST_F(View, NumbersHaveTheShapesOfTheDocs) {
  const json seen = numbers({"--image", path("picture.png"), "-p", "what?", "--heads"});
  const size_t prompt = seen["prompt_tokens"], rows = seen["tokens"].size();
  EXPECT_EQ(seen["format"], "revenant-look-1");
  EXPECT_EQ(seen["ids"].size(), rows);
  EXPECT_EQ(rows, prompt + 6);
  EXPECT_EQ(seen["model"]["phantom_eta"], 0.5);
  EXPECT_EQ(seen["model"]["trol_passes"], 2);
  EXPECT_EQ(seen["model"]["name"], "model");
  const json& picture = seen["pictures"][0];
  EXPECT_EQ(picture, json({{"width", 120},
                           {"height", 60},
                           {"columns", 2},
                           {"rows", 1},
                           {"thumbnail", true},
                           {"tile_side", 2},
                           {"tokens", 12},
                           {"first_row", picture["first_row"]}}));
  const size_t first = picture["first_row"];
  EXPECT_EQ(seen["tokens"][first]["kind"], "picture");
  EXPECT_NE(seen["tokens"][first - 1]["kind"], "picture");
  EXPECT_EQ(seen["tokens"][first + 11]["kind"], "picture");
  EXPECT_NE(seen["tokens"][first + 12]["kind"], "picture");
  ASSERT_EQ(seen["trol"]["gate"].size(), 1u);
  ASSERT_EQ(seen["trol"]["gate"][0].size(), 2u);
  EXPECT_EQ(seen["trol"]["gate"][0][1].size(), prompt);
  const json& phantom = seen["phantom"];
  EXPECT_EQ(phantom["half_weight"].size(), 2u);
  EXPECT_EQ(phantom["half_weight"][1].size(), rows);
  EXPECT_EQ(phantom["half_weight"][1][0].size(), 2u);
  for (const char* name : {"value_by_row", "output_by_row"})
    EXPECT_EQ(phantom[name][1].size(), rows) << name;
  for (const char* name : {"output_by_head", "score_by_head"})
    EXPECT_EQ(phantom[name][1].size(), 2u) << name;
  EXPECT_EQ(phantom["value_by_head"][1].size(), 1u);
  ASSERT_EQ(seen["attention"].size(), 6u);
  EXPECT_EQ(seen["attention"][5][1][1].size(), prompt + 5);
  double sum = 0;
  for (const json& weight : seen["attention"][5][1][1]) sum += weight.get<double>();
  EXPECT_NEAR(sum, 1, 1e-3);
}

TEST_F(View, GatesAreThoseOfTheRowsThatTraverse) {
  const json all = numbers({"-p", "x", "--config-set", "revenant.trol_traverse=all"});
  EXPECT_EQ(all["trol"]["gate"][0][1].size(), all["tokens"].size());
  const json none = numbers({"-p", "x", "--config-set", "revenant.trol_traverse=off"});
  EXPECT_EQ(none["trol"]["gate"], json::array());
}

TEST_F(View, TraversalIsAnOption) {
  const auto gates = [&](const Words& more) {
    Words words = {"-p", "x"};
    words.insert(words.end(), more.begin(), more.end());
    return numbers(words)["trol"]["gate"];
  };
  EXPECT_EQ(gates({"--passes", "3"}).size(), 2u);
  EXPECT_EQ(gates({"--passes", "2"}).size(), 1u);
  EXPECT_EQ(gates({"--traverse", "off"}), json::array());
  EXPECT_GT(gates({"--traverse", "all"})[0][1].size(),
            gates({"--traverse", "prompt"})[0][1].size());
}

TEST_F(View, ATokensKindIsWhereItStands) {
  const json seen = numbers({"--image", path("picture.png"), "-p", "what?"});
  const size_t prompt = seen["prompt_tokens"];
  ASSERT_GT(seen["tokens"].size(), prompt);
  for (size_t i = 0; i < seen["tokens"].size(); ++i)
    EXPECT_EQ(seen["tokens"][i]["kind"] == "answer", i >= prompt) << i;
}

std::string base64_decoded(std::string_view text) {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  EXPECT_EQ(text.size() % 4, 0u);
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text.substr(0, text.find('='))) {
    bits = bits << 6 | uint32_t(digits.find(c));
    if ((count += 6) < 8) continue;
    count -= 8;
    bytes += char(bits >> count & 255);
  }
  return bytes;
}

TEST_F(View, ThePageHoldsThePictureWhateverItsLength) {
  std::set<size_t> rests;
  for (int side = 60; side < 80 && rests.size() < 3; ++side) {
    const std::string png = encode_png(blank_image(side, 60));
    if (!rests.insert(png.size() % 3).second) continue;
    write_file(place_ / "side.png", png);
    ASSERT_EQ(view({"--image", path("side.png"), "-p", "what?"}).code, 0);
    const std::string text = page(), mark = "data:image/png;base64,";
    const size_t begin = text.find(mark) + mark.size();
    EXPECT_EQ(base64_decoded(text.substr(begin, text.find('"', begin) - begin)), png) << side;
  }
  EXPECT_EQ(rests.size(), 3u);
}

// File names and what people type are bytes; JSON and the page are text.
TEST_F(View, WhatIsNotUtf8IsRepaired) {
  const Path odd = place_ / "m\xff", picture = place_ / "p\xff.png";
  std::filesystem::copy(place_ / "model", odd);
  std::filesystem::copy(place_ / "picture.png", picture);
  const json seen = numbers({"-m", odd.string(), "--image", picture.string(), "-p", "\xff what?"});
  EXPECT_EQ(seen["question"], "\uFFFD what?");
  EXPECT_EQ(seen["model"]["name"], "m\uFFFD");
  EXPECT_NE(page().find("\uFFFD what?"), std::string::npos);
  const Outcome got = view({"-p", "\xff what?", "--json", path("a.json")});
  EXPECT_EQ(got.code, 0) << got.err;
  EXPECT_EQ(json::parse(read_file(path("a.json")))["question"], "\uFFFD what?");
}

// Every field stands in docs/view.md, and nothing stands there that does not exist.
TEST_F(View, FieldsAreDocumented) {
  const std::string docs = read_file(Path(REVENANT_SOURCE_DIR) / "docs" / "view.md");
  const json seen = numbers({"--image", path("picture.png"), "-p", "what?"});
  std::function<void(const json&)> look = [&](const json& value) {
    if (value.is_array() && !value.empty()) look(value[0]);
    if (!value.is_object()) return;
    for (const auto& [name, inner] : value.items()) {
      EXPECT_NE(docs.find("`" + name + "`"), std::string::npos) << name;
      look(inner);
    }
  };
  look(seen);
}

TEST_F(View, TheAnswerIsThatOfRun) {
  const Words ask = {"--image", path("picture.png"), "-p", "what?"};
  Words run = {"run", "-m", path("model"), "-n", "6"};
  run.insert(run.end(), ask.begin(), ask.end());
  const Outcome expected = run_program(place_, run), got = view(ask);
  EXPECT_EQ(got.code, 0) << got.err;
  EXPECT_EQ(got.err, "");
  EXPECT_EQ(got.out, expected.out);
}

TEST_F(View, ThePageNeedsNoNetwork) {
  ASSERT_EQ(view({"--image", path("picture.png"), "-p", "what?"}).code, 0);
  const std::string text = page();
  for (const char* part :
       {"http:", "https:", "//cdn", "@import", "url(", "<link", "src=\"", "fetch("})
    EXPECT_EQ(count(text, part), 0u) << part;
  EXPECT_EQ(count(text, "data:image/png;base64,"), 1u);
  EXPECT_EQ(count(text, "@LOOK@"), 0u);
}

TEST_F(View, TextIsNeverMarkup) {
  ASSERT_EQ(view({"-p", "what?"}).code, 0);
  const size_t scripts = count(page(), "<script"), ends = count(page(), "</script");
  const Outcome got = view({"-p", "</script><script>alert(1)</script><!-- &lt; <b>"});
  ASSERT_EQ(got.code, 0) << got.err;
  EXPECT_EQ(count(page(), "<script"), scripts);
  EXPECT_EQ(count(page(), "</script"), ends);
  EXPECT_EQ(count(page(), "<!--"), 0u);
  EXPECT_EQ(count(page(), "innerHTML"), 0u);
  EXPECT_GE(count(page(), "alert(1)"), 1u);  // it is there, as text
  const size_t begin = page().find("id=\"look\">") + 10;
  const json inside = json::parse(page().substr(begin, page().find("</script", begin) - begin));
  EXPECT_EQ(inside["question"], "</script><script>alert(1)</script><!-- &lt; <b>");
}

TEST_F(View, NumbersOfThePageAreThoseOfTheFile) {
  ASSERT_EQ(view({"--image", path("picture.png"), "-p", "x", "--json", path("a.json")}).code, 0);
  const size_t begin = page().find("id=\"look\">") + 10;
  json inside = json::parse(page().substr(begin, page().find("</script", begin) - begin));
  for (json& picture : inside["pictures"]) picture.erase("image");
  EXPECT_EQ(inside, json::parse(read_file(path("a.json"))));
}

TEST_F(View, FailsInWords) {
  const Outcome none = view({"--image", path("none.png"), "-p", "x"});
  EXPECT_EQ(none.code, 1);
  EXPECT_NE(none.err.find("none.png"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(path("view.html")));
  EXPECT_EQ(view({}).code, 2);
  EXPECT_EQ(view({"-c", "3", "-p", "x"}).code, 1);
}

}  // namespace
}  // namespace revenant
