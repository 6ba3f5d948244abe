// What one must know beyond the picture: whether what it shows can fly, lives in water, is eaten,
// plays music, carries people; and which of three animals does. For tests alone: nobody trains on
// these, and a model answers them only if its language knows what its eyes can name.
#include <algorithm>
#include <span>

#include "data/emoji_catalog.h"
#include "data/sets.h"
#include "data/words.h"

namespace revenant {
namespace {

constexpr int kSide = 112, kInARow = 3;

struct Fact {
  std::string task;
  Wordings whether;
  Wordings which;                    // of three in a row; none: is not asked
  std::vector<std::string> yes, no;  // emojibase's labels; what could be argued about is in neither
};

const std::vector<Fact> kFacts = {
    {"flies",
     {{"Can this animal fly?"}, {"Is this an animal that flies?"}},
     {{"Which animal here can fly?"}, {"One of these animals can fly. Which one?"}},
     {"bat", "butterfly", "dove", "duck", "eagle", "flamingo", "fly", "goose", "honeybee",
      "mosquito", "owl", "parrot", "swan"},
     {"bear",    "camel",   "cat",          "cow",    "crocodile", "dog",   "elephant", "fox",
      "giraffe", "goat",    "hippopotamus", "horse",  "kangaroo",  "koala", "lion",     "monkey",
      "mouse",   "octopus", "pig",          "rabbit", "shark",     "snail", "snake",    "spider",
      "tiger",   "turtle",  "whale",        "wolf",   "zebra"}},
    {"lives in water",
     {{"Does this animal live in water?"}, {"Is this animal's home in the water?"}},
     {{"Which animal here lives in water?"}, {"One of these animals lives in water. Which one?"}},
     {"dolphin", "fish", "jellyfish", "lobster", "octopus", "shark", "shrimp", "squid",
      "tropical fish", "whale"},
     {"bat",   "bear",     "butterfly", "camel",  "cat",     "chicken", "cow",
      "dog",   "eagle",    "elephant",  "fox",    "giraffe", "goat",    "honeybee",
      "horse", "kangaroo", "koala",     "lion",   "monkey",  "mouse",   "owl",
      "pig",   "rabbit",   "scorpion",  "spider", "tiger",   "wolf",    "zebra"}},
    {"is eaten",
     {{"Is this something to eat?"}, {"Could I have this for lunch?"}},
     {},
     {"banana",   "bread",     "broccoli",  "carrot",    "cheese wedge", "cherries", "cookie",
      "cucumber", "doughnut",  "egg",       "eggplant",  "french fries", "grapes",   "hamburger",
      "hot dog",  "ice cream", "lemon",     "mango",     "onion",        "pancakes", "peach",
      "pear",     "pie",       "pineapple", "pizza",     "potato",       "sandwich", "strawberry",
      "sushi",    "taco",      "tomato",    "watermelon"},
     {"axe",    "backpack",   "battery",  "bed",       "bell",   "bicycle", "books",
      "broom",  "bus",        "camera",   "candle",    "chair",  "coat",    "computer disk",
      "door",   "drum",       "envelope", "guitar",    "hammer", "key",     "ladder",
      "laptop", "light bulb", "magnet",   "newspaper", "pencil", "rocket",  "scissors",
      "socks",  "telescope",  "umbrella", "violin"}},
    {"makes music",
     {{"Can you make music with this?"}, {"Is this a musical instrument?"}},
     {},
     {"accordion", "banjo", "drum", "flute", "guitar", "maracas", "musical keyboard", "saxophone",
      "trumpet", "violin"},
     {"axe", "banana", "bed", "broom", "bus", "candle", "chair", "hammer", "key", "ladder",
      "pencil", "pizza", "scissors", "umbrella"}},
    {"carries people",
     {{"Can people travel in this?"}, {"Is this a vehicle?"}},
     {},
     {"airplane",     "ambulance",  "automobile", "bus",   "canoe",
      "ferry",        "helicopter", "locomotive", "metro", "minibus",
      "pickup truck", "police car", "sailboat",   "ship",  "speedboat",
      "taxi",         "tractor",    "train",      "tram",  "trolleybus"},
     {"axe",  "banana",   "books",  "broom",     "camera",   "candle", "clipboard",
      "coat", "guitar",   "hammer", "key",       "mountain", "pencil", "pizza",
      "rose", "scissors", "socks",  "sunflower", "tomato",   "violin"}},
};

class Catalog {
 public:
  explicit Catalog(const Path& sources) : sources_(sources) {
    for (const Emoji& emoji : read_emoji(sources)) by_name_.emplace(emoji.name, emoji);
  }
  // Those of which there is a drawing.
  std::vector<std::string> known(std::vector<std::string> names) const {
    std::erase_if(names, [&](const std::string& name) { return !by_name_.contains(name); });
    return names;
  }
  Sprite sprite(const std::string& name, Style style) const {
    return trimmed(read_sprite(sprite_path(sources_, by_name_.at(name), style)));
  }

