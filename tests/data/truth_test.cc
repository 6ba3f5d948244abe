// What made sets say, derived anew from their sources: each row's answer, its rejected answer, its
// picture, and what its split may hold.
#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "data/made.h"
#include "data/report.h"
#include "data/scene.h"
#include "data/scene_things.h"
#include "data/sprite.h"
#include "data/words.h"

namespace revenant {
namespace {

using Json = nlohmann::json;
using Names = std::vector<std::string>;

bool among(const std::string& one, const Names& all) {
  return std::ranges::find(all, one) != all.end();
}

// Which of `names` stand in `text` as whole words, in their order; of overlapping ones the longest.
Names named_in(const std::string& text, Names names) {
  std::ranges::sort(names, std::greater<>(), &std::string::size);
  std::map<size_t, std::string> found;
  const auto is_border = [&](size_t at) { return at >= text.size() || !std::isalpha(text[at]); };
  std::vector<bool> taken(text.size());
  for (const std::string& name : names)
    for (size_t at = text.find(name); at != text.npos; at = text.find(name, at + 1)) {
      if (taken[at] || !is_border(at + name.size()) || (at > 0 && !is_border(at - 1))) continue;
      found[at] = name;
      std::fill_n(taken.begin() + long(at), name.size(), true);
    }
  Names in_order;
  for (const auto& [at, name] : found) in_order.push_back(name);
  return in_order;
}

Names lines_after_first(const std::string& text) {  // of "<image>\nWhich?\na\nb"
  Names lines;
  for (size_t at = text.find('\n', text.find('\n') + 1); at != text.npos;) {
    const size_t end = text.find('\n', at + 1);
    lines.push_back(text.substr(at + 1, end == text.npos ? end : end - at - 1));
    at = end;
  }
  return lines;
}

std::string opposite(const std::string& answer) { return answer == "yes" ? "no" : "yes"; }

class Truth : public Make {
 protected:
  std::vector<Row> rows(const std::string& set, const std::string& split) {
    return read_rows(file(set, split + ".json"));
  }
  Path source(const std::string& path) { return options.directory / ".sources" / path; }
  // By picture, in the order of the file.
  std::vector<std::vector<Row>> pictures(const std::string& set, const std::string& split) {
    const std::vector<Row> all = rows(set, split);
    std::vector<std::vector<Row>> by_picture;
    for (const RowGroup& group : group_rows(all))
      by_picture.emplace_back(all.begin() + long(group.begin), all.begin() + long(group.end));
    return by_picture;
  }
  static std::string answer_to(const std::vector<Row>& picture, const std::string& task) {
    for (const Row& row : picture)
      if (row.task == task) return row.answer;
    return "";
  }
  std::map<std::string, int> asked;  // rows by task: what never occurs has not been checked

