// Many answers at once: whatever joins, leaves, fails, is cancelled or shares its beginning, each
// answer is the one that its request gets alone.
#include "engine/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <thread>

#include "base/json.h"
#include "support/random_checkpoint.h"
#include "support/temporary.h"

namespace revenant {
namespace {

using Ids = std::vector<int>;

struct Kind {
  const char* name;
  Format type;
  size_t memory = 0;
  int threads = 2;
};

// phantom-7b: a rotary rule that changes with every length above 32; trol-3.8b: two passes, long
// and short factors; random models: with both mechanisms, with rows that pass once among others
// that pass twice, and with ghosts so quiet that they are left out, or cached in 8 bits.
const Kind kinds[] = {{"phantom-0.5b", Format::f32}, {"phantom-7b", Format::f16},
                      {"trol-3.8b", Format::f32},    {"trol-3.8b", Format::bf16},
                      {"both", Format::f16},         {"both", Format::q8_0},
                      {"threshold", Format::f32},    {"quiet", Format::f16}};

Path directory_of(const Kind& kind) {
  using Json = nlohmann::json;
  static const std::map<std::string, Json> random = {
      {"both", {{"phantom", true}, {"phantom_eta", 0.5}, {"trol", true}}},
      {"threshold", {{"phantom", false}, {"trol", true}, {"trol_threshold", 0.5}}},
      {"quiet", {{"phantom", true}, {"phantom_eta", 1e-5}, {"trol", false}}}};
  const auto ways = random.find(kind.name);
  if (ways == random.end()) return Path(REVENANT_SOURCE_DIR) / "tests/conformance/data" / kind.name;
  static const Temporary place;
  const Path path = place.path / kind.name;
  if (std::filesystem::exists(path)) return path;
  write_random_phantom(path, 3);
  Json config = read_json(path / "config.json");
  config["llm_config"]["hidden_size"] = 64;  // heads of 32
  config["revenant"] = ways->second;
  write_random_checkpoint(path, config, 5);
  return path;
}

const Model& model(const Kind& k) {
  static std::map<std::tuple<std::string, Format, int, size_t>, std::unique_ptr<Model>> open;
  auto& m = open[{k.name, k.type, k.threads, k.memory}];
  if (!m)
    m = std::make_unique<Model>(directory_of(k), ModelOptions{{}, k.threads, k.type, k.memory});
  return *m;
}

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

constexpr int requests = 12;

// Short and long prompts; some begin alike for more than a page, with the same picture or another
// one in its place; sampled, greedy, by beams; one is none.
Request request(const Model& m, int i) {
  GenerateOptions options;
  options.max_new_tokens = 3 + 5 * (i % 4);
  options.sampling = {.temperature = i % 2 ? 1.0 : 0.0, .top_k = 20, .seed = uint64_t(i)};
  options.stop_ids = {7};
  Ids ids = text(uint64_t(i), 2 + 9 * i);
  Tensor picture;
  if (i >= 4) {
    const Ids common = text(100, 150);
    ids.insert(ids.begin(), common.begin(), common.begin() + (i % 3 ? 150 : 70));
    ids.insert(ids.begin() + 3, 4, m.image_token());
    picture = features(m, 4, i % 4 ? 1 : 2);
  }
  if (i == 5) options.sampling = {}, options.beams = 3;
  if (i == 2) ids[3] = 1 << 20;
  return {nullptr, ids, picture, options, i % 5 == 0};
}

Generated alone(const Model& m, const Request& asked) {
  Engine engine(m);
  const auto ticket = engine.submit(asked);
  while (engine.step()) continue;
  return *engine.result(ticket);
}

const std::vector<Generated>& all_alone(const Kind& kind) {
  static std::map<std::pair<std::string, Format>, std::vector<Generated>> made;
  auto& all = made[{kind.name, kind.type}];
  const Model& m = model({kind.name, kind.type, 0, 1});
  for (int i = int(all.size()); i < requests; ++i) all.push_back(alone(m, request(m, i)));
  return all;
}

bool begins(const Ids& whole, const Ids& part) {
  return part.size() <= whole.size() && std::equal(part.begin(), part.end(), whole.begin());
}

TEST(Engine, QuietIsQuiet) {
  const Model& m = model({"quiet", Format::f16});
  EXPECT_EQ(m.cache_types().ghost_v, Format::q8_0);
  Session session(m);
  session.feed(text(1, 5));
  EXPECT_TRUE(session.sequence().anchor(0).quiet());
}

// Before the engine: a session a request, one after the other.
TEST(Engine, OneAloneIsWhatASessionGives) {
  for (const Kind& kind : kinds)
    for (int i = 0; i < requests; ++i) {
      const Model& m = model(kind);
      const Request asked = request(m, i);
      if (i == 2 || asked.options.beams > 1) continue;
      Session session(m);
      Random random(asked.options.sampling.seed);
      Ids ids;
      Tensor next = session.feed(asked.ids, asked.features);
      while (int(ids.size()) < asked.options.max_new_tokens) {
        ids.push_back(pick(asked.options.sampling, {next.data(), next.size()}, ids, random));
        if (ids.back() == 7) break;
        next = session.step(ids.back());
      }
      EXPECT_EQ(all_alone(kind)[size_t(i)].ids, ids) << kind.name << " " << i;
    }
}

TEST(Engine, BatchesOfAnySize) {
  for (const Kind& kind : kinds)
    for (const size_t size : {1, 2, 3, 8, 16}) {
      SCOPED_TRACE(testing::Message() << kind.name << " " << size);
      const Model& m = model(kind);
      Engine engine(m, {.rows = 200});
      std::vector<Engine::Ticket> tickets;
      for (size_t i = 0; i < size; ++i)
        tickets.push_back(engine.submit(request(m, int(i) % requests)));
      while (engine.step()) continue;
      for (size_t i = 0; i < size; ++i)
        EXPECT_EQ(engine.result(tickets[i])->ids, all_alone(kind)[i % requests].ids) << i;
    }
}

// One schedule: requests come at random steps, some are cancelled at random steps.
void run_schedule(const Kind& kind, uint64_t seed) {
  SCOPED_TRACE(testing::Message() << kind.name << ", " << kind.threads << " threads, seed "
                                  << seed);
  const Model& m = model(kind);
  Random random(seed);
  EngineOptions options;
  options.prefixes = random.below(4) > 0;
  options.rows = random.below(2) ? 512 : 20 + int(random.below(100));
  options.sequences = 1 + random.below(10);
  Engine engine(m, options);
  struct Asked {
    int request;
    Engine::Ticket ticket;
    bool cancelled;
  };
  std::vector<Asked> asked;
  const int arrivals = 3 + int(random.below(14));
  for (bool more = true; more || int(asked.size()) < arrivals;) {
    while (int(asked.size()) < arrivals && random.below(2)) {
      const int i = int(random.below(requests));
      asked.push_back({i, engine.submit(request(m, i)), false});
    }
    if (!asked.empty() && random.below(8) == 0) {
      Asked& one = asked[random.below(asked.size())];
      one.cancelled = true;
      engine.cancel(one.ticket);
    }
    more = engine.step();
  }
  for (const Asked& one : asked) {
    const Generated made = *engine.result(one.ticket),
                    &expected = all_alone(kind)[size_t(one.request)];
    if (one.cancelled && made.finish_reason == Finish::cancelled) {
      EXPECT_TRUE(expected.ids.empty() || begins(expected.ids, made.ids) ||
                  request(m, one.request).options.beams > 1);
      continue;
    }
    EXPECT_EQ(made.ids, expected.ids) << one.request;
    EXPECT_EQ(made.finish_reason, expected.finish_reason) << one.request;
    EXPECT_EQ(made.failure.has_value(), one.request == 2);
  }
  if (kind.memory) {
    EXPECT_LE(m.pages()->most(), kind.memory);
  }
}

// REVENANT_SCHEDULES=1000 runs as many.
TEST(Engine, RandomSchedules) {
  const char* const asked = std::getenv("REVENANT_SCHEDULES");
  const uint64_t count = asked ? std::strtoull(asked, nullptr, 10) : 30;
  for (uint64_t seed = 1; seed <= count && !HasFailure(); ++seed) {
    Kind kind = kinds[seed % std::size(kinds)];
    kind.threads = 1 + int(seed / 5 % 4);
    if (seed / 20 % 2) {  // room for a few at a time, or so
      const Model& m = model({kind.name, kind.type});
      kind.memory = (16 + seed % 8) * m.pages()->shape().bytes() + seed % 100;
    }
    run_schedule(kind, seed);
  }
  std::printf("schedules with seeds 1 to %llu\n", static_cast<unsigned long long>(count));
}

// Requests and cancellations from other threads while one steps.
TEST(Engine, IsAskedFromManyThreads) {
  const Kind kind = kinds[0];
  const Model& m = model(kind);
  const auto& expected = all_alone(kind);
  Engine engine(m, {.prefixes = true});
  std::atomic<int> asking = 3;
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&, t] {
      for (int i = t; i < 2 * requests; i += 3) {
        const auto ticket = engine.submit(request(m, i % requests));
        const bool cancelled = i % 4 == 3;
        if (cancelled) engine.cancel(ticket);
        std::optional<Generated> made;
        while (!(made = engine.result(ticket))) std::this_thread::yield();
        if (!cancelled) {
          EXPECT_EQ(made->ids, expected[size_t(i % requests)].ids);
        }
      }
      --asking;
    });
  while (asking > 0)
    if (!engine.step()) std::this_thread::yield();
  for (std::thread& thread : threads) thread.join();
}

