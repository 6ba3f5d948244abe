#include "triples/standing.h"

#include <algorithm>

#include "base/ascii.h"
#include "text/letter_case.h"
#include "text/unicode.h"

namespace revenant {
namespace {

constexpr std::string_view thought_end = "</think>";
// So many letters are no difference: "a cat" and "a tortoise" are alike.
constexpr double slack = 16;

std::string without_thoughts(const std::string& said) {
  const size_t end = said.rfind(thought_end);
  return std::string(
      strip(repaired(end == said.npos ? said : said.substr(end + thought_end.size()))));
}

std::string shortened(const std::string& text) {
  return text.size() <= 200 ? text : repaired(text.substr(0, 200)) + "...";
}

}  // namespace

size_t letters_in(std::string_view text) {
  return size_t(
      std::ranges::count_if(repaired(text), [](char c) { return (uint8_t(c) & 0xC0) != 0x80; }));
}

std::string answer_in(const std::string& said) {
  std::string text = without_thoughts(said);
  const bool quoted = text.size() >= 2 && text.front() == '"' && text.back() == '"' &&
                      text.find('"', 1) == text.size() - 1;
  return quoted ? std::string(strip(text.substr(1, text.size() - 2))) : text;
}

std::string fault_of(const std::string& right, const Said& said, const Rules& rules) {
  const std::string wrong = answer_in(said.text);
  if (!said.whole) return "not whole";
  if (normalised(wrong).empty()) return "blank";
  if (normalised(wrong) == normalised(right)) return "the right answer";
  const double wanted = double(letters_in(right)), found = double(letters_in(wrong));
  if (std::abs(found - wanted) > std::max(slack, rules.length * wanted)) return "another length";
  return "";
}

std::optional<bool> verdict_in(const std::string& said) {
  const std::string text = lower_ascii(without_thoughts(said));
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || uint8_t(c) >= 0x80; };
  const auto begin = std::ranges::find_if(text, is_letter);
  const std::string word(begin, std::find_if_not(begin, text.end(), is_letter));
  if (word == "yes") return true;
  if (word == "no") return false;
  return {};
}

Standing standing_of(const Row& row, const History& history, const Rules& rules) {
  if (const auto& word = history.person)
    return word->keep ? Standing{Stage::kept, word->rejected}
                      : Standing{Stage::dropped, "", "by a person"};
  if (!row.rejected.empty()) return {Stage::kept, row.rejected};
  const auto used = [&](const std::vector<Said>& said) { return int(said.size()) >= rules.tries; };
  if (history.tries.empty()) return {Stage::ask};
  const std::string fault = fault_of(row.last_answer(), history.tries.back(), rules);
  if (!fault.empty())
    return used(history.tries) ? Standing{Stage::dropped, "", fault} : Standing{Stage::ask};
  const std::string wrong = answer_in(history.tries.back().text);
  if (history.verdicts.empty()) return {Stage::judge, wrong};
  const Said& last = history.verdicts.back();
  const auto verdict = last.whole ? verdict_in(last.text) : std::nullopt;
  if (verdict == false) return {Stage::dropped, "", "refused by the judge"};
  if (verdict == true)
    return rules.review == Review::all ? Standing{Stage::queued, wrong, "kept by the judge"}
                                       : Standing{Stage::kept, wrong};
  if (!used(history.verdicts)) return {Stage::judge, wrong};
  return {Stage::queued, wrong, "the judge said: " + shortened(last.text)};
}

}  // namespace revenant
