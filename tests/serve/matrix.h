// What the tests of the matrix (docs/reliability.md) share: figures, seeds, models and a server.
#pragma once

#include <dirent.h>
#include <malloc.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>

#include "over_http.h"
#include "serve/server.h"
#include "support/random_checkpoint.h"
#include "support/temporary.h"

namespace revenant {

// The figure of the ordinary suite, or with REVENANT_MATRIX=full that of a release.
inline bool whole_matrix() {
  const char* const asked = std::getenv("REVENANT_MATRIX");
  return asked && std::string(asked) == "full";
}
inline int figure(int smoke, int full) { return whole_matrix() ? full : smoke; }

// REVENANT_MATRIX_SEED repeats a run, as far as chance alone decides about it.
inline uint64_t matrix_seed() {
  const char* const asked = std::getenv("REVENANT_MATRIX_SEED");
  const uint64_t seed = asked ? std::strtoull(asked, nullptr, 10) : std::random_device()();
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

// Small models of random weights with one mechanism each, both loud.
inline Path family_directory(const std::string& family) {
  static const Temporary place;
  const Path path = place.path / family;
  if (std::filesystem::exists(path)) return path;
  write_random_phantom(path, 3);
  json config = read_json(path / "config.json");
  config["revenant"] = {
      {"phantom", family == "phantom"}, {"phantom_eta", 0.5}, {"trol", family == "trol"}};
  write_random_checkpoint(path, config, 5);
  return path;
}

// FNV-1a.
inline void add_bits(uint64_t& hash, std::span<const float> numbers) {
  for (const std::byte one : std::as_bytes(numbers)) hash = (hash ^ uint64_t(one)) * 1099511628211u;
}

// Tokens and every bit of what each was chosen from.
struct Traced {
  std::vector<int> ids;
  uint64_t bits = 14695981039346656037u;
  int reused = 0;
  bool operator==(const Traced& other) const { return ids == other.ids && bits == other.bits; }
};

// Of this process.
inline int open_files() {
  int count = 0;
  DIR* const all = ::opendir("/proc/self/fd");
  while (::readdir(all)) ++count;
  ::closedir(all);
  return count;
}
inline int threads_now() {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("Threads:")) return std::stoi(line.substr(8));
  return -1;
}
// Of memory that was asked for and not given back, but for buffers that wait to be used again.
inline double megabytes_in_use() {
  const auto heap = ::mallinfo2();
  return (double(heap.uordblks) + double(heap.hblkhd) - double(pooled_bytes())) / (1 << 20);
}
inline double resident_megabytes() {
  std::ifstream file("/proc/self/statm");
  long whole = 0, resident = 0;
  file >> whole >> resident;
  return double(resident) * double(::sysconf(_SC_PAGESIZE)) / (1 << 20);
}

// A server of its own thread, with a model that is there.
class Serving {
 public:
  explicit Serving(std::shared_ptr<const Model> model, HttpOptions http = {}, ApiOptions api = {})
      : server_(named(std::move(api)), on_any_port(http), [model] { return model; }) {
    running_ = std::thread([this] { server_.run(false); });
    while (!server_.api().scheduler()) std::this_thread::yield();
  }
  ~Serving() {
    server_.stop();
    running_.join();
  }

  uint16_t port() const { return server_.port(); }
  Server& server() { return server_; }
  Response ask(const std::string& request) const {
    Wire wire(port());
    wire.say(request);
    return response(wire);
  }
  bool at_rest() {
    const Scheduler& scheduler = *server_.api().scheduler();
    return server_.http().connections() == 0 && scheduler.running() == 0 &&
           scheduler.waiting() == 0;
  }

 private:
  static ApiOptions named(ApiOptions api) {
    api.model = "nano";
    return api;
  }
  static HttpOptions on_any_port(HttpOptions http) {
    http.port = 0;
    return http;
  }
  Server server_;
  std::thread running_;
};

inline std::shared_ptr<const Model> shipped_model() {
  static const auto opened = std::make_shared<const Model>(nano, ModelOptions{.threads = 2});
  return opened;
}

// What an answer says, whole or streamed, in one form: its texts and why they end. Empty: it is no
// answer.
inline std::string said(const Response& got) {
  if (got.status != 200) return "";
  json all = json::array();
  if (got.has("Transfer-Encoding: chunked")) {
    const Streamed read = read_stream(events_of(got.body), 1, true, false);
    all = {{read.texts[0], read.finishes[0]}};
  } else {
    const json body = json::parse(got.body);
    for (const json& choice : body["choices"])
      all.push_back({choice["message"]["content"], choice["finish_reason"]});
  }
  return all.dump();
}

}  // namespace revenant
