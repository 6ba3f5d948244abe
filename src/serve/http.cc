#include "serve/http.h"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <csignal>
#include <set>

#include "base/error.h"

namespace revenant {

namespace net = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace ssl = boost::asio::ssl;
using beast::error_code;
using net::ip::tcp;

namespace {

class Connection;

std::chrono::nanoseconds span_of(HttpOptions::Seconds seconds) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(seconds);
}

// Of the protocols that a client offers only one is spoken here.
int choose_protocol(SSL*, const unsigned char** out, unsigned char* size, const unsigned char* in,
                    unsigned in_size, void*) {
  static constexpr unsigned char own[] = "\x08http/1.1";
  unsigned char* chosen = nullptr;
  const int found = ::SSL_select_next_proto(&chosen, size, own, sizeof own - 1, in, in_size);
  *out = chosen;
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

// Others on this machine must not read it.
void check_key_mode(const Path& file) {
  struct stat about {};
  if (::stat(file.c_str(), &about) == 0 && (about.st_mode & 07) != 0)
    throw Error("serve", file.string(), "a key that others cannot read (chmod o= ...)",
                "one that they can");
}

ssl::context tls_context(const HttpOptions& options) {
  ssl::context context(ssl::context::tls_server);
  ::SSL_CTX_set_min_proto_version(context.native_handle(), TLS1_2_VERSION);
  ::SSL_CTX_set_options(context.native_handle(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  ::SSL_CTX_set_alpn_select_cb(context.native_handle(), choose_protocol, nullptr);
  context.set_password_callback([](size_t, ssl::context::password_purpose) { return ""; });
  error_code error;
  context.use_certificate_chain_file(options.certificate.string(), error);
  if (error)
    throw Error("serve", options.certificate.string(), "a certificate in PEM", error.message());
  check_key_mode(options.key);
  context.use_private_key_file(options.key.string(), ssl::context::pem, error);
  if (error)
    throw Error("serve", options.key.string(),
                "the certificate's private key in PEM, without a password", error.message());
  return context;
}

}  // namespace

struct HttpServer::State {
  State(Models& which, const HttpOptions& how)
      : models(which), options(how), readers(size_t(how.readers)) {}

  void listen();
  void accept();
  void drain();
  void left(Connection* connection);
  void end_if_over();
  ~State() { over = true; }

  Models& models;
  const HttpOptions options;
  std::set<Connection*> connections;
  std::atomic<int> count = 0;
  size_t memory = 0;  // taken by bodies
  bool draining = false, accepting = false, over = false;
  std::optional<ssl::context> tls;
  net::io_context io{1};  // connections live in its handlers, and use what stands above
  tcp::acceptor acceptor{io};
  net::signal_set signals{io};
  net::steady_timer deadline{io};
  net::thread_pool readers;
};

namespace {

// One client. All its members are called on the thread of the io_context; Clients' functions post
// there.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(HttpServer::State& state, tcp::socket socket)
      : state_(state), socket_(std::move(socket)), reading_(state.io), writing_(state.io) {
    if (state.tls) secured_.emplace(socket_, *state.tls);
    state_.connections.insert(this);
    ++state_.count;
  }
  ~Connection() {
    release();
    --state_.count;
    state_.left(this);
  }

  void start() {
    if (!secured_) return next_request();
    expires(reading_, state_.options.handshake);
    secured_->async_handshake(ssl::stream_base::server,
                              [self = shared_from_this()](error_code error) {
                                self->reading_.cancel();
                                error ? self->close() : self->next_request();
                              });
  }
  // The server ends: what waits for a request goes, an answer is finished.
  void drain() {
    if (idle_) close();
  }
  void close() {
    if (gone_) *gone_ = true;
    error_code ignored;
    socket_.close(ignored);
    reading_.cancel();
    writing_.cancel();
    ping_.reset();
  }

 private:
  using Self = std::shared_ptr<Connection>;

  template <class Work>
  void on_stream(const Work& work) {
    secured_ ? work(*secured_) : work(socket_);
  }
  template <class Then>
  void read_some(size_t most, Then then) {
    on_stream(
        [&](auto& stream) { stream.async_read_some(buffer_.prepare(most), std::move(then)); });
  }
  template <class Then>
  void write_all(net::const_buffer bytes, Then then) {
    on_stream([&](auto& stream) { net::async_write(stream, bytes, std::move(then)); });
  }

  // --- reading a request

  void next_request() {
    if (state_.draining) return close();
    idle_ = true;
    release();
    gone_ = std::make_shared<std::atomic<bool>>(false);
    parser_.emplace();
    parser_->header_limit(std::uint32_t(state_.options.header_bytes));
    parser_->body_limit(state_.options.body_bytes);
    expires(reading_,
            std::exchange(kept_, true) ? state_.options.keep_alive : state_.options.header_time);
    if (buffer_.size() > 0) return read_header();
    read_some(4096, [self = shared_from_this()](error_code error, size_t bytes) {
      self->buffer_.commit(bytes);
      if (error) return self->close();
      self->read_header();
    });
  }

  void read_header() {
    idle_ = false;
    expires(reading_, state_.options.header_time);
    on_stream([this](auto& stream) {
      http::async_read_header(stream, buffer_, *parser_,
                              [self = shared_from_this()](error_code error, size_t) {
                                self->reading_.cancel();
                                error ? self->refuse_reading(error) : self->admit();
                              });
    });
  }

  void admit() {
    const auto& request = parser_->get();
    const auto field = [&](auto name) { return std::string(request[name]); };
    version_ = request.version();
    without_body_ = request.method() == http::verb::head;
    keep_ = request.keep_alive() && version_ == 11;
    if (request.target().size() > state_.options.uri_bytes)
      return refuse(414, "the path is too long", "uri_too_long");
    if (std::distance(request.begin(), request.end()) > state_.options.header_fields)
      return refuse(431, "too many header fields", "header_too_large");
    Admission admission = state_.models.admit(
        {std::string(request.method_string()), std::string(request.target()),
         field(http::field::authorization), field("X-Api-Key"), field(http::field::origin),
         field(http::field::host), field(http::field::if_none_match)});
    headers_ = std::move(admission.headers);
    call_ = std::move(admission.call);
    if (admission.refusal) return reply_unread(std::move(*admission.refusal));
    if (!take_memory()) return refuse(503, "too many requests at a time", "no_memory", 1);
    body_deadline_ = std::chrono::steady_clock::now() + span_of(state_.options.body_time);
    const bool waits = beast::iequals(request[http::field::expect], "100-continue");
    if (!waits) return read_body();
    write_all(net::buffer("HTTP/1.1 100 Continue\r\n\r\n", 25),
              [self = shared_from_this()](error_code error, size_t) {
                error ? self->close() : self->read_body();
              });
  }

  // Room for the whole body, however long it says that it is.
  bool take_memory() {
    const auto length = parser_->content_length();
    const size_t wanted = length               ? size_t(*length)
                          : parser_->chunked() ? state_.options.body_bytes
                                               : 0;
    if (state_.memory + wanted > std::max(state_.options.memory, state_.options.body_bytes))
      return false;
    taken_ = wanted;
    state_.memory += wanted;
    return true;
  }
  void release() {
    state_.memory -= taken_;
    taken_ = 0;
  }

  void read_body() {
    if (parser_->is_done()) return answer();
    const auto left = body_deadline_ - std::chrono::steady_clock::now();
    expires(reading_, std::min(state_.options.body_pause,
                               std::max(HttpOptions::Seconds(left), HttpOptions::Seconds(0))));
    on_stream([this](auto& stream) {
      http::async_read_some(stream, buffer_, *parser_,
                            [self = shared_from_this()](error_code error, size_t) {
                              self->reading_.cancel();
                              error ? self->refuse_reading(error) : self->read_body();
                            });
    });
  }

  void refuse_reading(error_code error) {
    using E = http::error;
    if (late_) return refuse(408, "the request came too slowly", "timeout");
    if (error == E::header_limit || error == E::buffer_overflow)
      return refuse(431, "the header is too large", "header_too_large");
    if (error == E::body_limit)
      return refuse(413,
                    "the body may have " + std::to_string(state_.options.body_bytes) + " bytes",
                    "body_too_large");
    if (error == E::end_of_stream || error == E::partial_message ||
        error.category() != make_error_code(E::bad_line_ending).category())
      return close();
    refuse(400, "that is no request of HTTP/1.1", "bad_request");
  }

  void refuse(int status, const std::string& message, const char* code, int retry_after = 0) {
    Failure failure(status, message, code);
    failure.retry_after = retry_after;
    state_.models.metrics().count("requests_rejected_total", 1,
                                  "reason=\"" + std::string(code) + "\"");
    reply_unread(failure_reply(failure));
  }
  // A reply to a request of which the body, if there is one, stays unread.
  void reply_unread(Reply reply) {
    if (!parser_->is_done()) keep_ = false;
    send_whole(std::move(reply));
  }

  // --- answering

  void answer() {
    call_.body = std::move(parser_->get().body());
    watch();
    const Self self = shared_from_this();
    const auto on_io = [self, gone = gone_](auto work) {
      net::post(self->state_.io, [self, gone, work = std::move(work)]() mutable {
        if (!*gone) work(*self);
      });
    };
    const Client client{
        .reply =
            [on_io](Reply reply) {
              on_io([reply = std::move(reply)](Connection& c) mutable {
                c.send_whole(std::move(reply));
              });
            },
        .event =
            [on_io](std::string data) {
              on_io([data = std::move(data)](Connection& c) { c.send_event(data); });
            },
        .end = [on_io] { on_io([](Connection& c) { c.end_stream(); }); },
        .gone = gone_};
    net::post(state_.readers, [models = &state_.models, call = std::move(call_), client] {
      models->answer(call, client);
    });
  }

  // Nobody else notices that a client left while its answer is computed. What it sends meanwhile
  // waits for the next request, up to the size of a header.
  void watch() {
    if (watching_ || buffer_.size() >= state_.options.header_bytes) return;
    watching_ = true;
    read_some(4096, [self = shared_from_this()](error_code error, size_t bytes) {
      self->watching_ = false;
      self->buffer_.commit(bytes);
      self->watched(error);
    });
  }
  // `unwatch` ends a watch, too: then what follows has waited for it.
  void watched(error_code error) {
    if (error && !(after_watch_ && error == net::error::operation_aborted)) return close();
    if (after_watch_)
      (this->*std::exchange(after_watch_, nullptr))();
    else
      watch();
  }
  void unwatch(void (Connection::*then)()) {
    if (!watching_) return (this->*then)();
    after_watch_ = then;
    error_code ignored;
    socket_.cancel(ignored);
  }

  std::string head_of(int status, const std::string& type, const std::string& cache) const {
    std::string head = "HTTP/1.1 " + std::to_string(status) + " " +
                       std::string(http::obsolete_reason(http::int_to_status(unsigned(status)))) +
                       "\r\n";
    if (!type.empty()) head += "Content-Type: " + type + "\r\n";
    head += "X-Content-Type-Options: nosniff\r\nCache-Control: " + cache + "\r\n";
    for (const auto& [name, value] : headers_) head += name + ": " + value + "\r\n";
    head += keep_ ? "" : "Connection: close\r\n";
    return head;
  }

  void send_whole(Reply reply) {
    if (state_.draining) keep_ = false;
    std::string text = head_of(reply.status, reply.type, reply.cache);
    for (const auto& [name, value] : reply.headers) text += name + ": " + value + "\r\n";
    if (reply.status != 204 && reply.status != 304)
      text += "Content-Length: " + std::to_string(reply.body.size()) + "\r\n";
    out_ += text + "\r\n" + (without_body_ ? "" : reply.body);
    ending_ = true;
    write();
  }

  void send_event(const std::string& data) {
    if (!streaming_) begin_stream();
    send_chunk("data: " + data + "\n\n");
  }
  void begin_stream() {
    streaming_ = true;
    out_ += head_of(200, "text/event-stream; charset=utf-8", "no-store");
    out_ += version_ == 11 ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n";
    ping_.emplace(state_.io);
    ping_later();
  }
  void ping_later() {
    ping_->expires_after(span_of(state_.options.ping));
    ping_->async_wait([self = shared_from_this()](error_code error) {
      if (error || !self->streaming_ || *self->gone_) return;
      self->send_chunk(": ping\n\n");
      self->ping_later();
    });
  }
  void send_chunk(const std::string& text) {
    if (version_ == 11) {
      char size[24];
      std::snprintf(size, sizeof size, "%zx\r\n", text.size());
      out_ += size + text + "\r\n";
    } else {
      out_ += text;
    }
    if (out_.size() > state_.options.stream_bytes) return close();
    write();
  }
  void end_stream() {
    if (version_ == 11) out_ += "0\r\n\r\n";
    streaming_ = false;
    ping_.reset();
    if (state_.draining) keep_ = false;
    ending_ = true;
    write();
  }

  // One write at a time; what comes meanwhile goes with the next.
  void write() {
    if (busy_ || out_.empty() || !socket_.is_open()) return;
    busy_ = true;
    sent_ = std::move(out_);
    out_.clear();
    expires(writing_, state_.options.write_time);
    write_all(net::buffer(sent_), [self = shared_from_this()](error_code error, size_t) {
      self->writing_.cancel();
      self->busy_ = false;
      if (error) return self->close();
      if (!self->out_.empty()) return self->write();
      if (self->ending_) self->request_over();
    });
  }

  void request_over() {
    ending_ = false;
    *gone_ = true;  // nothing of this request may follow
    unwatch(!keep_ || state_.draining ? &Connection::linger : &Connection::next_request);
  }

  // A reply that is followed by a reset may never be read: first the other side has its time.
  void linger() {
    lingering_ = true;
    expires(reading_, HttpOptions::Seconds(2));
    if (!secured_) return end_sending();
    secured_->async_shutdown([self = shared_from_this()](error_code) { self->end_sending(); });
  }
  void end_sending() {
    error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
    discard();
  }
  void discard() {
    buffer_.clear();
    socket_.async_read_some(buffer_.prepare(65536),
                            [self = shared_from_this()](error_code error, size_t) {
                              error ? self->close() : self->discard();
                            });
  }

  // The socket's pending work ends when the timer does: `late_` says so.
  void expires(net::steady_timer& timer, HttpOptions::Seconds after) {
    late_ = false;
    timer.expires_after(span_of(after));
    timer.async_wait([self = shared_from_this(), reads = &timer == &reading_](error_code error) {
      if (error) return;
      if (!reads || self->idle_ || self->lingering_) return self->close();
      self->late_ = true;
      error_code ignored;
      self->socket_.cancel(ignored);
    });
  }

  HttpServer::State& state_;
  tcp::socket socket_;
  std::optional<ssl::stream<tcp::socket&>> secured_;  // over it
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  net::steady_timer reading_, writing_;
  std::optional<net::steady_timer> ping_;
  std::chrono::steady_clock::time_point body_deadline_;
  Call call_;
  std::vector<std::pair<std::string, std::string>> headers_;
  std::shared_ptr<std::atomic<bool>> gone_;
  std::string out_, sent_;  // to be written; being written
  unsigned version_ = 11;
  size_t taken_ = 0;
  void (Connection::*after_watch_)() = nullptr;
  bool keep_ = false, idle_ = true, late_ = false, watching_ = false, kept_ = false,
       without_body_ = false, lingering_ = false, streaming_ = false, busy_ = false,
       ending_ = false;
};

}  // namespace

void HttpServer::State::listen() {
  if (options.certificate.empty() != options.key.empty())
    throw Error("serve", "TLS", "a certificate and its key", "one of them");
  if (!options.certificate.empty()) tls.emplace(tls_context(options));
  error_code error;
  const auto address =
      net::ip::make_address(options.host == "localhost" ? "127.0.0.1" : options.host, error);
  if (error) throw Error("serve", "host", "an IP address to listen on, or localhost", options.host);
  const tcp::endpoint endpoint(address, options.port);
  const auto must = [&](const char* what) {
    if (error)
      throw Error("serve", options.host + ":" + std::to_string(options.port), what,
                  error.message());
  };
  acceptor.open(endpoint.protocol(), error), must("a socket");
  acceptor.set_option(net::socket_base::reuse_address(true), error), must("a socket");
  acceptor.bind(endpoint, error), must("a port that is free");
  acceptor.listen(net::socket_base::max_listen_connections, error), must("a port to listen on");
}

void HttpServer::State::accept() {
  if (accepting || draining || count >= options.connections) return;
  accepting = true;
  acceptor.async_accept([this](error_code error, tcp::socket socket) {
    accepting = false;
    if (draining) return;
    if (!error) {
      error_code ignored;
      socket.set_option(tcp::no_delay(true), ignored);
      std::make_shared<Connection>(*this, std::move(socket))->start();
      return accept();
    }
    // No file descriptors, say: tried again when somebody has left, or a little later.
    deadline.expires_after(std::chrono::milliseconds(100));
    deadline.async_wait([this](error_code stopped) {
      if (!stopped) accept();
    });
  });
}

void HttpServer::State::left(Connection* connection) {
  connections.erase(connection);
  if (over) return;
  net::post(io, [this] { draining ? end_if_over() : accept(); });
}

void HttpServer::State::drain() {
  if (draining) return;
  draining = true;
  error_code ignored;
  acceptor.close(ignored);
  models.drain();
  for (Connection* connection : std::vector(connections.begin(), connections.end()))
    connection->drain();
  deadline.expires_after(span_of(options.drain));
  deadline.async_wait([this](error_code stopped) {
    if (stopped) return;
    models.cancel_all();
    deadline.expires_after(std::chrono::seconds(5));
    deadline.async_wait([this](error_code again) {
      if (!again) io.stop();
    });
  });
  end_if_over();
}

void HttpServer::State::end_if_over() {
  if (connections.empty()) io.stop();
}

HttpServer::HttpServer(Models& models, const HttpOptions& options)
    : state_(std::make_unique<State>(models, options)) {
  state_->listen();
}

HttpServer::~HttpServer() { state_->readers.join(); }

uint16_t HttpServer::port() const { return state_->acceptor.local_endpoint().port(); }
int HttpServer::connections() const { return state_->count; }

void HttpServer::run(bool signals) {
  const auto work = net::make_work_guard(state_->io);
  std::function<void()> await_signal = [this, &await_signal] {
    state_->signals.async_wait([this, &await_signal](error_code error, int number) {
      if (error) return;
      if (state_->draining) ::_exit(128 + number);
      state_->drain();
      await_signal();
    });
  };
  if (signals) {
    state_->signals.add(SIGTERM);
    state_->signals.add(SIGINT);
    await_signal();
  }
  state_->accept();
  state_->io.run();
  state_->readers.join();
}

void HttpServer::stop() {
  net::post(state_->io, [this] { state_->drain(); });
}

}  // namespace revenant
