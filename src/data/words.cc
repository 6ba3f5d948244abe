#include "data/words.h"

#include "base/error.h"

namespace revenant {
namespace {

bool is_vowel(char c) { return std::string("aeiou").find(c) != std::string::npos; }

bool ends(const std::string& text, const char* tail) { return text.ends_with(tail); }

}  // namespace

const Wordings& caption_wordings() {
  static const Wordings wordings = {
      {"Describe the picture.", "What objects are in the picture?", "List what you see.",
       "What can you see in the picture?", "Describe this image.", "What is in the picture?",
       "What is in this picture?", "Name the objects in the picture.", "What does this image show?",
       "Which objects do you see?", "Say what is in the image.", "List the things in the picture."},
      {"Tell me what the image shows.", "List the objects in this image."}};
  return wordings;
}

const std::string& pick(Random& random, const std::vector<std::string>& items) {
  CHECK(!items.empty());
  return items[random.below(items.size())];
}

std::string filled_in(std::string text, const Words& words) {
  for (const auto& [key, value] : words) {
    const std::string mark = "{" + key + "}";
    for (size_t at = text.find(mark); at != std::string::npos;
         at = text.find(mark, at + value.size()))
      text.replace(at, mark.size(), value);
  }
  return text;
}

std::string with_article(const std::string& noun) {
  const bool vowel = !noun.empty() && is_vowel(noun[0]) && !noun.starts_with("uni");
  return (vowel ? "an " : "a ") + noun;
}

std::string plural_of(const std::string& noun) {
  const bool consonant_y = noun.size() > 1 && ends(noun, "y") && !is_vowel(noun[noun.size() - 2]);
  if (consonant_y) return noun.substr(0, noun.size() - 1) + "ies";
  for (const char* tail : {"s", "x", "ch", "sh"})
    if (ends(noun, tail)) return noun + "es";
  return noun + "s";
}

std::string lines_of(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += (text.empty() ? "" : "\n") + item;
  return text;
}

Random random_for(uint64_t seed, const std::string& purpose, uint64_t index) {
  uint64_t key = Random(seed).next();
  for (char c : purpose) key = Random(key ^ uint8_t(c)).next();
  return Random(Random(key ^ index).next());
}

}  // namespace revenant