  void expect_choice(const Row& row, const std::string& name, const Names& all) {
    const Names options = lines_after_first(row.question);
    EXPECT_EQ(row.answer, name) << row.id;
    EXPECT_TRUE(among(name, options)) << row.question;
    EXPECT_EQ(std::set(options.begin(), options.end()).size(), options.size()) << row.question;
    for (const std::string& option : options) EXPECT_TRUE(among(option, all)) << option;
    EXPECT_TRUE(options.size() == 1 || among(row.rejected, options)) << row.id;
    EXPECT_TRUE(row.split == "train" || options.size() == 4) << row.id;
  }
  void expect_yes_no(const Row& row, bool yes) {
    EXPECT_EQ(row.answer, yes ? "yes" : "no") << row.id << row.question;
    EXPECT_EQ(row.rejected, opposite(row.answer)) << row.id;
  }
  // Every task was asked, and yes-no questions had both answers.
  void expect_asked(const Names& tasks) {
    for (const std::string& task : tasks) EXPECT_GT(asked[task], 3) << task;
    EXPECT_EQ(asked.size(), tasks.size());
  }
  std::string count(const Row& row) {
    ++asked[row.task];
    return row.task;
  }
};

TEST_F(Truth, FashionMnist) {
  const Names classes = {"t-shirt", "trousers", "pullover", "dress", "coat",
                         "sandal",  "shirt",    "sneaker",  "bag",   "ankle boot"};
  make_dataset("fashion-mnist", options);
  std::set<std::string> said;
  for (const auto& [split, stem] : {std::pair("train", "train"), {"test", "t10k"}}) {
    const std::string labels =
        read_file(source("fashion-mnist") / (stem + std::string("-labels-idx1-ubyte")));
    const std::string pixels =
        read_file(source("fashion-mnist") / (stem + std::string("-images-idx3-ubyte")));
    size_t index = 0;
    for (const auto& picture : pictures("fashion-mnist", split)) {
      const std::string& name = classes[size_t(labels.at(8 + index))];
      const Image image = read_image(picture[0].images[0].file);
      ASSERT_EQ(image.rgb.size(), 28u * 28 * 3);
      for (size_t i = 0; i < image.rgb.size(); ++i)
        ASSERT_EQ(image.rgb[i], uint8_t(pixels.at(16 + index * 28 * 28 + i / 3))) << index;
      for (const Row& row : picture) {
        if (count(row) == "class") {
          EXPECT_EQ(row.answer, name) << row.id;
          EXPECT_TRUE(among(row.rejected, classes)) << row.rejected;
        } else {
          const Names items = named_in(row.question, classes);
          ASSERT_EQ(items.size(), 1u) << row.question;
          expect_yes_no(row, items[0] == name);
          const char* before = items[0] == "trousers"     ? "a pair of "
                               : items[0] == "ankle boot" ? "an "
                                                          : "a ";
          EXPECT_NE(row.question.find(before + items[0]), std::string::npos) << row.question;
          said.insert(row.answer);
        }
      }
      ++index;
    }
    EXPECT_EQ(index, options.limit);
  }
  expect_asked({"class", "yesno"});
  EXPECT_EQ(said.size(), 2u);
}

TEST_F(Truth, EasyVqa) {
  const std::map<std::string, Names> answers = {
      {"yesno", {"yes", "no"}},
      {"shape", {"circle", "rectangle", "triangle"}},
      {"color", {"red", "green", "blue", "black", "gray", "teal", "brown", "yellow"}}};
  made_up::easy_vqa(options.directory / ".sources", false, 20);
  options.limit = 21;
  make_dataset("easy-vqa", options);
  for (const std::string split : {"train", "test"}) {
    std::map<size_t, std::vector<std::pair<std::string, std::string>>> official;
    for (const Json& entry : Json::parse(read_file(source("easy-vqa") / split / "questions.json")))
      official[entry[2]].emplace_back(entry[0], entry[1]);
    const auto all = pictures("easy-vqa", split);
    ASSERT_EQ(all.size(), 21u);
    for (const auto& picture : all) {
      const auto number = std::next(official.begin(), &picture - all.data());
      const Path file =
          source("easy-vqa") / split / "images" / (std::to_string(number->first) + ".png");
      EXPECT_TRUE(read_file(picture[0].images[0].file) == read_file(file)) << picture[0].id;
      std::vector<std::pair<std::string, std::string>> put;
      for (const Row& row : picture) {
        put.emplace_back(row.question.substr(8), row.answer);
        if (count(row) == "caption") continue;
        EXPECT_TRUE(among(row.answer, answers.at(row.task))) << row.id;
        EXPECT_TRUE(among(row.rejected, answers.at(row.task))) << row.id;
      }
      put.resize(std::min(put.size(), number->second.size()));
      EXPECT_EQ(put, number->second) << picture[0].id;
    }
    const std::string own = split == "test" ? "test_described" : "train";
    size_t described = 0;
    for (const auto& picture : pictures("easy-vqa", own)) {
      const std::string bytes = read_file(picture[0].images[0].file);
      std::string color, shape;
      for (const auto& [number, talk] : official)
        if (read_file(source("easy-vqa") / split / "images" / (std::to_string(number) + ".png")) ==
            bytes)
          for (const auto& [question, answer] : talk) {
            if (question == "what color?") color = answer;
            if (question == "what shape?") shape = answer;
          }
      for (const Row& row : picture) {
        if (row.question.starts_with("<image>\nwhat ") || row.task == "yesno") continue;
        ++described;
        if (split == "test") count(row);
        const std::string both = "a " + color + " " + shape;
        EXPECT_EQ(row.answer, row.task == "color" ? color : row.task == "shape" ? shape : both);
        if (row.task != "caption") continue;
        const Names wrong = named_in(row.rejected, answers.at("color"));
        ASSERT_EQ(wrong.size(), 1u);
        EXPECT_NE(wrong[0], color);
        EXPECT_EQ(row.rejected, "a " + wrong[0] + " " + shape);
      }
    }
    EXPECT_EQ(described, 3u * 19 + 0) << split;
  }
  expect_asked({"color", "shape", "yesno", "caption"});
}

TEST_F(Truth, Emoji) {
  const std::map<int, std::string> groups = {{3, "nature"}, {5, "travel"}};
  const Names all_groups = {"smileys", "people",     "nature",  "food",
                            "travel",  "activities", "objects", "symbols"};
  std::map<std::string, std::string> group_of;
  for (const Json& entry : Json::parse(read_file(source("emoji/data.json"))))
    if (entry.value("subgroup", 99) != 99) group_of[entry["label"]] = groups.at(entry["group"]);
  options.limit = 24 * 4;
  make_dataset("emoji", options);
  std::set<std::string> said;
  for (const std::string split : {"train", "test_modern", "test_openmoji", "test_noto"}) {
    const auto all = pictures("emoji", split);
    EXPECT_EQ(all.size(), split == "train" ? 24u * 4 : 24u);
    for (const auto& picture : all) {
      const std::string name = made_up::labels()[size_t(&picture - all.data()) % 24];
      for (const Row& row : picture) {
        EXPECT_EQ(row.question.find("ever"), std::string::npos) << row.question;
        const std::string task = count(row);
        if (task == "choice") expect_choice(row, name, made_up::labels());
        if (task == "name") {
          EXPECT_EQ(row.answer, name) << row.id;
          ASSERT_TRUE(group_of.contains(row.rejected)) << row.rejected;
          EXPECT_EQ(group_of[row.rejected], group_of[name]) << row.id;
        }
        if (task == "group") {
          EXPECT_EQ(row.answer, group_of[name]) << row.id;
          EXPECT_TRUE(among(row.rejected, all_groups)) << row.rejected;
        }
        if (task != "yesno") continue;
        const size_t begin = row.question.find('"') + 1;
        const std::string other = row.question.substr(begin, row.question.find('"', begin) - begin);
        EXPECT_TRUE(group_of.contains(other)) << row.question;
        expect_yes_no(row, other == name);
        said.insert(row.answer);
      }
    }
  }
  expect_asked({"choice", "name", "group", "yesno"});
  EXPECT_EQ(said.size(), 2u);
}

TEST_F(Truth, Flags) {
  struct Country {
    std::string shown, capital, continent;
  };
  std::map<std::string, Country> countries;  // by the answer to "name"
  for (char letter = 'c'; letter < 'm'; ++letter)
    countries["land " + std::string(1, letter)] = {"Land " + std::string(1, char(letter - 32)),
                                                   "city " + std::string(2, letter),
                                                   letter % 2 ? "asia" : "europe"};
  countries["united éland"] = {"the United Éland", "é town", "africa"};
  Names names, capitals, shown;
  for (const auto& [name, country] : countries) {
    names.push_back(name);
    capitals.push_back(country.capital);
    shown.push_back(country.shown);
  }
  options.limit = 3 * 11;
  make_dataset("flags", options);
  std::set<std::string> said;
  std::map<std::string, Names> answers;  // the countries of a split, in order
  for (const std::string& split : splits("flags"))
    for (const auto& picture : pictures("flags", split)) {
      const std::string name = answer_to(picture, "name");
      ASSERT_TRUE(countries.contains(name)) << name;
      answers[split].push_back(name);
      const Country& truth = countries[name];
      for (const Row& row : picture) {
        const std::string task = count(row);
        if (task == "choice") expect_choice(row, name, names);
        if (task == "name") {
          EXPECT_EQ(row.answer, name);
          EXPECT_TRUE(among(row.rejected, names)) << row.rejected;
        }
        if (task == "capital") {
          EXPECT_EQ(row.answer, truth.capital) << row.id;
          EXPECT_TRUE(among(row.rejected, capitals)) << row.rejected;
        }
        if (task == "continent") {
          EXPECT_EQ(row.answer, truth.continent) << row.id;
          EXPECT_TRUE(among(row.rejected, {"asia", "europe", "africa"})) << row.rejected;
        }
        if (task != "yesno") continue;
        const Names other = named_in(row.question, shown);
        ASSERT_EQ(other.size(), 1u) << row.question;
        expect_yes_no(row, other[0] == truth.shown);
        said.insert(row.answer);
      }
    }
  expect_asked({"choice", "name", "capital", "continent", "yesno"});
  EXPECT_EQ(said.size(), 2u);
  Names in_order;
  for (char letter = 'c'; letter < 'm'; ++letter)
    in_order.push_back("land " + std::string(1, letter));
  EXPECT_EQ(answers["test"], in_order);  // the others have no square drawing
  EXPECT_EQ(answers["test_unseen_style"], (Names{"land d", "land l"}));
  in_order.push_back("united éland");
  for (size_t i = 0; i < options.limit; ++i) EXPECT_EQ(answers["train"][i], in_order[i % 11]);
}

// The scene of a picture is made anew from seed and number; what it shows is checked against its
// pixels: each thing is drawn in one colour, another in each style.
class SceneTruth : public Truth {
 protected:
  static constexpr Side kSides[] = {Side::left, Side::right, Side::above, Side::below};
  std::vector<Style> kStyles = whole_styles();
  std::vector<Thing> things;
  Names names;

