// One composed scene: which objects stand where. Pure geometry; no pixels, no words.
#pragma once

#include <optional>
#include <vector>

#include "base/random.h"

namespace revenant {

constexpr int kSceneSide = 112, kMostObjects = 6;

struct SceneObject {
  int kind = 0;  // index into the table of things
  double x = 0, y = 0, size = 0;
};

// One scene in three has 2 to 5 different objects, for questions of place; in the others the kind
// of objects[0] is for counting.
struct Scene {
  std::vector<SceneObject> objects;
  bool for_counting = true;
};

int count_of(const Scene& scene, int kind);
std::vector<int> kinds_of(const Scene& scene);  // in order of appearance, each once

// About one pair of kinds in ten, and one (kind, count) in ten where a scene has one kind only,
// never occurs in training; a scene that has any is a test scene.
bool is_held_out(const Scene& scene, uint64_t seed);

// A scene on the asked side of is_held_out.
Scene random_scene(Random& random, int kinds, bool held_out, uint64_t seed);

enum class Side { left, right, above, below };

// The one object standing clearly on that side of `index`, if there is exactly one and no other
// object is near the border.
std::optional<int> only_one_beside(const Scene& scene, int index, Side side);

// How far `a` stands towards `side` of `b`, in pixels of their centres.
double lead(const SceneObject& a, const SceneObject& b, Side side);

// 0..3: top left, top right, bottom left, bottom right; nothing for the middle.
std::optional<int> corner_of(const SceneObject& object);

}  // namespace revenant
