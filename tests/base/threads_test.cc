#include "base/threads.h"

#include <gtest/gtest.h>

#include <chrono>
#include <numeric>
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
