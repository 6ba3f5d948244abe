// A run that is killed, or whose disk is full, goes on as if nothing had happened: weights, order
// of the data and train.jsonl are an unbroken run's, byte for byte. How often is read from
// REVENANT_KILLS (25) and REVENANT_FULL_DISKS (0: each call that a disk can refuse; else so many of
// them, the suite's 12); the seed of the moments is printed (REVENANT_CRASH_SEED sets it).
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <thread>

#include "../train/small_config.h"
#include "base/file.h"
#include "base/random.h"
#include "image/image.h"
#include "support/temporary.h"

namespace revenant {
namespace {

namespace fs = std::filesystem;

long number_of(const char* variable, long usual) {
  const char* text = std::getenv(variable);
  return text ? std::atol(text) : usual;
}

class CrashTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(root_ / "images");
    Random random(3);
    nlohmann::json rows = nlohmann::json::array();
    for (int i = 0; i < 20; ++i) {
      Image image = blank_image(32, 32, uint8_t(random.below(256)));
      for (uint8_t& level : image.rgb) level = uint8_t(level / 2 + random.below(128));
      const std::string name = "images/" + std::to_string(i) + ".png";
      write_file(root_ / name, encode_png(image));
      rows.push_back({{"id", std::to_string(i)},
                      {"image", name},
                      {"conversations",
                       {{{"from", "human"}, {"value", "<image>\nWhat is it?"}},
                        {{"from", "gpt"}, {"value", i % 3 ? "a dog" : "a cat"}}}},
                      {"rejected", "a tree"}});
    }
    write_file(root_ / "rows.json", rows.dump());
    write_file(root_ / "config.json", small_config().dump());
  }

  void write_recipe(int steps, int save_steps) {
    write_file(root_ / "recipe.yaml",
               "output_dir: OUT\nconfig: config.json\ntokenizer_vocab: 290\nobjective: po\n"
               "data:\n  - {path: rows.json, mirror: true}\n"
               "per_device_train_batch_size: 2\ngradient_accumulation_steps: 2\noptim: muon\n"
               "questions_per_picture: 1\nwarmup_steps: 2\nsave_total_limit: 2\n"
               "report_to: tensorboard\nlogging_steps: 3\nmax_steps: " +
                   std::to_string(steps) + "\nsave_steps: " + std::to_string(save_steps) + "\n");
  }

  pid_t start(const std::string& output, long full_disk_at = 0) {
    const pid_t child = ::fork();
    if (child != 0) return child;
    if (::chdir(root_.c_str()) != 0) ::_exit(99);
    const Path log = root_ / (output + ".log");
    if (!std::freopen(log.c_str(), "a", stderr)) ::_exit(98);
    ::setenv("OMP_WAIT_POLICY", "passive", 1);
    ::setenv("OMP_NUM_THREADS", "1", 1);
    if (full_disk_at > 0) {
      ::setenv("REVENANT_FULL_DISK_AT", std::to_string(full_disk_at).c_str(), 1);
      ::setenv("LD_PRELOAD", FULL_DISK, 1);
    }
    const std::string set = "output_dir=" + output;
    ::execl(REVENANT_BIN_DIR "/revenant-train", "revenant-train", "train", "recipe.yaml", "--set",
            set.c_str(), nullptr);
    ::_exit(97);
  }
  static int ended(pid_t child) {
    int status = 0;
    ::waitpid(child, &status, 0);
    return status;
  }
  std::string said(const std::string& output) {
    const Path log = root_ / (output + ".log");
    return fs::exists(log) ? read_file(log) : "";
  }
  void run_whole(const std::string& output) {
    const int status = ended(start(output));
    ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << said(output);
  }
  void expect_same(const std::string& a, const std::string& b, int last) {
    const std::string checkpoint = "checkpoint-" + std::to_string(last) + "/";
    for (const std::string& file :
         {checkpoint + "model.safetensors", checkpoint + "optimizer.safetensors",
          checkpoint + "trainer_state.json", std::string("train.jsonl"),
          std::string("model.safetensors")})
      EXPECT_EQ(read_file(root_ / a / file), read_file(root_ / b / file)) << file;
    for (const auto& entry : fs::directory_iterator(root_ / b))
      EXPECT_EQ(entry.path().filename().string().find(".tmp"), std::string::npos) << entry.path();
  }

  const Temporary place_;
  const Path root_ = place_.path;
};

TEST_F(CrashTest, KilledAtRandomItGoesOn) {
  using namespace std::chrono;
  constexpr int steps = 60;
  write_recipe(steps, 4);
  const auto begin = steady_clock::now();
  run_whole("whole");
  const double whole_seconds = duration<double>(steady_clock::now() - begin).count();
  const long kills = number_of("REVENANT_KILLS", 25);
  const uint64_t seed = uint64_t(number_of("REVENANT_CRASH_SEED", long(::getpid())));
  std::printf("REVENANT_CRASH_SEED=%llu\n", (unsigned long long)(seed));
  Random random(seed);
  int killed = 0;
  for (int round = 0; killed < kills; ++round) {
    const std::string output = "killed" + std::to_string(round);
    bool finished = false;
    for (int in_round = 0; !finished && killed < kills && in_round < 10; ++in_round) {
      const pid_t child = start(output);
      std::this_thread::sleep_for(duration<double>(random.uniform() * whole_seconds * 0.6));
      ::kill(child, random.below(5) == 0 ? SIGTERM : SIGKILL);
      const int status = ended(child);
      finished = WIFEXITED(status) && WEXITSTATUS(status) == 0;
      killed += !finished;
    }
    if (!finished) run_whole(output);
    expect_same("whole", output, steps);
  }
}

TEST_F(CrashTest, AFullDiskLosesNothing) {
  constexpr int steps = 4;
  write_recipe(steps, 2);
  run_whole("whole");
  const auto refused_at = [&](const std::string& output, long call) {
    const int status = ended(start(output, call));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return false;
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 1) << "call " << call << said(output);
    EXPECT_NE(said(output).find("No space left"), std::string::npos) << said(output);
    return true;
  };
  long all = 0;  // calls that a run makes
  for (long high = 1; refused_at("count" + std::to_string(high), high); high *= 2) all = high;
  const long wanted = number_of("REVENANT_FULL_DISKS", 12);
  int refused = 0;
  for (long call = 1, made = 0;; call += wanted > 0 ? std::max(1L, 2 * all / wanted) : 1, ++made) {
    const std::string output = "full" + std::to_string(call);
    if (!refused_at(output, call)) break;
    ++refused;
    run_whole(output);
    expect_same("whole", output, steps);
    fs::remove_all(root_ / output);
  }
  std::printf("%d calls refused, one after the other\n", refused);
  EXPECT_GE(refused, 5);
}

}  // namespace
}  // namespace revenant
