// Whole runs against models that stand in, and that fail, stall and lie.
#include "triples/build.h"

#include <gtest/gtest.h>

#include "base/base64.h"
#include "base/error.h"
#include "data/check.h"
#include "data/sources.h"
#include "support/temporary.h"
#include "triples/models.h"
#include "triples/prompts.h"

namespace revenant {
namespace {

using nlohmann::json;

class Triples : public testing::Test {
 protected:
  std::vector<Row> rows_of(const std::string& text) {
    made_up::write(place_ / "rows.json", text);
    return read_rows(place_ / "rows.json");
  }
  TriplesOptions options_for(const StandIn& server) const {
    TriplesOptions options;
    options.files = triples_files(place_ / "out.jsonl");
    options.writer.url = parse_url(server.url());
    options.writer.model = "writer";
    options.writer.pause = HttpLimits::Seconds(0.005);
    options.judge = options.writer;
    options.judge.model = "judge";
    options.data = "these";
    return options;
  }
  std::vector<Row> result() const { return read_rows(place_ / "out.jsonl"); }
  json review() const { return read_json(place_ / "out.review.json"); }
  void say(size_t entry, const json& words) const {
    json list = review();
    list.at(entry).update(words);
    write_file(place_ / "out.review.json", list.dump());
  }
  std::string error_of(const std::vector<Row>& rows, const TriplesOptions& options) {
    try {
      build_triples(rows, options);
    } catch (const Error& error) {
      return error.what();
    }
    return "none";
  }