Request plain(Ids ids, int tokens) {
  GenerateOptions options;
  options.max_new_tokens = tokens;
  return {nullptr, std::move(ids), {}, options};
}

// The rows of a beginning are computed once, also when all come at the same time.
TEST(Prefixes, ABeginningIsComputedOnce) {
  for (const Kind& kind : kinds) {
    SCOPED_TRACE(kind.name);
    const Model& m = model(kind);
    Engine engine(m, {.prefixes = true});
    std::vector<Engine::Ticket> tickets;
    std::vector<Ids> prompts;
    for (int i = 0; i < 5; ++i) {
      Ids ids = text(1, 140), tail = text(uint64_t(10 + i), 20);
      ids.insert(ids.end(), tail.begin(), tail.end());
      prompts.push_back(ids);
      tickets.push_back(engine.submit(plain(ids, 1)));
    }
    while (engine.step()) continue;
    EXPECT_EQ(engine.rows(), 160 + 4 * (160 - 128));
    for (int i = 0; i < 5; ++i)
      EXPECT_EQ(engine.result(tickets[size_t(i)])->ids, alone(m, plain(prompts[size_t(i)], 1)).ids);
    const int64_t before = engine.rows();
    const auto again = engine.submit(plain(prompts[3], 1));  // of nobody on the way
    while (engine.step()) continue;
    EXPECT_EQ(engine.rows() - before, 160 - 128);
    EXPECT_EQ(engine.result(again)->ids, alone(m, plain(prompts[3], 1)).ids);
  }
}

