// Several processes train as one, and end together. How often one is killed is read from
// REVENANT_RANK_KILLS (3); the seed of the moments is printed (REVENANT_CRASH_SEED sets it).
#include <netinet/in.h>
#include <sys/socket.h>

#include <cmath>
#include <sstream>

#include "little_run.h"

namespace revenant {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;

int free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  ::close(fd);
  return ntohs(address.sin_port);
}

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// What one of the ranks has beside the others' settings and environment.
struct Special {
  int rank = -1;
  std::vector<std::string> settings = {};
  std::map<std::string, std::string> environment = {};
};

class RanksTest : public LittleRun {
 protected:
  // Of all ranks together, 2 pictures each.
  static constexpr int kMicroBatches = 4;

  void write_recipe(const std::string& more) {
    write_file(root_ / "recipe.yaml",
               "output_dir: OUT\nconfig: config.json\ntokenizer_vocab: 290\n"
               "data:\n  - {path: rows.json, mirror: true}\n"
               "per_device_train_batch_size: 2\nquestions_per_picture: 1\nwarmup_steps: 2\n"
               "report_to: none\nlogging_steps: 1\nsave_total_limit: 9\n" +
                   more);
  }

  // As torchrun starts them.
  std::vector<pid_t> start_ranks(const std::string& output, int size, const Special& special = {}) {
    const std::string port = std::to_string(free_port());
    std::vector<pid_t> children;
    for (int rank = 0; rank < size; ++rank) {
      Settings settings = {"gradient_accumulation_steps=" + std::to_string(kMicroBatches / size)};
      Environment environment = {
          {"RANK", std::to_string(rank)},       {"LOCAL_RANK", std::to_string(rank)},
          {"WORLD_SIZE", std::to_string(size)}, {"LOCAL_WORLD_SIZE", std::to_string(size)},
          {"MASTER_ADDR", "127.0.0.1"},         {"MASTER_PORT", port}};
      if (rank == special.rank) {
        settings.insert(settings.end(), special.settings.begin(), special.settings.end());
        environment.insert(special.environment.begin(), special.environment.end());
      }
      children.push_back(start(output, settings, environment));
    }
    return children;
  }
  static std::vector<int> codes(const std::vector<pid_t>& children) {
    std::vector<int> all;
    for (const pid_t child : children) all.push_back(code_of(ended(child)));
    return all;
  }
  void run_whole(const std::string& output, int size) {
    ASSERT_EQ(codes(start_ranks(output, size)), std::vector<int>(size_t(size), 0)) << said(output);
  }
  // The step that a run has reached, by its log; waits for it.
  void wait_for_step(const std::string& output, int step) {
    const auto begin = Clock::now();
    while (int(log_of(output).size()) < step && seconds_since(begin) < 120)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    ASSERT_GE(int(log_of(output).size()), step) << said(output);
  }
  std::vector<Json> log_of(const std::string& output) {
    std::vector<Json> lines;
    const Path file = root_ / output / "train.jsonl";
    if (!fs::exists(file)) return lines;
    std::istringstream text(read_file(file));
    for (std::string line; std::getline(text, line);)
      if (const Json json = Json::parse(line, nullptr, false); json.is_object())
        lines.push_back(json);
    return lines;
  }
  // Line by line, every number within 1e-5 of it.
  void expect_like(const std::string& a, const std::string& b) {
    const std::vector<Json> left = log_of(a), right = log_of(b);
    ASSERT_EQ(left.size(), right.size());
    ASSERT_GT(left.size(), 0u);
    for (size_t i = 0; i < left.size(); ++i)
      for (const char* key : {"loss", "grad_norm", "eval_loss", "nll_loss", "rewards/margins",
                              "left_out", "eval_left_out", "learning_rate", "epoch", "step"}) {
        ASSERT_EQ(left[i].contains(key), right[i].contains(key)) << key;
        if (!left[i].contains(key)) continue;
        const double x = left[i][key], y = right[i][key];
        EXPECT_LE(std::abs(x - y), 1e-5 * std::abs(x)) << key << " of line " << i + 1;
      }
  }
  // How often a run says why it ended.
  int times_told(const std::string& output) {
    int count = 0;
    std::istringstream text(said(output));
    for (std::string line; std::getline(text, line);) count += line.starts_with("revenant-train: ");
    return count;
  }
  bool says(const std::string& output, const std::string& what) {
    return said(output).find(what) != std::string::npos;
  }
};

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
  const uint64_t seed = uint64_t(number_of("REVENANT_CRASH_SEED", long(::getpid())));
  std::printf("REVENANT_CRASH_SEED=%llu\n", (unsigned long long)(seed));
  Random random(seed);
  int killed = 0;
  for (int round = 0; killed < kills; ++round) {
    const std::string output = "killed" + std::to_string(round);
    bool finished = false;
    for (int in_round = 0; !finished && killed < kills && in_round < 5; ++in_round) {
      const std::vector<pid_t> children = start_ranks(output, 2);
      std::this_thread::sleep_for(
          std::chrono::duration<double>(random.uniform() * whole_seconds * 0.6));
      ::kill(children[random.below(2)], random.below(4) == 0 ? SIGTERM : SIGKILL);
      // torchrun does this once it sees one go; a rank that waits for the others to join needs it.
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
