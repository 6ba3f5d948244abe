// Composed scenes of 1 to 6 real emoji: captions, counting, yes/no, position, corners.
#include <algorithm>
#include <cmath>
#include <span>

#include "base/error.h"
#include "data/scene.h"
#include "data/scene_things.h"
#include "data/sets.h"
#include "data/words.h"

namespace revenant {
namespace {

const Wordings kCount = {
    {"How many {things} are there?", "How many {things} can you see?",
     "How many {things} are in the picture?", "Count the {things}.",
     "What is the number of {things}?", "How many {things} are shown?",
     "How many {things} do you see?", "Say the number of {things}.",
     "Count all {things} in the image.", "What number of {things} is in the picture?",
     "Tell me the number of {things}.", "Tell me how many {things} there are.",
     "How many {things} do you count?"},
    {"How many {things} does the image show?", "Tell me how many {things} you see."}};
const Wordings kExists = {{"Is there {a}?", "Is there {a} in the picture?", "Can you see {a}?",
                           "Does the picture show {a}?", "Do you see {a} here?", "Is {a} shown?",
                           "Does this picture have {a} in it?"},
                          {"Does the image contain {a}?", "Is {a} in this image?"}};
const Wordings kBeside = {{"What is {side} the {b}?", "Which object is {side} the {b}?",
                           "What can you see {side} the {b}?", "What is there {side} the {b}?"},
                          {"What stands {side} the {b}?", "Name the object {side} the {b}."}};
const Wordings kCompare = {
    {"Which is further {way}, the {a} or the {b}?", "What is further {way}: the {a} or the {b}?",
     "The {a} or the {b}: which is further {way}?",
     "Between the {a} and the {b}, which one is further {way}?",
     "Out of the {a} and the {b}, what is further {way}?",
     "Which one of the {a} and the {b} is further {way}?"},
    {"Of the {a} and the {b}, which is further {way}?"}};
const Wordings kRelation = {
    {"Is the {a} {side} the {b}?", "Can you see the {a} {side} the {b}?",
     "In the picture, is the {a} {side} the {b}?", "Do you see the {a} {side} the {b}?",
     "Is the {a} placed {side} the {b}?", "Does the picture show the {a} {side} the {b}?"},
    {"Does the {a} stand {side} the {b}?", "Would you say that the {a} is {side} the {b}?"}};
const Wordings kCorner = {
    {"Which corner is the {a} in?", "In which corner is the {a}?",
     "In which corner of the picture is the {a}?", "What corner is the {a} in?",
     "Name the corner of the {a}.", "The {a} is in which corner?"},
    {"What corner holds the {a}?", "Where in the picture is the {a}, by corner?"}};

const std::vector<std::string> kCorners = {"top left", "top right", "bottom left", "bottom right"};
constexpr Side kSides[] = {Side::left, Side::right, Side::above, Side::below};
const std::vector<std::string> kBesides = {"to the left of", "to the right of", "above", "below"};
const std::vector<std::string> kWays = {"left", "right", "up", "down"};

constexpr double kClearLead = 14;

class SceneAsker : public Asker {
 public:
  SceneAsker(Random& random, bool test, const Scene& scene, const std::vector<Thing>& things)
      : Asker(random, test), scene_(scene), things_(things), kinds_(kinds_of(scene)) {
    for (int i = 0; i < int(scene.objects.size()); ++i)
      if (count_of(scene, scene.objects[i].kind) == 1) single_.push_back(i);
    caption();
    if (scene_.for_counting) count(kinds_[0]);
    if (scene_.for_counting && kinds_.size() > 1) count_second();
    exists();
    if (!single_.empty()) beside(), corner();
    if (single_.size() > 1) compare(), relation();
  }

 private:
  const std::string& name(int index) const { return things_[scene_.objects[index].kind].name; }
  int any_single() { return single_[random_.below(single_.size())]; }

  // "2 dogs, 1 cat": every kind with its number, in the order of their leftmost centres.
  void caption() {
    std::vector<int> order = kinds_;
    const auto leftmost_centre = [&](int kind) {
      double x = kSceneSide;
      for (const SceneObject& object : scene_.objects)
        if (object.kind == kind) x = std::min(x, object.x);
      return x;
    };
    std::sort(order.begin(), order.end(),
              [&](int a, int b) { return leftmost_centre(a) < leftmost_centre(b); });
    const size_t wrong = random_.below(order.size());
    std::string answer, rejected;
    for (size_t i = 0; i < order.size(); ++i) {
      const int number = count_of(scene_, order[i]);
      const char* comma = i == 0 ? "" : ", ";
      answer += comma + counted(number, order[i]);
      rejected += comma + counted(i == wrong ? other_count(number) : number, order[i]);
    }
    put(caption_wordings(), {}, "caption", answer, rejected);
  }
  std::string counted(int number, int kind) const {
    return std::to_string(number) + " " + (number == 1 ? things_[kind].name : things_[kind].plural);
  }
  int other_count(int number) {
    const bool up = number == 1 || (number < kMostObjects && random_.below(2) == 0);
    return up ? number + 1 : number - 1;
  }

