// What goes wrong or is stopped in the middle of the work: it is one sequence's own, and leaves it
// and the others as they were.
#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <limits>

#include "engine/generate.h"
#include "support/random_checkpoint.h"
#include "support/temporary.h"

namespace revenant {
namespace {

using Ids = std::vector<int>;
using Bits = std::vector<uint32_t>;

Bits bits(const Tensor& x, int row = 0) {
  Bits b(x.row_size());
  std::memcpy(b.data(), x.row(row), b.size() * sizeof(float));
  return b;
}

// Of the tokens' embeddings one coordinate is kept for the token `huge`, which the keys of layer 0
// answer with more than f16 holds; the embedding of `unreal` is no number.
constexpr int huge = 65, unreal = 66, coordinate = 3;

void quiet(const TensorSpec& spec, std::vector<float>& values) {
  const size_t width = size_t(spec.shape.back());
  if (spec.role == Role::embedding)
    for (size_t id = 0; id < values.size() / width; ++id) values[id * width + coordinate] = 0;
}

void loud(const TensorSpec& spec, std::vector<float>& values) {
  quiet(spec, values);
  const size_t width = size_t(spec.shape.back());
  if (spec.role == Role::embedding) {
    values[huge * width + coordinate] = 1;
    values[unreal * width] = std::numeric_limits<float>::quiet_NaN();
  }
  if (spec.name == "blk.0.attn_k.weight")
    for (size_t r = 0; r < values.size() / width; ++r) values[r * width + coordinate] = 1e6f;
}

class Failure : public testing::Test {
 protected:
  static const Model& open(const char* name, ChangeValues change) {
    static const Temporary place;
    static std::map<std::string, std::unique_ptr<Model>> models;
    auto& model = models[name];
    if (model) return *model;
    write_random_phantom(place.path / name, 3, change);
    return *(model = std::make_unique<Model>(place.path / name, ModelOptions{{}, 2, Format::f16}));
  }
  const Model& sound_ = open("sound", quiet);
  const Model& model_ = open("loud", loud);

