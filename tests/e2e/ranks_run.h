// Runs of several processes of revenant-train, on the set of little_run.h.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cmath>
#include <fstream>
#include <sstream>

#include "little_run.h"

namespace revenant {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;

inline int free_port() {
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

inline double seconds_since(Clock::time_point begin) {
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
  bool apart_ = false;  // each process as on a machine of its own

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
      if (apart_) {
        environment["LOCAL_RANK"] = "0";
        environment["LOCAL_WORLD_SIZE"] = "1";
        environment["NCCL_HOSTID"] = std::to_string(rank);
      }
      if (rank == special.rank) {
        settings.insert(settings.end(), special.settings.begin(), special.settings.end());
        for (const auto& [key, value] : special.environment) environment[key] = value;
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
  // Line by line, every number within 1e-5 of it; a margin, a difference, of what it is between.
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
        const char* const of = key == std::string("rewards/margins") ? "rewards/chosen" : key;
        EXPECT_LE(std::abs(x - y), 1e-5 * std::abs(left[i][of].get<double>()))
            << key << " of line " << i + 1;
      }
    // Of the step's first micro-batch, which is rank 0's.
    const auto gates = [](const Json& line) {
      return line.value("gate", Json::object()).value("mean", std::vector<double>());
    };
    for (size_t i = 0; i < left.size(); ++i) {
      const std::vector<double> x = gates(left[i]), y = gates(right[i]);
      ASSERT_EQ(x.size(), y.size());
      for (size_t layer = 0; layer < x.size(); ++layer) EXPECT_NEAR(x[layer], y[layer], 1e-5);
    }
  }
  static bool ignores(pid_t process, int signal) {
    std::ifstream status("/proc/" + std::to_string(process) + "/status");
    for (std::string line; std::getline(status, line);)
      if (line.starts_with("SigIgn:"))
        return std::stoull(line.substr(7), nullptr, 16) >> (signal - 1) & 1;
    return false;
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

}  // namespace revenant
