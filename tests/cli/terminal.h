// The program on a terminal of its own, as a person would use it.
#pragma once

#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/file.h"

namespace revenant {

class Terminal {
 public:
  using Words = std::vector<std::string>;

  // stdin and stderr are the terminal, and so is stdout where `out` names no file. `settings` are
  // NAME=value of the environment, "NAME" takes one away.
  Terminal(const Words& arguments, const Path& out, const Words& settings = {}, int columns = 80,
           int rows = 24) {
    struct winsize size {
      static_cast<unsigned short>(rows), static_cast<unsigned short>(columns), 0, 0
    };
    Words words = {(Path(REVENANT_BIN_DIR) / "revenant").string()};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> pointers;
    for (std::string& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    child_ = ::forkpty(&master_, nullptr, nullptr, &size);
    if (child_ < 0) throw std::runtime_error("no terminal");
    if (child_ > 0) {
      ::tcgetattr(master_, &before_);
      return;
    }
    ::setenv("TERM", "xterm", 1);
    for (std::string setting : settings) {
      const size_t end = setting.find('=');
      if (end == setting.npos) {
        ::unsetenv(setting.c_str());
      } else {
        ::setenv(setting.substr(0, end).c_str(), setting.substr(end + 1).c_str(), 1);
      }
    }
    if (!out.empty())
      ::dup2(::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), STDOUT_FILENO);
    ::execv(pointers[0], pointers.data());
    ::_exit(127);
  }
  ~Terminal() {
    if (child_ > 0) {
      ::kill(child_, SIGKILL);
      ::waitpid(child_, nullptr, 0);
    }
    ::close(master_);
  }
  Terminal(const Terminal&) = delete;

  // In pieces, as terminals do, and reading meanwhile, so that neither side waits for the other.
  void type(const std::string& text) {
    for (size_t at = 0; at < text.size(); at += 500) {
      const std::string piece = text.substr(at, 500);
      if (::write(master_, piece.data(), piece.size()) < 0) return;
      take(5);
    }
  }
  // What it wrote up to and with `end`, or all within `seconds`.
  std::string until(const std::string& end, int seconds = 60) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
    take(20);
    size_t at = 0;
    while ((at = waiting_.find(end)) == waiting_.npos && std::chrono::steady_clock::now() < limit)
      if (!take(50) && ended_) break;
    const size_t size = at == waiting_.npos ? waiting_.size() : at + end.size();
    const std::string text = waiting_.substr(0, size);
    waiting_.erase(0, size);
    return text;
  }
  // Everything up to the next prompt.
  std::string say(const std::string& line) {
    type(line + "\r");
    return until("\n> ");
  }
  int end(const std::string& keys = "\x04") {  // the exit code
    type(keys);
    for (int i = 0; i < 600; ++i) {
      if (!take(50)) ::usleep(50'000);
      int status = 0;
      if (::waitpid(child_, &status, WNOHANG) != child_) continue;
      child_ = 0;
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    return -1;
  }
  void resize(int columns, int rows) {
    struct winsize size {
      static_cast<unsigned short>(rows), static_cast<unsigned short>(columns), 0, 0
    };
    ::ioctl(master_, TIOCSWINSZ, &size);
  }
  // Whether lines are collected and echoed as at the beginning.
  bool as_before() const {
    struct termios now {};
    ::tcgetattr(master_, &now);
    return now.c_lflag == before_.c_lflag && now.c_iflag == before_.c_iflag;
  }
  pid_t pid() const { return child_; }

 private:
  bool take(int milliseconds) {
    struct pollfd ready {
      master_, POLLIN, 0
    };
    if (::poll(&ready, 1, milliseconds) <= 0) return false;
    char bytes[4096];
    const ssize_t n = ::read(master_, bytes, sizeof bytes);
    if (n <= 0) {
      ended_ = true;
      return false;
    }
    waiting_.append(bytes, size_t(n));
    return true;
  }

  pid_t child_ = 0;
  int master_ = -1;
  bool ended_ = false;
  std::string waiting_;
  struct termios before_ {};
};

}  // namespace revenant
