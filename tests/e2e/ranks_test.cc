// Several processes train as one, and end together. How often one is killed is read from
// REVENANT_RANK_KILLS (3); the seed of the moments is printed (REVENANT_CRASH_SEED sets it).
#include "ranks_run.h"
#include "support/program.h"

namespace revenant {
namespace {

TEST_F(RanksTest, TwoAndFourAreOne) {
  for (const std::string name : {"sft", "po"}) {
    write_recipe("objective: " + name + "\noptim: " + (name == "po" ? "muon" : "adamw_torch") +
                 "\nmax_steps: 20\nsave_steps: 20\neval_steps: 10\n" +
                 "eval_data:\n  - {path: rows.json}\n");
    for (const int size : {1, 2, 4}) run_whole(name + std::to_string(size), size);
    EXPECT_EQ(log_of(name + "1").size(), 22u);
    expect_like(name + "1", name + "2");
    expect_like(name + "1", name + "4");
  }
}

// Adapters with dropout over a base in 4 bits, packed, with moments of 8 bits.
TEST_F(RanksTest, TwoAndFourAreOneInWhatFits) {
  write_recipe("max_steps: 2\nsave_steps: 2\n");
  run_whole("base", 1);
  write_file(root_ / "recipe.yaml",
             "output_dir: OUT\nmodel: base\ntrainable: [projector]\n"
             "lora: {rank: 4, alpha: 8, dropout: 0.1, match: [language, vision]}\n"
             "quantize: nf4\noptim: adamw_8bit\npacking: true\nlearning_rate: 0.01\n"
             "data:\n  - {path: rows.json, mirror: true}\n"
             "per_device_train_batch_size: 2\nquestions_per_picture: 2\nwarmup_steps: 2\n"
             "report_to: none\nlogging_steps: 1\nmax_steps: 20\nsave_steps: 20\n");
  for (const int size : {1, 2, 4}) run_whole("fits" + std::to_string(size), size);
  EXPECT_EQ(log_of("fits1").size(), 20u);
  expect_like("fits1", "fits2");
  expect_like("fits1", "fits4");
}

// Moments of four, of one and of two are the same file's.
TEST_F(RanksTest, OneAndTwoGoOnFromFour) {
  write_recipe("optim: muon\nmax_steps: 8\nsave_steps: 4\n");
  run_whole("four", 4);
  run_whole("one", 1);
  const auto begin_at_4 = [&](const std::string& from, const std::string& to, int size) {
    fs::create_directories(root_ / to);
    for (const char* part : {"tokenizer", "checkpoint-4", "train.jsonl"})
      fs::copy(root_ / from / part, root_ / to / part, fs::copy_options::recursive);
    run_whole(to, size);
    EXPECT_TRUE(says(to, "going on from " + to + "/checkpoint-4")) << said(to);
    expect_like(from, to);
  };
  begin_at_4("four", "four_one", 1);
  begin_at_4("four", "four_two", 2);
  begin_at_4("four", "four_four", 4);
  expect_same("four", "four_four", 8);
  begin_at_4("one", "one_four", 4);
  // A step of two micro-batches would be another run's.
  EXPECT_EQ(code_of(ended(start("four", {"gradient_accumulation_steps=2"}))), 1);
  EXPECT_TRUE(says("four", "gradient_accumulation_steps, of all processes together: expected 2"))
      << said("four");
}

TEST_F(RanksTest, ALostRankEndsAll) {
  write_recipe("max_steps: 100000\nsave_steps: 100000\n");
  const std::vector<std::pair<int, int>> losses = {{2, SIGKILL}, {0, SIGKILL}, {1, SIGSTOP}};
  for (const auto& [lost, signal] : losses) {
    const std::string output = "lost" + std::to_string(lost);
    const std::vector<pid_t> children = start_ranks(output, 4);
    wait_for_step(output, 3);
    const auto begin = Clock::now();
    for (const pid_t child : children) EXPECT_TRUE(ignores(child, SIGPIPE));  // of a broken link
    ::kill(children[size_t(lost)], signal);
    for (int rank = 0; rank < 4; ++rank) {
      if (rank == lost) continue;
      EXPECT_EQ(code_of(ended(children[size_t(rank)])), 1) << said(output);
    }
    EXPECT_LT(seconds_since(begin), 60);
    ::kill(children[size_t(lost)], SIGKILL);
    ended(children[size_t(lost)]);
    EXPECT_TRUE(says(output, "rank " + std::to_string(lost) + " of 4")) << said(output);
    // Rank 0 takes the store along that the others would agree in.
    if (lost != 0) {
      EXPECT_EQ(times_told(output), 1) << said(output);
    }
  }
}

// One that goes, or never comes, before all have joined.
TEST_F(RanksTest, NobodyWaitsLongForWhoNeverComes) {
  write_recipe("max_steps: 4\nsave_steps: 4\n");
  const auto only = [&](const std::string& output, int size) {
    std::vector<pid_t> children = start_ranks(output, size, {size - 1, {}, {{"RANK", "x"}}});
    EXPECT_EQ(code_of(ended(children.back())), 1) << said(output);
    children.pop_back();
    return children;
  };
  const auto begin = Clock::now();
  const std::vector<pid_t> one = only("alone", 2), two = only("orphan", 3);
  std::this_thread::sleep_for(std::chrono::seconds(2));
  ::kill(two[0], SIGKILL);  // it holds the store
  ended(two[0]);
  EXPECT_EQ(code_of(ended(two[1])), 1);
  EXPECT_TRUE(says("orphan", "MASTER_ADDR and MASTER_PORT")) << said("orphan");
  EXPECT_EQ(codes(one), std::vector<int>(1, 1));
  EXPECT_TRUE(says("alone", "WORLD_SIZE: expected 2 processes within 50 seconds, found 1"))
      << said("alone");
  EXPECT_LT(seconds_since(begin), 60);
}

TEST_F(RanksTest, TorchrunStartsThem) {
  const char* torchrun = std::getenv("REVENANT_TORCHRUN");
  if (!torchrun) GTEST_SKIP() << "REVENANT_TORCHRUN names no torchrun (PyPI's torch has one)";
  write_recipe("optim: muon\nmax_steps: 8\nsave_steps: 4\n");
  run_whole("by_hand", 2);
  write_recipe("optim: muon\nmax_steps: 8\nsave_steps: 4\ngradient_accumulation_steps: 2\n");
  const std::string command = "cd " + root_.string() + " && " + torchrun +
                              " --no-python --nproc-per-node 2 " REVENANT_BIN_DIR
                              "/revenant-train train recipe.yaml --set output_dir=torchrun 2>&1";
  const auto [text, status] = output_of(command);
  ASSERT_EQ(status, 0) << text;
  expect_same("by_hand", "torchrun", 8);
}

TEST_F(RanksTest, ARankThatFailsEndsAllAndSaysSoOnce) {
  write_recipe("max_steps: 6\nsave_steps: 2\n");
  const auto fails = [&](const std::string& output, const Special& special,
                         const std::string& why) {
    EXPECT_EQ(codes(start_ranks(output, 2, special)), std::vector<int>(2, 1)) << said(output);
    EXPECT_TRUE(says(output, why)) << said(output);
    EXPECT_EQ(times_told(output), 1) << said(output);
  };
  fails("other", {1, {"seed=7"}}, "rank 1 of 2: [train] seed: expected what rank 0 has");
  fails("unread", {1, {"sed=7"}}, "rank 1 of 2: [recipe] --set: sed: expected one of");
  fails("diverging", {0, {"learning_rate=1e30"}}, "rank 1 of 2: [train] learning_rate");
  run_whole("whole", 2);
  for (const long call : {30, 120, 200}) {
    const std::string output = "full" + std::to_string(call);
    fails(output, {0, {}, full_disk_at(call)}, "No space left");
    run_whole(output, 2);
    expect_same("whole", output, 6);
  }
}

TEST_F(RanksTest, AllSkipTheSameSteps) {
  write_recipe("max_steps: 8\nsave_steps: 8\nlearning_rate: 1e30\nmax_skipped_steps: 2\n");
  EXPECT_EQ(codes(start_ranks("none", 2)), std::vector<int>(2, 1));
  EXPECT_EQ(times_told("none"), 1) << said("none");
  EXPECT_TRUE(says("none", "rank 0 of 2: [train] step ")) << said("none");
  EXPECT_TRUE(says("none", "within max_skipped_steps 2")) << said("none");
}

TEST_F(RanksTest, ASignalToOneStopsAllAtTheSameStep) {
  write_recipe("max_steps: 60\nsave_steps: 1000\n");
  run_whole("whole", 2);
  const std::vector<pid_t> children = start_ranks("stopped", 2);
  wait_for_step("stopped", 5);
  ::kill(children[1], SIGTERM);
  EXPECT_EQ(codes(children), std::vector<int>(2, 143)) << said("stopped");
  int checkpoints = 0;
  for (const auto& entry : fs::directory_iterator(root_ / "stopped"))
    checkpoints += entry.path().filename().string().starts_with("checkpoint-");
  EXPECT_EQ(checkpoints, 1);
  run_whole("stopped", 2);
  expect_same("whole", "stopped", 60);
}

TEST_F(RanksTest, KilledAtRandomTheyGoOn) {
  write_recipe("optim: muon\nmax_steps: 60\nsave_steps: 4\n");
  const auto begin = Clock::now();
  run_whole("whole", 2);
  const double whole_seconds = seconds_since(begin);
  const long kills = number_of("REVENANT_RANK_KILLS", 3);
  Random random = random_moments();
  int killed = 0;
  for (int round = 0; killed < kills; ++round) {
    const std::string output = "killed" + std::to_string(round);
    bool finished = false;
    for (int in_round = 0; !finished && killed < kills && in_round < 5; ++in_round) {
      const std::vector<pid_t> children = start_ranks(output, 2);
      std::this_thread::sleep_for(
          std::chrono::duration<double>(random.uniform() * whole_seconds * 0.6));
      ::kill(children[random.below(2)], random.below(4) == 0 ? SIGTERM : SIGKILL);
      // As torchrun does once it sees one go: whoever still joins would wait for 50 seconds.
      for (const pid_t child : children) ::kill(child, SIGTERM);
      finished = codes(children) == std::vector<int>(2, 0);
      killed += !finished;
    }
    if (!finished) run_whole(output, 2);
    expect_same("whole", output, 60);
  }
}

}  // namespace
}  // namespace revenant
