// revenant chat: questions and answers, with all that was said before.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <iostream>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/conversation.h"

namespace revenant {
namespace {

// On a terminal, the first interrupt ends what is being done (a picture or a prompt being read, an
// answer) and not the chat.
std::atomic<bool> working{false}, interrupted{false};

void on_interrupt(int number) {
  if (!working || interrupted.exchange(true)) _exit(128 + number);
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

// What is typed after a command's name and a space.
bool is_command(std::string_view line, std::string_view name, std::string* rest = nullptr) {
  if (!line.starts_with(name)) return false;
  line.remove_prefix(name.size());
  if (!line.empty() && line[0] != ' ') return false;
  const size_t begin = line.find_first_not_of(' ');
  if (rest) *rest = begin == line.npos ? "" : std::string(line.substr(begin));
  return true;
}

// False: the end.
bool obey(Conversation& conversation, const std::string& line) {
  std::string rest;
  if (line.find_first_not_of(' ') == line.npos) return true;
  if (is_command(line, "/quit")) return false;
  if (is_command(line, "/reset"))
    conversation.reset();
  else if (is_command(line, "/image", &rest))
    interruptible([&](const GoOn& go_on) { conversation.show(rest, go_on); });
  else if (line[0] == '/')
    throw Error("chat", "command", "/image PATH, /reset or /quit", line);
  else
    interruptible([&](const GoOn& go_on) { conversation.ask(line, go_on); });
  return true;
}

// Mistakes end the chat only where nobody is there to correct them.
bool obey_or_tell(Conversation& conversation, const std::string& line, bool terminal) {
  try {
    return obey(conversation, line);
  } catch (const Error& error) {
    if (!terminal) throw;
    std::fprintf(stderr, "%s\n", error.what());
    return true;
  }
}

void chat(const SpeakArgs& args) {
  const Model model(args.model.directory, args.model.options);
  tell_warnings(model.warnings());
  model.speech();
  Conversation conversation(model, args);
  for (const Path& image : args.images) conversation.show(image);
  const bool terminal = isatty(STDIN_FILENO) != 0;
  if (terminal) {
    std::signal(SIGINT, on_interrupt);
    std::fprintf(stderr, "/image PATH shows a picture, /reset forgets, /quit ends.\n");
  }
  for (std::string line;;) {
    if (terminal) std::fprintf(stderr, "> ");
    if (!std::getline(std::cin, line)) break;
    if (line.ends_with('\r')) line.pop_back();
    if (!obey_or_tell(conversation, line, terminal)) break;
  }
}

}  // namespace

void add_chat(CLI::App& app) {
  auto args = std::make_shared<SpeakArgs>();
  CLI::App* command = app.add_subcommand("chat", "A conversation, one line a question");
  add_speak_options(*command, *args);
  add_search_options(*command, *args);
  command->footer(
      "Lines: /image PATH shows a picture with the next question, /reset forgets all,\n"
      "/quit ends. Ctrl-C stops what is being done: reading a picture or a question, answering.\n"
      "Example: revenant chat -m MODEL --image cat.jpg");
  command->callback([args] { chat(*args); });
}

}  // namespace revenant
