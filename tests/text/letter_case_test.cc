#include "text/letter_case.h"

#include <gtest/gtest.h>

namespace revenant {
namespace {

TEST(LetterCase, LowersEveryScript) {
  EXPECT_EQ(lower_case("Ab1 Z[@"), "ab1 z[@");
  EXPECT_EQ(lower_case("ÅLAND Ýland Ж Ω"), "åland ýland ж ω");
  EXPECT_EQ(lower_case("Straße 日本 😀"), "straße 日本 😀");
}

TEST(LetterCase, FoldedTextsAreEqualButForCaseAndComposition) {
  EXPECT_EQ(folded("STRASSE"), folded("Straße"));
  EXPECT_EQ(folded("ΟΔΟΣ"), folded("οδος"));  // a final sigma
  EXPECT_EQ(folded("A\u030Aland"), folded("åland"));
  EXPECT_EQ(folded("ÅLAND"), "åland");
  EXPECT_NE(folded("aland"), folded("åland"));
  EXPECT_EQ(folded(""), "");
}

}  // namespace
}  // namespace revenant