  static Ids text(uint64_t seed, int length) {
    Random random(seed);
    Ids ids;
    for (int i = 0; i < length; ++i) ids.push_back(int(random.below(60)));
    return ids;
  }
  Bits alone(const Ids& history) const {
    Session session(model_);
    return bits(session.feed(history));
  }
};

TEST_F(Failure, BadIdsInAJointStepTouchNoSession) {
  Session a(model_), b(model_), fresh(model_);
  for (Session* session : {&a, &b, &fresh}) session->feed(text(1, 9));
  Session* const both[] = {&a, &b};
  EXPECT_THROW(Session::step(both, Ids{5, 1 << 30}), Error);
  EXPECT_THROW(Session::step(both, Ids{-1, 5}), Error);
  const Bits expected = bits(fresh.step(5));
  EXPECT_EQ(bits(a.step(5)), expected);
  EXPECT_EQ(bits(b.step(5)), expected);
}

TEST_F(Failure, AKeyTooLargeInAJointStepTouchesNoSession) {
  Session a(model_), b(model_), c(model_), fresh(model_);
  for (Session* session : {&a, &b, &c, &fresh}) session->feed(text(1, 9));
  Session* const all[] = {&a, &b, &c};
  EXPECT_THROW(Session::step(all, Ids{5, huge, 5}), Error);
  const Bits expected = bits(fresh.step(5));
  for (Session* session : all) {
    EXPECT_EQ(session->cached(), 9);
    EXPECT_EQ(bits(session->step(5)), expected);
    EXPECT_EQ(session->ids(), fresh.ids());
  }
}

// The third of three pieces fails: the history stays what it was, pictures included.
TEST_F(Failure, AFeedThatFailsInTheMiddleLeavesTheHistory) {
  Tensor features(4, 1, model_.config().hidden);
  for (size_t i = 0; i < features.size(); ++i)
    features.data()[i] = i % features.row_size() == coordinate ? 0 : float(i % 7) - 3;
  const auto with_picture = [&](Ids ids) {
    ids.insert(ids.begin() + 2, 4, model_.image_token());
    return ids;
  };
  Ids bad = with_picture(text(2, 1300));
  bad[1200] = huge;
  Session session(model_), fresh(model_);
  for (Session* one : {&session, &fresh}) one->feed(with_picture(text(1, 9)), features);
  EXPECT_THROW(session.feed(bad, features), Error);
  EXPECT_EQ(session.ids(), fresh.ids());
  EXPECT_EQ(session.cached(), fresh.cached());
  bad[1200] = 5;
  EXPECT_EQ(bits(session.feed(bad, features)), bits(fresh.feed(bad, features)));
  EXPECT_EQ(bits(session.step(5)), bits(fresh.step(5)));
}

// Answers of the sound twin tell where the loud one fails: at the first `huge` or `unreal` token
// that is fed. All others' answers are what they are without company.
TEST_F(Failure, OneOfABatchFailsAlone) {
  const auto request = [&](Session& session, int i) {
    GenerateOptions options;
    options.max_new_tokens = 60;
    options.sampling = {.temperature = 1.5, .seed = uint64_t(i)};
    return Request{&session, text(uint64_t(i), 3 + i), {}, options};
  };
  std::deque<Session> sessions;
  std::vector<Request> requests;
  for (int i = 0; i < 12; ++i) requests.push_back(request(sessions.emplace_back(model_), i));
  requests[4].ids[2] = huge;     // fails in its prompt
  requests[5].ids[2] = unreal;   // no number comes of it
  requests[6].ids[2] = 1 << 20;  // no such token
  const auto made = generate(requests);
  size_t failed = 0, whole = 0;
  for (int i = 0; i < 12; ++i) {
    SCOPED_TRACE(i);
    const Generated& mine = made[size_t(i)];
    if (i >= 4 && i <= 6) {
      EXPECT_EQ(mine.finish_reason, Finish::failed);
      EXPECT_TRUE(mine.failure);
      EXPECT_EQ(mine.ids, Ids{});
      continue;
    }
    Session session(sound_);
    Ids expected = generate(request(session, i)).ids;
    const auto bad = std::find_if(expected.begin(), expected.end() - 1,
                                  [](int id) { return id == huge || id == unreal; });
    const bool fails = bad != expected.end() - 1;
    ++(fails ? failed : whole);
    if (fails) expected.erase(bad + 1, expected.end());
    EXPECT_EQ(mine.ids, expected);
    EXPECT_EQ(mine.finish_reason, fails ? Finish::failed : Finish::length);
    EXPECT_EQ(mine.failure.has_value(), fails);
  }
  EXPECT_GE(failed, 2u);
  EXPECT_GE(whole, 2u);
  EXPECT_THROW(generate(requests[4]), Error);
  EXPECT_THROW(generate(requests[5]), Error);
}

TEST_F(Failure, OfBeamsGivesTheSessionBack) {
  Session a(model_), b(model_);
  GenerateOptions options;
  options.beams = 3;
  options.max_new_tokens = 8;
  std::vector<Request> requests = {{&a, {}, {}, options}, {&b, text(2, 5), {}, options}};
  Generated first;
  for (uint64_t seed = 1; first.ids.empty() || first.failure; ++seed) {  // one that is well
    requests[0].ids = text(seed, 5);
    first = std::move(generate(std::span(requests).first(1)).front());
  }
  const Ids expected = first.ids;
  requests[1].ids[3] = unreal;
  const auto made = generate(requests);
  EXPECT_EQ(made[0].ids, expected);
  EXPECT_EQ(made[1].finish_reason, Finish::failed);
  b.rewind(3);
  EXPECT_EQ(bits(b.feed(Ids{7})), alone({text(2, 5)[0], text(2, 5)[1], text(2, 5)[2], 7}));
}

// Stops at the n-th time that it is asked.
GoOn stop_at(int n, int& asked) {
  return [n, &asked] { return ++asked != n; };
}

TEST_F(Failure, AStoppedPromptLeavesTheHistory) {
  const Ids first = text(1, 9), second = text(2, 1100);
  int all = 0;
  Bits expected;
  {
    Session session(model_);
    session.feed(first);
    expected = bits(session.feed(second, {}, 0, stop_at(0, all)));
  }
  // Three pieces, and in each of them many times; the last layer of the first two makes keys and
  // values alone.
  EXPECT_GT(all, (3 * 6 - 2 * 2) * model_.config().layers);
  for (const int n : {1, 2, all / 2, all}) {
    SCOPED_TRACE(n);
    Session session(model_), fresh(model_);
    for (Session* one : {&session, &fresh}) one->feed(first);
    int asked = 0;
    EXPECT_THROW(session.feed(second, {}, 0, stop_at(n, asked)), Stopped);
    EXPECT_EQ(asked, n);
    EXPECT_EQ(session.ids(), first);
    EXPECT_EQ(bits(session.step(4)), bits(fresh.step(4)));
    session.rewind(9);
    EXPECT_EQ(bits(session.feed(second)), expected);
  }
}

// Where the rotary rule changes with the length, the rows of the history are computed anew: a stop
// then costs rows, never numbers.
TEST(Stopping, UnderAChangingRotaryRuleCostsRowsOnly) {
  const Model model(Path(REVENANT_SOURCE_DIR) / "tests/conformance/data/phantom-7b", {{}, 2});
  const Ids first = {1, 2, 3, 4, 5}, second(60, 9);
  Session session(model), fresh(model);
  for (Session* one : {&session, &fresh}) one->feed(first);
  int asked = 0;
  EXPECT_THROW(session.feed(second, {}, 0, stop_at(20, asked)), Stopped);
  EXPECT_EQ(session.ids(), first);
  EXPECT_LT(session.cached(), fresh.cached());
  EXPECT_EQ(bits(session.feed(Ids{7})), bits(fresh.feed(Ids{7})));
  EXPECT_EQ(bits(session.feed(second)), bits(fresh.feed(second)));
}

TEST_F(Failure, PicturesCanBeStoppedWhileTheyAreSeen) {
  const Image picture = blank_image(300, 200, 90);
  int all = 0, asked = 0;
  const Pictures expected = model_.encode(std::span(&picture, 1), stop_at(0, all));
  EXPECT_GT(all, int(model_.config().vision.layers) * 4);
  EXPECT_THROW(model_.encode(std::span(&picture, 1), stop_at(all, asked)), Stopped);
  EXPECT_EQ(bits(model_.encode(std::span(&picture, 1)).features), bits(expected.features));
}

TEST_F(Failure, AnAnswerStoppedInItsPromptIsCancelled) {
  Session session(sound_);
  GenerateOptions options;
  options.max_new_tokens = 5;
  int asked = 0, told = 0;
  options.on_token = [&](int, std::string_view) { return ++told > 0; };
  options.go_on = stop_at(3, asked);
  const Generated made = generate({&session, text(1, 9), {}, options});
  EXPECT_EQ(made.finish_reason, Finish::cancelled);
  EXPECT_EQ(made.ids, Ids{});
  EXPECT_EQ(told, 0);
  EXPECT_EQ(session.ids(), Ids{});
  options.go_on = {};
  Session fresh(sound_);
  EXPECT_EQ(generate({&session, text(1, 9), {}, options}).ids,
            generate({&fresh, text(1, 9), {}, options}).ids);
}

TEST_F(Failure, AnAnswerCanBeStoppedBetweenTokens) {
  Session session(sound_);
  GenerateOptions options;
  options.max_new_tokens = 9;
  std::vector<int> told;
  options.on_token = [&](int id, std::string_view) {
    told.push_back(id);
    return true;
  };
  options.go_on = [&] { return told.size() < 4; };
  const Generated made = generate({&session, text(1, 9), {}, options});
  EXPECT_EQ(made.finish_reason, Finish::cancelled);
  EXPECT_EQ(made.ids, told);
  EXPECT_EQ(told.size(), 4u);
}

}  // namespace
}  // namespace revenant
