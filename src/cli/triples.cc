// revenant triples: wrong answers to question-answer rows, written and judged by models elsewhere.
#include <algorithm>
#include <cstdio>

#include "base/json.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/program.h"
#include "cli/server_words.h"
#include "triples/build.h"

namespace revenant {
namespace {

using nlohmann::json;

struct Args {
  Path file, output;
  RowOptions rows;
  ServerWords writer, judge;
  TriplesOptions options;
  double timeout = 120, rate = 0;
  int retries = 6;
  std::string json;  // file, or "-"
};

ChatOptions chat_options(const Args& args, const ServerWords& words, const char* body_option) {
  ChatOptions chat =
      chat_options(words, "triples", body_option, {"model", "messages", "stream", "n"});
  chat.limits.whole = HttpLimits::Seconds(args.timeout);
  chat.per_minute = args.rate;
  chat.retries = args.retries;
  return chat;
}

// What is not said of the judge is as of the writer; a key goes to no other server.
ServerWords judge_words(const Args& args) {
  ServerWords words = args.judge;
  if (words.server.empty()) words.server = args.writer.server;
  if (words.model.empty()) words.model = args.writer.model;
  const bool same = server_url(words.server) == server_url(args.writer.server);
  if (same && words.key_variable.empty() && words.key_file.empty()) {
    words.key_variable = args.writer.key_variable;
    words.key_file = args.writer.key_file;
  }
  return words;
}

json json_of(const Spent& spent) {
  return {{"answers", spent.answers},
          {"uncounted", spent.uncounted},
          {"prompt_tokens", spent.prompt_tokens},
          {"completion_tokens", spent.completion_tokens}};
}

json json_of(const TriplesReport& r) {
  return {{"rows", r.rows},
          {"kept", r.kept},
          {"given", r.given},
          {"by_person", r.by_person},
          {"queued", r.queued},
          {"dropped", r.dropped},
          {"failed", r.failures.size()},
          {"writer", json_of(r.writer)},
          {"judge", json_of(r.judge)},
          {"requests", r.requests},
          {"retries", r.retries}};
}

std::string number(size_t count, const char* what) { return std::to_string(count) + " " + what; }

std::string text_of(const Spent& spent) {
  return number(spent.answers, "answers, ") + std::to_string(spent.prompt_tokens) + " + " +
         std::to_string(spent.completion_tokens) + " tokens" +
         (spent.uncounted ? " (" + number(spent.uncounted, "answers without a count)") : "");
}

std::string text_of(const TriplesReport& r) {
  size_t dropped = 0;
  std::string reasons;
  for (const auto& [why, count] : r.dropped) {
    dropped += count;
    reasons += (reasons.empty() ? " (" : ", ") + std::to_string(count) + " " + why;
  }
  const size_t settled = r.kept + dropped - r.given;
  char share[32] = "";
  if (settled > 0)
    std::snprintf(share, sizeof share, " (accepted: %.1f %%)",
                  100.0 * double(r.kept - r.given) / double(settled));
  return number(r.rows, "rows: ") + number(r.kept, "kept") + share + ", " +
         number(dropped, "dropped") + reasons + (reasons.empty() ? "" : ")") + ", " +
         number(r.queued, "for a person, ") + number(r.failures.size(), "without an answer\n") +
         "kept: " + number(r.given, "had a wrong answer, ") + number(r.by_person, "by a person\n") +
         "writer: " + text_of(r.writer) + "\njudge: " + text_of(r.judge) +
         "\nthis call: " + number(r.requests, "requests, ") + number(r.retries, "of them again\n");
}

TriplesReport build(const std::vector<Row>& rows, TriplesOptions options) {
  catch_signals();
  Progress progress("triples", "rows");
  options.go_on = [&progress, told = false]() mutable {
    if (caught_signal() == 0) return true;
    if (!std::exchange(told, true)) {
      progress.finish();
      std::fprintf(stderr, "stopping: what was asked for is waited for; once more ends at once\n");
    }
    return false;
  };
  options.progress = [&](size_t done, size_t total, size_t kept) {
    progress.show(done, total, number(kept, "kept"));
  };
  try {
    return build_triples(rows, options);
  } catch (const Stopped&) {
    progress.finish();
    std::fprintf(stderr, "stopped; the same command goes on from %s\n",
                 options.files.journal.c_str());
    exit_if_signalled();
    throw;
  }
}

void triples(const Args& args) {
  TriplesOptions options = args.options;
  options.writer = chat_options(args, args.writer, "--body");
  options.judge = chat_options(args, judge_words(args), "--judge-body");
  options.files = triples_files(through_links(args.output));
  std::error_code absent;
  for (const Path& file : {options.files.output, options.files.journal, options.files.review})
    if (std::filesystem::equivalent(file, args.file, absent))
      throw Error("triples", file.string(), "another file than the rows'", "the same");
  const std::vector<Row> rows = read_rows(args.file, args.rows);
  if (rows.empty()) throw Error("triples", args.file.string(), "at least one row", "none");
  options.more = args.rows.limit > 0;
  options.data = {{"digest", digest_of_rows(args.file)}, {"fields", args.rows.fields}};
  const TriplesReport report = build(rows, options);
  const std::string numbers = json_text(json_of(report), 1) + "\n";
  const std::string out = args.json == "-" ? numbers : text_of(report);
  std::fwrite(out.data(), 1, out.size(), stdout);
  if (!args.json.empty() && args.json != "-") write_file(through_links(args.json), numbers);
  if (report.queued > 0)
    std::fprintf(stderr,
                 "%zu rows wait for a person: write \"keep\" or \"drop\" as their verdict in %s, "
                 "then give the same command again\n",
                 report.queued, options.files.review.c_str());
  if (!report.failures.empty())  // the results are written; exit code 1
    throw Error("triples", "rows",
                std::to_string(report.failures.size()) +
                    " without an answer (the same command asks again); the first, " +
                    report.failures.front());
}

void add_model_words(CLI::App& command, ServerWords& words, const std::string& prefix,
                     const std::string& whose) {
  const bool writer = prefix == "--";
  CLI::Option* server = add_server_words(command, words, prefix, whose);
  CLI::Option* model = command.add_option(prefix + "model", words.model, "its name there");
  if (writer) server->required(), model->required();
}

void add_limits(CLI::App& command, Args& args) {
  command.add_option("--parallel", args.options.parallel, "rows asked about at a time")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command.add_option("--rate", args.rate, "requests a minute to each of the two; 0: no limit")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  add_timeout(command, args.timeout);
  command.add_option("--retries", args.retries, "of a request that failed, with growing pauses")
      ->check(CLI::Range(0, 100))
      ->capture_default_str();
}

}  // namespace

void add_triples(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* command = app.add_subcommand(
      "triples", "Has models write and judge a wrong answer to each row, for Phantom Optimization");
  command->add_option("FILE", args->file, "rows in a form of docs/data.md")
      ->required()
      ->transform(at_home);
  command
      ->add_option("-o,--output", args->output,
                   "the triples, JSONL; beside it a journal and what waits for a person")
      ->required()
      ->transform(at_home);
  add_model_words(*command, args->writer, "--", "the OpenAI-compatible server of who writes");
  add_model_words(*command, args->judge, "--judge-", "the judge's; without it the same");
  add_fields_option(*command, args->rows.fields);
  command->add_option("--limit", args->rows.limit, "only the first rows; 0: all")
      ->check(whole_number(0))
      ->capture_default_str();
  command->add_flag("--pictures", args->options.pictures,
                    "send the rows' pictures along; else both work by the texts alone");
  command
      ->add_option("--tries", args->options.rules.tries,
                   "for an answer that can be used, and for a verdict")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  command
      ->add_option("--length", args->options.rules.length,
                   "share of the right answer's length by which a wrong one may differ")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  command
      ->add_option_function<std::string>(
          "--review",
          [args](const std::string& name) {
            args->options.rules.review = name == "all" ? Review::all : Review::unsure;
          },
          "whom a person sees: rows without a verdict, or all that the judge keeps")
      ->check(CLI::IsMember({"unsure", "all"}))
      ->default_str("unsure");
  add_limits(*command, *args);
  command
      ->add_option("--json", args->json,
                   "write the numbers to this file too; \"-\": to stdout, in place of the text")
      ->type_name("FILE")
      ->transform(at_home);
  command->footer(
      "Stopped or killed, the same command goes on and pays for nothing twice (docs/triples.md).\n"
      "Example: revenant triples rows.json -o triples.jsonl --server https://api.openai.com/v1 \\\n"
      "           --api-key-env OPENAI_API_KEY --model gpt-4o-mini --judge-model gpt-4o");
  command->callback([args] { triples(*args); });
}

}  // namespace revenant
