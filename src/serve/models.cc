#include "serve/models.h"

#include <algorithm>
#include <map>
#include <sstream>

#include "base/json.h"

namespace revenant {

using nlohmann::json;

namespace {

// Looks for the outermost object's member, and keeps nothing else of what may be large.
class ModelReader : public nlohmann::json_sax<json> {
 public:
  std::string name;

  bool null() override { return value(); }
  bool boolean(bool) override { return value(); }
  bool number_integer(number_integer_t) override { return value(); }
  bool number_unsigned(number_unsigned_t) override { return value(); }
  bool number_float(number_float_t, const string_t&) override { return value(); }
  bool binary(binary_t&) override { return value(); }
  bool string(string_t& text) override {
    if (wanted_) name = text;
    return value();
  }
  bool key(string_t& text) override {
    wanted_ = depth_ == 1 && text == "model";
    return true;
  }
  bool start_object(size_t) override { return begin(); }
  bool start_array(size_t) override { return begin(); }
  bool end_object() override { return end(); }
  bool end_array() override { return end(); }
  bool parse_error(size_t, const std::string&, const json::exception&) override { return false; }

 private:
  bool value() {
    wanted_ = false;
    return true;
  }
  bool begin() {
    ++depth_;
    return value();
  }
  bool end() {
    --depth_;
    return true;
  }
  size_t depth_ = 0;
  bool wanted_ = false;
};

constexpr std::string_view of_one = "/v1/models/";

}  // namespace

std::string model_in(const std::string& body) {
  ModelReader reader;
  return json::sax_parse(body, &reader) ? reader.name : "";
}

Models::Models(const ApiOptions& options, std::vector<ModelToServe> models, size_t budget)
    : budget_(budget), queue_(options.schedule.queue) {
  CHECK(!models.empty());
  for (ModelToServe& model : models) {
    if (named(model.name))
      throw Error("serve", "models", "names that differ (-m NAME=PATH)",
                  "two called " + model.name);
    if (budget > 0 && model.bytes > budget)
      throw Error("serve", model.name, "at most " + std::to_string(budget) + " bytes",
                  std::to_string(model.bytes));
    ApiOptions own = options;
    own.model = model.name;
    own.abstain = model.abstain;
    entries_.push_back(std::make_unique<Entry>(
        Entry{.model = std::move(model), .api = std::make_unique<Api>(std::move(own))}));
  }
  if (entries_.size() > 1) loader_ = std::thread([this] { load_what_is_wanted(); });
}

Models::~Models() { end(); }

Models::Entry* Models::named(const std::string& name) const {
  const auto at = std::ranges::find(entries_, name, [](const auto& e) { return e->model.name; });
  return at == entries_.end() ? nullptr : at->get();
}

std::vector<std::string> Models::loaded() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (const auto& entry : entries_)
    if (entry->state == State::loaded) names.push_back(entry->model.name);
  return names;
}

// It stays loaded until `leave`; false: it is not.
bool Models::enter(Entry& entry) {
  const std::lock_guard lock(mutex_);
  if (entry.state != State::loaded) return false;
  ++entry.calls;
  return true;
}

void Models::leave(Entry& entry, int calls) {
  {
    const std::lock_guard lock(mutex_);
    entry.calls -= calls;
  }
  wake();
}

void Models::answer(const Call& call, const Client& client) {
  const bool begun = [&] {
    const std::lock_guard lock(mutex_);
    return begun_;
  }();
  const bool asks = call.method == "POST" || call.path == "/props";  // the model itself
  if (entries_.size() > 1 && begun) {
    if (call.path == "/health") return client.reply(json_reply({{"status", "ok"}}));
    if (call.path == "/v1/models") return list(client);
    if (call.path.starts_with(of_one)) return describe(call.path.substr(of_one.size()), client);
    if (call.path == "/metrics") return metrics_text(client);
  }
  const std::string name =
      entries_.size() > 1 && call.method == "POST" ? model_in(call.body) : std::string();
  Entry* const entry = name.empty() ? entries_.front().get() : named(name);
  if (!entry) return unknown(name, client);
  if (asks && begun) {
    const std::lock_guard lock(mutex_);
    entry->used = ++clock_;
  }
  if (enter(*entry)) {
    entry->api->answer(call, client);
    leave(*entry);
  } else if (asks && begun) {
    wait_for(*entry, call, client);
  } else {
    first().answer(call, client);  // 503 where it needs the model
  }
}

