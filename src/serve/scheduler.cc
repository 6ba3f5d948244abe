#include "serve/scheduler.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace revenant {
namespace {

// While a picture is encoded, those who generate wait for this long at most between their steps,
// and not longer than a step took: half of the time is theirs.
constexpr double most_wait = 0.05;

// Of a prompt that is looked into, between two steps of the engine.
constexpr int looking_rows = 16;

size_t bytes_of(const Work& work) {
  size_t sum = 0;
  for (const auto& picture : work.pictures) sum += picture->bytes();
  return sum;
}

// Rows of all pictures, in the order of the prompt.
Tensor joined(std::span<const std::optional<Tensor>> parts) {
  if (parts.empty()) return {};
  int rows = 0;
  for (const auto& part : parts) rows += part->rows;
  Tensor all(rows, 1, parts[0]->width);
  float* to = all.data();
  for (const auto& part : parts) {
    std::memcpy(to, part->data(), part->size() * sizeof(float));
    to += part->size();
  }
  return all;
}

Generated failed(const Error& error) {
  Generated made;
  made.finish_reason = Finish::failed;
  made.failure = error;
  return made;
}

Generated cancelled() {
  Generated made;
  made.finish_reason = Finish::cancelled;
  return made;
}

}  // namespace

Scheduler::Scheduler(const Model& model, const ScheduleOptions& options, Metrics& metrics)
    : model_(model),
      options_(options),
      metrics_(metrics),
      engine_(model, {.seconds = options.step_seconds,
                      .sequences = options.parallel,
                      .prefixes = true,
                      .disk = options.disk.get()}),
      cache_(options.picture_bytes, options.disk.get(), options.disk ? numbers_of(model) : "") {}

void Scheduler::submit(Work work) {
  std::vector<Work> one;
  one.push_back(std::move(work));
  submit_all(std::move(one));
}

void Scheduler::submit_all(std::vector<Work> works) {
  size_t bytes = 0;
  for (const Work& work : works) {
    CHECK(!work.choices.empty() && work.gone && work.done && work.sender == works[0].sender);
    bytes += bytes_of(work);
  }
  const std::lock_guard lock(mutex_);
  if (draining_) throw Failure(503, "the server is shutting down", "shutting_down");
  const auto refuse = [&](int status, const char* message, const char* reason) {
    metrics_.count("requests_rejected_total", 1, "reason=\"" + std::string(reason) + "\"");
    Failure failure(status, message, reason);
    const double turns = double(waiting_ + 1) / double(options_.parallel);
    failure.retry_after = int(std::clamp(std::ceil(turns * mean_seconds_), 1.0, 60.0));
    throw failure;
  };
  const std::string& sender = works[0].sender;
  const auto own = queues_.find(sender);
  const size_t others = own == queues_.end() ? 0 : own->second.size();
  if (others > 0 && !sender.empty() && others + works.size() > options_.queue_each)
    refuse(429, "too many of your requests wait", "rate_limit_exceeded");
  if (waiting_ > 0 &&
      (waiting_ + works.size() > options_.queue || waiting_bytes_ + bytes > options_.queue_bytes))
    refuse(503, "too many requests wait", "queue_full");
  waiting_ += works.size();
  waiting_bytes_ += bytes;
  auto& queue = queues_[sender];
  for (Work& work : works) {
    const size_t own_bytes = bytes_of(work);
    queue.push_back({std::move(work), {}, own_bytes});
  }
  woken_ = true;
  arrived_.notify_one();
}

void Scheduler::drain() {
  const std::lock_guard lock(mutex_);
  draining_ = true;
}

bool Scheduler::idle() const {
  const std::lock_guard lock(mutex_);
  return waiting_ == 0 && running_ == 0;
}

void Scheduler::cancel_all() {
  cancelling_ = true;
  wake();
}

size_t Scheduler::waiting() const {
  const std::lock_guard lock(mutex_);
  return waiting_;
}

void Scheduler::wake() {
  const std::lock_guard lock(mutex_);
  woken_ = true;
  arrived_.notify_one();
}

// Who left while everything stands still is noticed soon, too.
void Scheduler::wait() {
  std::unique_lock lock(mutex_);
  arrived_.wait_for(lock, std::chrono::milliseconds(100), [&] { return woken_; });
  woken_ = false;
}

