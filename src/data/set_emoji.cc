// Single emoji: name among four, name, kind, yes/no. Trained on seven drawing styles, tested on
// three others.
#include <algorithm>
#include <span>

#include "base/error.h"
#include "data/emoji_catalog.h"
#include "data/sets.h"
#include "data/words.h"

namespace revenant {
namespace {

constexpr int kSide = 112, kTrainPictures = 40;  // of an emoji
constexpr size_t kWordsInName = 3;

const Wordings kChoose = {
    {"Which of these is shown?\n{options}", "What is this?\n{options}", "Which is it?\n{options}",
     "Which one do you see?\n{options}", "Choose one.\n{options}",
     "Which of these do you see?\n{options}", "Choose the right name.\n{options}",
     "One of these is shown. Which one?\n{options}", "What does the picture show?\n{options}"},
    {"Choose what the picture shows.\n{options}",
     "This is one of the following. Which?\n{options}"}};
const Wordings kName = {{"What is this?", "What does the picture show?", "Name this.",
                         "What do you see?", "What is shown?", "Tell me what this is."},
                        {"How would you name this?", "Tell me what is shown here."}};
const Wordings kGroup = {
    {"What kind of thing is this?", "Which category does this belong to?",
     "What category fits this picture?"},
    {"Which kind of thing does the picture show?", "Into which category would you put this?"}};
const Wordings kWhether = {
    {"Is this \"{name}\"?", "Does the picture show \"{name}\"?", "Does \"{name}\" describe this?"},
    {"Would you call this \"{name}\"?", "Is \"{name}\" the right name for this?"}};

const std::map<int, std::string> kGroups = {{0, "smileys"}, {1, "people"}, {3, "nature"},
                                            {4, "food"},    {5, "travel"}, {6, "activities"},
                                            {7, "objects"}, {8, "symbols"}};

// Names that are no fair question: clock faces, tones, long descriptions.
bool is_fair(const Emoji& emoji) {
  const std::string& name = emoji.name;
  if (name.find_first_of(":()") != std::string::npos) return false;
  if (name.find("o'clock") != std::string::npos || name.ends_with("-thirty")) return false;
  return size_t(std::count(name.begin(), name.end(), ' ')) < kWordsInName;
}

std::vector<Emoji> fair_emoji(const Path& sources) {
  std::vector<Emoji> all = read_emoji(sources);
  std::erase_if(all, [](const Emoji& emoji) { return !is_fair(emoji); });
  for (const Emoji& emoji : all)
    if (!kGroups.contains(emoji.group))
      throw Error("data", (sources / "emoji/data.json").string() + ": " + emoji.name,
                  "a group that src/data/set_emoji.cc names", std::to_string(emoji.group));
  return all;
}

// The styles to train on; many emoji have no drawing in some, but none is empty.
std::vector<Style> train_styles(const Path& sources, const std::vector<Emoji>& all) {
  std::vector<Style> styles(std::begin(kTrainStyles), std::end(kTrainStyles));
  for (const Style style : kMoreTrainStyles) {
    const auto drawn_in = [&](const Emoji& emoji) { return draws(sources, emoji, style); };
    if (std::ranges::none_of(all, drawn_in))
      throw Error("data", sprite_path(sources, all.front(), style).parent_path().string(),
                  "drawings, which tools/fetch_data.sh emoji brings", "none");
    styles.push_back(style);
  }
  return styles;
}

struct Drawing {
  Style style;
  Path file;
};

// Turn by turn through the styles that draw it.
Drawing drawing_of(const Path& sources, const Emoji& emoji, std::span<const Style> styles,
                   size_t turn) {
  std::vector<Drawing> drawings;
  for (const Style style : styles)
    if (draws(sources, emoji, style))
      drawings.push_back({style, sprite_path(sources, emoji, style)});
  CHECK(!drawings.empty());
  return drawings[turn % drawings.size()];
}

const Emoji& other_of(Random& random, const std::vector<Emoji>& all, const Emoji& emoji,
                      bool same_group) {
  for (;;) {
    const Emoji& other = all[random.below(all.size())];
    if (other.name == emoji.name) continue;
    if (!same_group) return other;
    // The nearest of kin ("dog face", "dog") would make it a question about drawing styles.
    if (other.group == emoji.group && other.subgroup != emoji.subgroup) return other;
  }
}

class EmojiAsker : public Asker {
 public:
  EmojiAsker(Random& random, bool test, const std::vector<Emoji>& all, const Emoji& emoji)
      : Asker(random, test), all_(all), emoji_(emoji) {
    choose();
    if (!test_) choose();
    put(kName, {}, "name", emoji_.name, other(true).name);
    if (asks_this_time()) group();
    if (asks_this_time()) whether();
  }