void Models::wait_for(Entry& entry, const Call& call, const Client& client) {
  std::optional<Failure> refusal;
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(entry.waiting, [](const auto& one) { return one.second.gone->load(); });
    if (draining_) {
      refusal.emplace(503, "the server is shutting down", "shutting_down");
    } else if (entry.waiting.size() >= queue_) {
      refusal.emplace(503, "too many requests wait", "queue_full");
      refusal->retry_after = 5;
    } else {
      entry.waiting.emplace_back(call, client);
      if (entry.state == State::absent) {
        entry.state = State::wanted;
        wanted_.push_back(&entry);
      }
    }
  }
  if (refusal) return client.reply(failure_reply(*refusal));
  wake();
}

void Models::begin() {
  Entry& one = *entries_.front();
  one.api->ready(one.model.load());
  const std::lock_guard lock(mutex_);
  one.state = State::loaded;
  one.used = ++clock_;
  begun_ = true;
}

size_t Models::resident() const {
  size_t bytes = 0;
  for (const auto& entry : entries_)
    if (entry->state != State::absent && entry->state != State::wanted) bytes += entry->model.bytes;
  return bytes;
}

// Who leaves goes, who is wanted comes.
void Models::settle() {
  const std::lock_guard lock(mutex_);
  if (draining_ || ended_) return;
  for (const auto& entry : entries_) {
    if (entry->state != State::leaving || entry->calls > 0 || !entry->api->scheduler()->idle())
      continue;
    entry->api->unload();
    entry->state = entry->waiting.empty() ? State::absent : State::wanted;
    if (entry->state == State::wanted) wanted_.push_back(entry.get());
  }
  if (loading_ || wanted_.empty()) return;
  const size_t wanted = wanted_.front()->model.bytes;
  if (budget_ > 0 && resident() + wanted > budget_) return make_room(wanted);
  loading_ = wanted_.front();
  wanted_.pop_front();
  loading_->state = State::loading;
  to_load_.notify_one();
}

// As many as must, those first that were not asked for the longest time.
void Models::make_room(size_t bytes) {
  size_t staying = 0;
  std::vector<Entry*> loaded;
  for (const auto& entry : entries_)
    if (entry->state == State::loaded) {
      staying += entry->model.bytes;
      loaded.push_back(entry.get());
    }
  std::ranges::sort(loaded, {}, &Entry::used);
  for (Entry* const entry : loaded) {
    if (staying + bytes <= budget_) return;
    staying -= entry->model.bytes;
    entry->state = State::leaving;
  }
}

void Models::load_what_is_wanted() {
  std::unique_lock lock(mutex_);
  for (;;) {
    to_load_.wait(lock, [this] { return loading_ || ended_; });
    if (ended_) return;
    Entry& entry = *loading_;
    lock.unlock();
    load(entry);
    lock.lock();
  }
}

// Then who waited is answered.
void Models::load(Entry& entry) {
  std::optional<Failure> failure;
  try {
    entry.api->ready(entry.model.load());
  } catch (const std::exception&) {  // whoever gave `load` tells why
    failure.emplace(500, "the model " + shown(entry.model.name) + " could not be loaded",
                    "model_not_loaded");
  }
  std::deque<std::pair<Call, Client>> waiting;
  {
    const std::lock_guard lock(mutex_);
    waiting.swap(entry.waiting);
    entry.state = failure ? State::absent : State::loaded;
    entry.calls += int(waiting.size());
    loading_ = nullptr;
    if (draining_ && !failure) failure.emplace(503, "the server is shutting down", "shutting_down");
  }
  for (const auto& [call, client] : waiting) {
    if (failure)
      client.reply(failure_reply(*failure));
    else if (!*client.gone)
      entry.api->answer(call, client);
  }
  leave(entry, int(waiting.size()));
}

