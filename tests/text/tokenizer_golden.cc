// The six tokenizer sets: ids and texts made by Hugging Face's own library.
#include <chrono>

#include "golden_files.h"
#include "text/tokenizer.h"

namespace revenant {
namespace {

using golden::Json;
using Ids = std::vector<int32_t>;

// Where references disagree we follow the second one: current Unicode data when composing, and one
// U+FFFD a maximal broken part when decoding bytes. docs/tokenizers.md lists the same records.
const std::map<std::string, std::string> other_text = {
    {"internlm2_chat-0553", " \uC788\uFFFD"},
    {"internlm2_internvl-0545", "\uFFFD\uFFFD\uFFFD"},
    {"llama2-0518", "a\U0001E4EF\uFFFD"},
    {"llama2-0527", "\uFFFD\uFFFD\uFFFD"},
};
const std::map<std::string, Ids> other_ids = {
    {"qwen2_internvl-0318", {9591, 157, 115, 118, 136, 244, 123934, 122, 227, 146, 248, 1694}},
    {"qwen2_internvl-0343", {9591, 157, 111, 101, 136, 112, 125427, 123, 108, 1694}},
};

struct Set {
  std::string name, form, file;  // form: json, or model with the added tokens in side files
};

void PrintTo(const Set& set, std::ostream* out) { *out << set.name << "_" << set.form; }

// The token files that released directories without tokenizer.json carry.
void write_side_files(const Path& directory, const Json& tokenizer) {
  Json added = Json::object(), decoder = Json::object(), special = Json::array();
  for (const Json& token : tokenizer["added_tokens"]) {
    added[token["content"].get<std::string>()] = token["id"];
    decoder[std::to_string(token["id"].get<int>())] = token;
    if (token["special"]) special.push_back(token["content"]);
  }
  const Json map = {{"eos_token", {{"content", special[1]}}},
                    {"additional_special_tokens", special}};
  write_file(directory / "added_tokens.json", added.dump());
  write_file(directory / "special_tokens_map.json", map.dump());
  write_file(directory / "tokenizer_config.json", Json{{"added_tokens_decoder", decoder}}.dump());
}

class TokenizerSet : public testing::TestWithParam<Set> {
 protected:
  void SetUp() override {
    const Path folder = golden::tokenizers();
    if (!std::filesystem::exists(folder / (GetParam().name + ".jsonl")))
      GTEST_SKIP() << "no tokenizer sets at " << folder << " (REVENANT_TOKENIZERS)";
    const std::string json = golden::gunzip(folder / "files" / (GetParam().name + ".json.gz"));
    const std::string& form = GetParam().form;
    if (form == "json") write_file(directory.path / "tokenizer.json", json);
    if (form == "model") {
      write_file(directory.path / "tokenizer.model",
                 golden::gunzip(folder / "files" / GetParam().file));
      write_side_files(directory.path, Json::parse(json));
    }
    if (form == "vocab") write_vocab_and_merges(Json::parse(json));
    tokenizer = Tokenizer::open(directory.path);
    records = golden::lines_of(folder / (GetParam().name + ".jsonl"));
  }
  void write_vocab_and_merges(const Json& json) {
    std::string merges = "#version: 0.2\n";
    for (const Json& merge : json["model"]["merges"]) merges += merge.get<std::string>() + "\n";
    write_file(directory.path / "merges.txt", merges);
    write_file(directory.path / "vocab.json", json["model"]["vocab"].dump());
    write_side_files(directory.path, json);
  }

