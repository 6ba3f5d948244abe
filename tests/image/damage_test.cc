// Damaged files: every outcome is a picture or an Error, never a crash (run it under ASan).
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/random.h"
#include "image_golden.h"

namespace revenant {
namespace {

using namespace golden;

class DamagedImages : public ImageTest {};

// A picture of the promised size, or an Error of one line that names the file.
void survives(const std::string& bytes, Exif exif) {
  try {
    const Image image = decode_image(std::as_bytes(std::span(bytes)), "damaged", {1'000'000, exif});
    ASSERT_EQ(image.rgb.size(), size_t(image.width) * size_t(image.height) * 3);
  } catch (const Error& error) {
    const std::string what = error.what();
    ASSERT_EQ(what.find('\n'), std::string::npos) << what;
    ASSERT_TRUE(what.starts_with("[image] damaged: ")) << what;
  }
}

std::string damage(std::string bytes, Random& random) {
  if (random.below(3) == 0) bytes.resize(random.below(bytes.size()));
  const uint64_t flips = bytes.empty() ? 0 : random.below(8);
  // Half of the flips go to the first 100 bytes, where the headers are.
  for (uint64_t i = 0; i < flips; ++i) {
    const size_t range = random.below(2) ? bytes.size() : std::min<size_t>(bytes.size(), 100);
    bytes[random.below(range)] ^= char(1 << random.below(8));
  }
  return bytes;
}

TEST_F(DamagedImages, TwoThousandMutationsNeverCrash) {
  const auto files = golden.files();
  std::vector<std::string> contents;
  for (const auto& file : files) contents.push_back(read_bytes(golden.root / "files" / file));
  Random random(7);
  for (size_t i = 0; i < 2000; ++i)
    survives(damage(contents[i % contents.size()], random), i % 2 ? Exif::apply : Exif::ignore);
}

TEST_F(DamagedImages, EveryTruncationOfTheHalvesIsAnError) {
  for (const auto& file : golden.files()) {
    const std::string bytes = read_bytes(golden.root / "files" / file);
    const auto half = std::as_bytes(std::span(bytes)).first(bytes.size() / 2);
    EXPECT_THROW(decode_image(half, file), Error) << file;
  }
}

}  // namespace
}  // namespace revenant
