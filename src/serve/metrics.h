// Counters and histograms in Prometheus' text form, with vLLM's names under our prefix. Safe from
// many threads.
#pragma once

#include <array>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace revenant {

class Metrics {
 public:
  explicit Metrics(std::string model) : model_(std::move(model)) {}

  // `labels` beside the model's name: `finished_reason="stop"`.
  void count(const std::string& name, double more = 1, const std::string& labels = "");
  void observe(const std::string& name, double seconds);
  double counted(const std::string& name, const std::string& labels = "") const;

  // All of them; `gauges` are those of now: name, value.
  std::string text(const std::vector<std::pair<std::string, double>>& gauges) const;

 private:
  struct Histogram {
    std::vector<uint64_t> buckets;
    uint64_t count = 0;
    double sum = 0;
  };
  const std::string model_;
  mutable std::mutex mutex_;
  std::map<std::string, std::map<std::string, double>> counters_;
  std::map<std::string, Histogram> histograms_;
};

}  // namespace revenant
