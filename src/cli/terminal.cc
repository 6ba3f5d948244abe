#include "cli/terminal.h"

#include <termios.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <string_view>

namespace revenant::terminal {
namespace {

struct termios before, during;
std::atomic<bool> held{false};

void write_all(std::string_view text) {
  if (::write(STDERR_FILENO, text.data(), text.size()) < 0) return;  // nobody sees it, then
}

void hold() {
  ::tcsetattr(STDIN_FILENO, TCSANOW, &during);
  write_all("\033[?2004h");  // bracketed paste
}

void end_by(int number) {
  restore();
  std::signal(number, SIG_DFL);
  ::raise(number);
}

}  // namespace

Held::Held() {
  if (::tcgetattr(STDIN_FILENO, &before) != 0) return;
  during = before;
  during.c_lflag &= tcflag_t(~(ICANON | ECHO));
  during.c_cc[VMIN] = 1;
  during.c_cc[VTIME] = 0;
  for (const int number : {SIGHUP, SIGQUIT}) std::signal(number, end_by);
  held = true;
  hold();
}

Held::~Held() { restore(); }

void restore() {
  if (!held.exchange(false)) return;
  write_all("\033[?2004l");
  ::tcsetattr(STDIN_FILENO, TCSANOW, &before);
}

void suspend() {
  restore();
  ::kill(0, SIGTSTP);
  held = true;
  hold();
}

}  // namespace revenant::terminal