bool Scheduler::turn() {
  tend();
  if (active_.empty()) return false;
  if (const Shared picture = missing())
    encode(picture);
  else
    step();
  collect();
  return true;
}

// What needs no computing: who left goes, who waits comes in.
void Scheduler::tend() {
  for (auto at = active_.begin(); at != active_.end();) {
    Active& active = *at++;
    if (!left(active.work.gone)) continue;
    for (const auto& [ticket, choice] : active.tickets) engine_.cancel(ticket);
    if (active.looking) active.looking->cancel();
    if (!active.submitted) finish(active, cancelled());
  }
  std::vector<Waiting> leavers;
  {
    const std::lock_guard lock(mutex_);
    for (auto queue = queues_.begin(); queue != queues_.end();) {
      std::erase_if(queue->second, [&](Waiting& waiting) {
        if (!left(waiting.work.gone)) return false;
        --waiting_;
        waiting_bytes_ -= waiting.bytes;
        leavers.push_back(std::move(waiting));
        return true;
      });
      queue = queue->second.empty() ? queues_.erase(queue) : std::next(queue);
    }
  }
  for (Waiting& waiting : leavers)
    for (size_t i = 0; i < waiting.work.choices.size(); ++i) tell(waiting.work, i, cancelled());
  while (admit_next()) continue;
}

// The next of the sender whose turn it is, if there are places for all that it asks for.
bool Scheduler::admit_next() {
  {
    const std::lock_guard lock(mutex_);
    if (queues_.empty()) return false;
    auto queue = queues_.upper_bound(last_served_);
    if (queue == queues_.end()) queue = queues_.begin();
    Waiting& next = queue->second.front();
    size_t taken = 0;
    for (const Active& active : active_) taken += active.work.choices.size();
    if (taken > 0 && taken + next.work.choices.size() > options_.parallel) return false;
    active_.emplace_back(std::move(next.work), next.since);
    waiting_bytes_ -= next.bytes;
    --waiting_;
    ++running_;
    last_served_ = queue->first;
    queue->second.pop_front();
    if (queue->second.empty()) queues_.erase(queue);
  }
  metrics_.observe("request_queue_time_seconds", active_.back().since.seconds());
  enter(active_.back());
  return true;
}

// Its pictures are looked for; if all are there, it starts.
void Scheduler::enter(Active& active) {
  active.features.resize(active.work.pictures.size());
  for (size_t i = 0; i < active.features.size(); ++i)
    active.features[i] = cache_.find(active.work.pictures[i]->key);
  for (const auto& found : active.features) {
    metrics_.count("mm_cache_queries");
    if (found) metrics_.count("mm_cache_hits");
  }
  start(active);
}

// The first picture that somebody waits for; null: none.
Scheduler::Shared Scheduler::missing() const {
  for (const Active& active : active_)
    for (size_t i = 0; i < active.features.size(); ++i)
      if (!active.features[i]) return active.work.pictures[i];
  return nullptr;
}

void Scheduler::start(Active& active) {
  if (!std::ranges::all_of(active.features, [](const auto& f) { return f.has_value(); })) return;
  const Tensor features = joined(active.features);
  active.submitted = true;
  try {
    for (size_t i = 0; i < active.work.choices.size(); ++i) {
      Request request = active.work.choices[i];
      request.features = features;
      request.salt = active.work.sender;
      // Asked before every product: who leaves does not wait for the end of a step.
      request.options.go_on = [this, gone = active.work.gone, own = request.options.go_on] {
        return !left(gone) && (!own || own());
      };
      if (active.work.looked)
        active.looking = std::make_unique<Looking>(model_, std::move(request), false);
      else
        active.tickets.emplace(engine_.submit(std::move(request)), i);
    }
  } catch (const Error& error) {  // options that mean nothing: a request should have been refused
    for (const auto& [ticket, choice] : active.tickets) engine_.cancel(ticket);
    active.tickets.clear();
    finish(active, failed(error));
  }
}

bool Scheduler::waits_for(const Active& active, const std::string& key) const {
  return !active.submitted && !left(active.work.gone) &&
         std::ranges::any_of(active.work.pictures, [&](const Shared& p) { return p->key == key; });
}

