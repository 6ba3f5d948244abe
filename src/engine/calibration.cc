#include "engine/calibration.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "base/json.h"

namespace revenant {

using nlohmann::json;

namespace {

std::vector<Scored> surest_first(std::span<const Scored> examples) {
  std::vector<Scored> all(examples.begin(), examples.end());
  std::ranges::stable_sort(all, std::greater<>(), &Scored::score);
  return all;
}

}  // namespace

const char* name_of(Score by) { return by == Score::grounding ? "grounding" : "probability"; }

double score_of(const Grounding& answer, Score by) {
  return by == Score::grounding ? answer.value() : answer.log_prob;
}

// With n examples of which w are answered wrongly, (w + 1) / (n + 1) bounds the next one's chance.
double most_wrong(size_t examples, double risk) {
  CHECK(risk > 0 && risk < 1);
  const double most = risk * double(examples + 1) - 1 + 1e-9;
  if (most >= 0) return most;
  throw Error("calibrate", "examples",
              "at least " + std::to_string(int(std::ceil(1 / risk)) - 1) + " for a risk of " +
                  shown(json(risk)),
              std::to_string(examples));
}

double threshold_for(std::span<const Scored> examples, double risk) {
  const double most = most_wrong(examples.size(), risk);
  const std::vector<Scored> all = surest_first(examples);
  std::optional<double> lowest;
  int wrong = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    wrong += !all[i].right;
    if (wrong > most) break;
    if (i + 1 == all.size() || all[i + 1].score < all[i].score) lowest = all[i].score;
  }
  if (!lowest)
    throw Error("calibrate", "examples", "right answers among the surest ones",
                "too many wrong ones for a risk of " + shown(json(risk)));
  return *lowest;
}

Coverage coverage(std::span<const Scored> examples, double threshold) {
  Coverage made{int(examples.size())};
  for (const Scored& one : examples) {
    if (one.score < threshold) continue;
    ++made.answered;
    made.wrong += !one.right;
  }
  return made;
}

Coverage coverage_at(std::span<const Scored> examples, double share) {
  std::vector<Scored> all = surest_first(examples);
  Coverage made{int(all.size())};
  all.resize(size_t(std::lround(share * double(all.size()))));
  made.answered = int(all.size());
  made.wrong = int(std::ranges::count(all, false, &Scored::right));
  return made;
}

double separation(std::span<const Scored> examples) {
  std::vector<Scored> all = surest_first(examples);
  double higher = 0, right_before = 0;
  for (size_t i = 0; i < all.size();) {  // those of one score at a time
    size_t end = i;
    double right = 0;
    for (; end < all.size() && all[end].score == all[i].score; ++end) right += all[end].right;
    const double wrong = double(end - i) - right;
    higher += wrong * (right_before + 0.5 * right);
    right_before += right;
    i = end;
  }
  const double pairs = right_before * (double(all.size()) - right_before);
  return pairs > 0 ? higher / pairs : 0.5;
}

Calibration read_calibration(const Path& file) {
  const Place place{"calibration", file.string()};
  const json all = read_json(file, place.room);
  if (!all.is_object()) place.fail("an object", shown(all));
  const auto member = [&](const char* name, auto is, const char* expected) -> const json& {
    static const json nothing;
    const auto at = all.find(name);
    const json& value = at == all.end() ? nothing : *at;
    if (!is(value)) (place / name).fail(expected, at == all.end() ? "nothing" : shown(value));
    return value;
  };
  const auto number = [&](const char* name, double least, double most, const char* expected) {
    return member(
               name,
               [&](const json& v) {
                 return v.is_number() && v.get<double>() >= least && v.get<double>() <= most;
               },
               expected)
        .get<double>();
  };
  const auto count = [&](const char* name) {
    return member(
               name,
               [](const json& v) { return v.is_number_integer() && v >= 0 && v <= 1'000'000'000; },
               "a whole number, 0 or more")
        .get<int>();
  };
  const auto is_text = [](const json& v) { return v.is_string(); };
  if (member("revenant", is_text, "\"calibration 1\"") != "calibration 1")
    (place / "revenant").fail("\"calibration 1\"", shown(all["revenant"]));
  Calibration made;
  made.model = member("model", is_text, "a digest of weights").get<std::string>();
  const json& by = member("by", is_text, "\"probability\" or \"grounding\"");
  if (by == name_of(Score::grounding))
    made.by = Score::grounding;
  else if (by != name_of(Score::probability))
    (place / "by").fail("\"probability\" or \"grounding\"", shown(by));
  made.threshold = number("threshold", -1e300, 1e300, "a number");
  made.risk = number("risk", 0, 1, "a number from 0 to 1");
  made.examples = {count("examples"), count("answered"), count("wrong")};
  return made;
}

void write_calibration(const Path& file, const Calibration& c) {
  const json all = {{"revenant", "calibration 1"},
                    {"model", c.model},
                    {"by", name_of(c.by)},
                    {"threshold", c.threshold},
                    {"risk", c.risk},
                    {"examples", c.examples.questions},
                    {"answered", c.examples.answered},
                    {"wrong", c.examples.wrong}};
  write_file(file, json_text(all, 1) + "\n");
}

}  // namespace revenant
