#include "triples/build.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <thread>

#include "base/json.h"
#include "triples/prompts.h"
#include "triples/triple.h"

namespace revenant {

using nlohmann::json;

namespace {

// Rows without an answer in succession: then nobody will get one.
constexpr int most_failures = 20;

json run_of(const TriplesOptions& options) {
  const auto model = [](const ChatOptions& o) {
    return json{{"model", o.model}, {"body", o.body}};
  };
  return {{"data", options.data},
          {"writer", model(options.writer)},
          {"judge", model(options.judge)},
          {"pictures", options.pictures},
          {"prompts", prompts_version}};
}

class Builder {
 public:
  Builder(std::span<const Row> rows, const TriplesOptions& options)
      : rows_(rows),
        options_(options),
        journal_(options.files.journal, run_of(options), rows.size()),
        writer_(options.writer),
        judge_(options.judge) {
    const Url &to = options.writer.url, &from = options.judge.url;
    if (to.host == from.host && to.port == from.port) {
      writer_.stands_with(judge_);
      judge_.stands_with(writer_);
    }
    take_review();
  }

  void ask_all() {
    for (size_t row = 0; row < rows_.size(); ++row) {
      const Stage stage = standing(row).stage;
      if (stage == Stage::ask || stage == Stage::judge)
        open_.push_back(row);
      else
        kept_ += stage == Stage::kept;
    }
    done_ = rows_.size() - open_.size();
    std::vector<std::thread> workers;
    const size_t count = std::min(open_.size(), size_t(std::max(1, options_.parallel)));
    working_ = count;
    for (size_t i = 0; i < count; ++i) workers.emplace_back([this, i] { work(i); });
    wait_for_workers();
    for (std::thread& worker : workers) worker.join();
    if (failure_) std::rethrow_exception(failure_);
    if (stopped_) throw Stopped();
  }

  TriplesReport finish() {
    take_review();  // a person may have worked on it meanwhile
    TriplesReport report;
    report.rows = rows_.size();
    std::vector<Open> queued;
    AtomicFile output(options_.files.output);
    for (size_t row = 0; row < rows_.size(); ++row) {
      const Standing standing = this->standing(row);
      count(report, row, standing);
      if (standing.stage == Stage::kept)
        output.write(json_text(triple_of(rows_[row], standing.rejected,
                                         options_.files.output.parent_path())) +
                     "\n");
      if (standing.stage == Stage::queued) queued.push_back({row, standing});
    }
    output.commit();
    write_review(queued);
    report.failures = std::move(failures_);
    report.writer = journal_.tries(), report.judge = journal_.verdicts();
    report.requests = writer_.requests + judge_.requests;
    report.retries = writer_.retries + judge_.retries;
    return report;
  }

 private:
  Standing standing(size_t row) const {
    return standing_of(rows_[row], journal_.history(row), options_.rules);
  }

  void take_review() {
    if (!std::filesystem::exists(options_.files.review)) return;
    for (const auto& [row, word] : read_review(options_.files.review, rows_, options_.more))
      if (journal_.history(row).person != word) journal_.add_word(row, word);
  }
  // What it said is in the journal, but for words of the last moment: those stay.
  void write_review(const std::vector<Open>& queued) const {
    const Path& file = options_.files.review;
    const auto tried = [&](size_t row, const std::string& answer) {
      return std::ranges::any_of(journal_.history(row).tries,
                                 [&](const Said& said) { return answer_in(said.text) == answer; });
    };
    const std::string text = review_text(rows_, queued, file, tried);
    if (!text.empty())
      write_file(file, text);
    else
      std::filesystem::remove(file);
  }

  void count(TriplesReport& report, size_t row, const Standing& standing) const {
    const bool kept = standing.stage == Stage::kept, person = bool(journal_.history(row).person);
    report.kept += kept;
    report.by_person += kept && person;
    report.given += kept && !person && !rows_[row].rejected.empty();
    report.queued += standing.stage == Stage::queued;
    if (standing.stage == Stage::dropped) ++report.dropped[standing.why];
  }

