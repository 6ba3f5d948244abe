// The golden model cases, opened on the native executor, and how to compare with them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "native/forward.h"
#include "native/network.h"
#include "support/golden_parts.h"
#include "trace/conformance.h"

namespace revenant {

using golden::Golden;
using Ids = std::vector<int>;

// One row of a golden batch without its padding.
struct Prompt {
  Ids ids;
  int padded = 0;  // length with padding
};

struct Case {
  std::string name;
  Golden golden;
  nlohmann::json notes;
  std::shared_ptr<Network> network;

  const Config& config() const { return network->config; }

  Ids ids(const std::string& tensor) const {
    const auto wide = golden.i64(tensor);
    return {wide.begin(), wide.end()};
  }
  std::vector<uint8_t> pictures(const Ids& of) const {
    std::vector<uint8_t> marks;
    for (const int id : of) marks.push_back(id == config().image_token);
    return marks;
  }
  std::vector<Prompt> batch() const {
    const Ids all = ids("batch/input_ids");
    const auto mask = golden.i64("batch/attention_mask");
    const auto width = size_t(golden.shape("batch/input_ids")[1]);
    std::vector<Prompt> prompts;
    for (size_t row = 0; row < all.size() / width; ++row) {
      prompts.push_back({{}, int(width)});
      for (size_t i = row * width; i < (row + 1) * width; ++i)
        if (mask[i]) prompts.back().ids.push_back(all[i]);
    }
    return prompts;
  }
  // `group`/pixel_values, or group/image_u8 normalised as the authors' CLIP path does.
  std::vector<float> pixels(const std::string& group) const {
    if (golden.has(group + "/pixel_values")) return golden.f32(group + "/pixel_values");
    constexpr double mean[] = {0.48145466, 0.4578275, 0.40821073};
    constexpr double deviation[] = {0.26862954, 0.26130258, 0.27577711};
    const auto bytes = golden.u8(group + "/image_u8");
    const size_t plane = size_t(side(group)) * size_t(side(group));
    std::vector<float> values;
    for (size_t i = 0; i < bytes.size(); ++i) {
      const size_t channel = i / plane % 3;
      values.push_back(float((bytes[i] - 255 * mean[channel]) / (255 * deviation[channel])));
    }
    return values;
  }
  int tiles(const std::string& group) const { return int(pixel_shape(group)[0]); }
  int side(const std::string& group) const { return int(pixel_shape(group)[3]); }

 private:
  const std::vector<int64_t>& pixel_shape(const std::string& group) const {
    const std::string floats = group + "/pixel_values";
    return golden.shape(golden.has(floats) ? floats : group + "/image_u8");
  }
};

inline Case open_case(const std::filesystem::path& directory) {
  Case c;
  c.name = directory.filename().string();
  c.golden = golden::open(directory / "golden.safetensors");
  c.notes = golden::read_json(directory / "golden.json");
  c.network = std::make_shared<Network>(Network::open(directory, golden_settings(c.notes)));
  return c;
}

// Every folder with a config.json and goldens.
inline const std::vector<Case>& cases() {
  static const std::vector<Case> all = [] {
    std::vector<std::filesystem::path> found;
    for (const auto& entry : std::filesystem::directory_iterator(golden::conformance_root()))
      if (std::filesystem::exists(entry.path() / "golden.safetensors") &&
          std::filesystem::exists(entry.path() / "config.json"))
        found.push_back(entry.path());
    std::sort(found.begin(), found.end());
    std::vector<Case> opened;
    for (const auto& path : found) opened.push_back(open_case(path));
    if (opened.empty())
      throw std::runtime_error("golden: no cases in " + golden::conformance_root().string());
    return opened;
  }();
  return all;
}

// Runs the test on each case that has the tensor; another folder's cases may all lack it.
template <class F>
void for_each_case(const std::string& needed, const F& test) {
  int ran = 0;
  for (const Case& c : cases()) {
    if (!c.golden.has(needed)) continue;
    SCOPED_TRACE(c.name);
    test(c);
    ++ran;
  }
  if (ran > 0) return;
  if (golden::other_folder()) GTEST_SKIP() << "no case has " << needed;
  FAIL() << "no case has " << needed;
}

inline Native native_of(const Case& c, Threads& threads, Observer* observer = nullptr) {
  return {c.network->config, c.network->weights, threads, observer};
}

// The largest |a - b| / (2e-4 + 1e-4 |b|): at most 1 is a match (README, "How to compare").
inline double misfit(const float* values, const std::vector<float>& expected, size_t first = 0,
                     size_t count = ~size_t(0), double scale = 1) {
  double worst = 0;
  for (size_t i = 0; i < std::min(count, expected.size() - first); ++i) {
    const double want = expected[first + i], difference = std::abs(values[i] * scale - want);
    const double ratio = difference / (2e-4 + 1e-4 * std::abs(want));
    worst = std::isfinite(ratio) ? std::max(worst, ratio) : INFINITY;
  }
  return worst;
}

inline testing::AssertionResult matches(const Tensor& value, const Golden& golden,
                                        const std::string& name, double scale = 1) {
  const auto expected = golden.f32(name);
  if (value.size() != expected.size())
    return testing::AssertionFailure()
           << name << ": " << expected.size() << " values expected, " << value.size() << " found";
  const double worst = misfit(value.data(), expected, 0, expected.size(), scale);
  if (worst <= 1) return testing::AssertionSuccess();
  return testing::AssertionFailure() << name << ": " << worst << " times the tolerance";
}

}  // namespace revenant
