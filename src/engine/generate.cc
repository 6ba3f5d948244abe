#include "engine/generate.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <new>
#include <optional>
#include <utility>

#include "base/error.h"
#include "engine/beam.h"

namespace revenant {
namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Why this sequence's part of the work failed; nothing: it did not. Mistakes in calls go through.
template <class F>
std::optional<Error> attempt(const F& work) {
  try {
    work();
    return {};
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return Error("memory", "a sequence", "room for its rows", "not enough");
  }
}

// One answer on its way.
class Running {
 public:
  explicit Running(const Request& request)
      : request_(request), random_(request.options.sampling.seed) {
    const GenerateOptions& o = request.options;
    check(o.sampling);
    if (o.beams > 1 && o.sampling.temperature > 0)
      throw Error("generate", "beams", "temperature 0", std::to_string(o.sampling.temperature));
    if (!o.stop_strings.empty() && !o.speech)
      throw Error("generate", "stop strings", "a tokenizer", "none");
    if (o.speech) decoder_.emplace(o.speech->tokenizer, false);
    done_ = o.max_new_tokens <= 0;
  }

  void feed() {
    try {
      const auto failure = attempt([&] { read_prompt(); });
      if (failure) fail(*failure);
    } catch (const Stopped&) {
      made_.timings.prompt_seconds = seconds() - std::exchange(began_, seconds());
      finish(Finish::cancelled, -1);
    }
  }

  // What it adds to the next step.
  void join(std::vector<Session*>& sessions, std::vector<int>& ids) const {
    const std::span<Session* const> mine =
        beams_ ? beams_->sessions() : std::span(&request_.session, 1);
    const std::vector<int> last = beams_ ? beams_->last_ids() : std::vector{made_.ids.back()};
    sessions.insert(sessions.end(), mine.begin(), mine.end());
    ids.insert(ids.end(), last.begin(), last.end());
  }

  // Its rows of the step begin at `row`; returns where they end.
  int take(const Tensor& logits, int row) {
    const int end = row + (beams_ ? int(beams_->sessions().size()) : 1);
    const auto failure = attempt([&] { beams_ ? take_beams(logits, row) : take_one(logits, row); });
    if (failure) fail(*failure);
    return end;
  }

  void fail(const Error& failure) {
    if (beams_) beams_->close();
    beams_.reset();
    made_.failure = failure;
    end(Finish::failed);
  }

  bool done() const { return done_; }
  Generated result() && { return std::move(made_); }

 private:
  void read_prompt() {
    const GenerateOptions& o = request_.options;
    began_ = seconds();
    const Tensor first = request_.session->prompt(request_.ids, request_.features, o.go_on);
    made_.timings.prompt_seconds = seconds() - began_;
    made_.timings.prompt_tokens = int(request_.ids.size());
    if (request_.last) request_.session->end_prompt();
    began_ = seconds();
    if (done_) return;
    if (o.beams > 1)
      beams_.emplace(*request_.session, BeamOptions{o.beams,
                                                    o.max_new_tokens,
                                                    {o.stop_ids.begin(), o.stop_ids.end()},
                                                    o.sampling.repetition_penalty});
    take(first, 0);
  }

  bool go_on() const { return !request_.options.go_on || request_.options.go_on(); }

  void take_one(const Tensor& logits, int row) {
    const std::span<const float> mine = {logits.row(row), size_t(logits.width)};
    accept(pick(request_.options.sampling, mine, made_.ids, random_));
  }

  void take_beams(const Tensor& logits, int row) {
    beams_->take(logits, row);
    if (go_on() && !beams_->search().done()) return;
    const Hypothesis best = beams_->search().best();
    beams_->close();
    beams_.reset();
    made_.score = best.score;
    for (const int id : best.ids)
      if (!done_) accept(id);
    if (!done_) finish(Finish::cancelled, best.ids.back());
  }

  void accept(int id) {
    const GenerateOptions& o = request_.options;
    made_.ids.push_back(id);
    const bool stop = std::count(o.stop_ids.begin(), o.stop_ids.end(), id) > 0;
    const bool full = int(made_.ids.size()) >= o.max_new_tokens;
    if (stop) return finish(Finish::stop, id);
    if (decoder_) waiting_ += decoder_->push(id);
    if (cut_at_stop_string()) return finish(Finish::stop, id);
    if (full) return finish(Finish::length, id);
    if (!give(id, held_back()) || (o.beams <= 1 && !go_on())) finish(Finish::cancelled, id);
  }

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
    end(reason);
  }
  void end(Finish reason) {
    made_.finish_reason = reason;
    made_.timings.generate_seconds = seconds() - began_;
    made_.timings.generated_tokens = int(made_.ids.size());
    done_ = true;
  }

  const Request& request_;
  Random random_;
  std::optional<Beams> beams_;
  std::optional<StreamDecoder> decoder_;
  std::string waiting_;
  Generated made_;
  double began_ = 0;
  bool done_ = false;
};

// If one of several fails, each is stepped by itself: its numbers are the same, and so it is seen
// whose failure it was.
void step_together(const std::vector<Running*>& active) {
  std::vector<Session*> sessions;
  std::vector<int> ids;
  for (const Running* r : active) r->join(sessions, ids);
  Tensor logits;
  const auto failure = attempt([&] { logits = Session::step(sessions, ids); });
  if (failure && active.size() == 1) return active.front()->fail(*failure);
  int row = 0;
  for (Running* r : active) failure ? step_together({r}) : void(row = r->take(logits, row));
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
    case Finish::failed:
      return "failed";
  }
  return "?";
}

std::string length_warning(const Config& config, int tokens) {
  const int reach = rope_reach(config.rope);
  if (reach == 0 || tokens <= reach) return "";
  return std::to_string(tokens) + " tokens of prompt and answer: the model was made for at most " +
         std::to_string(reach) + " (max_position_embeddings)";
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
  for (Running& r : all) results.push_back(std::move(r).result());
  return results;
}

Generated generate(const Request& request) {
  Generated made = std::move(generate(std::span(&request, 1)).front());
  if (made.failure) throw *made.failure;
  return made;
}

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
      generate({&session, {prompt.ids.begin(), prompt.ids.end()}, encoded.features, options, true});
  made.text = filter_output(speech.rule, made.text);
  return made;
}

}  // namespace revenant
