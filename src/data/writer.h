// What every set shares on its way to disk: pictures, rows, and the report.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "data/make.h"
#include "data/report.h"
#include "data/words.h"
#include "image/image.h"

namespace revenant {

struct Question {
  std::string text, answer, rejected, task;
  bool unseen_wording = false;
};

// A question in one of its wordings: a seen one in training, either kind in tests.
Question worded(Random& random, bool test, const Wordings& wordings, const Words& words,
                const std::string& task, const std::string& answer, const std::string& rejected);

class SetWriter {
 public:
  // The set grows in NAME.part, from nothing, and takes its place when it is finished. Throws Error
  // if that place holds files of somebody else: any without a REPORT.json, or beside a set's own.
  SetWriter(const std::string& name, const MakeOptions& options);

  // One picture with its questions; they share it and stand together. `png` may hold the picture's
  // file where it exists already.
  void add(const std::string& split, const Image& image, const std::vector<Question>& questions,
           const std::string& png = "");
  void progress(size_t done, size_t total, const std::string& split) const;

  // Writes the JSON files, SOURCES.json from `sources` and REPORT.json; replaces an older set.
  DatasetReport finish(const Path& sources);

 private:
  std::string write_image(const std::string& split, size_t index, const std::string& png);

  std::string name_;
  const MakeOptions& options_;
  Path place_, folder_, old_;                // of the finished, the growing and the replaced set
  std::map<std::string, std::string> rows_;  // JSON text a split
  std::map<std::string, std::vector<uint64_t>> hashes_;  // pictures a split, in order
  DatasetReport report_;
};

}  // namespace revenant
