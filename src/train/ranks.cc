#include "train/ranks.h"

#include <ATen/Parallel.h>
#include <c10/util/Logging.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <thread>

#include "base/error.h"
#include "train/groups.h"
#include "train/rank_watch.h"

namespace revenant {
namespace {

using namespace std::chrono_literals;
using torch::Tensor;

constexpr auto kJoin = 50s;
constexpr int64_t kBucket = 4 << 20;  // values that are sent at once

int number_of(const char* variable, int low, int high, int otherwise = -1) {
  const char* text = std::getenv(variable);
  if (!text && otherwise >= 0) return otherwise;
  int value = 0;
  const std::string_view given = text ? text : "";
  const auto [end, error] = std::from_chars(given.begin(), given.end(), value);
  if (error == std::errc() && end == given.end() && value >= low && value <= high) return value;
  throw Error("train", variable,
              "a whole number from " + std::to_string(low) + " to " + std::to_string(high) +
                  ", as torchrun sets it",
              text ? "\"" + std::string(text) + "\"" : "nothing");
}

std::string text_of(const char* variable) {
  const char* text = std::getenv(variable);
  return text ? text : "";
}

// Rank 0's, or a connection to it.
Store opened(const RankPlace& place, bool holds) {
  c10d::TCPStoreOptions options;
  options.port = uint16_t(place.port);
  options.isServer = holds;
  options.waitWorkers = false;
  options.timeout = kJoin;
  const std::string at = place.address + ":" + std::to_string(place.port);
  try {
    return c10::make_intrusive<c10d::PrefixStore>(
        "revenant/" + place.attempt, c10::make_intrusive<c10d::TCPStore>(place.address, options));
  } catch (const c10::Error& error) {
    throw Error("train", "MASTER_ADDR and MASTER_PORT, " + at,
                holds ? "a port to open" : "the store of rank 0 or of torchrun",
                std::string(error.what_without_backtrace()));
  }
}

void wait_for_all(const Store& store, int size) try {
  store->add("joined", 1);
  for (auto waited = 0ms; store->add("joined", 0) < size; waited += 100ms) {
    if (waited >= kJoin)
      throw Error(
          "train", "WORLD_SIZE",
          std::to_string(size) + " processes within " + std::to_string(kJoin.count()) + " seconds",
          std::to_string(store->add("joined", 0)));
    std::this_thread::sleep_for(100ms);
  }
} catch (const c10::Error& error) {
  throw Error("train", "MASTER_ADDR and MASTER_PORT", "a store until all have joined",
              std::string(error.what_without_backtrace()));
}

}  // namespace

RankPlace rank_place() {
  RankPlace place;
  if (!std::getenv("WORLD_SIZE") && !std::getenv("RANK")) return place;
  place.size = number_of("WORLD_SIZE", 1, 1 << 16);
  place.rank = number_of("RANK", 0, place.size - 1);
  place.local_rank = number_of("LOCAL_RANK", 0, place.size - 1, 0);
  place.local_size = number_of("LOCAL_WORLD_SIZE", 1, place.size, 0);
  if (place.size == 1) return place;
  place.address = text_of("MASTER_ADDR");
  if (place.address.empty())
    throw Error("train", "MASTER_ADDR", "a host's name, as torchrun sets it", "nothing");
  place.port = number_of("MASTER_PORT", 1, 65535);
  place.others_store = text_of("TORCHELASTIC_USE_AGENT_STORE") == "True";
  if (const std::string attempt = text_of("TORCHELASTIC_RESTART_COUNT"); !attempt.empty())
    place.attempt = attempt;
  return place;
}

// What is open between the ranks. The watch has a connection to the store of its own: what waits on
// one lets nobody else speak.
struct Ranks::Links {
  Links(const RankPlace& place, const EndLost& end) : store(opened(place, place.holds_store())) {
    wait_for_all(store, place.size);
    watch.emplace(opened(place, false), place, end);
  }

