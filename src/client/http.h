// HTTP/1.1 to somebody else's server, plain or over TLS.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/stop.h"
#include "client/address.h"

namespace revenant {

struct Url {
  bool tls = false;
  std::string host, port;
  std::string path;  // empty, or begins with / and does not end with one

  std::string text() const;
  std::string written_host() const;  // in brackets where it is an address of IPv6
  std::string authority() const;     // with the port, unless it is the scheme's own
  bool loopback() const;             // what is sent there stays on this machine
  bool operator==(const Url&) const = default;
};
// http(s)://HOST[:PORT][/PATH]. Throws Error; a user, a query and a fragment are refused.
Url parse_url(std::string_view text);

struct HttpLimits {
  using Seconds = std::chrono::duration<double>;
  Seconds connect{10};                   // also TLS's greeting
  Seconds whole{120};                    // from the request's first byte to the answer's last
  size_t body_bytes = size_t(16) << 20;  // of an answer
};

struct HttpAnswer {
  int status = 0;
  std::string body, location, retry_after;  // header fields; empty: absent
  std::string encoding;                     // Content-Encoding; empty: none, or identity
};

// No answer came: nobody listens, the connection broke, it took too long, or it was no HTTP.
struct NoAnswer : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// One request at a time, over a connection that is kept from one to the next. Certificates are
// checked against the system's (OpenSSL's SSL_CERT_FILE and SSL_CERT_DIR choose others). Redirects
// are not followed: a key would go with them.
class HttpClient {
 public:
  using Headers = std::vector<std::pair<std::string, std::string>>;

  // `addresses`: where it connects to; without any to those that the system knows of the host.
  explicit HttpClient(Url url, const HttpLimits& limits = {}, std::vector<Address> addresses = {});
  ~HttpClient();

  // `path` is added to the URL's. Throw NoAnswer, and Stopped if `go_on` says so; the connection
  // is closed then, by which a server knows that nobody waits.
  HttpAnswer get(const std::string& path, const Headers& headers, const GoOn& go_on = {});
  HttpAnswer post(const std::string& path, const Headers& headers, const std::string& body,
                  const GoOn& go_on = {});
  // The file at the URL itself, as it is. Of what is no 200, and of what is encoded, only the head
  // is read, and the connection closed.
  HttpAnswer fetch(const GoOn& go_on = {});
  // The body of a 200 goes to `part` as it comes, and is not in what is returned. HttpLimits::whole
  // is the longest silence.
  using Part = std::function<void(std::string_view)>;
  HttpAnswer stream(const std::string& path, const Headers& headers, const std::string& body,
                    const Part& part, const GoOn& go_on = {});

 private:
  struct Connection;
  struct Ask;
  HttpAnswer send(const Ask& ask);

  Url url_;
  HttpLimits limits_;
  std::vector<Address> addresses_;
  std::unique_ptr<Connection> connection_;
};

}  // namespace revenant
