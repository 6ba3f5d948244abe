// `fuzz_replay NAME`: each file of corpus/NAME through its target. A file whose name begins with
// "good" must be accepted, one that begins with "bad" refused; of the others only an end is asked.
// `fuzz_replay NAME SECONDS [SEED]`: so long what mutate.h makes of these files. Without a seed a
// fresh one; it is told. Without a name: every target must have its folder.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "base/clock.h"
#include "base/file.h"
#include "fuzz/mutate.h"
#include "fuzz/targets.h"

namespace revenant::fuzz {
namespace {

std::string complaint(const Target& target, const Path& file) {
  const std::string name = file.filename().string(), why = refusal(target, read_file(file));
  if (name.starts_with("good") && !why.empty()) return name + " was refused: " + why;
  if (name.starts_with("bad") && why.empty()) return name + " was accepted";
  return "";
}

Path corpus(std::string_view name) {
  return Path(REVENANT_SOURCE_DIR) / "tests/fuzz/corpus" / name;
}

int replay(std::string_view name) {
  const Path folder = corpus(name);
  int good = 0, wrong = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    good += entry.path().filename().string().starts_with("good");
    const std::string said = complaint(target(name), entry.path());
    wrong += !said.empty();
    if (!said.empty()) std::fprintf(stderr, "%s\n", said.c_str());
  }
  if (good == 0) std::fprintf(stderr, "%s: no file that must be accepted\n", folder.c_str());
  return good > 0 && wrong == 0 ? 0 : 1;
}

int every_target_has_a_corpus() {
  int missing = 0;
  for (const Target& target : targets()) {
    if (std::filesystem::is_directory(corpus(target.name))) continue;
    std::fprintf(stderr, "%s: missing\n", corpus(target.name).c_str());
    ++missing;
  }
  return missing > 0 ? 1 : 0;
}

// What the process that tries inputs leaves for the one that watches it.
struct Trying {
  std::atomic<uint64_t> number = 0, accepted = 0;
  size_t size = 0;  // of the input that is tried
  char bytes[1 << 15];
};

constexpr int longest = 20;              // seconds, of one input
constexpr long most_kb = long(2) << 20;  // in memory

// By name, so that a seed gives the same inputs everywhere.
std::vector<std::string> files_of(std::string_view name) {
  std::vector<Path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(corpus(name)))
    paths.push_back(entry.path());
  std::ranges::sort(paths);
  std::vector<std::string> files;
  for (const Path& path : paths) files.push_back(read_file(path));
  return files;
}

// What is neither an end nor an Error ends the process.
void try_inputs(const Target& target, double seconds, uint64_t seed, Trying& trying) noexcept {
  Mutator mutator(files_of(target.name), seed);
  for (const Stopwatch watch; watch.seconds() < seconds; ++trying.number) {
    const std::string input = mutator.next();
    std::memcpy(trying.bytes, input.data(), input.size());
    trying.size = input.size();
    trying.accepted += refusal(target, input).empty();
  }
}

// Of a process, in memory.
long resident_kb(pid_t process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/statm");
  long whole = 0, resident = 0;
  file >> whole >> resident;
  return resident * (::sysconf(_SC_PAGESIZE) >> 10);
}

// What was wrong with the end of `child`; empty: nothing.
std::string fault_of(pid_t child, const Trying& trying) {
  std::string wrong;
  int status = 0;
  uint64_t seen = 0;
  for (Stopwatch since; ::waitpid(child, &status, WNOHANG) == 0;) {
    if (trying.number != seen) {
      seen = trying.number;
      since = {};
    }
    const long kb = resident_kb(child);
    if (kb > most_kb) wrong = "takes " + std::to_string(kb) + " kB of memory";
    if (since.seconds() > longest) wrong = "takes longer than " + std::to_string(longest) + " s";
    if (!wrong.empty()) ::kill(child, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  if (!wrong.empty()) return wrong;
  if (WIFSIGNALED(status)) return "ends it by signal " + std::to_string(WTERMSIG(status));
  if (WEXITSTATUS(status) == 0) return "";
  return "ends it with exit code " + std::to_string(WEXITSTATUS(status));
}

int mutated(std::string_view name, double seconds, uint64_t seed) {
  const Target& tried = target(name);
  void* const shared =
      ::mmap(nullptr, sizeof(Trying), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(shared != MAP_FAILED);
  Trying& trying = *new (shared) Trying;
  std::fflush(nullptr);
  const pid_t child = ::fork();
  CHECK(child >= 0);
  if (child == 0) {
    try_inputs(tried, seconds, seed, trying);
    std::exit(0);  // leaks are looked for
  }
  const std::string wrong = fault_of(child, trying);
  std::printf("%s: %llu inputs, %llu accepted, seed %llu\n", std::string(name).c_str(),
              static_cast<unsigned long long>(trying.number),
              static_cast<unsigned long long>(trying.accepted),
              static_cast<unsigned long long>(seed));
  if (wrong.empty()) return 0;
  const Path found =
      std::filesystem::absolute("found-" + std::string(name) + "-" + std::to_string(seed));
  write_file(found, std::string(trying.bytes, trying.size));
  std::printf("the last input %s; it lies in %s\n", wrong.c_str(), found.c_str());
  return 1;
}

uint64_t seed_of(int argc, char** argv) {
  return argc > 3 ? std::strtoull(argv[3], nullptr, 10) : std::random_device()();
}

}  // namespace
}  // namespace revenant::fuzz

int main(int argc, char** argv) try {
  using namespace revenant::fuzz;
  if (argc > 2) return mutated(argv[1], std::strtod(argv[2], nullptr), seed_of(argc, argv));
  return argc > 1 ? replay(argv[1]) : every_target_has_a_corpus();
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
