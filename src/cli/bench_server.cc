#include "cli/bench_server.h"

#include <random>

#include "base/progress.h"
#include "base/random.h"
#include "cli/options.h"
#include "cli/program.h"
#include "cli/rows.h"
#include "client/load.h"
#include "data/picture.h"

namespace revenant {
namespace {

using nlohmann::json;

constexpr const char* words[] = {
    "time",  "water", "house", "light", "green", "river", "stone", "paper", "music", "table",
    "north", "small", "night", "world", "horse", "plant", "sound", "group", "money", "story",
    "early", "round", "glass", "south", "voice", "field", "heart", "point", "state", "under"};

// No two are alike, nor those of two runs: nothing but the template can be reused.
std::string text_of(int count, uint64_t run, size_t number) {
  Random random(run + number * 0x9e3779b97f4a7c15ull);
  std::string text;
  for (int i = 0; i < count; ++i)
    text += (i ? " " : "") + std::string(words[random.below(std::size(words))]);
  return text;
}

json messages_of(const std::string& text, const std::vector<std::string>& pictures) {
  json content = json::array();
  for (const std::string& uri : pictures)
    content.push_back({{"type", "image_url"}, {"image_url", {{"url", uri}}}});
  content.push_back({{"type", "text"}, {"text", text}});
  const json plain = text;
  return json::array({{{"role", "user"}, {"content", pictures.empty() ? plain : content}}});
}

void add_percentiles(json& row, const std::string& name, const std::vector<double>& seconds) {
  for (const int share : {50, 95, 99})
    row[name + "_ms_p" + std::to_string(share)] = 1000 * percentile(seconds, share / 100.0);
}

json row_of(const LoadReport& r, int clients, int prompt, int tokens) {
  json row = {{"clients", clients},
              {"prompt", prompt},
              {"predict", tokens},
              {"answered", r.answered},
              {"failed", r.failed},
              {"seconds", r.seconds},
              {"prompt_tokens", r.prompt_tokens},
              {"cached_tokens", r.cached_tokens},
              {"tokens", r.tokens},
              {"tokens_per_s", double(r.tokens) / std::max(r.seconds, 1e-9)},
              {"requests_per_s", double(r.answered) / std::max(r.seconds, 1e-9)}};
  add_percentiles(row, "ttft", r.first_token);
  add_percentiles(row, "itl", r.between);
  add_percentiles(row, "e2e", r.whole);
  if (!r.failure.empty()) row["failure"] = r.failure;
  return row;
}

class Sweep {
 public:
  Sweep(const ServerBench& args, int repetitions)
      : repetitions_(repetitions), run_(std::random_device()()) {
    options_ = chat_options(args.words, "bench", "--body",
                            {"model", "messages", "stream", "stream_options", "n", "max_tokens"});
    options_.limits.whole = HttpLimits::Seconds(args.timeout);
    options_.model = model_at(options_, "bench", go_on);
    for (const Path& image : args.images) pictures_.push_back(data_uri_of({image, {}}));
  }

  json row(int clients, int prompt, int tokens) {
    LoadOptions load{.server = options_, .messages = {}};
    load.server.body["max_tokens"] = tokens;
    load.go_on = go_on;
    load.messages = [&](size_t number) {
      return messages_of(text_of(prompt, run_, asked_ + number), pictures_);
    };
    load.requests = 1;
    run_load(load);  // whatever is done once
    ++asked_;
    load.clients = clients, load.requests = repetitions_;
    const size_t requests = size_t(clients) * size_t(repetitions_);
    Progress progress("bench", "answers of " + std::to_string(clients) + " clients");
    load.progress = [&](size_t done) { progress.show(done, requests); };
    const LoadReport report = run_load(load);
    asked_ += requests;
    answered_ += report.answered;
    if (failure_.empty()) failure_ = report.failure;
    failed_ += report.failed;
    return row_of(report, clients, prompt, tokens);
  }

  // Some may be refused where that is what is measured; not all.
  void tell_failures() const {
    if (answered_ == 0) throw Error("bench", options_.url.text(), "an answer", failure_);
    if (failed_ > 0)
      tell_warnings({std::to_string(failed_) + " requests had no answer; the first: " + failure_});
  }

 private:
  static bool go_on() { return caught_signal() == 0; }

  const int repetitions_;
  size_t asked_ = 0, answered_ = 0, failed_ = 0;
  const uint64_t run_;
  ChatOptions options_;
  std::vector<std::string> pictures_;
  std::string failure_;
};

}  // namespace

void add_server_bench(CLI::App& command, ServerBench& args) {
  add_server_words(command, args.words, "--", "a server to measure instead");
  add_timeout(command, args.timeout);
  command.add_option("--clients", args.clients, "that ask the server at once")
      ->delimiter(',')
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command.add_option("--image", args.images, "picture file, in each request; may repeat")
      ->allow_extra_args(false)
      ->transform(at_home);
}

void bench_server(const ServerBench& args, const std::vector<int>& prompts,
                  const std::vector<int>& tokens, int repetitions, const std::string& form) {
  catch_signals();
  json rows = json::array();
  try {
    Sweep sweep(args, repetitions);
    for (const int prompt : prompts)
      for (const int count : tokens)
        for (const int clients : args.clients) rows.push_back(sweep.row(clients, prompt, count));
    sweep.tell_failures();
  } catch (const Stopped&) {
    exit_if_signalled();
    throw;
  }
  const char* const columns[] = {"clients",     "prompt",       "predict",     "answered",
                                 "failed",      "tokens_per_s", "ttft_ms_p50", "ttft_ms_p95",
                                 "ttft_ms_p99", "itl_ms_p50",   "itl_ms_p95",  "itl_ms_p99",
                                 "e2e_ms_p50",  "e2e_ms_p95",   "e2e_ms_p99"};
  print_rows(rows, columns, form);
}

}  // namespace revenant
