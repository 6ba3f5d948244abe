// Which template a model's prompts follow. The models' configuration says it (model/config.h), the
// table of rules is looked up by it (text/prompt.h); neither room knows the other.
#pragma once

namespace revenant {

enum class PromptFamily {
  phantom_qwen2,
  phantom_internlm2,
  phantom_phi3,
  trol_internlm2,
  trol_phi3
};

constexpr const char* name_of(PromptFamily family) {
  switch (family) {
    case PromptFamily::phantom_qwen2:
      return "phantom-qwen2";
    case PromptFamily::phantom_internlm2:
      return "phantom-internlm2";
    case PromptFamily::phantom_phi3:
      return "phantom-phi3";
    case PromptFamily::trol_internlm2:
      return "trol-internlm2";
    case PromptFamily::trol_phi3:
      return "trol-phi3";
  }
  return "?";
}

}  // namespace revenant
