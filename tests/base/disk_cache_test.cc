// What is kept on disk over runs: found again as it was, or not at all.
#include "base/disk_cache.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/sha256.h"
#include "support/temporary.h"

namespace revenant {
namespace {

namespace fs = std::filesystem;

class Disk : public testing::Test {
 protected:
  std::unique_ptr<DiskCache> open(size_t bytes = 1 << 20, size_t waiting = 1 << 20) {
    return std::make_unique<DiskCache>(DiskCacheOptions{
        place(), bytes, waiting, [this](const std::string& what) { told_.push_back(what); }});
  }
  Path place() const { return folder_.path / "cache"; }
  Path file(const std::string& name) const { return place() / (name + ".cache"); }
  void change(const std::string& name, size_t at) const {
    std::string text = read_file(file(name));
    text[at] ^= 1;
    std::ofstream(file(name), std::ios::binary) << text;
  }

  const Temporary folder_;
  std::vector<std::string> told_;
  const std::string a = sha256_of("a"), b = sha256_of("b"), c = sha256_of("c");
};

TEST_F(Disk, WhatWasPutIsFoundAgain) {
  const std::string bytes("x\0y", 3);
  {
    const auto cache = open();
    EXPECT_FALSE(cache->find(a));
    cache->put(a, bytes);
    cache->put(b, "");
    cache->flush();
    EXPECT_EQ(cache->find(a), bytes);
  }
  for (int run = 0; run < 2; ++run) {
    const auto cache = open();
    EXPECT_TRUE(cache->has(a));
    EXPECT_EQ(cache->find(a), bytes);
    EXPECT_EQ(cache->find(b), "");
    EXPECT_FALSE(cache->find(c));
  }
  EXPECT_TRUE(told_.empty());
  struct stat about {};
  ::stat(place().c_str(), &about);
  EXPECT_EQ(about.st_mode & 0777, 0700u);
  ::stat(file(a).c_str(), &about);
  EXPECT_EQ(about.st_mode & 0777, 0600u);
}

// Whatever has changed: the form, the checksum, the bytes, the length, the name.
TEST_F(Disk, DamageIsToldAndPassedOver) {
  const std::string bytes(100, 'x');
  open()->put(a, bytes);
  const size_t size = fs::file_size(file(a));
  for (size_t at = 0; at < size; at += 7) {
    told_.clear();
    open()->put(a, bytes);
    change(a, at);
    const auto cache = open();
    EXPECT_FALSE(cache->find(a)) << at;
    EXPECT_EQ(told_, std::vector{file(a).string() + " is damaged: it is passed over"});
    EXPECT_FALSE(fs::exists(file(a)));
    EXPECT_FALSE(cache->has(a));
    EXPECT_EQ(cache->bytes(), 0u);
  }
  for (const size_t left : {size_t(0), size_t(10), size - 1}) {
    open()->put(a, bytes);
    fs::resize_file(file(a), left);
    EXPECT_FALSE(open()->find(a)) << left;
  }
  open()->put(a, bytes);
  fs::rename(file(a), file(b));
  EXPECT_FALSE(open()->find(b));
}

TEST_F(Disk, WhatWasNotUsedForTheLongestTimeGoes) {
  const std::string bytes(1000, 'x');
  const size_t each = 1000 + 82;  // as the files are
  {
    const auto cache = open(2 * each);
    cache->put(a, bytes);
    cache->put(b, bytes);
    cache->flush();
    EXPECT_EQ(cache->bytes(), 2 * each);
    EXPECT_TRUE(cache->find(a));
    cache->put(c, bytes);
    cache->flush();
    EXPECT_TRUE(cache->has(a) && !cache->has(b) && cache->has(c));
    EXPECT_FALSE(fs::exists(file(b)));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_TRUE(cache->find(a));
  }
  const auto later = open(each);  // of another run, with less room: the last used is left
  EXPECT_TRUE(later->has(a) && !later->has(c));
  EXPECT_FALSE(fs::exists(file(c)));
  EXPECT_TRUE(open(each - 1)->bytes() == 0);
}

TEST_F(Disk, OtherFilesAreLeftAlone) {
  fs::create_directories(place());
  for (const char* name : {"notes.txt", "abc.cache", "x.tmp"}) write_file(place() / name, "mine");
  const auto cache = open(1);
  EXPECT_EQ(cache->bytes(), 0u);
  for (const char* name : {"notes.txt", "abc.cache", "x.tmp"})
    EXPECT_EQ(read_file(place() / name), "mine");
}

TEST_F(Disk, WhatAnotherProgramTookIsNotThere) {
  const auto cache = open();
  cache->put(a, "x");
  cache->flush();
  fs::remove(file(a));
  EXPECT_FALSE(cache->find(a));
  EXPECT_TRUE(told_.empty());
  cache->put(a, "x");
  cache->flush();
  EXPECT_EQ(cache->find(a), "x");
}

TEST_F(Disk, WhatComesTooFastIsLeftOut) {
  const auto cache = open(1 << 20, 10);
  cache->put(a, std::string(11, 'x'));
  cache->put(b, "y");
  cache->flush();
  EXPECT_FALSE(cache->has(a));
  EXPECT_TRUE(cache->has(b));
}

TEST_F(Disk, WhereNothingCanBeWritten) {
  write_file(folder_.path / "file", "x");
  EXPECT_THROW(DiskCache({.directory = folder_.path / "file"}), Error);
  EXPECT_THROW(DiskCache({.directory = folder_.path / "file" / "x"}), Error);
}

}  // namespace
}  // namespace revenant
