// No memory, at any place: every allocation of a feed and of a joint step fails once, on whatever
// thread. It must come out as an exception, and the sessions must be as they were.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>

#include "engine/session.h"

namespace {

// Allocations until one fails; negative: none does.
std::atomic<long> until_failure{-1};

}  // namespace

// Not inlined, or GCC sees malloc and free in pairs that it does not know.
[[gnu::noinline]] void* operator new(size_t size) {
  if (until_failure.load() >= 0 && until_failure.fetch_sub(1) == 0) throw std::bad_alloc();
  if (void* memory = std::malloc(size ? size : 1)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(size_t size, const std::nothrow_t&) noexcept {
  try {
    return ::operator new(size);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace revenant {
namespace {

using Ids = std::vector<int>;
using Bits = std::vector<uint32_t>;

Bits bits(const Tensor& x) {
  Bits b(x.size());
  std::memcpy(b.data(), x.data(), b.size() * sizeof(float));
  return b;
}

// Calls `fresh`, then `work` with the first allocation failing, then the second, until none fails;
// how often `work` failed. (The pool of buffers does without a place to note one.)
template <class Fresh, class Work, class Check>
int fail_everywhere(const Fresh& fresh, const Work& work, const Check& check) {
  int failures = 0;
  for (long n = 0;; ++n) {
    fresh();
    bool failed = false;
    until_failure = n;
    try {
      work();
    } catch (const std::bad_alloc&) {
      failed = true;
    }
    const bool reached = until_failure.exchange(-1) < 0;
    failures += failed;
    if (failed) check();
    if (!reached) return failures;
  }
}

class Memory : public testing::TestWithParam<const char*> {
 protected:
  const Model model_{Path(REVENANT_SOURCE_DIR) / "tests/conformance/data" / GetParam(), {{}, 2}};
  Bits alone(const Ids& ids) const {
    Session session(model_);
    return bits(session.feed(ids));
  }
};

TEST_P(Memory, FailsInAFeed) {
  const Ids first = {5, 17, 120, 33, 8, 64}, second = {201, 9, 77, 30, 3};
  Ids both = first;
  both.insert(both.end(), second.begin(), second.end());
  const Bits expected = alone(both);
  std::unique_ptr<Session> session;
  const auto fresh = [&] {
    session = std::make_unique<Session>(model_);
    session->feed(first);
  };
  const auto whole = [&] {
    EXPECT_EQ(session->ids(), first);
    EXPECT_EQ(bits(session->feed(second)), expected);
  };
  const int failures = fail_everywhere(
      fresh, [&] { session->feed(second); }, whole);
  EXPECT_GT(failures, 100);
}

TEST_P(Memory, FailsInAJointStep) {
  const Ids first = {5, 17, 120, 33, 8, 64}, second = {201, 9};
  std::unique_ptr<Session> a, b;
  const auto fresh = [&] {
    a = std::make_unique<Session>(model_);
    b = std::make_unique<Session>(model_);
    a->feed(first);
    b->feed(second);
  };
  fresh();
  const Bits expected_a = bits(a->step(3)), expected_b = bits(b->step(4));
  const Ids ids = {3, 4};
  const int failures = fail_everywhere(
      fresh,
      [&] {
        Session* const both[] = {a.get(), b.get()};
        Session::step(both, ids);
      },
      [&] {
        EXPECT_EQ(a->ids(), first);
        EXPECT_EQ(b->ids(), second);
        EXPECT_EQ(bits(a->step(3)), expected_a);
        EXPECT_EQ(bits(b->step(4)), expected_b);
      });
  EXPECT_GT(failures, 100);
}

INSTANTIATE_TEST_SUITE_P(, Memory, testing::Values("phantom-0.5b", "phantom-7b", "trol-3.8b"),
                         [](const auto& one) {
                           std::string name = one.param;
                           for (char& c : name)
                             if (!isalnum(c)) c = '_';
                           return name;
                         });

}  // namespace
}  // namespace revenant