  void count(int kind) {
    const int right = count_of(scene_, kind);
    put(kCount, {{"things", things_[kind].plural}}, "count", std::to_string(right),
        std::to_string(other_count(right)));
  }

  // A second kind is mostly alone; asked about always, it would make "1" the best guess.
  void count_second() {
    const bool alone = count_of(scene_, kinds_[1]) == 1;
    if (random_.below(alone ? 10 : 2) == 0) count(kinds_[1]);
  }

  void exists() {
    const bool yes = random_.below(2) == 0;
    int kind = kinds_[random_.below(kinds_.size())];
    while (!yes && count_of(scene_, kind) > 0) kind = int(random_.below(things_.size()));
    put_yes_no(kExists, {{"a", with_article(things_[kind].name)}}, "yesno", yes);
  }

  // Another kind than the answer's and the asked one's, of this scene if it has one.
  std::string wrong_name(int answer, int asked) {
    std::vector<int> others;
    for (int kind : kinds_)
      if (kind != answer && kind != asked) others.push_back(kind);
    if (!others.empty()) return things_[others[random_.below(others.size())]].name;
    int kind = answer;
    while (kind == answer || kind == asked) kind = int(random_.below(things_.size()));
    return things_[kind].name;
  }

  void beside() {
    std::vector<std::pair<int, int>> possible;  // object, side
    for (int index : single_)
      for (int side = 0; side < 4; ++side)
        if (only_one_beside(scene_, index, kSides[side])) possible.emplace_back(index, side);
    if (possible.empty()) return;
    const auto [index, side] = possible[random_.below(possible.size())];
    const int answer = *only_one_beside(scene_, index, kSides[side]);
    put(kBeside, {{"side", kBesides[side]}, {"b", name(index)}}, "position",
        with_article(name(answer)),
        with_article(wrong_name(scene_.objects[answer].kind, scene_.objects[index].kind)));
  }

  void corner() {
    std::vector<int> possible;
    for (int index : single_)
      if (corner_of(scene_.objects[index])) possible.push_back(index);
    if (possible.empty()) return;
    const int index = possible[random_.below(possible.size())];
    const int right = *corner_of(scene_.objects[index]);
    put(kCorner, {{"a", name(index)}}, "corner", kCorners[right],
        kCorners[(right + 1 + random_.below(3)) % 4]);
  }

  // Two single objects and a side towards which the first clearly leads.
  bool choose_pair(int& first, int& second, int& side) {
    first = any_single(), second = first;
    while (second == first) second = any_single();
    side = int(random_.below(4));
    const double ahead = lead(scene_.objects[first], scene_.objects[second], kSides[side]);
    if (ahead < 0) std::swap(first, second);
    return std::abs(ahead) >= kClearLead;
  }

  void compare() {
    int first, second, side;
    if (!choose_pair(first, second, side)) return;
    const bool swapped = random_.below(2) == 0;
    put(kCompare,
        {{"way", kWays[side]},
         {"a", name(swapped ? second : first)},
         {"b", name(swapped ? first : second)}},
        "compare", "the " + name(first), "the " + name(second));
  }

  void relation() {
    int first, second, side;
    if (!choose_pair(first, second, side)) return;
    const bool yes = random_.below(2) == 0;
    put_yes_no(kRelation,
               {{"side", kBesides[side]},
                {"a", name(yes ? first : second)},
                {"b", name(yes ? second : first)}},
               "relation", yes);
  }

  const Scene& scene_;
  const std::vector<Thing>& things_;
  const std::vector<int> kinds_;
  std::vector<int> single_;  // objects that are alone of their kind
};

Image picture_of(Random& random, const Scene& scene, const std::vector<Thing>& things,
                 std::span<const Style> styles) {
  constexpr double kTurn = 0.2;
  Image canvas = backdrop(random, kSceneSide);
  for (const SceneObject& object : scene.objects) {
    const Sprite& sprite = things[object.kind].sprites.at(styles[random.below(styles.size())]);
    Pose pose{object.x, object.y, object.size};
    pose.angle = kTurn * (2 * random.uniform() - 1);
    pose.mirrored = random.below(2) == 0;
    canvas = drawn(std::move(canvas), sprite, pose);
  }
  return canvas;
}

struct Split {
  std::string name;
  size_t pictures;
  bool test;
  std::span<const Style> styles;
};

}  // namespace

void make_scenes(const Path& sources, const MakeOptions& options, SetWriter& writer) {
  const std::vector<Thing> things = read_things(sources);
  const Split splits[] = {{"train", 90000, false, kTrainStyles},
                          {"test", 1500, true, kTrainStyles},
                          {"test_unseen_style", 1500, true, kTestStyles}};
  for (const Split& split : splits)
    writer.add_all(split.name, split.pictures, [&](size_t i) -> Item {
      Random random = random_for(options.seed, "scenes " + split.name, i);
      const Scene scene = random_scene(random, int(things.size()), split.test, options.seed);
      Image picture = picture_of(random, scene, things, split.styles);
      return {std::move(picture), SceneAsker(random, split.test, scene, things).questions()};
    });
}

}  // namespace revenant
