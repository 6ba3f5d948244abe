#include "base/threads.h"

#include <gtest/gtest.h>

#include <chrono>
#include <ctime>
#include <mutex>
#include <numeric>
#include <optional>
#include <set>
#include <stdexcept>

namespace revenant {
namespace {

TEST(Threads, EveryItemExactlyOnce) {
  for (const int count : {1, 2, 3, 8}) {
    Threads threads(count);
    EXPECT_EQ(threads.count(), count);
    for (const size_t items : {0, 1, 5, 64, 1000, 12345}) {
      std::vector<std::atomic<int>> seen(items);
      threads.parallel_for(items, 3, [&](size_t begin, size_t end) {
        for (size_t i = begin; i < end; ++i) ++seen[i];
      });
      for (const auto& times : seen) ASSERT_EQ(times, 1);
    }
  }
}

TEST(Threads, NestedCallsRunInline) {
  Threads threads(3);
  std::atomic<int> sum = 0;
  threads.parallel_for(10, 1, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i)
      threads.parallel_for(10, 1, [&](size_t b, size_t e) { sum += int(e - b); });
  });
  EXPECT_EQ(sum, 100);
}

TEST(Threads, WhatAPieceThrowsReachesTheCaller) {
  for (const int count : {1, 3}) {
    Threads threads(count);
    for (int round = 0; round < 200; ++round) {
      const auto fail = [&](size_t begin, size_t) {
        if (begin % 2 == 0) throw std::runtime_error("piece");
      };
      EXPECT_THROW(threads.parallel_for(1000, 1, fail), std::runtime_error);
      std::atomic<size_t> sum = 0;  // and the next job is whole
      threads.parallel_for(1000, 1, [&](size_t begin, size_t end) { sum += end - begin; });
      ASSERT_EQ(sum, 1000u);
    }
  }
}

TEST(Threads, NoPieceBeginsAfterOneThrew) {
  Threads threads(3);
  std::atomic<int> begun = 0;
  const auto fail = [&](size_t begin, size_t) {
    ++begun;
    if (begin == 0) throw std::runtime_error("piece");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  };
  EXPECT_THROW(threads.parallel_for(24, 1, fail), std::runtime_error);  // 24 pieces
  EXPECT_LT(begun, 24);
}

// A caller that comes while another has loop after loop gets the threads in its turn.
TEST(Threads, ASecondCallerHasThemToo) {
  Threads threads(3);
  const Threads::Awake awake(threads);
  std::atomic<bool> end = false;
  std::atomic<int> loops = 0;
  std::thread other([&] {
    while (!end) threads.parallel_for(64, 1, [&](size_t, size_t) {}), ++loops;
  });
  while (loops == 0) std::this_thread::yield();
  std::set<std::thread::id> seen;
  std::mutex mutex;
  int before = loops;
  for (int round = 0; round < 20; ++round) {
    threads.parallel_for(24, 1, [&](size_t, size_t) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      const std::lock_guard lock(mutex);
      seen.insert(std::this_thread::get_id());
    });
    while (loops == before) std::this_thread::yield();  // and the other one goes on
    before = loops;
  }
  end = true;
  other.join();
  EXPECT_GE(seen.size(), 2u);
}

// Asleep they take no time of the processor; awake they do, until the last one lets them sleep.
TEST(Threads, SleepUnlessTheyAreKeptAwake) {
  Threads threads(2);
  const auto busy = [&](std::chrono::milliseconds time) {
    threads.parallel_for(64, 1, [](size_t, size_t) {});
    const std::clock_t before = std::clock();
    std::this_thread::sleep_for(time);
    return double(std::clock() - before) / CLOCKS_PER_SEC;
  };
  std::optional<Threads::Awake> awake(std::in_place, threads);
  double spent = 0;
  for (int i = 0; i < 600 && spent < 0.02; ++i) spent += busy(std::chrono::milliseconds(50));
  EXPECT_GE(spent, 0.02);
  awake.reset();
  EXPECT_LT(busy(std::chrono::milliseconds(300)), 0.01);
}

TEST(Threads, NoMoreThanTheGroupsQuotaGrants) {
  EXPECT_EQ(cpu_quota("max 100000\n"), std::nullopt);
  EXPECT_EQ(cpu_quota(""), std::nullopt);
  EXPECT_EQ(cpu_quota("150000 100000\n"), 1.5);
  EXPECT_EQ(cpu_quota("-1 100000"), std::nullopt);
  EXPECT_GE(usable_cpus(), 1);
  EXPECT_LE(usable_cpus(), int(std::max(1u, std::thread::hardware_concurrency())));
  EXPECT_EQ(Threads().count(), usable_cpus());
}

// More jobs than the 16-bit job number counts, from two callers at once.
TEST(Threads, ManyJobsFromTwoCallers) {
  Threads threads(3);
  const auto work = [&](size_t& total) {
    for (int job = 0; job < 70000; ++job) {
      std::atomic<size_t> sum = 0;
      threads.parallel_for(4, 1, [&](size_t begin, size_t end) { sum += end - begin; });
      total += sum;
    }
  };
  size_t mine = 0, theirs = 0;
  std::thread other([&] { work(theirs); });
  work(mine);
  other.join();
  EXPECT_EQ(mine, 280000u);
  EXPECT_EQ(theirs, 280000u);
}

}  // namespace
}  // namespace revenant