  Store store;
  std::optional<RankWatch> watch;
  Group gloo, nccl;
};

Ranks::Ranks(const RankPlace& place, const EndLost& end, Reason reason)
    : place_(place), reason_(reason) {
  if (size() == 1) return;
  std::signal(SIGPIPE, SIG_IGN);  // c10d writes to who has gone: an error, not our end
  FLAGS_caffe2_log_level = 3;  // c10d's own words about a connection that broke: the watch has them
  links_ = std::make_unique<Links>(place, end);
  const bool local = place.local_size == place.size || place.address == "127.0.0.1" ||
                     place.address == "localhost";
  guarded([&] { links_->gloo = gloo_group(links_->store, rank(), size(), local); });
  if (place.local_size > 1 && !std::getenv("OMP_NUM_THREADS"))
    at::set_num_threads(std::max(1, at::get_num_threads() / place.local_size));
}

Ranks::~Ranks() {
  if (links_) links_->watch.reset();
}

// Where it fails a rank is gone: this one ends with the others.
void Ranks::guarded(const std::function<void()>& speak) const {
  try {
    speak();
  } catch (const c10::Error& error) {
    links_->watch->suspect(error.what_without_backtrace());
  } catch (const std::exception& error) {
    links_->watch->suspect(error.what());
  }
}

std::vector<Ranks::Json> Ranks::each(const std::function<Json()>& work) const {
  if (size() == 1) return {work()};
  Json mine;
  try {
    mine["value"] = work();
  } catch (const std::exception& error) {
    mine["failed"] = reason_(error);
  }
  std::vector<Json> all = exchanged(mine), values;
  for (size_t r = 0; r < all.size(); ++r) {
    if (all[r].contains("failed")) throw RankError(int(r), size(), all[r]["failed"]);
    values.push_back(std::move(all[r]["value"]));
  }
  return values;
}

void Ranks::on_first(const std::function<void()>& work) const {
  each([&] {
    if (first()) work();
    return Json();
  });
}

// Everyone's bytes, filled up to the longest.
std::vector<Ranks::Json> Ranks::exchanged(const Json& mine) const {
  const auto all_of = [&](Tensor own) {
    std::vector<std::vector<Tensor>> all(1);
    for (int r = 0; r < size(); ++r) all[0].push_back(torch::empty_like(own));
    std::vector<Tensor> input = {own};
    guarded([&] { links_->gloo->allgather(all, input)->wait(); });
    return all[0];
  };
  std::vector<uint8_t> bytes = Json::to_cbor(mine);
  const std::vector<Tensor> sizes = all_of(torch::tensor({int64_t(bytes.size())}, torch::kLong));
  int64_t longest = 0;
  for (const Tensor& n : sizes) longest = std::max(longest, n.item<int64_t>());
  bytes.resize(size_t(longest));
  std::vector<Json> told;
  for (const Tensor& part : all_of(torch::from_blob(bytes.data(), {longest}, torch::kUInt8))) {
    const auto* begin = part.data_ptr<uint8_t>();
    told.push_back(Json::from_cbor(begin, begin + sizes[told.size()].item<int64_t>()));
  }
  return told;
}

void Ranks::reach(torch::Device device) const {
  if (size() == 1 || device.is_cpu() || links_->nccl) return;
  links_->nccl = nccl_group(links_->store, rank(), size(), device);
}

// Many small tensors are sent as few large ones.
void Ranks::over_buckets(const std::vector<Tensor>& tensors,
                         const std::function<void(std::vector<Tensor>&)>& send) const {
  for (size_t begin = 0, end = 0; begin < tensors.size(); begin = end) {
    std::vector<Tensor> parts;
    int64_t values = 0;
    for (; end < tensors.size() && (end == begin || values + tensors[end].numel() <= kBucket) &&
           tensors[end].options().type_equal(tensors[begin].options());
         ++end) {
      parts.push_back(tensors[end].detach().reshape(-1));
      values += tensors[end].numel();
    }
    std::vector<Tensor> flat = {torch::cat(parts)};
    guarded([&] { send(flat); });
    int64_t at = 0;
    for (size_t i = begin; i < end; at += tensors[i++].numel())
      tensors[i].detach().copy_(flat[0].narrow(0, at, tensors[i].numel()).view(tensors[i].sizes()));
  }
}

void Ranks::sum(const std::vector<Tensor>& tensors) const {
  if (size() == 1 || tensors.empty()) return;
  reach(tensors[0].device());
  const Group& group = tensors[0].is_cpu() ? links_->gloo : links_->nccl;
  over_buckets(tensors, [&](std::vector<Tensor>& flat) { group->allreduce(flat)->wait(); });
}

void Ranks::share(const std::vector<Tensor>& tensors, int from) const {
  if (size() == 1 || tensors.empty()) return;
  reach(tensors[0].device());
  const Group& group = tensors[0].is_cpu() ? links_->gloo : links_->nccl;
  c10d::BroadcastOptions options;
  options.rootRank = from;
  over_buckets(tensors,
               [&](std::vector<Tensor>& flat) { group->broadcast(flat, options)->wait(); });
}

std::map<std::string, Tensor> Ranks::gathered(std::map<std::string, Tensor> own) const {
  if (size() == 1) return own;
  const std::vector<Json> shapes = each([&] {
    Json mine = Json::object();
    for (const auto& [name, tensor] : own) mine[name] = tensor.sizes().vec();
    return mine;
  });
  const auto one = [&](Tensor tensor, int from) {
    std::vector<Tensor> tensors = {std::move(tensor)};
    guarded([&] {
      (first() ? links_->gloo->recv(tensors, from, 0) : links_->gloo->send(tensors, 0, 0))->wait();
    });
    return tensors[0];
  };
  if (!first()) {
    for (const auto& [name, tensor] : own) one(tensor.contiguous(), 0);
    return {};
  }
  for (int r = 1; r < size(); ++r)
    for (const auto& [name, shape] : shapes[size_t(r)].items())
      own[name] = one(torch::empty(shape.get<std::vector<int64_t>>()), r);
  return own;
}

bool Ranks::tells(const std::exception& error) const {
  if (size() == 1) return true;
  if (const auto* all = dynamic_cast<const RankError*>(&error)) return all->rank == rank();
  return links_->watch->tells(named(error));
}

std::string Ranks::named(const std::exception& error) const {
  if (size() == 1 || dynamic_cast<const RankError*>(&error)) return error.what();
  return RankError(rank(), size(), reason_(error)).what();
}

const Ranks& no_ranks() {
  static const Ranks alone;
  return alone;
}

}  // namespace revenant
