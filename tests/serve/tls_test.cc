// The server over TLS, with a certificate made for the test.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "base/clock.h"
#include "client/chat.h"
#include "serve/server.h"
#include "support/certificate.h"
#include "support/reason.h"
#include "support/temporary.h"

namespace revenant {
namespace {

using nlohmann::json;
using Seconds = HttpOptions::Seconds;

const Path nano = Path(REVENANT_SOURCE_DIR) / "models/phantom-nano";

class ServerTls : public testing::Test {
 protected:
  ServerTls() {
    certificate_.write(cert());
    certificate_.write_key(key());
    ::setenv("SSL_CERT_FILE", cert().c_str(), 1);
  }
  ~ServerTls() override {
    if (server_) server_->stop();
    if (running_.joinable()) running_.join();
    ::unsetenv("SSL_CERT_FILE");
  }
  Path cert() const { return folder_.path / "cert.pem"; }
  Path key() const { return folder_.path / "key.pem"; }
  HttpOptions options() const { return {.port = 0, .certificate = cert(), .key = key()}; }
  void start(const HttpOptions& http) {
    ApiOptions api;
    api.model = "nano";
    server_ = std::make_unique<Server>(api, http, [] {
      static const auto one = std::make_shared<const Model>(nano, ModelOptions{.threads = 2});
      return one;
    });
    running_ = std::thread([this] { server_->run(false); });
    while (!server_->api().scheduler()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  Url url(const std::string& scheme, const std::string& host) const {
    return parse_url(scheme + "://" + host + ":" + std::to_string(server_->port()) + "/v1");
  }
  ChatOptions asking(const Url& where) const {
    ChatOptions options;
    options.url = where;
    options.model = "nano";
    options.retries = 0;
    options.body = {{"max_tokens", 6}};
    return options;
  }
  std::string why_not(const HttpOptions& http) const {
    try {
      const Server server(ApiOptions{}, http, []() -> std::shared_ptr<const Model> {
        throw Error("test", "a model", "none", "none");
      });
    } catch (const Error& error) {
      return error.what();
    }
    return "none";
  }
  int line() const {  // a bare connection
    const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(server_->port());
    address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return socket;
  }
  void expect_connections(int count) const {
    for (int i = 0; i < 1000 && server_->http().connections() != count; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_EQ(server_->http().connections(), count);
  }

  const Temporary folder_;
  const OwnCertificate certificate_;
  std::unique_ptr<Server> server_;
  std::thread running_;
};

const json hello = {{{"role", "user"}, {"content", "what shape is in the image?"}}};

TEST_F(ServerTls, AnswersWholeAndStreamed) {
  start(options());
  ChatServer shared(asking(url("https", "localhost")));
  ChatClient client(shared);
  const std::string whole = client.ask(hello).text;
  EXPECT_FALSE(whole.empty());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(client.stream(hello, {}).text, whole);
  EXPECT_EQ(client.models(), (std::vector<std::string>{"nano"}));
  expect_connections(1);  // kept over all of it
  EXPECT_EQ(shared.retries, 0u);
}

// A body of several records, that comes whole and is answered whole.
TEST_F(ServerTls, LargeBodies) {
  start(options());
  const std::string text(300'000, 'x');
  HttpClient root(parse_url("https://localhost:" + std::to_string(server_->port())));
  const HttpAnswer pieces =
      root.post("/tokenize", {}, json{{"prompt", text}, {"with_pieces", true}}.dump());
  ASSERT_EQ(pieces.status, 200) << pieces.body;
  EXPECT_GT(json::parse(pieces.body)["count"], 1000);
}

TEST_F(ServerTls, ManyAtOnce) {
  start(options());
  std::vector<std::thread> all;
  std::vector<std::string> texts(8);
  for (size_t i = 0; i < texts.size(); ++i)
    all.emplace_back([&, i] {
      ChatServer shared(asking(url("https", "localhost")));
      ChatClient client(shared);
      for (int k = 0; k < 3; ++k) texts[i] += client.stream(hello, {}).text;
    });
  for (std::thread& one : all) one.join();
  for (const std::string& text : texts) EXPECT_EQ(text, texts[0]);
}

TEST_F(ServerTls, WhoSpeaksPlainlyIsNotAnswered) {
  start(options());
  ChatServer shared(asking(url("http", "127.0.0.1")));
  EXPECT_THROW(ChatClient(shared).ask(hello), NotAnswered);
  expect_connections(0);
}

TEST_F(ServerTls, AHandshakeTakesNotForEver) {
  HttpOptions http = options();
  http.handshake = Seconds(0.3);
  http.header_time = Seconds(60);
  start(http);
  const Stopwatch watch;
  const int socket = line();
  expect_connections(1);
  expect_connections(0);
  EXPECT_GE(watch.seconds(), 0.25);
  EXPECT_LT(watch.seconds(), 4);
  ::close(socket);
}

TEST_F(ServerTls, WhoLeavesIsNoticed) {
  start(options());
  ChatOptions long_one = asking(url("https", "localhost"));
  long_one.body = {{"max_tokens", 1900}, {"ignore_eos", true}};
  ChatServer shared(long_one);
  bool heard = false;
  EXPECT_THROW(ChatClient(shared).stream(
                   hello, [&](const ChatClient::Told&) { heard = true; }, [&] { return !heard; }),
               Stopped);
  expect_connections(0);
  for (int i = 0; i < 600 && server_->api().scheduler()->running() > 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(server_->api().scheduler()->running(), 0u);
}

TEST_F(ServerTls, DrainsInTheMiddleOfAHandshake) {
  start(options());
  const int socket = line();
  expect_connections(1);
  const Stopwatch watch;
  server_->stop();
  running_.join();
  EXPECT_LT(watch.seconds(), 5);
  ::close(socket);
}

TEST_F(ServerTls, FilesThatAreNone) {
  HttpOptions http = options();
  http.key.clear();
  expect_part(why_not(http), "TLS: expected a certificate and its key, found one of them");
  http = options(), http.certificate = folder_.path / "none.pem";
  expect_part(why_not(http), "none.pem: expected a certificate in PEM");
  http = options(), http.key = cert();
  ::chmod(cert().c_str(), 0600);
  expect_part(why_not(http), "cert.pem: expected the certificate's private key");
  const OwnCertificate other;
  other.write_key(key());
  expect_part(why_not(options()), "key.pem: expected the certificate's private key");
  certificate_.write_key(key());
  EXPECT_EQ(why_not(options()), "none");
  ::chmod(key().c_str(), 0644);
  expect_part(why_not(options()), "others cannot read");
}

}  // namespace
}  // namespace revenant
