#include "serve/server.h"

namespace revenant {

Server::Server(const ApiOptions& api, const HttpOptions& http, std::vector<ModelToServe> models,
               size_t budget)
    : models_(api, std::move(models), budget), http_(models_, http) {
  computing_ = std::thread([this] { compute(); });
}

Server::~Server() { end_computing(); }

void Server::compute() {
  try {
    models_.begin();
    while (!ended_)
      if (!models_.turn()) models_.wait();
  } catch (...) {
    failure_ = std::current_exception();
    http_.stop();
  }
}

void Server::end_computing() {
  ended_ = true;
  models_.wake();
  if (computing_.joinable()) computing_.join();
}

void Server::run(bool signals) {
  http_.run(signals);
  end_computing();
  models_.end();
  if (failure_) std::rethrow_exception(failure_);
}

}  // namespace revenant