  const Temporary folder_;
  const Path place_ = folder_.path;
};

TEST_F(Triples, EveryFormBecomesRowsThatTrainingReads) {
  made_up::write_drawing(place_ / "a.png", "a");
  std::filesystem::create_directories(place_ / "sub");
  const std::string uri = "data:image/png;base64," + base64(read_file(place_ / "a.png"));
  const auto rows = rows_of(
      json::array(
          {
              {{"id", "llava"},
               {"image", "a.png"},
               {"conversations",
                {{{"from", "human"}, {"value", "<image>\nwhat is it?"}},
                 {{"from", "gpt"}, {"value", "a cat"}}}}},
              {{"id", 7},
               {"task", "t"},
               {"split", "s"},
               {"wording", "w"},
               {"source", "o"},
               {"messages",
                {{{"role", "system"}, {"content", "be brief"}},
                 {{"role", "user"}, {"content", "one?"}},
                 {{"role", "assistant"}, {"content", "two"}},
                 {{"role", "user"}, {"content", "three?"}},
                 {{"role", "assistant"}, {"content", "four"}}}}},
              {{"prompt", "The sky is"}, {"chosen", " blue."}, {"rejected", " green."}},
              {{"question", "<image> and <image>?"}, {"answer", "two"}, {"images", {"a.png", uri}}},
          })
          .dump());
  StandIn server(usual_answer);
  TriplesOptions options = options_for(server);
  options.files = triples_files(place_ / "sub" / "out.jsonl");
  const TriplesReport report = build_triples(rows, options);
  EXPECT_EQ(report.kept, 4u);
  EXPECT_EQ(report.given, 1u);
  EXPECT_EQ(report.requests, 6u);
  const std::vector<Row> got = read_rows(place_ / "sub" / "out.jsonl");
  ASSERT_EQ(got.size(), rows.size());
  const char* wrong[] = {"not it: what is it?", "not it: three?", " green.", "not it:  and ?"};
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(got[i].id, rows[i].id);
    EXPECT_EQ(got[i].question, rows[i].question);
    EXPECT_EQ(got[i].answer, rows[i].answer);
    ASSERT_EQ(got[i].later.size(), rows[i].later.size());
    EXPECT_EQ(got[i].last_answer(), rows[i].last_answer());
    EXPECT_EQ(got[i].rejected, wrong[i]);
    EXPECT_EQ(got[i].task + got[i].split + got[i].wording + got[i].source,
              rows[i].task + rows[i].split + rows[i].wording + rows[i].source);
    ASSERT_EQ(got[i].images.size(), rows[i].images.size());
    for (size_t k = 0; k < rows[i].images.size(); ++k)
      EXPECT_EQ(read_picture(got[i].images[k]), read_picture(rows[i].images[k]));
  }
  EXPECT_NE(read_file(place_ / "sub" / "out.jsonl").find("\"../a.png\""), std::string::npos);
  std::string findings;
  const CheckTotals totals =
      check_rows(place_ / "sub" / "out.jsonl", {}, [&](const Finding& f) { findings += f.text(); });
  EXPECT_TRUE(totals.good()) << findings;
  EXPECT_EQ(totals.pairs, 4u);
}

TEST_F(Triples, WhatTheModelsAreAsked) {
  made_up::write_drawing(place_ / "a.png", "a");
  const auto rows = rows_of(json::array({{{"image", "a.png"},
                                          {"conversations",
                                           {{{"from", "human"}, {"value", "<image>\nwhat is it?"}},
                                            {{"from", "gpt"}, {"value", "a cat"}},
                                            {{"from", "human"}, {"value", "of which colour?"}},
                                            {{"from", "gpt"}, {"value", "it is grey"}}}}}})
                                .dump());
  for (const bool pictures : {false, true}) {
    StandIn server(usual_answer);
    TriplesOptions options = options_for(server);
    options.files = triples_files(place_ / (pictures ? "seen.jsonl" : "unseen.jsonl"));
    options.pictures = pictures;
    build_triples(rows, options);
    const std::vector<Asked> asked = server.asked();
    ASSERT_EQ(asked.size(), 2u);
    for (const Asked& one : asked) {
      const json content = one.json()["messages"][0]["content"];
      EXPECT_EQ(content.is_array(), pictures);
      if (pictures) {
        ASSERT_EQ(content.size(), 2u);
        EXPECT_EQ(content[0]["image_url"]["url"],
                  "data:image/png;base64," + base64(read_file(place_ / "a.png")));
      }
      EXPECT_EQ(one.text().find("<image>"), std::string::npos);
      for (const char* part : {"Earlier question: what is it?\nIts answer: a cat\n\n",
                               "\nQuestion: of which colour?\n\nCorrect answer: it is grey\n\n"})
        EXPECT_NE(one.text().find(part), std::string::npos) << one.text();
    }
    EXPECT_NE(asked[0].text().find("about 10 characters"), std::string::npos) << asked[0].text();
    EXPECT_EQ(asked[0].json()["model"], "writer");
    EXPECT_EQ(asked[1].json()["model"], "judge");
    EXPECT_EQ(candidate_of(asked[1]), "not it: of which colour?");
  }
}

// The right answer, one of another length, a blank one, none that ends: asked again, with what is
// wrong with it.
TEST_F(Triples, ALyingWriterIsAskedAgain) {
  const auto rows = rows_of(many_rows(5));
  std::mutex telling;
  std::map<std::string, int> tries;
  StandIn server([&](const Asked& asked) {
    if (asks_for_verdict(asked)) return http_reply(200, completion("Yes"));
    const std::string question = question_of(asked), number = question.substr(9);
    const std::lock_guard lock(telling);
    if (number != "5" && tries[question]++ == 1) return usual_answer(asked);
    const std::string lie = number == "1"   ? completion("It is 1.")
                            : number == "2" ? completion(std::string(100, 'x'))
                            : number == "3" ? completion("")
                            : number == "4" ? R"({"choices": [{"message": {"content": "it i"},
                                                  "finish_reason": "length"}]})"
                                            : completion("it is 5", 10, 3);
    return http_reply(200, lie);
  });
  const TriplesReport report = build_triples(rows, options_for(server));
  EXPECT_EQ(report.kept, 4u);
  EXPECT_EQ(report.dropped, (std::map<std::string, size_t>{{"the right answer", 1}}));
  EXPECT_EQ(report.writer.answers, 4u * 2 + 3);
  EXPECT_EQ(report.writer.uncounted, 1u);
  EXPECT_EQ(report.judge.answers, 4u);
  std::set<std::string> complaints;
  for (const Asked& asked : server.asked())
    if (asked.json()["messages"].size() > 1) complaints.insert(asked.text().substr(0, 40));
  EXPECT_EQ(complaints, (std::set<std::string>{"That cannot be used: it is the right ans",
                                               "That is 100 characters long. Write anoth",
                                               "That cannot be used: it is not whole. Wr"}));
}

