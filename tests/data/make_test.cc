#include "data/make.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "data/made.h"

namespace revenant {
namespace {

TEST_F(Make, EveryRowIsWellFormed) {
  make_all();
  for (const std::string& set : dataset_names())
    for (const std::string& split : splits(set)) {
      const std::vector<Row> rows = read_rows(file(set, split + ".json"));
      ASSERT_FALSE(rows.empty());
      std::set<std::string> ids;
      std::set<Path> pictures;
      for (size_t i = 0; i < rows.size(); ++i) {
        const Row& row = rows[i];
        EXPECT_TRUE(ids.insert(row.id).second) << row.id;
        EXPECT_EQ(row.source, set);
        EXPECT_EQ(row.split, split);
        EXPECT_NE(row.answer, row.rejected);
        EXPECT_FALSE(row.rejected.empty());
        EXPECT_FALSE(row.answer.ends_with("."));
        for (char c : row.answer) EXPECT_FALSE(c >= 'A' && c <= 'Z') << row.answer;
        EXPECT_EQ(row.question.find_first_of("{}"), std::string::npos) << row.question;
        EXPECT_TRUE(split != "train" || row.wording == "seen");
        // Rows that share a picture stand together.
        const bool next = i == 0 || rows[i - 1].images != row.images;
        EXPECT_EQ(next, pictures.insert(row.images.at(0).file).second) << row.id;
      }
    }
}

TEST_F(Make, TheSameSeedGivesTheSameBytes) {
  make_all();
  const std::string first = everything();
  for (const std::string& set : dataset_names())
    std::filesystem::remove_all(options.directory / set);
  make_all();
  EXPECT_TRUE(first == everything());
  options.threads = 3;
  for (const std::string& set : dataset_names())
    std::filesystem::remove_all(options.directory / set);
  make_all();
  EXPECT_TRUE(first == everything()) << "threads show";
  options.seed = 2;
  make_all();
  EXPECT_FALSE(first == everything());
}

TEST_F(Make, ACompleteSetIsLeftAlone) {
  make_dataset("scenes", options);
  EXPECT_TRUE(dataset_complete("scenes", options));
  const Path train = file("scenes", "train.json");
  made_up::write(train, "mine");
  make_dataset("scenes", options);
  EXPECT_EQ(read_file(train), "mine");
  options.seed = 9;
  EXPECT_FALSE(dataset_complete("scenes", options));
  made_up::write(file("scenes.part", "images/left.png"), "by an interruption");
  make_dataset("scenes", options);
  EXPECT_NE(read_file(train), "mine");
  EXPECT_FALSE(std::filesystem::exists(options.directory / "scenes.part"));
  EXPECT_FALSE(std::filesystem::exists(file("scenes", "images/left.png")));
}

TEST_F(Make, FilesOfSomebodyElseAreLeftAlone) {
  made_up::write(file("scenes", "holiday.jpg"), "mine");
  const auto expect_refusal = [&] {
    try {
      make_dataset("scenes", options);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()),
                "[data] " + (options.directory / "scenes").string() +
                    ": expected a made set, with its REPORT.json, or nothing, found holiday.jpg");
    }
    EXPECT_EQ(read_file(file("scenes", "holiday.jpg")), "mine");
  };
  expect_refusal();
  std::filesystem::remove(file("scenes", "holiday.jpg"));
  make_dataset("scenes", options);
  made_up::write(file("scenes", "holiday.jpg"), "mine");
  options.seed = 9;
  expect_refusal();
}

TEST_F(Make, AnInterruptedChangeOfPlacesLosesNothing) {
  make_dataset("scenes", options);
  const std::string rows = read_file(file("scenes", "train.json"));
  std::filesystem::rename(options.directory / "scenes", options.directory / "scenes.old");
  make_dataset("scenes", options);
  EXPECT_EQ(read_file(file("scenes", "train.json")), rows);
  EXPECT_FALSE(std::filesystem::exists(options.directory / "scenes.old"));
}

TEST_F(Make, ASetOfAnotherVersionIsKnown) {
  make_dataset("easy-vqa", options);
  const Path folder = options.directory / "easy-vqa", report = folder / "REPORT.json";
  EXPECT_FALSE(made_by_another_version(folder));
  auto older = nlohmann::json::parse(read_file(report));
  older["version"] = older["version"].get<int>() - 1;
  made_up::write(report, older.dump());
  EXPECT_TRUE(made_by_another_version(folder));
  EXPECT_FALSE(dataset_complete("easy-vqa", options));
  std::filesystem::remove(report);
  EXPECT_FALSE(made_by_another_version(folder));  // somebody's own
}