// The same tokens with another picture are another beginning.
TEST(Prefixes, PicturesAreOfTheirPages) {
  const Model& m = model(kinds[0]);
  Ids ids = text(1, 150);
  std::fill_n(ids.begin() + 70, 4, m.image_token());
  Engine engine(m, {.prefixes = true});
  std::vector<Ids> seen;
  int64_t rows = 0;
  for (const auto& [seed, computed] : {std::pair{1, 150}, {2, 150 - 64}, {1, 150 - 128}}) {
    Request asked = plain(ids, 12);
    asked.features = features(m, 4, uint64_t(seed));
    const Ids expected = alone(m, asked).ids;
    const auto ticket = engine.submit(asked);
    while (engine.step()) continue;
    EXPECT_EQ(engine.result(ticket)->ids, expected) << seed;
    EXPECT_EQ(engine.rows() - rows, computed + 11);
    rows = engine.rows();
    seen.push_back(expected);
  }
  EXPECT_NE(seen[0], seen[1]);
}

// Pages of nobody go when others need room, the oldest first; what is asked again is computed
// again.
TEST(Prefixes, WhatIsNotUsedGoesFirst) {
  for (Kind kind : kinds) {
    SCOPED_TRACE(kind.name);
    const size_t page = model(kind).pages()->shape().bytes();
    const size_t streams = size_t(model(kind).config().trol.streams());
    kind.memory = (6 * streams + 1) * page - 1;
    const Model& m = model(kind);
    {
      Engine engine(m, {.prefixes = true});
      int64_t rows = 0;
      const auto ask = [&](uint64_t seed) {
        const Request asked = plain(text(seed, 150), 2);
        const Ids expected = alone(model({kind.name, kind.type}), asked).ids;
        const auto ticket = engine.submit(asked);
        while (engine.step()) continue;
        const Generated made = *engine.result(ticket);
        EXPECT_FALSE(made.failure) << made.failure->what();
        EXPECT_EQ(made.ids, expected) << seed;
        return engine.rows() - std::exchange(rows, engine.rows()) - 1;
      };
      EXPECT_EQ(ask(1), 150);
      EXPECT_EQ(ask(2), 150);
      EXPECT_EQ(ask(1), 150 - 128);  // both are there
      EXPECT_EQ(ask(3), 150);        // pages of 2 go
      EXPECT_EQ(ask(1), 150 - 128);
      EXPECT_GT(ask(2), 150 - 128);
      EXPECT_LE(m.pages()->most(), kind.memory);
      EXPECT_GT(m.pages()->most() + page, kind.memory - page * streams);
    }
    EXPECT_EQ(m.pages()->held(), 0u);
  }
}