 private:
  const Emoji& other(bool same_group) {
    return other_of(random_, all_, emoji_, same_group && has_kin());
  }
  bool has_kin() const {
    return std::any_of(all_.begin(), all_.end(), [&](const Emoji& other) {
      return other.group == emoji_.group && other.subgroup != emoji_.subgroup;
    });
  }

  void choose() {
    std::vector<std::string> options =
        distinct(emoji_.name, 4, [&] { return other(random_.below(2) == 0).name; });
    // Training asks among fewer too: with one it is mere copying, and that must be learnt first.
    const size_t count = test_ || random_.below(2) == 0 ? 4 : 1 + random_.below(3);
    const std::string rejected = options[1 + random_.below(count > 1 ? count - 1 : 3)];
    options.resize(count);
    put_choice(kChoose, options, rejected);
  }

  void group() {
    int wrong = emoji_.group;
    while (wrong == emoji_.group)
      wrong = std::next(kGroups.begin(), long(random_.below(kGroups.size())))->first;
    put(kGroup, {}, "group", kGroups.at(emoji_.group), kGroups.at(wrong));
  }

  void whether() {
    const bool yes = random_.below(2) == 0;
    const std::string& asked = yes ? emoji_.name : other(random_.below(2) == 0).name;
    put_yes_no(kWhether, {{"name", asked}}, "yesno", yes);
  }

  const std::vector<Emoji>& all_;
  const Emoji& emoji_;
};

// Training sees each drawing in many guises, greyed, stretched and mirrored ones too, so that it
// cannot rest on colour or on one outline; tests see it upright and as it is.
Image picture_of(Random& random, Sprite sprite, Style style, bool test) {
  if (test) return drawn_plainly(random, kSide, sprite);
  const double saturation = random.below(8) == 0 ? 0 : 0.6 + 0.8 * random.uniform();
  sprite = tinted(sprite, saturation, random_brightness(random));
  Pose pose = random_pose(random, kSide, 0.4, 0.25);
  pose.mirrored = random.below(4) == 0;
  pose.narrowed = 0.75 + 0.25 * random.uniform();
  return drawn(is_ink(style) ? bright_backdrop(random, kSide) : backdrop(random, kSide), sprite,
               pose);
}

void add_split(const Path& sources, const std::vector<Emoji>& all, const std::string& split,
               std::span<const Style> styles, int each, const MakeOptions& options,
               SetWriter& writer) {
  const bool test = split != "train";
  writer.add_all(split, all.size() * size_t(each), [&](size_t i) -> Item {
    Random random = random_for(options.seed, "emoji " + split, i);
    // Round after round over all emoji, so that a limit keeps variety.
    const Emoji& emoji = all[i % all.size()];
    const Drawing drawing = drawing_of(sources, emoji, styles, i / all.size());
    const Sprite sprite = trimmed(read_sprite(drawing.file));
    Image picture = picture_of(random, sprite, drawing.style, test);
    return {std::move(picture), EmojiAsker(random, test, all, emoji).questions()};
  });
}

}  // namespace

void make_emoji(const Path& sources, const MakeOptions& options, SetWriter& writer) {
  const std::vector<Emoji> all = fair_emoji(sources);
  if (all.size() < 8)
    throw Error("data", (sources / "emoji").string(), "at least 8 emoji drawn in every style",
                std::to_string(all.size()));
  add_split(sources, all, "train", train_styles(sources, all), kTrainPictures, options, writer);
  for (const Style& style : kTestStyles)
    add_split(sources, all, "test_" + name_of(style), {&style, 1}, 1, options, writer);
}

}  // namespace revenant
