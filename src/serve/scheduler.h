// Who is computed, and when: the requests that wait, fair between their senders; pictures through
// the tower, between whose products answers on their way go on; and the engine of many sequences.
// One thread takes its turns; all others only hand in and leave.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "engine/engine.h"
#include "engine/look.h"
#include "serve/metrics.h"
#include "serve/picture.h"

namespace revenant {

struct ScheduleOptions {
  size_t parallel = 16;                  // answers on their way at once
  size_t queue = 512;                    // requests that wait, of all senders
  size_t queue_each = 256;               // of one sender, where there are several
  size_t queue_bytes = size_t(1) << 30;  // of their pictures
  size_t picture_bytes = size_t(256) << 20;
  double step_seconds = 0.18;            // of the engine
  std::shared_ptr<DiskCache> disk = {};  // of beginnings and pictures, over runs; null: none
};

using Gone = std::shared_ptr<std::atomic<bool>>;  // true: nobody waits for the answer any more

// What is to be computed for a request.
struct Work {
  std::string sender;  // whose turn it is; also the salt of what is reused
  std::vector<std::shared_ptr<const TiledPicture>> pictures;
  std::vector<Request> choices;  // without a session and without features
  Gone gone;
  // Of each choice, once, within a turn. Where it is not the last that its client wants to know of
  // it, more work (of one choice), which is done next, in its place.
  std::function<std::unique_ptr<Work>(size_t choice, Generated made)> done;
  // Its one choice is watched; this is told before `done`. Null: nobody looks.
  std::function<void(const Look& look)> looked = {};
};

class Scheduler {
 public:
  Scheduler(const Model& model, const ScheduleOptions& options, Metrics& metrics);

  // From any thread. Throw Failure: 429 or 503 where the queue is full, 503 while it drains.
  void submit(Work work);
  void submit_all(std::vector<Work> works);  // of one sender; all or none
  // From any thread: nothing new is taken; true once nothing is left.
  void drain();
  bool idle() const;
  void cancel_all();  // from any thread: what is left ends

  // One turn: takes what came, lets go what nobody waits for, encodes a picture or computes a step.
  // False: there is nothing to do.
  bool turn();
  void wait();  // until there may be; also woken by `wake`
  void wake();

  // From any thread, as of the last turn.
  size_t running() const { return running_; }
  size_t waiting() const;
  size_t picture_bytes() const { return picture_bytes_; }

 private:
  using Shared = std::shared_ptr<const TiledPicture>;
  struct Waiting {
    Work work;
    Stopwatch since;
    size_t bytes;
  };
  // On its way: its pictures are encoded, then its choices are the engine's.
  struct Active {
    Active(Work asked, Stopwatch watch) : work(std::move(asked)), since(watch) {}
    Work work;
    Stopwatch since;
    std::vector<std::optional<Tensor>> features;
    std::map<Engine::Ticket, size_t> tickets;
    std::unique_ptr<Looking> looking = {};  // instead of a ticket
    bool looked = false;                    // it is done
    bool submitted = false;
  };
  bool left(const Gone& gone) const { return *gone || cancelling_; }
  void tend();
  bool admit_next();
  void enter(Active& active);
  void start(Active& active);
  void tell(Work& work, size_t choice, Generated made);
  void encode(const Shared& picture);
  bool waits_for(const Active& active, const std::string& key) const;
  void give(const std::string& key, const std::variant<Tensor, Error>& made);
  void step();
  void step_looking();
  Active* first_looking();
  void collect();
  void finish(Active& active, Generated made);
  Shared missing() const;

  const Model& model_;
  const ScheduleOptions options_;
  Metrics& metrics_;
  Engine engine_;
  PictureCache cache_;
  std::list<Active> active_;
  Stopwatch stepped_;  // since the end of the last step
  double step_took_ = 0;
  std::atomic<size_t> running_ = 0, picture_bytes_ = 0;
  std::atomic<bool> cancelling_ = false;

  mutable std::mutex mutex_;  // of what follows
  std::condition_variable arrived_;
  std::map<std::string, std::deque<Waiting>> queues_;  // by sender; none of them empty
  std::string last_served_;
  size_t waiting_ = 0, waiting_bytes_ = 0;
  double mean_seconds_ = 1;  // that an answer took lately
  bool draining_ = false, woken_ = false;
};

}  // namespace revenant
