// Whatever is shared (steps, threads, pages, a disk, a server), answers are the same bits.
#include "engine/engine.h"
#include "matrix.h"

namespace revenant {
namespace {

using Ids = std::vector<int>;

class Same : public testing::TestWithParam<const char*> {
 protected:
  static std::shared_ptr<const Model> model(int threads = 1, size_t memory = 0) {
    return std::make_shared<const Model>(family_directory(GetParam()),
                                         ModelOptions{.threads = threads, .cache_memory = memory});
  }
};

Ids text(Random& random, int length) {
  Ids ids;
  for (int i = 0; i < length; ++i) ids.push_back(int(random.below(250)));
  return ids;
}

Tensor features(const Model& m, int rows, Random& random) {
  Tensor t(rows, 1, m.config().hidden);
  for (size_t i = 0; i < t.size(); ++i) t.data()[i] = float(random.normal());
  return t;
}

// A prompt, half of them with a picture of four tokens near the front.
Request prompt(const Model& m, Random& random, int length, int tokens) {
  Request asked;
  asked.ids = text(random, length);
  if (length > 8 && random.below(2)) {
    std::fill_n(asked.ids.begin() + 2 + int(random.below(uint64_t(length - 7))), 4,
                m.image_token());
    asked.features = features(m, 4, random);
  }
  asked.options.max_new_tokens = tokens;
  asked.options.sampling = {.temperature = random.below(2) ? 1.0 : 0.0, .seed = random.next()};
  return asked;
}

// What each of `all` gets from one engine.
std::vector<Traced> run(Engine& engine, std::span<const Request> all) {
  std::vector<Traced> made(all.size());
  std::vector<Engine::Ticket> tickets;
  for (size_t i = 0; i < all.size(); ++i) {
    Request asked = all[i];
    asked.options.on_choice = [&one = made[i]](int, std::span<const float> logits) {
      add_bits(one.bits, logits);
    };
    tickets.push_back(engine.submit(std::move(asked)));
  }
  while (engine.step()) continue;
  for (size_t i = 0; i < all.size(); ++i) {
    const Generated got = *engine.result(tickets[i]);
    EXPECT_FALSE(got.failure) << got.failure->what();
    made[i].ids = got.ids;
    made[i].reused = got.timings.reused_tokens;
  }
  return made;
}

std::vector<Traced> each_alone(const Model& m, std::span<const Request> all) {
  std::vector<Traced> made;
  for (const Request& one : all) {
    Engine engine(m);
    made.push_back(run(engine, {&one, 1})[0]);
  }
  return made;
}

TEST_P(Same, InBatchesOfAnySizeThreadsAndOrder) {
  const int prompts = figure(50, 1000);
  Random random(matrix_seed());
  const auto plain = model();
  std::vector<Request> all;
  for (int i = 0; i < prompts; ++i)
    all.push_back(
        prompt(*plain, random, 1 + int(random.below(i % 5 ? 40 : 160)), 1 + int(random.below(8))));
  const std::vector<Traced> alone = each_alone(*plain, all);
  int batches = 0;
  for (const int threads : {1, 2, 4, 8}) {
    const auto m = model(threads);
    for (const size_t batch : {1, 2, 3, 4, 8, 16}) {
      std::vector<size_t> order;
      for (size_t i = 0; i < all.size(); ++i) order.push_back(i);
      random.shuffle(order);
      std::vector<Request> arriving;
      for (const size_t i : order) arriving.push_back(all[i]);
      Engine engine(*m, {.rows = random.below(2) ? 512 : 30, .sequences = batch});
      const std::vector<Traced> made = run(engine, arriving);
      for (size_t i = 0; i < order.size(); ++i)
        ASSERT_EQ(made[i], alone[order[i]])
            << order[i] << " of " << batch << " at a time, " << threads << " threads";
      ++batches;
    }
  }
  std::printf("%d prompts in %d ways\n", prompts, batches);
}

// Where the common part of two prompts may end, everywhere: what the first one left in memory, on
// disk, or in memory that is too small for all, changes nothing of the second.
class Reused : public Same {
 protected:
  void SetUp() override {
    plain_ = model();
    small_ = model(1, 12 * plain_->pages()->shape().bytes());
  }
  // Of every length, the beginning of `whole`; each with a salt of its own, so that it finds its
  // own alone.
  static std::vector<Request> beginnings(const Model& m, const Request& whole) {
    std::vector<Request> all;
    for (size_t length = 1; length < whole.ids.size(); ++length) {
      Request one = salted(whole, length);
      one.ids.resize(length);
      const auto rows = std::count(one.ids.begin(), one.ids.end(), m.image_token());
      one.features = first_rows(whole.features, int(rows));
      one.options.max_new_tokens = 1;
      all.push_back(std::move(one));
    }
    return all;
  }
  static std::vector<Request> wholes(const Request& whole) {
    std::vector<Request> all;
    for (size_t length = 1; length < whole.ids.size(); ++length)
      all.push_back(salted(whole, length));
    return all;
  }
  static Request salted(Request asked, size_t length) {
    asked.salt = std::to_string(length);
    return asked;
  }
  static Tensor first_rows(const Tensor& from, int rows) {
    if (rows == 0) return {};
    Tensor t(rows, 1, from.width);
    std::copy_n(from.data(), t.size(), t.data());
    return t;
  }
  // Whole pages of the beginning, of what comes before the prompt's last token.
  static int shared_rows(size_t beginning, size_t whole) {
    return int(std::min(beginning, whole - 1) / 64 * 64);
  }