// One picture through the tower, a tile at a time. Between its products those who generate have
// their steps, and all others come and go; it ends early when nobody waits for it any more.
void Scheduler::encode(const Shared& picture) {
  const auto go_on = [&] {
    if (stepped_.seconds() >= std::min(step_took_, most_wait)) {
      tend();
      step();
      collect();
    }
    return std::ranges::any_of(
        active_, [&](const Active& active) { return waits_for(active, picture->key); });
  };
  const Stopwatch watch;
  try {
    const Tensor features = model_.encode_tiles(picture->tiles, go_on, 1);
    cache_.put(picture->key, features);
    picture_bytes_ = cache_.bytes();
    metrics_.count("pictures_encoded_total");
    metrics_.observe("picture_encode_seconds", watch.seconds());
    give(picture->key, features);
  } catch (const Stopped&) {
  } catch (const Error& error) {
    give(picture->key, error);
  } catch (const std::bad_alloc&) {
    give(picture->key, Error("memory", "a picture", "room for its rows", "not enough"));
  }
}

void Scheduler::give(const std::string& key, const std::variant<Tensor, Error>& made) {
  for (auto at = active_.begin(); at != active_.end();) {
    Active& active = *at++;
    if (!waits_for(active, key)) continue;
    if (const Error* error = std::get_if<Error>(&made)) {
      finish(active, failed(*error));
      continue;
    }
    for (size_t i = 0; i < active.features.size(); ++i)
      if (active.work.pictures[i]->key == key) active.features[i] = std::get<Tensor>(made);
    start(active);
  }
}

Scheduler::Active* Scheduler::first_looking() {
  const auto at = std::ranges::find_if(
      active_, [](const Active& active) { return active.looking && !active.looked; });
  return at == active_.end() ? nullptr : &*at;
}

// One is looked into at a time, once there is room for it beside the others.
void Scheduler::step_looking() {
  Active* const active = first_looking();
  if (!active || !engine_.has_room()) return;
  active->looked = !active->looking->step(looking_rows);
  if (!active->looked) return;
  const Generated made = active->looking->made();
  if (!made.failure && made.finish_reason != Finish::cancelled)
    active->work.looked(active->looking->look());
  active->looking.reset();
  tell(active->work, 0, made);
}

void Scheduler::step() {
  const Stopwatch watch;
  const Active* const looking = first_looking();
  engine_.set_aside(looking ? looking->looking->wanted_bytes() : 0);
  if (engine_.step()) metrics_.count("engine_steps_total");
  step_looking();
  step_took_ = watch.seconds();
  stepped_ = {};
}

// Answers that are done are told, and their places are free.
void Scheduler::collect() {
  for (auto at = active_.begin(); at != active_.end();) {
    Active& active = *at++;
    std::erase_if(active.tickets, [&](const auto& one) {
      std::optional<Generated> made = engine_.result(one.first);
      if (!made) return false;
      metrics_.count("prefix_cache_queries", made->timings.prompt_tokens);
      metrics_.count("prefix_cache_hits", made->timings.reused_tokens);
      tell(active.work, one.second, std::move(*made));
      return true;
    });
    if (active.submitted && active.tickets.empty() && !active.looking) finish(active, {});
  }
}

// What is still to be done for it comes in at once, without a place in the queue.
void Scheduler::tell(Work& work, size_t choice, Generated made) {
  const std::unique_ptr<Work> more = work.done(choice, std::move(made));
  if (!more) return;
  CHECK(more->choices.size() == 1 && more->gone && more->done);
  active_.emplace_back(std::move(*more), Stopwatch());
  {
    const std::lock_guard lock(mutex_);
    ++running_;
  }
  enter(active_.back());
}

// Leaves the list; choices that the engine never had are told `made`.
void Scheduler::finish(Active& active, Generated made) {
  if (!active.submitted || made.failure)
    for (size_t i = 0; i < active.work.choices.size(); ++i) tell(active.work, i, made);
  const double took = active.since.seconds();
  {
    const std::lock_guard lock(mutex_);
    mean_seconds_ += 0.1 * (took - mean_seconds_);
    --running_;
  }
  std::erase_if(active_, [&](const Active& one) { return &one == &active; });
}

}  // namespace revenant
