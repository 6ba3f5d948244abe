// Many clients over real sockets, for long, leaving at any moment, and more than can be served.
#include <algorithm>
#include <array>
#include <atomic>

#include "matrix.h"

namespace revenant {
namespace {

using Seconds = std::chrono::duration<double>;

void sleep_for(double seconds) { std::this_thread::sleep_for(Seconds(seconds)); }

template <class F>
void in_threads(int count, const F& work) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back([&work, i] { work(i); });
  for (std::thread& thread : threads) thread.join();
}

// Short and long, with pictures and without, streamed and whole, greedy and sampled.
json mixed(size_t i) {
  const bool sees = i % 2;
  json body = question("what is it? " + std::string(i % 5 * 40, 'x') + std::to_string(i),
                       sees ? data_uri(random_picture(64 + int(i % 3) * 40, 40, i % 6)) : "");
  body.update({{"max_tokens", 2 + i % 9}, {"stream", i % 3 == 0}});
  if (i % 4 == 1) body.update({{"temperature", 1.0}, {"seed", i}});
  return body;
}

struct Asked {
  std::string request, said;  // said: what its client hears when it is alone
};

std::vector<Asked> alone(const Serving& serving, size_t count) {
  std::vector<Asked> all;
  for (size_t i = 0; i < count; ++i) {
    const std::string request = post(chat, mixed(i));
    all.push_back({request, said(serving.ask(request))});
    EXPECT_FALSE(all.back().said.empty()) << i;
  }
  return all;
}

double counted(Serving& serving, const std::string& name) {
  double sum = 0;
  for (const char* labels : {"", "finished_reason=\"stop\"", "finished_reason=\"length\""})
    sum += serving.server().api().metrics().counted(name, labels);
  return sum;
}

// What is kept for those who come after is no leak: encoded pictures, pages of prompts, and less
// than a fifth of both for what they are known by and for anchors.
struct Resources {
  explicit Resources(Serving& serving)
      : kept(1.2 *
             double(serving.server().api().scheduler()->picture_bytes() +
                    shipped_model()->pages()->held()) /
             (1 << 20)),
        used(megabytes_in_use() - kept) {}
  int files = open_files(), threads = threads_now();
  double kept, used, resident = resident_megabytes();
};

// Of memory a hundredth more than was resident, at most.
void expect_nothing_leaked(const Resources& before, const Resources& after) {
  EXPECT_EQ(after.files, before.files);
  EXPECT_EQ(after.threads, before.threads);
#ifndef REVENANT_SANITIZED  // a sanitizer keeps what was freed
  EXPECT_LT(after.used, before.used + 0.01 * before.resident);
#endif
  std::printf("%d files, %d threads; MiB: %.2f in use before, %.2f after, ", after.files,
              after.threads, before.used, after.used);
  std::printf("beside %.2f and %.2f kept; resident %.1f, %.1f\n", before.kept, after.kept,
              before.resident, after.resident);
}

// `clients` ask `requests` times all together; each gets what it would get alone, once.
void soak(const Serving& serving, const std::vector<Asked>& all, int clients, int requests,
          uint64_t seed) {
  std::atomic<int> left = requests, answered = 0;
  in_threads(clients, [&](int client) {
    Random random(seed + uint64_t(client));
    auto wire = std::make_unique<Wire>(serving.port());
    while (left-- > 0) {
      if (random.below(20) == 0) wire = std::make_unique<Wire>(serving.port());
      const Asked& one = all[random.below(all.size())];
      wire->say(one.request);
      const Response got = response(*wire);
      EXPECT_EQ(said(got), one.said) << got.status << got.body;
      ++answered;
    }
    wire->half_close();
    EXPECT_EQ(wire->hear_all(), "") << "somebody was answered twice";
  });
  EXPECT_EQ(answered, requests);
}

TEST(MatrixLoad, ASoakLosesDoublesAndLeaksNothing) {
  const int requests = figure(500, 100'000), clients = figure(8, 64);
  const uint64_t seed = matrix_seed();
  Serving serving(shipped_model());
  const std::vector<Asked> all = alone(serving, 24);
  soak(serving, all, clients, 40 * clients, seed + 1000);  // caches and threads have their size
  ASSERT_TRUE(soon([&] { return serving.at_rest(); }));
  const Resources before(serving);
  const double told = counted(serving, "request_success_total");
  soak(serving, all, clients, requests, seed);
  EXPECT_TRUE(soon([&] { return serving.at_rest(); }, 2));
  EXPECT_EQ(counted(serving, "request_success_total") - told, requests);
  expect_nothing_leaked(before, Resources(serving));
  std::printf("%d requests of %d clients\n", requests, clients);
}

// One who leaves after so long a time, in one of three ways.
void leave_early(const Serving& serving, const std::string& request, Random& random) {
  Wire wire(serving.port());
  const size_t bytes = random.below(8) ? request.size() : size_t(random.below(request.size()));
  wire.say(std::string_view(request).substr(0, bytes));
  sleep_for(0.03 * random.uniform());
  switch (random.below(3)) {
    case 0:
      return wire.reset();
    case 1:
      wire.half_close();
      sleep_for(0.01 * random.uniform());
  }
}

json long_one(Random& random) {
  json body = question("tell me of " + std::to_string(random.below(1000)),
                       random.below(2) ? data_uri(random_picture(60, 40, random.next())) : "");
  body.update({{"max_tokens", 400}, {"ignore_eos", true}, {"stream", random.below(2) == 0}});
  return body;
}

TEST(MatrixLoad, AStormOfThoseWhoLeaveDisturbsNobody) {
  const int storm = figure(500, 10'000);
  const uint64_t seed = matrix_seed();
  ApiOptions api;
  api.schedule.parallel = 4;
  Serving serving(shipped_model(), {}, api);
  const std::vector<Asked> all = alone(serving, 12);
  std::atomic<int> left = 0, answered = 0;
  const auto storm_of = [&](int leavers) {
    left = leavers;
    in_threads(10, [&](int client) {
      Random random(seed + uint64_t(client));
      if (client < 8) {
        while (left-- > 0) leave_early(serving, post(chat, long_one(random)), random);
      } else {
        do {
          const Asked& one = all[random.below(all.size())];
          const Response got = serving.ask(one.request);
          EXPECT_EQ(said(got), one.said) << got.status << got.body;
          ++answered;
        } while (left > 0);
      }
    });
    EXPECT_TRUE(soon([&] { return serving.at_rest(); }, 2));
  };
  storm_of(100);
  const Resources before(serving);
  answered = 0;
  storm_of(storm);
  expect_nothing_leaked(before, Resources(serving));
  EXPECT_GT(answered, 0);
  std::printf("%d left early, %d stayed and had the same answers\n", storm, answered.load());
}

// The same without sockets, turn by turn: whoever leaves, before a turn or within one, has no place
// after the next that has a step. (One that is a small picture alone may have none.)
TEST(MatrixLoad, AfterAStepNobodyWhoLeftHasAPlace) {
  const int storm = figure(500, 10'000);
  Random random(matrix_seed());
  const auto m =
      std::make_shared<const Model>(family_directory("phantom"), ModelOptions{.threads = 1});
  Harness server(m, ApiOptions{.context = 400, .schedule = {.parallel = 3}});
  const Scheduler& scheduler = *server.api.scheduler();
  std::vector<std::shared_ptr<Heard>> there;
  const auto counted = [&] { return server.api.metrics().counted("engine_steps_total"); };
  const auto anybody = [&] { return there[random.below(there.size())]; };
  int left = 0, most_waiting = 0;
  const auto leave = [&](Heard& heard) { left += !heard.gone->exchange(true); };
  while (left < storm && !testing::Test::HasFailure()) {
    while (there.size() < 8) {
      there.push_back(server.send(chat, with(long_one(random), {{"max_tokens", 100}})));
      ASSERT_FALSE(there.back()->done()) << there.back()->reply->body;
      if (random.below(4) == 0)  // it hears, and another leaves
        there.back()->on_event = [&] {
          if (random.below(30) == 0) leave(*anybody());
        };
    }
    if (random.below(3) == 0) leave(*anybody());
    std::vector<bool> gone;
    for (const auto& one : there) gone.push_back(*one->gone);
    const double steps = counted();
    while (server.turn() && counted() == steps) continue;
    // Who left within the turn may have its place still.
    size_t at_least = 0, at_most = 0;
    for (size_t i = 0; i < there.size(); ++i) {
      at_most += !gone[i] && !there[i]->done();
      at_least += !*there[i]->gone && !there[i]->done();
    }
    const size_t places = scheduler.running() + scheduler.waiting();
    EXPECT_GE(places, at_least);
    EXPECT_LE(places, at_most);
    most_waiting = std::max(most_waiting, int(scheduler.waiting()));
    std::erase_if(there, [](const auto& one) { return *one->gone || one->done(); });
  }
  EXPECT_GT(most_waiting, 2);
  for (const auto& one : there) *one->gone = true;
  server.finish();
  EXPECT_EQ(scheduler.running() + scheduler.waiting(), 0u);
  std::printf("%d left\n", left);
}

// What came of an overload.
struct Overload {
  std::atomic<int> offered = 0, accepted = 0, too_many = 0, full = 0;
};

void offer(const Serving& serving, const Asked& one, const std::string& key, Overload& seen) {
  std::string request = one.request;
  request.insert(request.find("\r\n") + 2, "Authorization: Bearer " + key + "\r\n");
  ++seen.offered;
  const Response got = serving.ask(request);
  if (got.status == 200) {
    EXPECT_EQ(said(got), one.said);
    ++seen.accepted;
    return;
  }
  EXPECT_TRUE(got.status == 429 || got.status == 503) << got.status << got.body;
  ++(got.status == 429 ? seen.too_many : seen.full);
  const size_t at = got.head.find("\r\nRetry-After: ");
  EXPECT_NE(at, got.head.npos) << got.head;
  EXPECT_TRUE(at == got.head.npos || std::stoi(got.head.substr(at + 15)) >= 1) << got.head;
}

// Keys: one asks for much, one for little. Requests come at a rate, whatever becomes of them.
void offer_at(double rate, double seconds, int clients, const Serving& serving,
              const std::vector<Asked>& all, Overload& seen) {
  const auto begin = Clock::now();
  const int requests = int(rate * seconds);
  std::atomic<int> next = 0;
  in_threads(clients, [&](int) {
    for (int i = next++; i < requests; i = next++) {
      std::this_thread::sleep_until(begin + Seconds(i / rate));
      offer(serving, all[size_t(i) % all.size()], i % 4 ? "much" : "little", seen);
    }
  });
}

TEST(MatrixLoad, FourTimesWhatCanBeServed) {
  const double seconds = figure(30, 1800);
  ApiOptions api;
  api.schedule.parallel = 4;
  api.schedule.queue = 8;
  api.schedule.queue_each = 6;
  std::vector<Asked> all;
  {
    Serving open(shipped_model());
    all = alone(open, 24);
  }
  api.keys.add("much"), api.keys.add("little");
  Serving serving(shipped_model(), {}, api);
  Overload idle, seen;
  double capacity = 0;
  for (int time = 0; time < 2; ++time) {  // the first time pictures are encoded
    const auto begin = Clock::now();
    in_threads(8, [&](int client) {  // as many as may wait, at most
      for (size_t i = size_t(client); i < 192; i += 8)
        offer(serving, all[i % 24], client % 2 ? "much" : "little", idle);
    });
    capacity = 192 / Seconds(Clock::now() - begin).count();
  }
  EXPECT_EQ(idle.accepted, 2 * 192);
  offer_at(4 * capacity, seconds, 48, serving, all, seen);
  const auto over = Clock::now();
  Overload after;
  offer(serving, all[0], "much", after);
  const double recovery = Seconds(Clock::now() - over).count();
  EXPECT_EQ(after.accepted, 1);
  EXPECT_LT(recovery, 5);
  EXPECT_TRUE(soon([&] { return serving.at_rest(); }, 2));
  EXPECT_GT(seen.accepted, 0.25 * capacity * seconds);
  EXPECT_GT(seen.full, 0);
  EXPECT_GT(seen.too_many, 0);
  EXPECT_EQ(seen.offered, seen.accepted + seen.full + seen.too_many);
  std::printf(
      "%.0f a second can be served; in %.0f s %d offered, %d answered, %d had 503, %d had "
      "429; answered again after %.2f s\n",
      capacity, seconds, seen.offered.load(), seen.accepted.load(), seen.full.load(),
      seen.too_many.load(), recovery);
}

}  // namespace
}  // namespace revenant
