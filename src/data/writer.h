// What every set shares on its way to disk: pictures, rows, and the report.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/threads.h"
#include "data/asker.h"
#include "data/make.h"
#include "data/report.h"
#include "image/image.h"

namespace revenant {

// A picture with its questions; they share it and stand together. `png` may hold the picture's file
// where it exists already.
struct Item {
  Image image;
  std::vector<Question> questions;
  std::string png = {};
};

class SetWriter {
 public:
  // The set grows in NAME.part, from nothing, and takes its place when it is finished. Throws Error
  // if that place holds files of somebody else: any without a REPORT.json, or beside a set's own.
  SetWriter(const std::string& name, const MakeOptions& options);

  // A split's items, or as many as the limit allows: make(0), make(1) and so on, by several threads
  // at once, written in this order. One without questions is left out.
  void add_all(const std::string& split, size_t items, const std::function<Item(size_t)>& make);

  // Writes the JSON files, SOURCES.json from `sources` and REPORT.json; replaces an older set.
  DatasetReport finish(const Path& sources);

 private:
  // An item made ready to be written.
  struct Ready {
    std::vector<Question> questions;
    std::string png;
    uint64_t hash = 0;
  };
  static Ready ready(Item item);
  void add(const std::string& split, const Ready& item);
  std::string write_image(const std::string& split, size_t index, const std::string& png);

  std::string name_;
  const MakeOptions& options_;
  Path place_, folder_, old_;                // of the finished, the growing and the replaced set
  std::map<std::string, std::string> rows_;  // JSON text a split
  std::map<std::string, std::vector<uint64_t>> hashes_;  // pictures a split, in order
  DatasetReport report_;
  Threads threads_;
};

}  // namespace revenant
