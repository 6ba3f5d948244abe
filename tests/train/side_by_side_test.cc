// Built with libtorch as part of test_train, without it as test_train_threads.
#include "train/side_by_side.h"

#include <gtest/gtest.h>

#include <map>
#include <mutex>
#include <stdexcept>

namespace revenant {
namespace {

class SideBySideTest : public testing::Test {
 protected:
  SideBySideTest() : before_(at::get_num_threads()) { at::set_num_threads(4); }
  ~SideBySideTest() override { at::set_num_threads(before_); }

 private:
  int before_;
};

// As train/loop.cc adds gradients: parts end in any order and are added in theirs.
TEST_F(SideBySideTest, PartsAreAddedInTheirOrder) {
  constexpr size_t parts = 4;
  SideBySide threads(parts);
  std::vector<double> weights(parts, 1);  // read by all parts of a step, written between steps
  for (int step = 0; step < 300; ++step) {
    std::mutex adding;
    std::map<size_t, double> waiting;
    std::vector<size_t> order;
    size_t next = 0;
    double sum = 0;
    threads.run(parts, [&](size_t i) {
      const double part = weights[i] + double(i);
      const std::lock_guard lock(adding);
      waiting[i] = part;
      for (; waiting.contains(next); waiting.erase(next++)) {
        sum += waiting[next];
        order.push_back(next);
      }
    });
    ASSERT_EQ(order, (std::vector<size_t>{0, 1, 2, 3}));
    ASSERT_EQ(sum, 4.0 * (step + 1) + 6);
    for (double& weight : weights) weight += 1;
  }
}

// As train/optimizer.cc steps: each part writes what is its own.
TEST_F(SideBySideTest, EveryPartExactlyOnce) {
  SideBySide threads(3);
  for (const size_t count : {1, 2, 3, 50}) {
    std::vector<int> seen(count);
    threads.run(count, [&](size_t i) { ++seen[i]; });
    EXPECT_EQ(seen, std::vector<int>(count, 1));
  }
}

TEST_F(SideBySideTest, AnErrorComesWhenAllThatBeganHaveEnded) {
  SideBySide threads(4);
  for (int round = 0; round < 100; ++round) {
    std::atomic<int> inside = 0;
    const auto fail = [&](size_t i) {
      ++inside;
      const bool bad = i == 1;
      std::this_thread::yield();
      --inside;
      if (bad) throw std::runtime_error("part");
    };
    EXPECT_THROW(threads.run(4, fail), std::runtime_error);
    ASSERT_EQ(inside, 0);
  }
}

TEST_F(SideBySideTest, PartsHaveOneThreadEachAndGiveThemBack) {
  {
    SideBySide threads(2);
    std::atomic<int> wrong = 0;
    threads.run(8, [&](size_t) { wrong += at::get_num_threads() != 1; });
    EXPECT_EQ(wrong, 0);
  }
  EXPECT_EQ(at::get_num_threads(), 4);
  SideBySide alone(1);
  EXPECT_EQ(at::get_num_threads(), 4);
}

}  // namespace
}  // namespace revenant
