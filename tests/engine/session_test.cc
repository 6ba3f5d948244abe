// Sessions on the small checkpoints of the conformance data: whatever the order of the work, a
// session's numbers are those of its history computed alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>

#include "base/error.h"
#include "engine/generate.h"

namespace revenant {
namespace {

using Ids = std::vector<int>;
using Bits = std::vector<uint32_t>;

const Path data = Path(REVENANT_SOURCE_DIR) / "tests/conformance/data";

// phantom-0.5b: plain rotary rule; phantom-7b: one that changes with every length above 32; the
// TroL ones traverse, 3.8b with long and short factors.
const Model& model(const std::string& name) {
  static std::map<std::string, std::unique_ptr<Model>> open;
  auto& m = open[name];
  if (m) return *m;
  static const std::map<std::string, Format> types = {
      {"f32", Format::f32}, {"f16", Format::f16}, {"bf16", Format::bf16}};
  const size_t end = name.find(' ');
  m = std::make_unique<Model>(data / name.substr(0, end),
                              ModelOptions{{}, 2, types.at(name.substr(end + 1))});
  return *m;
}
const char* const names[] = {"phantom-0.5b f32", "phantom-7b f16", "phantom-3.8b f32",
                             "trol-3.8b f32",    "phantom-7b f32", "trol-3.8b bf16"};

Ids text(uint64_t seed, int length) {
  Random random(seed);
  Ids ids;
  for (int i = 0; i < length; ++i) ids.push_back(int(random.below(250)));
  return ids;
}

Tensor features(const Model& m, int rows, uint64_t seed) {
  Random random(seed);
  Tensor t(rows, 1, m.config().hidden);
  for (size_t i = 0; i < t.size(); ++i) t.data()[i] = float(random.normal());
  return t;
}

Ids with_picture(const Model& m, Ids ids, int tokens) {
  ids.insert(ids.begin() + 2, size_t(tokens), m.image_token());
  return ids;
}

Bits bits(const Tensor& x, int row = 0) {
  Bits b(x.row_size());
  std::memcpy(b.data(), x.row(row), b.size() * sizeof(float));
  return b;
}

TEST(Session, PiecesEqualTheWhole) {
  for (const char* name : names) {
    SCOPED_TRACE(name);
    const Model& m = model(name);
    const Ids ids = with_picture(m, text(1, 50), 4);
    const Tensor picture = features(m, 4, 1);
    Session whole(m);
    const Bits expected = bits(whole.feed(ids, picture));
    for (const int piece : {1, 7}) {
      Session session(m);
      Bits last;
      int used = 0;
      for (size_t at = 0; at < ids.size(); at += size_t(piece)) {
        const Ids some(ids.begin() + long(at),
                       ids.begin() + long(std::min(ids.size(), at + size_t(piece))));
        const int marks = int(std::count(some.begin(), some.end(), m.image_token()));
        last = bits(
            session.feed(some, marks ? picture.slice(used, marks) : Tensor(), int(ids.size())));
        used += marks;
      }
      EXPECT_EQ(last, expected) << piece;
    }
  }
}

// A second turn over what was generated: as if the whole history had been one prompt.
TEST(Session, ALaterTurnEqualsItsWholeHistory) {
  for (const char* name : names)
    for (const bool dropped : {false, true}) {
      SCOPED_TRACE(name);
      const Model& m = model(name);
      const Ids first = with_picture(m, text(1, 26), 4), second = text(2, 9);
      const Tensor picture = features(m, 4, 1);
      Session chat(m);
      chat.feed(first, picture);
      if (dropped) chat.end_prompt();
      for (const int id : {5, 6, 7}) chat.step(id);
      const Bits turn = bits(chat.feed(second));
      Session fresh(m);
      EXPECT_EQ(turn, bits(fresh.feed(chat.ids(), picture)));
      EXPECT_EQ(bits(chat.step(8)), bits(fresh.step(8)));
    }
}

// TroL's later passes are most of the cache while a prompt may go on, and nothing afterwards.
TEST(Session, AnEndedPromptGivesItsLaterPassesBack) {
  for (const char* name : names) {
    SCOPED_TRACE(name);
    const Model& m = model(name);
    Session session(m);
    session.feed(text(1, 20));
    const size_t before = session.cache_bytes();
    session.end_prompt();
    EXPECT_EQ(session.cache_bytes() * size_t(m.config().trol.on ? 2 : 1), before);
  }
}

TEST(Session, APromptKeepsWhatItSharesAndNoMore) {
  for (const char* name : names) {
    SCOPED_TRACE(name);
    const Model& m = model(name);
    Ids ids = with_picture(m, text(1, 20), 4);
    const Tensor picture = features(m, 4, 1), other = features(m, 4, 2);
    Session session(m);
    session.prompt(ids, picture);
    session.step(3);
    const auto fresh = [&](const Ids& history, const Tensor& rows) {
      Session alone(m);
      return bits(alone.feed(history, rows));
    };
    EXPECT_EQ(bits(session.prompt(ids, picture)), fresh(ids, picture));  // the same again
    EXPECT_EQ(bits(session.prompt(ids, other)), fresh(ids, other));      // another picture
    ids.back() = 17;
    EXPECT_EQ(bits(session.prompt(ids, other)), fresh(ids, other));  // another ending
    const Ids plain = text(4, 12);
    EXPECT_EQ(bits(session.prompt(plain)), fresh(plain, {}));  // nothing in common
    EXPECT_EQ(session.ids(), plain);
  }
}

TEST(Session, InterleavedSessionsEqualSoloRuns) {
  for (const char* name : names) {
    SCOPED_TRACE(name);
    const Model& m = model(name);
    const auto solo = [&](uint64_t seed) {
      Session s(m);
      Bits all = bits(s.feed(text(seed, 20)));
      for (int t = 0; t < 20; ++t) all = bits(s.step(t));
      return all;
    };
    Session a(m), b(m);
    a.feed(text(1, 20));
    for (int t = 0; t < 10; ++t) a.step(t);
    b.feed(text(2, 20));
    Bits last_a, last_b;
    for (int t = 0; t < 20; ++t) {
      if (t >= 10) last_a = bits(a.step(t));
      last_b = bits(b.step(t));
    }
    EXPECT_EQ(last_a, solo(1));
    EXPECT_EQ(last_b, solo(2));
  }
}

// What a sequence becomes after a fork is not the fork's: neither its rows nor its anchor.
TEST(Session, AForkOutlivesTheOtherOnesBeginning) {
  for (const char* name : names) {
    SCOPED_TRACE(name);
    const Model& m = model(name);
    Session fresh(m), session(m);
    fresh.feed(text(1, 20));
    session.feed(text(1, 20));
    Session fork = session.fork();
    session.rewind(0);
    session.feed(text(2, 30));
    EXPECT_EQ(bits(fork.step(5)), bits(fresh.step(5)));
  }
}

TEST(Session, PicturesAndFeaturesMustAgree) {
  const Model& m = model("phantom-0.5b f32");
  Session session(m);
  EXPECT_THROW(session.feed(with_picture(m, text(1, 5), 4)), Error);
  EXPECT_THROW(session.feed(text(1, 5), features(m, 4, 1)), Error);
  EXPECT_THROW(session.feed(Ids{260}), Error);
  EXPECT_THROW(session.feed(Ids{-1}), Error);
  EXPECT_THROW(session.feed(Ids{}), Error);
  Session untouched(m);
  EXPECT_EQ(bits(session.feed(text(1, 5))), bits(untouched.feed(text(1, 5))));
}

TEST(Generate, ABatchEqualsEachAlone) {
  for (const char* name : names) {
    SCOPED_TRACE(name);
    const Model& m = model(name);
    std::vector<Ids> alone;
    const auto request = [&](Session& session, int i) {
      GenerateOptions options;
      options.max_new_tokens = 5 + 3 * i;
      options.sampling = {.temperature = i % 2 ? 1.0 : 0.0, .top_k = 20, .seed = uint64_t(i)};
      options.stop_ids = {7};
      return Request{&session, text(uint64_t(i), 3 + 8 * i), {}, options};
    };
    for (int i = 0; i < 5; ++i) {
      Session session(m);
      alone.push_back(generate(request(session, i)).ids);
    }
    std::vector<Session> sessions;
    for (int i = 0; i < 5; ++i) sessions.emplace_back(m);
    std::vector<Request> requests;
    for (int i = 0; i < 5; ++i) requests.push_back(request(sessions[size_t(i)], i));
    const auto together = generate(requests);
    for (size_t i = 0; i < 5; ++i) EXPECT_EQ(together[i].ids, alone[i]) << i;
  }
}

TEST(Generate, ALastPromptGivesItsLaterPassesBack) {
  for (const char* name : names) {
    const Model& m = model(name);
    GenerateOptions options;
    options.max_new_tokens = 5;
    Session open(m), last(m);
    const Generated a = generate({&open, text(1, 20), {}, options}),
                    b = generate({&last, text(1, 20), {}, options, true});
    EXPECT_EQ(a.ids, b.ids);
    EXPECT_EQ(last.cache_bytes() < open.cache_bytes(), m.config().trol.on) << name;
  }
}

TEST(Generate, TheCallerMayEndIt) {
  Session session(model("phantom-0.5b f32"));
  GenerateOptions options;
  int seen = 0;
  options.on_token = [&](int, std::string_view) { return ++seen < 3; };
  const Generated made = generate({&session, text(1, 5), {}, options});
  EXPECT_EQ(made.ids.size(), 3u);
  EXPECT_EQ(made.finish_reason, Finish::cancelled);
}

// Whatever is added to the logits and cut from them before a token is chosen.
TEST(Generate, AChoiceIsToldWithAllLogitsAsTheyWere) {
  const Model& m = model("phantom-0.5b f32");
  Session session(m), same(m);
  GenerateOptions options;
  options.max_new_tokens = 6;
  options.sampling = {.temperature = 0.7, .top_k = 40, .seed = 3, .bias = {{9, 5.0}}};
  std::vector<std::pair<int, std::vector<float>>> told;
  options.on_choice = [&](int id, std::span<const float> logits) {
    told.push_back({id, {logits.begin(), logits.end()}});
  };
  const Generated made = generate({&session, text(1, 5), {}, options});
  ASSERT_EQ(told.size(), made.ids.size());
  Tensor next = same.feed(text(1, 5));
  for (size_t i = 0; i < told.size(); ++i) {
    EXPECT_EQ(told[i].first, made.ids[i]);
    EXPECT_EQ(told[i].second, (std::vector<float>(next.data(), next.data() + next.size())));
    next = same.step(made.ids[i]);
  }
}

TEST(Generate, StopStringsNeedATokenizer) {
  Session session(model("phantom-0.5b f32"));
  GenerateOptions options;
  options.stop_strings = {"x"};
  EXPECT_THROW(generate({&session, text(1, 5), {}, options}), Error);
}

}  // namespace
}  // namespace revenant
