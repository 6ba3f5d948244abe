#include "data/emoji_catalog.h"

#include <algorithm>

#include "base/error.h"
#include "data/entries.h"
#include "text/letter_case.h"

namespace revenant {
namespace {

constexpr int kComponents = 2, kFlags = 9;  // emojibase's numbers

std::string folder_of(Style style) {
  switch (style) {
    case Style::twemoji:
      return "twemoji";
    case Style::fluent_flat:
      return "fluent-flat";
    case Style::emojione:
      return "emojione";
    case Style::emojione_monotone:
      return "emojione-monotone";
    case Style::fxemoji:
      return "fxemoji";
    case Style::streamline:
      return "streamline-emojis";
    case Style::high_contrast:
      return "fluent-high-contrast";
    case Style::fluent_modern:
      return "fluent-modern";
    case Style::openmoji:
      return "openmoji";
    case Style::noto:
      return "noto";
  }
  check_failed("a known style", __FILE__, __LINE__);
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (size_t at; (at = text.find(from)) != std::string::npos;) text.replace(at, from.size(), to);
  return text;
}

// "1F441-FE0F" -> "1f441"
std::string code_of(const std::string& hexcode) {
  return replaced(lower_case(hexcode), "-fe0f", "");
}

// "Man\u2019s shoe" -> "man's shoe"
std::string name_from(const std::string& label) {
  return replaced(lower_case(label), "\u2019", "'");
}

// "man's shoe" -> "mans-shoe", as the Fluent package names its files
std::string slug_of(const std::string& name) {
  std::string slug;
  for (char c : name)
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
      slug += c;
    else if ((c == ' ' || c == '-') && !slug.empty() && slug.back() != '-')
      slug += '-';
  return slug;
}

// Drawings of something else under an emoji's name, and one that lost its colours.
constexpr std::pair<Style, const char*> kOtherThings[] = {
    {Style::streamline, "turkey"},    {Style::streamline, "right anger bubble"},
    {Style::fxemoji, "sunglasses"},   {Style::fxemoji, "keyboard"},
    {Style::fxemoji, "construction"}, {Style::fxemoji, "tram car"},
    {Style::fxemoji, "dog"},          {Style::fxemoji, "cat"},
    {Style::fxemoji, "tiger"},        {Style::fxemoji, "pig"},
    {Style::fxemoji, "mouse"}};

}  // namespace

const std::vector<Style>& whole_styles() {
  static const std::vector<Style> all = [] {
    std::vector<Style> styles(std::begin(kTrainStyles), std::end(kTrainStyles));
    styles.insert(styles.end(), std::begin(kTestStyles), std::end(kTestStyles));
    return styles;
  }();
  return all;
}

std::string name_of(Style style) {
  const std::string folder = folder_of(style);
  return folder.starts_with("fluent-") ? folder.substr(7) : folder;
}

Path sprite_path(const Path& sources, const Emoji& emoji, Style style) {
  const bool by_code = style == Style::twemoji || style == Style::openmoji || style == Style::noto;
  std::string stem = by_code ? emoji.code : slug_of(emoji.name);
  if (style == Style::fxemoji) std::erase(stem, '-');  // "palmtree"
  return sources / "emoji" / folder_of(style) / (stem + ".png");
}

bool draws(const Path& sources, const Emoji& emoji, Style style) {
  const auto other = [&](const auto& thing) {
    return thing.first == style && thing.second == emoji.name;
  };
  return std::ranges::none_of(kOtherThings, other) &&
         std::filesystem::exists(sprite_path(sources, emoji, style));
}

std::vector<Emoji> read_emoji(const Path& sources) {
  const Path file = sources / "emoji" / "data.json";
  std::vector<Emoji> all;
  for_each_entry(file, [&](const nlohmann::json& entry, size_t) {
    if (!entry.contains("group") || !entry.contains("subgroup")) return;  // lone flag letters
    const Emoji emoji{name_from(entry.at("label")), code_of(entry.at("hexcode")), entry.at("group"),
                      entry.at("subgroup")};
    if (emoji.group == kComponents || emoji.group == kFlags) return;
    const auto drawn = [&](Style style) { return draws(sources, emoji, style); };
    if (std::ranges::all_of(whole_styles(), drawn)) all.push_back(emoji);
  });
  return all;
}

}  // namespace revenant
