// The program from outside: exit codes, what goes to stdout and what to stderr, memory.
#include <gtest/gtest.h>

#include <csignal>
#include <thread>

#include "cli/fixture.h"

namespace revenant {
namespace {

TEST_F(Cli, RunAnswersOnStdoutOnly) {
  const Words ask = {"run", "-m", model_, "--image", picture_, "-n", "40", "-t", "2"};
  Words with_prompt = ask, verbose = ask;
  with_prompt.insert(with_prompt.end(), {"-p", "what is this?"});
  verbose.insert(verbose.end(), {"-v", "-p", "what is this?"});
  const Outcome got = run(with_prompt), piped = run(ask, "what is this?\n"), told = run(verbose);
  EXPECT_EQ(got.code, 0) << got.err;
  EXPECT_EQ(got.err, "");
  EXPECT_GT(got.out.size(), 2u);
  EXPECT_TRUE(got.out.ends_with('\n'));
  EXPECT_TRUE(is_utf8(got.out));
  EXPECT_EQ(piped.out, got.out);
  EXPECT_EQ(told.out, got.out);
  for (const char* part : {"loading: ", "tower: ", "rows/s", "prompt: ", "answer: ", "tokens/s"})
    EXPECT_NE(told.err.find(part), std::string::npos) << told.err;
}

TEST_F(Cli, BeamsAndTraversal) {
  const Words ask = {"run", "-m", model_, "-p", "what?", "-n", "6"};
  Words beams = ask, greedy = ask, all = ask, passes = ask, threshold = ask;
  beams.insert(beams.end(), {"--beams", "3", "--temp", "0"});
  greedy.insert(greedy.end(), {"--beams", "1"});
  const Outcome searched = run(beams);
  EXPECT_EQ(searched.code, 0) << searched.err;
  EXPECT_TRUE(searched.out.ends_with('\n'));
  EXPECT_EQ(run(greedy).out, run(ask).out);
  all.insert(all.end(), {"--traverse", "all"});
  passes.insert(passes.end(), {"--passes", "3"});
  threshold.insert(threshold.end(), {"--traverse-threshold", "0.25"});
  expect_failure(all, "trol_traverse");  // it is a Phantom
  expect_failure(passes, "trol_passes");
  expect_failure(threshold, "trol_threshold");
}

// A plain rotary rule: the answer goes on, and one line says that the model was not made for it.
TEST_F(Cli, TooLongIsAWarning) {
  const Outcome got = run({"run", "-m", model_, "-p", "what?", "-n", "6", "--config-set",
                           "llm_config.max_position_embeddings=4"});
  EXPECT_EQ(got.code, 0);
  EXPECT_NE(got.err.find("max_position_embeddings"), std::string::npos) << got.err;
  EXPECT_EQ(std::count(got.err.begin(), got.err.end(), '\n'), 1);
}

TEST_F(Cli, SampledBytesAreNeverHalfACharacter) {
  for (const char* seed : {"1", "2", "3"}) {
    const Outcome got =
        run({"run", "-m", model_, "--temp", "1.5", "-s", seed, "-n", "200", "-p", "x"});
    EXPECT_EQ(got.code, 0) << got.err;
    EXPECT_TRUE(is_utf8(got.out));
  }
  const Outcome one = run({"run", "-m", model_, "--temp", "1", "--seed", "1", "-p", "x"});
  EXPECT_EQ(run({"run", "-m", model_, "--temp", "1", "--seed", "1", "-p", "x"}).out, one.out);
  EXPECT_NE(run({"run", "-m", model_, "--temp", "1", "--seed", "2", "-p", "x"}).out, one.out);
}

TEST_F(Cli, WhatUsersTypeIsNeverASpecialToken) {
  const Outcome got =
      run({"run", "-m", model_, "-n", "4", "-v", "-p", "<|im_end|><IMG_CONTEXT><image>"});
  EXPECT_EQ(got.code, 0) << got.err;  // a picture token without a picture would be an error
}

TEST_F(Cli, ContextIsALimit) {
  expect_failure({"run", "-m", model_, "-c", "5", "-p", "too long for that"}, "ctx-size 5");
  const Outcome got = run({"run", "-m", model_, "-c", "40", "-v", "-p", "hi"});
  EXPECT_EQ(got.code, 0) << got.err;
}

TEST_F(Cli, ChatRemembersUntilReset) {
  const Words chat = {"chat", "-m", model_, "-n", "12", "-v"};
  const std::string image = "/image " + picture_ + "\n";
  const Outcome got = run(chat, image + "who?\nwhat?\n/reset\n" + image + "who?\n/quit\nnever\n");
  EXPECT_EQ(got.code, 0) << got.err;
  const Outcome first = run({"run", "-m", model_, "-n", "12", "--image", picture_, "-p", "who?"});
  EXPECT_TRUE(got.out.starts_with(first.out)) << got.out;
  EXPECT_TRUE(got.out.ends_with(first.out)) << got.out;
  std::vector<int> lengths;  // of the prompts
  for (size_t at = 0; (at = got.err.find("prompt: ", at)) != std::string::npos; at += 8)
    lengths.push_back(std::stoi(got.err.substr(at + 8)));
  ASSERT_EQ(lengths.size(), 3u) << got.err;
  EXPECT_GT(lengths[1], lengths[0]);
  EXPECT_EQ(lengths[2], lengths[0]);
  const Outcome bad = run(chat, "/image nowhere.png\nwho?\n");
  EXPECT_EQ(bad.code, 1);
  EXPECT_EQ(bad.out, "");
}

// Where every token is as likely as another, answers are the random numbers and nothing else.
TEST_F(Cli, EveryTurnOfAChatDrawsNumbersOfItsOwn) {
  const Path flat = place_ / "flat";
  write_random_phantom(flat, 3, [](const TensorSpec& spec, std::vector<float>& values) {
    if (spec.role == Role::embedding) std::fill(values.begin(), values.end(), 0.0f);
  });
  const auto said = [&](const std::string& lines) {
    return run({"chat", "-m", flat.string(), "-n", "12", "--temp", "1", "-s", "6"}, lines).out;
  };
  const std::string once = said("a\n"), twice = said("a\na\n");
  ASSERT_GT(once.size(), 5u);
  EXPECT_TRUE(twice.starts_with(once));
  EXPECT_NE(twice, once + once);
  EXPECT_EQ(said("a\n/reset\na\n"), once + once);
}

TEST_F(Cli, InspectNeedsNoTokenizer) {
  std::filesystem::remove(place_ / "model" / "tokenizer.json");
  const Outcome text = run({"inspect", "-m", model_}),
                got = run({"inspect", "-m", model_, "--json"});
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_NE(text.out.find("phantom"), std::string::npos);
  ASSERT_EQ(got.code, 0) << got.err;
  const json report = json::parse(got.out);
  EXPECT_EQ(report["mechanisms"]["phantom"]["eta"], 1e-4);
  EXPECT_EQ(report["config"]["layers"], 2);
  EXPECT_EQ(report["dtypes"]["F32"]["bytes"].get<int64_t>(),
            4 * report["parameters"]["total"].get<int64_t>());
  // keys, values and their ghosts; one kv head of 16 in 2 layers
  EXPECT_EQ(report["memory"]["cache_per_1000_tokens"], 1000 * 4 * 2 * 16 * 4);
}

TEST_F(Cli, RowsThatAreWrongEndWithOne) {
  const std::string rows = (place_ / "wrong.jsonl").string();
  write_file(rows, R"({"image": "none.png", "question": "what?", "answer": "x"})"
                   "\n");
  const Outcome got = run({"data", "check", rows});
  EXPECT_EQ(got.code, 1) << got.err;
  EXPECT_NE(got.out.find("none.png"), std::string::npos) << got.out;
}

// Whatever takes a model directory takes the file that was made of it.
TEST_F(Cli, OneFileIsAModel) {
  const std::string file = (place_ / "m.gguf").string();
  ASSERT_EQ(run({"quantize", model_, "--type", "F32", "-o", file}).code, 0);
  write_file(place_ / "rows.jsonl",
             R"({"image": "picture.png", "question": "what is in this picture", "answer": "x"})"
             "\n");
  const std::string rows = (place_ / "rows.jsonl").string(), text = (place_ / "text").string();
  write_file(text, "what is in this picture? what is it, what is it not, and what is in it?");
  for (const Words& words : {Words{"run", "-p", "what?", "-n", "6", "--image", picture_},
                             Words{"ask", "--questions", "-", "-n", "6"}, Words{"tokenize"},
                             Words{"chat", "-n", "6"}, Words{"eval", "--data", rows, "-n", "4"},
                             Words{"data", "check", rows}, Words{"perplexity", "-c", "8", text}}) {
    Words with = words, without = words;
    with.insert(with.end(), {"-m", file});
    without.insert(without.end(), {"-m", model_});
    const Outcome expected = run(without, "what is it\n"), found = run(with, "what is it\n");
    EXPECT_EQ(found.code, 0) << words[0] << found.err;
    EXPECT_EQ(found.out, expected.out) << words[0];
    EXPECT_GT(found.out.size(), 0u) << words[0];
  }
  const std::string page = (place_ / "view.html").string();
  EXPECT_EQ(
      run({"view", "-m", file, "--image", picture_, "-p", "what?", "-n", "2", "-o", page}).code, 0);
  EXPECT_NE(read_file(page).find("what?"), std::string::npos);
  ASSERT_EQ(run({"quantize", model_, "--type", "Q8_0", "-o", file}).code, 0);
  const Outcome bench =
      run({"bench", "-m", file, "-p", "3", "-n", "1", "-r", "1", "-o", "json", "--no-tower"});
  ASSERT_EQ(bench.code, 0) << bench.err;
  EXPECT_EQ(json::parse(bench.out).at(0)["weights"], "Q8_0");
  const Outcome got = run({"inspect", "-m", file, "--json"});
  ASSERT_EQ(got.code, 0) << got.err;
  const json report = json::parse(got.out);
  EXPECT_EQ(report["layout"], "panels-1");
  EXPECT_EQ(report["config"]["architecture"], "phantom");
  // Rows of 16 are no blocks of 32: they fell back.
  EXPECT_GT(report["dtypes"]["Q8_0"]["tensors"], 10);
  EXPECT_GT(report["dtypes"]["F16"]["tensors"], 3);
  EXPECT_EQ(report["files"][0]["name"], "m.gguf");
  EXPECT_EQ(run({"run", "-m", file, "-p", "what?", "-n", "6"}).code, 0);
  expect_failure({"run", "-m", file, "-p", "what?", "--weights", "Q4_0"}, "to quantise");
  expect_failure({"run", "-m", rows, "-p", "what?"}, "a model directory or a GGUF file");
}

TEST_F(Cli, AMechanismIsSwitchedOffOverACheckpointThatHasItAndNotOnOverOneThatHasNot) {
  const std::string nano = (Path(REVENANT_SOURCE_DIR) / "models/phantom-nano").string();
  const auto inspected = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words = {"inspect", "-m", nano, "--json"};
    words.insert(words.end(), more.begin(), more.end());
    const Outcome got = run(words);
    EXPECT_EQ(got.code, 0) << got.err;
    return json::parse(got.out);
  };
  const json on = inspected({}), off = inspected({"--config-set", "revenant.phantom=false"});
  EXPECT_TRUE(on["unused"].empty());
  EXPECT_NE(off["unused"].dump().find("gating_phantom_1"), std::string::npos);
  EXPECT_EQ(on["parameters"]["total"], off["parameters"]["total"]);
  EXPECT_EQ(run({"run", "-m", nano, "-p", "Hi", "--config-set", "revenant.phantom=false"}).code, 0);
  const Outcome missing =
      run({"run", "-m", nano, "-p", "Hi", "--config-set", "revenant.trol=true"});
  EXPECT_EQ(missing.code, 1);
  EXPECT_NE(missing.err.find("trol_gating"), std::string::npos) << missing.err;
}

TEST_F(Cli, BenchMeasuresEachPart) {
  const std::string nano = (Path(REVENANT_SOURCE_DIR) / "models/phantom-nano").string();
  const Outcome got =
      run({"bench", "-m", nano, "-p", "3", "-n", "1,2", "-d", "16,40", "-r", "1", "-o", "json"});
  ASSERT_EQ(got.code, 0) << got.err;
  std::vector<std::string> tests, limited;
  std::map<std::string, double> seconds;
  for (const json& row : json::parse(got.out)) {
    tests.push_back(row["test"]);
    EXPECT_GT(row["median"].get<double>(), 0) << row;
    seconds[row["test"]] = row["seconds"];
    if (row["fraction_of_limit"].is_null()) continue;
    limited.push_back(row["test"]);
    EXPECT_GT(row["fraction_of_limit"].get<double>(), 0) << row;
  }
  EXPECT_EQ(tests,
            (std::vector<std::string>{"load", "pp3", "pp3@d40", "tg1", "tg1@d40", "tg2", "tg2@d40",
                                      "sample", "tower", "ttft", "question1", "question2"}));
  EXPECT_EQ(limited, (std::vector<std::string>{"pp3", "pp3@d40", "tg1", "tg1@d40", "tg2", "tg2@d40",
                                               "tower"}));
  EXPECT_EQ(seconds["ttft"], seconds["question1"]);
  EXPECT_LT(seconds["ttft"], seconds["question2"]);
}

// The rule of TroL-1.8B and 7B gives the tokenizer a token that its files lack.
TEST_F(Cli, ATokenizerWithoutThePictureTokenIsGivenOne) {
  json config = json::parse(read_file(place_ / "model" / "config.json"));
  config["model_type"] = "trol";
  config["llm_config"]["model_type"] = "internlm2";
  config["eos_token_id"] = 259;
  config.erase("image_token_index");
  const Path trol = place_ / "trol";
  std::filesystem::create_directories(trol);
  write_random_checkpoint(trol, config, 5);
  const Words texts = {"what is in this picture"};
  const Words specials = {"[UNUSED_TOKEN_145]", "[UNUSED_TOKEN_146]", "<s>", "</s>"};
  write_file(trol / "tokenizer.json", train_byte_bpe(texts, 260, specials));
  for (const Words& command : {Words{"bench", "-p", "3", "-n", "1", "-r", "1", "-o", "csv"},
                               Words{"run", "--image", picture_, "-p", "?", "-n", "2"}}) {
    Words all = command;
    all.insert(all.end(), {"-m", trol.string()});
    const Outcome got = run(all);
    EXPECT_EQ(got.code, 0) << command[0] << ": " << got.err;
    EXPECT_NE(got.out, "") << command[0];
  }
}

TEST_F(Cli, SixteenBitWeightsHaveASixteenBitCache) {
  const std::string nano = (Path(REVENANT_SOURCE_DIR) / "models/phantom-nano").string();
  const Outcome got = run({"inspect", "-m", nano, "--json"});
  ASSERT_EQ(got.code, 0) << got.err;
  const json memory = json::parse(got.out)["memory"];
  EXPECT_EQ(memory["cache_per_1000_tokens"], 1000 * 4 * 4 * 3 * 32 * 2);
  EXPECT_EQ(memory["cache_type"], "f16");
  EXPECT_EQ(memory["cache_type_of_value_ghosts"], "f16");  // eta 1
  const auto says = [&](const std::string& type) {
    return run({"run", "-m", nano, "-p", "Hello", "--cache-type", type, "-n", "3"});
  };
  for (const char* type : {"f32", "f16", "bf16", "q8_0"}) EXPECT_EQ(says(type).code, 0) << type;
  EXPECT_EQ(says("f64").code, 2);
}

TEST_F(Cli, TokenizeBothWays) {
  const std::string text = R"("what is <|im_end|> \u00e4")";
  const Outcome plain = run({"tokenize", "-m", model_, "--json"}, text + "\n\"\"\n");
  ASSERT_EQ(plain.code, 0) << plain.err;
  const json ids = json::parse(plain.out.substr(0, plain.out.find('\n')));
  EXPECT_EQ(plain.out.substr(plain.out.find('\n')), "\n[]\n");
  EXPECT_FALSE(plain.out.find("257") != std::string::npos);
  const Outcome special = run({"tokenize", "-m", model_, "--json", "--special"}, text + "\n");
  EXPECT_NE(special.out.find("257"), std::string::npos) << special.out;
  const Outcome back = run({"tokenize", "-m", model_, "--json", "--decode"}, ids.dump() + "\n");
  EXPECT_EQ(json::parse(back.out), json::parse(text)) << back.out;
  const Outcome shown = run({"tokenize", "-m", model_, "--decode", "--special"}, "104 105 257\n");
  EXPECT_NE(shown.out.find("<|im_end|>\n"), std::string::npos) << shown.out;
  expect_failure({"tokenize", "-m", model_, "--json"}, "line 1 of the input");
  expect_failure({"tokenize", "-m", model_, "--decode"}, "line 1 of the input");
}

TEST_F(Cli, TilesShowTheGrid) {
  const std::string sheet = (place_ / "sheet.png").string();
  const Outcome got = run({"tiles", picture_, "-o", sheet, "--tile", "56"});
  EXPECT_EQ(got.code, 0) << got.err;
  EXPECT_EQ(got.out, "120 x 60 pixels: 2 columns x 1 rows and a thumbnail, 3 tiles of 56 pixels\n");
  EXPECT_GT(read_image(sheet).width, 112);
  EXPECT_EQ(run({"tiles", picture_, "-m", model_}).out, got.out);
}

TEST_F(Cli, EvalCountsRows) {
  const std::string file = (place_ / "rows.json").string();
  json rows = json::array();
  for (int i = 0; i < 3; ++i)
    rows.push_back({{"id", std::to_string(i)},
                    {"image", "picture.png"},
                    {"task", "what"},
                    {"conversations",
                     {{{"from", "human"}, {"value", "<image>\nwhat?"}},
                      {{"from", "gpt"}, {"value", "a thing"}}}}});
  write_file(file, rows.dump());
  const Outcome table = run({"eval", "-m", model_, "--data", file, "--limit", "2"});
  EXPECT_EQ(table.code, 0) << table.err;
  EXPECT_TRUE(table.out.starts_with("source")) << table.out;
  EXPECT_NE(table.err.find("no --train"), std::string::npos) << table.err;
  const Outcome got = run({"eval", "-m", model_, "--data", file, "--blank", "--json", "-"});
  ASSERT_EQ(got.code, 0) << got.err;
  const json report = json::parse(got.out);
  EXPECT_EQ(report["pictures"], "blank");
  EXPECT_EQ(report["groups"][0]["rows"], 3);
  EXPECT_EQ(report["groups"][0]["majority"], 1.0);
  expect_failure({"eval", "-m", model_, "--data", (place_ / "none.json").string()}, "none.json");
  const Outcome kept = run({"eval", "-m", model_, "--data", file, "--json", "/none/report.json"});
  EXPECT_EQ(kept.code, 1);
  EXPECT_TRUE(kept.out.starts_with("source")) << kept.out;  // what was computed is not lost
  EXPECT_NE(kept.err.find("/none/report.json"), std::string::npos) << kept.err;
}

TEST_F(Cli, WrongUsageIsTwo) {
  const std::vector<Words> wrong = {{},
                                    {"nonsense"},
                                    {"run"},
                                    {"run", "-m", model_, "--no-such-option"},
                                    {"run", "-m", model_, "-p", "x", "-n", "zero"},
                                    {"run", "-m", model_, "-p", "x", "--temp", "-1"},
                                    {"run", "-m", model_, "-p", "x", "--top-p", "2"},
                                    {"run", "-m", model_, "-p", "x", "--beams", "3", "--temp", "1"},
                                    {"chat", "-m", model_, "--temp", "1", "--beams", "3"},
                                    {"run", "-m", model_, "-p", "x", "--traverse", "some"},
                                    {"run", "-m", model_, "-p", "x", "--passes", "5"},
                                    {"run", "-m", model_, "-p", "x", "-n", "0"},
                                    {"run", "-m", model_, "-p", "x", "--seed", "-1"},
                                    {"run", "-m", model_, "-p", "x", "--cache-type", "0"},
                                    {"view", "-m", model_, "-p", "x", "--beams", "2"},
                                    {"tiles", picture_, "-o", ""},
                                    {"run", "-m", "", "-p", "x"},
                                    {"view", "-m", model_, "-p", "x", "-o", ""},
                                    {"eval", "-m", model_, "--data", "x", "--json", ""},
                                    {"tiles"},
                                    {"tiles", picture_, "-m", model_, "--tile", "56"},
                                    {"data"},
                                    {"data", "make", "no-such-set"},
                                    {"data", "check"},
                                    {"data", "check", "x", "--max-length", "9"},
                                    {"data", "check", "x", "--fields", "question"},
                                    {"eval", "-m", model_}};
  for (const Words& words : wrong) {
    const Outcome got = run(words);
    EXPECT_EQ(got.code, 2) << testing::PrintToString(words) << got.err;
    EXPECT_EQ(got.out, "") << testing::PrintToString(words);
    EXPECT_NE(got.err, "") << testing::PrintToString(words);
  }
}

TEST_F(Cli, HelpHasAnExampleOfEachCommand) {
  EXPECT_TRUE(run({"--version"}).out.starts_with("revenant "));
  const std::vector<Words> commands = {{},        {"run"},          {"chat"},
                                       {"eval"},  {"inspect"},      {"tokenize"},
                                       {"tiles"}, {"data", "make"}, {"data", "check"}};
  for (Words words : commands) {
    words.push_back("--help");
    const Outcome got = run(words);
    EXPECT_EQ(got.code, 0) << words[0];
    EXPECT_NE(got.out.find("Example: "), std::string::npos) << words[0];
  }
}

TEST_F(Cli, SignalsGiveTheirCodes) {
  for (const int number : {SIGINT, SIGTERM}) {
    std::filesystem::remove(place_ / "out");
    int pipe[2];
    ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);  // stdin that never ends
    const std::string program = (Path(REVENANT_BIN_DIR) / "revenant").string();
    const std::string out = (place_ / "out").string();
    const pid_t child = ::fork();
    if (child == 0) {
      ::dup2(pipe[0], STDIN_FILENO);
      ::dup2(::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), STDOUT_FILENO);
      ::execl(program.c_str(), program.c_str(), "tokenize", "-m", model_.c_str(), nullptr);
      ::_exit(127);
    }
    ASSERT_EQ(::write(pipe[1], "a\n", 2), 2);
    for (int i = 0; i < 3000 && (!std::filesystem::exists(out) || read_file(out).empty()); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));  // it answers: it is running
    ::kill(child, number);
    int status = 0;
    ::waitpid(child, &status, 0);
    ::close(pipe[0]);
    ::close(pipe[1]);
    EXPECT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 128 + number);
  }
}

