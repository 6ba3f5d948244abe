// `revenant chat` on a terminal: keys, pastes, dropped pictures, history.
#include <sys/stat.h>

#include "cli/dropped.h"
#include "cli/fixture.h"
#include "cli/terminal.h"

namespace revenant {
namespace {

// ---- what a terminal writes when files are dropped onto it ----

using Paths = std::vector<Path>;

TEST(Dropped, EveryTerminalsWayOfWritingAPath) {
  const std::pair<const char*, Paths> cases[] = {
      {"/a/b.png", {"/a/b.png"}},
      {"  /a/b.png \t", {"/a/b.png"}},
      {"'/a/my b.png' ", {"/a/my b.png"}},
      {"\"/a/my b.png\"", {"/a/my b.png"}},
      {"/a/my\\ b.png ", {"/a/my b.png"}},
      {"'/a/it'\\''s.png'", {"/a/it's.png"}},
      {"/a/it\\'s\\ \\(1\\).png", {"/a/it's (1).png"}},
      {"\"/a/\\\"x\\\" \\$1 \\n.png\"", {"/a/\"x\" $1 \\n.png"}},
      {"file:///a/my%20b%C3%A4.png", {"/a/my bä.png"}},
      {"file://localhost/a/100%25.png", {"/a/100%.png"}},
      {"file:/a/b%2.png", {"/a/b%2.png"}},
      {"file://elsewhere/b.png", {"file://elsewhere/b.png"}},
      {"/no such/my b.png", {"/no such/my b.png"}},  // typed as it is
      {"'/a/open", {"'/a/open"}},
      {"", {}},
      {" \t", {}}};
  for (const auto& [text, paths] : cases) EXPECT_EQ(dropped_paths(text), paths) << text;
}

class DroppedFiles : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(place_);
    for (const char* name : {"one.png", "my two.JPG", "end \t", "back\\ slash.webp", "'q'.png"})
      write_file(place_ / name, "x");
  }
  void TearDown() override { std::filesystem::remove_all(place_); }
  std::string path(const char* name) const { return (place_ / name).string(); }
  const Path place_ =
      Path(testing::TempDir()) / ("dropped files " + std::to_string(::getpid()));  // with blanks
};

TEST_F(DroppedFiles, WhatIsThereIsTakenAsItIs) {
  for (const char* name : {"one.png", "my two.JPG", "end \t", "back\\ slash.webp", "'q'.png"})
    EXPECT_EQ(dropped_paths(path(name)), Paths{place_ / name}) << name;
  EXPECT_EQ(dropped_paths(path("my two.JPG") + " "), Paths{place_ / "my two.JPG"});
}

TEST_F(DroppedFiles, SeveralAtOnce) {
  const Paths both = {place_ / "one.png", place_ / "my two.JPG"};
  EXPECT_EQ(dropped_paths("'" + path("one.png") + "' '" + path("my two.JPG") + "' "), both);
  std::string uris;  // text/uri-list
  for (const Path& picture : both) {
    std::string uri = "file://" + picture.string();
    for (size_t at; (at = uri.find(' ')) != uri.npos;) uri.replace(at, 1, "%20");
    uris += uri + "\r\n";
  }
  EXPECT_EQ(dropped_paths(uris), both);
  ::setenv("HOME", place_.c_str(), 1);
  EXPECT_EQ(dropped_paths("~/one.png \"~/my two.JPG\""), both);
}

TEST_F(DroppedFiles, IntoAQuestion) {
  const auto is = [](const std::string& line, const Paths& pictures, const std::string& question) {
    const Dropped parts = split_dropped(line);
    EXPECT_EQ(parts.pictures, pictures) << line;
    EXPECT_EQ(parts.question, question) << line;
  };
  const std::string one = path("one.png"), two = path("my two.JPG");
  is("'" + one + "' ", {one}, "");
  is("what's this? '" + one + "' ", {one}, "what's this?");
  is("'" + one + "' what's in \"it\"?", {one}, "what's in \"it\"?");
  is("is '" + one + "' or '" + two + "' red?", {one, two}, "is or red?");
  is(two, {two}, "");
  is("look: " + two + " please", {two}, "look: please");  // terminals that quote nothing
  is("see /none/a.png", {"/none/a.png"}, "see");          // that it is missing is told later
  for (const char* text : {"what is one.png?", "5 / 2.5", "what is in /etc/passwd ?", " a  b ",
                           "a file is 'named x.png", "http://x/y.png", "and/or.png"})
    is(text, {}, text);
}

// ---- on a terminal ----

