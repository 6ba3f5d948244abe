// The processes of a run, as torchrun starts them: each trains on its share of every step's
// micro-batches, and what they compute is that of one process with all of them. Rank 0 alone writes
// files and speaks.
#pragma once

#include <torch/types.h>

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace revenant {

// torchrun's variables: RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT.
struct RankPlace {
  int rank = 0, size = 1;              // among all processes
  int local_rank = 0, local_size = 0;  // among those of this machine; 0: not said
  std::string address;                 // of the store
  int port = 0;
  bool others_store = false;  // torchrun holds the store, else rank 0
  std::string attempt = "0";  // how often torchrun has started the processes

  bool holds_store() const { return rank == 0 && !others_store; }
};
// Without WORLD_SIZE and RANK: one process. Throws Error that names the variable.
RankPlace rank_place();

// How this process is to end because of another: with a message, or without one, which another
// process has told. Called on a thread of its own; does not return.
using EndLost = std::function<void(const std::string& message)>;

// What has been thrown on one rank, thrown on all.
struct RankError : std::runtime_error {
  RankError(int from, int size, const std::string& reason)
      : std::runtime_error("rank " + std::to_string(from) + " of " + std::to_string(size) + ": " +
                           reason),
        rank(from) {}
  int rank;
};

class Ranks {
 public:
  using Json = nlohmann::json;
  using Reason = std::string (*)(const std::exception&);

  Ranks() = default;  // one process alone: nothing below costs anything
  // Waits for the others, up to 50 seconds. `end` is called, once, where another rank is lost.
  // `reason` says what an exception has to say to a user.
  Ranks(const RankPlace& place, const EndLost& end, Reason reason);
  ~Ranks();
  Ranks(const Ranks&) = delete;

  int rank() const { return place_.rank; }
  int size() const { return place_.size; }
  bool first() const { return rank() == 0; }

  // What `work` returns on each rank, by rank. Where it throws on one, all throw RankError.
  std::vector<Json> each(const std::function<Json()>& work) const;
  // Rank 0 does it, the others wait; the same of what it throws.
  void on_first(const std::function<void()>& work) const;

  // Throws Error where tensors on `device` cannot be sent.
  void reach(torch::Device device) const;
  // Each tensor becomes the sum of all ranks'; or that of rank `from`. In place.
  void sum(const std::vector<torch::Tensor>& tensors) const;
  void share(const std::vector<torch::Tensor>& tensors, int from) const;
  // On rank 0 all ranks' tensors (float32, on the CPU), elsewhere nothing.
  std::map<std::string, torch::Tensor> gathered(std::map<std::string, torch::Tensor> own) const;

  // Whether all ranks have this exception on its way: they may speak with each other. What is one
  // rank's alone finds the others elsewhere.
  bool together(const std::exception& error) const {
    return size() == 1 || dynamic_cast<const RankError*>(&error);
  }
  // Whether this rank is to tell why the run ends; another rank does else.
  bool tells(const std::exception& error) const;
  // With the rank's name where there are several.
  std::string named(const std::exception& error) const;

 private:
  struct Links;
  std::vector<Json> exchanged(const Json& mine) const;
  void over_buckets(const std::vector<torch::Tensor>& tensors,
                    const std::function<void(std::vector<torch::Tensor>&)>& send) const;
  void guarded(const std::function<void()>& speak) const;

  RankPlace place_;
  Reason reason_ = nullptr;
  std::unique_ptr<Links> links_;
};

// One process alone.
const Ranks& no_ranks();

}  // namespace revenant
