// HTTP/1.1 before the models, plain or over TLS: sockets, limits, timeouts, streams, and who left.
// One thread serves all connections; a few others read requests (JSON, pictures, tokens).
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "serve/models.h"

namespace revenant {

struct HttpOptions {
  using Seconds = std::chrono::duration<double>;
  std::string host = "127.0.0.1";
  uint16_t port = 8080;                    // 0: any that is free
  Path certificate = {}, key = {};         // PEM, the certificate with its chain: TLS; both or none
  size_t body_bytes = size_t(32) << 20;    // else 413
  size_t header_bytes = size_t(16) << 10;  // with the request line; else 431
  size_t uri_bytes = size_t(8) << 10;      // else 414
  int header_fields = 100;                 // else 431
  size_t memory = size_t(512) << 20;       // of all bodies at a time; else 503
  size_t stream_bytes = size_t(16) << 20;  // that a client may be behind; then it is let go
  int connections = 256;                   // more wait, unaccepted
  int readers = 2;                         // threads that read requests
  Seconds handshake{10};                   // of TLS; else let go
  Seconds header_time{10}, body_pause{30}, body_time{120};  // else 408
  Seconds write_time{30};  // that a client may take nothing; then it is let go
  Seconds keep_alive{75};  // between the requests of a connection
  Seconds ping{15};        // between comments in a stream where nothing else is sent
  Seconds drain{30};       // for answers on their way when the server ends
};

class HttpServer {
 public:
  // Listens. Throws Error.
  HttpServer(Models& models, const HttpOptions& options);
  ~HttpServer();

  uint16_t port() const;
  // Serves until `stop`, or, if asked to listen to signals, SIGTERM or SIGINT; then nothing new is
  // accepted, and answers on their way are finished or, after a while, ended. A second signal ends
  // the program.
  void run(bool signals);
  void stop();              // from any thread
  int connections() const;  // now, from any thread

  struct State;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace revenant
