// Perplexity by its definition, token by token.
#include "eval/perplexity.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "engine/session.h"
#include "support/random_checkpoint.h"
#include "support/temporary.h"

namespace revenant {
namespace {

class PerplexityTest : public testing::Test {
 protected:
  const Temporary place_;
  std::vector<int> ids_;
  void SetUp() override {
    write_random_phantom(place_.path / "m", 3);
    Random random(9);
    for (int i = 0; i < 50; ++i) ids_.push_back(int(random.below(250)));
  }
  Model model(const std::vector<std::string>& settings = {}) const {
    return Model(place_.path / "m", {.settings = settings, .threads = 2});
  }
};

// Each token of a second half after the others of its chunk, a prompt and then one by one.
double by_hand(const Model& model, std::span<const int> ids, int context) {
  double sum = 0;
  int count = 0;
  for (size_t begin = 0; begin + size_t(context) <= ids.size(); begin += size_t(context)) {
    const auto chunk = ids.subspan(begin, size_t(context));
    Session session(model);
    const size_t half = size_t(context) / 2;
    Tensor next = session.feed(chunk.first(half + 1));
    for (size_t i = half + 1; i < chunk.size(); ++i, ++count) {
      double total = 0;
      for (int v = 0; v < next.width; ++v) total += std::exp(double(next.data()[v]));
      sum += std::log(total) - double(next.data()[chunk[i]]);
      if (i + 1 < chunk.size()) next = session.step(chunk[i]);
    }
  }
  return sum / count;
}

TEST_F(PerplexityTest, IsThatOfEachTokenAfterTheOthers) {
  const Model m = model();
  for (const int context : {4, 16, 17, 50}) {
    size_t told = 0;
    PerplexityOptions options{.context = context};
    options.progress = [&](size_t done, size_t total) { told = done == total ? total : 0; };
    const Perplexity p = perplexity(m, ids_, options);
    EXPECT_NEAR(p.mean, by_hand(m, ids_, context), 1e-5) << context;
    EXPECT_EQ(told, 50u / size_t(context));
    EXPECT_EQ(p.tokens, int64_t(told) * (context - context / 2 - 1));
    EXPECT_GT(p.deviation, 0);
  }
}

TEST_F(PerplexityTest, RefusesWhatIsTooShortOrUnknown) {
  const Model m = model();
  EXPECT_THROW(perplexity(m, ids_, {.context = 51}), Error);
  ids_[3] = 100000;
  EXPECT_THROW(perplexity(m, ids_, {.context = 10}), Error);
  ids_[3] = 1;
  EXPECT_THROW(perplexity(m, ids_, {.context = 10, .go_on = [] { return false; }}), Stopped);
}

}  // namespace
}  // namespace revenant
