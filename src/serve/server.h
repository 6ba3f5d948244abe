// The whole server: it listens, loads the model, and computes on a thread of its own.
#pragma once

#include <exception>
#include <functional>
#include <thread>

#include "serve/http.h"

namespace revenant {

class Server {
 public:
  using Load = std::function<std::shared_ptr<const Model>()>;

  // Listens; throws Error. Until `load` has returned, all but /health is answered with 503.
  Server(ApiOptions api, const HttpOptions& http, Load load);
  ~Server();

  uint16_t port() const { return http_.port(); }
  Api& api() { return api_; }
  HttpServer& http() { return http_; }

  // See HttpServer. Throws what `load` threw.
  void run(bool signals);
  void stop() { http_.stop(); }

 private:
  void compute();
  void end_computing();

  Api api_;
  HttpServer http_;
  const Load load_;
  std::atomic<bool> ended_ = false;
  std::exception_ptr failure_;
  std::thread computing_;
};

}  // namespace revenant
