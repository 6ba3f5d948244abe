// A server that stands in for somebody else's: it answers requests as a test says, and misbehaves
// as a test says. Over TLS too, with a certificate of its own.
#pragma once

#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/ascii.h"
#include "support/certificate.h"

namespace revenant {

struct Asked {
  std::string head, body;  // head: the request line and the header fields, as they came

  std::string field(const std::string& name) const {
    const size_t at = lower_ascii(head).find("\r\n" + lower_ascii(name) + ": ");
    if (at == head.npos) return "";
    const size_t begin = at + name.size() + 4;
    return head.substr(begin, head.find("\r\n", begin) - begin);
  }
  nlohmann::json json() const { return nlohmann::json::parse(body); }
  // The last message's text, whatever its form.
  std::string text() const {
    const nlohmann::json content = json().at("messages").back().at("content");
    return content.is_string() ? content.get<std::string>()
                               : content.back().at("text").get<std::string>();
  }
};

struct Sent {
  std::string bytes;  // as they go
  double wait = 0;    // seconds before them, unless the server ends
  bool close = false;
};

inline Sent http_reply(int status, const std::string& body, const std::string& fields = "") {
  return {"HTTP/1.1 " + std::to_string(status) + " X\r\n" + fields +
          "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
          "\r\n\r\n" + body};
}

inline std::string completion(const std::string& text, int prompt = 10, int tokens = 3) {
  return nlohmann::json{{"choices",
                         {{{"index", 0},
                           {"message", {{"role", "assistant"}, {"content", text}}},
                           {"finish_reason", "stop"}}}},
                        {"usage", {{"prompt_tokens", prompt}, {"completion_tokens", tokens}}}}
      .dump();
}

class StandIn {
 public:
  using Answer = std::function<Sent(const Asked&)>;

  explicit StandIn(Answer answer, const OwnCertificate* certificate = nullptr)
      : answer_(std::move(answer)), tls_(certificate ? certificate->context() : nullptr) {
    if (tls_) std::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes to who has left
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    ::bind(listener_, reinterpret_cast<sockaddr*>(&address), size);
    ::listen(listener_, 64);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ::ntohs(address.sin_port);
    accepting_ = std::thread([this] { accept(); });
  }
  ~StandIn() {
    over_ = true;
    ::shutdown(listener_, SHUT_RDWR);
    accepting_.join();
    {
      const std::lock_guard lock(mutex_);
      for (const int socket : sockets_) ::shutdown(socket, SHUT_RDWR);
    }
    for (std::thread& one : serving_) one.join();
    ::close(listener_);
    ::SSL_CTX_free(tls_);
  }

  std::string url(const std::string& host = "127.0.0.1") const {
    return (tls_ ? "https://" : "http://") + host + ":" + std::to_string(port_) + "/v1";
  }
  // What came so far.
  std::vector<Asked> asked() const {
    const std::lock_guard lock(mutex_);
    return asked_;
  }
  int connections() const { return connections_; }

 private:
  struct Line {
    int socket;
    SSL* ssl;
    ssize_t read(char* to, size_t size) const {
      return ssl ? ::SSL_read(ssl, to, int(size)) : ::recv(socket, to, size, 0);
    }
    void write(const std::string& text) const {
      for (size_t done = 0; done < text.size();) {
        const char* from = text.data() + done;
        const ssize_t n = ssl ? ::SSL_write(ssl, from, int(text.size() - done))
                              : ::send(socket, from, text.size() - done, MSG_NOSIGNAL);
        if (n <= 0) return;
        done += size_t(n);
      }
    }
  };

  void accept() {
    for (;;) {
      const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (socket < 0) return;
      ++connections_;
      const std::lock_guard lock(mutex_);
      sockets_.insert(socket);
      serving_.emplace_back([this, socket] { serve(socket); });
    }
  }

  void serve(int socket) {
    SSL* ssl = tls_ ? ::SSL_new(tls_) : nullptr;
    if (ssl) ::SSL_set_fd(ssl, socket);
    if (!ssl || ::SSL_accept(ssl) == 1) talk({socket, ssl});
    ::SSL_free(ssl);
    const std::lock_guard lock(mutex_);
    sockets_.erase(socket);
    ::close(socket);
  }

  void talk(const Line& line) {
    std::string got;
    const auto more = [&] {
      char part[65536];
      const ssize_t n = line.read(part, sizeof part);
      if (n > 0) got.append(part, size_t(n));
      return n > 0;
    };
    for (;;) {
      size_t end;
      while ((end = got.find("\r\n\r\n")) == got.npos)
        if (!more()) return;
      Asked asked{got.substr(0, end + 2), ""};
      const size_t size = std::stoul("0" + asked.field("Content-Length"));
      got.erase(0, end + 4);
      while (got.size() < size)
        if (!more()) return;
      asked.body = got.substr(0, size);
      got.erase(0, size);
      {
        const std::lock_guard lock(mutex_);
        asked_.push_back(asked);
      }
      const Sent told = answer_(asked);
      using namespace std::chrono;
      const auto until = steady_clock::now() + duration<double>(told.wait);
      while (!over_ && steady_clock::now() < until) std::this_thread::sleep_for(milliseconds(5));
      line.write(told.bytes);
      if (told.close) return void(::shutdown(line.socket, SHUT_RDWR));
    }
  }

  Answer answer_;
  SSL_CTX* tls_;
  int listener_ = -1;
  uint16_t port_ = 0;
  std::atomic<bool> over_{false};
  std::atomic<int> connections_{0};
  mutable std::mutex mutex_;
  std::set<int> sockets_;
  std::vector<Asked> asked_;
  std::vector<std::thread> serving_;
  std::thread accepting_;
};

}  // namespace revenant
