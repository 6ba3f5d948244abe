// A client that says bytes and hears bytes, over TCP on this machine.
#pragma once

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace revenant {

class Wire {
 public:
  explicit Wire(uint16_t port, int patience_seconds = 30)
      : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    ::inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    timeval patience{patience_seconds, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    const int now = 1;
    ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &now, sizeof now);
    connected_ = ::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  ~Wire() { leave(); }
  Wire(const Wire&) = delete;

  bool connected() const { return connected_; }
  void leave() {
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
  }
  void half_close() { ::shutdown(socket_, SHUT_WR); }
  // Leaves with a reset: nothing of the connection stays on this machine.
  void reset() {
    const linger none{1, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    leave();
  }
  void say(std::string_view text) {
    while (!text.empty()) {
      const ssize_t n = ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
      if (n <= 0) return;
      text.remove_prefix(size_t(n));
    }
  }
  // Everything until the other side closes.
  std::string hear_all() {
    while (hear_more()) continue;
    return std::exchange(heard_, "");
  }
  std::string hear_until(std::string_view mark) {
    size_t at;
    while ((at = heard_.find(mark)) == heard_.npos)
      if (!hear_more()) return std::exchange(heard_, "");
    const std::string part = heard_.substr(0, at + mark.size());
    heard_.erase(0, part.size());
    return part;
  }
  std::string hear_bytes(size_t count) {
    while (heard_.size() < count && hear_more()) continue;
    const std::string part = heard_.substr(0, count);
    heard_.erase(0, part.size());
    return part;
  }

 private:
  bool hear_more() {
    char part[4096];
    const ssize_t n = ::recv(socket_, part, sizeof part, 0);
    if (n > 0) heard_.append(part, size_t(n));
    return n > 0;
  }
  int socket_;
  bool connected_;
  std::string heard_;
};

}  // namespace revenant