bool Models::turn() {
  if (entries_.size() > 1) settle();
  std::vector<Entry*> able;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& entry : entries_)
      if (entry->state == State::loaded || entry->state == State::leaving)
        able.push_back(entry.get());
  }
  bool moved = false;
  for (Entry* const entry : able) moved = entry->api->scheduler()->turn() || moved;
  return moved;
}

// Who left while everything stands still is noticed soon, too.
void Models::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::milliseconds(100), [this] { return woken_; });
  woken_ = false;
}

void Models::wake() {
  const std::lock_guard lock(mutex_);
  woken_ = true;
  changed_.notify_one();
}

void Models::drain() {
  std::deque<std::pair<Call, Client>> waiting;
  {
    const std::lock_guard lock(mutex_);
    draining_ = true;
    wanted_.clear();
    for (const auto& entry : entries_) {
      if (entry->state == State::loading) continue;  // `load` tells them
      std::ranges::move(entry->waiting, std::back_inserter(waiting));
      entry->waiting.clear();
      if (entry->state == State::wanted) entry->state = State::absent;
    }
  }
  const Failure failure(503, "the server is shutting down", "shutting_down");
  for (const auto& [call, client] : waiting) client.reply(failure_reply(failure));
  const std::lock_guard lock(mutex_);  // nobody unloads
  for (const auto& entry : entries_)
    if (Scheduler* scheduler = entry->api->scheduler()) scheduler->drain();
}

void Models::cancel_all() {
  if (const auto& media = first().options().media) media->stop();
  {
    const std::lock_guard lock(mutex_);  // nobody unloads
    for (const auto& entry : entries_)
      if (Scheduler* scheduler = entry->api->scheduler()) scheduler->cancel_all();
  }
  wake();
}

void Models::end() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    to_load_.notify_one();
  }
  if (loader_.joinable()) loader_.join();
  for (const auto& entry : entries_) entry->api->end();
}

void Models::list(const Client& client) {
  json all = json::array();
  for (const auto& entry : entries_) {
    const bool there = enter(*entry);
    json one = entry->api->model_json(there);
    if (there) leave(*entry);
    one["loaded"] = there;
    all.push_back(std::move(one));
  }
  client.reply(json_reply({{"object", "list"}, {"data", all}}));
}

void Models::unknown(const std::string& name, const Client& client) const {
  std::string all;
  for (const auto& entry : entries_) all += (all.empty() ? "" : ", ") + entry->model.name;
  client.reply(
      failure_reply(Failure(404, "this server has the models " + all + ", not " + shown(name),
                            "model_not_found", "model")));
}

void Models::describe(const std::string& name, const Client& client) {
  Entry* const entry = named(name);
  if (!entry) return unknown(name, client);
  const bool there = enter(*entry);
  json one = entry->api->model_json(there);
  if (there) leave(*entry);
  one["loaded"] = there;
  client.reply(json_reply(one));
}

// Those of all models; of each family its lines stand together.
void Models::metrics_text(const Client& client) {
  std::vector<std::string> order;  // of the lines that say a family's type
  std::map<std::string, std::string> families;
  for (const auto& entry : entries_) {
    const bool there = enter(*entry);
    std::istringstream lines(entry->api->metrics_now(there));
    if (there) leave(*entry);
    std::string type;
    for (std::string line; std::getline(lines, line);) {
      if (!line.starts_with("# TYPE "))
        families[type] += line + "\n";
      else if (families.try_emplace(type = line).second)
        order.push_back(line);
    }
  }
  std::string text;
  for (const std::string& type : order) text += type + "\n" + families[type];
  client.reply({.type = metrics_type, .body = std::move(text)});
}

}  // namespace revenant
