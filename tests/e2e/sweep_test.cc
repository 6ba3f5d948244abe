// `revenant-train sweep` over two arms and seeds: killed wherever it may be, it goes on, and its
// results are an unbroken sweep's, byte for byte. How often is read from REVENANT_SWEEP_KILLS (5).
#include <fcntl.h>
#include <sys/file.h>

#include "base/json.h"
#include "little_run.h"

namespace revenant {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

class SweepTest : public LittleRun {
 protected:
  void SetUp() override {
    LittleRun::SetUp();
    const std::string recipe =
        "data: [{path: rows.json}]\nper_device_train_batch_size: 4\nquestions_per_picture: 1\n"
        "warmup_steps: 1\nlogging_steps: 2\nsave_steps: 2\nmax_steps: 6\nreport_to: none\n";
    write_file(root_ / "one.yaml",
               "output_dir: x\nconfig: config.json\ntokenizer_vocab: 290\n" + recipe);
    write_file(root_ / "two.yaml", "output_dir: y\nmodel: x\n" + recipe);
    write_sweep("OUT", "[]");
  }

  void write_sweep(const std::string& output, const std::string& of_wide) {
    write_file(root_ / (output + ".yaml"),
               "output_dir: " + output +
                   "\nsteps: [one.yaml, two.yaml]\njobs: 2\nevaluate:\n"
                   "  - {name: own, data: [rows.json]}\n"
                   "  - {name: grey, data: [rows.json], pictures: blank, limit: 5}\n"
                   "groups:\n  - name: first\n    seeds: [3, 4]\n    arms:\n"
                   "      - {name: plain, step1: ['config_set=[revenant.phantom=false]']}\n"
                   "      - {name: wide, step2: " +
                   of_wide +
                   "}\n"
                   "  - {name: second, seeds: [3], arms: [{name: long, set: [max_steps=8]}]}\n");
  }