// One that needs more than there is fails; those beside it do not notice.
TEST(Engine, ABudgetThatCannotBeMetFailsOneAlone) {
  Kind kind = kinds[0];
  const size_t page = model(kind).pages()->shape().bytes();
  kind.memory = 4 * page;
  const Model& m = model(kind);
  Engine engine(m);
  std::vector<Engine::Ticket> tickets;
  std::vector<Request> asked;
  for (const int length : {20, 200, 60, 300, 120, 240, 250})
    tickets.push_back(engine.submit(asked.emplace_back(plain(text(uint64_t(length), length), 10))));
  while (engine.step()) continue;
  for (size_t i = 0; i < asked.size(); ++i) {
    const Generated made = *engine.result(tickets[i]);
    const size_t rows = asked[i].ids.size() + 9;  // the last token needs none
    EXPECT_EQ(made.failure.has_value(), rows > 4 * 64) << asked[i].ids.size();
    if (made.failure) continue;
    EXPECT_EQ(made.ids, alone(model(kinds[0]), asked[i]).ids);
  }
  EXPECT_EQ(m.pages()->most(), 4 * page);
  EXPECT_EQ(m.pages()->held(), 0u);
}

// A long prompt neither keeps others from generating nor waits for them for ever.
TEST(Engine, NobodyStarves) {
  const Model& m = model(kinds[0]);
  Engine engine(m, {.rows = 16});
  std::vector<int> told(20);
  for (size_t i = 0; i < told.size(); ++i) {
    Request asked = plain(text(i, 4), 60);
    asked.options.on_token = [&told, i](int, std::string_view) { return ++told[i] > 0; };
    engine.submit(asked);
  }
  for (int i = 0; i < 20; ++i) engine.step();
  const auto long_one = engine.submit(plain(text(99, 120), 1));
  std::vector<int> before = told;
  int steps = 0;
  for (; !engine.result(long_one); ++steps) {
    ASSERT_LT(steps, 40);  // a quarter of the rows is the prompt's: 120 / 4, and a few
    const int64_t rows = engine.rows();
    engine.step();
    EXPECT_LE(engine.rows() - rows, 16);
  }
  EXPECT_GE(steps, 120 / 16);
  for (size_t i = 0; i < told.size(); ++i) EXPECT_GT(told[i], before[i]) << i;
}

