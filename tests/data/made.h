// Sets made of made-up sources.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "data/dataset.h"
#include "data/make.h"
#include "data/sources.h"
#include "support/temporary.h"

namespace revenant {

class Make : public testing::Test {
 protected:
  const Temporary place;
  MakeOptions options;
  void SetUp() override {
    options.directory = place.path / "data";
    options.limit = 48;
    options.threads = 1;
    made_up::fashion_mnist(options.directory / ".sources", 60);
    made_up::easy_vqa(options.directory / ".sources", false);
    made_up::emoji(options.directory / ".sources");
    made_up::flags(options.directory / ".sources");
  }
  Path file(const std::string& set, const std::string& name) {
    return options.directory / set / name;
  }
  nlohmann::json report(const std::string& set) {
    return nlohmann::json::parse(read_file(file(set, "REPORT.json")));
  }
  std::vector<std::string> splits(const std::string& set) {
    std::vector<std::string> names;
    const nlohmann::json all = report(set);
    for (const auto& [split, entry] : all["splits"].items()) names.push_back(split);
    return names;
  }
  std::string everything() {
    std::string text;
    for (const std::string& set : dataset_names()) {
      for (const std::string& split : splits(set)) {
        text += read_file(file(set, split + ".json"));
        for (const Row& row : read_rows(file(set, split + ".json")))
          text += read_file(row.images.at(0).file);
      }
      text += read_file(file(set, "REPORT.json"));
    }
    return text;
  }
  void make_all() {
    for (const std::string& set : dataset_names()) make_dataset(set, options);
  }
};

}  // namespace revenant