TEST_F(Cli, AnInterruptedSynthLeavesNothing) {
  const Path out = place_ / "deep" / "synth";
  const pid_t child =
      start_program(place_, {"synth", "--arch", "phantom-0.5b", "-t", "1", "-o", out.string()});
  for (int i = 0; i < 3000 && !std::filesystem::exists(out); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  ::kill(child, SIGTERM);
  EXPECT_EQ(outcome_of(place_, child).code, 128 + SIGTERM);
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST_F(Cli, SettingsThatNothingReadsAreErrors) {
  expect_failure({"run", "-m", model_, "-p", "x", "--config-set", "phantom_eta=5"},
                 "setting: expected a key that this model's configuration has, found phantom_eta");
}

TEST_F(Cli, TorchIsTheOtherProgram) {
  const Path alone = place_ / "bin" / "revenant", other = place_ / "bin" / "revenant-train";
  std::filesystem::create_directory(place_ / "bin");
  std::filesystem::copy(Path(REVENANT_BIN_DIR) / "revenant", alone);
  const Outcome missing = run_program(place_, {"train", "recipe.yaml"}, "", alone);
  EXPECT_EQ(missing.code, 1);
  EXPECT_NE(missing.err.find("release preset"), std::string::npos) << missing.err;
  write_file(other, "#!/bin/sh\necho \"$OMP_WAIT_POLICY:$@\"\nexit 7\n");
  std::filesystem::permissions(other, std::filesystem::perms::owner_all);
  const Outcome got =
      run_program(place_, {"train", "recipe.yaml", "--set", "a=b", "--help"}, "", alone);
  EXPECT_EQ(got.code, 7) << got.err;
  EXPECT_EQ(got.out, "passive:train recipe.yaml --set a=b --help\n");
}

TEST_F(Cli, LoadingTakesTheFileAndLittleMore) {
#ifdef REVENANT_SANITIZED
  GTEST_SKIP() << "the sanitizer's own memory is counted with the program's";
#endif
  json config = json::parse(read_file(place_ / "model" / "config.json"));
  config["llm_config"]["vocab_size"] = 400000;  // two tables of 400,000 x 32 f32: 102 MB
  config["image_token_index"] = 260;
  write_random_checkpoint(place_ / "model", config, 1);
  const long file_kb = long(std::filesystem::file_size(weights()) / 1024);
  ASSERT_GT(file_kb, 95'000);
  const long limit = file_kb + file_kb / 10 + 64 * 1024;
  const Outcome seen = run({"inspect", "-m", model_});
  EXPECT_EQ(seen.code, 0) << seen.err;
  EXPECT_LE(seen.peak_kb, 64 * 1024);  // nothing of the weights is read
  const Outcome ran = run({"run", "-m", model_, "-n", "8", "--image", picture_, "-p", "what?"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_LE(ran.peak_kb, limit);
}

TEST_F(Cli, DecodeRefusesIdsOfNoToken) {
  const Words decode = {"tokenize", "-m", model_, "--decode", "--special"};
  EXPECT_EQ(run(decode, "0 260\n").code, 0);  // the last one
  const Outcome got = run(decode, "104\n104 261\n");
  EXPECT_EQ(got.code, 1);
  EXPECT_EQ(std::count(got.out.begin(), got.out.end(), '\n'), 1) << got.out;
  EXPECT_EQ(got.err,
            "revenant: [tokenize] line 2 of the input: expected ids of this vocabulary (size 261), "
            "found 261\n");
  const Outcome listed = run({"tokenize", "-m", model_, "--decode", "--json"}, "[99999999]\n");
  EXPECT_EQ(listed.code, 1);
  EXPECT_EQ(listed.out, "");
  EXPECT_NE(listed.err.find("found 99999999"), std::string::npos) << listed.err;
}

TEST_F(Cli, BrokenJsonIsToldWithoutTheLibrarysTags) {
  write_file(place_ / "model" / "config.json", "{");
  const Outcome got = run({"inspect", "-m", model_});
  EXPECT_EQ(got.code, 1);
  EXPECT_NE(got.err.find("config.json: expected JSON, found parse error at line 1"),
            std::string::npos)
      << got.err;
}

TEST_F(Cli, TrainHasHelpWithoutTheOtherProgram) {
  const Path alone = place_ / "bin" / "revenant";
  std::filesystem::create_directory(place_ / "bin");
  std::filesystem::copy(Path(REVENANT_BIN_DIR) / "revenant", alone);
  const Words trace = {"trace", "-m", model_, "--inputs", "x", "-o", "y", "--backend", "torch"};
  for (const Words& words : {Words{"train", "--help"}, Words{"train"}, trace}) {
    const Outcome got = run_program(place_, words, "", alone);
    const bool help = words.back() == "--help";
    EXPECT_EQ(got.code, help ? 0 : 1) << got.err;
    EXPECT_EQ(got.out.find("Usage: revenant train RECIPE") != std::string::npos, help) << got.out;
    EXPECT_NE(got.err.find("revenant-train: missing"), std::string::npos) << got.err;
    EXPECT_NE(got.err.find("cmake --preset release"), std::string::npos) << got.err;
    EXPECT_EQ(got.err.find('\n'), got.err.size() - 1) << got.err;
  }
}

TEST_F(Cli, HelpSaysWhatIsNotObvious) {
  const std::string trace = run({"trace", "--help"}).out, eval = run({"eval", "--help"}).out;
  for (const char* part : {"vision/projected", "train/grad/*"})
    EXPECT_NE(trace.find(part), std::string::npos) << trace;
  EXPECT_NE(eval.find("--json FILE"), std::string::npos) << eval;
}

}  // namespace
}  // namespace revenant