struct Chat : Cli {
  Words words() const { return {"chat", "-m", model_, "-n", "24", "-v", "-t", "1"}; }
  Path out() const { return place_ / "out"; }
  Words settings() const { return {"XDG_STATE_HOME=" + (place_ / "state").string()}; }
  Path history() const { return place_ / "state" / "revenant" / "history"; }
  std::string answer(const std::string& question, const Words& more = {}) const {
    Words words = {"run", "-m", model_, "-n", "24", "-p", question};
    words.insert(words.end(), more.begin(), more.end());
    const Outcome got = run(words);
    EXPECT_EQ(got.code, 0) << got.err;
    return got.out;
  }
};

TEST_F(Chat, ALongPasteIsAskedWhole) {
  std::string text;
  while (text.size() < 6000) text += "what color is the shape? ";
  text.resize(6000 - 1);
  for (const bool marked : {false, true}) {
    Terminal terminal(words(), out(), settings());
    terminal.until("> ");
    const std::string told = terminal.say(marked ? "\033[200~" + text + "\033[201~" : text);
    EXPECT_EQ(terminal.end(), 0);
    EXPECT_EQ(read_file(out()), answer(text)) << marked << told;
  }
}

TEST_F(Chat, QuestionsOfSeveralLines) {
  const std::string lines = "first\nsecond\tline\n\nfourth";
  const std::string typed[] = {"\033[200~first\rsecond\tline\r\rfourth\r\033[201~",
                               "\033[200~first\r\nsecond\tline\r\n\r\nfourth\033[201~",
                               "\033[200~first\nsecond\tline\n\n\033[201~fourth",
                               "first\033\rsecond\tline\033\r\033\rfourth",
                               "first\\\rsecond\tline\\\r\\\rfourth"};
  for (const std::string& keys : typed) {
    Terminal terminal(words(), out(), settings());
    terminal.until("> ");
    terminal.say(keys);
    EXPECT_EQ(terminal.end(), 0);
    EXPECT_EQ(read_file(out()), answer(lines)) << keys;
  }
}

TEST_F(Chat, KeysEditALineByCharactersNotBytes) {
  Terminal terminal(words(), out(), {"XDG_STATE_HOME=/nowhere/at all", "LC_ALL=C"});
  const std::string begin = terminal.until("> ");
  terminal.say("xx\xE6\x97\xA5\xC3\xA4\xF0\x9F\x98\x80\x7f\x7fz\x01\x04\x04");
  EXPECT_EQ(terminal.end(), 0);
  EXPECT_EQ(read_file(out()), answer("日z"));
}

TEST_F(Chat, ControlCLeavesALineAndControlDEnds) {
  {
    Terminal terminal(words(), out(), settings());
    terminal.until("> ");
    terminal.type("never asked\x03");
    EXPECT_NE(terminal.until("\n> ").find("^C"), std::string::npos);
    terminal.type("\x03");
    EXPECT_NE(terminal.until("\n> ").find("Ctrl-D"), std::string::npos);
    terminal.say("asked");
    terminal.type("\x03");
    terminal.until("\n> ");
    EXPECT_EQ(terminal.end("\x03"), 130);
    EXPECT_TRUE(terminal.as_before());
  }
  EXPECT_EQ(read_file(out()), answer("asked"));
  Terminal terminal(words(), out(), settings());
  terminal.until("> ");
  EXPECT_FALSE(terminal.as_before());
  EXPECT_EQ(terminal.end(), 0);
  EXPECT_TRUE(terminal.as_before());
}

TEST_F(Chat, ControlCEndsAnAnswerAndNotTheChat) {
  Words endless = words();
  *(std::ranges::find(endless, "-n") + 1) = "1000000";
  Terminal terminal(endless, out(), settings());
  terminal.until("> ");
  for (int time = 0; time < 2; ++time) {
    const size_t before = read_file(out()).size();
    terminal.type("what?\r");
    for (int i = 0; i < 600 && read_file(out()).size() <= before; ++i) terminal.until("> ", 0);
    terminal.type("\x03");
    EXPECT_NE(terminal.until("\n> ").find("> "), std::string::npos);
    EXPECT_TRUE(read_file(out()).ends_with('\n'));
    terminal.say("/reset");
  }
  EXPECT_EQ(terminal.end(), 0);
}

// What is typed during an answer waits, longer than a line that the system would collect.
TEST_F(Chat, NothingTypedAheadIsLost) {
  const std::string second(6000, 'y');
  Terminal terminal(words(), out(), settings());
  terminal.until("\033[?2004h");  // the model is still being opened
  terminal.type("one\r/reset\r" + second + "\r");
  for (int prompts = 0; prompts < 4; ++prompts) terminal.until("> ");
  EXPECT_EQ(terminal.end(), 0);
  EXPECT_EQ(read_file(out()), answer("one") + answer(second));
}

