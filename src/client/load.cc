#include "client/load.h"

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <thread>

#include "base/clock.h"

namespace revenant {
namespace {

// One request from its first byte to its answer's last.
struct Timed {
  LoadReport& report;
  std::mutex& mutex;
  Stopwatch since{}, last{};
  std::vector<double> between{};
  double first = -1;

  void text() {
    if (first < 0)
      first = since.seconds();
    else
      between.push_back(last.seconds());
    last = {};
  }
  void done(const ChatReply& reply) {
    const double whole = since.seconds();
    const std::lock_guard lock(mutex);
    ++report.answered;
    report.whole.push_back(whole);
    if (first >= 0) report.first_token.push_back(first);
    report.between.insert(report.between.end(), between.begin(), between.end());
    report.prompt_tokens += std::max<int64_t>(0, reply.prompt_tokens);
    report.cached_tokens += std::max<int64_t>(0, reply.cached_tokens);
    const int64_t parts = int64_t(between.size()) + (first >= 0);
    report.tokens += reply.completion_tokens >= 0 ? reply.completion_tokens : parts;
  }
  void failed(const char* why) {
    const std::lock_guard lock(mutex);
    if (report.failed++ == 0) report.failure = why;
  }
};

class Load {
 public:
  explicit Load(const LoadOptions& options) : options_(options), server_(options.server) {}

  LoadReport run() {
    const Stopwatch watch;
    std::vector<std::thread> clients;
    for (int i = 0; i < options_.clients; ++i) clients.emplace_back([this, i] { client(i); });
    while (running_ > 0) {
      if (options_.go_on && !options_.go_on()) stop_ = true;
      if (options_.progress) options_.progress(done_);
      std::unique_lock lock(mutex_);
      ended_.wait_for(lock, std::chrono::milliseconds(100), [this] { return running_ == 0; });
    }
    for (std::thread& one : clients) one.join();
    report_.seconds = watch.seconds();
    if (broken_) std::rethrow_exception(broken_);
    if (stop_) throw Stopped();
    if (options_.progress) options_.progress(done_);
    return std::move(report_);
  }

 private:
  void client(int number) {
    try {
      ChatClient chat(server_, uint64_t(number));
      for (int i = 0; i < options_.requests; ++i)
        ask(chat, size_t(number) * size_t(options_.requests) + size_t(i));
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!stop_.exchange(true)) broken_ = std::current_exception();
    }
    const std::lock_guard lock(mutex_);
    --running_;
    ended_.notify_all();
  }

  void ask(ChatClient& chat, size_t number) {
    const nlohmann::json messages = options_.messages(number);
    Timed timed{report_, mutex_};
    try {
      timed.done(chat.stream(
          messages, [&](const ChatClient::Told&) { timed.text(); }, [this] { return !stop_; }));
    } catch (const NotAnswered& why) {
      timed.failed(why.what());
    }
    ++done_;
  }

  const LoadOptions& options_;
  ChatServer server_;
  std::atomic<bool> stop_ = false;
  std::atomic<size_t> done_ = 0;
  std::mutex mutex_;  // of what follows
  std::condition_variable ended_;
  std::atomic<int> running_ = options_.clients;
  std::exception_ptr broken_;
  LoadReport report_;
};

}  // namespace

LoadReport run_load(const LoadOptions& options) { return Load(options).run(); }

double percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double rank = std::ceil(share * double(values.size()));
  return values[size_t(std::clamp(rank, 1.0, double(values.size()))) - 1];
}

}  // namespace revenant
