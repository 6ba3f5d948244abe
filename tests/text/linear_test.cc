// Time is linear in the length, whatever the text is made of: four times the text takes about four
// times as long. Quadratic steps would take sixteen. The thread's own time is measured, so that a
// busy machine does not show.
#include <time.h>

#include <algorithm>
#include <functional>

#include "small_tokenizers.h"
#include "text/prompt.h"

namespace revenant {
namespace {

using small::Ids;
using small::Json;

constexpr size_t length = 10'000;
constexpr double most = 9;  // between 4 and 16

std::string repeated(const std::string& part, size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += part;
  return text;
}

double seconds(const std::function<void()>& work) {
  const auto now = [] {
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
  };
  const double begin = now();
  work();
  return now() - begin;
}

// Below a hundredth of a second nothing is said: clocks and caches count more there.
void expect_linear(const std::function<void(size_t)>& work, const std::string& what) {
  double once = 0, more = 0;
  for (int attempt = 0; attempt < 4; ++attempt) {
    once = seconds([&] { work(length); });
    more = seconds([&] { work(4 * length); });
    if (more < std::max(most * once, 0.01)) return;
  }
  ADD_FAILURE() << what << ": " << once << " s, then " << more;
}

const std::string parts[] = {"a",
                             "abcdefghij",
                             "aB",
                             "1",
                             "1234567890",
                             " ",
                             "  a",
                             "\n",
                             "\r\n",
                             " \n",
                             "\t",
                             "\t\n ",
                             "!",
                             "!\n",
                             "'",
                             "'s",
                             " '",
                             "[",
                             "[T",
                             "[T]",
                             "[T] ",
                             " [T]",
                             "[L]",
                             "[L]\n",
                             "[W]",
                             "\u0301",
                             "\u0301\u0316",
                             "e\u0301",
                             "\u0f73",
                             "\u0344",
                             "\u1100\u1161\u11a8",
                             "\uac00",
                             "\u732b\u72d7",
                             "\U0001f600",
                             "\U0001f468\u200d",
                             "\u00a0",
                             "\u3000",
                             "\u2581",
                             "\u0663",
                             "\u00b2",
                             "\u0e01\u0e33",
                             "<0x41>",
                             "\xFF",
                             "\xE2\x82",
                             "\xF0\x9F",
                             "\xC3",
                             std::string(1, '\0')};

// Tokens that swallow white space, and are white space; one that stands alone; merges of merges.
Json with_tokens(Json file) {
  int id = int(file["model"]["vocab"].size());
  std::string run = "a";
  for (int i = 0; i < 10; ++i) {
    file["model"]["merges"].push_back(run + " " + run);
    file["model"]["vocab"][run += run] = id++;
  }
  const auto add = [&](const char* content, const Json& flags) {
    Json token = {{"id", id++}, {"content", content}, {"special", true}};
    token.update(flags);
    file["added_tokens"].push_back(token);
  };
  add("[T]", Json::object());
  add("[T][T][T]", Json::object());
  add("[L]", {{"lstrip", true}, {"rstrip", true}});
  add("\r", {{"lstrip", true}, {"rstrip", true}});
  add("\u3000", {{"rstrip", true}});
  add("\u00a0", {{"lstrip", true}});
  add("[W]", {{"single_word", true}});
  add("\u00b2\u00b2", {{"normalized", true}, {"lstrip", true}});
  return file;
}

void expect_linear(const Tokenizer& t, const std::string& name) {
  for (const std::string& part : parts)
    expect_linear([&](size_t n) { t.encode(repeated(part, n), Specials::as_tokens); },
                  name + " '" + part + "'");
}

TEST(Linear, ByteLevelWithEachPattern) {
  Json file = with_tokens(small::byte_level());
  expect_linear(small::opened(file), "qwen2");
  Json& split = file["pre_tokenizer"]["pretokenizers"][0];
  split["pattern"]["Regex"] = llama3_expression;
  expect_linear(small::opened(file), "llama3");
  file["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"use_regex", true}};
  expect_linear(small::opened(file), "gpt2");
}

TEST(Linear, SentencePiece) {
  Json file = with_tokens(small::sentencepiece());
  expect_linear(small::opened(file), "sentencepiece");
  file["normalizer"] = nullptr;
  file["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "\u2581"}, {"split", false}};
  expect_linear(small::opened(file), "metaspace");
}

TEST(Linear, Decoding) {
  for (const Json& file : {small::byte_level(), small::sentencepiece()}) {
    const Tokenizer t = small::opened(with_tokens(file));
    for (const std::string& part : parts) {
      const Ids ids = t.encode(repeated(part, 4 * length), Specials::as_tokens);
      const std::span<const int32_t> all = ids;
      expect_linear([&](size_t n) { t.decode(all.first(ids.size() * n / (4 * length)), true); },
                    part);
    }
  }
}

// Many pieces, as a long talk or a row of many pictures has.
TEST(Linear, Prompts) {
  const PromptRule& rule = prompt_rule(PromptFamily::phantom_qwen2);
  Json file = small::byte_level();
  int id = 260;
  for (const char* token : {"<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>"})
    file["added_tokens"].push_back({{"id", id++}, {"content", token}, {"special", true}});
  const Tokenizer t = tokenizer_for(rule, small::opened(file));
  expect_linear(
      [&](size_t n) {
        const Turn turn{repeated("<image>x", n), 0, ""};
        const auto pieces = row_pieces(rule, {&turn, 1});
        const std::vector<int> tokens(n, 1);
        encode_prompt(t, rule, pieces, tokens);
        filter_output(rule, repeated("assistant\n <|im_end|>", n));
        filter_output(rule, repeated("\u3000", n));
      },
      "pieces");
  expect_linear(
      [&](size_t n) {
        const std::vector<Turn> turns(n / 20, {"<image>x", 0, "y"});
        const std::vector<int> tokens(turns.size(), 1);
        answer_spans(t, rule, row_pieces(rule, turns), tokens);
      },
      "answers");
}

}  // namespace
}  // namespace revenant
