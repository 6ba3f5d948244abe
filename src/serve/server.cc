#include "serve/server.h"

namespace revenant {

Server::Server(ApiOptions api, const HttpOptions& http, Load load)
    : api_(std::move(api)), http_(api_, http), load_(std::move(load)) {
  computing_ = std::thread([this] { compute(); });
}

Server::~Server() { end_computing(); }

void Server::compute() {
  try {
    api_.ready(load_());
    Scheduler& scheduler = *api_.scheduler();
    while (!ended_)
      if (!scheduler.turn()) scheduler.wait();
  } catch (...) {
    failure_ = std::current_exception();
    http_.stop();
  }
}

void Server::end_computing() {
  ended_ = true;
  if (Scheduler* scheduler = api_.scheduler()) scheduler->wake();
  if (computing_.joinable()) computing_.join();
}

void Server::run(bool signals) {
  http_.run(signals);
  end_computing();
  api_.end();
  if (failure_) std::rethrow_exception(failure_);
}

}  // namespace revenant