TEST_F(Triples, JudgesKeepDropAndLeaveOpen) {
  const auto rows = rows_of(many_rows(6));
  StandIn server([&](const Asked& asked) {
    if (!asks_for_verdict(asked)) return usual_answer(asked);
    const std::string question = question_of(asked);
    return http_reply(200, completion(question == "question 2"   ? "No."
                                      : question == "question 3" ? "That depends"
                                      : question == "question 5" ? "I cannot say"
                                                                 : "Yes"));
  });
  TriplesOptions options = options_for(server);
  TriplesReport report = build_triples(rows, options);
  EXPECT_EQ(report.kept, 3u);
  EXPECT_EQ(report.queued, 2u);
  EXPECT_EQ(report.dropped, (std::map<std::string, size_t>{{"refused by the judge", 1}}));
  EXPECT_EQ(report.judge.answers, 4u + 2 * 3);
  ASSERT_EQ(review().size(), 2u);
  EXPECT_EQ(review()[0], (json{{"row", 3},
                               {"question", "question 3"},
                               {"answer", "it is 3"},
                               {"rejected", "not it: question 3"},
                               {"why", "the judge said: That depends"},
                               {"verdict", ""}}));
  const size_t asked = server.asked().size();
  // A person says nothing, then something, then the rest: nobody is asked any more.
  report = build_triples(rows, options);
  EXPECT_EQ(report.queued, 2u);
  say(0, {{"verdict", "keep"}, {"rejected", "it may be 4"}});
  report = build_triples(rows, options);
  EXPECT_EQ(report.kept, 4u);
  EXPECT_EQ(report.by_person, 1u);
  EXPECT_EQ(report.queued, 1u);
  EXPECT_EQ(result()[2].rejected, "not it: question 4");
  EXPECT_EQ(result()[1].rejected, "it may be 4");
  ASSERT_EQ(review().size(), 1u);
  say(0, {{"verdict", "drop"}});
  report = build_triples(rows, options);
  EXPECT_EQ(report.kept, 4u);
  EXPECT_EQ(report.dropped.at("by a person"), 1u);
  EXPECT_FALSE(std::filesystem::exists(options.files.review));
  report = build_triples(rows, options);  // what the person said stands in the journal
  EXPECT_EQ(report.kept, 4u);
  EXPECT_EQ(server.asked().size(), asked);
}

// As in the paper: whatever the judge keeps is seen by a person.
TEST_F(Triples, APersonMaySeeAll) {
  const auto rows = rows_of(many_rows(2));
  StandIn server(usual_answer);
  TriplesOptions options = options_for(server);
  options.rules.review = Review::all;
  EXPECT_EQ(build_triples(rows, options).queued, 2u);
  EXPECT_EQ(read_file(options.files.output), "");
  say(1, {{"verdict", "keep"}});
  options.rules.review = Review::unsure;  // what was said counts, and the rest stands as it did
  const TriplesReport report = build_triples(rows, options);
  EXPECT_EQ(report.kept, 2u);
  EXPECT_EQ(report.by_person, 1u);
  EXPECT_EQ(report.requests, 0u);
}

// While the models are asked a person may write into the file.
TEST_F(Triples, WordsSaidMeanwhileAreNotLost) {
  const auto rows = rows_of(many_rows(3));
  bool spoken = false;
  StandIn server([&](const Asked& asked) {
    if (asks_for_verdict(asked)) return http_reply(200, completion("Perhaps"));
    if (std::filesystem::exists(place_ / "out.review.json") && !std::exchange(spoken, true))
      say(0, {{"verdict", "drop"}});
    return usual_answer(asked);
  });
  TriplesOptions options = options_for(server);
  build_triples(std::span(rows).first(1), options);
  const TriplesReport report = build_triples(rows, options);
  EXPECT_EQ(report.dropped.at("by a person"), 1u);
  EXPECT_EQ(review().size(), 2u);
}

