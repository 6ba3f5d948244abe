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

constexpr Entry kTable[] = {{"dog"},
                            {"cat"},
                            {"horse"},
                            {"cow"},
                            {"pig"},
                            {"rabbit"},
                            {"tiger"},
                            {"elephant"},
                            {"giraffe"},
                            {"zebra"},
                            {"camel"},
                            {"kangaroo"},
                            {"gorilla"},
                            {"sloth"},
                            {"hedgehog"},
                            {"bat"},
                            {"penguin"},
                            {"owl"},
                            {"duck"},
                            {"rooster"},
                            {"parrot"},
                            {"flamingo"},
                            {"swan"},
                            {"turtle"},
                            {"snake"},
                            {"crocodile"},
                            {"frog"},
                            {"tropical fish", "fish", "fish"},
                            {"octopus"},
                            {"crab"},
                            {"lobster"},
                            {"shrimp", nullptr, "shrimp"},
                            {"snail"},
                            {"butterfly"},
                            {"honeybee", "bee"},
                            {"lady beetle", "ladybug"},
                            {"spider"},
                            {"scorpion"},
                            {"spouting whale", "whale"},
                            {"dolphin"},
                            {"shark"},
                            {"sauropod", "dinosaur"},
                            {"sunflower"},
                            {"rose"},
                            {"tulip"},
                            {"cactus", nullptr, "cacti"},
                            {"palm tree"},
                            {"mushroom"},
                            {"four leaf clover", "clover"},
                            {"maple leaf", nullptr, "maple leaves"},
                            {"evergreen tree", "pine tree"},
                            {"red apple", "apple"},
                            {"pear"},
                            {"lemon"},
                            {"banana"},
                            {"watermelon"},
                            {"strawberry"},
                            {"peach"},
                            {"pineapple"},
                            {"kiwi fruit", "kiwi"},
                            {"tomato", nullptr, "tomatoes"},
                            {"avocado"},
                            {"eggplant"},
                            {"carrot"},
                            {"potato", nullptr, "potatoes"},
                            {"coconut"},
                            {"onion"},
                            {"hot pepper", "chili"},
                            {"croissant"},
                            {"pretzel"},
                            {"hamburger"},
                            {"pizza"},
                            {"hot dog"},
                            {"taco"},
                            {"sandwich"},
                            {"egg"},
                            {"soft ice cream", "ice cream"},
                            {"doughnut", "donut"},
                            {"cookie"},
                            {"cupcake"},
                            {"birthday cake", "cake"},
                            {"lollipop"},
                            {"candy"},
                            {"automobile", "car"},
                            {"bus"},
                            {"police car"},
                            {"fire engine", "fire truck"},
                            {"tractor"},
                            {"bicycle"},
                            {"motor scooter", "scooter"},
                            {"airplane"},
                            {"helicopter"},
                            {"rocket"},
                            {"sailboat"},
                            {"anchor"},
                            {"locomotive"},
                            {"house"},
                            {"castle"},
                            {"tent"},
                            {"soccer ball"},
                            {"basketball"},
                            {"baseball"},
                            {"american football", "football"},
                            {"trophy"},
                            {"kite"},
                            {"yo-yo"},
                            {"teddy bear"},
                            {"balloon"},
                            {"wrapped gift", "gift"},
                            {"guitar"},
                            {"trumpet"},
                            {"violin"},
                            {"drum"},
                            {"accordion"},
                            {"crown"},
                            {"top hat", "hat"},
                            {"umbrella with rain drops", "umbrella"},
                            {"key"},
                            {"bell"},
                            {"hammer"},
                            {"axe"},
                            {"magnet"},
                            {"candle"},
                            {"light bulb"},
                            {"camera"},
                            {"telephone"},
                            {"television"},
                            {"laptop"},
                            {"alarm clock", "clock"},
                            {"watch"},
                            {"backpack"},
                            {"handbag"},
                            {"high-heeled shoe", "high heel"},
                            {"running shoe", "sneaker"},
                            {"t-shirt"},
                            {"pencil"},
                            {"paperclip"},
                            {"toothbrush"},
                            {"chair"},
                            {"bathtub"},
                            {"toilet"},
                            {"ladder"},
                            {"basket"},
                            {"broom"},
                            {"hourglass done", "hourglass"},
                            {"microscope"},
                            {"telescope"},
                            {"bucket"},
                            {"sun"},
                            {"star"},
                            {"snowman"},
                            {"red heart", "heart"},
                            {"ghost"},
                            {"robot"},
                            {"skull"},
                            {"jack-o-lantern", "pumpkin"},
                            {"snowflake"},
                            {"rainbow"},
                            {"fire", "flame"}};

constexpr Style kAll[] = {Style::twemoji, Style::fluent_flat, Style::fluent_modern, Style::openmoji,
                          Style::noto};
constexpr size_t kFewest = 20;

Thing thing_of(const Path& sources, const Entry& entry, const Emoji& emoji) {
  const std::string name = entry.name ? entry.name : entry.label;
  Thing thing{name, entry.plural ? entry.plural : plural_of(name), {}};
  for (Style style : kAll)
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
