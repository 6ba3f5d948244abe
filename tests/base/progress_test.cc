// A bar keeps to one row of the terminal; where the cursor cannot move there are lines.
#include "base/progress.h"

#include <gtest/gtest.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

namespace revenant {
namespace {

// What a terminal of so many columns is sent.
std::string shown(const char* type, unsigned short columns) {
  struct winsize size {
    24, columns, 0, 0
  };
  int master = -1;
  const pid_t child = ::forkpty(&master, nullptr, nullptr, &size);
  if (child == 0) {
    ::setenv("TERM", type, 1);
    {
      Progress progress("eval", "rows");
      progress.show(1, 2, "12.5 rows/s");
      progress.show(2, 2, "12.5 rows/s");
    }
    ::_exit(0);
  }
  std::string text;
  char bytes[1024];
  for (ssize_t n; (n = ::read(master, bytes, sizeof bytes)) > 0;) text.append(bytes, size_t(n));
  ::waitpid(child, nullptr, 0);
  ::close(master);
  return text;
}

TEST(Progress, ABarKeepsToItsRow) {
  EXPECT_EQ(shown("xterm", 20), "\r\033[Keval [############.\r\033[Keval [#############\r\n");
  const std::string wide = shown("xterm", 100);
  EXPECT_NE(wide.find("[############............] 1/2 rows, 0:00 left, 12.5 rows/s"), wide.npos)
      << wide;
}

TEST(Progress, LinesWhereTheCursorCannotMove) {
  EXPECT_EQ(shown("dumb", 20),
            "eval 1/2 rows, 0:00 left, 12.5 rows/s\r\neval 2/2 rows, 0:00 left, 12.5 rows/s\r\n");
}

}  // namespace
}  // namespace revenant