// A person's half-finished work stays: another answer without a verdict, a verdict that comes while
// the file is written, rows that this call leaves out.
TEST_F(Triples, WhatAPersonBeganStays) {
  const auto rows = rows_of(many_rows(3));
  StandIn server([&](const Asked& asked) {
    return asks_for_verdict(asked) ? http_reply(200, completion("Hm")) : usual_answer(asked);
  });
  const TriplesOptions options = options_for(server);
  build_triples(rows, options);
  say(0, {{"rejected", "it may be 9"}});
  build_triples(rows, options);
  EXPECT_EQ(review()[0]["rejected"], "it may be 9");
  build_triples(std::span(rows).first(1), options);
  ASSERT_EQ(review().size(), 3u);
  EXPECT_EQ(review()[2]["row"], 3);
  say(2, {{"verdict", "keep"}});
  TriplesOptions first = options;
  first.more = true;  // the third row's word waits
  EXPECT_EQ(build_triples(std::span(rows).first(1), first).kept, 0u);
  EXPECT_EQ(build_triples(rows, options).kept, 1u);
  EXPECT_EQ(review().size(), 2u);
}

// What a server asks of one of its models it asks of both: the judge is told to wait while the
// writer of another row thinks, whose first answer is of no use.
TEST_F(Triples, AServersPauseIsBothModels) {
  const auto rows = rows_of(many_rows(2));
  using Clock = std::chrono::steady_clock;
  const auto milliseconds = [begin = Clock::now()] {
    return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
  };
  std::atomic<double> refused = 1e9, asked_again = -1;
  std::atomic<int> written = 0;
  StandIn server([&](const Asked& asked) {
    if (question_of(asked) == "question 1" && asks_for_verdict(asked) && refused == 1e9) {
      refused = milliseconds();
      return http_reply(429, "{}", "Retry-After: 1\r\n");
    }
    if (question_of(asked) == "question 2" && !asks_for_verdict(asked)) {
      if (written++ == 0) {
        std::this_thread::sleep_for(std::chrono::milliseconds(300));
        return http_reply(200, completion(" "));
      }
      if (asked_again < 0) asked_again = milliseconds();
    }
    return usual_answer(asked);
  });
  TriplesOptions options = options_for(server);
  options.parallel = 2;
  EXPECT_EQ(build_triples(rows, options).kept, 2u);
  EXPECT_GT(asked_again - refused, 900);
}

TEST_F(Triples, ReviewsAreReadStrictly) {
  const auto rows = rows_of(many_rows(2));
  StandIn server([&](const Asked& asked) {
    return asks_for_verdict(asked) ? http_reply(200, completion("Hm")) : usual_answer(asked);
  });
  TriplesOptions options = options_for(server);
  build_triples(rows, options);
  const std::string whole = read_file(options.files.review);
  const auto told = [&](const json& words) {
    write_file(options.files.review, whole);
    say(1, words);
    return error_of(rows, options);
  };
  const std::string file = "[triples] " + options.files.review.string() + ": ";
  EXPECT_EQ(told({{"verdict", "yes"}}),
            file + "[1].verdict: expected \"keep\", \"drop\" or \"\", found \"yes\"");
  EXPECT_EQ(told({{"verdict", true}}), file + "[1].verdict: expected a text, found true");
  EXPECT_EQ(told({{"verdict", "keep"}, {"row", 3}}),
            file + "[1].row: expected a row from 1 to 2, found 3");
  EXPECT_EQ(told({{"verdict", "keep"}, {"row", 0}}),
            file + "[1].row: expected a row from 1 to 2, found 0");
  EXPECT_EQ(told({{"verdict", "keep"}, {"row", 1}}),
            file + "[1].question: expected that of row 1, found \"question 2\"");
  EXPECT_EQ(told({{"verdict", "keep"}, {"rejected", "It is 2"}}),
            file + "[1].rejected: expected a wrong answer, found the right one");
  EXPECT_EQ(told({{"verdict", "keep"}, {"rejected", " "}}),
            file + "[1].rejected: expected a wrong answer, found a blank one");
  write_file(options.files.review, "{}");
  EXPECT_EQ(error_of(rows, options),
            file.substr(0, file.size() - 2) + ": expected a list, found {}");
  write_file(options.files.review, "[{]");
  EXPECT_NE(error_of(rows, options).find("expected JSON"), std::string::npos);
  EXPECT_EQ(read_file(options.files.review), "[{]");  // nothing of a person's is overwritten
}

