// Every option of every command, set to another value than its default, arrives: what the program
// gives is another then. An option that has no row here fails the test.
#include <chrono>
#include <functional>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <thread>

#include "cli/fixture.h"
#include "image/encoders.h"
#include "io/safetensors.h"
#include "store/adapter.h"
#include "support/plain_model.h"

namespace revenant {
namespace {

using Shown = std::function<std::string(const Outcome&)>;  // what of an outcome must differ

std::string out(const Outcome& got) { return got.out; }

// The first match in what is told on stderr; empty: none.
Shown told(const std::string& pattern) {
  return [pattern](const Outcome& got) {
    std::smatch match;
    return std::regex_search(got.err, match, std::regex(pattern)) ? match.str() : "";
  };
}

struct OptionRow {
  std::string command, option;  // as the help names it
  Words words;                  // without the option, or with its default
  Words set;                    // with it; {} and `elsewhere`: a test of its own has it
  Shown shown = out;
  std::string input{};
  std::string elsewhere{};
};

class Options : public Cli {
 protected:
  void SetUp() override {
    Cli::SetUp();
    write_loud(model_, 5);
    write_loud((place_ / "other").string(), 6);
    other_ = (place_ / "other").string();
    for (int i = 0; i < 3; ++i) {
      Image picture = blank_image(60, 60);
      Random random(uint64_t(i + 1));
      for (uint8_t& level : picture.rgb) level = uint8_t(random.below(256));
      write_file(place_ / (std::to_string(i) + ".png"), encode_png(picture));
    }
    // A quarter turn to the right: tag 0x0112, a short, 6.
    const std::string png = read_file(picture_);
    write_file(place_ / "turned.png",
               png.substr(0, 33) + png_chunk("eXIf", turn_) + png.substr(33));
  }
  // Both mechanisms, loud, so that every setting of theirs shows.
  static void write_loud(const std::string& directory, uint64_t seed) {
    write_random_phantom(directory, seed);
    json config = json::parse(read_file(Path(directory) / "config.json"));
    config["revenant"] = {{"phantom", true}, {"phantom_eta", 0.5}, {"trol", true}};
    write_random_checkpoint(directory, config, seed);
  }
  std::string at(const char* name) const { return (place_ / name).string(); }

  std::vector<OptionRow> speak_rows(const std::string& command) const;
  std::vector<OptionRow> eval_rows();
  std::vector<OptionRow> calibrate_rows();
  std::vector<OptionRow> model_rows(const std::string& command, const Words& words) const;
  std::vector<OptionRow> other_rows();
  std::vector<OptionRow> check_rows();
  std::vector<OptionRow> golden_rows() const;
  std::vector<OptionRow> synth_rows() const;
  std::vector<OptionRow> quantize_rows() const;
  std::vector<OptionRow> imatrix_rows() const;
  std::vector<OptionRow> quality_rows() const;
  std::vector<OptionRow> merge_rows() const;
  std::vector<OptionRow> graft_rows() const;
  std::vector<OptionRow> perplexity_rows() const;
  std::vector<OptionRow> bench_rows() const;
  std::vector<OptionRow> serve_rows() const;
  std::vector<OptionRow> triples_rows() const;
  std::vector<OptionRow> remote_rows() const;
  void check(const OptionRow& row) const;
  void write_rows(const char* file, int shift, int extra, const char* length = "12") const;