TEST_F(Make, WordingsKeptForTestsNeverOccurInTraining) {
  options.limit = 200;
  const std::pair<std::string, std::string> tests[] = {
      {"fashion-mnist", "test"}, {"scenes", "test"}, {"easy-vqa", "test_described"}};
  made_up::easy_vqa(options.directory / ".sources", false, 20);
  for (const auto& [set, split] : tests) {
    make_dataset(set, options);
    std::set<std::string> trained, unseen;
    for (const Row& row : read_rows(file(set, "train.json"))) trained.insert(row.question);
    for (const Row& row : read_rows(file(set, split + ".json")))
      if (row.wording == "unseen") unseen.insert(row.question);
    EXPECT_FALSE(unseen.empty());
    for (const std::string& question : unseen) EXPECT_FALSE(trained.contains(question)) << question;
  }
}

// Training must not change, whatever happens to drawings of the styles kept for tests.
TEST_F(Make, TestStylesNeverReachTraining) {
  const auto training = [&] {
    std::string pixels;
    for (const std::string set : {"emoji", "scenes", "flags"}) {
      std::filesystem::remove_all(options.directory / set);
      make_dataset(set, options);
      for (const Row& row : read_rows(file(set, "train.json")))
        pixels += read_file(row.images[0].file);
    }
    return pixels;
  };
  const std::string before = training();
  const std::string tested = read_file(file("emoji", "images/test_noto/000/000000.png"));
  for (const std::string style : {"fluent-modern", "openmoji", "noto"})
    for (const auto& entry :
         std::filesystem::directory_iterator(options.directory / ".sources/emoji" / style))
      made_up::write_drawing(entry.path(), "another " + entry.path().string());
  for (const auto& entry :
       std::filesystem::directory_iterator(options.directory / ".sources/flags/1x1"))
    made_up::write_drawing(entry.path(), "another " + entry.path().string());
  EXPECT_TRUE(before == training());
  EXPECT_NE(tested, read_file(file("emoji", "images/test_noto/000/000000.png")));
}

// Facts are asked about what is drawn: an octopus drawn otherwise shows where it should, and there
// alone.
TEST_F(Make, FactsAreAboutTheirPictures) {
  const auto made = [&] {
    std::filesystem::remove_all(options.directory / "facts");
    make_dataset("facts", options);
    std::vector<std::pair<Row, std::string>> all;
    for (const Row& row : read_rows(file("facts", "test.json")))
      all.emplace_back(row, read_file(row.images[0].file));
    return all;
  };
  options.limit = 0;
  const auto before = made();
  EXPECT_EQ(splits("facts"), (std::vector<std::string>{"test", "test_unseen_style"}));
  size_t octopus = 0;
  while (made_up::labels()[octopus] != "octopus") ++octopus;
  made_up::write_drawing(options.directory / ".sources/emoji/twemoji" /
                             ("1f" + std::to_string(400 + octopus) + ".png"),
                         "another");
  const auto after = made();
  ASSERT_EQ(before.size(), after.size());
  std::map<std::string, std::map<std::string, int>> asked, changed;  // by task and answer
  for (size_t i = 0; i < before.size(); ++i) {
    const Row& row = before[i].first;
    ++asked[row.task][row.answer];
    changed[row.task][row.answer] += before[i].second != after[i].second;
  }
  // Elephant, octopus and butterfly, in two styles; of the two that do not fly one is asked about.
  EXPECT_EQ(asked["flies"], (std::map<std::string, int>{{"yes", 2}, {"no", 2}}));
  EXPECT_EQ(changed["flies"]["yes"], 0);
  EXPECT_EQ(asked["lives in water"], (std::map<std::string, int>{{"yes", 2}, {"no", 2}}));
  EXPECT_EQ(changed["lives in water"], (std::map<std::string, int>{{"yes", 1}, {"no", 0}}));
  EXPECT_EQ(asked["which flies"], (std::map<std::string, int>{{"butterfly", 2}}));
  EXPECT_EQ(asked["which lives in water"], (std::map<std::string, int>{{"octopus", 2}}));
  EXPECT_EQ(changed["which flies"]["butterfly"], 1);
  EXPECT_EQ(changed["is eaten"], (std::map<std::string, int>{{"yes", 0}, {"no", 0}}));
  EXPECT_EQ(asked["is eaten"]["yes"], 6);
  EXPECT_EQ(asked["carries people"], (std::map<std::string, int>{{"yes", 4}, {"no", 4}}));
  EXPECT_FALSE(asked.contains("makes music"));  // none is drawn
}

// Not every emoji has a drawing in them.
TEST_F(Make, FurtherTrainingStylesReachEmojiOnly) {
  options.limit = 24 * 6;  // once in every style that draws it
  const auto pixels = [&](const std::string& set) {
    std::filesystem::remove_all(options.directory / set);
    make_dataset(set, options);
    std::string all;
    for (const Row& row : read_rows(file(set, "train.json"))) all += read_file(row.images[0].file);
    return all;
  };
  const std::string scenes = pixels("scenes");
  for (const std::string style :
       {"emojione", "emojione-monotone", "fluent-high-contrast", "fxemoji", "streamline-emojis"}) {
    const std::string emoji = pixels("emoji");
    for (const auto& entry :
         std::filesystem::directory_iterator(options.directory / ".sources/emoji" / style))
      made_up::write_drawing(entry.path(), "another " + entry.path().string());
    EXPECT_FALSE(emoji == pixels("emoji")) << style;
  }
  EXPECT_TRUE(scenes == pixels("scenes"));
}

