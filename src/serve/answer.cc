#include "serve/answer.h"

#include <algorithm>
#include <random>

#include "base/json.h"

namespace revenant {

using nlohmann::json;

namespace {

std::string fresh_id(const char* prefix) {
  std::random_device random;
  constexpr char digits[] = "0123456789abcdef";
  std::string id = prefix;
  for (int i = 0; i < 4; ++i)
    for (uint32_t bits = random(), j = 0; j < 8; ++j, bits >>= 4) id += digits[bits & 15];
  return id;
}

json bytes_json(const std::string& bytes) {
  json list = json::array();
  for (const char c : bytes) list.push_back(int(uint8_t(c)));
  return list;
}

// {token, logprob, bytes}, as OpenAI has it.
json token_json(const Tokenizer& tokenizer, const TokenLogprob& one) {
  std::string bytes = tokenizer.bytes_of(one.first);
  if (bytes.empty()) bytes = tokenizer.token_of(one.first);  // special ones have a name only
  return {{"token", repaired(bytes)}, {"logprob", one.second}, {"bytes", bytes_json(bytes)}};
}

// What is said instead of an answer that is not given.
constexpr const char* abstention = "The model is not sure enough of its answer to give it.";

json judgement_json(const Judgement& of) {
  json made = json::object();
  if (of.abstained) made["abstained"] = *of.abstained;
  if (of.grounding)
    made["grounding"] = {{"value", of.grounding->value()},
                         {"log_prob", of.grounding->log_prob},
                         {"log_prob_grey", of.grounding->log_prob_grey},
                         {"tokens", of.grounding->tokens}};
  return made;
}

}  // namespace

bool ended(const Generated& made) {
  return made.finish_reason == Finish::stop || made.finish_reason == Finish::length;
}

Failure failure_of(const Generated& made) {
  if (made.finish_reason == Finish::cancelled)
    return Failure(503, "the answer was ended: the server is shutting down", "shutting_down");
  return Failure(500, made.failure ? made.failure->what() : "the answer failed", "failed");
}

Reply json_reply(const json& body, int status) {
  return {.status = status, .body = json_text(body) + "\n"};
}

Reply failure_reply(const Failure& failure) {
  Reply reply = json_reply(error_json(failure), failure.status);
  if (failure.retry_after > 0)
    reply.headers.emplace_back("Retry-After", std::to_string(failure.retry_after));
  return reply;
}

Answer::Answer(Told told, Client client, const Speech& speech, Metrics& metrics)
    : told_(std::move(told)),
      client_(std::move(client)),
      speech_(speech),
      metrics_(metrics),
      id_(fresh_id(told_.chat ? "chatcmpl-" : "cmpl-")),
      created_(unix_seconds()),
      choices_(told_.choices),
      left_(told_.choices) {
  for (size_t i = 0; i < told_.echo.size(); ++i) choices_[i].text = told_.echo[i];
}

json Answer::head(bool chunk) const {
  const char* object = !told_.chat ? "text_completion"
                       : chunk     ? "chat.completion.chunk"
                                   : "chat.completion";
  return {{"id", id_}, {"object", object}, {"created", created_}, {"model", told_.model}};
}

void Answer::open() {
  const std::lock_guard lock(mutex_);
  if (!told_.stream || open_) return;
  open_ = true;
  for (size_t i = 0; i < choices_.size(); ++i) {
    json choice = {{"index", i}, {"logprobs", nullptr}, {"finish_reason", nullptr}};
    if (told_.chat)
      choice["delta"] = {{"role", "assistant"}, {"content", ""}};
    else
      choice["text"] = choices_[i].text;
    json chunk = head(true);
    chunk["choices"] = json::array({choice});
    if (i == 0) chunk["revenant"] = {{"parameters", told_.parameters}, {"ignored", told_.ignored}};
    if (told_.usage_chunk) chunk["usage"] = nullptr;
    client_.event(json_text(chunk));
  }
}

void Answer::choice(size_t index, int id, std::span<const float> logits) {
  if (told_.top_logprobs < 0) return;
  if (std::ranges::find(told_.stop_ids, id) != told_.stop_ids.end()) return;
  const Tokenizer& tokenizer = speech_.tokenizer;
  const auto of = logprobs(logits, id, told_.top_logprobs);
  json token = token_json(tokenizer, of[0]);
  token["top_logprobs"] = json::array();
  for (size_t i = 1; i < of.size(); ++i)
    token["top_logprobs"].push_back(token_json(tokenizer, of[i]));
  const std::lock_guard lock(mutex_);
  choices_[index].fresh.push_back(token);
  choices_[index].offsets.push_back(choices_[index].text.size());
}

void Answer::token(size_t index, std::string_view text) {
  open();
  const std::lock_guard lock(mutex_);
  Choice& choice = choices_[index];
  measure_token(choice);
  const std::string more = told_.chat ? choice.trimmed.push(text) : std::string(text);
  choice.text += more;
  if (told_.abstains) return;
  if (told_.stream && (!more.empty() || !choice.fresh.empty())) send_chunk(index, more, nullptr);
  std::ranges::move(choice.fresh, std::back_inserter(choice.logprobs));
  choice.fresh.clear();
}

// All of it at once, or that it is not given.
void Answer::send_held(size_t index) {
  Choice& choice = choices_[index];
  if (choice.judgement.abstained.value_or(false)) {
    metrics_.count("answers_abstained_total");
    choice.text.clear();
    choice.fresh.clear();
  }
  if (told_.stream) send_chunk(index, choice.text, nullptr);
  choice.logprobs = std::move(choice.fresh);
  choice.fresh.clear();
}

void Answer::measure_token(Choice& choice) {
  metrics_.count("generation_tokens_total");
  if (!choice.last)
    metrics_.observe("time_to_first_token_seconds", asked_.seconds());
  else
    metrics_.observe("inter_token_latency_seconds", choice.last->seconds());
  choice.last.emplace();
}

json Answer::logprobs_json(const Choice& choice, const std::vector<json>& of) const {
  if (told_.top_logprobs < 0 || choice.judgement.abstained.value_or(false)) return nullptr;
  if (told_.chat) return {{"content", of}, {"refusal", nullptr}};
  json lists = {{"tokens", json::array()},
                {"token_logprobs", json::array()},
                {"top_logprobs", json::array()},
                {"text_offset", json::array()}};
  const size_t first = of.data() == choice.fresh.data() ? choice.logprobs.size() : 0;
  for (size_t i = 0; i < of.size(); ++i) {
    lists["tokens"].push_back(of[i]["token"]);
    lists["token_logprobs"].push_back(of[i]["logprob"]);
    json top = json::object();
    for (const json& one : of[i]["top_logprobs"])
      top[one["token"].get_ref<const std::string&>()] = one["logprob"];
    lists["top_logprobs"].push_back(top);
    lists["text_offset"].push_back(choice.offsets[first + i]);
  }
  return lists;
}

void Answer::send_chunk(size_t index, const std::string& text, const char* finish) {
  const Choice& of = choices_[index];
  json choice = {{"index", index},
                 {"logprobs", finish ? json() : logprobs_json(of, of.fresh)},
                 {"finish_reason", finish ? json(finish) : json()}};
  if (told_.chat)
    choice["delta"] = finish                                   ? json::object()
                      : of.judgement.abstained.value_or(false) ? json{{"refusal", abstention}}
                                                               : json{{"content", text}};
  else
    choice["text"] = text;
  if (const json judged = judgement_json(of.judgement); finish && !judged.empty())
    choice["revenant"] = judged;
  json chunk = head(true);
  chunk["choices"] = json::array({choice});
  if (told_.usage_chunk) chunk["usage"] = nullptr;
  if (finish && !look_.is_null()) chunk["revenant"] = {{"look", look_}};
  client_.event(json_text(chunk));
}

void Answer::looked(json look) {
  const std::lock_guard lock(mutex_);
  look_ = std::move(look);
}

void Answer::judged(size_t index, const Judgement& judgement) {
  const std::lock_guard lock(mutex_);
  choices_[index].judgement = judgement;
}

void Answer::done(size_t index, Generated made) {
  open();
  const std::lock_guard lock(mutex_);
  const bool whole = ended(made);
  metrics_.count(
      "request_success_total", 1,
      "finished_reason=\"" + std::string(whole ? name_of(made.finish_reason) : "abort") + "\"");
  if (!whole && !failure_) failure_ = failure_of(made);
  choices_[index].finish = name_of(made.finish_reason);
  timings_.prompt_seconds += made.timings.prompt_seconds;
  timings_.generate_seconds += made.timings.generate_seconds;
  timings_.generated_tokens += made.timings.generated_tokens;
  choices_[index].reused = made.timings.reused_tokens;
  if (*client_.gone) metrics_.count("requests_disconnected_total");
  metrics_.count("prompt_tokens_total", made.timings.prompt_tokens);
  metrics_.observe("request_prefill_time_seconds", made.timings.prompt_seconds);
  metrics_.observe("request_decode_time_seconds", made.timings.generate_seconds);
  if (told_.abstains && whole) send_held(index);
  if (told_.stream && whole) send_chunk(index, "", choices_[index].finish.c_str());
  if (--left_ == 0) finish();
}

// Of every prompt once: choices after the first reuse the first one's rows.
int Answer::reused_tokens() const {
  int sum = 0;
  for (size_t first = 0; first < choices_.size(); first += told_.choices_each) {
    const auto of = std::span(choices_).subspan(first, told_.choices_each);
    sum += std::ranges::min_element(of, {}, &Choice::reused)->reused;
  }
  return sum;
}

json Answer::usage() const {
  const int made = timings_.generated_tokens;
  return {{"prompt_tokens", told_.prompt_tokens},
          {"completion_tokens", made},
          {"total_tokens", told_.prompt_tokens + made},
          {"prompt_tokens_details", {{"cached_tokens", reused_tokens()}}}};
}

json Answer::choice_json(size_t index) const {
  const Choice& of = choices_[index];
  json choice = {
      {"index", index}, {"logprobs", logprobs_json(of, of.logprobs)}, {"finish_reason", of.finish}};
  if (!told_.chat) {
    choice["text"] = of.text;
    return choice;
  }
  const bool given = !of.judgement.abstained.value_or(false);
  choice["message"] = {{"role", "assistant"},
                       {"content", given ? json(of.text) : json()},
                       {"refusal", given ? json() : json(abstention)}};
  if (const json judged = judgement_json(of.judgement); !judged.empty())
    choice["revenant"] = judged;
  return choice;
}

void Answer::finish() {
  metrics_.observe("e2e_request_latency_seconds", asked_.seconds());
  if (failure_) {
    if (!told_.stream) return client_.reply(failure_reply(*failure_));
    client_.event(json_text(error_json(*failure_)));
    return client_.end();
  }
  if (told_.stream) {
    if (told_.usage_chunk) {
      json chunk = head(true);
      chunk["choices"] = json::array();
      chunk["usage"] = usage();
      client_.event(json_text(chunk));
    }
    client_.event("[DONE]");
    return client_.end();
  }
  json body = head(false);
  body["choices"] = json::array();
  for (size_t i = 0; i < choices_.size(); ++i) body["choices"].push_back(choice_json(i));
  body["usage"] = usage();
  body["revenant"] = {{"parameters", told_.parameters}, {"ignored", told_.ignored}};
  if (!look_.is_null()) body["revenant"]["look"] = look_;
  body["timings"] = {{"cache_n", reused_tokens()},
                     {"prompt_n", told_.prompt_tokens - reused_tokens()},
                     {"prompt_ms", timings_.prompt_seconds * 1e3},
                     {"predicted_n", timings_.generated_tokens},
                     {"predicted_ms", timings_.generate_seconds * 1e3}};
  client_.reply(json_reply(body));
}

}  // namespace revenant
