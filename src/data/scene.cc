#include "data/scene.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "base/error.h"
#include "data/words.h"

namespace revenant {
namespace {

constexpr double kSmallest = 25, kLargest = 35, kGap = 4;
constexpr double kClear = 12;    // pixels between centres that make "left of" plain to see
constexpr double kCorner = 0.3;  // share of the side

bool holds_out(uint64_t seed, int a, int b, const char* purpose) {
  const uint64_t pair = uint64_t(std::min(a, b)) * 4096 + uint64_t(std::max(a, b));
  return random_for(seed, purpose, pair).below(10) == 0;
}

// Which objects are alike: 0 is the asked kind, whose count is uniform over 1..6, so that counting
// has no easy guess; another object repeats the kind before it one time in three.
std::vector<int> counting_pattern(Random& random) {
  const int asked = 1 + int(random.below(kMostObjects));
  const int others = int(random.below(kMostObjects - asked + 1));
  std::vector<int> pattern(asked, 0);
  for (int i = 0; i < others; ++i)
    pattern.push_back(pattern.back() + (pattern.back() > 0 && random.below(3) == 0 ? 0 : 1));
  return pattern;
}

std::vector<int> mixed_pattern(Random& random) {
  std::vector<int> pattern(2 + random.below(4));
  std::iota(pattern.begin(), pattern.end(), 0);
  return pattern;
}

std::vector<int> random_names(Random& random, int kinds) {  // all different
  std::vector<int> names;
  while (names.size() < size_t(kMostObjects)) {
    const int name = int(random.below(kinds));
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return names;
}

bool overlaps(const SceneObject& a, const SceneObject& b) {
  return std::hypot(a.x - b.x, a.y - b.y) < (a.size + b.size) / 2 + kGap;
}

// Empty if there was no room.
std::vector<SceneObject> placed(Random& random, const std::vector<int>& kinds) {
  constexpr int kTries = 60;
  std::vector<SceneObject> objects;
  for (int tries = 0; tries < kTries * int(kinds.size()) && objects.size() < kinds.size();
       ++tries) {
    SceneObject object{kinds[objects.size()], 0, 0, 0};
    object.size = kSmallest + (kLargest - kSmallest) * random.uniform();
    const double margin = object.size / 2 + 1, room = kSceneSide - 2 * margin;
    object.x = margin + room * random.uniform();
    object.y = margin + room * random.uniform();
    const auto meets = [&](const SceneObject& other) { return overlaps(object, other); };
    if (std::none_of(objects.begin(), objects.end(), meets)) objects.push_back(object);
  }
  return objects.size() == kinds.size() ? objects : std::vector<SceneObject>();
}

}  // namespace

int count_of(const Scene& scene, int kind) {
  return int(std::count_if(scene.objects.begin(), scene.objects.end(),
                           [&](const SceneObject& object) { return object.kind == kind; }));
}

std::vector<int> kinds_of(const Scene& scene) {
  std::vector<int> kinds;
  for (const SceneObject& object : scene.objects)
    if (std::find(kinds.begin(), kinds.end(), object.kind) == kinds.end())
      kinds.push_back(object.kind);
  return kinds;
}

bool is_held_out(const Scene& scene, uint64_t seed) {
  const std::vector<int> kinds = kinds_of(scene);
  if (kinds.size() == 1)
    return random_for(seed, "scene count", uint64_t(kinds[0]) * 16 + scene.objects.size())
               .below(10) == 0;
  for (size_t i = 0; i < kinds.size(); ++i)
    for (size_t j = i + 1; j < kinds.size(); ++j)
      if (holds_out(seed, kinds[i], kinds[j], "scene pair")) return true;
  return false;
}

Scene random_scene(Random& random, int kinds, bool held_out, uint64_t seed) {
  CHECK(kinds > kMostObjects);
  // A pattern is kept for a while, so that the search does not favour crowded scenes; not for ever,
  // since a small table may have no held-out scene of that pattern.
  constexpr int kTries = 300;
  for (;;) {
    const bool counting = random.below(3) != 0;
    const std::vector<int> pattern = counting ? counting_pattern(random) : mixed_pattern(random);
    for (int tries = 0; tries < kTries; ++tries) {
      const std::vector<int> names = random_names(random, kinds);
      std::vector<int> chosen;
      for (int part : pattern) chosen.push_back(names[part]);
      const Scene scene{placed(random, chosen), counting};
      if (!scene.objects.empty() && is_held_out(scene, seed) == held_out) return scene;
    }
  }
}

double lead(const SceneObject& a, const SceneObject& b, Side side) {
  switch (side) {
    case Side::left:
      return b.x - a.x;
    case Side::right:
      return a.x - b.x;
    case Side::above:
      return b.y - a.y;
    case Side::below:
      return a.y - b.y;
  }
  check_failed("a known side", __FILE__, __LINE__);
}

std::optional<int> only_one_beside(const Scene& scene, int index, Side side) {
  std::optional<int> found;
  for (int i = 0; i < int(scene.objects.size()); ++i) {
    if (i == index) continue;
    const double ahead = lead(scene.objects[i], scene.objects[index], side);
    if (std::abs(ahead) < kClear) return std::nullopt;
    if (ahead < 0) continue;
    if (found) return std::nullopt;
    found = i;
  }
  return found;
}

std::optional<int> corner_of(const SceneObject& object) {
  const double low = kSceneSide * kCorner, high = kSceneSide - low;
  const bool left = object.x<low, right = object.x> high;
  const bool top = object.y<low, bottom = object.y> high;
  if ((!left && !right) || (!top && !bottom)) return std::nullopt;
  return (bottom ? 2 : 0) + (right ? 1 : 0);
}

}  // namespace revenant
