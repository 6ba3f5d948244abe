#include "native/pool.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <set>
#include <vector>

namespace revenant {
namespace {

constexpr size_t kilobyte = 1024;

TEST(BufferPool, GivesBuffersAgain) {
  BufferPool pool(64 * kilobyte);
  const float* first = pool.get(kilobyte).get();
  EXPECT_EQ(pool.kept(), kilobyte);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % 64, 0u);
  {
    const auto again = pool.get(kilobyte - 100);  // a little larger than asked
    EXPECT_EQ(again.get(), first);
    EXPECT_EQ(pool.kept(), 0u);
    const auto other = pool.get(kilobyte);
    EXPECT_NE(other.get(), again.get());
  }
  EXPECT_EQ(pool.kept(), 2 * kilobyte);
  const auto small = pool.get(kilobyte / 2);  // less than four fifths: a buffer of its own
  EXPECT_EQ(pool.kept(), 2 * kilobyte);
}

// After a prompt's large buffers the steps' small ones are kept, and the oldest large ones go.
TEST(BufferPool, TheOldestMakeRoom) {
  BufferPool pool(64 * kilobyte);
  {
    std::vector<std::shared_ptr<float>> prompt;
    for (size_t i = 0; i < 8; ++i) prompt.push_back(pool.get((8 + i) * kilobyte));
  }
  EXPECT_LE(pool.kept(), 64 * kilobyte);
  EXPECT_GT(pool.kept(), 48 * kilobyte);
  const float* last = nullptr;
  for (int step = 0; step < 5; ++step) {
    const auto small = pool.get(2 * kilobyte);
    if (last) {
      EXPECT_EQ(small.get(), last);
    }
    last = small.get();
  }
  EXPECT_LE(pool.kept(), 64 * kilobyte);
  EXPECT_GT(pool.kept(), 40 * kilobyte);
  EXPECT_EQ(pool.get(2 * kilobyte).get(), last);
}

TEST(BufferPool, WhatIsLargerThanAllIsNotKept) {
  BufferPool pool(4 * kilobyte);
  pool.get(2 * kilobyte);
  pool.get(5 * kilobyte);
  EXPECT_EQ(pool.kept(), 2 * kilobyte);
}

TEST(BufferPool, BuffersInUseAreApart) {
  BufferPool pool(16 * kilobyte);
  std::vector<std::shared_ptr<float>> held;
  std::set<float*> seen;
  for (int round = 0; round < 50; ++round) {
    held.push_back(pool.get(size_t(round % 7 + 1) * 300));
    EXPECT_TRUE(seen.insert(held.back().get()).second);
    if (round % 3 == 0) {
      seen.erase(held.front().get());
      held.erase(held.begin());
    }
  }
}

}  // namespace
}  // namespace revenant
