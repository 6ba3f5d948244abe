// The golden prompts of the seven released models, and the same ones as our rules make them.
#pragma once

#include <gtest/gtest.h>

#include "support/golden_parts.h"
#include "text/instruction.h"

namespace revenant::golden {

using Json = nlohmann::json;

struct Family {
  const char* model;
  PromptFamily rule;
  int tile;  // tokens a tile, or a CLIP picture
};

inline void PrintTo(const Family& f, std::ostream* out) {
  for (const char* c = f.model; *c; ++c) *out << (isalnum(*c) ? *c : '_');
}

inline auto families() {
  return testing::Values(Family{"phantom-0.5b", PromptFamily::phantom_qwen2, 256},
                         Family{"phantom-1.8b", PromptFamily::phantom_internlm2, 256},
                         Family{"phantom-3.8b", PromptFamily::phantom_phi3, 256},
                         Family{"phantom-7b", PromptFamily::phantom_internlm2, 256},
                         Family{"trol-1.8b", PromptFamily::trol_internlm2, 1225},
                         Family{"trol-3.8b", PromptFamily::trol_phi3, 256},
                         Family{"trol-7b", PromptFamily::trol_internlm2, 1225});
}

class PromptTest : public testing::TestWithParam<Family> {
 protected:
  void SetUp() override {
    const std::string file = "prompts/" + std::string(GetParam().model) + ".json";
    if (const auto why = lacks(file)) GTEST_SKIP() << *why;
    json = read_json(conformance_root() / file);
  }
  // The records of one part. Another folder may lack it: the test is skipped then.
  const Json& part(const char* key) {
    if (!json.contains(key) || json[key].empty()) missing(key);
    return json[key];
  }
  Json json;
  const PromptRule& rule = prompt_rule(GetParam().rule);

 private:
  static void missing(const char* key) {
    if (other_folder()) GTEST_SKIP() << "REVENANT_CONFORMANCE: no " << key;
    ADD_FAILURE() << "no " << key;
  }
};

inline std::string expand(const Json& segments) {
  std::string text;
  for (const Json& s : segments) {
    if (s.contains("text")) text += s["text"].get<std::string>();
    for (int i = s.value("count", 0); i > 0; --i) text += s["repeat"].get<std::string>();
  }
  return text;
}

inline int count_of(std::string_view part, std::string_view text) {
  int count = 0;
  for (size_t at = 0; (at = text.find(part, at)) != text.npos; at += part.size()) ++count;
  return count;
}

// A record of "eval_process".
inline bool has_picture(const Json& record) {
  return record["case"].get<std::string>().starts_with("image");
}
inline int tokens_of(const Json& record, int tile) {
  return has_picture(record) ? tile * record.value("tiles", 1) : 0;
}

// It in the form that was released ...
inline std::string released_text(const PromptRule& rule, const Json& record, int tile) {
  const std::string data = record["data"], question = record["question"];
  const std::vector<int> tokens = {tile * record.value("tiles", 1)};
  return prompt_text(rule, released::eval_process(rule, data, question, has_picture(record)),
                     tokens);
}

// ... and in the one that is meant.
inline std::string meant_text(const PromptRule& rule, const Json& record, int tile) {
  const std::string data = record["data"], question = record["question"];
  const std::vector<int> tokens = {tile * record.value("tiles", 1)};
  return prompt_text(rule, instruction(rule, data, question, has_picture(record)), tokens);
}

// The meant form takes as many marks in a question as there are pictures, or none.
inline bool is_meant(const Json& record) {
  const int marks = count_of(image_mark, record["question"].get<std::string>());
  return marks == 0 || marks == int(has_picture(record));
}

// The two forms are equal wherever the released one shows each picture once. `token` is the
// family's image token.
inline bool shows_each_picture_once(const Json& record, const std::string& token, int tile) {
  const std::string text = expand(record["segments"]);
  const bool marked = token != image_mark && text.find(image_mark) != text.npos;
  return !marked && count_of(token, text) == tokens_of(record, tile);
}

struct TrainingText {
  std::string all, before_answer;
};

// With the mark in place of the picture, as make_instruction_and_label.
inline TrainingText training_text(const PromptRule& rule, const Json& sample) {
  const auto question = split_image_marks(sample["question"].get<std::string>());
  TrainingText text;
  for (const Piece& p : turn_pieces(rule, question, sample["answer"].get<std::string>())) {
    const std::string part = p.kind == Piece::picture ? std::string(image_mark) : p.text;
    text.all += part;
    if (!p.answer) text.before_answer += part;
  }
  return text;
}

}  // namespace revenant::golden
