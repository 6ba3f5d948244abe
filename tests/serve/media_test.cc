// Pictures by URL and by file: what is fetched and read is what was allowed, and for all else
// nothing is connected to and nothing opened.
#include "serve/media.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "harness.h"
#include "serve/server.h"
#include "support/reason.h"
#include "support/special_addresses.h"
#include "support/stand_in.h"
#include "support/temporary.h"

static std::atomic<int> connects{0};

// In the place of the system's, for all of this program: counted.
extern "C" int connect(int socket, const sockaddr* address, socklen_t size) {
  ++connects;
  return int(::syscall(SYS_connect, socket, address, size));
}

namespace revenant {
namespace {

using Seconds = MediaLimits::Seconds;
using Flag = std::shared_ptr<std::atomic<bool>>;

const std::string where = "messages[0].content[1].image_url";

struct Refused {
  int status = 0;
  std::string code, param, what;
  int retry_after = 0;
};

// What `work` throws; status 0: nothing.
Refused refusal(const std::function<void()>& work) {
  try {
    work();
  } catch (const Failure& failure) {
    return {failure.status, failure.code, failure.param, failure.what(), failure.retry_after};
  }
  return {};
}

bool is_public_or_here(const Address& address) {
  return is_public(address) || address == *parse_address("127.0.0.1");
}

std::string file_reply(const std::string& body, const std::string& fields = "") {
  return http_reply(200, body, fields).bytes;
}

const std::string red_triangle = read_file(nano / "examples/red_triangle.png");
constexpr const char* host = "pictures.test";

// How many were tried is told at the end.
class Tricks : public testing::Environment {
 public:
  void TearDown() override {
    if (hosts + files == 0) return;
    std::printf("%zu tricks with hosts and answers, %zu with files\n", hosts, files);
  }
  size_t hosts = 0, files = 0;
};
Tricks& tricks = *static_cast<Tricks*>(testing::AddGlobalTestEnvironment(new Tricks));

// A host of pictures on this machine, which names resolve to and addresses are allowed for.
class MediaFetch : public testing::Test {
 protected:
  MediaFetch() : server_([this](const Asked& asked) { return answer(asked); }, &certificate_) {
    certificate_.write(folder_.path / "cert.pem");
    ::setenv("SSL_CERT_FILE", (folder_.path / "cert.pem").c_str(), 1);
    options_.domains = {std::string("Pictures.TEST:") + port()};
    options_.may_connect = is_public_or_here;
    options_.resolve = [this](const std::string& name, Seconds, const GoOn&) {
      ++resolved_;
      EXPECT_EQ(name, std::string(name_));
      return addresses_;
    };
  }
  ~MediaFetch() override { ::unsetenv("SSL_CERT_FILE"); }

  std::string port() const {
    const std::string url = server_.url();
    return url.substr(18, url.find('/', 18) - 18);
  }
  std::string url(const std::string& path) const {
    return std::string("https://") + name_ + ":" + port() + path;
  }
  Sent answer(const Asked& asked) const {
    const std::string target = asked.head.substr(4, asked.head.find(' ', 4) - 4);
    const auto found = answers_.find(target);
    return found != answers_.end() ? found->second : Sent{http_reply(404, "secret")};
  }
  std::string read(const std::string& uri, Flag gone = nullptr) {
    Media media(options_);
    MediaReader reader(&media, std::move(gone));
    return reader.read({where, uri});
  }
  Refused refused(const std::string& uri) {
    const Refused got = refusal([&] { read(uri); });
    EXPECT_EQ(got.status, 400) << uri;
    EXPECT_EQ(got.param, where) << uri;
    EXPECT_TRUE(got.what.starts_with(where + ": ")) << got.what;
    for (const char* inside : {"secret", "127.0", "10.", "Location", "302", "certificate"})
      EXPECT_EQ(got.what.find(inside), got.what.npos) << got.what;
    return got;
  }
  // Where nothing may be asked, and nobody be connected to.
  void expect_untouched(const std::function<void()>& work) {
    const int before = connects, lines = server_.connections();
    work();
    EXPECT_EQ(connects, before);
    EXPECT_EQ(server_.connections(), lines);
  }

