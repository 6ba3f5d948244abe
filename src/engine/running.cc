#include "engine/running.h"

#include <algorithm>
#include <new>
#include <utility>

namespace revenant {
namespace {

// Why this sequence's part of the work failed; nothing: it did not. Mistakes in calls go through.
template <class F>
std::optional<Error> attempt(const F& work) {
  try {
    work();
    return {};
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return no_memory();
  }
}

}  // namespace

Error no_memory() { return Error("memory", "a sequence", "room for its rows", "not enough"); }

size_t most_cache_bytes(const Model& model, int prompt, const GenerateOptions& o) {
  const TrolConfig& trol = model.config().trol;
  const auto pages = [](int rows) { return size_t(rows + page_rows - 1) / page_rows; };
  const int answer = std::max(0, o.max_new_tokens);
  const size_t later = size_t(trol.streams() - 1) *
                       pages(trol.traverse == Traverse::all ? prompt + answer : prompt),
               beams = size_t(std::max(1, o.beams) - 1) * (pages(answer) + 1);
  return (pages(prompt + answer) + later + beams) * model.pages()->shape().bytes();
}

Running::Running(const Model& model, Request request)
    : request_(std::move(request)), random_(request_.options.sampling.seed) {
  if (!request_.session) request_.session = &own_.emplace(model, request_.salt);
  CHECK(&request_.session->model() == &model);
  const GenerateOptions& o = request_.options;
  check(o.sampling);
  if (o.beams > 1 && o.sampling.temperature > 0)
    throw Error("generate", "beams", "temperature 0", std::to_string(o.sampling.temperature));
  if (o.beams > 1 && (o.on_choice || o.allowed || !o.sampling.bias.empty() || !o.said.empty()))
    throw Error("generate", "beams", "no choice of single tokens", "one");
  if (!o.stop_strings.empty() && !o.speech)
    throw Error("generate", "stop strings", "a tokenizer", "none");
  if (!o.said.empty()) model.check_ids("generate", o.said);
  if (o.speech) decoder_.emplace(o.speech->tokenizer, false);
}

void Running::begin() {
  watch_ = {};
  const auto failure = attempt([&] {
    before_ = request_.session->put_prompt(request_.ids, request_.features);
    begun_ = true;
  });
  if (failure) fail(*failure);
}

size_t Running::wanted_bytes() const {
  const size_t all = most_cache_bytes(request_.session->model(), int(request_.ids.size()),
                                      request_.options),
               held = request_.session->cache_bytes();
  return all > held ? all - held : 0;
}

bool Running::reading() const { return !read_; }

void Running::take(const Computed& made, int row) {
  const auto failure = attempt([&] {
    if (!read_) return finish_prompt(made, row);
    beams_ ? choose_beams(made.logits, row) : choose(made.logits, row);
  });
  if (failure) fail(*failure);
}

void Running::finish_prompt(const Computed& made, int row) {
  const GenerateOptions& o = request_.options;
  read_ = true;
  made_.timings.prompt_seconds = watch_.seconds();
  made_.timings.prompt_tokens = int(request_.ids.size());
  if (request_.last) request_.session->end_prompt();
  watch_ = {};
  if (o.keep_state) {
    const float* const state = made.states.row(row);
    made_.state.assign(state, state + made.states.width);
  }
  if (o.max_new_tokens <= 0) return end(Finish::length);
  if (o.beams <= 1) return choose(made.logits, row);
  beams_.emplace(*request_.session, BeamOptions{o.beams,
                                                o.max_new_tokens,
                                                {o.stop_ids.begin(), o.stop_ids.end()},
                                                o.sampling.repetition_penalty});
  choose_beams(made.logits, row);
}

bool Running::stopping() {
  if (!stopped_ && request_.options.go_on && !request_.options.go_on()) stopped_ = true;
  return stopped_;
}

void Running::choose(const Tensor& logits, int row) {
  const std::span<const float> mine = {logits.row(row), size_t(logits.width)};
  const GenerateOptions& o = request_.options;
  const size_t at = made_.ids.size();
  int id = 0;
  if (at < o.said.size()) {
    id = o.said[at];
  } else {
    const std::span<const uint8_t> allowed =
        o.allowed ? o.allowed(made_.ids) : std::span<const uint8_t>();
    id = pick(o.sampling, mine, made_.ids, random_, allowed);
  }
  if (o.on_choice) o.on_choice(id, mine);
  accept(id);
  if (!done_) request_.session->put(made_.ids.back());
}

void Running::choose_beams(const Tensor& logits, int row) {
  beams_->take(logits, row);
  if (!stopping() && !beams_->search().done()) return beams_->put();
  const Hypothesis best = beams_->search().best();
  beams_->close();
  beams_.reset();
  made_.score = best.score;
  for (const int id : best.ids)
    if (!done_) accept(id);
  if (!done_) finish(Finish::cancelled, best.ids.back());
}

void Running::accept(int id) {
  const GenerateOptions& o = request_.options;
  made_.ids.push_back(id);
  const bool stop = std::count(o.stop_ids.begin(), o.stop_ids.end(), id) > 0;
  const bool full = int(made_.ids.size()) >= o.max_new_tokens;
  if (stop) return finish(Finish::stop, id);
  if (decoder_) waiting_ += decoder_->push(id);
  if (cut_at_stop_string()) return finish(Finish::stop, id);
  if (full) return finish(Finish::length, id);
  if (!give(id, held_back()) || (o.beams <= 1 && stopping())) finish(Finish::cancelled, id);
}

bool Running::cut_at_stop_string() {
  size_t at = std::string::npos;
  for (const std::string& stop : request_.options.stop_strings)
    if (!stop.empty()) at = std::min(at, waiting_.find(stop));
  if (at == std::string::npos) return false;
  waiting_.resize(at);
  decoder_.reset();
  return true;
}

// The end of the text may be the beginning of a stop string.
size_t Running::held_back() const {
  size_t longest = 0;
  for (const std::string& stop : request_.options.stop_strings)
    for (size_t n = std::min(stop.size(), waiting_.size()); n > longest; --n)
      if (waiting_.ends_with(std::string_view(stop).substr(0, n))) longest = n;
  return longest;
}

bool Running::give(int id, size_t keep) {
  const std::string text = waiting_.substr(0, waiting_.size() - keep);
  waiting_.erase(0, text.size());
  made_.text += text;
  return !request_.options.on_token || request_.options.on_token(id, text);
}

void Running::finish(Finish reason, int id) {
  const bool told = reason == Finish::cancelled;  // by the call that cancelled
  if (decoder_) waiting_ += decoder_->finish();
  if (told) {
    made_.text += waiting_;
  } else {
    give(id, 0);
  }
  end(reason);
}

void Running::fail(const Error& failure) {
  made_.failure = failure;
  end(Finish::failed);
}

void Running::cancel() { finish(Finish::cancelled, -1); }

// The session keeps what has rows: all tokens but the last one, or what it was before the prompt.
void Running::end(Finish reason) {
  if (beams_) beams_->close();
  beams_.reset();
  if (begun_) request_.session->rewind(read_ ? request_.session->cached() : before_);
  (read_ ? made_.timings.generate_seconds : made_.timings.prompt_seconds) = watch_.seconds();
  made_.finish_reason = reason;
  made_.timings.generated_tokens = int(made_.ids.size());
  done_ = true;
}

}  // namespace revenant
