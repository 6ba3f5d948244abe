#include "base/temporary_files.h"

#include <unistd.h>

#include <atomic>
#include <cstring>

namespace revenant::temporary_files {
namespace {

// Never freed, so that the handler finds whole names whenever it comes.
struct Slot {
  enum State { unused, changing, set };
  std::atomic<State> state{unused};
  char path[4096];
};
Slot slots[64];

}  // namespace

void add(const Path& path) {
  if (path.native().size() >= sizeof slots[0].path) return;
  for (Slot& slot : slots) {
    Slot::State state = Slot::unused;
    if (!slot.state.compare_exchange_strong(state, Slot::changing)) continue;
    std::strcpy(slot.path, path.c_str());
    slot.state = Slot::set;
    return;
  }
}

void forget(const Path& path) {
  for (Slot& slot : slots)
    if (slot.state == Slot::set && path == slot.path) {
      slot.state = Slot::unused;
      return;
    }
}

void remove_all() {
  for (Slot& slot : slots)
    if (slot.state == Slot::set) ::unlink(slot.path);
}

}  // namespace revenant::temporary_files
