// The shipped model answers its example pictures with the words that it was found to answer: a
// drift in prompt, tokenizer, tiles, normalisation or numbers is seen here.
#include <gtest/gtest.h>

#include "engine/generate.h"

namespace revenant {
namespace {

struct Asked {
  const char *picture, *question, *answer;
};
const Asked known[] = {
    {"red_triangle.png", "what shape is in the image?", "triangle"},
    {"red_triangle.png", "what color is the shape?", "red"},
    {"red_triangle.png", "is there a blue circle?", "no"},
    {"boot.png", "what kind of clothing is this?", "ankle boot"},
    {"bag.png", "what kind of clothing is this?", "bag"},
};

class Shipped : public testing::TestWithParam<Format> {};

TEST_P(Shipped, AnswersItsExamples) {
  const Path directory = Path(REVENANT_SOURCE_DIR) / "models/phantom-nano";
  const Model model(directory, {{}, 2, GetParam()});
  const Model as_it_comes(directory, {{}, 2});
  EXPECT_EQ(as_it_comes.cache_types().all, Format::f16);
  for (const Asked& asked : known) {
    const Image picture = read_image(directory / "examples" / asked.picture);
    EXPECT_EQ(answer(model, std::span(&picture, 1), asked.question).text, asked.answer)
        << asked.picture << ": " << asked.question;
  }
}

INSTANTIATE_TEST_SUITE_P(, Shipped, testing::ValuesIn(cache_formats),
                         [](const auto& one) { return cache_name(one.param); });

// By what eta makes of the anchor's values; an f32 cache is one of exact numbers.
TEST(ShippedCache, HasGhostsOfValuesInEightBitsWhereTheyAreQuiet) {
  const Path directory = Path(REVENANT_SOURCE_DIR) / "models/phantom-nano";
  const auto ghosts = [&](const char* eta, std::optional<Format> wanted) {
    return Network::open(directory, {std::string("revenant.phantom_eta=") + eta})
        .cache_types(wanted)
        .ghost_v;
  };
  EXPECT_EQ(ghosts("1", {}), Format::f16);
  EXPECT_EQ(ghosts("1e-4", {}), Format::q8_0);
  EXPECT_EQ(ghosts("1e-4", Format::bf16), Format::q8_0);
  EXPECT_EQ(ghosts("1e-4", Format::f32), Format::f32);
  EXPECT_EQ(ghosts("0", Format::f32), Format::f32);
  EXPECT_EQ(ghosts("1", Format::q8_0), Format::q8_0);
}

}  // namespace
}  // namespace revenant
