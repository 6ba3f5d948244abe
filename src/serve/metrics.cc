#include "serve/metrics.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace revenant {
namespace {

constexpr double bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                             0.5,   1,      2.5,   5,    10,    30,   60,  120};

std::string text_of(double value) {
  char text[40];
  std::snprintf(text, sizeof text,
                value == std::floor(value) && std::abs(value) < 1e15 ? "%.0f" : "%.9g", value);
  return text;
}

std::string escaped(const std::string& label) {
  std::string out;
  for (const char c : label) {
    if (c == '\\' || c == '"') out += '\\';
    out += uint8_t(c) < 0x20 ? ' ' : c;
  }
  return out;
}

}  // namespace

void Metrics::count(const std::string& name, double more, const std::string& labels) {
  const std::lock_guard lock(mutex_);
  counters_[name][labels] += more;
}

void Metrics::observe(const std::string& name, double seconds) {
  const std::lock_guard lock(mutex_);
  Histogram& h = histograms_[name];
  h.buckets.resize(std::size(bounds));
  for (size_t i = 0; i < std::size(bounds); ++i)
    if (seconds <= bounds[i]) ++h.buckets[i];
  ++h.count;
  h.sum += seconds;
}

double Metrics::counted(const std::string& name, const std::string& labels) const {
  const std::lock_guard lock(mutex_);
  const auto at = counters_.find(name);
  if (at == counters_.end()) return 0;
  const auto of = at->second.find(labels);
  return of == at->second.end() ? 0 : of->second;
}

std::string Metrics::text(const std::vector<std::pair<std::string, double>>& gauges) const {
  const std::string model = "model_name=\"" + escaped(model_) + "\"";
  const auto with = [&](const std::string& labels) {
    return "{" + model + (labels.empty() ? "" : "," + labels) + "} ";
  };
  std::string out;
  const auto type = [&](const std::string& name, const char* kind) {
    out += "# TYPE revenant:" + name + " " + kind + "\n";
  };
  for (const auto& [name, value] : gauges) {
    type(name, "gauge");
    out += "revenant:" + name + with("") + text_of(value) + "\n";
  }
  const std::lock_guard lock(mutex_);
  for (const auto& [name, values] : counters_) {
    type(name, "counter");
    for (const auto& [labels, value] : values)
      out += "revenant:" + name + with(labels) + text_of(value) + "\n";
  }
  for (const auto& [name, h] : histograms_) {
    type(name, "histogram");
    for (size_t i = 0; i < std::size(bounds); ++i)
      out += "revenant:" + name + "_bucket" + with("le=\"" + text_of(bounds[i]) + "\"") +
             std::to_string(h.buckets[i]) + "\n";
    out += "revenant:" + name + "_bucket" + with("le=\"+Inf\"") + std::to_string(h.count) + "\n";
    out += "revenant:" + name + "_sum" + with("") + text_of(h.sum) + "\n";
    out += "revenant:" + name + "_count" + with("") + std::to_string(h.count) + "\n";
  }
  return out;
}

}  // namespace revenant