// Cut anywhere, the journal's rest is asked for, and nothing else.
TEST_F(Triples, WhatStandsInTheJournalIsNotAskedAgain) {
  const auto rows = rows_of(many_rows(5));
  StandIn server([&](const Asked& asked) {
    if (!asks_for_verdict(asked)) return usual_answer(asked);
    return http_reply(200, completion(question_of(asked) == "question 4" ? "Well" : "Yes", 7, 1));
  });
  TriplesOptions options = options_for(server);
  const TriplesReport whole = build_triples(rows, options);
  EXPECT_EQ(whole.requests, 10u + 2);
  const std::string journal = read_file(options.files.journal),
                    output = read_file(place_ / "out.jsonl"),
                    open = read_file(options.files.review);
  EXPECT_EQ(lines_in(options.files.journal), 1u + 12);
  for (size_t keep = 0; keep <= journal.size(); keep += keep % 7 + 11) {
    write_file(options.files.journal, journal.substr(0, keep));
    std::filesystem::remove(place_ / "out.jsonl");
    std::filesystem::remove(options.files.review);
    const auto lines = size_t(std::ranges::count(journal.substr(0, keep), '\n'));
    const TriplesReport report = build_triples(rows, options);
    EXPECT_EQ(report.requests, 12 - (std::max(lines, size_t(1)) - 1)) << keep;
    EXPECT_EQ(read_file(place_ / "out.jsonl"), output) << keep;
    EXPECT_EQ(read_file(options.files.review), open) << keep;
    EXPECT_EQ(report.writer.prompt_tokens, 5 * 20);
    EXPECT_EQ(report.writer.completion_tokens, 5 * 5);
    EXPECT_EQ(report.judge.prompt_tokens, 7 * 7);
    EXPECT_EQ(report.judge.completion_tokens, 7);
  }
}

TEST_F(Triples, StoppedItWaitsForWhatIsUnderWay) {
  const auto rows = rows_of(many_rows(20));
  StandIn server(slow_answer(0.05));
  TriplesOptions options = options_for(server);
  options.go_on = [&] { return server.asked().size() < 6; };
  EXPECT_THROW(build_triples(rows, options), Stopped);
  EXPECT_FALSE(std::filesystem::exists(options.files.output));
  const size_t asked = server.asked().size();
  EXPECT_LT(asked, 30u);
  EXPECT_EQ(lines_in(options.files.journal), 1 + asked);  // all of it is kept
  options.go_on = {};
  EXPECT_EQ(build_triples(rows, options).requests, 40 - asked);
  EXPECT_EQ(result().size(), 20u);
}

TEST_F(Triples, SoManyAtATime) {
  const auto rows = rows_of(many_rows(12));
  std::atomic<int> now{0}, most{0};
  StandIn server([&](const Asked& asked) {
    most = std::max(most.load(), ++now);
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    --now;
    return usual_answer(asked);
  });
  TriplesOptions options = options_for(server);
  options.parallel = 3;
  size_t shown = 0;
  options.progress = [&](size_t done, size_t total, size_t kept) {
    EXPECT_EQ(total, 12u);
    EXPECT_GE(done, shown);
    EXPECT_EQ(kept, done);
    shown = done;
  };
  build_triples(rows, options);
  EXPECT_EQ(most, 3);
  EXPECT_EQ(shown, 12u);
}

// A row that no answer comes for is told, and asked again by the next call; the others are whole.
TEST_F(Triples, OneRowsFailureIsItsOwn) {
  made_up::write_drawing(place_ / "a.png", "a");
  const auto rows = rows_of(many_rows(4) + R"({"question": "q", "answer": "a", "image": "a.png"})");
  write_file(place_ / "a.png", "no picture");
  bool refuse = true;
  StandIn server([&](const Asked& asked) {
    return refuse && question_of(asked) == "question 2"
               ? http_reply(400, "{\"error\": {\"message\": \"not nice\"}}")
               : usual_answer(asked);
  });
  TriplesOptions options = options_for(server);
  options.pictures = true;
  TriplesReport report = build_triples(rows, options);
  EXPECT_EQ(report.kept, 3u);
  ASSERT_EQ(report.failures.size(), 2u);
  std::ranges::sort(report.failures);
  EXPECT_NE(report.failures[0].find("row 2: "), std::string::npos);
  EXPECT_NE(report.failures[0].find("status 400: \"not nice\""), std::string::npos);
  EXPECT_NE(report.failures[1].find("row 5: [image] "), std::string::npos);
  refuse = false;
  made_up::write_drawing(place_ / "a.png", "a");
  report = build_triples(rows, options);
  EXPECT_EQ(report.kept, 5u);
  EXPECT_EQ(report.requests, 4u);
}