TEST_F(Chat, ASignalGivesTheTerminalBack) {
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) {
    Terminal terminal(words(), out(), settings());
    terminal.until("> ");
    ::kill(terminal.pid(), number);
    EXPECT_EQ(terminal.end(""), 128 + number);
    EXPECT_TRUE(terminal.as_before()) << number;
  }
}

TEST_F(Chat, HistoryIsKeptForItsOwnerAlone) {
  {
    Terminal terminal(words(), out(), settings());
    terminal.until("> ");
    terminal.say("\033[200~one\rtwo ä\033[201~");
    terminal.say("three");
    EXPECT_EQ(terminal.end(), 0);
  }
  EXPECT_EQ(read_file(history()), "\"one\\ntwo ä\"\n\"three\"\n");
  struct stat info {};
  ASSERT_EQ(::stat(history().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  ASSERT_EQ(::stat(history().parent_path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  {
    Terminal terminal(words(), out(), settings());  // another chat goes back to it
    terminal.until("> ");
    terminal.say("\033[A\033[A");
    EXPECT_EQ(terminal.end(), 0);
  }
  EXPECT_EQ(read_file(out()), answer("one\ntwo ä"));
  Words quiet = words();
  quiet.push_back("--no-history");
  const std::string before = read_file(history());
  Terminal terminal(quiet, out(), settings());
  terminal.until("> ");
  terminal.say("\033[Asecret");
  EXPECT_EQ(terminal.end(), 0);
  EXPECT_EQ(read_file(history()), before);
  EXPECT_EQ(read_file(out()), answer("secret"));
}

TEST_F(Chat, AHistoryThatGrewIsCutAndDamageInItDoesNoHarm) {
  std::filesystem::create_directories(history().parent_path());
  std::string lines = "\xff broken\n";
  for (int i = 0; i < 2500; ++i) lines += "\"line " + std::to_string(i) + "\"\n";
  write_file(history(), lines);
  Terminal terminal(words(), out(), settings());
  terminal.until("> ");
  terminal.say("\033[A");
  EXPECT_EQ(terminal.end(), 0);
  EXPECT_EQ(read_file(out()), answer("line 2499"));
  const std::string kept = read_file(history());
  EXPECT_TRUE(kept.starts_with("\"line 1500\"\n")) << kept.substr(0, 40);
  EXPECT_EQ(std::count(kept.begin(), kept.end(), '\n'), 1001);
  struct stat info {};
  ASSERT_EQ(::stat(history().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

// Where history has no place, one line says so and the chat goes on.
TEST_F(Chat, HistoryWithoutAPlace) {
  write_file(place_ / "file", "");
  Terminal terminal(words(), out(), {"XDG_STATE_HOME=" + (place_ / "file").string()});
  terminal.until("> ");
  EXPECT_NE(terminal.say("one").find("no history is kept"), std::string::npos);
  EXPECT_EQ(terminal.say("two").find("no history is kept"), std::string::npos);
  EXPECT_EQ(terminal.end(), 0);
}

// ---- pictures ----

TEST_F(Chat, DroppedPicturesAreSeen) {
  const Path odd = place_ / "it's my \xC3\xA4 (1).png";
  std::filesystem::copy(picture_, odd);
  const std::string expected = answer("what?", {"--image", picture_});
  EXPECT_NE(expected, answer("what?"));
  const std::string lines[] = {
      "/image " + odd.string() + " ",
      "/image\t'" + (place_ / "it'\\''s my \xC3\xA4 (1).png' ").string(),
      "/image \"" + odd.string() + "\"",
      "/image " + (place_ / "it\\'s\\ my\\ \xC3\xA4\\ \\(1\\).png ").string(),
      "/image file://" + (place_ / "it's%20my%20%C3%A4%20(1).png").string(),
      "/image ~/picture.png",
      "\033[200~'" + picture_ + "' \033[201~"};
  for (const std::string& line : lines) {
    Terminal terminal(words(), out(), {"HOME=" + place_.string(), "XDG_STATE_HOME"});
    terminal.until("> ");
    const std::string told = terminal.say(line);
    EXPECT_NE(told.find("picture: /"), std::string::npos) << told;
    terminal.say("what?");
    EXPECT_EQ(terminal.end(), 0);
    EXPECT_EQ(read_file(out()), expected) << line;
  }
  Terminal terminal(words(), out(), settings());
  terminal.until("> ");
  terminal.say("what? '" + picture_ + "' ");  // into the question itself
  EXPECT_EQ(terminal.end(), 0);
  EXPECT_EQ(read_file(out()), expected);
}

TEST_F(Chat, SeveralPicturesAtOnceAllOrNone) {
  const std::string grey = (place_ / "grey.png").string(), none = (place_ / "none.png").string();
  write_file(grey, encode_png(blank_image(60, 60)));
  const std::string ab = answer("what?", {"--image", picture_, "--image", grey}),
                    ba = answer("what?", {"--image", grey, "--image", picture_});
  EXPECT_NE(ab, ba);
  Terminal terminal(words(), out(), settings());
  terminal.until("> ");
  EXPECT_NE(terminal.say("/image " + picture_ + " " + none).find("none.png"), std::string::npos);
  terminal.say("/image " + picture_ + " " + grey);
  terminal.say("what?");
  terminal.say("/reset");
  terminal.say("/image " + grey + " " + picture_);
  terminal.say("what?");
  EXPECT_EQ(terminal.end(), 0);
  EXPECT_EQ(read_file(out()), ab + ba);
}

TEST_F(Chat, NothingIsAskedAboutAPictureThatWasNotSeen) {
  const std::string none = (place_ / "none.png").string();
  for (const std::string& line : {"/image " + none, "'" + none + "' ", "which? " + none}) {
    Terminal terminal(words(), out(), settings());
    terminal.until("> ");
    EXPECT_NE(terminal.say(line).find("none.png: cannot open"), std::string::npos) << line;
    for (int time = 0; time < 2; ++time) {
      const std::string told = terminal.say("what?");
      EXPECT_NE(told.find("not asked"), std::string::npos) << told;
      EXPECT_NE(told.find("none.png"), std::string::npos) << told;
    }
    EXPECT_EQ(read_file(out()), "");
    terminal.say("/without");
    EXPECT_EQ(read_file(out()), answer("what?")) << line;
    terminal.say("/reset");
    terminal.say("/image " + none);
    terminal.say("/without which?");
    EXPECT_EQ(read_file(out()), answer("what?") + answer("which?")) << line;
    terminal.say("/reset");
    terminal.say("/image " + none);
    terminal.say("/image " + picture_);  // the right one
    terminal.say("what?");
    EXPECT_EQ(terminal.end(), 0);
    EXPECT_EQ(read_file(out()),
              answer("what?") + answer("which?") + answer("what?", {"--image", picture_}));
  }
}

// ---- other terminals ----

TEST_F(Chat, ATerminalThatOnlyPrintsHasPlainLines) {
  for (const char* type : {"TERM=dumb", "TERM"}) {
    Words environment = settings();
    environment.push_back(type);
    Terminal terminal(words(), out(), environment);
    EXPECT_EQ(terminal.until("> ").find('\033'), std::string::npos);
    EXPECT_EQ(terminal.say("what?").find('\033'), std::string::npos);
    EXPECT_NE(terminal.say(std::string(5000, 'x')).find("4,095"), std::string::npos);
    EXPECT_EQ(terminal.end(), 1);
    EXPECT_EQ(read_file(out()), answer("what?"));
  }
}

TEST_F(Chat, NarrowWindowsAndWindowsThatChange) {
  for (const int columns : {1, 2, 7}) {
    Terminal terminal(words(), out(), settings(), columns, 2);
    terminal.until("> ", 5);
    terminal.type("what is in th");
    terminal.resize(columns + 3, 5);
    terminal.type("is picture?\r");
    for (int i = 0; i < 200 && read_file(out()).empty(); ++i) terminal.until("nothing", 0);
    EXPECT_EQ(terminal.end(), 0) << columns;
    EXPECT_EQ(read_file(out()), answer("what is in this picture?")) << columns;
  }
}

// Lines that come from elsewhere end in \n or \r\n.
TEST_F(Chat, LinesOfAPipe) {
  const Words chat = {"chat", "-m", model_, "-n", "24"};
  const Outcome unix_lines = run(chat, "what?\n/reset\nwhich?\n"),
                windows_lines = run(chat, "what?\r\n/reset\r\nwhich?\r\n");
  EXPECT_EQ(unix_lines.code, 0) << unix_lines.err;
  EXPECT_EQ(unix_lines.err, "");
  EXPECT_EQ(unix_lines.out, answer("what?") + answer("which?"));
  EXPECT_EQ(windows_lines.out, unix_lines.out);
  const std::string none = (place_ / "none.png").string();
  const Outcome failed = run(chat, "/image " + none + "\nwhat?\n");
  EXPECT_EQ(failed.code, 1);
  EXPECT_EQ(failed.out, "");
  EXPECT_NE(failed.err.find("none.png"), std::string::npos);
  EXPECT_EQ(run(chat, std::string(6000, 'x') + "\n").out, answer(std::string(6000, 'x')));
}

}  // namespace
}  // namespace revenant