  void SetUp() override {
    Truth::SetUp();
    for (size_t i = 0; i < made_up::labels().size(); ++i)
      for (const Style style : kStyles)
        made_up::write_flat(
            sprite_path(source(""), {made_up::labels()[i], "1f" + std::to_string(400 + i)}, style),
            colour(i), uint8_t(25 * int(style)), 77);
    things = read_things(source(""));
    for (const Thing& thing : things) names.push_back(thing.name);
    options.limit = 120;
  }
  static uint8_t colour(size_t label) { return uint8_t(10 * label + 5); }
  uint8_t colour_of(int kind) {  // donuts are labelled doughnuts
    const std::string label =
        things[size_t(kind)].name == "donut" ? "doughnut" : things[size_t(kind)].name;
    return colour(size_t(std::ranges::find(made_up::labels(), label) - made_up::labels().begin()));
  }
  Scene scene_of(const std::string& split, size_t index) {
    Random random = random_for(options.seed, "scenes " + split, index);
    return random_scene(random, int(things.size()), split != "train", options.seed);
  }
  // The only object of that name.
  static const SceneObject& only(const Scene& scene, const Names& names, const std::string& name) {
    const SceneObject* found = nullptr;
    for (const SceneObject& object : scene.objects)
      if (names[size_t(object.kind)] == name) {
        EXPECT_FALSE(found) << "two of " << name;
        found = &object;
      }
    EXPECT_TRUE(found) << "no " << name;
    return found ? *found : scene.objects[0];
  }
  static double towards(const SceneObject& a, const SceneObject& b, size_t side) {
    const double leads[] = {b.x - a.x, a.x - b.x, b.y - a.y, a.y - b.y};
    return leads[side];
  }
  static size_t side_in(const std::string& text, const Names& sides) {
    for (size_t i = 0; i < sides.size(); ++i)
      if (text.find(sides[i]) != text.npos) return i;
    ADD_FAILURE() << "no side in " << text;
    return 0;
  }
  std::string caption_of(const Scene& scene) {
    std::vector<SceneObject> from_left = scene.objects;
    std::ranges::stable_sort(from_left, {}, &SceneObject::x);
    Names parts;
    std::set<int> told;
    for (const SceneObject& object : from_left) {
      if (!told.insert(object.kind).second) continue;
      const auto number = std::ranges::count(scene.objects, object.kind, &SceneObject::kind);
      const Thing& thing = things[size_t(object.kind)];
      parts.push_back(std::to_string(number) + " " + (number == 1 ? thing.name : thing.plural));
    }
    std::string text;
    for (const std::string& part : parts) text += (text.empty() ? "" : ", ") + part;
    return text;
  }
  // Captions that differ by one in one number.
  bool is_near_caption(const Scene& scene, const std::string& caption) {
    for (const SceneObject& object : scene.objects) {
      Scene more = scene, fewer = scene;
      more.objects.push_back({object.kind, 1000, 0, 0});
      if (caption == caption_of(more)) return true;
      const auto last = std::ranges::max_element(fewer.objects, {}, [&](const SceneObject& o) {
        return o.kind == object.kind ? o.x : -1;
      });
      fewer.objects.erase(last);
      if (fewer.objects.size() > 0 && caption == caption_of(fewer)) return true;
    }
    return false;
  }
  void expect_drawn(const Scene& scene, const Image& image, const std::string& split) {
    for (const SceneObject& object : scene.objects) {
      const uint8_t* pixel =
          &image.rgb[(size_t(object.y) * size_t(image.width) + size_t(object.x)) * 3];
      EXPECT_EQ(pixel[0], colour_of(object.kind)) << things[size_t(object.kind)].name;
      const bool trained =
          pixel[1] == 25 * int(Style::twemoji) || pixel[1] == 25 * int(Style::fluent_flat);
      EXPECT_EQ(trained, split != "test_unseen_style");
      EXPECT_EQ(pixel[1] % 25, 0);
      EXPECT_EQ(pixel[2], 77);
    }
  }
  void expect_true(const Scene& scene, const Row& row) {
    const Names besides = {"to the left of", "to the right of", "above", "below"};
    const Names ways = {"further left", "further right", "further up", "further down"};
    const Names corners = {"top left", "top right", "bottom left", "bottom right"};
    const auto number = [&](const std::string& name) {
      return std::ranges::count_if(scene.objects, [&](const SceneObject& object) {
        return names[size_t(object.kind)] == name;
      });
    };
    const std::string task = count(row);
    const Names mentioned = named_in(row.question, names);
    if (task == "caption") {
      EXPECT_EQ(row.answer, caption_of(scene)) << row.id;
      EXPECT_TRUE(is_near_caption(scene, row.rejected)) << row.answer << " / " << row.rejected;
    }
    if (task == "count") {
      Names plurals;
      for (const Thing& thing : things) plurals.push_back(thing.plural);
      const Names many = named_in(row.question, plurals);
      ASSERT_EQ(many.size(), 1u) << row.question;
      const auto kind = std::ranges::find(plurals, many[0]) - plurals.begin();
      const int right = int(number(names[size_t(kind)])), rejected = std::stoi(row.rejected);
      EXPECT_EQ(row.answer, std::to_string(right)) << row.id;
      EXPECT_EQ(std::abs(rejected - right), 1) << row.id;
      EXPECT_GE(rejected, 1);
      EXPECT_LE(rejected, kMostObjects);
    }
    if (task == "yesno") {
      ASSERT_EQ(mentioned.size(), 1u) << row.question;
      expect_yes_no(row, number(mentioned[0]) > 0);
    }
    if (task == "position") {
      ASSERT_EQ(mentioned.size(), 1u) << row.question;
      const SceneObject& than = only(scene, names, mentioned[0]);
      const size_t side = side_in(row.question, besides);
      Names there;
      for (const SceneObject& object : scene.objects)
        if (&object != &than && towards(object, than, side) > 0)
          there.push_back(names[size_t(object.kind)]);
      ASSERT_EQ(there.size(), 1u) << row.id << " " << row.question;
      EXPECT_EQ(row.answer,
                (there[0] == "elephant" || there[0] == "octopus" || there[0] == "airplane" ? "an "
                                                                                           : "a ") +
                    there[0]);
      const Names wrong = named_in(row.rejected, names);
      ASSERT_EQ(wrong.size(), 1u);
      EXPECT_NE(wrong[0], mentioned[0]) << row.id;
      // Of this scene, where it has a third kind.
      EXPECT_TRUE(number(wrong[0]) > 0 || kinds_of(scene).size() == 2) << row.id;
    }
    if (task == "corner") {
      ASSERT_EQ(mentioned.size(), 1u) << row.question;
      const SceneObject& object = only(scene, names, mentioned[0]);
      const double third = 0.3 * kSceneSide;
      const std::string vertical = object.y < third                ? "top"
                                   : object.y > kSceneSide - third ? "bottom"
                                                                   : "middle";
      const std::string level = object.x < third                ? "left"
                                : object.x > kSceneSide - third ? "right"
                                                                : "middle";
      EXPECT_EQ(row.answer, vertical + " " + level) << row.id;
      EXPECT_TRUE(among(row.rejected, corners)) << row.rejected;
    }
    if (task == "compare" || task == "relation") {
      ASSERT_EQ(mentioned.size(), 2u) << row.question;
      const SceneObject& a = only(scene, names, mentioned[0]);
      const SceneObject& b = only(scene, names, mentioned[1]);
      const size_t side = side_in(row.question, task == "compare" ? ways : besides);
      const double ahead = towards(a, b, side);
      EXPECT_GE(std::abs(ahead), 14) << row.id << " is no plain case";
      if (task == "relation") return expect_yes_no(row, ahead > 0);
      EXPECT_EQ(row.answer, "the " + mentioned[ahead > 0 ? 0 : 1]) << row.id;
      EXPECT_EQ(row.rejected, "the " + mentioned[ahead > 0 ? 1 : 0]) << row.id;
    }
  }
};

TEST_F(SceneTruth, EveryAnswerAndPicture) {
  make_dataset("scenes", options);
  for (const std::string& split : splits("scenes")) {
    const auto all = pictures("scenes", split);
    ASSERT_EQ(all.size(), options.limit);
    for (size_t i = 0; i < all.size(); ++i) {
      const Scene scene = scene_of(split, i);
      EXPECT_EQ(is_held_out(scene, options.seed), split != "train") << all[i][0].id;
      EXPECT_EQ(answer_to(all[i], "caption"), caption_of(scene));
      expect_drawn(scene, read_image(all[i][0].images[0].file), split);
      for (const Row& row : all[i]) expect_true(scene, row);
    }
  }
  expect_asked({"caption", "count", "yesno", "position", "corner", "compare", "relation"});
}

// In what is written, not in what the makers of scenes promise: by the captions alone.
TEST_F(SceneTruth, WrittenTestsHoldCombinationsThatTrainingLacks) {
  make_dataset("scenes", options);
  const auto scene_in = [&](const std::string& caption) {
    Scene scene;
    for (size_t kind = 0; kind < things.size(); ++kind)
      for (const std::string& form : {things[kind].name, things[kind].plural})
        if (named_in(caption, {form}).size() == 1) {
          const size_t at = caption.find(" " + form);
          scene.objects.insert(scene.objects.end(), size_t(caption[at - 1] - '0'),
                               {int(kind), 0, 0, 0});
          break;
        }
    return scene;
  };
  for (const std::string& split : splits("scenes"))
    for (const Row& row : rows("scenes", split))
      if (row.task == "caption") {
        EXPECT_EQ(is_held_out(scene_in(row.answer), options.seed), split != "train") << row.answer;
      }
}

// The source of one thing is changed; the pictures that change are those whose rows name it.
TEST_F(Truth, PicturesShowWhatTheirRowsName) {
  options.limit = 48;
  const std::map<std::string, std::pair<std::string, std::string>> answers = {
      {"emoji", {"name", "crab"}}, {"flags", {"name", "land d"}}, {"scenes", {"caption", "crab"}}};
  const auto pixels = [&] {
    std::map<std::string, std::vector<uint8_t>> all;  // by picture
    for (const auto& [set, answer] : answers) {
      std::filesystem::remove_all(options.directory / set);
      make_dataset(set, options);
      for (const std::string& split : splits(set))
        for (const Row& row : rows(set, split))
          all[row.images[0].file.string()] = read_image(row.images[0].file).rgb;
    }
    return all;
  };
  const auto before = pixels();
  for (const Style style : {Style::twemoji, Style::fluent_flat, Style::emojione,
                            Style::emojione_monotone, Style::high_contrast, Style::fxemoji,
                            Style::streamline, Style::fluent_modern, Style::openmoji, Style::noto})
    if (const Path file = sprite_path(source(""), {"crab", "1f404"}, style);
        std::filesystem::exists(file))
      made_up::write_drawing(file, "another " + file.string());
  for (const char* file :
       {"flags/4x3/dd.png", "flags/1x1/dd.png", "emoji/openmoji/1f1e9-1f1e9.png"})
    made_up::write_drawing(source(file), "another " + std::string(file));
  const auto after = pixels();
  size_t changed = 0;
  for (const auto& [set, answer] : answers)
    for (const std::string& split : splits(set))
      for (const auto& picture : pictures(set, split)) {
        const bool named =
            !named_in(answer_to(picture, answer.first), {answer.second, "crabs"}).empty();
        const std::string file = picture[0].images[0].file.string();
        EXPECT_EQ(before.at(file) != after.at(file), named) << file;
        changed += named;
      }
  EXPECT_GT(changed, 20u);
}

TEST_F(Truth, EachTestOfEmojiIsDrawnInItsStyle) {
  const auto pixels = [&](const std::string& split) {
    std::string all;
    for (const Row& row : rows("emoji", split)) all += read_file(row.images[0].file);
    return all;
  };
  make_dataset("emoji", options);
  for (const auto& [split, folder] : {std::pair("test_modern", "fluent-modern"),
                                      {"test_openmoji", "openmoji"},
                                      {"test_noto", "noto"}}) {
    std::map<std::string, std::string> before;
    for (const std::string& other : splits("emoji")) before[other] = pixels(other);
    for (const auto& entry : std::filesystem::directory_iterator(source("emoji") / folder))
      made_up::write_drawing(entry.path(), "another " + entry.path().string());
    std::filesystem::remove_all(options.directory / "emoji");
    make_dataset("emoji", options);
    for (const std::string& other : splits("emoji"))
      EXPECT_EQ(before[other] != pixels(other), other == split) << other << " by " << folder;
  }
}

// Each made set's rows and pixels as FNV-1a numbers. Whoever changes what is made raises
// kDatasetVersion, so that a set made before is known to be another, and puts the new numbers here.
TEST_F(Truth, WhatIsMadeIsPinnedToItsVersion) {
  make_all();
  std::string text;
  for (const std::string& set : dataset_names()) {
    std::string written;
    uint64_t pixels = 0;
    for (const std::string& split : splits(set)) {
      written += read_file(file(set, split + ".json"));
      for (const Row& row : rows(set, split))
        pixels = pixels * 31 + pixel_hash(read_image(row.images[0].file));
    }
    char line[100];
    std::snprintf(line, sizeof line, "%s %016zx %016zx\n", set.c_str(),
                  size_t(made_up::hash_of(written + read_file(file(set, "REPORT.json")))),
                  size_t(pixels));
    text += line;
  }
  EXPECT_EQ(kDatasetVersion, 11);
  EXPECT_EQ(text,
            "easy-vqa 216312b84aadb53d 97f18f977d13e096\n"
            "fashion-mnist fab58fdc82bdd296 eed71dbc531cb4a1\n"
            "scenes 1331bc98a5c093bf da74483987890dcf\n"
            "emoji 2e7a633a72d63aaa 6ab99b037b69e087\n"
            "facts f1ef3d36f08f6dde 219c2bb56e4f2eb5\n"
            "flags 2aa94b79e371065f e34c2b088d4b7a83\n");
}

}  // namespace
}  // namespace revenant
