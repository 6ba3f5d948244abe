// The models of a server, each an Api of its own. One is loaded when it is first asked for; where a
// budget leaves no room, the one that was not asked for the longest time goes first, once all its
// answers are told. Who asks meanwhile waits.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "serve/api.h"

namespace revenant {

struct ModelToServe {
  std::string name;
  size_t bytes = 0;  // of memory while it is loaded, about
  std::function<std::shared_ptr<const Model>()> load = {};
  std::shared_ptr<const Calibration> abstain = {};  // as ApiOptions::abstain
};

class Models {
 public:
  // The first one is that of requests that name none. `budget`: bytes; 0: no limit. Throws Error
  // where two have one name, and where one would not fit even alone.
  Models(const ApiOptions& options, std::vector<ModelToServe> models, size_t budget = 0);
  ~Models();

  Admission admit(const Head& head) const { return first().admit(head); }
  // As Api::answer; of the model that the body names.
  void answer(const Call& call, const Client& client);
  Metrics& metrics() { return first().metrics(); }  // of what concerns no model
  Api& first() const { return *entries_.front()->api; }
  std::vector<std::string> loaded() const;  // names

  // The computing thread's: the first model is loaded; one turn of all that are (false: there is
  // nothing to do); waiting until there may be.
  void begin();
  bool turn();
  void wait();
  // From any thread.
  void wake();
  void drain();
  void cancel_all();
  void end();  // lets go all requests; nothing is computed any more

 private:
  enum class State { absent, wanted, loading, loaded, leaving };
  struct Entry {
    ModelToServe model;
    std::unique_ptr<Api> api;
    State state = State::absent;
    int calls = 0;  // that are in its Api now
    uint64_t used = 0;
    std::deque<std::pair<Call, Client>> waiting = {};
  };
  Entry* named(const std::string& name) const;
  bool enter(Entry& entry);
  void leave(Entry& entry, int calls = 1);
  void wait_for(Entry& entry, const Call& call, const Client& client);
  void settle();
  void make_room(size_t bytes);
  size_t resident() const;
  void load_what_is_wanted();
  void load(Entry& entry);
  void unknown(const std::string& name, const Client& client) const;
  void list(const Client& client);
  void describe(const std::string& name, const Client& client);
  void metrics_text(const Client& client);

  std::vector<std::unique_ptr<Entry>> entries_;
  const size_t budget_, queue_;
  mutable std::mutex mutex_;  // of what follows, and of the entries' states
  std::condition_variable changed_, to_load_;
  Entry* loading_ = nullptr;
  std::deque<Entry*> wanted_;
  uint64_t clock_ = 0;
  bool begun_ = false, draining_ = false, ended_ = false, woken_ = false;
  std::thread loader_;
};

// The text of a body's member `model`; empty: it has none that is a text.
std::string model_in(const std::string& body);

}  // namespace revenant
