// Runs of revenant-train on a set that takes seconds.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "../train/small_config.h"
#include "base/file.h"
#include "base/random.h"
#include "image/image.h"
#include "support/temporary.h"

namespace revenant {

inline long number_of(const char* variable, long usual) {
  const char* text = std::getenv(variable);
  return text ? std::atol(text) : usual;
}

// For the moments of kills. REVENANT_CRASH_SEED repeats those of a run that printed it.
inline Random random_moments() {
  const uint64_t seed = uint64_t(number_of("REVENANT_CRASH_SEED", long(::getpid())));
  std::printf("REVENANT_CRASH_SEED=%llu\n", (unsigned long long)(seed));
  return Random(seed);
}

class LittleRun : public testing::Test {
 protected:
  using Settings = std::vector<std::string>;               // key=value
  using Environment = std::map<std::string, std::string>;  // of a process, beside ours

  // 20 pictures, whose answers differ in length.
  void SetUp() override {
    std::filesystem::create_directories(root_ / "images");
    Random random(3);
    nlohmann::json rows = nlohmann::json::array();
    const std::string answers[] = {"a cat", "a dog that sits on a red chair", "a dog"};
    for (int i = 0; i < 20; ++i) {
      Image image = blank_image(32, 32, uint8_t(random.below(256)));
      for (uint8_t& level : image.rgb) level = uint8_t(level / 2 + random.below(128));
      const std::string name = "images/" + std::to_string(i) + ".png";
      write_file(root_ / name, encode_png(image));
      rows.push_back({{"id", std::to_string(i)},
                      {"image", name},
                      {"conversations",
                       {{{"from", "human"}, {"value", "<image>\nWhat is it?"}},
                        {{"from", "gpt"}, {"value", answers[i % 3]}}}},
                      {"rejected", "a tree"}});
    }
    write_file(root_ / "rows.json", rows.dump());
    write_file(root_ / "config.json", small_config().dump());
  }

  // One process in root_ over recipe.yaml; what it says is added to OUTPUT.log, or `log`.
  pid_t start(const std::string& output, const Settings& settings = {},
              const Environment& environment = {}, const std::string& log = "") {
    std::vector<std::string> words = {"train", "recipe.yaml", "--set", "output_dir=" + output};
    for (const std::string& setting : settings) words.insert(words.end(), {"--set", setting});
    Environment all = environment;
    all.emplace("OMP_NUM_THREADS", "1");
    return start_program(words, log.empty() ? output + ".log" : log, all);
  }
  // revenant-train in root_. What it says is added to `log`, its results stand in `results`.
  pid_t start_program(std::vector<std::string> words, const std::string& log,
                      const Environment& environment = {}, const std::string& results = "") {
    const pid_t child = ::fork();
    if (child != 0) return child;
    if (::chdir(root_.c_str()) != 0) ::_exit(99);
    if (!std::freopen(log.c_str(), "a", stderr)) ::_exit(98);
    if (!results.empty() && !std::freopen(results.c_str(), "w", stdout)) ::_exit(98);
    ::setenv("OMP_WAIT_POLICY", "passive", 1);
    for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
    words.insert(words.begin(), "revenant-train");
    std::vector<char*> pointers;
    for (std::string& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    ::execv(REVENANT_BIN_DIR "/revenant-train", pointers.data());
    ::_exit(97);
  }
  static Environment full_disk_at(long call) {
    return {{"REVENANT_FULL_DISK_AT", std::to_string(call)}, {"LD_PRELOAD", FULL_DISK}};
  }
  static int ended(pid_t child) {
    int status = 0;
    ::waitpid(child, &status, 0);
    return status;
  }
  // As a shell says it: 128 and the signal's number.
  static int code_of(int status) {
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  std::string said(const std::string& output) {
    const Path log = root_ / (output + ".log");
    return std::filesystem::exists(log) ? read_file(log) : "";
  }
  void expect_same(const std::string& a, const std::string& b, int last) {
    const std::string checkpoint = "checkpoint-" + std::to_string(last) + "/";
    for (const std::string& file :
         {checkpoint + "model.safetensors", checkpoint + "optimizer.safetensors",
          checkpoint + "trainer_state.json", std::string("train.jsonl"),
          std::string("model.safetensors")})
      EXPECT_EQ(read_file(root_ / a / file), read_file(root_ / b / file)) << file;
    for (const auto& entry : std::filesystem::directory_iterator(root_ / b))
      EXPECT_EQ(entry.path().filename().string().find(".tmp"), std::string::npos) << entry.path();
  }

  const Temporary place_;
  const Path root_ = place_.path;
};

}  // namespace revenant
