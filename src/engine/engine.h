// Many answers at once. Requests join and leave at every step; a step computes the next rows of as
// many as fit. Company, order and threads never show in an answer.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/batch.h"
#include "engine/prefix.h"
#include "engine/running.h"

namespace revenant {

struct EngineOptions {
  int rows = rows_together;   // of a step, at most
  double seconds = 1;         // of a step with several answers in it, about: prompts get fewer rows
  size_t sequences = 64;      // answers on their way at once, at most
  bool prefixes = false;      // prompts that begin alike share the rows of their beginnings
  DiskCache* disk = nullptr;  // which keeps these over runs, and outlives the engine; null: none
};

class Engine {
 public:
  using Ticket = uint64_t;

  explicit Engine(const Model& model, const EngineOptions& options = {});

  // From any thread. Throws Error on options that mean nothing.
  Ticket submit(Request request);
  // From any thread: ends as soon as possible, within a product where nobody else is in the step.
  void cancel(Ticket ticket);
  // From any thread: once it is done, once.
  std::optional<Generated> result(Ticket ticket);

  // One step, from one thread at a time; what requests are told, they are told by it. False:
  // nobody needs one.
  bool step();

  // For who takes pages beside it, between steps: nobody begins who would not fit beside so many
  // bytes more; whether all that is promised now has room.
  void set_aside(size_t bytes) { aside_ = bytes; }
  bool has_room() const { return active_.empty() || fits(); }

  const Model& model() const { return model_; }
  int64_t rows() const { return rows_; }  // computed so far

 private:
  struct Job {
    Ticket ticket;
    std::shared_ptr<Running> running;
    uint64_t served = 0;  // the number of the last step that it generated in
  };
  // A job's part of a step.
  struct Share {
    Job* job;
    int rows;
  };
  void receive();
  std::vector<Share> choose();
  int rows_in_time() const;
  void add_generating(std::vector<Share>& shares, int& left);
  void add_prompt(Job& job, std::vector<Share>& shares, int& left);
  bool begin_next();
  bool fits() const;
  void compute(std::span<const Share> shares);
  void distribute(std::span<const Share> shares, const Computed& made);
  void dismiss();

  const Model& model_;
  const EngineOptions options_;
  std::optional<Prefixes> prefixes_;
  std::deque<Job> waiting_, active_;  // in the order of arrival
  uint64_t steps_ = 0;
  size_t aside_ = 0;
  double row_seconds_ = 0;  // that a row of a prompt took lately; 0: not known
  std::atomic<int64_t> rows_ = 0;

  std::mutex mutex_;  // of what follows
  std::vector<Job> arrived_;
  std::map<Ticket, std::shared_ptr<Running>> known_;
  std::map<Ticket, Generated> done_;
  Ticket next_ = 1;
};

}  // namespace revenant