  const std::string turn_{"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0", 26};
  const std::string nano_ = (Path(REVENANT_SOURCE_DIR) / "models/phantom-nano").string();
  std::string other_;
};

Words joined(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

// The largest number of threads that the program has.
int threads_of(const Path& place, const Words& arguments, const std::string& input) {
  const pid_t child = start_program(place, arguments, input);
  const Path tasks = "/proc/" + std::to_string(child) + "/task";
  int most = 0;
  for (int status = 0; ::waitpid(child, &status, WNOHANG) == 0;) {
    std::error_code gone;
    int now = 0;
    for (std::filesystem::directory_iterator task(tasks, gone), end; !gone && task != end;
         task.increment(gone))
      ++now;
    most = std::max(most, now);
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return most;
}

// Long enough that its threads are seen.
OptionRow threads_row(const Path& place, const std::string& command, const Words& words,
                      const std::string& input) {
  EXPECT_EQ(threads_of(place, joined(words, {"-t", "1"}), input), 1) << command;
  EXPECT_EQ(threads_of(place, joined(words, {"-t", "3"}), input), 3) << command;
  return {command, "-t,--threads", {}, {}, out, "", "here"};
}

std::vector<OptionRow> Options::speak_rows(const std::string& command) const {
  const bool chat = command == "chat", view = command == "view", many = command == "ask";
  write_file(place_ / "one.txt", "what?\n");
  write_file(place_ / "two.txt", "which?\n\nwhat?\n");
  const std::string input = chat ? "what?\n" : "";
  const Words ask = chat   ? Words{}
                    : view ? Words{"-p", "what?", "-o", at("view.html")}
                    : many ? Words{"--questions", at("one.txt")}
                           : Words{"-p", "what?"};
  const Words least = joined({command, "-m", model_}, ask), greedy = joined(least, {"-n", "24"}),
              sampled = joined(greedy, {"--temp", "1"}), long_one = joined(least, {"-n", "400"});
  const std::string length = std::to_string(
      json::parse(run({"view", "-m", model_, "-p", "what?", "-o", at("view.html"), "--json", "-"})
                      .out)["prompt_tokens"]
          .get<int>() +
      3);
  const Shown tokens = view   ? told("[0-9]+ tokens")
                       : many ? told("[0-9]+ answers, [0-9]+ tokens")
                              : told("answer: [0-9]+ tokens");
  std::vector<OptionRow> rows = {
      {command, "-m,--model", greedy, joined({command, "-m", other_, "-n", "24"}, ask)},
      threads_row(place_, command, long_one, input),
      {command, "--config-set", greedy, joined(greedy, {"--config-set", "revenant.phantom=false"})},
      {command, "--traverse", greedy, joined(greedy, {"--traverse", "off"})},
      {command, "--passes", greedy, joined(greedy, {"--passes", "4"})},
      {command, "--traverse-threshold", greedy, joined(greedy, {"--traverse-threshold", "1"})},
      {command, "--image", greedy, joined(greedy, {"--image", picture_})},
      {command, "-n,--predict", greedy, joined(least, {"-n", "6"})},
      {command, "-c,--ctx-size", joined(greedy, {"-v"}), joined(greedy, {"-v", "-c", length}),
       tokens},
      {command, "--temp", greedy, joined(greedy, {"--temp", "2"})},
      {command, "--top-k", sampled, joined(sampled, {"--top-k", "1"})},
      {command, "--top-p", sampled, joined(sampled, {"--top-p", "1e-9"})},
      {command, "--min-p", sampled, joined(sampled, {"--min-p", "1"})},
      {command, "--repeat-penalty", greedy, joined(greedy, {"--repeat-penalty", "1000"})},
      {command, "-s,--seed", sampled, joined(sampled, {"-s", "7"})},
      {command, "-v,--verbose", greedy, joined(greedy, {"-v"}), tokens}};
  const Words turned = joined(greedy, {"--image", at("turned.png")});
  rows.push_back({command, "--exif", turned, joined(turned, {"--exif", "ignore"})});
  rows.push_back({command, "--max-pixels", turned, joined(turned, {"--max-pixels", "99"}),
                  told("1 to 99 pixels")});
  const Words numbers = view ? joined(least, {"--json", "-"}) : joined(long_one, {"-v"});
  rows.push_back({command, "--cache-type", numbers, joined(numbers, {"--cache-type", "bf16"}),
                  view ? Shown(out) : told("cache: [0-9.]+ MB")});
  const Words three_thousand = joined(least, {"-n", "3000"});  // of 512 bytes in two passes
  rows.push_back(command == "run"
                     ? OptionRow{command, "--cache-memory", three_thousand,
                                 joined(three_thousand, {"--cache-memory", "1"}),
                                 told("at most 1048576 bytes")}
                     : OptionRow{command, "--cache-memory", {}, {}, out, "", "run's row"});
  if (many) {
    rows.push_back({command,
                    "--questions",
                    greedy,
                    {"ask", "-m", model_, "-n", "24", "--questions", at("two.txt")}});
    rows.push_back({command, "--json", greedy, joined(greedy, {"--json"})});
  }
  rows.push_back({command, "--weights", numbers, joined(numbers, {"--weights", "q4_0"})});
  if (!view) rows.push_back({command, "--beams", greedy, joined(greedy, {"--beams", "4"})});
  if (!chat && !many)
    rows.push_back({command, "-p,--prompt", greedy,
                    joined({command, "-m", model_, "-n", "24", "-p", "which?"},
                           view ? Words{"-o", at("view.html")} : Words{})});
  for (OptionRow& row : rows) row.input = input;
  return rows;
}

json row(const std::string& picture, const std::string& answer) {
  static int rows = 0;
  return {
      {"id", std::to_string(++rows)},
      {"image", picture},
      {"task", "what"},
      {"conversations",
       {{{"from", "human"}, {"value", "<image>\nwhat?"}}, {{"from", "gpt"}, {"value", answer}}}}};
}

// Rows about the three pictures, with the model's own answers, the right one or that of the picture
// after it; `extra` rows more, with another answer.
void Options::write_rows(const char* file, int shift, int extra, const char* length) const {
  json rows = json::array();
  for (int i = 0; i < 3 + extra; ++i) {
    const std::string picture = at((std::to_string((i + shift) % 3) + ".png").c_str());
    const std::string answer =
        run({"run", "-m", model_, "-n", length, "--image", picture, "-p", "what?"}).out;
    rows.push_back(
        row(std::to_string(i % 3) + ".png", i < 3 ? answer : std::string("something else")));
  }
  write_file(place_ / file, rows.dump());
}

std::vector<OptionRow> Options::eval_rows() {
  write_rows("own.json", 0, 0);
  write_rows("more.json", 0, 4);
  write_rows("next.json", 1, 0);
  write_rows("long.json", 0, 0, "300");
  const std::string seen =
      run({"run", "-m", model_, "-n", "12", "--image", at("turned.png"), "-p", "what?"}).out;
  write_file(place_ / "turned.json", json::array({row("turned.png", seen)}).dump());
  const auto words = [&](const std::string& model, const Words& more) {
    return joined({"eval", "-m", model, "--json", "-"}, more);
  };
  const auto with = [&](const Words& more) {
    return joined(words(model_, {"--data", at("own.json"), "-n", "12"}), more);
  };
  // Whatever the options say of themselves: only the counts.
  const Shown counts = [](const Outcome& got) { return json::parse(got.out)["groups"].dump(); };
  const Shown progress = told("eval [0-9]+/");
  std::vector<OptionRow> rows = {
      {"eval", "-m,--model", with({}), words(other_, {"--data", at("own.json"), "-n", "12"})},
      {"eval", "--config-set", with({}), with({"--config-set", "revenant.phantom=false"}), counts},
      {"eval", "--traverse", with({}), with({"--traverse", "off"}), counts},
      {"eval", "--passes", with({}), with({"--passes", "4"}), counts},
      {"eval", "--traverse-threshold", with({}), with({"--traverse-threshold", "1"}), counts},
      {"eval", "--weights", with({}), with({"--weights", "q4_0"}), counts},
      {"eval", "--data", with({}), words(model_, {"--data", at("more.json"), "-n", "12"}), counts},
      {"eval", "--train", with({}), with({"--train", at("more.json")}), counts},
      {"eval", "-n,--predict", with({}), words(model_, {"--data", at("own.json"), "-n", "2"}),
       counts},
      {"eval", "--beams", with({}), with({"--beams", "4"}), counts},
      {"eval", "--batch", with({}), with({"--batch", "1"}), progress},
      {"eval", "--fields", with({}), with({"--fields", "task=id"}), counts},
      {"eval", "--limit", with({}), with({"--limit", "2"}), counts},
      {"eval", "--blank", with({}), with({"--blank"}), counts},
      {"eval", "--shuffle", with({}), with({"--shuffle"}), counts},
      {"eval", "--json", {"eval", "-m", model_, "--data", at("own.json")}, with({})},
      threads_row(place_, "eval", {"eval", "-m", model_, "--data", at("more.json"), "-n", "200"},
                  "")};
  std::set<std::string> shuffles;  // two ways to show each picture another's
  for (int seed = 1; seed <= 8; ++seed)
    shuffles.insert(counts(run(words(model_, {"--data", at("next.json"), "-n", "12", "--shuffle",
                                              "-s", std::to_string(seed)}))));
  EXPECT_EQ(shuffles.size(), 2u);
  const Words turned = words(model_, {"--data", at("turned.json"), "-n", "12"});
  rows.push_back({"eval", "--exif", turned, joined(turned, {"--exif", "apply"}), counts});
  rows.push_back({"eval", "--max-pixels", turned, joined(turned, {"--max-pixels", "99"}),
                  told("1 to 99 pixels")});
  rows.push_back({"eval", "-s,--seed", {}, {}, out, "", "the lines above"});
  rows.push_back({"eval", "--answers", {}, {}, out, "", "eval_test.cc"});
  const Words long_ones = words(model_, {"--data", at("long.json"), "-n", "300"});
  const Words large = words(model_, {"--data", at("own.json"), "-n", "1000"});
  rows.push_back(
      {"eval", "--cache-memory", large, joined(large, {"--cache-memory", "1"}), progress});
  rows.push_back({"eval", "--cache-type", long_ones, joined(long_ones, {"--cache-type", "bf16"}),
                  counts});  // within 300 tokens another one becomes the likeliest
  return rows;
}

std::vector<OptionRow> Options::calibrate_rows() {
  std::string lines, less;
  for (int i = 0; i < 24; ++i) {
    const std::string question = "what is number " + std::to_string(i) + "?";
    const std::string said =
        run({"run", "-m", model_, "-n", "12", "--image", picture_, "-p", question}).out;
    lines += json{{"question", "<image>\n" + question},
                  {"answer", i % 3 ? said.substr(0, said.size() - 1) : "no"},
                  {"image", "picture.png"},
                  {"x", said.substr(0, said.size() - 1)}}
                 .dump() +
             "\n";
    if (i == 19) less = lines;
  }
  write_file(place_ / "labelled.jsonl", lines);
  write_file(place_ / "less.jsonl", less);
  const Words least = {"calibrate",
                       "-m",
                       model_,
                       "--data",
                       at("labelled.jsonl"),
                       "-o",
                       at("made.json"),
                       "--examples",
                       "12",
                       "-n",
                       "12",
                       "--risk",
                       "0.6",
                       "--json"};
  const auto with = [&](const char* option, const Words& more) {
    return OptionRow{"calibrate", option, least, joined(least, more)};
  };
  const auto other = [&](const char* option, const char* name, const std::string& value) {
    OptionRow row{"calibrate", option, least, least};
    *(std::ranges::find(row.set, name) + 1) = value;
    return row;
  };
  const auto elsewhere = [](const char* option, const char* where) {
    return OptionRow{"calibrate", option, {}, {}, out, "", where};
  };
  Words plain = least;
  std::erase(plain, "--json");
  return {with("--config-set", {"--config-set", "revenant.phantom=false"}),
          with("--traverse", {"--traverse", "off"}),
          with("--passes", {"--passes", "4"}),
          with("--traverse-threshold", {"--traverse-threshold", "1"}),
          with("--weights", {"--weights", "q4_0"}),
          with("--cache-type", {"--cache-type", "bf16"}),
          with("--by", {"--by", "grounding"}),
          with("--others", {"--others", "9"}),
          with("-s,--seed", {"-s", "2"}),
          with("--fields", {"--fields", "answer=x"}),
          other("--data", "--data", at("less.jsonl")),
          other("--risk", "--risk", "0.3"),
          other("--examples", "--examples", "20"),
          {"calibrate", "--json", plain, least},
          {"calibrate", "--max-pixels", least, joined(least, {"--max-pixels", "99"}),
           told("1 to 99 pixels")},
          elsewhere("-m,--model", "calibrate_test.cc"),
          elsewhere("-o,--output", "calibrate_test.cc"),
          elsewhere("-n,--predict", "calibrate_test.cc"),
          elsewhere("--answers", "calibrate_test.cc"),
          elsewhere("--batch", "eval's row"),
          elsewhere("--exif", "eval's row"),
          elsewhere("--cache-memory", "eval's row"),
          elsewhere("-t,--threads", "eval's row")};
}

std::vector<OptionRow> Options::check_rows() {
  const auto pair = [](const std::string& image) {
    return json{
        {"question", "Q"}, {"answer", "A"}, {"rejected", "B"}, {"image", image}, {"x", "A"}};
  };
  write_file(place_ / "pair.json", pair("0.png").dump());
  write_file(place_ / "more.jsonl", pair("0.png").dump() + "\n" + pair("1.png").dump());
  write_file(place_ / "turn.json", pair("turned.png").dump());
  write_file(place_ / "wide.png", encode_png(blank_image(1344, 448)));
  std::string lines;
  for (int i = 0; i < 200; ++i) {
    const std::string name = "copy" + std::to_string(i) + ".png";
    std::filesystem::copy(place_ / "wide.png", place_ / name);
    lines += pair(name).dump() + "\n";
  }
  write_file(place_ / "busy.jsonl", lines);
  const Words one = {"data", "check", at("pair.json")}, measured = joined(one, {"-m", nano_}),
              unbound = joined(measured, {"--max-length", "0"}),
              turned = {"data", "check", at("turn.json")};
  return {{"data check", "FILE", one, {"data", "check", at("more.jsonl")}},
          {"data check", "-m,--model", one, unbound},
          {"data check", "--max-length", unbound, joined(measured, {"--max-length", "9"})},
          {"data check", "--fields", one, joined(one, {"--fields", "rejected=x"})},
          {"data check", "--exif", turned, joined(turned, {"--exif", "apply"})},
          {"data check", "--max-pixels", one, joined(one, {"--max-pixels", "99"})},
          {"data check", "--json", one, joined(one, {"--json", "-"})},
          threads_row(place_, "data check", {"data", "check", at("busy.jsonl")}, "")};
}

std::vector<OptionRow> Options::other_rows() {
  const Words inspect = {"inspect", "-m", model_}, tokenize = {"tokenize", "-m", model_};
  const std::string text = "\"what <|im_end|>\"\n";
  const Words tiles = {"tiles", picture_};
  write_file(place_ / "fetch.sh", "#!/bin/sh\necho \"fetches $1 to $2\"\nexit 7\n");
  std::filesystem::permissions(place_ / "fetch.sh", std::filesystem::perms::owner_all);
  const auto made = [&](const Words& more) {
    return joined({"data", "make", "--fetch-script", at("fetch.sh")}, more);
  };
  const Shown fetch = told("fetches .*");
  const auto sheet = [this](const Outcome&) {
    const Path file = place_ / "sheet.png";
    const std::string content = std::filesystem::exists(file) ? read_file(file) : "";
    std::filesystem::remove(file);
    return content;
  };
  const auto page = [this](const Outcome&) {
    return std::string(std::filesystem::exists(place_ / "page.html") ? "written" : "");
  };
  const Words view = {"view", "-m", model_, "-p", "what?", "-n", "4"};
  write_random_phantom(place_ / "few", 3);
  return {
      {"inspect", "-m,--model", inspect, {"inspect", "-m", at("few")}},
      {"inspect", "--config-set", inspect,
       joined(inspect, {"--config-set", "revenant.phantom=false"})},
      {"inspect", "--json", inspect, joined(inspect, {"--json"})},
      {"inspect", "--ghosts", inspect, joined(inspect, {"--ghosts"})},
      {"tokenize",
       "-m,--model",
       joined(tokenize, {"--json"}),
       {"tokenize", "--json", "-m", (Path(REVENANT_SOURCE_DIR) / "models/phantom-nano").string()},
       out,
       text},
      {"tokenize", "--json", tokenize, joined(tokenize, {"--json"}), out, text},
      {"tokenize", "--special", tokenize, joined(tokenize, {"--special"}), out, text},
      {"tokenize", "--decode", tokenize, joined(tokenize, {"--decode"}), out, "104 105\n"},
      {"tokenize", "--pieces", tokenize, joined(tokenize, {"--pieces"}), out, text},
      {"tiles", "IMAGE", tiles, {"tiles", at("0.png")}},
      {"tiles", "-o,--output", tiles, joined(tiles, {"-o", at("sheet.png")}), sheet},
      {"tiles", "--tile", tiles, joined(tiles, {"--tile", "56"})},
      {"tiles", "--max-tiles", joined(tiles, {"--tile", "28"}),
       joined(tiles, {"--tile", "28", "--max-tiles", "1"})},
      {"tiles", "-m,--model", tiles, joined(tiles, {"-m", model_})},
      {"tiles",
       "--exif",
       {"tiles", at("turned.png")},
       {"tiles", at("turned.png"), "--exif", "ignore"}},
      {"tiles", "--max-pixels", tiles, joined(tiles, {"--max-pixels", "99"}),
       told("1 to 99 pixels")},
      {"data make", "SET", made({"emoji"}), made({"flags"}), fetch},
      {"data make", "-o,--output", made({"emoji"}), made({"emoji", "-o", at("sets")}), fetch},
      {"data make", "--seed", {}, {}, out, "", "ACompleteSetIsOneOfTheSameSeedAndLimit"},
      {"data make", "--limit", {}, {}, out, "", "ACompleteSetIsOneOfTheSameSeedAndLimit"},
      {"data make", "--fetch-script", {}, {}, out, "", "ScriptsOfTheWorkingDirectoryAreNotRun"},
      {"data make", "--list", made({"emoji"}), made({"emoji", "--list"})},
      {"view", "-o,--output", joined(view, {"-o", at("other.html")}),
       joined(view, {"-o", at("page.html")}), page},
      {"view", "--json", joined(view, {"-o", at("v.html")}),
       joined(view, {"-o", at("v.html"), "--json", "-"})},
      {"view", "--heads", joined(view, {"-o", at("v.html"), "--json", "-"}),
       joined(view, {"-o", at("v.html"), "--json", "-", "--heads"})},
      {"chat", "--no-history", {}, {}, out, "", "Chat.HistoryIsKeptForItsOwnerAlone"},
      {"train", "RECIPE", {}, {}, out, "", "TorchIsTheOtherProgram, tests/train"},
      {"train", "--set", {}, {}, out, "", "TorchIsTheOtherProgram, tests/train"},
      {"sweep", "SWEEP", {}, {}, out, "", "TorchIsTheOtherProgram, tests/e2e"},
      {"sweep", "--table", {}, {}, out, "", "TorchIsTheOtherProgram, tests/e2e"}};
}

// On the golden cases; trace's file is what it gives.
std::vector<OptionRow> Options::golden_rows() const {
  const Path data = Path(REVENANT_SOURCE_DIR) / "tests/conformance/data";
  const std::string phantom = (data / "phantom-0.5b").string(),
                    trol = (data / "trol-3.8b").string();
  // A prompt that nothing says how to continue.
  const Safetensors golden(phantom + "/golden.safetensors");
  const TensorView ids = golden.tensors().at("text/input_ids");
  const NamedTensor tensors[] = {{"text/input_ids", ids}};
  write_safetensors(place_ / "ids.safetensors", tensors);
  const Words conformance = {"conformance", phantom}, trace = {"trace",
                                                               "-m",
                                                               phantom,
                                                               "--inputs",
                                                               at("ids.safetensors"),
                                                               "-o",
                                                               at("trace.safetensors")};
  const Words off = {"--config-set", "revenant.phantom=false"};
  const Shown file = [this](const Outcome& got) {
    const Path written = place_ / "trace.safetensors";
    return got.err + (std::filesystem::exists(written) ? read_file(written) : "");
  };
  const Shown all = [](const Outcome& got) { return got.out + got.err; };
  return {
      {"trace", "-m,--model", {}, {}, out, "", "OutputGoesThroughLinks"},
      {"trace", "--inputs", {}, {}, out, "", "OutputGoesThroughLinks"},
      {"trace", "-o,--output", {}, {}, out, "", "OutputGoesThroughLinks"},
      {"trace", "-n", trace, joined(trace, {"-n", "3"}), file},
      {"trace", "--config-set", trace, joined(trace, off), file},
      {"trace", "--backend", {}, {}, out, "", "TrainHasHelpWithoutTheOtherProgram"},
      {"conformance", "DIR", conformance, {"conformance", trol}},
      {"conformance", "--config-set", conformance, joined(conformance, off)},
      {"trace", "--device", trace, joined(trace, {"--device", "cuda"}), all},
      {"conformance", "--device", conformance, joined(conformance, {"--device", "cuda"}), all},
      {"conformance", "--backend", conformance, joined(conformance, {"--backend", "torch"}), all}};
}

// The directory that was written, and gone for the next one.
std::vector<OptionRow> Options::synth_rows() const {
  const Words words = {"synth",
                       "--config-set",
                       "llm_config.hidden_size=64",
                       "--config-set",
                       "llm_config.intermediate_size=64",
                       "--config-set",
                       "llm_config.num_attention_heads=4",
                       "--config-set",
                       "llm_config.num_key_value_heads=2",
                       "--config-set",
                       "vision_config.hidden_size=32",
                       "--config-set",
                       "vision_config.intermediate_size=32",
                       "--config-set",
                       "vision_config.num_hidden_layers=1",
                       "--config-set",
                       "vision_config.num_attention_heads=2",
                       "-o",
                       at("synth")};
  const Words one_layer = {"--config-set", "llm_config.num_hidden_layers=1"};
  const Words small = joined(words, joined(one_layer, {"--arch", "phantom-0.5b"}));
  const Shown directory = [this](const Outcome&) {
    std::string all;
    std::set<Path> files;
    for (const auto& entry : std::filesystem::directory_iterator(place_ / "synth"))
      files.insert(entry.path());
    for (const Path& file : files) all += file.filename().string() + read_file(file);
    std::filesystem::remove_all(place_ / "synth");
    return all;
  };
  const auto differs = [&](const std::string& option, const Words& more) {
    return OptionRow{"synth", option, small, joined(small, more), directory};
  };
  std::filesystem::create_directories(place_ / "tokenizer");
  run(small);
  for (const auto& entry : std::filesystem::directory_iterator(place_ / "synth"))
    if (!entry.path().string().ends_with(".safetensors"))
      std::filesystem::copy(entry.path(), place_ / "tokenizer");
  const Path added = place_ / "tokenizer" / "added_tokens.json";
  write_file(added, read_file(added) + "\n");
  std::filesystem::remove_all(place_ / "synth");
  const Words busy = joined(words, {"--arch", "phantom-0.5b"});
  EXPECT_EQ(threads_of(place_, joined(busy, {"-t", "1"}), ""), 1);
  std::filesystem::remove_all(place_ / "synth");
  EXPECT_EQ(threads_of(place_, joined(busy, {"-t", "3"}), ""), 3);
  std::filesystem::remove_all(place_ / "synth");
  return {{"synth", "-t,--threads", {}, {}, out, "", "the lines above"},
          {"synth", "-o,--output", {}, {}, out, "", "every row here: it is where they look"},
          {"synth", "--arch", small, joined(words, joined(one_layer, {"--arch", "phantom-1.8b"})),
           directory},
          differs("--dtype", {"--dtype", "f16"}),
          differs("-s,--seed", {"-s", "7"}),
          differs("--tokenizer", {"--tokenizer", at("tokenizer")}),
          differs("--config-set", {"--config-set", "llm_config.rope_theta=7"})};
}

// How long things take is no two times the same: the rows' names and numbers of threads are.
std::vector<OptionRow> Options::bench_rows() const {
  const Words least = {"bench", "-m", model_, "-p", "3", "-n", "2", "-r", "1", "-o", "json"};
  const Shown names = [](const Outcome& got) {
    std::string all;
    for (const json& row : json::parse(got.out))
      for (const char* key : {"test", "threads", "batch", "weights", "repetitions"})
        all += row[key].dump() + " ";
    return all;
  };
  const auto with = [&](const char* option, const Words& more) {
    return OptionRow{"bench", option, least, joined(least, more), names};
  };
  const auto elsewhere = [](const char* option) {
    return OptionRow{"bench", option, {}, {}, out, "", "run's row"};
  };
  return {with("-t,--threads", {"-t", "1,3"}),
          {"bench",
           "-p,--prompt",
           least,
           {"bench", "-m", model_, "-p", "3,4", "-n", "2", "-r", "1", "-o", "json"},
           names},
          {"bench",
           "-n,--predict",
           least,
           {"bench", "-m", model_, "-p", "3", "-n", "2,3", "-r", "1", "-o", "json"},
           names},
          {"bench",
           "-r,--repetitions",
           least,
           {"bench", "-m", model_, "-p", "3", "-n", "2", "-r", "2", "-o", "json"},
           names},
          {"bench",
           "-o,--output",
           least,
           {"bench", "-m", model_, "-p", "3", "-n", "2", "-r", "1", "-o", "csv"}},
          with("-d,--depth", {"-d", "16,40"}),
          with("-b,--batch", {"-b", "1,2"}),
          with("--no-tower", {"--no-tower"}),
          with("--weights", {"--weights", "q4_0"}),
          elsewhere("-m,--model"),
          elsewhere("--config-set"),
          elsewhere("--cache-type"),
          elsewhere("--cache-memory"),
          elsewhere("--traverse"),
          elsewhere("--passes"),
          elsewhere("--traverse-threshold")};
}

std::vector<OptionRow> Options::quantize_rows() const {
  const Words tail = {"--type", "Q8_0", "-o", at("m.gguf")};
  const Words words = joined({"quantize", model_}, tail);
  const Shown file = [this](const Outcome&) { return read_file(place_ / "m.gguf"); };
  return {
      {"quantize", "DIR", words, joined({"quantize", other_}, tail), file},
      {"quantize",
       "--type",
       words,
       {"quantize", model_, "--type", "Q4_0", "-o", at("m.gguf")},
       file},
      {"quantize", "-o,--output", {}, {}, out, "", "every row here: it is where they look"},
      {"quantize", "--config-set", words, joined(words, {"--config-set", "revenant.trol=false"}),
       file},
      {"quantize", "--portable", words, joined(words, {"--portable"}), file},
      {"quantize", "--imatrix", {}, {}, out, "", "QualityTest.AnImportanceMatrixWeighsTheErrors"},
      {"quantize", "--match", words, joined(words, {"--match", "blk.*"}), file},
      {"quantize", "--tower-blocks", words, joined(words, {"--tower-blocks"}), file},
      {"quantize", "-t,--threads", {}, {}, out, "", "QuantizeFile.IsTheSameForAnyNumberOfThreads"}};
}

std::vector<OptionRow> Options::imatrix_rows() const {
  write_rows("some.json", 0, 0);
  write_rows("others.json", 1, 1);
  const Words tail = {"--data", at("some.json"), "-o", at("m.imatrix")},
              words = joined({"imatrix", "-m", model_}, tail);
  const Shown file = [this](const Outcome&) { return read_file(place_ / "m.imatrix"); };
  const auto with = [&](const char* option, const Words& more) {
    return OptionRow{"imatrix", option, words, joined(words, more), file};
  };
  const auto as = [](const char* option, const char* where) {
    return OptionRow{"imatrix", option, {}, {}, out, "", where};
  };
  return {{"imatrix", "-m,--model", words, joined({"imatrix", "-m", other_}, tail), file},
          {"imatrix",
           "--data",
           words,
           {"imatrix", "-m", model_, "--data", at("others.json"), "-o", at("m.imatrix")},
           file},
          with("--limit", {"--limit", "1"}),
          with("--config-set", {"--config-set", "revenant.phantom=false"}),
          with("--traverse", {"--traverse", "off"}),
          with("--passes", {"--passes", "4"}),
          with("--traverse-threshold", {"--traverse-threshold", "1"}),
          with("--cache-type", {"--cache-type", "bf16"}),
          as("--weights", "QualityTest.ImportanceThatDoesNotFitIsNamed"),
          as("--cache-memory", "run's row"),
          as("--fields", "eval's row"),
          as("--exif", "eval's row"),
          as("--max-pixels", "eval's row"),
          as("-o,--output", "every row here: it is where they look"),
          as("-t,--threads", "eval's row")};
}

std::vector<OptionRow> Options::quality_rows() const {
  write_rows("some.json", 0, 0);
  write_rows("others.json", 1, 1);
  const Words tail = {"--data", at("some.json"), "--type", "q4_0", "-o", "json"},
              words = joined({"quality", "-m", model_}, tail);
  const auto with = [&](const char* option, const Words& more) {
    return OptionRow{"quality", option, words, joined(words, more)};
  };
  const auto as = [](const char* option, const char* where) {
    return OptionRow{"quality", option, {}, {}, out, "", where};
  };
  return {{"quality", "-m,--model", words, joined({"quality", "-m", other_}, tail)},
          {"quality",
           "--data",
           words,
           {"quality", "-m", model_, "--data", at("others.json"), "--type", "q4_0", "-o", "json"}},
          with("--limit", {"--limit", "1"}),
          with("--type", {"--type", "q8_0"}),
          with("--file", {"--file", model_}),
          with("--match", {"--match", "blk.*.ffn_down.weight"}),
          with("-n,--predict", {"-n", "3"}),
          {"quality",
           "-o,--output",
           words,
           {"quality", "-m", model_, "--data", at("some.json"), "--type", "q4_0", "-o", "csv"}},
          with("--config-set", {"--config-set", "revenant.phantom=false"}),
          with("--traverse", {"--traverse", "off"}),
          with("--passes", {"--passes", "4"}),
          with("--traverse-threshold", {"--traverse-threshold", "1"}),
          with("--cache-type", {"--cache-type", "bf16"}),
          with("--weights", {"--weights", "q8_0"}),
          as("--cache-memory", "run's row"),
          as("--fields", "eval's row"),
          as("--exif", "eval's row"),
          as("--max-pixels", "eval's row"),
          as("-t,--threads", "eval's row")};
}

// Rank 1 beside one matrix; `size` is of its numbers.
void write_adapter(const Path& place, const Path& base, float size) {
  const std::string matrix = "language_model.model.layers.0.self_attn.q_proj.weight";
  const std::vector<int64_t> shape = Checkpoint::open(base).tensor(matrix).shape;
  const std::vector<float> a(size_t(shape[1]), size), b(size_t(shape[0]), size);
  const auto bytes = [](const std::vector<float>& x) { return std::as_bytes(std::span(x)); };
  const NamedTensor tensors[] = {
      {adapter_key(matrix, "lora_A"), {DType::f32, {1, shape[1]}, bytes(a)}},
      {adapter_key(matrix, "lora_B"), {DType::f32, {shape[0], 1}, bytes(b)}}};
  std::filesystem::create_directories(place);
  write_safetensors(place / adapter_weights_name, tensors);
  write_file(place / adapter_config_name,
             adapter_config({1, 1, 0}, {matrix}, {}, base.string()).dump());
}

std::vector<OptionRow> Options::merge_rows() const {
  write_adapter(place_ / "small", model_, 0.1f);
  write_adapter(place_ / "large", model_, 1);
  const Words tail = {"-o", at("merged")}, words = joined({"merge", at("small")}, tail);
  const Shown weights = [this](const Outcome&) {
    const Path file = place_ / "merged/model.safetensors";
    const std::string bytes = std::filesystem::exists(file) ? read_file(file) : "";
    std::filesystem::remove_all(place_ / "merged");
    return bytes;
  };
  return {{"merge", "ADAPTER", words, joined({"merge", at("large")}, tail), weights},
          {"merge", "-m,--model", words, joined(words, {"-m", other_}), weights},
          {"merge", "-o,--output", {}, {}, out, "", "every row here: it is where they look"},
          {"merge", "--dtype", words, joined(words, {"--dtype", "f16"}), weights},
          {"merge", "-t,--threads", {}, {}, out, "", "Adapter.MergesIntoWhatIsAskedFor"}};
}

std::vector<OptionRow> Options::graft_rows() const {
  const std::string llama = write_plain_model(place_ / "llama", "llama", true).string(),
                    qwen2 = write_plain_model(place_ / "qwen2", "qwen2", true).string();
  const Words tail = {"--tower", model_, "-o", at("grafted")},
              words = joined({"graft", llama}, tail), phantom = joined(words, {"--phantom"});
  const Shown files = [this](const Outcome&) {
    std::string bytes;
    for (const char* name : {"config.json", "model.safetensors"})
      if (const Path file = place_ / "grafted" / name; std::filesystem::exists(file))
        bytes += read_file(file);
    std::filesystem::remove_all(place_ / "grafted");
    return bytes;
  };
  return {
      {"graft", "BACKBONE", words, joined({"graft", qwen2}, tail), files},
      {"graft", "--tower", words, {"graft", llama, "--tower", other_, "-o", at("grafted")}, files},
      {"graft", "-o,--output", {}, {}, out, "", "every row here: it is where they look"},
      {"graft", "--phantom", words, phantom, files},
      {"graft", "--trol", words, joined(words, {"--trol"}), files},
      {"graft", "--config-set", phantom,
       joined(phantom, {"--config-set", "revenant.phantom_eta=0.5"}), files},
      {"graft", "--dtype", words, joined(words, {"--dtype", "f16"}), files},
      {"graft", "-s,--seed", words, joined(words, {"-s", "7"}), files}};
}

std::vector<OptionRow> Options::perplexity_rows() const {
  std::string text;
  for (int i = 0; i < 900; ++i) text += "what is in picture " + std::to_string(i) + "\n";
  write_file(place_ / "long.txt", text);
  write_file(place_ / "text.txt", text.substr(0, 400));
  write_file(place_ / "text2.txt", text.substr(9, 400));
  const Words plain = {"perplexity", "-m", model_, at("text.txt"), "-c", "16"},
              words = joined(plain, {"--json"});
  const auto with = [&](const char* option, const Words& more) {
    return OptionRow{"perplexity", option, words, joined(words, more)};
  };
  return {
      {"perplexity", "-m,--model", plain, {"perplexity", "-m", other_, at("text.txt"), "-c", "16"}},
      {"perplexity", "FILE", plain, {"perplexity", "-m", model_, at("text2.txt"), "-c", "16"}},
      {"perplexity",
       "-c,--context",
       plain,
       {"perplexity", "-m", model_, at("text.txt"), "-c", "8"}},
      {"perplexity", "--json", plain, words},
      with("--config-set", {"--config-set", "revenant.phantom=false"}),
      with("--traverse", {"--traverse", "off"}),
      with("--passes", {"--passes", "4"}),
      with("--traverse-threshold", {"--traverse-threshold", "1"}),
      with("--weights", {"--weights", "q4_0"}),
      with("--cache-type", {"--cache-type", "bf16"}),
      {"perplexity", "--cache-memory", {}, {}, out, "", "run's row"},
      threads_row(place_, "perplexity", {"perplexity", "-m", model_, at("long.txt")}, "")};
}

void Options::check(const OptionRow& row) const {
  if (!row.elsewhere.empty()) return;
  const auto shown = [&](const Words& words) {
    const Outcome got = run(words, row.input);
    // The script that stands in brings no data; other settings miss the golden numbers.
    const bool may_fail = row.command == "data make" || row.command == "data check" ||
                          row.command == "conformance" || row.option == "--max-pixels" ||
                          row.option == "--cache-memory" || row.option == "--device";
    EXPECT_TRUE(got.code == 0 || may_fail) << testing::PrintToString(words) << got.err;
    return row.shown(got);
  };
  static std::map<Words, std::string> known;  // a checkpoint takes a while to write
  if (row.command == "synth" && !known.contains(row.words)) known[row.words] = shown(row.words);
  const std::string without = known.contains(row.words) ? known[row.words] : shown(row.words),
                    with = shown(row.set);
  // Large files are not to be printed.
  EXPECT_TRUE(with != without && !with.empty()) << row.command << " " << row.option;
}

// "  -n,--predict INT=512  most tokens" and "  IMAGE TEXT REQUIRED  JPEG" name an option.
std::vector<std::string> options_in(const std::string& help) {
  std::vector<std::string> names;
  std::istringstream lines(help);
  const std::regex option("^  (-[-a-zA-Z,]*|[A-Z]+)( .*)?$");
  bool commands = false;
  std::smatch match;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(' '))
      commands = line.starts_with("Subcommands:") || line.starts_with("Lines:");
    if (!commands && std::regex_match(line, match, option) && match[1] != "-h,--help")
      names.push_back(match[1]);
  }
  return names;
}

std::vector<std::string> commands_in(const std::string& help) {
  std::vector<std::string> names;
  const size_t begin = help.find("Subcommands:\n");
  if (begin == help.npos) return names;
  std::istringstream lines(help.substr(begin + 13));
  for (std::string line; std::getline(lines, line) && line.starts_with("  ");)
    if (line[2] != ' ') names.push_back(line.substr(2, line.find(' ', 2) - 2));
  return names;
}

// A server does not end by itself: tests/serve/options.py sets them all and asks it.
std::vector<OptionRow> Options::serve_rows() const {
  std::vector<OptionRow> rows;
  for (const char* option : {"-m,--model",
                             "-t,--threads",
                             "--config-set",
                             "--cache-type",
                             "--cache-memory",
                             "--weights",
                             "--traverse",
                             "--passes",
                             "--traverse-threshold",
                             "--host",
                             "--port",
                             "--ssl-cert-file",
                             "--ssl-key-file",
                             "--model-memory",
                             "--alias",
                             "--api-key",
                             "--api-key-file",
                             "--cors-origin",
                             "-n,--predict",
                             "-c,--ctx-size",
                             "--temp",
                             "--top-k",
                             "--top-p",
                             "--min-p",
                             "--repeat-penalty",
                             "--parallel",
                             "--queue",
                             "--queue-each",
                             "--max-body",
                             "--max-images",
                             "--max-pixels",
                             "--image-memory",
                             "--cache-dir",
                             "--cache-dir-size",
                             "--max-connections",
                             "--drain",
                             "--abstain",
                             "--allow-media-domain",
                             "--media-path"})
    rows.push_back({"serve", option, {}, {}, out, "", "tests/serve/options.py"});
  return rows;
}

// These want a server, too.
std::vector<OptionRow> Options::remote_rows() const {
  std::vector<OptionRow> rows;
  for (const char* command : {"chat", "bench"})
    for (const char* option :
         {"--server", "--api-key-env", "--api-key-file", "--body", "--timeout"})
      rows.push_back({command, option, {}, {}, out, "", "tests/cli/server_test.cc"});
  for (const char* option : {"--clients", "--image", "--json"})
    rows.push_back({"bench", option, {}, {}, out, "", "tests/cli/server_test.cc"});
  return rows;
}

// It wants a server: tests/triples/program_test.cc sets them all.
std::vector<OptionRow> Options::triples_rows() const {
  std::vector<OptionRow> rows;
  for (const char* option : {"FILE",
                             "-o,--output",
                             "--server",
                             "--model",
                             "--api-key-env",
                             "--api-key-file",
                             "--body",
                             "--judge-server",
                             "--judge-model",
                             "--judge-api-key-env",
                             "--judge-api-key-file",
                             "--judge-body",
                             "--fields",
                             "--limit",
                             "--pictures",
                             "--tries",
                             "--length",
                             "--review",
                             "--parallel",
                             "--rate",
                             "--timeout",
                             "--retries",
                             "--json"})
    rows.push_back({"triples", option, {}, {}, out, "", "tests/triples/program_test.cc"});
  return rows;
}

TEST_F(Options, EveryOptionHasARow) {
  std::set<std::string> rows;
  const auto add = [&](const std::vector<OptionRow>& more) {
    for (const OptionRow& row : more) rows.insert(row.command + " " + row.option);
  };
  for (const char* command : {"run", "ask", "chat", "view"}) add(speak_rows(command));
  add(eval_rows());
  add(calibrate_rows());
  add(check_rows());
  add(other_rows());
  add(golden_rows());
  add(synth_rows());
  add(quantize_rows());
  add(imatrix_rows());
  add(quality_rows());
  add(merge_rows());
  add(graft_rows());
  add(perplexity_rows());
  add(bench_rows());
  add(serve_rows());
  add(triples_rows());
  add(remote_rows());
  std::set<std::string> found;
  std::vector<std::string> commands = commands_in(run({"--help"}).out);
  EXPECT_GE(commands.size(), 12u);
  for (size_t i = 0; i < commands.size(); ++i) {
    std::istringstream names(commands[i]);
    Words words{std::istream_iterator<std::string>(names), {}};
    words.push_back("--help");
    const std::string help = run(words).out;
    for (const std::string& inner : commands_in(help))
      commands.push_back(commands[i] + " " + inner);
    for (const std::string& option : options_in(help)) found.insert(commands[i] + " " + option);
  }
  for (const std::string& option : found)
    EXPECT_TRUE(rows.contains(option)) << option << ": no row";
  for (const std::string& row : rows)
    EXPECT_TRUE(found.contains(row) || row.starts_with("train ") || row.starts_with("sweep "))
        << row << ": no such option";
}

TEST_F(Options, OfQuantizeArrive) {
  for (const OptionRow& row : quantize_rows()) check(row);
}
TEST_F(Options, OfImatrixArrive) {
  for (const OptionRow& row : imatrix_rows()) check(row);
}
TEST_F(Options, OfQualityArrive) {
  for (const OptionRow& row : quality_rows()) check(row);
}
TEST_F(Options, OfMergeArrive) {
  for (const OptionRow& row : merge_rows()) check(row);
}
TEST_F(Options, OfGraftArrive) {
  for (const OptionRow& row : graft_rows()) check(row);
}
TEST_F(Options, OfPerplexityArrive) {
  for (const OptionRow& row : perplexity_rows()) check(row);
}
TEST_F(Options, OfBenchArrive) {
  for (const OptionRow& row : bench_rows()) check(row);
}
TEST_F(Options, OfRunArrive) {
  for (const OptionRow& row : speak_rows("run")) check(row);
}
TEST_F(Options, OfAskArrive) {
  for (const OptionRow& row : speak_rows("ask")) check(row);
}
TEST_F(Options, OfChatArrive) {
  for (const OptionRow& row : speak_rows("chat")) check(row);
}
TEST_F(Options, OfViewArrive) {
  for (const OptionRow& row : speak_rows("view")) check(row);
}
TEST_F(Options, OfDataCheckArrive) {
  for (const OptionRow& row : check_rows()) check(row);
}

TEST_F(Options, OfEvalArrive) {
  for (const OptionRow& row : eval_rows()) check(row);
}
TEST_F(Options, OfCalibrateArrive) {
  for (const OptionRow& row : calibrate_rows()) check(row);
}
TEST_F(Options, OfTraceAndConformanceArrive) {
  for (const OptionRow& row : golden_rows()) check(row);
}
TEST_F(Options, OfSynthArrive) {
  for (const OptionRow& row : synth_rows()) check(row);
}
TEST_F(Options, OfTheOthersArrive) {
  for (const OptionRow& row : other_rows()) check(row);
}

// -c counts prompt and answer.
TEST_F(Options, ContextBoundsTheAnswerToTheToken) {
  const Words ask = {"run", "-m", model_, "-p", "what?", "-n", "50", "-v"};
  const Outcome whole = run(ask);
  const int prompt = std::stoi(told("prompt: [0-9]+")(whole).substr(8));
  const Outcome cut = run(joined(ask, {"-c", std::to_string(prompt + 3)}));
  EXPECT_EQ(told("answer: [0-9]+")(cut), "answer: 3") << cut.err;
}

// Two pictures of a prompt stand in the order in which they are named.
TEST_F(Options, PicturesKeepTheirOrder) {
  const auto answer = [&](const char* a, const char* b) {
    return run({"run", "-m", model_, "-n", "24", "-p", "what?", "--image", at(a), "--image", at(b)})
        .out;
  };
  const std::string ab = run({"view", "-m", model_, "-n", "24", "-p", "what?", "--image",
                              at("0.png"), "--image", at("1.png"), "-o", at("view.html")})
                             .out;  // encoded at once, not one by one
  EXPECT_EQ(answer("0.png", "1.png"), ab);
  EXPECT_NE(answer("0.png", "1.png"), answer("1.png", "0.png"));
  EXPECT_NE(answer("0.png", "1.png"), answer("1.png", "1.png"));
  EXPECT_NE(answer("0.png", "1.png"), answer("0.png", "0.png"));
}

// A model that does not stop within -n has no answer that counts as one.
TEST_F(Options, EvalCountsAnswersThatDidNotEnd) {
  write_rows("own.json", 0, 0);
  const auto unparsed = [&](const Words& more) {
    const Outcome got =
        run(joined({"eval", "-m", model_, "--data", at("own.json"), "--json", "-"}, more));
    return json::parse(got.out)["groups"][0]["unparsed"].get<int>();
  };
  EXPECT_EQ(unparsed({"-n", "1"}), 3);
  const json ids = json::parse(run({"view", "-m", model_, "-p", "what?", "-o", at("v.html"), "-n",
                                    "2", "--image", at("0.png"), "--json", "-"})
                                   .out);
  const int second = ids["ids"][ids["prompt_tokens"].get<size_t>() + 1];
  json config = json::parse(read_file(Path(model_) / "config.json"));
  config["eos_token_id"] = second;
  write_file(Path(model_) / "config.json", config.dump());
  EXPECT_LT(unparsed({"-n", "12"}), 3);
}

TEST_F(Options, EvalTakesMajoritiesFromTheTrainingRows) {
  write_rows("own.json", 0, 0);
  write_rows("more.json", 0, 4);
  const auto majority = [&](const Words& more) {
    const Outcome got =
        run(joined({"eval", "-m", model_, "--data", at("own.json"), "--json", "-"}, more));
    return json::parse(got.out)["groups"][0]["majority"].get<double>();
  };
  EXPECT_GT(majority({}), 0.0);
  EXPECT_EQ(majority({"--train", at("more.json")}), 0.0);  // "something else" is no answer of own
}

// REPORT.json says with which seed and limit a set was made.
TEST_F(Options, ACompleteSetIsOneOfTheSameSeedAndLimit) {
  write_file(place_ / "fetch.sh", "#!/bin/sh\nexit 7\n");
  std::filesystem::permissions(place_ / "fetch.sh", std::filesystem::perms::owner_all);
  std::filesystem::create_directories(place_ / "sets" / "flags");
  int version = 0;
  const auto complete = [&](const Words& more, int seed, int limit) {
    write_file(place_ / "sets" / "flags" / "REPORT.json",
               json({{"version", version}, {"seed", seed}, {"limit", limit}}).dump());
    const Words words = {"data",     "make",           "flags",       "-o",
                         at("sets"), "--fetch-script", at("fetch.sh")};
    return run(joined(words, more)).err.find("complete already") != std::string::npos;
  };
  while (version < 1000 && !complete({}, 1, 0)) ++version;
  EXPECT_TRUE(complete({}, 1, 0));
  EXPECT_TRUE(complete({"--seed", "7"}, 7, 0));
  EXPECT_TRUE(complete({"--limit", "5"}, 1, 5));
  EXPECT_FALSE(complete({"--seed", "7"}, 1, 0));
  EXPECT_FALSE(complete({"--limit", "5"}, 1, 0));
}

// The script is that of the tree in which the program was built, or the one that is named.
TEST_F(Options, ScriptsOfTheWorkingDirectoryAreNotRun) {
  const Path tree = place_ / "tree", program = tree / "build" / "x" / "bin" / "revenant";
  const auto script = [](const Path& file, const std::string& name) {
    std::filesystem::create_directories(file.parent_path());
    write_file(file, "#!/bin/sh\necho this is " + name + "\nexit 7\n");
    std::filesystem::permissions(file, std::filesystem::perms::owner_all);
  };
  std::filesystem::create_directories(program.parent_path());
  std::filesystem::copy(Path(REVENANT_BIN_DIR) / "revenant", program);
  script(place_ / "foreign" / "tools" / "fetch_data.sh", "foreign");
  script(place_ / "named.sh", "named");
  const auto make = [&](const Words& more) {
    const Words words = joined({"-c", "cd \"$0\" && exec \"$@\"", (place_ / "foreign").string(),
                                program.string(), "data", "make", "flags"},
                               more);
    return run_program(place_, words, "", "/bin/sh").err;
  };
  EXPECT_EQ(make({}).find("this is"), std::string::npos);
  script(tree / "tools" / "fetch_data.sh", "its own");
  EXPECT_NE(make({}).find("this is its own"), std::string::npos);
  EXPECT_NE(make({"--fetch-script", at("named.sh")}).find("this is named"), std::string::npos);
}

}  // namespace
}  // namespace revenant
