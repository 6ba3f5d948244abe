#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "base/error.h"
#include "train/sweep.h"

namespace revenant {
namespace {

// A mapping of a sweep's file, with the name that errors give it.
struct Section {
  YAML::Node node;
  std::string name;

  [[noreturn]] void fail(const std::string& key, const std::string& expected) const {
    const YAML::Node found = node[key];
    throw Error("sweep", name + ": " + key, expected,
                found ? "\"" + YAML::Dump(found) + "\"" : "nothing");
  }
  void keys(const std::set<std::string>& known) const {
    if (!node.IsMap()) throw Error("sweep", name, "a YAML mapping", "something else");
    std::set<std::string> seen;
    for (const auto& item : node) {
      const std::string key = item.first.IsScalar() ? item.first.Scalar() : "";
      std::string all;
      for (const std::string& one : known) all += (all.empty() ? "" : ", ") + one;
      if (!known.contains(key) || !seen.insert(key).second)
        throw Error("sweep", name + ": " + key, "one of " + all + ", once", "\"" + key + "\"");
    }
  }
  template <class T>
  T value(const std::string& key, const char* expected) const {
    try {
      return node[key].as<T>();
    } catch (const YAML::Exception&) {
      fail(key, expected);
    }
  }
  template <class T>
  T value_or(const std::string& key, const char* expected, const T& usual) const {
    return node[key] ? value<T>(key, expected) : usual;
  }
  std::vector<std::string> texts(const std::string& key) const {
    return value_or<std::vector<std::string>>(key, "a list of texts", {});
  }
  std::vector<Path> paths(const std::string& key) const {
    const auto all = value<std::vector<std::string>>(key, "a list of paths");
    if (all.empty()) fail(key, "at least one path");
    std::vector<Path> paths;
    for (const std::string& path : all) paths.push_back(expand_home(path));
    return paths;
  }
  // Of folders and files too.
  std::string own_name() const {
    const auto text = value<std::string>("name", "a name");
    const auto good = [](char c) { return std::isalnum(uint8_t(c)) || std::strchr("_-.", c); };
    if (text.empty() || text[0] == '.' || !std::ranges::all_of(text, good))
      fail("name", "letters, digits, _, - and .");
    return text;
  }
  std::vector<Section> parts(const std::string& key) const {
    if (!node[key] || !node[key].IsSequence() || node[key].size() == 0)
      fail(key, "a list of mappings");
    std::vector<Section> all;
    for (const YAML::Node& item : node[key])
      all.push_back({item, name + ": " + key + "[" + std::to_string(all.size()) + "]"});
    return all;
  }
};

// What the sections say, no two of one name.
template <class Of>
auto named(const std::vector<Section>& sections, const Of& of) {
  std::vector<decltype(of(sections[0]))> all;
  std::set<std::string> names;
  for (const Section& section : sections) {
    all.push_back(of(section));
    if (!names.insert(all.back().name).second) section.fail("name", "each name once");
  }
  return all;
}

SweepEvaluation evaluation_of(const Section& part) {
  part.keys({"name", "data", "pictures", "limit", "predict"});
  SweepEvaluation e;
  e.name = part.own_name();
  if (e.name == "run") part.fail("name", "another name, for run.json is the run's own");
  e.data = part.paths("data");
  e.pictures = part.value_or<std::string>("pictures", "a name", e.pictures);
  if (!std::set<std::string>{"own", "blank", "shuffle"}.contains(e.pictures))
    part.fail("pictures", "own, blank or shuffle");
  e.limit = part.value_or("limit", "a number from 0 up", 0);
  if (e.limit < 0) part.fail("limit", "a number from 0 up");
  e.predict = part.value_or("predict", "a positive number", e.predict);
  if (e.predict < 1) part.fail("predict", "a positive number");
  return e;
}

SweepArm arm_of(const Section& part, size_t steps) {
  std::set<std::string> keys = {"name", "set"};
  for (size_t step = 1; step <= steps; ++step) keys.insert("step" + std::to_string(step));
  part.keys(keys);
  SweepArm arm;
  arm.name = part.own_name();
  for (size_t step = 1; step <= steps; ++step) {
    std::vector<std::string> settings = part.texts("set");
    std::ranges::copy(part.texts("step" + std::to_string(step)), std::back_inserter(settings));
    for (const std::string& setting : settings)
      for (const char* own : {"output_dir=", "model=", "seed="})
        if (setting.starts_with(own) && !(step == 1 && setting.starts_with("model=")))
          throw Error("sweep", part.name, "nothing that the sweep sets", setting);
    arm.settings.push_back(std::move(settings));
  }
  return arm;
}

SweepGroup group_of(const Section& part, size_t steps) {
  part.keys({"name", "seeds", "arms"});
  SweepGroup group;
  group.name = part.own_name();
  group.seeds = part.value<std::vector<uint64_t>>("seeds", "a list of numbers");
  if (group.seeds.empty() ||
      std::set(group.seeds.begin(), group.seeds.end()).size() != group.seeds.size())
    part.fail("seeds", "at least one number, each once");
  group.arms = named(part.parts("arms"), [&](const Section& arm) { return arm_of(arm, steps); });
  return group;
}

}  // namespace

Sweep read_sweep(const Path& file) {
  Section root;
  root.name = file.string();
  try {
    root.node = YAML::Load(read_file(file));
  } catch (const YAML::Exception& error) {
    throw Error("sweep", root.name, "YAML", error.what());
  }
  root.keys({"output_dir", "steps", "jobs", "evaluate", "groups"});
  Sweep sweep;
  sweep.output_dir = expand_home(root.value<std::string>("output_dir", "a directory"));
  sweep.steps = root.paths("steps");
  sweep.jobs = root.value_or("jobs", "a positive number", 1);
  if (sweep.jobs < 1) root.fail("jobs", "a positive number");
  sweep.evaluations = named(root.parts("evaluate"), evaluation_of);
  sweep.groups = named(root.parts("groups"),
                       [&](const Section& group) { return group_of(group, sweep.steps.size()); });
  return sweep;
}

}  // namespace revenant