  const Temporary folder_;
  const OwnCertificate certificate_{host};
  const char* name_ = host;
  std::map<std::string, Sent> answers_ = {{"/good.png", {file_reply(red_triangle)}}};
  std::vector<Address> addresses_ = {*parse_address("127.0.0.1")};
  std::atomic<int> resolved_ = 0;
  MediaOptions options_;
  StandIn server_;
};

TEST_F(MediaFetch, WhatIsAllowedComes) {
  answers_["/a%20b/?size=1&x=%2e"] = {file_reply(red_triangle)};
  answers_["/"] = {file_reply("any bytes", "Content-Encoding: identity\r\n")};
  answers_["/?x"] = {file_reply("more")};
  EXPECT_EQ(read(url("/good.png")), red_triangle);
  EXPECT_EQ(read("HTTPS://PICTURES.test:" + port() + "/a%20b/?size=1&x=%2e"), red_triangle);
  EXPECT_EQ(read(url("")), "any bytes");
  EXPECT_EQ(read(url("?x")), "more");
  EXPECT_EQ(resolved_, 4);
  const Asked asked = server_.asked().at(0);
  EXPECT_TRUE(asked.head.starts_with("GET /good.png HTTP/1.1\r\n")) << asked.head;
  EXPECT_EQ(asked.field("Host"), std::string(host) + ":" + port());
  EXPECT_EQ(asked.field("Accept-Encoding"), "identity");
  for (const char* field : {"Authorization", "Cookie", "Referer"})
    EXPECT_EQ(asked.field(field), "") << field;
}

// Nothing is looked up for them either.
TEST_F(MediaFetch, OtherUrlsAreRefused) {
  const std::string at = ":" + port();
  options_.domains.push_back("plain.test");
  std::vector<std::string> urls = {
      "",       "x",        "/etc/passwd",       "//pictures.test/good.png",
      "https:", "https://", "https:///good.png", "https:/pictures.test/a"};
  for (const char* name : {"127.0.0.1",
                           "2130706433",
                           "0x7f000001",
                           "0x7f.1",
                           "0177.0.0.1",
                           "017700000001",
                           "127.1",
                           "[::1]",
                           "[::ffff:127.0.0.1]",
                           "[::]",
                           "0",
                           "localhost",
                           "pictures.test.",
                           "pictures.test..",
                           ".pictures.test",
                           "pictures%2etest",
                           "pictures%2Etest",
                           "%70ictures.test",
                           "pictures.test%00",
                           "pictures.test%00.evil",
                           "pictures.test%2f@evil",
                           "xpictures.test",
                           "pictures.test.evil",
                           "a.pictures.test",
                           "test",
                           "evil",
                           "pictures_test",
                           "pictures..test",
                           "-pictures.test",
                           "pictur\xC3\xA9s.test",
                           "pictures\xE3\x80\x82test",
                           "\xEF\xBD\x90ictures.test",
                           "xn--pictures.test",
                           "169.254.169.254",
                           "metadata.google.internal",
                           "user@pictures.test",
                           "user:secret@pictures.test",
                           "pictures.test@evil",
                           "@pictures.test",
                           ":@pictures.test",
                           "pictures.test\\@evil",
                           "evil\\@pictures.test",
                           "evil#@pictures.test",
                           "evil?@pictures.test",
                           "evil/@pictures.test",
                           "pictures.test ",
                           " pictures.test",
                           "pictures.test\t",
                           "pictures.test\r\nHost: evil"})
    urls.push_back("https://" + std::string(name) + at + "/good.png");
  urls.push_back(std::string("https://pictures.test\0", 22) + at + "/good.png");
  for (const std::string& rest : std::initializer_list<std::string>{
           "/good.png", ":443/good.png", ":0/good.png", ":/good.png", ":+1/", ":99999/", ":8 0/",
           ":22/", at + at + "/", at + "0/"})
    urls.push_back("https://pictures.test" + rest);
  for (const std::string& rest : std::initializer_list<std::string>{
           "/good.png#x", "/good.png\\", "/<x>", "/a b", "/\x01", "/\x7f", "/caf\xC3\xA9", "/%",
           "/%2", "/%zz", "/good.png\n", "/\"", "/{x}", "/`", "/^", "/|"})
    urls.push_back(url(rest));
  urls.push_back(url("/" + std::string(9000, 'a')));
  for (const char* scheme : {"http", "ftp", "gopher", "ws", "jar:https", "view-source:https",
                             "https ", "htt\0ps", "javascript", "blob:https", "unix"})
    urls.push_back(std::string(scheme) + "://pictures.test" + at + "/good.png");
  urls.push_back("https://plain.test:80/");
  expect_untouched([&] {
    for (const std::string& one : urls) {
      EXPECT_EQ(refused(one).code, "unsupported_url") << one;
      Media media(options_);
      EXPECT_THROW(media.place_of({where, one}), Failure) << one;
    }
  });
  EXPECT_EQ(resolved_, 0);
  tricks.hosts += urls.size();
  Media media(options_);
  EXPECT_EQ(media.place_of({where, "https://plain.test:443/"}).url,
            media.place_of({where, "https://PLAIN.test"}).url);
}

// Where a name leads into a private network nothing is connected to, and all of them are told
// alike.
TEST_F(MediaFetch, PrivateAddressesAreNotConnectedTo) {
  options_.may_connect = MediaOptions().may_connect;
  std::vector<Address> all;
  for (const char* text : special_addresses) all.push_back(*parse_address(text));
  for (const SpecialBlock& block : special_blocks)
    for (uint64_t seed = 0; seed < 5; ++seed) all.push_back(address_in(block, seed));
  const Address good = *parse_address("1.1.1.1");
  expect_untouched([&] {
    const std::string told = [&] {
      addresses_ = {};
      return refused(url("/good.png")).what;
    }();
    for (const Address& bad : all)
      for (const auto& list : {std::vector{bad}, std::vector{good, bad}, std::vector{bad, good}}) {
        addresses_ = list;
        const Refused got = refused(url("/good.png"));
        ASSERT_EQ(got.code, "image_unavailable");
        ASSERT_EQ(got.what, told);
      }
  });
  EXPECT_EQ(resolved_, int(all.size()) * 3 + 1);
  tricks.hosts += all.size() * 3;
}

// A name that leads elsewhere when it is asked about again: it is asked about once, and what was
// looked at is connected to.
TEST_F(MediaFetch, ANameIsResolvedOnce) {
  const Resolve first = options_.resolve;
  options_.resolve = [&](const std::string& name, Seconds most, const GoOn& go_on) {
    const auto found = first(name, most, go_on);
    addresses_ = {*parse_address("10.0.0.1")};
    return found;
  };
  EXPECT_EQ(read(url("/good.png")), red_triangle);
  EXPECT_EQ(resolved_, 1);
  expect_untouched([&] { refused(url("/good.png")); });
  EXPECT_EQ(resolved_, 2);
}

TEST_F(MediaFetch, NamesThatNobodyKnows) {
  options_.resolve = [](const std::string&, Seconds, const GoOn&) -> std::vector<Address> {
    throw NoAddress("10.9.9.9 secret");
  };
  expect_untouched([&] { EXPECT_EQ(refused(url("/good.png")).code, "image_unavailable"); });
}

TEST_F(MediaFetch, RedirectsAreNotFollowed) {
  int asked = 0;
  for (const int status : {300, 301, 302, 303, 307, 308})
    for (const std::string& to : {url("/good.png"), std::string("https://127.0.0.1/secret"),
                                  std::string("/good.png"), std::string("file:///etc/passwd")}) {
      answers_["/away"] = http_reply(status, "secret", "Location: " + to + "\r\n");
      EXPECT_EQ(refused(url("/away")).code, "image_unavailable") << status << " " << to;
      EXPECT_EQ(server_.asked().size(), size_t(++asked)) << status << " " << to;
    }
  EXPECT_EQ(resolved_, asked);
  tricks.hosts += size_t(asked);
}

TEST_F(MediaFetch, AnswersThatAreNone) {
  const std::string good = file_reply("0123456789");
  const auto cut = [&](size_t size) { return Sent{good.substr(0, size), 0, true}; };
  std::vector<Sent> answers = {
      cut(0),                                     // closed early
      cut(30),                                    // in the head
      cut(good.size() - 1),                       // in the body
      {"HTTP/1.1 200 X\r\n\r\nsecret", 0, true},  // its end is not told
      {"HTTP/1.1 200 X\r\nContent-Length: 99\r\n\r\nsecret", 0, true},
      {"HTTP/1.1 200 X\r\nContent-Length: -1\r\n\r\nsecret", 0, true},
      {"HTTP/1.1 200 X\r\nContent-Length: 4\r\nContent-Length: 6\r\n\r\nsecret", 0, true},
      {"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nsecret\r\n", 0, true},
      {"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nsecret\r\n", 0, true},
      {"HTTP/1.1 200 X\r\nX: " + std::string(100'000, 'x') + "\r\n\r\nsecret", 0, true},
      {"SSH-2.0-OpenSSH_9.2\r\nsecret", 0, true}};
  for (const char* encoding : {"gzip", "deflate", "br", "zstd", "identity, gzip", "x"})
    answers.push_back(
        {file_reply("secret", std::string("Content-Encoding: ") + encoding + "\r\n")});
  for (const int status : {201, 203, 204, 206, 304, 400, 401, 403, 404, 410, 418, 500, 503})
    answers.push_back(http_reply(status, status == 204 || status == 304 ? "" : "secret"));
  for (const Sent& one : answers) {
    answers_["/x"] = one;
    EXPECT_EQ(refused(url("/x")).code, "image_unavailable") << one.bytes.substr(0, 100);
  }
  tricks.hosts += answers.size();
  EXPECT_EQ(read(url("/good.png")), red_triangle);
}

// Of what is no answer of 200 the body is not waited for.
TEST_F(MediaFetch, OnlyTheHeadOfWhatIsNoPicture) {
  answers_["/x"] = {"HTTP/1.1 404 X\r\nContent-Length: 9000000\r\n\r\nbegun"};
  const Stopwatch watch;
  EXPECT_EQ(refused(url("/x")).code, "image_unavailable");
  EXPECT_LT(watch.seconds(), 4);
}

TEST_F(MediaFetch, TooLarge) {
  options_.limits.bytes = 100;
  const std::string body(101, 'x');
  answers_["/long"] = {file_reply(body)};
  answers_["/liar"] = {"HTTP/1.1 200 X\r\nContent-Length: 99999999999\r\n\r\n"};
  answers_["/chunked"] = {"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" + body +
                          "\r\n0\r\n\r\n"};
  answers_["/endless"] = {"HTTP/1.1 200 X\r\n\r\n" + std::string(1'000'000, 'x'), 0, true};
  answers_["/just"] = {file_reply(body.substr(1))};
  for (const char* path : {"/long", "/liar", "/chunked", "/endless"})
    expect_part(refused(url(path)).what, "at most 100 bytes");
  EXPECT_EQ(read(url("/just")).size(), 100u);
}

TEST_F(MediaFetch, PicturesOfARequestHaveALimitTogether) {
  options_.limits.request_bytes = 150;
  answers_["/a"] = {file_reply(std::string(100, 'a'))};
  answers_["/b"] = {file_reply(std::string(50, 'b'))};
  Media media(options_);
  MediaReader one(&media), other(&media);
  const std::string a = url("/a"), b = url("/b");
  one.read({where, a});
  EXPECT_EQ(refusal([&] { one.read({where, a}); }).code, "image_unavailable");
  EXPECT_EQ(one.read({where, b}).size(), 50u);
  EXPECT_EQ(refusal([&] { one.read({where, b}); }).code, "image_unavailable");
  EXPECT_EQ(other.read({where, a}).size(), 100u);
}

TEST_F(MediaFetch, TooSlow) {
  answers_["/slow"] = {file_reply("x"), 20};
  options_.limits.whole = Seconds(0.2);
  Stopwatch watch;
  EXPECT_EQ(refused(url("/slow")).code, "image_unavailable");
  EXPECT_LT(watch.seconds(), 5);
  options_.limits = {.whole = Seconds(60), .request = Seconds(0.3)};
  watch = {};
  Media media(options_);
  MediaReader reader(&media);
  const std::string slow = url("/slow"), good = url("/good.png");
  for (const std::string& one : {slow, good})  // nothing is left for the second
    EXPECT_EQ(refusal([&] { reader.read({where, one}); }).code, "image_unavailable");
  EXPECT_LT(watch.seconds(), 5);
  EXPECT_EQ(MediaReader(&media).read({where, good}), red_triangle);
}

// A line that is taken, and then nothing: no greeting of TLS.
TEST_F(MediaFetch, NobodyGreets) {
  const int silent = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(silent, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(silent, 4), 0);
  ::getsockname(silent, reinterpret_cast<sockaddr*>(&address), &size);
  const std::string place = std::string(host) + ":" + std::to_string(::ntohs(address.sin_port));
  options_.domains = {place};
  options_.limits.connect = Seconds(0.2);
  const Stopwatch watch;
  EXPECT_EQ(refused("https://" + place + "/good.png").code, "image_unavailable");
  EXPECT_LT(watch.seconds(), 5);
  ::close(silent);
}

TEST_F(MediaFetch, CertificatesAreOfTheNameAndOfSomebodyKnown) {
  name_ = "other.test";
  options_.domains = {"other.test:" + port()};
  EXPECT_EQ(refused(url("/good.png")).code, "image_unavailable");
  name_ = host;
  options_.domains = {std::string(host) + ":" + port()};
  EXPECT_EQ(read(url("/good.png")), red_triangle);
  OwnCertificate(host).write(folder_.path / "cert.pem");
  EXPECT_EQ(refused(url("/good.png")).code, "image_unavailable");
  ::unsetenv("SSL_CERT_FILE");
  EXPECT_EQ(refused(url("/good.png")).code, "image_unavailable");
  EXPECT_EQ(server_.asked().size(), 1u);
}

TEST_F(MediaFetch, EndsWhenItsClientHasGoneOrTheServerEnds) {
  answers_["/slow"] = {file_reply("x"), 20};
  const std::string slow = url("/slow");
  const auto gone = std::make_shared<std::atomic<bool>>(false);
  Media media(options_);
  for (const bool leaves : {true, false}) {
    std::thread later([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
      leaves ? void(*gone = true) : media.stop();
    });
    const Stopwatch watch;
    const Refused got = refusal([&] {
      MediaReader(&media, leaves ? gone : nullptr).read({where, slow});
    });
    EXPECT_EQ(got.code, leaves ? "image_unavailable" : "shutting_down");
    EXPECT_EQ(got.status, leaves ? 400 : 503);
    EXPECT_LT(watch.seconds(), 5);
    later.join();
  }
}

TEST_F(MediaFetch, ManyAtOnceAreAskedToWait) {
  options_.limits.at_once = 1;
  answers_["/slow"] = {file_reply("x"), 1};
  Media media(options_);
  const std::string slow = url("/slow"), good = url("/good.png");
  std::thread first([&] { EXPECT_EQ(MediaReader(&media).read({where, slow}), "x"); });
  while (server_.asked().empty()) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  const Refused got = refusal([&] { MediaReader(&media).read({where, good}); });
  EXPECT_EQ(got.status, 503);
  EXPECT_EQ(got.retry_after, 1);
  first.join();
  EXPECT_EQ(MediaReader(&media).read({where, good}), red_triangle);
}

TEST(MediaDomains, NamesAndPortsAlone) {
  for (const char* good :
       {"a.example", "A.example:8443", "a-b.c_d.example:1", "xn--bcher-kva.example"})
    EXPECT_EQ(reason_of([&] { Media({.domains = {good}}); }), "none") << good;
  for (const char* bad : {"",
                          "*",
                          "*.example",
                          ".example",
                          "example.",
                          "https://a.example",
                          "a.example/x",
                          "a.example:",
                          "a.example:0",
                          "a.example:65536",
                          "a.example:x",
                          "127.0.0.1",
                          "[::1]",
                          "::1",
                          "1",
                          "0x7f.1",
                          "a.1",
                          "user@a.example",
                          "a.example?x",
                          "a.example#x",
                          "b\xC3\xBC"
                          "cher.example",
                          "a b"})
    expect_part(reason_of([&] { Media({.domains = {bad}}); }), "expected NAME or NAME:PORT");
}

// --- Files.

// What is opened or read in a folder.
class Watched {
 public:
  explicit Watched(const Path& folder) : fd_(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {
    EXPECT_GE(::inotify_add_watch(fd_, folder.c_str(), IN_OPEN | IN_ACCESS), 0);
  }
  ~Watched() { ::close(fd_); }
  bool touched() const {
    char events[4096];
    return ::read(fd_, events, sizeof events) > 0;
  }

 private:
  int fd_;
};

class MediaFiles : public testing::Test {
 protected:
  MediaFiles() {
    for (const char* name : {"in", "in/sub", "in/odd", "in2", "out"})
      std::filesystem::create_directory(folder_.path / name);
    for (const char* name : {"in/one.png", "in/sub/two.png", "in/a b\xC3\xA4.png", "in/%2e.png",
                             "in/odd/large", "in2/secret.png", "out/secret.png"})
      write_file(folder_.path / name, red_triangle);
    write_file(in() + "/odd/empty", "");
    std::filesystem::resize_file(in() + "/odd/large", 3 << 20);
    const auto link = [&](const std::string& to, const char* name) {
      std::filesystem::create_symlink(to, in() + "/" + name);
    };
    link(out() + "/secret.png", "absolute.png"), link("../out/secret.png", "relative.png");
    link("one.png", "inside.png"), link(out(), "away"), link("../out", "up"), link("sub", "here");
    link("/proc/self/root" + out() + "/secret.png", "magic.png"), link("/proc/self", "proc");
    link("/dev/zero", "zero"), link("loop", "loop");
    ::mkfifo((in() + "/odd/pipe").c_str(), 0600);
    has_device_ = ::mknod((in() + "/odd/zero").c_str(), S_IFCHR | 0600, makedev(1, 5)) == 0;
    const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    std::snprintf(address.sun_path, sizeof address.sun_path, "%s/odd/socket", in().c_str());
    EXPECT_EQ(::bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ::close(socket);
    options_.folder = in();
    options_.limits.bytes = 1 << 20;
  }
  std::string in() const { return (folder_.path / "in").string(); }
  std::string out() const { return (folder_.path / "out").string(); }
  std::string read(const std::string& uri) const {
    Media media(options_);
    return MediaReader(&media).read({where, uri});
  }
  std::string code_of(const std::string& uri) const {
    const Refused got = refusal([&] { read(uri); });
    EXPECT_EQ(got.status, 400) << uri;
    EXPECT_EQ(got.param, where) << uri;
    EXPECT_EQ(got.what.find(folder_.path.string()), got.what.npos) << got.what;
    return got.code;
  }

  const Temporary folder_;
  bool has_device_ = false;
  MediaOptions options_;
};

TEST_F(MediaFiles, BelowTheFolderTheyAreRead) {
  for (const std::string& url : std::initializer_list<std::string>{
           "file://" + in() + "/one.png", "FILE://" + in() + "/sub/two.png", "file://one.png",
           "file://sub/two.png", "file://sub%2Ftwo.png", "file://a%20b%c3%A4.png",
           "file://%252e.png"})
    EXPECT_EQ(read(url), red_triangle) << url;
  // The folder may be named through a link, and with a / at its end.
  std::filesystem::create_symlink(in(), folder_.path / "other");
  options_.folder = folder_.path / "other/";
  for (const char* name : {"other", "in"})
    EXPECT_EQ(read("file://" + (folder_.path / name).string() + "/one.png"), red_triangle);
}

TEST_F(MediaFiles, NothingElseIsOpened) {
  const std::string d = "file://" + in();
  const std::vector<std::string> elsewhere = {"file:///etc/passwd",
                                              "file:///proc/self/environ",
                                              "file://" + out() + "/secret.png",
                                              "file://" + in() + "2/secret.png",
                                              d,
                                              d + "/",
                                              "file://",
                                              "file:///",
                                              in() + "/one.png",
                                              "file:" + in() + "/one.png",
                                              "file:///" + in() + "/one.png",
                                              d + "/../out/secret.png",
                                              d + "/..",
                                              d + "/sub/../one.png",
                                              d + "/./one.png",
                                              d + "//one.png",
                                              d + "/sub/",
                                              d + "/%2e%2e/out/secret.png",
                                              d + "/%2E%2e%2fout/secret.png",
                                              d + "/.%2e/out/secret.png",
                                              d + "/sub/%2e%2e/%2e%2e/out/secret.png",
                                              d + "/%2e/one.png",
                                              "file://../out/secret.png",
                                              "file://./one.png",
                                              "file://%2e%2e/out/secret.png",
                                              "file://%2e%2e%2fout%2fsecret.png",
                                              "file://%2fetc%2fpasswd",
                                              d + "/one.png%00",
                                              d + "/one.png%00.png",
                                              d + "/%0a",
                                              d + "/one.png%7f",
                                              d + "/one.png?x",
                                              d + "/one.png#x",
                                              d + "\\one.png",
                                              d + "/..\\out\\secret.png",
                                              d + "/%",
                                              d + "/%2",
                                              d + "/%zz",
                                              d + "/a b",
                                              d + "/\xC3\xA4",
                                              d + "/one.png\n",
                                              std::string("file://one.png\0", 15),
                                              "file ://one.png",
                                              "file://" + std::string(9000, 'a'),
                                              "smb://one.png",
                                              "fd://0",
                                              "/proc/self/fd/0"};
  std::vector<std::string> unreadable = {"absolute.png",
                                         "relative.png",
                                         "inside.png",
                                         "away/secret.png",
                                         "up/secret.png",
                                         "here/two.png",
                                         "magic.png",
                                         "proc/environ",
                                         "proc/fd/0",
                                         "proc/root/etc/passwd",
                                         "zero",
                                         "loop",
                                         "none.png",
                                         "none/one.png",
                                         "one.png/x",
                                         "sub",
                                         "odd",
                                         "odd/pipe",
                                         "odd/socket",
                                         "odd/empty",
                                         "odd/large",
                                         "%252e%252e/out/secret.png",
                                         "localhost" + in() + "/one.png",
                                         "~/one.png",
                                         "$HOME",
                                         "*.png",
                                         "one.png%20",
                                         "ONE.PNG",
                                         std::string(300, 'a'),
                                         "%5c..%5cout%5csecret.png",
                                         in().substr(1) + "/one.png"};
  if (has_device_) unreadable.push_back("odd/zero");
  const Watched secrets(out()), others(folder_.path / "in2"), odd(in() + "/odd");
  for (const std::string& url : elsewhere) EXPECT_EQ(code_of(url), "unsupported_url") << url;
  for (const std::string& path : unreadable)
    for (const std::string& from : {std::string("file://"), d + "/"})
      EXPECT_EQ(code_of(from + path), "image_unavailable") << from << path;
  EXPECT_FALSE(secrets.touched());
  EXPECT_FALSE(others.touched());
  EXPECT_FALSE(odd.touched());  // a pipe, a device and a socket least of all
  read("file://sub/two.png");
  tricks.files += elsewhere.size() + 2 * unreadable.size();
}

// A folder that becomes a link and back while files below it are read.
TEST_F(MediaFiles, WhoChangesAFolderMeanwhileGainsNothing) {
  std::filesystem::create_directory(in() + "/flip");
  write_file(in() + "/flip/secret.png", "mine");
  std::filesystem::create_symlink(out(), in() + "/flop");
  const Watched secrets(out());
  std::atomic<bool> over{false};
  std::thread changing([&] {
    while (!over)
      ::syscall(SYS_renameat2, AT_FDCWD, (in() + "/flip").c_str(), AT_FDCWD,
                (in() + "/flop").c_str(), 2 /* RENAME_EXCHANGE */);
  });
  Media media(options_);
  int mine = 0, other = 0;
  const std::string url = "file://flip/secret.png";
  const Stopwatch watch;
  while (mine + other < 3000 || ((mine == 0 || other == 0) && watch.seconds() < 30)) {
    std::string bytes;
    refusal([&] { bytes = MediaReader(&media).read({where, url}); });
    EXPECT_TRUE(bytes.empty() || bytes == "mine");
    ++(bytes == "mine" ? mine : other);
  }
  over = true;
  changing.join();
  EXPECT_FALSE(secrets.touched());
  EXPECT_GT(mine, 0);
  EXPECT_GT(other, 0);
}

TEST_F(MediaFiles, LimitsOfARequest) {
  options_.limits.request_bytes = red_triangle.size() + 1;
  Media media(options_);
  MediaReader reader(&media);
  EXPECT_EQ(reader.read({where, "file://one.png"}), red_triangle);
  EXPECT_EQ(refusal([&] { reader.read({where, "file://one.png"}); }).code, "image_unavailable");
}

TEST_F(MediaFiles, FoldersThatAreNone) {
  for (const auto& [folder, told] : std::initializer_list<std::pair<std::string, const char*>>{
           {in() + "/none", "No such file"},
           {in() + "/one.png", "something else"},
           {"/", "all of this machine"}})
    expect_part(reason_of([&, f = folder] { Media({.folder = f}); }), told);
}

TEST_F(MediaFiles, WithoutAFolderNoneAreRead) {
  options_.folder.clear();
  options_.domains = {"pictures.test"};
  for (const std::string& url : {"file://" + in() + "/one.png", std::string("file://one.png")})
    EXPECT_EQ(code_of(url), "unsupported_url");
  EXPECT_EQ(refusal([] { MediaReader().read({where, "file://one.png"}); }).code, "unsupported_url");
}

// --- Through the routes.

class MediaApi : public MediaFetch {
 protected:
  MediaApi() {
    std::filesystem::create_directory(folder_.path / "in");
    write_file(folder_.path / "in/good.png", red_triangle);
    options_.folder = folder_.path / "in";
  }
  ApiOptions with_media() const {
    ApiOptions api;
    api.model = "nano";
    api.media = std::make_shared<Media>(options_);
    return api;
  }
  static json see(const std::vector<std::string>& urls) {
    json content = {{{"type", "text"}, {"text", "what shape is in the image?"}}};
    for (const std::string& url : urls)
      content.push_back({{"type", "image_url"}, {"image_url", {{"url", url}}}});
    return {{"messages", {{{"role", "user"}, {"content", content}}}}, {"max_tokens", 8}};
  }
  std::string data() const { return "data:image/png;base64," + base64(red_triangle); }
};

// The same picture, the same bits, wherever it lies.
TEST_F(MediaApi, AnswersAsForTheSameBytes) {
  const auto choices = [&](const std::string& url) {
    Harness fresh(with_media());
    const json body = with(see({url}), {{"logprobs", true}, {"top_logprobs", 5}});
    return fresh.chat(body)["choices"].dump();
  };
  const std::string expected = choices(data());
  EXPECT_NE(expected.find("logprob"), expected.npos);
  for (const std::string& place : {url("/good.png"), std::string("file://good.png"),
                                   "file://" + (folder_.path / "in/good.png").string()})
    EXPECT_EQ(choices(place), expected) << place;
  EXPECT_EQ(server_.asked().size(), 1u);
}

TEST_F(MediaApi, PicturesKeepTheirOrder) {
  Harness server(with_media());
  const std::string other = data_uri(random_picture(60, 60, 1));
  const auto prompt = [&](const std::vector<std::string>& urls) {
    return server.chat(with(see(urls), {{"logprobs", true}}))["choices"].dump();
  };
  EXPECT_EQ(prompt({url("/good.png"), other, "file://good.png"}), prompt({data(), other, data()}));
  EXPECT_NE(prompt({data(), other}), prompt({other, data()}));
}

TEST_F(MediaApi, EmbeddingsAndTokens) {
  Harness server(with_media());
  const auto embedded = [&](const std::string& url) {
    return server.post("/v1/embeddings", {{"messages", see({url})["messages"]}})["data"].dump();
  };
  EXPECT_EQ(embedded(url("/good.png")), embedded(data()));
  const auto tokens = [&](const std::string& url) {
    return server.post("/tokenize", {{"messages", see({url})["messages"]}})["tokens"];
  };
  EXPECT_EQ(tokens(url("/good.png")), tokens(data()));
}

// For what is refused anyway nobody is asked.
TEST_F(MediaApi, NothingIsFetchedInVain) {
  Harness server(with_media());
  const std::string good = url("/good.png"), chat = "/v1/chat/completions";
  const json embedded = see({good})["messages"];
  const auto refused = [&](const std::string& path, const json& body) {
    const auto heard = server.ask(path, body);
    EXPECT_TRUE(heard->reply && heard->reply->status >= 400) << body;
  };
  expect_untouched([&] {
    refused(chat, see(std::vector<std::string>(9, good)));
    refused(chat, see({good, "https://elsewhere.test/x.png"}));
    refused(chat, see({good, "file:///etc/passwd"}));
    refused(chat, see({good, "data:image/png;base64,AAAA"}));
    refused(chat, with(see({good}), {{"nonsense", 1}}));
    refused(chat, with(see({good}), {{"model", "other"}}));
    refused(chat, with(see({good}), {{"temperature", -1}}));
    refused(chat, with(see({good}), {{"revenant", {{"traverse", "off"}}}}));
    refused("/v1/embeddings",
            {{"input", {embedded, see({"https://elsewhere.test/x.png"})["messages"]}}});
    refused("/v1/embeddings", {{"messages", embedded}, {"dimensions", 3}});
  });
  EXPECT_EQ(resolved_, 0);
}

// What is there and is no picture is told as what is sent and is none.
TEST_F(MediaApi, WhatIsNoPicture) {
  Harness server(with_media());
  answers_["/page"] = {
      "HTTP/1.1 200 X\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n"
      "<html>secret."};
  const auto heard = server.ask("/v1/chat/completions", see({url("/page")}));
  EXPECT_EQ(heard->reply->status, 400);
  const json error = heard->body()["error"];
  EXPECT_EQ(error["code"], "invalid_image");
  EXPECT_EQ(error["param"], where);
  EXPECT_EQ(heard->reply->body.find("html"), std::string::npos);
}

// Over sockets: others are answered meanwhile, who leaves is noticed, and the end is not held up.
TEST_F(MediaApi, ASlowHostHoldsNobodyUp) {
  answers_["/slow"] = {file_reply(red_triangle), 60};
  options_.limits = {.whole = Seconds(60), .request = Seconds(60)};
  Server server(with_media(), {.port = 0, .drain = HttpOptions::Seconds(0.2)},
                [] { return std::make_shared<const Model>(nano, ModelOptions{.threads = 2}); });
  std::thread running([&] { server.run(false); });
  while (!server.api().scheduler()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  const Url root = parse_url("http://127.0.0.1:" + std::to_string(server.port()));
  const auto ask = [&](const std::string& place, const GoOn& go_on) {
    return HttpClient(root).post("/v1/chat/completions", {}, see({place}).dump(), go_on);
  };
  const auto until_asked = [&](size_t count) {
    while (server_.asked().size() < count)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
  };
  // One of the two readers waits; its client leaves.
  std::atomic<bool> here{true};
  std::thread leaving(
      [&] { EXPECT_THROW(ask(url("/slow"), [&] { return bool(here); }), Stopped); });
  until_asked(1);
  EXPECT_EQ(ask(data(), {}).status, 200);
  here = false;
  leaving.join();
  // Both wait; the server ends.
  std::thread first([&] { EXPECT_EQ(ask(url("/slow"), {}).status, 503); });
  std::thread second([&] { EXPECT_EQ(ask(url("/slow"), {}).status, 503); });
  until_asked(3);
  const Stopwatch watch;
  server.stop();
  running.join();
  EXPECT_LT(watch.seconds(), 8);
  first.join(), second.join();
}

}  // namespace
}  // namespace revenant
