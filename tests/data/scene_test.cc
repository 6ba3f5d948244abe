#include "data/scene.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "data/sprite.h"
#include "data/words.h"

namespace revenant {
namespace {

constexpr int kKinds = 40;

std::set<std::pair<int, int>> pairs_of(const Scene& scene) {
  const std::vector<int> kinds = kinds_of(scene);
  std::set<std::pair<int, int>> pairs;
  for (int a : kinds)
    for (int b : kinds)
      if (a < b) pairs.emplace(a, b);
  if (kinds.size() == 1) pairs.emplace(kinds[0], -int(scene.objects.size()));
  return pairs;
}

TEST(Scene, ObjectsStayInsideAndApart) {
  Random random(3);
  for (int i = 0; i < 300; ++i) {
    const Scene scene = random_scene(random, kKinds, i % 2, 5);
    ASSERT_GE(scene.objects.size(), 1u);
    ASSERT_LE(scene.objects.size(), size_t(kMostObjects));
    for (size_t a = 0; a < scene.objects.size(); ++a) {
      const SceneObject& object = scene.objects[a];
      EXPECT_GE(std::min(object.x, object.y), object.size / 2);
      EXPECT_LE(std::max(object.x, object.y), kSceneSide - object.size / 2);
      for (size_t b = 0; b < a; ++b)
        EXPECT_GE(std::hypot(object.x - scene.objects[b].x, object.y - scene.objects[b].y),
                  (object.size + scene.objects[b].size) / 2);
    }
  }
}

// A test scene always has a combination that no training scene can have.
TEST(Scene, HeldOutCombinationsNeverOccurInTraining) {
  std::set<std::pair<int, int>> training;
  for (uint64_t i = 0; i < 3000; ++i) {
    Random random = random_for(5, "train", i);
    training.merge(pairs_of(random_scene(random, kKinds, false, 5)));
  }
  for (uint64_t i = 0; i < 300; ++i) {
    Random random = random_for(5, "test", i);
    int news = 0;
    for (const auto& pair : pairs_of(random_scene(random, kKinds, true, 5)))
      news += !training.contains(pair);
    EXPECT_GE(news, 1);
  }
}

TEST(Scene, AskedCountsAreEven) {
  Random random(9);
  std::array<int, kMostObjects + 1> seen{};
  for (int i = 0; i < 6000; ++i) {
    const Scene scene = random_scene(random, kKinds, false, 5);
    if (scene.for_counting) ++seen[count_of(scene, scene.objects[0].kind)];
  }
  for (int count = 1; count <= kMostObjects; ++count) EXPECT_NEAR(seen[count], 667, 120) << count;
}

TEST(Scene, BesideIsAskedOnlyWhereItIsPlain) {
  //  1 at the left, 2 in the middle, 3 at the right; 4 nearly above 2
  Scene scene{{{1, 20, 60, 20}, {2, 56, 60, 20}, {3, 90, 60, 20}}};
  EXPECT_EQ(only_one_beside(scene, 1, Side::left), 0);
  EXPECT_EQ(only_one_beside(scene, 1, Side::right), 2);
  EXPECT_EQ(only_one_beside(scene, 2, Side::left), std::nullopt);   // two are
  EXPECT_EQ(only_one_beside(scene, 0, Side::left), std::nullopt);   // none is
  EXPECT_EQ(only_one_beside(scene, 1, Side::above), std::nullopt);  // all are level
  scene.objects.push_back({4, 50, 20, 20});
  EXPECT_EQ(only_one_beside(scene, 1, Side::left), std::nullopt);  // 4 is neither left nor not
  EXPECT_EQ(lead(scene.objects[3], scene.objects[1], Side::above), 40);
  EXPECT_EQ(lead(scene.objects[3], scene.objects[1], Side::below), -40);
}

TEST(Scene, Corners) {
  EXPECT_EQ(corner_of({0, 20, 20, 10}), 0);
  EXPECT_EQ(corner_of({0, 95, 20, 10}), 1);
  EXPECT_EQ(corner_of({0, 20, 95, 10}), 2);
  EXPECT_EQ(corner_of({0, 95, 95, 10}), 3);
  EXPECT_EQ(corner_of({0, 56, 95, 10}), std::nullopt);
}

TEST(Words, English) {
  EXPECT_EQ(with_article("owl"), "an owl");
  EXPECT_EQ(with_article("unicorn"), "a unicorn");
  EXPECT_EQ(with_article("umbrella"), "an umbrella");
  EXPECT_EQ(plural_of("butterfly"), "butterflies");
  EXPECT_EQ(plural_of("donkey"), "donkeys");
  EXPECT_EQ(plural_of("toothbrush"), "toothbrushes");
  EXPECT_EQ(lines_of({"a", "b", "c"}), "a\nb\nc");
  EXPECT_EQ(filled_in("{a} or {b}, {a}", {{"a", "{b}"}, {"b", "x"}}), "x or x, x");
}

TEST(Sprite, IsBlendedByItsAlphaAndTurned) {
  Sprite sprite{2, 2, {255, 0, 0, 255, 0, 255, 0, 255, 0, 0, 255, 0, 255, 255, 255, 128}};
  const Image image = drawn(blank_image(2, 2, 100), sprite, {1, 1, 2});
  EXPECT_EQ(image.rgb, (std::vector<uint8_t>{255, 0, 0, 0, 255, 0, 100, 100, 100, 178, 178, 178}));
  const Image mirrored = drawn(blank_image(2, 2, 100), sprite, {1, 1, 2, 0, true});
  EXPECT_EQ(mirrored.rgb[0], 0);
  EXPECT_EQ(mirrored.rgb[3], 255);
  EXPECT_NE(pixel_hash(image), pixel_hash(mirrored));
}

TEST(Sprite, IsNarrowedAboutItsMiddle) {
  const Sprite white{1, 1, {255, 255, 255, 255}};
  for (const bool mirrored : {false, true}) {
    const Image image = drawn(blank_image(8, 1, 0), white,
                              {.x = 4, .y = 0.5, .size = 8, .mirrored = mirrored, .narrowed = 0.5});
    std::vector<uint8_t> expected(8 * 3, 0);
    std::fill(expected.begin() + 2 * 3, expected.begin() + 6 * 3, 255);
    EXPECT_EQ(image.rgb, expected) << mirrored;
  }
}

TEST(Sprite, IsTrimmedToWhatIsVisible) {
  Sprite sprite{3, 3, std::vector<uint8_t>(36, 0)};
  for (int c = 0; c < 4; ++c) sprite.rgba[(1 * 3 + 2) * 4 + c] = 200;
  const Sprite cut = trimmed(sprite);
  EXPECT_EQ(cut.width, 1);
  EXPECT_EQ(cut.height, 1);
  EXPECT_EQ(cut.rgba, std::vector<uint8_t>(4, 200));
}

}  // namespace
}  // namespace revenant
