// TroL's rows, passes and streams under every setting of the paper's tables 8 to 10.
#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "engine/session.h"
#include "support/cases.h"

namespace revenant {
namespace {

using Ids = std::vector<int>;
using Bits = std::vector<uint32_t>;

const char* const names[] = {"trol-1.8b", "trol-3.8b"};
const Ids prompt = {5, 17, 120, 33, 8, 64, 201, 9, 77, 30};
const Ids answer = {3, 99, 12, 45, 6};

std::unique_ptr<Model> open(const std::string& name, std::vector<std::string> settings) {
  const Path directory = Path(REVENANT_SOURCE_DIR "/tests/conformance/data") / name;
  for (const auto& known : golden_settings(golden::read_json(directory / "golden.json")))
    settings.push_back(known);
  return std::make_unique<Model>(directory, ModelOptions{settings, 2});
}

template <class F>
void for_each_model(const std::vector<std::string>& settings, const F& test) {
  for (const char* name : names) {
    SCOPED_TRACE(name);
    test(*open(name, settings));
  }
}

Bits bits(const Tensor& x) {
  Bits b(x.size());
  std::memcpy(b.data(), x.data(), b.size() * sizeof(float));
  return b;
}

Ids history(size_t answered = answer.size()) {
  Ids all = prompt;
  all.insert(all.end(), answer.begin(), answer.begin() + long(answered));
  return all;
}

Bits whole(const Model& model, const Ids& ids) {
  Session session(model);
  return bits(session.feed(ids));
}

TEST(Traverse, AllStepsEqualOneForwardOverAllRows) {
  for_each_model({"revenant.trol_traverse=all"}, [](const Model& model) {
    for (const bool end : {false, true}) {
      Session session(model);
      session.feed(prompt);
      if (end) session.end_prompt();
      for (size_t t = 0; t < answer.size(); ++t)
        EXPECT_EQ(bits(session.step(answer[t])), whole(model, history(t + 1))) << t;
    }
    Session lone(model);  // from the very first token
    lone.step(prompt[0]);
    EXPECT_EQ(bits(lone.step(prompt[1])), whole(model, {prompt[0], prompt[1]}));
  });
}

TEST(Traverse, GeneratedRowsPassAgainOnlyWithAll) {
  std::vector<Bits> released, all;
  for_each_model({}, [&](const Model& model) {
    Session session(model);
    session.feed(prompt);
    released.push_back(bits(session.step(answer[0])));
  });
  for_each_model({"revenant.trol_traverse=all"}, [&](const Model& model) {
    Session session(model);
    session.feed(prompt);
    all.push_back(bits(session.step(answer[0])));
  });
  for (size_t i = 0; i < all.size(); ++i) EXPECT_NE(released[i], all[i]);
}

TEST(Traverse, AllKeepsEveryRowForTheNextTurn) {
  for_each_model({"revenant.trol_traverse=all"}, [](const Model& model) {
    Session session(model);
    session.feed(prompt);
    for (const int id : answer) session.step(id);
    Ids next = history();
    next.push_back(50);
    EXPECT_EQ(bits(session.prompt(next)), whole(model, next));
  });
}

TEST(Traverse, ForksStepAsTheirOrigin) {
  for (const char* traverse : {"off", "prompt", "all"})
    for_each_model({std::string("revenant.trol_traverse=") + traverse}, [&](const Model& model) {
      Session session(model);
      session.feed(prompt);
      Session fork = session.fork(), other = session.fork();
      other.step(answer[1]);
      EXPECT_EQ(bits(fork.step(answer[0])), bits(session.step(answer[0]))) << traverse;
      other.follow(fork, int(prompt.size()));
      EXPECT_EQ(bits(other.step(answer[1])), bits(session.step(answer[1]))) << traverse;
      const Ids next = history();
      EXPECT_EQ(bits(other.prompt(next)), whole(model, next)) << traverse;
    });
}

TEST(Traverse, OffHasOnePassEverywhere) {
  for_each_model({"revenant.trol_traverse=off"}, [](const Model& model) {
    Session session(model);
    session.feed(prompt);
    EXPECT_EQ(bits(session.step(answer[0])), whole(model, history(1)));
    EXPECT_EQ(session.cache_bytes(), session.fork().cache_bytes());
  });
}

// A prompt fed in pieces equals it fed whole, for each value of a setting: two models a value, and
// the first's numbers differ from one value to the next.
std::vector<Bits> in_pieces(const std::string& setting, const std::vector<std::string>& values) {
  std::vector<Bits> seen;
  for (const std::string& value : values)
    for_each_model({setting + value}, [&](const Model& model) {
      const Bits expected = whole(model, history());
      seen.push_back(expected);
      for (const size_t piece : {1, 4}) {
        Session session(model);
        Bits last;
        const Ids all = history();
        for (size_t at = 0; at < all.size(); at += piece)
          last = bits(session.feed(std::span(all).subspan(at, std::min(piece, all.size() - at)), {},
                                   int(all.size())));
        EXPECT_EQ(last, expected) << setting << value << ", pieces of " << piece;
      }
    });
  EXPECT_NE(seen[0], seen[2]);
  EXPECT_NE(seen[2], seen[4]);
  return seen;
}

TEST(Traverse, MorePassesInPiecesEqualTheWhole) {
  in_pieces("revenant.trol_passes=", {"2", "3", "4"});
}

TEST(Traverse, AThresholdInPiecesEqualsTheWhole) {
  const std::vector<Bits> seen = in_pieces("revenant.trol_threshold=", {"0", "0.5", "1"});
  size_t next = 4;  // no gate reaches 1: nothing of the second pass is left
  for_each_model({"revenant.trol_traverse=off"},
                 [&](const Model& model) { EXPECT_EQ(seen[next++], whole(model, history())); });
}

TEST(Traverse, WhatCannotBeIsAnError) {
  EXPECT_THROW(open("trol-3.8b", {"revenant.trol_traverse=some"}), Error);
  EXPECT_THROW(open("trol-3.8b", {"revenant.trol_passes=17"}), Error);
  EXPECT_THROW(open("trol-3.8b", {"revenant.trol_passes=0"}), Error);
  EXPECT_THROW(open("phantom-0.5b", {"revenant.trol_traverse=all"}), Error);
  EXPECT_THROW(open("phantom-0.5b", {"revenant.trol_passes=3"}), Error);
}

}  // namespace
}  // namespace revenant
