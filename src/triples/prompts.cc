#include "triples/prompts.h"

#include "data/turns.h"

namespace revenant {

using nlohmann::json;

namespace {

json user(const std::string& text, const std::vector<std::string>& pictures) {
  if (pictures.empty()) return {{"role", "user"}, {"content", text}};
  json parts = json::array();
  for (const std::string& uri : pictures)
    parts.push_back({{"type", "image_url"}, {"image_url", {{"url", uri}}}});
  parts.push_back({{"type", "text"}, {"text", text}});
  return {{"role", "user"}, {"content", parts}};
}

// What was said before, the question, and the right answer.
std::string case_of(const Row& row) {
  const Row* const one = &row;
  const std::vector<Turn> turns = turns_of({&one, 1});
  std::string text;
  for (size_t i = 0; i + 1 < turns.size(); ++i)
    text += "Earlier question: " + without_image_marks(turns[i].question) +
            "\nIts answer: " + turns[i].answer + "\n\n";
  return text + "Question: " + without_image_marks(turns.back().question) +
         "\n\nCorrect answer: " + turns.back().answer + "\n\n";
}

const char* about(const Row& row) {
  return row.images.empty() ? "Here are a question and its correct answer.\n\n"
                            : "Here are a question about a picture and its correct answer.\n\n";
}

std::string length_of(const std::string& right) {
  return "about " + std::to_string(letters_in(right)) + " characters long, like the correct answer";
}

std::string complaint(const Row& row, const Said& said, const std::string& fault) {
  const std::string again =
      " Write another one, " + length_of(row.last_answer()) + ". Reply with that answer alone.";
  if (fault == "another length")
    return "That is " + std::to_string(letters_in(answer_in(said.text))) + " characters long." +
           again;
  return "That cannot be used: it is " + fault + "." + again;
}

}  // namespace

json wrong_answer_messages(const Row& row, const std::vector<std::string>& pictures,
                           const History& history, const Rules& rules) {
  json messages = {
      user(about(row) + case_of(row) +
               "Write an answer to the question that is incorrect and ambiguous, though "
               "it reads like a plausible one: in the language and the style of the "
               "correct answer, and " +
               length_of(row.last_answer()) + ". Reply with that answer alone.",
           pictures)};
  for (const Said& said : history.tries) {
    if (answer_in(said.text).empty()) continue;  // some servers take no empty message
    const std::string fault = fault_of(row.last_answer(), said, rules);
    if (fault.empty()) continue;  // it had one by the rules of that time
    messages.push_back({{"role", "assistant"}, {"content", said.text}});
    messages.push_back(user(complaint(row, said, fault), {}));
  }
  return messages;
}

json verdict_messages(const Row& row, const std::vector<std::string>& pictures,
                      const std::string& wrong) {
  return {user(about(row) + case_of(row) + "Another answer: " + wrong +
                   "\n\nIs the other answer both incorrect and ambiguous, as an answer to the "
                   "question? Reply with Yes or No alone.",
               pictures)};
}

}  // namespace revenant
