#include "engine/engine.h"

#include <algorithm>
#include <new>

#include "base/clock.h"

namespace revenant {
namespace {

// Of a step, however slow: with fewer, reading the weights is what takes the time.
constexpr int least_rows = 16;

}  // namespace

Engine::Engine(const Model& model, const EngineOptions& options)
    : model_(model), options_(options) {
  if (options.prefixes) prefixes_.emplace(model, options.disk);
}

Engine::Ticket Engine::submit(Request request) {
  auto running = std::make_shared<Running>(model_, std::move(request));
  const std::lock_guard lock(mutex_);
  known_.emplace(next_, running);
  arrived_.push_back({next_, std::move(running)});
  return next_++;
}

void Engine::cancel(Ticket ticket) {
  const std::lock_guard lock(mutex_);
  if (const auto at = known_.find(ticket); at != known_.end()) at->second->stop();
}

std::optional<Generated> Engine::result(Ticket ticket) {
  const std::lock_guard lock(mutex_);
  auto node = done_.extract(ticket);
  if (node.empty()) return {};
  return std::move(node.mapped());
}

bool Engine::step() {
  receive();
  const std::vector<Share> shares = choose();
  if (!shares.empty()) compute(shares);
  const bool moved = !shares.empty() || !active_.empty() || !waiting_.empty();
  dismiss();
  return moved;
}

void Engine::receive() {
  {
    const std::lock_guard lock(mutex_);
    std::ranges::move(arrived_, std::back_inserter(waiting_));
    arrived_.clear();
  }
  for (auto* jobs : {&waiting_, &active_})
    for (Job& job : *jobs)
      if (job.running->stopped() && !job.running->done()) job.running->cancel();
  dismiss();
}

// Those that are done give their results and go.
void Engine::dismiss() {
  for (auto* jobs : {&waiting_, &active_})
    std::erase_if(*jobs, [&](Job& job) {
      if (!job.running->done()) return false;
      const std::lock_guard lock(mutex_);
      known_.erase(job.ticket);
      done_.emplace(job.ticket, std::move(*job.running).result());
      return true;
    });
}

// Generated rows first; what they leave goes to prompts, first come first served.
std::vector<Engine::Share> Engine::choose() {
  std::vector<Share> shares;
  int left = rows_in_time();
  add_generating(shares, left);
  for (Job& job : active_)
    if (job.running->reading()) add_prompt(job, shares, left);
  while (left > 0 && begin_next()) add_prompt(active_.back(), shares, left);
  return shares;
}

// One that is alone can be stopped within a step. Others wait for its end: so it must be near.
int Engine::rows_in_time() const {
  const int least = std::min(least_rows, options_.rows);
  if (active_.size() + waiting_.size() < 2) return options_.rows;
  if (row_seconds_ == 0) return least;
  return int(std::clamp(options_.seconds / row_seconds_, double(least), double(options_.rows)));
}

// Who waited longest comes first. A quarter of the rows is kept for prompts, if there are any.
void Engine::add_generating(std::vector<Share>& shares, int& left) {
  std::vector<Job*> jobs;
  bool prompts = !waiting_.empty();
  for (Job& job : active_)
    if (job.running->reading())
      prompts = true;
    else
      jobs.push_back(&job);
  std::ranges::stable_sort(jobs, {}, &Job::served);
  const int least = prompts ? left / 4 : 0;
  for (Job* job : jobs) {
    const int width = int(job->running->sessions().size());
    if (left - width < least && !shares.empty()) continue;
    shares.push_back({job, 1});
    job->served = steps_ + 1;
    left -= width;
  }
  ++steps_;
}

// Prompts whose next page somebody computes in this step wait for it.
void Engine::add_prompt(Job& job, std::vector<Share>& shares, int& left) {
  if (left <= 0 || job.running->done()) return;
  Session& session = *job.running->sessions().front();
  if (prefixes_) {
    const int before = session.cached();
    prefixes_->extend(session);
    job.running->reused(session.cached() - before);
    for (const Share& share : shares)
      if (share.job->running->reading() &&
          same_page(session, *share.job->running->sessions().front()))
        return;
  }
  const int rows = std::min(left, session.plan(left).rows);
  shares.push_back({&job, rows});
  left -= rows;
}

// The first of those that wait goes on its way, if there is room for all that it may need.
bool Engine::begin_next() {
  if (waiting_.empty() || active_.size() >= options_.sequences) return false;
  active_.push_back(std::move(waiting_.front()));
  waiting_.pop_front();
  if ((active_.size() == 1 && aside_ == 0) || fits()) {
    active_.back().running->begin();
    return true;
  }
  waiting_.push_front(std::move(active_.back()));
  active_.pop_back();
  return false;
}

// Whether what is held and what those on their way may still need is within the limit. So nobody
// fails for want of memory because of the others.
bool Engine::fits() const {
  const Pages& pages = *model_.pages();
  if (pages.limit() == 0) return true;
  size_t promised = pages.held() + aside_ - (prefixes_ ? prefixes_->idle_bytes() : 0);
  for (const Job& job : active_) promised += job.running->wanted_bytes();
  return promised <= pages.limit();
}

void Engine::compute(std::span<const Share> shares) {
  std::vector<Entry> entries;
  for (const Share& share : shares)
    for (Session* session : share.job->running->sessions())
      entries.push_back({session, share.rows});
  // Within the step those are asked whose prompts are in it; it ends if all in it are to end.
  const auto go_on = [&] {
    return std::ranges::count_if(shares, [](const Share& share) {
             Running& r = *share.job->running;
             return r.reading() ? !r.stopping() : !r.stopped();
           }) > 0;
  };
  try {
    const Stopwatch watch;
    const Computed made = compute_rows(entries, go_on);
    int rows = 0;
    for (const Computed::Of& of : made.of) rows += of.rows;
    rows_ += rows;
    if (rows >= least_rows) row_seconds_ = watch.seconds() / rows;
    distribute(shares, made);
  } catch (const Stopped&) {
    for (const Share& share : shares) share.job->running->cancel();
  } catch (const std::bad_alloc&) {
    if (shares.size() == 1) return shares[0].job->running->fail(no_memory());
    for (const Share& share : shares) compute(std::span(&share, 1));
  }
}

void Engine::distribute(std::span<const Share> shares, const Computed& made) {
  auto of = made.of.begin();
  for (const Share& share : shares) {
    Running& running = *share.job->running;
    const auto end = of + std::ptrdiff_t(running.sessions().size());
    const auto failed = std::find_if(of, end, [](const auto& one) { return one.failure; });
    const int row = of->logits;
    of = end;
    if (failed != end) {
      running.fail(*failed->failure);
    } else {
      if (prefixes_) prefixes_->keep(*running.sessions().front());
      if (running.reading() && running.stopped())
        running.cancel();
      else if (row >= 0)
        running.take(made, row);
    }
  }
}

}  // namespace revenant