  void wait_for_workers() {
    std::unique_lock lock(state_);
    for (;;) {
      const bool over = working_ == 0, all = done_ == rows_.size();
      if (options_.progress && (over || !all)) options_.progress(done_, rows_.size(), kept_);
      if (over) return;
      changed_.wait_for(lock, std::chrono::milliseconds(100));
      lock.unlock();
      if (options_.go_on && !options_.go_on()) stopped_ = true;
      lock.lock();
    }
  }

  void work(size_t worker) {
    try {
      ChatClient writer(writer_, 2 * worker), judge(judge_, 2 * worker + 1);
      for (size_t i; !stopped_ && (i = next_++) < open_.size();) settle(open_[i], writer, judge);
    } catch (const Stopped&) {
      // the others stop too
    } catch (...) {
      const std::lock_guard lock(state_);
      if (!failure_) failure_ = std::current_exception();
      stopped_ = true;
    }
    const std::lock_guard lock(state_);
    --working_;
    changed_.notify_one();
  }

  void settle(size_t row, ChatClient& writer, ChatClient& judge) {
    std::string failed;
    Standing now{};
    try {
      const std::vector<std::string> pictures = pictures_of(rows_[row]);
      while ((now = standing(row)).stage == Stage::ask || now.stage == Stage::judge)
        advance(row, now, pictures, writer, judge);
    } catch (const NotAnswered& none) {
      failed = none.what();
    }
    const std::lock_guard lock(state_);
    ++done_;
    kept_ += failed.empty() && now.stage == Stage::kept;
    in_succession_ = failed.empty() ? 0 : in_succession_ + 1;
    if (!failed.empty()) failures_.push_back("row " + std::to_string(row + 1) + ": " + failed);
    if (in_succession_ == most_failures)
      throw Error("triples", "rows", "an answer",
                  "none to " + std::to_string(most_failures) + " rows in succession; the last, " +
                      failures_.back());
    changed_.notify_one();
  }

  // One answer more, on disk before anything follows from it.
  void advance(size_t row, const Standing& now, const std::vector<std::string>& pictures,
               ChatClient& writer, ChatClient& judge) {
    const GoOn go_on = [this] { return !stopped_; };
    if (now.stage == Stage::ask)
      journal_.add_try(row, writer.ask(wrong_answer_messages(rows_[row], pictures,
                                                             journal_.history(row), options_.rules),
                                       go_on));
    else
      journal_.add_verdict(row,
                           judge.ask(verdict_messages(rows_[row], pictures, now.rejected), go_on));
  }

  std::vector<std::string> pictures_of(const Row& row) const {
    std::vector<std::string> uris;
    if (!options_.pictures) return uris;
    try {
      for (const Picture& picture : row.images) uris.push_back(data_uri_of(picture));
    } catch (const Error& error) {
      throw NotAnswered(error.what());  // this row's own trouble
    }
    return uris;
  }

  std::span<const Row> rows_;
  const TriplesOptions& options_;
  TriplesJournal journal_;
  ChatServer writer_, judge_;
  std::vector<size_t> open_;  // rows about which something is to be asked
  std::atomic<size_t> next_{0};
  std::atomic<bool> stopped_{false};
  std::mutex state_;  // of all below
  std::condition_variable changed_;
  size_t done_ = 0, kept_ = 0, working_ = 0;
  int in_succession_ = 0;
  std::vector<std::string> failures_;
  std::exception_ptr failure_;
};

}  // namespace

TriplesFiles triples_files(const Path& output) {
  const std::string text = output.string();
  const std::string stem = text.ends_with(".jsonl") ? text.substr(0, text.size() - 6) : text;
  return {output, stem + ".journal.jsonl", stem + ".review.json"};
}

TriplesReport build_triples(std::span<const Row> rows, const TriplesOptions& options) {
  Builder builder(rows, options);
  builder.ask_all();
  return builder.finish();
}

}  // namespace revenant
