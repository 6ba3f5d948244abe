// A run that is killed, or whose disk is full, goes on as if nothing had happened: weights, order
// of the data and train.jsonl are an unbroken run's, byte for byte. How often is read from
// REVENANT_KILLS (25) and REVENANT_FULL_DISKS (0: each call that a disk can refuse; else so many of
// them, the suite's 12); the seed of the moments is printed (REVENANT_CRASH_SEED sets it).
#include "little_run.h"

namespace revenant {
namespace {

namespace fs = std::filesystem;

class CrashTest : public LittleRun {
 protected:
  void write_recipe(int steps, int save_steps) {
    write_file(root_ / "recipe.yaml",
               "output_dir: OUT\nconfig: config.json\ntokenizer_vocab: 290\nobjective: po\n"
               "data:\n  - {path: rows.json, mirror: true}\n"
               "per_device_train_batch_size: 2\ngradient_accumulation_steps: 2\noptim: muon\n"
               "questions_per_picture: 1\nwarmup_steps: 2\nsave_total_limit: 2\n"
               "packing: true\neval_data: [{path: rows.json}]\neval_steps: 3\n"
               "report_to: tensorboard\nlogging_steps: 3\nmax_steps: " +
                   std::to_string(steps) + "\nsave_steps: " + std::to_string(save_steps) + "\n");
  }
  void run_whole(const std::string& output) {
    const int status = ended(start(output));
    ASSERT_EQ(code_of(status), 0) << said(output);
  }
};

TEST_F(CrashTest, KilledAtRandomItGoesOn) {
  using namespace std::chrono;
  constexpr int steps = 60;
  write_recipe(steps, 4);
  const auto begin = steady_clock::now();
  run_whole("whole");
  const double whole_seconds = duration<double>(steady_clock::now() - begin).count();
  const long kills = number_of("REVENANT_KILLS", 25);
  Random random = random_moments();
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
    const int status = ended(start(output, {}, full_disk_at(call)));
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
