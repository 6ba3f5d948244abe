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

class Shipped : public testing::TestWithParam<WeightType> {};

TEST_P(Shipped, AnswersItsExamples) {
  const Path directory = Path(REVENANT_SOURCE_DIR) / "models/phantom-nano";
  const Model model(directory, {{}, 2, GetParam()});
  const Model as_it_comes(directory, {{}, 2});
  EXPECT_EQ(as_it_comes.cache_type(), WeightType::f16);
  for (const Asked& asked : known) {
    const Image picture = read_image(directory / "examples" / asked.picture);
    EXPECT_EQ(answer(model, std::span(&picture, 1), asked.question).text, asked.answer)
        << asked.picture << ": " << asked.question;
  }
}

INSTANTIATE_TEST_SUITE_P(, Shipped, testing::Values(WeightType::f32, WeightType::f16),
                         [](const auto& one) {
                           return one.param == WeightType::f32 ? "f32" : "f16";
                         });

}  // namespace
}  // namespace revenant
