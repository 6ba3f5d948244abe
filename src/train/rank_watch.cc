#include "train/rank_watch.h"

#include <algorithm>
#include <chrono>

namespace revenant {
namespace {

using namespace std::chrono_literals;

// Counted in looks and not in seconds, so that a machine that slept, or a run whose processes were
// all stopped, is not taken for one that lost them.
constexpr auto kLook = 500ms;
constexpr int kSilent = 40;                  // looks, 20 s: lost
constexpr int kSilentWhenBroken = 8;         // 4 s, once a connection broke
constexpr int kBroken = 30;                  // a broken connection to a rank that is alive
constexpr int kToTell = 6;                   // for the thread that speaks with the store
constexpr int64_t kLeft = int64_t(1) << 40;  // signs of a rank that has done its part

std::string key_of(int rank) { return "alive/" + std::to_string(rank); }

constexpr const char* kEnded = "ended";   // by whom, and why
constexpr const char* kLeaving = "left";  // how many have
constexpr auto kLeave = 10s;

}  // namespace

RankWatch::RankWatch(c10::intrusive_ptr<c10d::Store> store, const RankPlace& place, EndLost end)
    : store_(std::move(store)),
      place_(place),
      end_(std::move(end)),
      signs_(size_t(place.size), 0),
      signs_seen_(size_t(place.size), -1),
      silent_(size_t(place.size), 0),
      signs_thread_([this] { give_signs(); }),
      look_thread_([this] { look(); }) {}

RankWatch::~RankWatch() {
  stop_ = true;
  look_thread_.join();
  signs_thread_.join();
  try {
    store_->add(key_of(place_.rank), kLeft);
    store_->add(kLeaving, 1);
    for (auto waited = 0ms;
         place_.holds_store() && waited < kLeave && store_->add(kLeaving, 0) < place_.size;
         waited += 10ms)
      std::this_thread::sleep_for(10ms);
  } catch (const std::exception&) {  // whoever held the store has left
  }
}

void RankWatch::suspect(const std::string& reason) {
  {
    const std::lock_guard lock(mutex_);
    broken_ = reason;
  }
  for (;;) std::this_thread::sleep_for(1s);
}

bool RankWatch::tells(const std::string& message) {
  stop_ = true;  // who has told why needs no other reason
  try {
    return claim(message);
  } catch (const std::exception&) {
    return true;
  }
}

bool RankWatch::claim(const std::string& message) {
  const std::string by_whom = std::to_string(place_.rank) + ": " + message;
  const std::vector<uint8_t> mine(by_whom.begin(), by_whom.end());
  return store_->compareSet(kEnded, {}, mine) == mine;
}

// What may wait for the store is done here alone.
void RankWatch::give_signs() {
  for (; !stop_; std::this_thread::sleep_for(kLook)) try {
      store_->add(key_of(place_.rank), 1);
      std::vector<int64_t> signs;
      for (int r = 0; r < place_.size; ++r) signs.push_back(store_->add(key_of(r), 0));
      if (store_->check({kEnded}) && !stop_) {
        store_->add(kLeaving, 1);
        end("");
      }
      std::string message;
      {
        const std::lock_guard lock(mutex_);
        signs_ = std::move(signs);
        ++answers_;
        message = to_tell_;
      }
      if (!message.empty()) end(claim(message) ? message : "");
    } catch (const std::exception& error) {
      const std::lock_guard lock(mutex_);
      store_lost_ = error.what();
      return;
    }
}

// The verdict is told by the thread that speaks with the store, which knows whether another rank
// has told it, or, if the store is silent, from here.
void RankWatch::look() {
  for (int waited = 0; !stop_; std::this_thread::sleep_for(kLook)) {
    std::unique_lock lock(mutex_);
    count_silence();
    const std::string why = verdict();
    to_tell_ = why;
    if (why.empty() || (store_lost_.empty() && ++waited <= kToTell)) continue;
    lock.unlock();
    end(why);
  }
}

void RankWatch::count_silence() {
  for (size_t r = 0; r < signs_.size(); ++r) {
    const bool silent = signs_[r] == signs_seen_[r] && signs_[r] < kLeft && int(r) != place_.rank;
    silent_[r] = silent ? silent_[r] + 1 : 0;
  }
  signs_seen_ = signs_;
  store_silent_ = answers_ == answers_seen_ ? store_silent_ + 1 : 0;
  answers_seen_ = answers_;
  looks_since_broken_ += !broken_.empty();
}

// Once, and not where this rank is ending by itself. Without the store the others would know less.
void RankWatch::end(const std::string& message) {
  const bool lingers = [&] {
    const std::lock_guard lock(mutex_);
    return place_.holds_store() && store_lost_.empty();
  }();
  if (stop_) return;
  std::call_once(ending_, [&] {
    if (lingers) std::this_thread::sleep_for(kToTell * kLook);
    end_(message);
  });
}

std::string RankWatch::verdict() const {
  const auto rank_of = [&](int rank) {
    return "[train] rank " + std::to_string(rank) + " of " + std::to_string(place_.size);
  };
  const std::string holder = (place_.others_store ? "[train] torchrun" : rank_of(0)) +
                             ", which holds the store at " + place_.address + ":" +
                             std::to_string(place_.port);
  const auto seconds = [](int looks) {
    return std::to_string(looks * kLook.count() / 1000) + " s";
  };
  if (!store_lost_.empty()) return holder + ": expected an answer, found it lost";
  if (store_silent_ >= kSilent)
    return holder + ": expected an answer, found none for " + seconds(store_silent_);
  const int limit = broken_.empty() ? kSilent : kSilentWhenBroken;
  const auto lost = std::ranges::find_if(silent_, [&](int looks) { return looks >= limit; });
  if (lost != silent_.end())
    return rank_of(int(lost - silent_.begin())) +
           ": expected a sign of life, found it lost (none for " + seconds(*lost) + ")";
  if (looks_since_broken_ >= kBroken)
    return rank_of(place_.rank) +
           ": expected a connection to the others, found it broken: " + broken_;
  return "";
}

}  // namespace revenant