TEST_F(Triples, AServerThatIsGoneEndsIt) {
  const auto rows = rows_of(many_rows(200));
  StandIn server([&](const Asked&) { return http_reply(500, "{}"); });
  TriplesOptions options = options_for(server);
  options.writer.retries = 1;
  const std::string why = error_of(rows, options);
  EXPECT_NE(why.find("none to 20 rows in succession"), std::string::npos) << why;
  EXPECT_LT(server.asked().size(), 60u);
  EXPECT_FALSE(std::filesystem::exists(options.files.output));
}

TEST_F(Triples, AWrongKeyEndsItAtOnce) {
  const auto rows = rows_of(many_rows(200));
  StandIn server(
      [&](const Asked&) { return http_reply(401, "{\"error\": {\"message\": \"who?\"}}"); });
  const std::string why = error_of(rows, options_for(server));
  EXPECT_NE(why.find("found 401: \"who?\""), std::string::npos) << why;
  EXPECT_LE(server.asked().size(), 4u);
}

TEST_F(Triples, AJournalIsOfOneRun) {
  const auto rows = rows_of(many_rows(2));
  StandIn server(usual_answer);
  const TriplesOptions options = options_for(server);
  build_triples(rows, options);
  const auto told = [&](auto change) {
    TriplesOptions other = options;
    change(other);
    return error_of(rows, other);
  };
  const auto expect_named = [](const std::string& why, const std::string& key) {
    EXPECT_NE(why.find("out.journal.jsonl " + key + ": expected"), why.npos) << why;
  };
  expect_named(told([](TriplesOptions& o) { o.writer.model = "x"; }), "writer");
  expect_named(told([](TriplesOptions& o) { o.judge.model = "x"; }), "judge");
  expect_named(told([](TriplesOptions& o) { o.judge.body = {{"top_p", 1}}; }), "judge");
  expect_named(told([](TriplesOptions& o) { o.pictures = true; }), "pictures");
  expect_named(told([](TriplesOptions& o) { o.data = "others"; }), "data");
  // Where and how fast they are asked is nothing to it, nor how many rows.
  EXPECT_EQ(told([](TriplesOptions& o) {
              o.writer.url.host = "localhost", o.writer.key = "k", o.parallel = 9;
            }),
            "none");
  EXPECT_EQ(build_triples(std::span(rows).first(1), options).kept, 1u);
  const std::string journal = read_file(options.files.journal);
  for (const char* line : {"[]", R"({"row": 0, "keep": true, "rejected": "x"})", R"({"row": 1})",
                           R"({"row": 1, "wrong": "x", "whole": true})",
                           R"({"row": 1, "wrong": 3, "whole": true, "tokens": [1, 2]})"}) {
    write_file(options.files.journal, journal + line + "\n");
    EXPECT_NE(error_of(rows, options).find("out.journal.jsonl:6: expected what was said"),
              std::string::npos)
        << error_of(rows, options);
  }
}

TEST_F(Triples, TwoRunsDoNotWriteOneJournal) {
  const auto rows = rows_of(many_rows(1));
  std::string second;
  StandIn server([&](const Asked& asked) {
    if (second.empty()) {
      StandIn other(usual_answer);
      second = error_of(rows, options_for(other));
      EXPECT_TRUE(other.asked().empty());
    }
    return usual_answer(asked);
  });
  build_triples(rows, options_for(server));
  EXPECT_NE(second.find("expected no other run that writes it"), second.npos) << second;
}

}  // namespace
}  // namespace revenant
