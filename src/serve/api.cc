#include "serve/api.h"

#include <algorithm>
#include <random>

#include "base/ascii.h"
#include "base/clock.h"
#include "base/json.h"
#include "engine/running.h"
#include "model/rope.h"
#include "serve/judge.h"
#include "serve/members.h"
#include "serve/page.h"

namespace revenant {

using nlohmann::json;

namespace {

constexpr size_t most_look_numbers = 500'000;  // in the look of an answer; some 5 MB of text
constexpr int default_context = 4096;          // of models that do not say what they were made for

bool serves(const Api::Route& route, std::string_view path) {
  std::string_view own = route.path;
  if (!own.ends_with('*')) return own == path;
  own.remove_suffix(1);
  return path.starts_with(own);
}

std::string key_in(const Head& head) {
  constexpr std::string_view bearer = "bearer ";
  const std::string scheme = lower_ascii(head.authorization.substr(0, bearer.size()));
  return scheme == bearer ? head.authorization.substr(bearer.size()) : head.api_key;
}

// Of a Host field: without the port.
std::string name_of_host(const std::string& host) {
  const size_t colon = host.find_last_of(":]");
  return colon != host.npos && host[colon] == ':' ? host.substr(0, colon) : host;
}

const Api::Route* find_route(std::string_view method, std::string_view path) {
  for (const Api::Route& route : Api::routes())
    if (serves(route, path) && route.method == method) return &route;
  return nullptr;
}

uint64_t fresh_seed() {
  std::random_device random;
  return (uint64_t(random()) << 20 ^ random()) & ((uint64_t(1) << 53) - 1);  // exact in JavaScript
}

json bias_json(const Sampling& s) {
  json object = json::object();
  for (const auto& [id, more] : s.bias) object[std::to_string(id)] = more;
  return object;
}

json parameters_json(const Ask& ask, int max_tokens) {
  const Sampling& s = ask.sampling;
  json all = {{"max_tokens", max_tokens},
              {"temperature", s.temperature},
              {"top_p", s.top_p},
              {"top_k", s.top_k},
              {"min_p", s.min_p},
              {"repetition_penalty", s.repetition_penalty},
              {"seed", int64_t(s.seed)},
              {"n", ask.choices},
              {"stop", ask.stops},
              {"logit_bias", bias_json(s)},
              {"logprobs", ask.top_logprobs >= 0},
              {"response_format", ask.format},
              {"stream", ask.stream}};
  if (ask.ignore_eos) all["ignore_eos"] = true;
  if (ask.look) all["look"] = true;
  if (ask.beams > 1) all["beams"] = ask.beams;
  if (ask.grounding) all["grounding"] = true;
  if (ask.top_logprobs >= 0) all["top_logprobs"] = ask.top_logprobs;
  return all;
}

json abstain_json(const Calibration& c) {
  return {{"by", name_of(c.by)}, {"threshold", c.threshold}, {"risk", c.risk}};
}

}  // namespace

std::span<const Api::Route> Api::routes() {
  static constexpr Route all[] = {
      {"GET", "/", true, &Api::page},
      {"GET", "/app.js", true, &Api::page},
      {"GET", "/app.css", true, &Api::page},
      {"GET", "/icon.svg", true, &Api::page},
      {"GET", "/health", true, &Api::health},
      {"GET", "/v1/models", false, &Api::models},
      {"GET", "/v1/models/*", false, &Api::model},
      {"POST", "/v1/chat/completions", false, &Api::chat},
      {"POST", "/v1/completions", false, &Api::completions},
      {"POST", "/v1/embeddings", false, &Api::embeddings},
      {"POST", "/tokenize", false, &Api::tokenize},
      {"POST", "/detokenize", false, &Api::detokenize},
      {"GET", "/metrics", false, &Api::metrics_text},
      {"GET", "/props", false, &Api::props},
  };
  return all;
}

Api::Api(ApiOptions options)
    : options_(std::move(options)), metrics_(options_.model), started_(unix_seconds()) {}

Api::~Api() = default;

void Api::ready(std::shared_ptr<const Model> model) {
  CHECK(!owned_);
  model->speech();
  model_ = std::move(model);
  owned_ = std::make_unique<Scheduler>(*model_, options_.schedule, metrics_);
  scheduler_ = owned_.get();
}

void Api::unload() {
  end();
  spellings_.reset();
  model_.reset();
}

void Api::end() {
  scheduler_ = nullptr;
  owned_.reset();
}

// Nobody gets further than here without a key, but to what is open; and no page of another origin,
// unless it is listed.
Admission Api::admit(const Head& head) const {
  Admission admission;
  const std::string path = head.target.substr(0, head.target.find('?'));
  admission.call = {head.method, path, "", "", head.if_none_match};
  const auto refuse = [&](const Failure& failure) {
    admission.refusal = failure_reply(failure);
    return admission;
  };
  if (!options_.hosts.empty() &&
      std::ranges::find(options_.hosts, name_of_host(head.host)) == options_.hosts.end())
    return refuse(Failure(403, "this server is not called so (Host)", "host_not_allowed"));
  if (!head.origin.empty()) {
    const bool listed = std::ranges::find(options_.origins, head.origin) != options_.origins.end(),
               all = std::ranges::find(options_.origins, "*") != options_.origins.end();
    const bool own = head.origin == "http://" + head.host || head.origin == "https://" + head.host;
    if (!listed && !all && !own)
      return refuse(Failure(403, "pages of this origin may not ask here", "origin_not_allowed"));
    if (!own) {
      admission.headers = {{"Access-Control-Allow-Origin", listed ? head.origin : "*"},
                           {"Vary", "Origin"}};
      if (head.method == "OPTIONS") {
        admission.headers.insert(
            admission.headers.end(),
            {{"Access-Control-Allow-Methods", "GET, POST"},
             {"Access-Control-Allow-Headers", "Authorization, Content-Type, X-Api-Key"},
             {"Access-Control-Max-Age", "600"}});
        admission.refusal = Reply{204, "", "", {}};
        return admission;
      }
    }
  }
  const Route* const route = find_route(head.method, path);
  const std::optional<std::string> who = options_.keys.who(key_in(head));
  if (!(route && route->open) && !who)
    return refuse(Failure(401, "no valid API key was given", "invalid_api_key"));
  admission.call.sender = who.value_or("");
  if (route) return admission;
  std::string methods;
  for (const Route& r : routes())
    if (serves(r, path)) methods += (methods.empty() ? "" : ", ") + std::string(r.method);
  if (methods.empty()) return refuse(Failure(404, "there is nothing under this path", "not_found"));
  admission.headers.emplace_back("Allow", methods);
  return refuse(Failure(405, "this path takes " + methods, "method_not_allowed"));
}

void Api::answer(const Call& call, const Client& client) {
  const Route* const route = find_route(call.method, call.path);
  CHECK(route);  // `admit` lets nothing else in
  try {
    if (!scheduler() && !route->open) throw Failure(503, "Loading model", "loading");
    (this->*route->answer)(call, client);
  } catch (const Failure& failure) {
    client.reply(failure_reply(failure));
  } catch (const std::bad_alloc&) {
    client.reply(failure_reply(Failure(503, "not enough memory", "no_memory")));
  } catch (const std::exception& error) {
    client.reply(failure_reply(Failure(500, error.what(), "failed")));
  }
}

void Api::page(const Call& call, const Client& client) {
  client.reply(page_reply(call.path, call.if_none_match));
}

void Api::health(const Call&, const Client& client) {
  if (scheduler()) return client.reply(json_reply({{"status", "ok"}}));
  client.reply(json_reply({{"error",
                            {{"code", 503},
                             {"message", "Loading model"},
                             {"type", "unavailable_error"},
                             {"param", nullptr}}}},
                          503));
}

json Api::model_json(bool there) const {
  json one = {
      {"id", options_.model}, {"object", "model"}, {"created", started_}, {"owned_by", "revenant"}};
  if (there) one["max_model_len"] = context();
  return one;
}

void Api::models(const Call&, const Client& client) {
  client.reply(json_reply({{"object", "list"}, {"data", json::array({model_json(true)})}}));
}

void Api::model(const Call& call, const Client& client) {
  check_model(call.path.substr(std::string_view("/v1/models/").size()));
  client.reply(json_reply(model_json(true)));
}

std::string Api::metrics_now(bool there) const {
  if (!there) return metrics_.text({});
  const Pages& pages = *model_->pages();
  const double held = double(pages.held());
  return metrics_.text({{"num_requests_running", double(scheduler()->running())},
                        {"num_requests_waiting", double(scheduler()->waiting())},
                        {"kv_cache_usage_perc", pages.limit() ? held / double(pages.limit()) : 0},
                        {"kv_cache_bytes", held},
                        {"picture_cache_bytes", double(scheduler()->picture_bytes())}});
}

void Api::metrics_text(const Call&, const Client& client) {
  client.reply({.type = metrics_type, .body = metrics_now(true)});
}

void Api::props(const Call&, const Client& client) {
  const Config& c = model_->config();
  Ask defaults;
  defaults.sampling = options_.sampling;
  client.reply(
      json_reply({{"model", options_.model},
                  {"architecture", c.architecture},
                  {"backbone", name_of(c.backbone)},
                  {"phantom", c.phantom.on},
                  {"trol", c.trol.on},
                  {"traverse", name_of(c.trol.traverse)},
                  {"passes", c.trol.passes},
                  {"cache_type", cache_name(model_->cache_types().all)},
                  {"cache_type_of_value_ghosts", cache_name(model_->cache_types().ghost_v)},
                  {"cache_memory", model_->pages()->limit()},
                  {"image_memory", options_.schedule.picture_bytes},
                  {"parallel", options_.schedule.parallel},
                  {"n_ctx", context()},
                  {"modalities", {{"vision", c.vision.kind != Tower::none}, {"audio", false}}},
                  {"abstain", options_.abstain ? abstain_json(*options_.abstain) : json()},
                  {"default_parameters", parameters_json(defaults, options_.max_tokens)},
                  {"limits",
                   {{"n", options_.ask.choices},
                    {"pictures", options_.ask.pictures},
                    {"picture_pixels", options_.pictures.pixels},
                    {"picture_side", options_.pictures.side},
                    {"stop", options_.ask.stops},
                    {"top_logprobs", options_.ask.top_logprobs},
                    {"queue", options_.schedule.queue},
                    {"queue_each", options_.schedule.queue_each}}}}));
}

json Api::body_of(const Call& call) const {
  try {
    return parse_json(call.body, {"request", "body"}, options_.json_levels);
  } catch (const Error& error) {
    throw invalid("", error.what(), "invalid_json");
  }
}

void Api::check_model(const std::string& name) const {
  if (name.empty() || name == options_.model) return;
  throw Failure(404, "this server has the model " + shown(options_.model) + ", not " + shown(name),
                "model_not_found", "model");
}

int Api::context() const {
  if (options_.context > 0) return options_.context;
  const int made_for = model_->config().rope.max_position;
  return made_for > 0 ? made_for : default_context;
}

Api::Prompt Api::chat_prompt(const Talk& talk, const std::string& sender,
                             MediaReader& media) const {
  Prompt prompt;
  prompt.pictures = tiled_pictures(*model_, talk.pictures, options_.pictures, sender, media);
  std::vector<int> tokens;
  for (const auto& picture : prompt.pictures)
    tokens.push_back(int(picture->tiles.size()) * model_->config().tokens_per_tile());
  const Speech& speech = model_->speech();
  const EncodedPrompt encoded =
      encode_prompt(speech.tokenizer, speech.rule, chat_pieces(speech.rule, talk.turns), tokens);
  prompt.ids.assign(encoded.ids.begin(), encoded.ids.end());
  prompt.spans = encoded.picture_spans;
  return prompt;
}

void Api::chat(const Call& call, const Client& client) {
  const json body = body_of(call);
  Ask ask = chat_ask(body, options_.ask, options_.sampling);
  check_model(ask.model);
  check_traverse(ask.traverse);
  std::vector<Prompt> prompts;
  MediaReader media(options_.media.get(), client.gone);
  prompts.push_back(chat_prompt(ask.talk, call.sender, media));
  submit(call, client, std::move(ask), std::move(prompts), true);
}

std::vector<int> Api::ids_of_text(const std::string& text, bool frame) const {
  const Tokenizer& tokenizer = model_->speech().tokenizer;
  const auto ids = tokenizer.encode(text, Specials::as_text);
  const auto all = frame ? tokenizer.with_frame(ids) : ids;
  return {all.begin(), all.end()};
}

void Api::completions(const Call& call, const Client& client) {
  const json body = body_of(call);
  Ask ask = completion_ask(body, options_.ask, options_.sampling);
  check_model(ask.model);
  std::vector<Prompt> prompts;
  for (const auto& asked : ask.prompts) {
    const std::string* text = std::get_if<std::string>(&asked);
    prompts.push_back({text ? ids_of_text(*text, false) : std::get<std::vector<int>>(asked), {}});
    if (prompts.back().ids.empty())
      throw invalid("prompt", "expected a token at least, found none");
    try {
      model_->check_prompt("prompt", prompts.back().ids, {});
    } catch (const Error& error) {
      throw invalid("prompt", error.what());
    }
  }
  submit(call, client, std::move(ask), std::move(prompts), false);
}

// What is left of the context; a longer prompt is refused.
int Api::room_for_answer(const Ask& ask, int prompt_tokens) const {
  if (prompt_tokens >= context())
    throw invalid("messages",
                  "this model's context has " + std::to_string(context()) +
                      " tokens; the prompt has " + std::to_string(prompt_tokens),
                  "context_length_exceeded");
  const int asked = ask.max_tokens ? ask.max_tokens : options_.max_tokens;
  return std::min(asked, context() - prompt_tokens);
}

// TroL's traversal is the model's, as it was opened; a request may say what it counts on.
void Api::check_traverse(const std::string& name) const {
  const std::string own = name_of(model_->config().trol.traverse);
  if (name.empty() || (model_->config().trol.on && name == own)) return;
  throw invalid("revenant.traverse",
                model_->config().trol.on
                    ? "this server traverses " + shown(own) + ", not " + shown(name)
                    : "this model has no TroL",
                "unsupported_value");
}

// A look is computed and told at once: its numbers are bounded, and with them the answer.
int Api::room_for_look(const Ask& ask, int prompt_tokens, int max_tokens) const {
  const auto numbers = [&](int tokens) {
    return look_numbers(model_->config(), size_t(prompt_tokens), size_t(tokens), false);
  };
  int most = max_tokens;
  while (most > 0 && numbers(most) > most_look_numbers) --most;
  if (most > 0 && (most == max_tokens || ask.max_tokens == 0)) return most;
  throw invalid(
      "revenant.look",
      "a look into this prompt has room for " + std::to_string(most) + " tokens of answer",
      "unsupported_value");
}

// What would not fit even alone would fail later, in the middle of its answer.
void Api::check_memory(const Request& request) const {
  const size_t limit = model_->pages()->limit(),
               wanted = most_cache_bytes(*model_, int(request.ids.size()), request.options);
  if (limit > 0 && wanted > limit)
    throw invalid("messages",
                  "prompt and answer would take " + std::to_string(wanted) +
                      " bytes of cache, of " + std::to_string(limit),
                  "context_length_exceeded");
}

void Api::submit(const Call& call, const Client& client, Ask ask, std::vector<Prompt> prompts,
                 bool is_chat) {
  if (prompts.size() * size_t(ask.choices) > size_t(options_.ask.prompts))
    throw invalid("n", "expected at most " + std::to_string(options_.ask.prompts) + " answers");
  if (!ask.seeded && ask.sampling.temperature > 0) ask.sampling.seed = fresh_seed();
  const Speech& speech = model_->speech();
  Told told;
  told.model = options_.model;
  told.ignored = ask.ignored;
  told.chat = is_chat;
  told.stream = ask.stream;
  told.usage_chunk = ask.usage_chunk;
  told.top_logprobs = ask.top_logprobs;
  int max_tokens = std::numeric_limits<int>::max();
  for (const Prompt& prompt : prompts) {
    max_tokens = std::min(max_tokens, room_for_answer(ask, int(prompt.ids.size())));
    if (ask.look) max_tokens = room_for_look(ask, int(prompt.ids.size()), max_tokens);
    told.prompt_tokens += int(prompt.ids.size());
    const std::vector<int32_t> ids(prompt.ids.begin(), prompt.ids.end());
    for (int i = 0; i < ask.choices; ++i)
      told.echo.push_back(ask.echo ? speech.tokenizer.decode(ids, true) : "");
  }
  told.parameters = parameters_json(ask, max_tokens);
  const auto abstain = abstains(ask) ? options_.abstain : nullptr;
  told.abstains = abstain != nullptr;
  if (abstain) told.parameters["abstain"] = abstain_json(*abstain);
  told.choices_each = size_t(ask.choices);
  told.choices = told.echo.size();
  if (!ask.ignore_eos) told.stop_ids = speech.stop_ids;
  const auto answer = std::make_shared<Answer>(std::move(told), client, speech, metrics_);
  Work work{.sender = call.sender, .pictures = {}, .choices = {}, .gone = client.gone, .done = {}};
  const std::shared_ptr<Judge> judge = this->judge(ask.grounding, abstain, prompts[0], answer);
  work.done = [answer, judge, sender = call.sender, gone = client.gone](
                  size_t choice, Generated made) -> std::unique_ptr<Work> {
    if (judge) return judge->done(sender, gone, choice, std::move(made));
    answer->done(choice, std::move(made));
    return nullptr;
  };
  const auto masks =
      ask.grammar ? std::make_shared<Masks>(spellings(), ask.grammar->grammar, ask.grammar->start)
                  : nullptr;
  for (const Prompt& prompt : prompts)
    for (int i = 0; i < ask.choices; ++i) {
      Request request{.session = nullptr, .ids = prompt.ids, .features = {}, .options = {}};
      request.options = options_for(ask, uint64_t(i), max_tokens);
      request.last = true;
      const size_t index = work.choices.size();
      request.options.on_token = [answer, index](int, std::string_view text) {
        answer->token(index, text);
        return true;
      };
      if (ask.top_logprobs >= 0)
        request.options.on_choice = [answer, index](int id, std::span<const float> logits) {
          answer->choice(index, id, logits);
        };
      if (masks)
        request.options.allowed = [one = std::make_shared<Constraint>(masks)](
                                      std::span<const int> made) { return one->allowed(made); };
      check_memory(request);
      if (judge) judge->watch(request);
      work.choices.push_back(std::move(request));
    }
  if (ask.look) {
    LookAbout about{options_.model, ask.talk.turns.back().question, {}, prompts[0].spans};
    for (const auto& picture : prompts[0].pictures)
      about.sizes.emplace_back(picture->width, picture->height);
    work.looked = [answer, about, model = model_](const Look& look) {
      answer->looked(look_json(*model, look, about));
    };
  }
  work.pictures = prompts[0].pictures;
  scheduler()->submit(std::move(work));
  answer->open();
}

// Examples are of pictures: what is said without one is always given.
bool Api::abstains(const Ask& ask) const {
  if (!options_.abstain && ask.abstain == true)
    throw invalid("revenant.abstain", "this server was started without --abstain",
                  "unsupported_value");
  if (!options_.abstain || !ask.abstain.value_or(true) || ask.talk.pictures.empty()) return false;
  if (ask.beams > 1)
    throw invalid("revenant.beams", "only where revenant.abstain is false: this server abstains",
                  "unsupported_value");
  return true;
}

// Null: all that is to be known of an answer is itself.
std::shared_ptr<Judge> Api::judge(bool grounding, const std::shared_ptr<const Calibration>& abstain,
                                  const Prompt& prompt,
                                  const std::shared_ptr<Answer>& answer) const {
  if (!abstain && !grounding) return nullptr;
  std::vector<std::shared_ptr<const TiledPicture>> greys;
  if (grounding || abstain->by == Score::grounding)
    for (const auto& picture : prompt.pictures)
      greys.push_back(
          std::make_shared<TiledPicture>(grey_tiles(*model_, picture->width, picture->height)));
  return std::make_shared<Judge>(answer, abstain, std::move(greys));
}

std::shared_ptr<const TokenSpellings> Api::spellings() const {
  const std::lock_guard lock(reading_spellings_);
  if (!spellings_)
    spellings_ = std::make_shared<TokenSpellings>(model_->speech(), model_->config().vocab);
  return spellings_;
}

GenerateOptions Api::options_for(const Ask& ask, uint64_t choice, int max_tokens) const {
  GenerateOptions options;
  options.sampling = ask.sampling;
  options.beams = ask.beams;
  options.sampling.seed += choice;
  options.max_new_tokens = max_tokens;
  if (!ask.ignore_eos) options.stop_ids = model_->speech().stop_ids;
  options.stop_strings = ask.stops;
  options.speech = &model_->speech();
  return options;
}

Api::Prompt Api::embedding_prompt(const EmbeddingAsk::Input& input, const std::string& sender,
                                  MediaReader& media) const {
  Prompt prompt;
  if (const Talk* talk = std::get_if<Talk>(&input.of))
    prompt = chat_prompt(*talk, sender, media);
  else if (const std::string* text = std::get_if<std::string>(&input.of))
    prompt.ids = ids_of_text(*text, true);
  else
    prompt.ids = std::get<std::vector<int>>(input.of);
  if (prompt.ids.empty()) throw invalid(input.path, "expected a token at least, found none");
  if (int(prompt.ids.size()) > context())
    throw invalid(input.path,
                  "this model's context has " + std::to_string(context()) +
                      " tokens; the input has " + std::to_string(prompt.ids.size()),
                  "context_length_exceeded");
  try {
    if (prompt.pictures.empty()) model_->check_prompt("input", prompt.ids, {});
  } catch (const Error& error) {
    throw invalid(input.path, error.what());
  }
  return prompt;
}

void Api::embeddings(const Call& call, const Client& client) {
  const json body = body_of(call);
  EmbeddingAsk ask = embedding_ask(body, options_.ask);
  check_model(ask.model);
  const int hidden = model_->config().hidden;
  if (ask.dimensions && ask.dimensions != hidden)
    throw invalid("dimensions",
                  "this model's embeddings have " + std::to_string(hidden) + " numbers",
                  "unsupported_value");
  MediaReader media(options_.media.get(), client.gone);
  for (const EmbeddingAsk::Input& input : ask.inputs)
    if (const Talk* talk = std::get_if<Talk>(&input.of)) check_places(talk->pictures, media);
  std::vector<Work> works;
  int tokens = 0;
  for (const EmbeddingAsk::Input& input : ask.inputs) {
    Prompt prompt = embedding_prompt(input, call.sender, media);
    tokens += int(prompt.ids.size());
    Request request{
        .session = nullptr, .ids = std::move(prompt.ids), .features = {}, .options = {}};
    request.options.max_new_tokens = 0;
    request.options.keep_state = true;
    request.last = true;
    check_memory(request);
    works.push_back({.sender = call.sender,
                     .pictures = std::move(prompt.pictures),
                     .choices = {std::move(request)},
                     .gone = client.gone,
                     .done = {}});
  }
  const auto answer = std::make_shared<EmbeddingAnswer>(
      options_.model, ask.base64, hidden, ask.ignored, tokens, works.size(), client, metrics_);
  for (size_t i = 0; i < works.size(); ++i)
    works[i].done = [answer, i](size_t, Generated made) -> std::unique_ptr<Work> {
      answer->done(i, std::move(made));
      return nullptr;
    };
  scheduler()->submit_all(std::move(works));
}

// vLLM's and llama-server's forms: a text under either name, or a chat's messages.
void Api::tokenize(const Call& call, const Client& client) {
  const json request = body_of(call);
  Members body(request);
  check_model(body.text("model").value_or(""));
  const auto prompt = body.text("prompt"), content = body.text("content");
  const json* messages = body.find("messages");
  if (int(prompt.has_value()) + int(content.has_value()) + int(messages != nullptr) != 1)
    throw invalid("prompt", "expected one of prompt, content and messages", "missing_parameter");
  const bool frame =
      body.flag("add_special_tokens").value_or(false) || body.flag("add_special").value_or(false);
  const bool pieces =
      body.flag("with_pieces").value_or(false) || body.flag("return_token_strs").value_or(false);
  body.refuse_others();
  std::vector<std::string> ignored;
  MediaReader media(options_.media.get(), client.gone);
  const auto talk = [&] { return talk_of(*messages, "messages", options_.ask, ignored); };
  const std::vector<int> ids = messages ? chat_prompt(talk(), call.sender, media).ids
                                        : ids_of_text(prompt ? *prompt : *content, frame);
  json reply = {{"tokens", ids}, {"count", ids.size()}, {"max_model_len", context()}};
  if (pieces) {
    reply["token_strs"] = json::array();
    for (const int id : ids)
      reply["token_strs"].push_back(std::string(model_->speech().tokenizer.token_of(id)));
  }
  client.reply(json_reply(reply));
}

void Api::detokenize(const Call& call, const Client& client) {
  const json request = body_of(call);
  Members body(request);
  check_model(body.text("model").value_or(""));
  const json* tokens = body.find("tokens");
  if (!tokens || !tokens->is_array())
    throw invalid("tokens", "expected a list of ids", "missing_parameter");
  body.refuse_others();
  std::vector<int32_t> ids;
  const Tokenizer& tokenizer = model_->speech().tokenizer;
  for (const int id : ids_of(*tokens, "tokens")) {
    if (tokenizer.token_of(id).empty())
      throw invalid("tokens", "expected ids of this vocabulary, found " + std::to_string(id));
    ids.push_back(id);
  }
  const std::string text = tokenizer.decode(ids, true);
  client.reply(json_reply({{"prompt", text}, {"content", text}}));
}

}  // namespace revenant