TEST_F(Make, FlagsThatTwoCountriesShareAreLeftOut) {
  make_dataset("flags", options);
  for (const std::string& split : splits("flags"))
    for (const Row& row : read_rows(file("flags", split + ".json"))) {
      EXPECT_NE(row.answer, "land a");
      EXPECT_NE(row.answer, "land b");
    }
}

TEST_F(Make, ReportCountsDuplicatesAndTheBestGuess) {
  make_dataset("easy-vqa", options);
  EXPECT_EQ(report("easy-vqa")["duplicates"]["test_pictures_in_training"], 0);
  EXPECT_EQ(report("easy-vqa")["splits"]["test"]["rows"], 4);
  const auto shape = report("easy-vqa")["splits"]["test"]["tasks"]["shape"];
  EXPECT_EQ(shape["majority_answer"], "circle");
  EXPECT_EQ(shape["majority_accuracy"], 1.0);
  const auto yesno = report("easy-vqa")["splits"]["test"]["tasks"]["yesno"];
  EXPECT_EQ(yesno["majority_answer"], "no");
  EXPECT_EQ(yesno["majority_accuracy"], 0.5);

  made_up::easy_vqa(options.directory / ".sources", true);
  std::filesystem::remove_all(options.directory / "easy-vqa");
  make_dataset("easy-vqa", options);
  EXPECT_EQ(report("easy-vqa")["duplicates"]["test_pictures_in_training"], 1);
  EXPECT_EQ(report("easy-vqa")["duplicates"]["training_pictures_in_test"], 1);
}

// Picture 0 of the made-up set is the only one whose official answers name colour and shape.
TEST_F(Make, EasyVqaIsAlsoAskedInOtherWords) {
  make_dataset("easy-vqa", options);
  const auto own_of = [&](const std::string& split) {
    std::multimap<std::string, std::string> answers;  // by task
    for (const Row& row : read_rows(file("easy-vqa", split + ".json")))
      if (row.question != "<image>\nwhat shape?" && row.question != "<image>\nwhat color?" &&
          row.task != "yesno")
        answers.emplace(row.task, row.answer);
    return answers;
  };
  const std::multimap<std::string, std::string> all = {
      {"caption", "a red circle"}, {"color", "red"}, {"shape", "circle"}};
  EXPECT_EQ(own_of("train"), all);
  EXPECT_EQ(own_of("test_described"), all);
  EXPECT_TRUE(own_of("test").empty());
  EXPECT_EQ(report("easy-vqa")["splits"]["test"]["rows"], 4);
}

TEST_F(Make, ProgressEndsAtItsTotal) {
  std::map<std::string, std::pair<size_t, size_t>> last;
  options.progress = [&](size_t done, size_t total, const std::string& label) {
    last[label] = {done, total};
  };
  make_dataset("fashion-mnist", options);
  EXPECT_EQ(last.size(), 2u);
  for (const auto& [label, state] : last) EXPECT_EQ(state.first, state.second) << label;
  EXPECT_EQ(last["fashion-mnist train"].first, 48u);
  last.clear();
  options.limit = 1;
  make_dataset("easy-vqa", options);
  EXPECT_EQ(last["easy-vqa train"], (std::pair<size_t, size_t>(1, 1)));
}

TEST_F(Make, ErrorsSayWhatIsWrong) {
  const auto error_of = [&](const std::string& set) -> std::string {
    try {
      make_dataset(set, options);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(error_of("mnist"),
            "[data] set: expected one of easy-vqa, fashion-mnist, scenes, emoji, facts, flags, "
            "found mnist");
  const Path sources = options.directory / ".sources";
  const Path labels = sources / "fashion-mnist/t10k-labels-idx1-ubyte";
  std::filesystem::resize_file(labels, 20);
  EXPECT_EQ(error_of("fashion-mnist"),
            "[data] " + labels.string() + ": expected 68 bytes, found 20");
  EXPECT_FALSE(dataset_complete("fashion-mnist", options));
  made_up::write(sources / "easy-vqa/test/questions.json", R"([["what?", "purple", 0]])");
  EXPECT_NE(error_of("easy-vqa").find("expected one of easy-VQA's 13 answers, found purple"),
            std::string::npos);
  made_up::write(sources / "easy-vqa/train/questions.json", R"([["what?", 0]])");
  EXPECT_NE(error_of("easy-vqa").find("train/questions.json"), std::string::npos);
  std::filesystem::remove_all(sources / "flags");
  EXPECT_EQ(error_of("flags"), "[data] " + (sources / "flags/SOURCES.json").string() +
                                   ": missing; tools/fetch_data.sh fetches it");
  options.fetch_script = "/bin/false";
  EXPECT_EQ(error_of("flags"), "[data] /bin/false flags " + options.directory.string() +
                                   ": expected exit status 0, found 1");
}

}  // namespace
}  // namespace revenant
