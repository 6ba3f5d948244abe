// revenant chat: questions and answers, with all that was said before.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <functional>
#include <iostream>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "cli/conversation.h"
#include "cli/dropped.h"
#include "cli/history.h"
#include "cli/line_editor.h"
#include "cli/program.h"
#include "cli/remote.h"
#include "text/unicode.h"

namespace revenant {
namespace {

struct Args {
  SpeakArgs speak;
  RemoteArgs remote;
  bool no_history = false;
};

constexpr char help[] =
    "A question ends with Enter; Alt-Enter, or \\ before Enter, begins a new line in it.\n"
    "  /image PATH...       shows pictures with the next question; dropped files do too\n"
    "  /without [QUESTION]  asks although a picture could not be shown\n"
    "  /reset               forgets all that was said and shown\n"
    "  /quit, Ctrl-D        ends\n"
    "Ctrl-C stops what is computed or leaves a line; Up and Ctrl-R find earlier lines.\n";

// On a terminal, the first interrupt ends what is being done (a picture or a prompt being read, an
// answer) and not the chat.
std::atomic<bool> working{false}, interrupted{false};

void on_interrupt(int number) {
  if (working && !interrupted.exchange(true)) return;
  terminal::restore();
  _exit(128 + number);
}

// Calls work(go_on), which an interrupt stops.
template <class F>
void interruptible(const F& work) {
  interrupted = false;
  working = true;
  try {
    work([] { return !interrupted; });
  } catch (const Stopped&) {
    std::fprintf(stderr, "stopped\n");
  } catch (...) {
    working = false;
    throw;
  }
  working = false;
}

// With a model that is opened here, or one behind a server.
struct Talk {
  std::function<void(std::span<const Path> pictures, const GoOn& go_on)> show;
  std::function<void(const std::string& question, const GoOn& go_on)> ask;
  std::function<void()> reset;
};
template <class Conversation>
Talk talk_with(Conversation& with) {
  return {
      [&with](std::span<const Path> pictures, const GoOn& go_on) { with.show(pictures, go_on); },
      [&with](const std::string& question, const GoOn& go_on) { with.ask(question, go_on); },
      [&with] { with.reset(); }};
}

struct Chat {
  Talk conversation;
  bool terminal;         // somebody is there to correct mistakes
  std::string unseen{};  // what was to be shown and could not be; nothing is asked without it
  std::string held{};    // the question that waits for it
};

// What is typed after a command's name and white space.
bool is_command(std::string_view line, std::string_view name, std::string_view& rest) {
  if (!line.starts_with(name)) return false;
  line.remove_prefix(name.size());
  if (!line.empty() && line[0] != ' ' && (line[0] < '\t' || line[0] > '\r')) return false;
  rest = line.empty() ? line : line.substr(1);
  return true;
}

bool is_blank(std::string_view text) { return strip(repaired(text)).empty(); }

// All of them or none.
void show(Chat& chat, const std::vector<Path>& pictures) {
  if (pictures.empty()) throw Error("chat", "/image", "a path", "none");
  chat.unseen = pictures[0].string() + (pictures.size() > 1 ? " and others" : "");
  interruptible([&](const GoOn& go_on) {
    chat.conversation.show(pictures, go_on);
    chat.unseen.clear();
    chat.held.clear();
  });
  if (!chat.terminal || !chat.unseen.empty()) return;
  for (const Path& picture : pictures)
    std::fprintf(stderr, "%s\n", one_line("picture: " + picture.string()).c_str());
}

void ask(Chat& chat, const std::string& question) {
  interruptible([&](const GoOn& go_on) { chat.conversation.ask(question, go_on); });
}

// On a terminal pictures may have been dropped into the line.
void question(Chat& chat, const std::string& line) {
  const Dropped parts = chat.terminal ? split_dropped(line) : Dropped{{}, line};
  if (line[0] == '/' && parts.pictures.empty())
    throw Error("chat", "command", "/image PATH, /without, /reset, /help or /quit", line);
  if (!is_blank(parts.question)) chat.held = parts.question;
  if (!parts.pictures.empty()) show(chat, parts.pictures);
  if (is_blank(parts.question)) return;
  if (!chat.unseen.empty())
    throw Error("chat", "the question was not asked",
                "/image PATH, or /without to ask it all the same",
                "a picture that was not seen, " + chat.unseen);
  chat.held.clear();
  ask(chat, parts.question);
}

void ask_without(Chat& chat, std::string_view rest) {
  chat.unseen.clear();
  const std::string text = is_blank(rest) ? std::exchange(chat.held, "") : std::string(rest);
  if (!text.empty()) ask(chat, text);
}

void reset(Chat& chat) {
  chat.conversation.reset();
  chat.unseen.clear();
  chat.held.clear();
}

// False: the end.
bool obey(Chat& chat, const std::string& line) {
  std::string_view rest;
  if (is_blank(line)) return true;
  if (is_command(line, "/quit", rest)) return false;
  if (is_command(line, "/reset", rest))
    reset(chat);
  else if (is_command(line, "/image", rest))
    show(chat, dropped_paths(rest));
  else if (is_command(line, "/without", rest))
    ask_without(chat, rest);
  else if (is_command(line, "/help", rest))
    std::fputs(help, stderr);
  else
    question(chat, line);
  return true;
}

// Mistakes end the chat only where nobody is there to correct them.
bool obey_or_tell(Chat& chat, const std::string& line) {
  try {
    return obey(chat, line);
  } catch (const Error& error) {
    if (!chat.terminal) throw;
    std::fprintf(stderr, "%s\n", one_line(error.what()).c_str());
    return true;
  }
}

using NextLine = std::function<std::optional<std::string>()>;

// As they come; from a terminal that cannot be edited on, the system collects a line.
std::optional<std::string> plain_line(bool terminal) {
  if (terminal) std::fputs("> ", stderr);
  std::string line;
  if (!std::getline(std::cin, line)) return std::nullopt;
  constexpr size_t most = 4095;  // n_tty(4): it drops the rest
  if (terminal && line.size() >= most)
    throw Error("chat", "line", "fewer than 4,095 bytes on this terminal (or a pipe)", "more");
  if (line.ends_with('\r')) line.pop_back();
  return line;
}

// Warns and keeps nothing where there is no place for it.
Path open_history(LineEditor& editor) {
  try {
    const Path file = history_file();
    for (const std::string& line : read_history(file)) editor.remember(line);
    return file;
  } catch (const Error& error) {
    tell_warnings({std::string(error.what()) + "; no history is kept"});
    return {};
  }
}

void keep(Path& history, const std::string& line) {
  try {
    if (!history.empty()) append_history(history, line);
  } catch (const Error& error) {
    tell_warnings({std::string(error.what()) + "; no history is kept"});
    history.clear();
  }
}

NextLine edited_lines(bool with_history) {
  const auto editor = std::make_shared<LineEditor>();
  const auto history = std::make_shared<Path>(with_history ? open_history(*editor) : Path());
  return [editor, history] {
    std::optional<std::string> line = editor->read();
    while (line && line->ends_with('\n')) line->pop_back();
    if (line && !is_blank(*line)) {
      editor->remember(*line);
      keep(*history, *line);
    }
    return line;
  };
}

NextLine lines_of(bool terminal, bool with_history) {
  if (terminal && moves_the_cursor(STDERR_FILENO)) return edited_lines(with_history);
  return [terminal] { return plain_line(terminal); };
}

void talk(const Args& args, const Talk& with, const NextLine& next, bool terminal) {
  Chat chat{with, terminal};
  if (!args.speak.images.empty()) chat.conversation.show(args.speak.images, {});
  if (terminal) {
    std::signal(SIGINT, on_interrupt);
    std::fputs("/image PATH shows a picture, /help tells more, Ctrl-D ends.\n", stderr);
  }
  while (const std::optional<std::string> line = next())
    if (!obey_or_tell(chat, *line)) break;
}

void chat(const Args& args) {
  const bool terminal = isatty(STDIN_FILENO) != 0;
  const NextLine next = lines_of(terminal, !args.no_history);  // what is typed meanwhile waits
  if (!args.remote.server.server.empty()) {
    RemoteConversation conversation(args.remote, args.speak);
    return talk(args, talk_with(conversation), next, terminal);
  }
  const Model model(args.speak.model.directory, args.speak.model.options);
  tell_warnings(model.warnings());
  model.speech();
  Conversation conversation(model, args.speak);
  talk(args, talk_with(conversation), next, terminal);
}

}  // namespace

void add_chat(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* command = app.add_subcommand("chat", "A conversation, one line a question");
  add_speak_options(*command, args->speak);
  add_search_options(*command, args->speak);
  command->get_option("--model")->required(false);
  add_remote_options(*command, args->remote);
  command->add_flag("--no-history", args->no_history, "neither read nor keep what is typed");
  command->footer(
      "Lines: /image PATH shows a picture with the next question, /reset forgets all,\n"
      "/quit ends; /help and docs/chat.md tell more. Ctrl-C stops what is being done: reading a\n"
      "picture or a question, answering.\n"
      "With --server the model is anybody's behind OpenAI's routes, and -m its name there.\n"
      "Example: revenant chat -m MODEL --image cat.jpg\n"
      "         revenant chat --server http://127.0.0.1:8080 --image cat.jpg");
  command->callback([args, command] {
    args->remote.sent = sent_fields(*command, args->speak);
    chat(*args);
  });
}

}  // namespace revenant
