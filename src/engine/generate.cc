#include "engine/generate.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <optional>

#include "base/error.h"

namespace revenant {
namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// One answer on its way.
class Running {
 public:
  explicit Running(const Request& request)
      : request_(request), random_(request.options.sampling.seed) {
    const GenerateOptions& o = request.options;
    check(o.sampling);
    if (!o.stop_strings.empty() && !o.speech)
      throw Error("generate", "stop strings", "a tokenizer", "none");
    if (o.speech) decoder_.emplace(o.speech->tokenizer, false);
    done_ = o.max_new_tokens <= 0;
  }

  void feed() {
    const double begin = seconds();
    const Tensor first = request_.session->prompt(request_.ids, request_.features);
    made_.timings.prompt_seconds = seconds() - begin;
    made_.timings.prompt_tokens = int(request_.ids.size());
    began_ = seconds();
    if (!done_) take(first.row(0), first.width);
  }

  void take(const float* logits, int vocab) {
    const GenerateOptions& o = request_.options;
    const int id = pick(o.sampling, {logits, size_t(vocab)}, made_.ids, random_);
    made_.ids.push_back(id);
    const bool stop = std::count(o.stop_ids.begin(), o.stop_ids.end(), id) > 0;
    const bool full = int(made_.ids.size()) >= o.max_new_tokens;
    if (stop) return finish(Finish::stop, id);
    if (decoder_) waiting_ += decoder_->push(id);
    if (cut_at_stop_string()) return finish(Finish::stop, id);
    if (full) return finish(Finish::length, id);
    if (!give(id, held_back())) finish(Finish::cancelled, id);
  }

  bool done() const { return done_; }
  Session* session() const { return request_.session; }
  int last() const { return made_.ids.back(); }
  Generated result() const { return made_; }

 private:
  bool cut_at_stop_string() {
    size_t at = std::string::npos;
    for (const std::string& stop : request_.options.stop_strings)
      if (!stop.empty()) at = std::min(at, waiting_.find(stop));
    if (at == std::string::npos) return false;
    waiting_.resize(at);
    decoder_.reset();
    return true;
  }
  // The end of the text may be the beginning of a stop string.
  size_t held_back() const {
    size_t longest = 0;
    for (const std::string& stop : request_.options.stop_strings)
      for (size_t n = std::min(stop.size(), waiting_.size()); n > longest; --n)
        if (waiting_.ends_with(std::string_view(stop).substr(0, n))) longest = n;
    return longest;
  }
  bool give(int id, size_t keep) {
    const std::string text = waiting_.substr(0, waiting_.size() - keep);
    waiting_.erase(0, text.size());
    made_.text += text;
    return !request_.options.on_token || request_.options.on_token(id, text);
  }
  void finish(Finish reason, int id) {
    const bool told = reason == Finish::cancelled;  // by the call that cancelled
    if (decoder_) waiting_ += decoder_->finish();
    if (told) {
      made_.text += waiting_;
    } else {
      give(id, 0);
    }
    made_.finish_reason = reason;
    made_.timings.generate_seconds = seconds() - began_;
    made_.timings.generated_tokens = int(made_.ids.size());
    done_ = true;
  }

  const Request& request_;
  Random random_;
  std::optional<StreamDecoder> decoder_;
  std::string waiting_;
  Generated made_;
  double began_ = 0;
  bool done_ = false;
};

void step_together(const std::vector<Running*>& active) {
  std::vector<Session*> sessions;
  std::vector<int> ids;
  for (const Running* r : active) {
    sessions.push_back(r->session());
    ids.push_back(r->last());
  }
  const Tensor logits = Session::step(sessions, ids);
  for (size_t i = 0; i < active.size(); ++i) active[i]->take(logits.row(int(i)), logits.width);
}

}  // namespace

const char* name_of(Finish finish) {
  switch (finish) {
    case Finish::stop:
      return "stop";
    case Finish::length:
      return "length";
    case Finish::cancelled:
      return "cancelled";
  }
  return "?";
}

std::vector<Generated> generate(std::span<const Request> requests) {
  std::deque<Running> all;
  std::vector<Running*> active;
  for (const Request& request : requests) active.push_back(&all.emplace_back(request));
  for (Running* r : active) r->feed();
  const auto done = [](const Running* r) { return r->done(); };
  for (std::erase_if(active, done); !active.empty(); std::erase_if(active, done))
    step_together(active);
  std::vector<Generated> results;
  for (const Running& r : all) results.push_back(r.result());
  return results;
}

Generated generate(const Request& request) { return generate(std::span(&request, 1)).front(); }

Generated answer(const Model& model, std::span<const Image> pictures, const std::string& question,
                 GenerateOptions options) {
  const Speech& speech = model.speech();
  Pictures encoded = model.encode(pictures);
  const Turn turn{question, int(pictures.size()), ""};
  const auto pieces = chat_pieces(speech.rule, std::span(&turn, 1));
  const EncodedPrompt prompt = encode_prompt(speech.tokenizer, speech.rule, pieces, encoded.tokens);
  options.speech = &speech;
  options.stop_ids.insert(options.stop_ids.end(), speech.stop_ids.begin(), speech.stop_ids.end());
  Session session(model);
  Generated made =
      generate({&session, {prompt.ids.begin(), prompt.ids.end()}, encoded.features, options});
  made.text = filter_output(speech.rule, made.text);
  return made;
}

}  // namespace revenant
