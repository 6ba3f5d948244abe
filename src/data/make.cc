#include "data/make.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "data/sets.h"

namespace revenant {
namespace {

struct Set {
  std::string name, source;  // the folder of DIR/.sources that it needs
  void (*make)(const Path&, const MakeOptions&, SetWriter&);
};

const std::vector<Set>& sets() {
  static const std::vector<Set> all = {{"easy-vqa", "easy-vqa", make_easy_vqa},
                                       {"fashion-mnist", "fashion-mnist", make_fashion_mnist},
                                       {"scenes", "emoji", make_scenes},
                                       {"emoji", "emoji", make_emoji},
                                       {"facts", "emoji", make_facts},
                                       {"flags", "flags", make_flags}};
  return all;
}

const Set& set_named(const std::string& name) {
  for (const Set& set : sets())
    if (set.name == name) return set;
  std::string known;
  for (const Set& set : sets()) known += (known.empty() ? "" : ", ") + set.name;
  throw Error("data", "set", "one of " + known, name);
}

// Without a shell, so that no name is ever interpreted; the script's own output goes to stderr.
void run_script(const Path& script, const std::string& set, const Path& directory) {
  const std::string program = script.string(), target = directory.string();
  if (::access(program.c_str(), X_OK) != 0)
    throw Error("data", program, std::string("cannot run: ") + std::strerror(errno));
  const char* arguments[] = {program.c_str(), set.c_str(), target.c_str(), nullptr};
  const pid_t child = fork();
  if (child < 0) throw Error("data", program, "cannot start");
  if (child == 0) {
    dup2(STDERR_FILENO, STDOUT_FILENO);
    execv(program.c_str(), const_cast<char**>(arguments));
    _exit(127);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    throw Error("data", program + " " + set + " " + target, "exit status 0",
                WIFEXITED(status) ? std::to_string(WEXITSTATUS(status)) : "a signal");
}

// SOURCES.json is the last thing that the script writes for a source; it returns at once where all
// is there, and brings what an older one did not.
Path fetched_sources(const Set& set, const MakeOptions& options) {
  const Path sources = options.directory / ".sources";
  const Path proof = sources / set.source / "SOURCES.json";
  const Path& script = options.fetch_script;
  if (!script.empty()) run_script(script, set.name, options.directory);
  if (std::filesystem::exists(proof)) return sources;
  if (script.empty())
    throw Error("data", proof.string(), "missing; tools/fetch_data.sh fetches it");
  throw Error("data", script.string(), proof.string(), "no such file after it ran");
}

}  // namespace

const std::vector<std::string>& dataset_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Set& set : sets()) all.push_back(set.name);
    return all;
  }();
  return names;
}

bool made_by_another_version(const Path& folder) {
  const int version = version_of_report(folder / "REPORT.json");
  return version != 0 && version != kDatasetVersion;
}

bool dataset_complete(const std::string& name, const MakeOptions& options) {
  return report_matches(options.directory / set_named(name).name / "REPORT.json", options.seed,
                        options.limit);
}

void make_dataset(const std::string& name, const MakeOptions& options) {
  const Set& set = set_named(name);
  if (dataset_complete(name, options)) return;
  const Path sources = fetched_sources(set, options);
  SetWriter writer(name, options);
  set.make(sources, options, writer);
  writer.finish(sources / set.source / "SOURCES.json");
}

}  // namespace revenant
