// The golden prompts of the seven released models, and the same ones as our rules make them.
#pragma once

#include <gtest/gtest.h>

#include "support/golden_parts.h"
#include "text/instruction.h"

namespace revenant::golden {

using Json = nlohmann::json;

struct Family {
  const char *model, *rule;
  int tile;  // tokens a tile, or a CLIP picture
};

inline void PrintTo(const Family& f, std::ostream* out) {
  for (const char* c = f.model; *c; ++c) *out << (isalnum(*c) ? *c : '_');
}

inline auto families() {
  return testing::Values(
      Family{"phantom-0.5b", "phantom-qwen2", 256},
      Family{"phantom-1.8b", "phantom-internlm2", 256}, Family{"phantom-3.8b", "phantom-phi3", 256},
      Family{"phantom-7b", "phantom-internlm2", 256}, Family{"trol-1.8b", "trol-internlm2", 1225},
      Family{"trol-3.8b", "trol-phi3", 256}, Family{"trol-7b", "trol-internlm2", 1225});
}

class PromptTest : public testing::TestWithParam<Family> {
 protected:
  void SetUp() override {
    const std::string file = "prompts/" + std::string(GetParam().model) + ".json";
    if (const auto why = lacks(file)) GTEST_SKIP() << *why;
    json = read_json(conformance_root() / file);
  }
  Json json;
  const PromptRule& rule = prompt_rule(GetParam().rule);
};

inline std::string expand(const Json& segments) {
  std::string text;
  for (const Json& s : segments) {
    if (s.contains("text")) text += s["text"].get<std::string>();
    for (int i = s.value("count", 0); i > 0; --i) text += s["repeat"].get<std::string>();
  }
  return text;
}

// A record of "eval_process" in the form that was released ...
inline std::string released_text(const PromptRule& rule, const Json& record, int tile) {
  const std::string data = record["data"], question = record["question"];
  const std::vector<int> tokens = {tile * record.value("tiles", 1)};
  return prompt_text(rule, released::eval_process(rule, data, question, record["case"] != "text"),
                     tokens);
}

// ... and in the one that is meant.
inline std::string meant_text(const PromptRule& rule, const Json& record, int tile) {
  const std::string data = record["data"], question = record["question"];
  const std::vector<int> tokens = {tile * record.value("tiles", 1)};
  return prompt_text(rule, instruction(rule, data, question, record["case"] != "text"), tokens);
}

// The two forms are equal wherever the released one shows each picture once.
inline int records_where_both_are_equal(const PromptRule& rule) {
  if (!rule.trol) return 25;
  return rule.appends_context ? 8 : 12;
}

struct TrainingText {
  std::string all, before_answer;
};

// With the mark in place of the picture, as make_instruction_and_label.
inline TrainingText training_text(const PromptRule& rule, const Json& sample) {
  const auto question = split_image_marks(sample["question"].get<std::string>());
  TrainingText text;
  for (const Piece& p : turn_pieces(rule, question, sample["answer"].get<std::string>())) {
    const std::string part = p.kind == Piece::picture ? "<image>" : p.text;
    text.all += part;
    if (!p.answer) text.before_answer += part;
  }
  return text;
}

}  // namespace revenant::golden