  golden::TemporaryDirectory directory;
  std::optional<Tokenizer> tokenizer;
  std::vector<Json> records;
};

TEST_P(TokenizerSet, Encodes) {
  int count = 0;
  for (const Json& r : records) {
    if (r["kind"] != "encode") continue;
    const std::string id = r["id"];
    const Ids ids = tokenizer->encode(r["text"].get<std::string>(), Specials::as_tokens);
    const auto other = other_ids.find(id);
    const bool disputed = r["disputed"] && other != other_ids.end();
    EXPECT_EQ(ids, disputed ? other->second : r["ids"].get<Ids>()) << id;
    const Ids framed = tokenizer->with_frame(disputed ? r["ids"].get<Ids>() : ids);
    EXPECT_EQ(framed, r["ids_with_special"].get<Ids>()) << id;
    ++count;
  }
  EXPECT_GT(count, 250);
}

TEST_P(TokenizerSet, Decodes) {
  for (const Json& r : records) {
    const std::string id = r["id"];
    const Ids ids = r["ids"];
    const auto other = other_text.find(id);
    const bool disputed = r["disputed"] && other != other_text.end();
    EXPECT_EQ(tokenizer->decode(ids, true),
              disputed ? other->second : r["decoded"].get<std::string>())
        << id;
    const std::string skipped = r["decoded_skip_special"];
    EXPECT_EQ(tokenizer->decode(ids, false), disputed ? other->second : skipped) << id;
  }
}

TEST_P(TokenizerSet, StreamsWhatItDecodes) {
  for (const Json& r : records)
    for (const bool keep : {true, false}) {
      StreamDecoder stream(*tokenizer, keep);
      std::string joined;
      for (const int32_t id : r["ids"].get<Ids>()) {
        const std::string part = stream.push(id);
        EXPECT_NO_THROW(Json(part).dump()) << r["id"];  // throws where a sequence is split
        joined += part;
      }
      joined += stream.finish();
      EXPECT_EQ(joined, tokenizer->decode(r["ids"].get<Ids>(), keep)) << r["id"];
    }
}

TEST_P(TokenizerSet, PlainTextHoldsNoSpecialToken) {
  std::string all;
  for (int32_t id = 0; id < tokenizer->size(); ++id)
    if (tokenizer->is_special(id)) all += std::string(tokenizer->token_of(id)) + " x";
  ASSERT_FALSE(all.empty());
  const Ids ids = tokenizer->encode(all, Specials::as_text);
  for (const int32_t id : ids) EXPECT_FALSE(tokenizer->is_special(id)) << tokenizer->token_of(id);
  EXPECT_EQ(tokenizer->decode(ids, false), all);
  for (const Json& r : records) {
    if (r["kind"] != "encode") continue;
    for (const int32_t id : tokenizer->encode(r["text"].get<std::string>(), Specials::as_text))
      EXPECT_FALSE(tokenizer->is_special(id)) << r["id"];
  }
}

TEST_P(TokenizerSet, NamesAndIdsAgree) {
  int holes = 0, wrong = 0;
  for (int32_t id = 0; id < tokenizer->size(); ++id) {
    const auto name = tokenizer->token_of(id);
    holes += name.empty();
    wrong += tokenizer->id_of(name) != id;
  }
  EXPECT_EQ(holes, 0);
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(tokenizer->id_of("no such token"), -1);
}

// Generous bounds: a quadratic merge takes minutes on this text.
TEST_P(TokenizerSet, IsFastOnTextWithoutSpaces) {
  std::string text;
  while (text.size() < 200'000) text += "abcdefghij" + std::to_string(text.size() * 2654435761u);
  std::string letters;
  for (size_t i = 0; letters.size() < 200'000; ++i) letters += char('a' + (i * i + i / 7) % 26);
  std::string marks = "e";
  for (int i = 0; i < 200'000; ++i) marks += i % 2 ? "\u0316" : "\u0301";
  for (const std::string& t : {text, letters, marks}) {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_FALSE(tokenizer->encode(t, Specials::as_tokens).empty());
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, TokenizerSet,
    testing::Values(Set{"qwen2_internvl", "json", ""}, Set{"qwen2_internvl", "vocab", ""},
                    Set{"internlm2_chat", "json", ""},
                    Set{"internlm2_chat", "model", "internlm2_chat.model.gz"},
                    Set{"internlm2_internvl", "json", ""},
                    Set{"internlm2_internvl", "model", "internlm2_chat.model.gz"},
                    Set{"internlm2_unused", "json", ""},
                    Set{"internlm2_unused", "model", "internlm2_chat.model.gz"},
                    Set{"phi3_internvl", "json", ""},
                    Set{"phi3_internvl", "model", "llama2.model.gz"}, Set{"llama2", "json", ""},
                    Set{"llama2", "model", "llama2.model.gz"}),
    testing::PrintToStringParamName());

}  // namespace
}  // namespace revenant
