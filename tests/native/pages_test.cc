// Pages of cached rows: their owners, their copies, and the limit of their bytes.
#include "native/pages.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "base/error.h"
#include "support/random_network.h"

namespace revenant {
namespace {

using Ids = std::vector<int>;

const Config config = random_config({.phantom = true, .trol = true});

TEST(Pages, AreCountedToTheByte) {
  const size_t page = PageShape(config, Format::f16).bytes();
  EXPECT_EQ(page, size_t(64 * 2 * 4 * 2 * 12 * 2));  // rows, layers, parts, heads, head_dim, bytes
  EXPECT_EQ(page, 64 * PageShape(config, Format::f16).token_bytes());
  for (const size_t slack : {size_t(0), size_t(1), page - 1}) {
    const auto pages = std::make_shared<Pages>(config, Format::f16, 3 * page + slack);
    std::vector<Page> held;
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(pages->held(), i * page);
      held.push_back(pages->get());
    }
    EXPECT_THROW(pages->get(), Error);
    const Page owner = held[0];
    EXPECT_TRUE(owner.shared());
    held.erase(held.begin());
    EXPECT_EQ(pages->held(), 3 * page);  // it has an owner still
    EXPECT_FALSE(owner.shared());
    held.clear();
    EXPECT_EQ(pages->held(), page);
    EXPECT_EQ(pages->most(), 3 * page);
  }
}

TEST(Pages, RoomIsMadeBeforeTheLimitIsAnError) {
  const size_t page = PageShape(config, Format::f32).bytes();
  const auto pages = std::make_shared<Pages>(config, Format::f32, 2 * page);
  std::vector<Page> spare = {pages->get(), pages->get()};
  pages->make_room([&] {
    if (spare.empty()) return false;
    spare.pop_back();
    return true;
  });
  const Page a = pages->get(), b = pages->get();
  EXPECT_TRUE(spare.empty());
  EXPECT_THROW(pages->get(), Error);
  EXPECT_EQ(pages->most(), 2 * page);
}

TEST(Pages, TheLimitHoldsForManyThreads) {
  const size_t page = PageShape(config, Format::f32).bytes();
  const auto pages = std::make_shared<Pages>(config, Format::f32, 5 * page);
  std::atomic<int> refused = 0;
  const auto work = [&] {
    for (int round = 0; round < 300; ++round) {
      std::vector<Page> held;
      try {
        for (int i = 0; i < 3; ++i) {
          held.push_back(pages->get());
          held.push_back(held.back());
          std::memset(held.back().data(), i, page);
        }
      } catch (const Error&) {
        ++refused;
      }
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(pages->most(), 5 * page);
  EXPECT_EQ(pages->held(), 0u);
}

// Rows of every part of a page, each named by where it stands.
template <class F>
bool all_rows(int begin, int end, int mark, const F& f) {
  for (int layer = 0; layer < config.layers; ++layer)
    for (int part = 0; part < 4; ++part)
      for (int head = 0; head < config.kv_heads; ++head)
        for (int r = begin; r < end; ++r)
          if (!f(layer, CachePart(part), head, r,
                 float(mark + r * 1000 + layer * 100 + part * 10 + head)))
            return false;
  return true;
}
void fill(Sequence& s, int begin, int end, int mark) {
  all_rows(begin, end, mark, [&](int layer, CachePart part, int head, int r, float value) {
    const std::vector<float> row(size_t(config.head_dim), value);
    kernels().remember(row.data(), row.size(), Format::f32, block_of(part), size_t(r % page_rows),
                       s.block(1, layer, part, head, r));
    return true;
  });
}
bool filled(const Sequence& s, int begin, int end, int mark) {
  return all_rows(begin, end, mark, [&](int layer, CachePart part, int head, int r, float value) {
    for (int i = 0; i < config.head_dim; ++i)
      if (s.shape().number(s.block(1, layer, part, head, r), part, r % page_rows, i) != value)
        return false;
    return true;
  });
}

// Whatever the parts are cached as, no two numbers share memory, and each is read as it was
// written.
TEST(Pages, PartsMayHaveTypesOfTheirOwn) {
  const Config wide = random_config({.head_dim = 64, .phantom = true});
  for (const Format all : cache_formats)
    for (const Format ghost_v : {all, Format::q8_0}) {
      const auto pages = std::make_shared<Pages>(wide, CacheTypes(all, ghost_v));
      Sequence s(wide, pages);
      s.reserve(1, 0, 64);
      const auto value = [](int layer, int part, int head, int r) {
        return float(layer * 32 + part * 8 + head * 4 + (r % 3) + 1);  // exact in 8 bits and f16
      };
      for (const bool write : {true, false})
        for (int layer = 0; layer < wide.layers; ++layer)
          for (int part = 0; part < 4; ++part)
            for (int head = 0; head < wide.kv_heads; ++head)
              for (int r = 0; r < 64; ++r) {
                const auto p = CachePart(part);
                std::vector<float> row(64, value(layer, part, head, r));
                for (size_t i = 32; i < 64; ++i) row[i] *= 4;  // a run of another scale
                std::byte* block = s.block(1, layer, p, head, r);
                if (write)
                  kernels().remember(row.data(), 64, s.shape().types.of(p), block_of(p), size_t(r),
                                     block);
                else
                  for (const int i : {0, 31, 32, 63})
                    ASSERT_NEAR(s.shape().number(block, p, r, i), row[size_t(i)],
                                0.004 * row[size_t(i)]);
              }
      const size_t rows = 64 * size_t(wide.layers * wide.kv_heads);
      EXPECT_EQ(s.bytes(), rows / 64 * (3 * block_bytes(all, 64) + block_bytes(ghost_v, 64)));
    }
}

TEST(Pages, EightBitsNeedRunsOf32) {
  EXPECT_THROW(PageShape(config, Format::q8_0), Error);  // heads of 12 numbers
  EXPECT_THROW(PageShape(config, {Format::f16, Format::q8_0}), Error);
}

TEST(Pages, ASharedOneIsCopiedBeforeItIsWritten) {
  const auto pages = std::make_shared<Pages>(config, Format::f32);
  const size_t page = pages->shape().bytes();
  Sequence a(config, pages);
  a.reserve(1, 0, 150);
  fill(a, 0, 150, 7);
  a.rows = 150;
  Sequence b(config, pages), c(config, pages);
  b.share(a, 1);
  c.share(a, 1);
  EXPECT_EQ(pages->held(), 3 * page);
  b.reserve(1, 150, 1);
  fill(b, 150, 151, 8);
  EXPECT_EQ(pages->held(), 4 * page);  // the last page only
  a.reserve(1, 150, 1);
  fill(a, 150, 151, 9);
  EXPECT_EQ(pages->held(), 5 * page);
  c.reserve(1, 150, 1);  // nobody else has it any more
  EXPECT_EQ(pages->held(), 5 * page);
  fill(c, 150, 151, 10);
  for (const Sequence* s : {&a, &b, &c}) EXPECT_TRUE(filled(*s, 0, 150, 7));
  EXPECT_TRUE(filled(b, 150, 151, 8));
  EXPECT_TRUE(filled(a, 150, 151, 9));
  b.reserve(1, 70, 30);  // from the middle on
  fill(b, 70, 100, 11);
  EXPECT_TRUE(filled(b, 0, 70, 7));
  EXPECT_TRUE(filled(a, 0, 150, 7));
  b.rows = 100;
  b.trim();
  EXPECT_EQ(b.bytes(), 2 * page);
}

TEST(Pages, NoRoomChangesNoRow) {
  const size_t page = PageShape(config, Format::f32).bytes();
  const auto pages = std::make_shared<Pages>(config, Format::f32, 3 * page);
  Sequence a(config, pages), b(config, pages);
  a.reserve(1, 0, 100);
  fill(a, 0, 100, 1);
  a.rows = 100;
  b.share(a, 1);
  b.reserve(1, 100, 28);  // a copy of the second page
  EXPECT_THROW(b.reserve(1, 128, 1), Error);
  EXPECT_THROW(a.reserve(1, 60, 10), Error);  // the first is shared
  for (const Sequence* s : {&a, &b}) EXPECT_TRUE(filled(*s, 0, 100, 1));
}

}  // namespace
}  // namespace revenant
