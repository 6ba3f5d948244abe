// Logs that hold each step once, and checkpoints that are whole.
#include "train/run_directory.h"

#include <gtest/gtest.h>

#include <regex>

#include "base/error.h"
#include "support/temporary.h"
#include "train/event_file.h"

namespace revenant {
namespace {

using Json = nlohmann::json;

TEST(StepLog, IsCutWhereARunGoesOn) {
  const Temporary place;
  const Path file = place.path / "train.jsonl";
  {
    StepLog log(file, 0);
    for (int step = 1; step <= 4; ++step) log.write({{"step", step}});
  }
  write_file(file, read_file(file) + "{\"step\": 5, \"los");  // a kill while it was written
  {
    StepLog log(file, 2);
    log.write({{"step", 3}, {"again", true}});
  }
  EXPECT_EQ(read_file(file), "{\"step\":1}\n{\"step\":2}\n{\"again\":true,\"step\":3}\n");
  StepLog(file, 0);
  EXPECT_EQ(read_file(file), "");
}

TEST(StepLog, AnEvaluationThatIsDueIsWrittenAnew) {
  const Temporary place;
  const Path file = place.path / "train.jsonl";
  const std::string before = "{\"eval_loss\":1,\"step\":2}\n{\"step\":3}\n{\"step\":4}\n";
  write_file(file, before + "{\"eval_loss\":1,\"step\":4}\n");
  StepLog(file, 4, true);
  EXPECT_EQ(read_file(file), before);
}

TEST(StepLog, WhatWasBrokenOffGoesThoughItsStepsStay) {
  const Temporary place;
  const Path file = place.path / "train.jsonl";
  write_file(file, "{\"step\":1}\n{\"step\":2");
  StepLog(file, 9);
  EXPECT_EQ(read_file(file), "{\"step\":1}\n");
}

// CRC-32C of "123456789" is e3069283; records as TensorFlow's reader wants them.
TEST(EventFile, RecordsHaveLengthsAndSums) {
  const Temporary place;
  {
    EventFile events(place.path, 0);
    events.add("train/loss", 3, 0.5);
    events.flush();
  }
  std::string bytes;
  for (const auto& entry : std::filesystem::directory_iterator(place.path)) {
    // Names sort as they were made.
    const std::regex name("events\\.out\\.tfevents\\.[0-9]{10}\\.[0-9]{9}\\.[0-9]+");
    EXPECT_TRUE(std::regex_match(entry.path().filename().string(), name)) << entry.path();
    bytes = read_file(entry.path());
  }
  std::vector<std::string> records;
  for (size_t at = 0; at < bytes.size();) {
    uint64_t length = 0;
    std::memcpy(&length, &bytes[at], 8);
    ASSERT_LE(at + 16 + length, bytes.size());
    records.push_back(bytes.substr(at + 12, length));
    at += 16 + length;
  }
  ASSERT_EQ(records.size(), 3u);
  EXPECT_NE(records[0].find("brain.Event:2"), std::string::npos);
  EXPECT_NE(records[2].find("train/loss"), std::string::npos);
  const float half = 0.5f;
  std::string value(4, '\0');
  std::memcpy(value.data(), &half, 4);
  EXPECT_TRUE(records[2].ends_with("\x15" + value));
  EXPECT_EQ(masked_crc32c("123456789"), ((0xe3069283u >> 15 | 0xe3069283u << 17) + 0xa282ead8u));
  uint32_t sum = 0;
  std::memcpy(&sum, &bytes[8], 4);
  EXPECT_EQ(sum, masked_crc32c(bytes.substr(0, 8)));
}

}  // namespace
}  // namespace revenant