  void expect_same(const std::vector<Traced>& made, const Traced& expected, bool all_reused) {
    for (size_t i = 0; i < made.size(); ++i) {
      ASSERT_EQ(made[i], expected) << "after the first " << i + 1 << " tokens";
      const int shared = shared_rows(i + 1, made.size() + 1);
      if (all_reused) {
        ASSERT_EQ(made[i].reused, shared) << "after the first " << i + 1 << " tokens";
      }
      reused_ += made[i].reused;
      missed_ += shared - made[i].reused;
    }
  }
  void from_memory(const Request& whole, const Traced& expected) {
    Engine engine(*plain_, {.prefixes = true});
    run(engine, beginnings(*plain_, whole));
    expect_same(run(engine, wholes(whole)), expected, true);
  }
  void from_disk(const Request& whole, const Traced& expected) {
    const Temporary folder;
    DiskCache disk({.directory = folder.path / "cache"});
    {
      Engine engine(*plain_, {.prefixes = true, .disk = &disk});
      run(engine, beginnings(*plain_, whole));
    }
    disk.flush();
    Engine engine(*plain_, {.prefixes = true, .disk = &disk});
    expect_same(run(engine, wholes(whole)), expected, true);
  }
  void after_others(const Request& whole, const Traced& expected, Random& random) {
    Engine engine(*small_, {.sequences = 2, .prefixes = true});
    const std::vector<Request> firsts = beginnings(*small_, whole), seconds = wholes(whole);
    std::vector<Traced> made;
    for (size_t at = 0; at < firsts.size();) {
      const size_t count = std::min(size_t(1 + random.below(16)), firsts.size() - at);
      run(engine, std::span(firsts).subspan(at, count));
      std::ranges::move(run(engine, std::span(seconds).subspan(at, count)),
                        std::back_inserter(made));
      at += count;
    }
    expect_same(made, expected, false);
  }

  std::shared_ptr<const Model> plain_, small_;
  int64_t reused_ = 0, missed_ = 0;
};

TEST_P(Reused, AtEverySplitFromMemoryDiskAndAfterEviction) {
  const int prompts = figure(20, 500);
  Random random(matrix_seed());
  size_t splits = 0;
  for (int i = 0; i < prompts && !HasFatalFailure(); ++i) {
    const Request whole = prompt(*plain_, random, 65 + int(random.below(80)), 3);
    const Traced expected = each_alone(*plain_, {&whole, 1})[0];
    splits += whole.ids.size() - 1;
    from_memory(whole, expected);
    from_disk(whole, expected);
    after_others(whole, expected, random);
  }
  EXPECT_GT(missed_, 0) << "nothing was evicted";
  std::printf("%d prompts, %zu splits, three ways each; %lld rows reused, %lld evicted before\n",
              prompts, splits, static_cast<long long>(reused_), static_cast<long long>(missed_));
}

// Requests of any kind, from one token to many, with pictures of their own.
class Slots : public Same {
 protected:
  static const std::string& path(const json& body) {
    static const std::string chat_path = chat, text_path = "/v1/completions";
    return body.contains("prompt") ? text_path : chat_path;
  }
  static json some_request(Random& random) {
    json body;
    if (const uint64_t kind = random.below(4); kind == 0) {
      body = {{"prompt", json::array({random.below(250)})}, {"logprobs", 2}};
    } else if (kind == 1) {
      body = {{"prompt", std::string(1 + random.below(180), char('a' + random.below(20)))},
              {"logprobs", 2}};
    } else {
      const bool sees = kind == 3;
      body = question(std::string(random.below(60), char('a' + random.below(20))),
                      sees ? data_uri(random_picture(20 + int(random.below(150)),
                                                     20 + int(random.below(150)), random.next()))
                           : "");
      body.update({{"logprobs", true}, {"top_logprobs", 2}});
    }
    body["max_tokens"] = 1 + random.below(12);
    if (random.below(2)) body.update({{"temperature", 1.2}, {"seed", random.below(1000)}});
    return body;
  }
};

TEST_P(Slots, InterleavedEachIsItsSoloRun) {
  const int requests = figure(200, 20'000), round = 200;
  Random random(matrix_seed());
  const auto m = model(2);
  for (int done = 0; done < requests && !HasFailure(); done += round) {
    std::vector<json> bodies;
    std::vector<std::string> alone;
    for (int i = 0; i < round; ++i) {
      bodies.push_back(some_request(random));
      Harness solo(m, {});
      alone.push_back(solo.post(path(bodies.back()), bodies.back())["choices"].dump());
    }
    ApiOptions options;
    options.schedule.parallel = 2 + random.below(12);
    Harness server(m, options);
    std::vector<std::shared_ptr<Heard>> heard;
    for (const json& body : bodies) {
      heard.push_back(server.send(path(body), body));
      if (random.below(2)) server.turn();
    }
    server.finish();
    for (size_t i = 0; i < heard.size(); ++i)
      EXPECT_EQ(heard[i]->body()["choices"].dump(), alone[i]) << bodies[i];
  }
  std::printf("%d requests\n", requests);
}

INSTANTIATE_TEST_SUITE_P(Families, Same, testing::Values("phantom", "trol"));
INSTANTIATE_TEST_SUITE_P(Families, Reused, testing::Values("phantom", "trol"));
INSTANTIATE_TEST_SUITE_P(Families, Slots, testing::Values("phantom", "trol"));

}  // namespace
}  // namespace revenant
