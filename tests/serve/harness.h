// An Api without sockets and without a thread: requests in, turn after turn, what their clients
// are told.
#pragma once

#include <gtest/gtest.h>

#include "base/base64.h"
#include "base/json.h"
#include "serve/api.h"

namespace revenant {

using nlohmann::json;

inline const Path nano = Path(REVENANT_SOURCE_DIR) / "models/phantom-nano";

struct Heard {
  std::optional<Reply> reply;
  std::vector<std::string> events;
  bool ended = false;
  std::shared_ptr<std::atomic<bool>> gone = std::make_shared<std::atomic<bool>>(false);
  std::function<void()> on_event;

  bool done() const { return reply || ended; }
  json body() const { return json::parse(reply->body); }
};

class Harness {
 public:
  explicit Harness(ApiOptions options = {}, const Path& directory = nano,
                   const ModelOptions& model = {.threads = 2})
      : Harness(std::make_shared<const Model>(directory, model), std::move(options)) {}
  Harness(std::shared_ptr<const Model> model, ApiOptions options) : api(named(std::move(options))) {
    api.ready(std::move(model));
  }

  std::shared_ptr<Heard> get(const std::string& path) { return call("GET", path, ""); }
  std::shared_ptr<Heard> call(const std::string& method, const std::string& path,
                              const std::string& body, const std::string& sender = "") {
    auto heard = std::make_shared<Heard>();
    api.answer({method, path, body, sender}, {.reply =
                                                  [heard](Reply reply) {
                                                    EXPECT_FALSE(heard->done());
                                                    heard->reply = std::move(reply);
                                                  },
                                              .event =
                                                  [heard](std::string event) {
                                                    EXPECT_FALSE(heard->done());
                                                    heard->events.push_back(std::move(event));
                                                    if (heard->on_event) heard->on_event();
                                                  },
                                              .end =
                                                  [heard] {
                                                    EXPECT_FALSE(heard->done());
                                                    heard->ended = true;
                                                  },
                                              .gone = heard->gone});
    return heard;
  }
  std::shared_ptr<Heard> send(const std::string& path, const json& body,
                              const std::string& sender = "") {
    return call("POST", path, body.dump(), sender);
  }
  bool turn() { return api.scheduler()->turn(); }
  void finish() {
    while (turn()) continue;
  }
  std::shared_ptr<Heard> ask(const std::string& path, const json& body,
                             const std::string& sender = "") {
    auto heard = send(path, body, sender);
    if (!heard->done()) finish();
    EXPECT_TRUE(heard->done());
    return heard;
  }
  // The body of a reply that must be 200.
  json post(const std::string& path, const json& body, const std::string& sender = "") {
    const auto heard = ask(path, body, sender);
    EXPECT_TRUE(heard->reply && heard->reply->status == 200)
        << (heard->reply ? heard->reply->body : "no reply");
    return heard->reply ? heard->body() : json();
  }
  json chat(const json& more, const std::string& sender = "") {
    return post("/v1/chat/completions", more, sender);
  }

  Api api;

 private:
  static ApiOptions named(ApiOptions options) {
    if (options.model == "model") options.model = "nano";
    return options;
  }
};

inline std::string data_uri(const Image& image) {
  return "data:image/png;base64," + base64(encode_png(image));
}

inline Image random_picture(int width, int height, uint64_t seed) {
  Image picture = blank_image(width, height);
  Random random(seed);
  for (uint8_t& level : picture.rgb) level = uint8_t(random.below(256));
  return picture;
}

inline json question(const std::string& text, const std::string& uri = "") {
  json content = json::array({{{"type", "text"}, {"text", text}}});
  if (!uri.empty()) content.push_back({{"type", "image_url"}, {"image_url", {{"url", uri}}}});
  return {{"messages", {{{"role", "user"}, {"content", content}}}}};
}

inline json with(json body, const json& more) {
  if (!more.is_null()) body.update(more);
  return body;
}

// What a stream of chunks adds up to, read as strictly as its form is.
struct Streamed {
  std::vector<std::string> texts, finishes;  // of choices
  std::vector<json> logprobs;                // lists, of choices
  json usage, first;
};

inline Streamed read_stream(const std::vector<std::string>& events, size_t choices, bool chat,
                            bool usage_chunk) {
  Streamed out;
  out.texts.resize(choices), out.finishes.resize(choices);
  out.logprobs.resize(choices, json::array());
  std::vector<bool> begun(choices);
  EXPECT_FALSE(events.empty());
  if (events.empty()) return out;
  EXPECT_EQ(events.back(), "[DONE]");
  bool over = false;
  for (size_t i = 0; i + 1 < events.size(); ++i) {
    EXPECT_FALSE(over) << "a chunk after the last one";
    const json chunk = json::parse(events[i]);  // throws where a character was split
    if (i == 0) out.first = chunk;
    EXPECT_EQ(chunk["id"], out.first["id"]);
    EXPECT_EQ(chunk["object"], chat ? "chat.completion.chunk" : "text_completion");
    EXPECT_EQ(chunk.contains("usage"), usage_chunk);
    if (chunk["choices"].empty()) {
      EXPECT_TRUE(usage_chunk);
      out.usage = chunk["usage"];
      over = true;
      continue;
    }
    EXPECT_TRUE(!usage_chunk || chunk["usage"].is_null());
    EXPECT_EQ(chunk["choices"].size(), 1u);
    const json& choice = chunk["choices"][0];
    const size_t index = choice["index"];
    EXPECT_TRUE(out.finishes[index].empty()) << "a chunk after a choice's last one";
    EXPECT_TRUE(begun[index] || !chat || choice["delta"]["role"] == "assistant");
    begun[index] = true;
    if (chat)
      out.texts[index] += choice["delta"].value("content", "");
    else
      out.texts[index] += choice["text"].get<std::string>();
    if (!choice["finish_reason"].is_null()) out.finishes[index] = choice["finish_reason"];
    if (chat && !choice["logprobs"].is_null())
      for (const json& token : choice["logprobs"]["content"]) out.logprobs[index].push_back(token);
  }
  EXPECT_EQ(!out.usage.is_null(), usage_chunk);
  for (const std::string& finish : out.finishes) EXPECT_FALSE(finish.empty());
  return out;
}

}  // namespace revenant
