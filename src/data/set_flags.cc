// Flags with their countries, capitals and continents (all from flag-icons, MIT). Trained on the
// 4:3 drawings, tested on the square ones and on two other makers' drawings.
#include <algorithm>
#include <set>

#include "base/error.h"
#include "data/entries.h"
#include "data/sets.h"
#include "data/sprite.h"
#include "data/words.h"
#include "text/letter_case.h"

namespace revenant {
namespace {

constexpr int kSide = 112, kVariants = 16;
constexpr size_t kWordsInName = 3, kFewest = 8;

const Wordings kChoose = {
    {"Whose flag is this?\n{options}", "Which of these flies this flag?\n{options}",
     "Which one has this flag?\n{options}"},
    {"This flag belongs to one of the following. Which?\n{options}",
     "Choose whose flag this is.\n{options}"}};
const Wordings kName = {
    {"Whose flag is this?", "Which country or territory has this flag?", "Name this flag."},
    {"To which country or territory does this flag belong?", "Tell me whose flag is shown."}};
const Wordings kCapital = {
    {"What is the capital of the place with this flag?", "Which capital city goes with this flag?"},
    {"Over which capital does this flag fly?"}};
const Wordings kContinent = {{"On which continent is the place with this flag?",
                              "Which continent does this flag belong to?"},
                             {"In what part of the world would you see this flag at home?"}};
const Wordings kWhether = {
    {"Is this the flag of {name}?", "Does this flag belong to {name}?"},
    {"Would you see this flag in {name}?", "Is {name} the place with this flag?"}};

struct Country {
  std::string code, name, capital, continent;
};

// A territory may fly its country's flag unchanged; then only these can be asked about.
const std::set<std::string> kOwners = {"au", "fr", "gb", "nl", "no", "us"};

Path sprite_of(const Path& sources, const std::string& folder, const Country& country) {
  return sources / "flags" / folder / (country.code + ".png");
}

std::vector<Country> all_countries(const Path& sources) {
  const Path file = sources / "flags" / "country.json";
  std::vector<Country> countries;
  for_each_entry(file, [&](const nlohmann::json& entry, size_t) {
    if (!entry.at("iso") || !entry.contains("capital") || !entry.contains("continent")) return;
    const Country country{entry.at("code"), entry.at("name"),
                          lower_case(entry.at("capital").get<std::string>()),
                          lower_case(entry.at("continent").get<std::string>())};
    const size_t spaces = size_t(std::count(country.name.begin(), country.name.end(), ' '));
    if (spaces >= kWordsInName || country.name.find(',') != std::string::npos) return;
    if (std::filesystem::exists(sprite_of(sources, "4x3", country))) countries.push_back(country);
  });
  return countries;
}

std::vector<Country> distinct_countries(const Path& sources) {
  std::vector<Country> countries = all_countries(sources);
  std::map<std::vector<uint8_t>, int> seen;
  const auto pixels = [&](const Country& country) {
    return read_sprite(sprite_of(sources, "4x3", country)).rgba;
  };
  for (const Country& country : countries) ++seen[pixels(country)];
  std::erase_if(countries, [&](const Country& country) {
    return seen[pixels(country)] > 1 && !kOwners.contains(country.code);
  });
  if (countries.size() < kFewest)
    throw Error("data", (sources / "flags").string(), "at least 8 countries",
                std::to_string(countries.size()));
  return countries;
}

std::string phrase_of(const std::string& name) {
  static const std::set<std::string> plurals = {"Bahamas",  "Comoros",     "Gambia",
                                                "Maldives", "Netherlands", "Philippines"};
  const bool the = plurals.contains(name) || name.starts_with("United") ||
                   name.ends_with("Islands") || name.ends_with("Republic");
  return the ? "the " + name : name;
}

class FlagAsker : public Asker {
 public:
  FlagAsker(Random& random, bool test, const std::vector<Country>& all, const Country& country)
      : Asker(random, test), all_(all), country_(country) {
    const std::string name = lower_case(country.name);
    const auto options = distinct(name, 4, [&] { return lower_case(other().name); });
    put_choice(kChoose, options, options[1 + random_.below(3)]);
    put(kName, {}, "name", name, lower_case(other().name));
    put(kContinent, {}, "continent", country.continent, unlike(&Country::continent));
    if (asks_this_time()) put(kCapital, {}, "capital", country.capital, unlike(&Country::capital));
    if (asks_this_time()) whether();
  }

 private:
  const Country& other() {
    for (;;)
      if (const Country& found = all_[random_.below(all_.size())]; found.code != country_.code)
        return found;
  }
  std::string unlike(std::string Country::*fact) {
    for (;;)
      if (const Country& found = other(); found.*fact != country_.*fact) return found.*fact;
  }

  void whether() {
    const bool yes = random_.below(2) == 0;
    const std::string& asked = yes ? country_.name : other().name;
    put_yes_no(kWhether, {{"name", phrase_of(asked)}}, "yesno", yes);
  }

  const std::vector<Country>& all_;
  const Country& country_;
};

Image picture_of(Random& random, Sprite sprite, bool test) {
  if (test) return drawn_plainly(random, kSide, sprite);
  const double brightness = random_brightness(random);
  sprite = tinted(sprite, 0.7 + 0.6 * random.uniform(), brightness);
  const Pose pose = random_pose(random, kSide, 0.43, 0.15);
  return drawn(backdrop(random, kSide), sprite, pose);
}

// "fr" -> "1f1eb-1f1f7"
std::string emoji_code(const std::string& country) {
  static const char* digits = "0123456789abcdef";
  std::string code;
  for (char letter : country) {
    const int value = 0xe6 + (letter - 'a');
    code += code.empty() ? "1f1" : "-1f1";
    code += {digits[value >> 4], digits[value & 15]};
  }
  return code;
}

struct Drawing {
  const Country* country;
  Path file;
};

void add_split(const std::vector<Country>& all, const std::vector<Drawing>& drawings,
               const std::string& split, int variants, const MakeOptions& options,
               SetWriter& writer) {
  const bool test = split != "train";
  writer.add_all(split, drawings.size() * size_t(variants), [&](size_t i) -> Item {
    Random random = random_for(options.seed, "flags " + split, i);
    const Drawing& drawing = drawings[i % drawings.size()];
    Image picture = picture_of(random, trimmed(read_sprite(drawing.file)), test);
    return {std::move(picture), FlagAsker(random, test, all, *drawing.country).questions()};
  });
}

}  // namespace

void make_flags(const Path& sources, const MakeOptions& options, SetWriter& writer) {
  const std::vector<Country> all = distinct_countries(sources);
  std::vector<Drawing> train, test, unseen;
  const auto add = [](std::vector<Drawing>& list, const Country& country, const Path& file) {
    if (std::filesystem::exists(file)) list.push_back({&country, file});
  };
  for (const Country& country : all) {
    add(train, country, sprite_of(sources, "4x3", country));
    add(test, country, sprite_of(sources, "1x1", country));
    for (const char* style : {"twemoji", "openmoji"})
      add(unseen, country, sources / "emoji" / style / (emoji_code(country.code) + ".png"));
  }
  add_split(all, train, "train", kVariants, options, writer);
  add_split(all, test, "test", 1, options, writer);
  add_split(all, unseen, "test_unseen_style", 1, options, writer);
}

}  // namespace revenant
