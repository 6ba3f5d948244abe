// `fuzz_replay NAME`: each file of corpus/NAME through its target. A file whose name begins with
// "good" must be accepted, one that begins with "bad" refused; of the others only an end is asked.
// Without a name: every target must have its folder.
#include <cstdio>
#include <filesystem>

#include "base/file.h"
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

}  // namespace
}  // namespace revenant::fuzz

int main(int argc, char** argv) try {
  using namespace revenant::fuzz;
  return argc > 1 ? replay(argv[1]) : every_target_has_a_corpus();
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
