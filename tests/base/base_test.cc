#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "base/base64.h"
#include "base/dtype.h"
#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "base/temporary_files.h"
#include "support/temporary.h"

namespace revenant {
namespace {

TEST(DType, EveryHalfSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = to_float_f16(uint16_t(bits));
    if (!std::isnan(value)) {
      EXPECT_EQ(to_f16(value), bits);
    }
    const float wide = to_float_bf16(uint16_t(bits));
    if (!std::isnan(wide)) {
      EXPECT_EQ(to_bf16(wide), bits);
    }
  }
  EXPECT_TRUE(std::isnan(to_float_f16(to_f16(NAN))));
  EXPECT_TRUE(std::isnan(to_float_bf16(to_bf16(NAN))));
}

TEST(DType, TiesGoToEven) {
  EXPECT_EQ(to_f16(1.0f + 0x1p-11f), to_f16(1.0f));
  EXPECT_EQ(to_f16(1.0f + 3 * 0x1p-11f), to_f16(1.0f + 0x1p-9f));
  EXPECT_EQ(to_bf16(1.0f + 0x1p-8f), to_bf16(1.0f));
  EXPECT_EQ(to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(to_f16(0x1p-25f), 0);
}

TEST(Random, TheSameSeedGivesTheSameNumbers) {
  Random a(7), b(7);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(a.next(), b.next());
  EXPECT_EQ(Random(0).next(), 0xe220a8397b1dcdafull);  // SplitMix64's published first output
}

TEST(AtomicFile, AbandonedWriteLeavesTheOldFile) {
  const Temporary place;
  const Path path = place.path / "atomic.txt";
  write_file(path, "old");
  {
    AtomicFile file(path);
    file.write("new");
  }
  EXPECT_EQ(read_file(path), "old");
  const auto files = std::filesystem::directory_iterator(place.path);
  EXPECT_EQ(std::distance(begin(files), end(files)), 1);  // before the next write takes its name
  write_file(path, "newer");
  EXPECT_EQ(read_file(path), "newer");
  EXPECT_EQ(MappedFile(path).text(), "newer");
}

TEST(AtomicFile, APipeStaysAPipe) {
  const Path pipe = Path(testing::TempDir()) / ("pipe" + std::to_string(::getpid()));
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const int reader = ::open(pipe.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  write_file(pipe, "text");
  char got[8];
  EXPECT_EQ(::read(reader, got, sizeof got), 4);
  EXPECT_TRUE(std::filesystem::is_fifo(pipe));
  const Path link = pipe.string() + ".link";
  std::filesystem::create_symlink(pipe, link);
  write_file(link, "more");
  EXPECT_EQ(::read(reader, got, sizeof got), 4);
  EXPECT_TRUE(std::filesystem::is_symlink(link));
  std::filesystem::remove(link);
  EXPECT_THROW(read_file(pipe), Error);  // at once, without waiting for a writer
  ::close(reader);
  std::filesystem::remove(pipe);
}

TEST(TemporaryFiles, ThoseBeingWrittenCanBeRemovedAtOnce) {
  const Path path = Path(testing::TempDir()) / ("kept" + std::to_string(::getpid()));
  write_file(path, "done");
  AtomicFile half(path);
  const Path temporary = path.string() + ".tmp." + std::to_string(::getpid());
  EXPECT_TRUE(std::filesystem::exists(temporary));
  temporary_files::remove_all();
  EXPECT_FALSE(std::filesystem::exists(temporary));
  EXPECT_EQ(read_file(path), "done");
  std::filesystem::remove(path);
}

TEST(ExpandHome, IsWhatAShellMakesOfIt) {
  const char* set = ::getenv("HOME");
  const std::string before = set ? set : "";
  ::setenv("HOME", "/somewhere", 1);
  EXPECT_EQ(expand_home("~"), "/somewhere");
  EXPECT_EQ(expand_home("~/runs/a"), "/somewhere/runs/a");
  EXPECT_EQ(expand_home("~root/x"), "/root/x");
  for (const char* other : {"", "/~/x", "x/~", "./~", "~no such user/x"})
    EXPECT_EQ(expand_home(other), other);
  ::unsetenv("HOME");
  EXPECT_TRUE(expand_home("~/x").is_absolute());  // the password file has one
  if (set) ::setenv("HOME", before.c_str(), 1);
}

TEST(MappedFile, MissingFileIsAClearError) {
  try {
    MappedFile file("/nonexistent/file");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "[file] /nonexistent/file: cannot open: No such file or directory");
  }
}

// RFC 4648, section 10.
TEST(Base64, ThereAndBack) {
  const std::pair<const char*, const char*> all[] = {{"", ""},
                                                     {"f", "Zg=="},
                                                     {"fo", "Zm8="},
                                                     {"foo", "Zm9v"},
                                                     {"foob", "Zm9vYg=="},
                                                     {"fooba", "Zm9vYmE="},
                                                     {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : all) {
    EXPECT_EQ(base64(bytes), text);
    EXPECT_EQ(bytes_of_base64(text), bytes);
  }
  EXPECT_EQ(bytes_of_base64("Zm9v\nYmFy\n"), "foobar");
  for (const char* wrong : {"Zg", "Zg=", "Z===", "Zm9v=", "Zm9@", "Zg==Zg=="})
    EXPECT_FALSE(bytes_of_base64(wrong)) << wrong;
}

}  // namespace
}  // namespace revenant