  pid_t sweep(const std::string& output, const std::vector<std::string>& more = {}) {
    std::vector<std::string> words = {"sweep", output + ".yaml"};
    words.insert(words.end(), more.begin(), more.end());
    return start_program(words, output + ".log", {}, output + ".table");
  }
  int code(const std::string& output, const std::vector<std::string>& more = {}) {
    return code_of(ended(sweep(output, more)));
  }
  std::string results(const std::string& output) {
    return read_file(root_ / output / "results.jsonl");
  }
  std::string table(const std::string& output) { return read_file(root_ / (output + ".table")); }
};

TEST_F(SweepTest, EveryArmAndSeedIsTrainedAndMeasured) {
  ASSERT_EQ(code("OUT"), 0) << said("OUT");
  std::istringstream lines(results("OUT"));
  std::vector<std::string> runs;
  std::vector<Json> rows;
  for (std::string line; std::getline(lines, line);) {
    rows.push_back(Json::parse(line));
    const Json& row = rows.back();
    runs.push_back(row["group"].get<std::string>() + "/" + row["arm"].get<std::string>() + "/" +
                   row["seed"].dump());
    EXPECT_EQ(row["evaluations"]["own"][0]["rows"], 20);
    EXPECT_EQ(row["evaluations"]["grey"][0]["rows"], 5);
    ASSERT_EQ(row["training"].size(), 2u);
    EXPECT_EQ(row["training"][1]["step"], row["arm"] == "long" ? 8 : 6);
    // Step 2 goes on from step 1, with the run's seed and mechanism.
    const Path place = root_ / "OUT" / runs.back();
    EXPECT_EQ(read_json(place / "step2/config.json"), read_json(place / "step1/config.json"));
    EXPECT_NE(read_file(place / "step2/model.safetensors"),
              read_file(place / "step1/model.safetensors"));
    EXPECT_EQ(read_json(place / "step1/config.json")["revenant"].value("phantom", true),
              row["arm"] != "plain");
    EXPECT_EQ(read_json(place / "own.json")["pictures"], "own");
    EXPECT_EQ(read_json(place / "grey.json")["pictures"], "blank");
    for (const auto& entry : fs::recursive_directory_iterator(place))
      EXPECT_FALSE(entry.path().filename().string().starts_with("checkpoint-")) << entry.path();
  }
  EXPECT_EQ(runs, (std::vector<std::string>{"first/plain/3", "first/wide/3", "first/plain/4",
                                            "first/wide/4", "second/long/3"}));
  EXPECT_NE(rows[1]["training"], rows[3]["training"]);  // of another seed
  // The table has their mean and spread; asked for alone, it is the same.
  const std::string whole = table("OUT");
  for (const std::string arm :
       {"| first | plain | 2 | ", "| first | wide | 2 | ", "| second | long | 1 | "})
    EXPECT_NE(whole.find(arm), whole.npos) << whole;
  const double a = 100 * rows[0]["evaluations"]["own"][0]["accuracy"].get<double>(),
               b = 100 * rows[2]["evaluations"]["own"][0]["accuracy"].get<double>();
  char cell[64];
  std::snprintf(cell, sizeof cell, "| first | plain | 2 | %.2f ± %.2f |", (a + b) / 2,
                std::abs(a - b) / std::sqrt(2.0));
  EXPECT_NE(whole.find(cell), whole.npos) << whole << cell;
  ASSERT_EQ(code("OUT", {"--table"}), 0);
  EXPECT_EQ(table("OUT"), whole);
}

TEST_F(SweepTest, KilledAtRandomItGoesOn) {
  using namespace std::chrono;
  const auto begin = steady_clock::now();
  ASSERT_EQ(code("OUT"), 0) << said("OUT");
  const double whole_seconds = duration<double>(steady_clock::now() - begin).count();
  write_sweep("KILLED", "[]");
  Random random = random_moments();
  const long kills = number_of("REVENANT_SWEEP_KILLS", 5);
  int killed = 0;
  for (long i = 0; i < kills; ++i) {
    const pid_t child = sweep("KILLED");
    std::this_thread::sleep_for(duration<double>(random.uniform() * whole_seconds * 0.4));
    const bool gently = i % 2 == 1;
    ::kill(child, gently ? SIGTERM : SIGKILL);
    const int status = code_of(ended(child));
    EXPECT_TRUE(status == 0 || status == (gently ? 143 : 137)) << status << said("KILLED");
    killed += status != 0;
  }
  EXPECT_GE(killed, 1);
  ASSERT_EQ(code("KILLED"), 0) << said("KILLED");
  EXPECT_EQ(results("KILLED"), results("OUT"));
  EXPECT_EQ(table("KILLED"), table("OUT"));
  EXPECT_EQ(said("KILLED").find("failed"), std::string::npos) << said("KILLED");
}

TEST_F(SweepTest, OtherSettingsAreRefusedAndFailuresToldAndTriedAgain) {
  write_sweep("BAD", "['trainable=[nothing]']");
  EXPECT_EQ(code("BAD"), 1);
  for (const std::string run : {"first/wide/3", "first/wide/4"})
    EXPECT_NE(said("BAD").find(run + " failed: revenant-train: [recipe] trainable: "),
              std::string::npos)
        << said("BAD");
  EXPECT_NE(said("BAD").find("2 that failed"), std::string::npos) << said("BAD");
  const auto count = [&] { return std::ranges::count(results("BAD"), '\n'); };
  EXPECT_EQ(count(), 3);      // the others are there
  EXPECT_EQ(code("BAD"), 1);  // tried again, and nothing else
  EXPECT_EQ(count(), 3);
  write_sweep("BAD", "['learning_rate=0.01']");
  EXPECT_EQ(code("BAD"), 1);
  EXPECT_NE(
      said("BAD").find("run.json: expected the recipes, settings and files that this run began"),
      std::string::npos)
      << said("BAD");
  EXPECT_EQ(count(), 3);
}

// What finished runs were made from is not looked at again, so it must be what it was; what is
// measured may grow.
TEST_F(SweepTest, FilesMayNotChangeAndEvaluationsMayBeAdded) {
  ASSERT_EQ(code("OUT"), 0) << said("OUT");
  const std::string before = results("OUT");
  const auto replaced = [&](const char* file, const std::string& from, const std::string& to) {
    std::string text = read_file(root_ / file);
    const size_t at = text.find(from);
    EXPECT_NE(at, text.npos) << file;
    write_file(root_ / file, text.replace(at, from.size(), to));
  };
  replaced("OUT.yaml", "groups:", "  - {name: short, data: [rows.json], predict: 1}\ngroups:");
  ASSERT_EQ(code("OUT"), 0) << said("OUT");
  std::istringstream lines(results("OUT")), old(before);
  for (std::string line, was; std::getline(lines, line) && std::getline(old, was);) {
    Json row = Json::parse(line);
    EXPECT_EQ(row["evaluations"]["short"][0]["rows"], 20);
    row["evaluations"].erase("short");
    EXPECT_EQ(row, Json::parse(was));
  }
  replaced("OUT.yaml", "predict: 1", "predict: 2");
  EXPECT_EQ(code("OUT"), 1);
  EXPECT_NE(said("OUT").find("run.json: short: expected the evaluation that this run began with"),
            std::string::npos)
      << said("OUT");
  replaced("OUT.yaml", "predict: 2", "predict: 1");
  replaced("rows.json", "a cat", "a bat");
  EXPECT_EQ(code("OUT"), 1);
  EXPECT_NE(said("OUT").find("run.json: expected the recipes, settings and files"),
            std::string::npos)
      << said("OUT");
}

// What is packed for the repository goes on elsewhere: what is finished is not trained again, and
// its results stay what they were.
TEST_F(SweepTest, GoesOnFromWhatWasPacked) {
  const std::string tool = "python3 '" REPRODUCTION "' ";
  const auto there = [&](const std::string& name) { return "'" + (root_ / name).string() + "'"; };
  ASSERT_EQ(code("OUT"), 0) << said("OUT");
  const std::string all = results("OUT"), shown = table("OUT");
  fs::remove(root_ / "OUT/second/long/3/own.json");  // a run that was not finished
  ASSERT_EQ(code("OUT", {"--table"}), 0);
  std::string fewer = all;
  fewer.resize(fewer.rfind('\n', fewer.size() - 2) + 1);
  write_file(root_ / "OUT/results.jsonl", fewer);
  ASSERT_EQ(std::system((tool + "pack " + there("OUT") + " " + there("runs.tar.xz")).c_str()), 0);
  fs::rename(root_ / "OUT", root_ / "BEFORE");
  ASSERT_EQ(std::system((tool + "unpack " + there("runs.tar.xz") + " " + there("OUT")).c_str()), 0);
  EXPECT_FALSE(fs::exists(root_ / "OUT/second"));
  ASSERT_EQ(code("OUT"), 0) << said("OUT");
  EXPECT_EQ(results("OUT"), all);
  EXPECT_EQ(table("OUT"), shown);
  EXPECT_FALSE(fs::exists(root_ / "OUT/first/plain/3/step2/model.safetensors"));
  EXPECT_TRUE(fs::exists(root_ / "OUT/second/long/3/step2/model.safetensors"));
  EXPECT_NE(std::system((tool + "unpack " + there("runs.tar.xz") + " " + there("OUT")).c_str()), 0);
}

// A sweep whose trainings take long, once the first has written its log.
class LongSweep : public SweepTest {
 protected:
  void SetUp() override {
    SweepTest::SetUp();
    for (const char* recipe : {"one.yaml", "two.yaml"}) {
      std::string slow = read_file(root_ / recipe);
      slow.replace(slow.find("max_steps: 6"), 12, "max_steps: 100000");
      slow.replace(slow.find("save_steps: 2"), 13, "save_steps: 90000");
      write_file(root_ / recipe, slow);
    }
    child_ = sweep("OUT");
    for (int i = 0; i < 600 && !(fs::exists(log_) && fs::file_size(log_) > 0); ++i)
      ::usleep(100'000);
    ASSERT_TRUE(fs::exists(log_)) << said("OUT");
  }
  bool is_locked() const {
    const int file = ::open((log_.parent_path() / ".lock").c_str(), O_RDWR | O_CLOEXEC);
    const bool locked = ::flock(file, LOCK_EX | LOCK_NB) != 0;
    ::close(file);
    return locked;
  }

  const Path log_ = root_ / "OUT/first/plain/3/step1/train.jsonl";
  pid_t child_ = 0;
};

// What a signal leaves is a checkpoint, soon; two sweeps are never at work in one folder.
TEST_F(LongSweep, ASignalReachesTheTrainings) {
  EXPECT_EQ(code("OUT"), 1);
  EXPECT_NE(said("OUT").find("found one that holds its lock"), std::string::npos) << said("OUT");
  const auto begin = std::chrono::steady_clock::now();
  ::kill(child_, SIGTERM);
  EXPECT_EQ(code_of(ended(child_)), 143) << said("OUT");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
  int checkpoints = 0;
  for (const auto& entry : fs::directory_iterator(log_.parent_path()))
    checkpoints += entry.path().filename().string().starts_with("checkpoint-");
  EXPECT_EQ(checkpoints, 1);
}

TEST_F(LongSweep, OneThatIsKilledTakesItsTrainingsWithIt) {
  EXPECT_TRUE(is_locked());
  ::kill(child_, SIGKILL);
  ended(child_);
  for (int i = 0; i < 100 && is_locked(); ++i) ::usleep(100'000);
  EXPECT_FALSE(is_locked());
}

TEST_F(SweepTest, AWrongFileIsNamedWithItsKey) {
  const std::string good = read_file(root_ / "OUT.yaml");
  const auto said_of = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    EXPECT_NE(text.find(from), text.npos) << from;
    text.replace(text.find(from), from.size(), to);
    write_file(root_ / "WRONG.yaml", text);
    fs::remove(root_ / "WRONG.log");
    EXPECT_EQ(code("WRONG"), 1);
    EXPECT_FALSE(fs::exists(root_ / "OUT/first"));
    return said("WRONG");
  };
  EXPECT_NE(said_of("jobs: 2", "jobs: 0").find("jobs: expected a positive number"),
            std::string::npos);
  EXPECT_NE(said_of("jobs: 2", "job: 2").find("job: expected one of evaluate, groups, jobs"),
            std::string::npos);
  EXPECT_NE(said_of("pictures: blank", "pictures: red").find("expected own, blank or shuffle"),
            std::string::npos);
  EXPECT_NE(said_of("seeds: [3, 4]", "seeds: [3, 3]").find("seeds: expected at least one number"),
            std::string::npos);
  EXPECT_NE(said_of("name: wide", "name: plain").find("name: expected each name once"),
            std::string::npos);
  EXPECT_NE(said_of("name: wide", "name: ../wide").find("name: expected letters"),
            std::string::npos);
  EXPECT_NE(said_of("max_steps=8", "seed=8").find("expected nothing that the sweep sets"),
            std::string::npos);
  EXPECT_NE(said_of("name: second", "name: first").find("name: expected each name once"),
            std::string::npos);
  EXPECT_NE(said_of("name: own", "name: run").find("name: expected another name"),
            std::string::npos);
  EXPECT_NE(said_of("data: [rows.json]", "data: [none.json]").find("none.json"), std::string::npos);
  EXPECT_NE(said_of("max_steps=8", "max_steps=0").find("max_steps: expected a positive number"),
            std::string::npos);
  EXPECT_NE(said_of("max_steps=8", "max_step=8").find("max_step: expected one of"),
            std::string::npos);
  EXPECT_NE(said_of("one.yaml", "none.yaml").find("none.yaml"), std::string::npos);
}

}  // namespace
}  // namespace revenant