// Who is cancelled in company waits for the end of a step, so that is near; one alone can be
// stopped within a step, which may be long.
TEST(Engine, StepsInCompanyAreShort) {
  const Model& m = model(kinds[0]);
  const auto most_rows = [&](EngineOptions options, int prompts) {
    Engine engine(m, options);
    for (int i = 0; i < prompts; ++i) engine.submit(plain(text(uint64_t(i), 200), 1));
    int64_t most = 0, before = 0;
    for (int step = 0; step < 10 && engine.step(); ++step, before = engine.rows())
      most = std::max(most, engine.rows() - before);
    return most;
  };
  EXPECT_EQ(most_rows({.seconds = 1e-9}, 1), 200);
  EXPECT_EQ(most_rows({.seconds = 1e-9}, 3), 16);
  EXPECT_EQ(most_rows({.seconds = 1e9}, 3), 512);
  EXPECT_EQ(most_rows({.rows = 100, .seconds = 1e9}, 3), 100);
}

// No row and no word more for who is cancelled.
TEST(Engine, ACancelledOneGetsNothingMore) {
  const Model& m = model(kinds[0]);
  Engine engine(m);
  std::vector<int> told(3);
  std::vector<Engine::Ticket> tickets;
  for (size_t i = 0; i < 3; ++i) {
    Request asked = plain(text(i, 4), 60);
    asked.options.on_token = [&told, i](int, std::string_view) { return ++told[i] > 0; };
    tickets.push_back(engine.submit(asked));
  }
  for (int i = 0; i < 5; ++i) engine.step();
  engine.cancel(tickets[1]);
  const std::vector<int> before = told;
  const int64_t rows = engine.rows();
  engine.step();
  EXPECT_EQ(engine.rows() - rows, 2);
  EXPECT_EQ(told, (std::vector<int>{before[0] + 1, before[1], before[2] + 1}));
  const Generated made = *engine.result(tickets[1]);
  EXPECT_EQ(made.finish_reason, Finish::cancelled);
  EXPECT_EQ(int(made.ids.size()), before[1]);
  engine.cancel(tickets[1]);  // of nobody
  const auto late = engine.submit(plain(text(9, 40), 5));
  engine.cancel(late);
  engine.step();
  EXPECT_EQ(engine.rows() - rows, 4);
  EXPECT_EQ(engine.result(late)->ids, Ids{});
}

// TroL: what generates beside a prompt does not pass again.
TEST(Engine, ThePromptsSecondPassIsTheirsAlone) {
  const Model& m = model(kinds[2]);
  struct Rows : Observer {
    std::map<int, int> seen;  // by pass
    void note(Site site, Note name, const Tensor& value) override {
      if (name == Note::q) seen[site.pass] = value.rows;
    }
  } rows;
  Session a(m), b(m);
  a.feed(text(1, 10));
  a.put(5);
  b.put(text(2, 20));
  const Entry entries[] = {{&a, 512, nullptr}, {&b, 512, &rows}};
  compute_rows(entries);
  EXPECT_EQ(rows.seen[2], 20);
  Sequence* const sequences[] = {&a.sequence(), &b.sequence()};
  Step step;
  step.add(0, a.cached(), 1, a.cached() + 1, false);
  step.add(1, 0, 20, 20, true);
  Ids ids = text(2, 21);
  Rows all;
  forward_each(m.native(&all), step, sequences, ids);
  EXPECT_EQ(all.seen[1], 21);
  EXPECT_EQ(all.seen[2], 20);
}

}  // namespace
}  // namespace revenant
