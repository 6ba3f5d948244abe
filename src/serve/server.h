// The whole server: it listens, loads models, and computes on a thread of its own.
#pragma once

#include <exception>
#include <functional>
#include <thread>

#include "serve/http.h"

namespace revenant {

class Server {
 public:
  using Load = std::function<std::shared_ptr<const Model>()>;

  // Listens; throws Error. Until the first model is loaded, all but /health is answered with 503.
  Server(const ApiOptions& api, const HttpOptions& http, std::vector<ModelToServe> models,
         size_t budget = 0);
  Server(const ApiOptions& api, const HttpOptions& http, Load load)
      : Server(api, http, {{.name = api.model, .load = std::move(load)}}) {}
  ~Server();

  uint16_t port() const { return http_.port(); }
  Models& models() { return models_; }
  Api& api() { return models_.first(); }
  HttpServer& http() { return http_; }

  // See HttpServer. Throws what the first model's `load` threw.
  void run(bool signals);
  void stop() { http_.stop(); }

 private:
  void compute();
  void end_computing();

  Models models_;
  HttpServer http_;
  std::atomic<bool> ended_ = false;
  std::exception_ptr failure_;
  std::thread computing_;
};

}  // namespace revenant