 private:
  const Path& sources_;
  std::map<std::string, Emoji> by_name_;
};

// One picture: a thing, or three of which the first is right.
struct Asked {
  const Fact* fact;
  std::vector<std::string> things;
  bool yes = false;
  Style style;
};

Image picture_of(Random& random, const Catalog& catalog, const Asked& asked,
                 const std::vector<std::string>& in_order) {
  if (in_order.size() == 1)
    return drawn_plainly(random, kSide, catalog.sprite(in_order[0], asked.style));
  Image image = plain_backdrop(random, kSide);
  for (size_t i = 0; i < in_order.size(); ++i) {
    const double x = kSide * (2 * double(i) + 1) / (2 * kInARow);
    image = drawn(std::move(image), catalog.sprite(in_order[i], asked.style),
                  {x, kSide / 2.0, kSide * 0.3});
  }
  return image;
}

// As many no as yes, side by side, so that a limit keeps both; each thing that is right also once
// among two that are wrong.
std::vector<Asked> all_questions(const Catalog& catalog, uint64_t seed,
                                 std::span<const Style> styles) {
  std::vector<Asked> all;
  for (const Style style : styles)
    for (const Fact& fact : kFacts) {
      Random random = random_for(seed, "facts " + fact.task + name_of(style), 0);
      std::vector<std::string> yes = catalog.known(fact.yes), no = catalog.known(fact.no);
      random.shuffle(yes), random.shuffle(no);
      for (size_t i = 0; i < std::min(yes.size(), no.size()); ++i) {
        all.push_back({&fact, {yes[i]}, true, style});
        all.push_back({&fact, {no[i]}, false, style});
      }
      if (fact.which.seen.empty() || no.size() < 2) continue;
      for (const std::string& thing : yes) {
        random.shuffle(no);
        all.push_back({&fact, {thing, no[0], no[1]}, true, style});
      }
    }
  return all;
}

void add_split(const Catalog& catalog, const std::string& split, std::span<const Style> styles,
               const MakeOptions& options, SetWriter& writer) {
  const std::vector<Asked> all = all_questions(catalog, options.seed, styles);
  writer.add_all(split, all.size(), [&](size_t i) -> Item {
    Random random = random_for(options.seed, "facts " + split, i);
    const Asked& asked = all[i];
    std::vector<std::string> in_order = asked.things;
    random.shuffle(in_order);
    Image picture = picture_of(random, catalog, asked, in_order);
    Asker asker(random, true);
    if (asked.things.size() == 1)
      asker.put_yes_no(asked.fact->whether, {}, asked.fact->task, asked.yes);
    else
      asker.put(asked.fact->which, {}, "which " + asked.fact->task, asked.things[0],
                asked.things[1]);
    return {std::move(picture), asker.questions()};
  });
}

}  // namespace

void make_facts(const Path& sources, const MakeOptions& options, SetWriter& writer) {
  const Catalog catalog(sources);
  add_split(catalog, "test", kTrainStyles, options, writer);
  add_split(catalog, "test_unseen_style", kTestStyles, options, writer);
}

}  // namespace revenant
