// Planted faults: a line break too many anywhere in a prompt rule must be refused by the goldens.
#include <algorithm>

#include "prompt_texts.h"

namespace revenant {
namespace {

using golden::Json;

struct Field {
  const char* name;
  std::string PromptRule::*text;
};

constexpr Field fields[] = {
    {"system", &PromptRule::system},
    {"user_begin", &PromptRule::user_begin},
    {"user_end", &PromptRule::user_end},
    {"assistant_begin", &PromptRule::assistant_begin},
    {"answer_end", &PromptRule::answer_end},
    {"turn_gap", &PromptRule::turn_gap},
    {"picture_begin", &PromptRule::picture_begin},
    {"picture_end", &PromptRule::picture_end},
    {"context_token", &PromptRule::context_token},
    {"after_pictures", &PromptRule::after_pictures},
    {"answer_begin_mark", &PromptRule::answer_begin_mark},
    {"answer_end_mark", &PromptRule::answer_end_mark},
};

// In the clone's own data: another folder need not hold a record that shows each fault.
class PromptFaults : public testing::TestWithParam<golden::Family> {
 protected:
  void SetUp() override {
    json = golden::read_json(Path(REVENANT_SOURCE_DIR) / "tests/conformance/data/prompts" /
                             (std::string(GetParam().model) + ".json"));
  }
  // What the conformance test compares, but for the fields themselves.
  bool agrees(const PromptRule& with) const {
    return prompts_agree(with) && meant_prompts_agree(with) && answers_agree(with) &&
           filters_agree(with);
  }
  const PromptRule& rule = prompt_rule(GetParam().rule);

 private:
  Json json;
  bool prompts_agree(const PromptRule& with) const {
    const Json& all = json["eval_process"];
    return std::all_of(all.begin(), all.end(), [&](const Json& r) {
      return golden::released_text(with, r, GetParam().tile) == golden::expand(r["segments"]);
    });
  }
  // Only these have after_pictures, which the released code writes by hand.
  bool meant_prompts_agree(const PromptRule& with) const {
    const int tile = GetParam().tile;
    const Json& all = json["eval_process"];
    return std::all_of(all.begin(), all.end(), [&](const Json& r) {
      return !golden::is_meant(r) ||
             !golden::shows_each_picture_once(r, json["image_token"], tile) ||
             golden::meant_text(with, r, tile) == golden::expand(r["segments"]);
    });
  }
  // TroL's training code is not released: its rule is all that says how an answer ends.
  bool answers_agree(const PromptRule& with) const {
    if (with.trol) return with.answer_end == json["prompt_rule"]["assistant_end"];
    const Json& sample = json["training_sample"];
    return golden::training_text(with, sample).all == sample["prompt_and_answer"];
  }
  bool filters_agree(const PromptRule& with) const {
    const Json& all = json["output_filtering"];
    return std::all_of(all.begin(), all.end(), [&](const Json& r) {
      return filter_output(with, r["decoded"].get<std::string>()) == r["result"];
    });
  }
};

TEST_P(PromptFaults, NoFaultPasses) { EXPECT_TRUE(agrees(rule)); }

TEST_P(PromptFaults, ALineBreakMore) {
  for (const Field& field : fields) {
    PromptRule wrong = rule;
    wrong.*field.text += "\n";
    EXPECT_FALSE(agrees(wrong)) << field.name;
  }
}

TEST_P(PromptFaults, ALineBreakBefore) {
  for (const Field& field : fields) {
    PromptRule wrong = rule;
    wrong.*field.text = "\n" + wrong.*field.text;
    EXPECT_FALSE(agrees(wrong)) << field.name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, PromptFaults, golden::families(), testing::PrintToStringParamName());

}  // namespace
}  // namespace revenant
