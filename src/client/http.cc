#include "client/http.h"

#include <boost/asio.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <optional>
#include <variant>

#include "base/ascii.h"
#include "base/error.h"

namespace revenant {

namespace net = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace ssl = boost::asio::ssl;
using net::ip::tcp;

namespace {

using Plain = beast::tcp_stream;
using Secured = beast::ssl_stream<beast::tcp_stream>;

[[noreturn]] void refuse_url(std::string_view text, const std::string& found) {
  throw Error("client", "address", "http(s)://HOST[:PORT][/PATH]",
              found.empty() ? "\"" + std::string(text) + "\"" : found);
}

bool is_port(std::string_view text) {
  return !text.empty() && text.size() <= 5 && text.find_first_not_of("0123456789") == text.npos &&
         std::stoi(std::string(text)) <= 65535;
}

std::chrono::nanoseconds span_of(HttpLimits::Seconds seconds) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(seconds);
}

ssl::context trusting_the_system() {
  ssl::context context(ssl::context::tls_client);
  context.set_default_verify_paths();
  context.set_verify_mode(ssl::verify_peer);
  ::SSL_CTX_set_min_proto_version(context.native_handle(), TLS1_2_VERSION);
  return context;
}

tcp::endpoint endpoint_of(const Address& address, const std::string& port) {
  const auto number = net::ip::port_type(std::stoi(port));
  if (address.v6) return {net::ip::address_v6(address.bytes), number};
  const auto& b = address.bytes;
  return {net::ip::address_v4({b[0], b[1], b[2], b[3]}), number};
}

std::string reason_of(const boost::system::system_error& error) {
  return error.code() == beast::error::timeout ? "it took too long" : error.code().message();
}

}  // namespace

std::string Url::text() const { return (tls ? "https://" : "http://") + authority() + path; }

std::string Url::authority() const {
  return written_host() + (port == (tls ? "443" : "80") ? "" : ":" + port);
}

std::string Url::written_host() const {
  return host.find(':') != host.npos ? "[" + host + "]" : host;
}

