#include "data/scene_things.h"

#include "base/error.h"
#include "data/words.h"

namespace revenant {
namespace {

// emojibase's label; what people call it, where that differs; the plural, where it is irregular.
struct Entry {
  const char* label;
  const char* name = nullptr;
  const char* plural = nullptr;
};

// Few, and unlike each other even at 16 pixels: a small model is to learn to count and to place
// them, not to tell a sloth from a hedgehog.
constexpr Entry kTable[] = {{"elephant"},
                            {"penguin"},
                            {"octopus"},
                            {"butterfly"},
                            {"spouting whale", "whale"},
                            {"crab"},
                            {"sunflower"},
                            {"cactus", nullptr, "cacti"},
                            {"palm tree"},
                            {"mushroom"},
                            {"evergreen tree", "pine tree"},
                            {"red apple", "apple"},
                            {"lemon"},
                            {"banana"},
                            {"watermelon"},
                            {"strawberry"},
                            {"pineapple"},
                            {"carrot"},
                            {"hamburger"},
                            {"doughnut", "donut"},
                            {"automobile", "car"},
                            {"bus"},
                            {"airplane"},
                            {"rocket"},
                            {"house"},
                            {"soccer ball"},
                            {"basketball"},
                            {"balloon"},
                            {"wrapped gift", "gift"},
                            {"umbrella with rain drops", "umbrella"},
                            {"bell"},
                            {"alarm clock", "clock"},
                            {"sun"},
                            {"snowman"},
                            {"red heart", "heart"},
                            {"ghost"},
                            {"jack-o-lantern", "pumpkin"}};

constexpr size_t kFewest = 20;

Thing thing_of(const Path& sources, const Entry& entry, const Emoji& emoji) {
  const std::string name = entry.name ? entry.name : entry.label;
  Thing thing{name, entry.plural ? entry.plural : plural_of(name), {}};
  for (Style style : whole_styles())
    thing.sprites[style] = trimmed(read_sprite(sprite_path(sources, emoji, style)));
  return thing;
}

}  // namespace

std::vector<Thing> read_things(const Path& sources) {
  std::map<std::string, Emoji> by_name;
  for (const Emoji& emoji : read_emoji(sources)) by_name.emplace(emoji.name, emoji);
  std::vector<Thing> things;
  for (const Entry& entry : kTable)
    if (const auto found = by_name.find(entry.label); found != by_name.end())
      things.push_back(thing_of(sources, entry, found->second));
  if (things.size() < kFewest)
    throw Error("data", (sources / "emoji").string(), "at least 20 objects for scenes",
                std::to_string(things.size()));
  return things;
}

}  // namespace revenant
