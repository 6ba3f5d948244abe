// Whether all processes of a run are alive. Each gives a sign of life into c10d's store every half
// second and looks for the others'; one that gives none is lost, and then the run ends on all: what
// waits for it in a collective would wait for ever.
#pragma once

#include <torch/csrc/distributed/c10d/Store.hpp>

#include <atomic>
#include <mutex>
#include <thread>

#include "train/ranks.h"

namespace revenant {

class RankWatch {
 public:
  // `store` is a connection of its own. `end` is called on a thread of the watch.
  RankWatch(c10::intrusive_ptr<c10d::Store> store, const RankPlace& place, EndLost end);
  // This rank has done its part, nobody will miss it. Whoever holds the store leaves last.
  ~RankWatch();

  // A connection to another rank broke: waits until the watch knows whose, and ends.
  [[noreturn]] void suspect(const std::string& reason);

  // True if this rank is the first to say why the run ends, so that it is said once.
  bool tells(const std::string& message);

 private:
  void give_signs();
  void look();
  void count_silence();
  std::string verdict() const;  // why the run must end; empty: it need not
  bool claim(const std::string& message);
  void end(const std::string& message);

  const c10::intrusive_ptr<c10d::Store> store_;
  const RankPlace place_;
  const EndLost end_;
  std::once_flag ending_;
  std::atomic<bool> stop_ = false;
  std::mutex mutex_;                           // over what follows
  std::vector<int64_t> signs_, signs_seen_;    // of each rank, now and at the last look
  std::vector<int> silent_;                    // for how many looks
  int64_t answers_ = 0, answers_seen_ = 0;     // of the store
  int store_silent_ = 0;                       // looks
  std::string store_lost_, broken_, to_tell_;  // reasons; "": none
  int looks_since_broken_ = 0;
  std::thread signs_thread_, look_thread_;
};

}  // namespace revenant
