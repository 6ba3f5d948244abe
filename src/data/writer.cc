#include "data/writer.h"

#include <nlohmann/json.hpp>

#include <fstream>
#include <set>

#include "base/error.h"
#include "data/report.h"
#include "data/sprite.h"
#include "text/prompt.h"

namespace revenant {
namespace {

using Json = nlohmann::ordered_json;

std::string numbered(size_t number, int digits) {
  const std::string text = std::to_string(number);
  return std::string(digits > int(text.size()) ? digits - text.size() : 0, '0') + text;
}

// Not flushed file by file: a set is made anew faster than it is lost.
void write_plainly(const Path& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), std::streamsize(bytes.size()));
  file.close();
  if (!file) throw Error("data", path.string(), "cannot write");
}

void check_own(const Path& place) {
  const Path report = place / "REPORT.json";
  std::set<std::string> own = {"REPORT.json", "SOURCES.json", "images"};
  if (std::filesystem::exists(report)) {
    const auto json = read_report(report);
    if (json.is_object() && json.contains("splits") && json["splits"].is_object())
      for (const auto& [split, rows] : json["splits"].items()) own.insert(split + ".json");
  } else {
    own.clear();
  }
  for (const auto& entry : std::filesystem::directory_iterator(place))
    if (!own.contains(entry.path().filename().string()))
      throw Error("data", place.string(), "a made set, with its REPORT.json, or nothing",
                  entry.path().filename().string());
}

}  // namespace

SetWriter::SetWriter(const std::string& name, const MakeOptions& options)
    : name_(name),
      options_(options),
      place_(options.directory / name),
      folder_(options.directory / (name + ".part")),
      old_(options.directory / (name + ".old")),
      threads_(options.threads) {
  if (std::filesystem::exists(old_) && !std::filesystem::exists(place_))
    std::filesystem::rename(old_, place_);  // a change of places was interrupted
  if (std::filesystem::exists(place_)) check_own(place_);
  std::filesystem::remove_all(folder_);
  std::filesystem::create_directories(folder_);
  report_.name = name, report_.seed = options.seed, report_.limit = options.limit;
}

std::string SetWriter::write_image(const std::string& split, size_t index, const std::string& png) {
  const Path shelf = Path("images") / split / numbered(index / 1000, 3);
  if (index % 1000 == 0) std::filesystem::create_directories(folder_ / shelf);
  const Path image = shelf / (numbered(index, 6) + ".png");
  write_plainly(folder_ / image, png);
  return image.generic_string();
}

SetWriter::Ready SetWriter::ready(Item item) {
  std::string png = item.png.empty() ? encode_png(item.image) : std::move(item.png);
  return {std::move(item.questions), std::move(png), pixel_hash(item.image)};
}

void SetWriter::add_all(const std::string& split, size_t items,
                        const std::function<Item(size_t)>& make) {
  constexpr size_t kTogether = 256;  // bounds memory
  const size_t total = options_.limit ? std::min(options_.limit, items) : items;
  for (size_t begin = 0; begin < total; begin += kTogether) {
    std::vector<Ready> made(std::min(kTogether, total - begin));
    threads_.parallel_for(made.size(), 1, [&](size_t first, size_t end) {
      for (size_t i = first; i < end; ++i) made[i] = ready(make(begin + i));
    });
    for (const Ready& item : made)
      if (!item.questions.empty()) add(split, item);
    if (options_.progress) options_.progress(begin + made.size(), total, name_ + " " + split);
  }
}

void SetWriter::add(const std::string& split, const Ready& item) {
  const size_t index = report_.pictures[split]++;
  hashes_[split].push_back(item.hash);
  const std::string file = write_image(split, index, item.png);
  size_t number = 0;
  for (const Question& question : item.questions) {
    CHECK(question.answer != question.rejected && !question.rejected.empty());
    TaskReport& task = report_.splits[split][question.task];
    ++task.rows, task.unseen_wordings += question.unseen_wording, ++task.answers[question.answer];
    const Json talk = {
        {{"from", "human"}, {"value", std::string(image_mark) + "\n" + question.text}},
        {{"from", "gpt"}, {"value", question.answer}}};
    std::string& rows = rows_[split];
    rows += rows.empty() ? "[\n" : ",\n";
    rows += Json{
        {"id", name_ + "-" + split + "-" + numbered(index, 6) + "-" + std::to_string(number++)},
        {"image", file},
        {"conversations", talk},
        {"rejected", question.rejected},
        {"task", question.task},
        {"split", split},
        {"wording", question.unseen_wording ? "unseen" : "seen"},
        {"source",
         name_}}.dump();
  }
}

DatasetReport SetWriter::finish(const Path& sources) {
  for (const auto& [split, rows] : rows_) write_file(folder_ / (split + ".json"), rows + "\n]\n");
  write_file(folder_ / "SOURCES.json", read_file(sources));
  count_duplicates(report_, hashes_);
  write_file(folder_ / "REPORT.json", report_json(report_));
  std::filesystem::remove_all(old_);
  if (std::filesystem::exists(place_)) std::filesystem::rename(place_, old_);
  std::filesystem::rename(folder_, place_);
  std::filesystem::remove_all(old_);
  return report_;
}

}  // namespace revenant