bool Url::loopback() const {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

Url parse_url(std::string_view text) {
  Url url;
  std::string_view rest = text;
  for (const char c : text)
    if (c <= ' ' || c >= 0x7f) refuse_url(text, "other than visible ASCII");
  const size_t scheme = rest.find("://");
  const std::string name = lower_ascii(rest.substr(0, scheme == rest.npos ? 0 : scheme));
  if (name != "http" && name != "https") refuse_url(text, "");
  url.tls = name == "https";
  rest.remove_prefix(scheme + 3);
  if (rest.find('?') != rest.npos || rest.find('#') != rest.npos)
    refuse_url(text, "a query or a fragment");
  const size_t slash = std::min(rest.find('/'), rest.size());
  std::string_view place = rest.substr(0, slash);
  if (place.find('@') != place.npos) refuse_url(text, "a user or a password");  // not shown
  url.path = rest.substr(slash);
  while (url.path.ends_with('/')) url.path.pop_back();
  const bool v6 = place.starts_with('[');
  const size_t host_end = v6 ? place.find(']') : std::min(place.find(':'), place.size());
  if (host_end == place.npos) refuse_url(text, "");
  url.host = place.substr(v6, host_end - v6);
  place.remove_prefix(host_end + v6);
  if (place.empty()) url.port = url.tls ? "443" : "80";
  if (place.starts_with(':')) url.port = place.substr(1);
  if (url.host.empty() || !is_port(url.port)) refuse_url(text, "");
  return url;
}

// Each operation is begun on the one thread there is and waited for, so that it can have a
// deadline.
struct HttpClient::Connection {
  explicit Connection(bool tls) {
    if (tls) context.emplace(trusting_the_system());
  }

  template <class Begin>
  auto wait(const Begin& begin) {
    io.restart();
    auto result = begin(net::use_future);
    while (!io.stopped()) {
      io.run_for(std::chrono::milliseconds(50));
      if (go_on && !(*go_on)()) throw Stopped();
    }
    return result.get();
  }

  Plain& lowest() {
    return stream.index() == 1 ? std::get<1>(stream) : std::get<2>(stream).next_layer();
  }
  template <class Work>
  auto on_stream(const Work& work) {
    return stream.index() == 1 ? work(std::get<1>(stream)) : work(std::get<2>(stream));
  }

  std::vector<tcp::endpoint> resolve(const Url& url) {
    tcp::resolver resolver(io);
    const auto found =
        wait([&](auto then) { return resolver.async_resolve(url.host, url.port, then); });
    return {found.begin(), found.end()};
  }

  void open(const Url& url, const HttpLimits& limits, const std::vector<Address>& addresses) {
    std::vector<tcp::endpoint> found;
    for (const Address& address : addresses) found.push_back(endpoint_of(address, url.port));
    if (found.empty()) found = resolve(url);
    if (url.tls)
      stream.emplace<2>(io, *context);
    else
      stream.emplace<1>(io);
    lowest().expires_after(span_of(limits.connect));
    wait([&](auto then) { return lowest().async_connect(found, then); });
    lowest().socket().set_option(tcp::no_delay(true));
    if (!url.tls) return;
    Secured& secured = std::get<2>(stream);
    ::SSL_set_tlsext_host_name(secured.native_handle(), url.host.c_str());
    secured.set_verify_callback(ssl::host_name_verification(url.host));
    wait([&](auto then) { return secured.async_handshake(ssl::stream_base::client, then); });
  }

  using Request = http::request<http::string_body>;
  using Parser = http::response_parser<http::string_body>;

  HttpAnswer exchange(const Request& request, const HttpLimits& limits, const Part& part,
                      bool files_only) {
    lowest().expires_after(span_of(limits.whole));
    answering = kept = false;
    on_stream([&](auto& s) {
      return wait([&](auto then) { return http::async_write(s, request, then); });
    });
    Parser parser;
    parser.body_limit(limits.body_bytes);
    parser.header_limit(1 << 16);
    on_stream([&](auto& s) {
      return wait([&](auto then) { return http::async_read_header(s, buffer, parser, then); });
    });
    answering = true;
    std::string encoding = lower_ascii(parser.get()[http::field::content_encoding]);
    if (encoding == "identity") encoding.clear();
    if (files_only && (parser.get().result_int() != 200 || !encoding.empty()))
      return {int(parser.get().result_int()), "", "", "", encoding};
    if (part && parser.get().result_int() == 200)
      give_parts(parser, limits, part);
    else
      on_stream([&](auto& s) {
        return wait([&](auto then) { return http::async_read(s, buffer, parser, then); });
      });
    lowest().expires_never();
    auto& message = parser.get();
    kept = message.keep_alive();
    return {int(message.result_int()), std::move(message.body()),
            std::string(message[http::field::location]),
            std::string(message[http::field::retry_after]), encoding};
  }

  void give_parts(Parser& parser, const HttpLimits& limits, const Part& part) {
    std::string& body = parser.get().body();
    while (true) {
      if (!body.empty()) part(std::exchange(body, ""));
      if (parser.is_done()) return;
      lowest().expires_after(span_of(limits.whole));
      on_stream([&](auto& s) {
        return wait([&](auto then) { return http::async_read_some(s, buffer, parser, then); });
      });
    }
  }

  const GoOn* go_on = nullptr;  // of the request that is under way
  net::io_context io{1};
  std::optional<ssl::context> context;
  std::variant<std::monostate, Plain, Secured> stream;
  beast::flat_buffer buffer;
  bool kept = false;       // may serve another request
  bool answering = false;  // something of the answer has come
};

HttpClient::HttpClient(Url url, const HttpLimits& limits, std::vector<Address> addresses)
    : url_(std::move(url)), limits_(limits), addresses_(std::move(addresses)) {}
HttpClient::~HttpClient() = default;

struct HttpClient::Ask {
  http::verb verb;
  const std::string& path;
  const Headers& headers;
  const std::string& body;
  const Part& part;
  const GoOn& go_on;
  bool files_only = false;
};

HttpAnswer HttpClient::get(const std::string& path, const Headers& headers, const GoOn& go_on) {
  return send({http::verb::get, path, headers, "", {}, go_on});
}

HttpAnswer HttpClient::post(const std::string& path, const Headers& headers,
                            const std::string& body, const GoOn& go_on) {
  return send({http::verb::post, path, headers, body, {}, go_on});
}

HttpAnswer HttpClient::fetch(const GoOn& go_on) {
  return send({http::verb::get, "", {{"Accept-Encoding", "identity"}}, "", {}, go_on, true});
}

HttpAnswer HttpClient::stream(const std::string& path, const Headers& headers,
                              const std::string& body, const Part& part, const GoOn& go_on) {
  return send({http::verb::post, path, headers, body, part, go_on});
}

HttpAnswer HttpClient::send(const Ask& ask) {
  Connection::Request request{ask.verb, url_.path + ask.path, 11};
  request.set(http::field::host, url_.authority());
  request.set(http::field::user_agent, "revenant");
  if (ask.verb == http::verb::post) request.set(http::field::content_type, "application/json");
  for (const auto& [name, value] : ask.headers) request.set(name, value);
  request.body() = ask.body;
  request.prepare_payload();
  for (;;) {
    const bool fresh = !connection_;
    try {
      if (fresh) connection_ = std::make_unique<Connection>(url_.tls);
      connection_->go_on = ask.go_on ? &ask.go_on : nullptr;
      if (fresh) connection_->open(url_, limits_, addresses_);
      HttpAnswer answer = connection_->exchange(request, limits_, ask.part, ask.files_only);
      if (!connection_->kept) connection_.reset();
      return answer;
    } catch (const boost::system::system_error& error) {
      const bool late = error.code() == beast::error::timeout;
      // A server may close a kept connection just when the next request is under way.
      const bool again = !fresh && !connection_->answering && !late;
      connection_.reset();
      if (!again) throw NoAnswer(url_.text() + ": " + reason_of(error));
    } catch (...) {  // stopped, or `part` wants no more
      connection_.reset();
      throw;
    }
  }
}

}  // namespace revenant
