// Two models that stand in: who they are is seen by what they are asked.
#pragma once

#include <gtest/gtest.h>

#include "base/json.h"
#include "support/stand_in.h"

namespace revenant {

inline bool asks_for_verdict(const Asked& asked) {
  return asked.text().find("Is the other answer both incorrect and ambiguous") != std::string::npos;
}

// What stands between two words of what was asked; of the first message, whoever complained later.
inline std::string part_of(const Asked& asked, const std::string& begin, const std::string& end) {
  const nlohmann::json content = asked.json().at("messages").at(0).at("content");
  const std::string text = content.is_string() ? content.get<std::string>()
                                               : content.back().at("text").get<std::string>();
  const size_t at = text.rfind(begin), from = at + begin.size();
  EXPECT_NE(at, text.npos) << text;
  return text.substr(from, text.find(end, from) - from);
}
inline std::string question_of(const Asked& asked) {
  return part_of(asked, "\nQuestion: ", "\n\n");
}
inline std::string candidate_of(const Asked& asked) {
  return part_of(asked, "Another answer: ", "\n\n");
}

// "QUESTION" is answered by "not it: QUESTION", which the judge accepts.
inline Sent usual_answer(const Asked& asked) {
  return http_reply(200, asks_for_verdict(asked)
                             ? completion("Yes", 7, 1)
                             : completion("not it: " + question_of(asked), 20, 5));
}

// The same, so many seconds later.
inline auto slow_answer(double seconds) {
  return [seconds](const Asked& asked) {
    Sent told = usual_answer(asked);
    told.wait = seconds;
    return told;
  };
}

// Rows "question N" with the answer "it is N"; JSONL.
inline std::string many_rows(int count) {
  std::string text;
  for (int i = 1; i <= count; ++i)
    text += nlohmann::json{{"question", "question " + std::to_string(i)},
                           {"answer", "it is " + std::to_string(i)}}
                .dump() +
            "\n";
  return text;
}

inline size_t lines_in(const Path& file) {
  const std::string text = read_file(file);
  return size_t(std::ranges::count(text, '\n'));
}

}  // namespace revenant
