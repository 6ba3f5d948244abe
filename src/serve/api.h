// The routes of the server: a request in, a reply or events out. Knows nothing of sockets.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/calibration.h"
#include "serve/answer.h"
#include "serve/constraint.h"
#include "serve/embedding.h"
#include "serve/keys.h"
#include "serve/scheduler.h"

namespace revenant {

struct ApiOptions {
  std::string model = "model";  // what clients call it
  Sampling sampling = {};       // where a request says nothing
  int max_tokens = 512;         // of an answer, where a request says nothing
  int context = 0;              // most tokens of prompt and answer; 0: what the model was made for
  Keys keys = {};               // none: everybody may ask
  std::vector<std::string> origins = {};  // of pages elsewhere that may ask; "*": of all
  std::vector<std::string> hosts = {};    // what the Host header may say; empty: anything
  AskLimits ask = {};
  PictureLimits pictures = {};
  ScheduleOptions schedule = {};
  size_t json_levels = 64;
  std::shared_ptr<const Calibration> abstain = {};  // of answers about pictures; null: never
  std::shared_ptr<Media> media = nullptr;           // of pictures by URL; null: there are none
};

// What the head of a request says.
struct Head {
  std::string method, target;
  std::string authorization, api_key, origin, host;  // header fields; empty: absent
  std::string if_none_match = {};
};

// A request that was let in.
struct Call {
  std::string method, path, body, sender;
  std::string if_none_match = {};  // of the page's files
};

struct Admission {
  std::optional<Reply> refusal;  // the answer, before anything of the body is read
  Call call;
  std::vector<std::pair<std::string, std::string>> headers;  // of any reply
};

constexpr char metrics_type[] = "text/plain; version=0.0.4";

class Judge;

class Api {
 public:
  struct Route {
    const char *method, *path;  // a path that ends in * stands for all that begin so
    bool open;                  // needs no key, and answers while the model is loaded
    void (Api::*answer)(const Call&, const Client&);
  };

  explicit Api(ApiOptions options);
  ~Api();

  static std::span<const Route> routes();

  Admission admit(const Head& head) const;
  // From any thread; may take as long as decoding pictures does. Replies, now or later, exactly
  // once.
  void answer(const Call& call, const Client& client);

  void ready(std::shared_ptr<const Model> model);  // 503 until then
  // The model goes, and with it all that was cached, until another `ready`. Nobody may be in
  // `answer`, and no request on its way.
  void unload();
  void end();  // lets go all requests; nothing is answered any more
  // `there`: the model is ready, and stays so meanwhile.
  nlohmann::json model_json(bool there) const;
  std::string metrics_now(bool there) const;
  Scheduler* scheduler() const { return scheduler_.load(); }  // null until then
  Metrics& metrics() { return metrics_; }
  const ApiOptions& options() const { return options_; }

 private:
  struct Prompt {
    std::vector<int> ids;
    std::vector<std::shared_ptr<const TiledPicture>> pictures;
    std::vector<std::pair<int, int>> spans = {};  // of the pictures' tokens
  };
  void page(const Call&, const Client&);
  void health(const Call&, const Client&);
  void models(const Call&, const Client&);
  void model(const Call&, const Client&);
  void chat(const Call&, const Client&);
  void completions(const Call&, const Client&);
  void embeddings(const Call&, const Client&);
  void tokenize(const Call&, const Client&);
  void detokenize(const Call&, const Client&);
  void metrics_text(const Call&, const Client&);
  void props(const Call&, const Client&);

  nlohmann::json body_of(const Call& call) const;
  void check_model(const std::string& name) const;
  Prompt embedding_prompt(const EmbeddingAsk::Input& input, const std::string& sender,
                          MediaReader& media) const;
  Prompt chat_prompt(const Talk& talk, const std::string& sender, MediaReader& media) const;
  int context() const;
  std::vector<int> ids_of_text(const std::string& text, bool frame) const;
  void check_traverse(const std::string& name) const;
  int room_for_look(const Ask& ask, int prompt_tokens, int max_tokens) const;
  int room_for_answer(const Ask& ask, int prompt_tokens) const;
  bool abstains(const Ask& ask) const;
  std::shared_ptr<Judge> judge(bool grounding, const std::shared_ptr<const Calibration>& abstain,
                               const Prompt& prompt, const std::shared_ptr<Answer>& answer) const;
  std::shared_ptr<const TokenSpellings> spellings() const;
  GenerateOptions options_for(const Ask& ask, uint64_t choice, int max_tokens) const;
  void submit(const Call& call, const Client& client, Ask ask, std::vector<Prompt> prompts,
              bool is_chat);
  void check_memory(const Request& request) const;

  const ApiOptions options_;
  Metrics metrics_;
  const int64_t started_;
  std::shared_ptr<const Model> model_;
  mutable std::mutex reading_spellings_;
  mutable std::shared_ptr<const TokenSpellings> spellings_;  // of those who need it
  std::unique_ptr<Scheduler> owned_;
  std::atomic<Scheduler*> scheduler_ = nullptr;
};

}  // namespace revenant
