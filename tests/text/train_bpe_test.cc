// The trainer of small byte-level vocabularies.
#include "text/train_bpe.h"

#include "small_tokenizers.h"

namespace revenant {
namespace {

using small::Directory;
using small::Ids;
using small::Json;

const std::vector<std::string> texts = {"the cat and the hat, the end.\n",
                                        "The cat's 12 caf\u00e9s", "the \u732b sat; \u732b \u732b"};
const std::vector<std::string> specials = {"<|endoftext|>", "<img>"};

TEST(TrainBpe, OpensAndRoundTrips) {
  Directory d;
  d.write("tokenizer.json", train_byte_bpe(texts, 264, specials));
  const Tokenizer t = d.open();
  EXPECT_EQ(t.size(), 264);
  EXPECT_EQ(t.id_of("a"), 'a');
  EXPECT_EQ(t.id_of("<img>"), 263);
  EXPECT_TRUE(t.is_special(262));
  for (const std::string& text : texts) {
    const Ids ids = t.encode(text, Specials::as_text);
    EXPECT_LT(ids.size(), text.size());
    EXPECT_EQ(t.decode(ids, true), text);
  }
  EXPECT_EQ(t.token_of(256), "he");  // 5 times, before "th" and " t" by its ids
}

// Of pairs that occur equally often the one with the smaller ids comes first.
TEST(TrainBpe, TheListOfMerges) {
  const std::vector<std::string> equal = {"xy ab xy ab ba ba"};
  const Json file = Json::parse(train_byte_bpe(equal, 300, {}));
  const std::vector<std::string> merges = {"\u0120 a", "\u0120 b", "x y", "\u0120a b", "\u0120b a"};
  EXPECT_EQ(file["model"]["merges"], Json(merges));
}

TEST(TrainBpe, IsDeterministicAndBounded) {
  EXPECT_EQ(train_byte_bpe(texts, 300, specials), train_byte_bpe(texts, 300, specials));
  Directory d;
  d.write("tokenizer.json", train_byte_bpe(texts, 5000, specials));
  EXPECT_LT(d.open().size(), 400);
  EXPECT_THROW(train_byte_bpe(texts, 257, specials), Error);
}

}  // namespace
}  // namespace revenant
