#include "serve/ask.h"

#include <charconv>
#include <limits>

#include "base/json.h"
#include "serve/members.h"

namespace revenant {

using nlohmann::json;

std::string item(const std::string& path, size_t index) {
  return path + "[" + std::to_string(index) + "]";
}

namespace {

// {"url": ...}, or the URL alone.
PictureAsked picture_at(const json& value, const std::string& path,
                        std::vector<std::string>& ignored) {
  if (value.is_string()) return {path, value.get_ref<const std::string&>()};
  Members picture(value, path);
  const json* url = picture.find("url");
  if (!url || !url->is_string())
    throw invalid(picture.at("url"), "expected a data: URI", "invalid_type");
  if (const auto detail = picture.text("detail"); detail && *detail != "auto")
    ignored.push_back(picture.at("detail"));
  picture.refuse_others();
  return {path, url->get_ref<const std::string&>()};
}

struct Message {
  std::string role, text;
  std::vector<PictureAsked> pictures;
};

void add_part(Message& message, const json& value, const std::string& path,
              std::vector<std::string>& ignored) {
  Members part(value, path);
  const std::string type = part.text("type").value_or("");
  if (type == "text") {
    part.required("text", "a string");
    message.text += (message.text.empty() ? "" : "\n") + *part.text("text");
  } else if (type == "image_url") {
    if (message.role != "user")
      throw invalid(path, "pictures stand in messages of the user only", "unsupported_value");
    const json& picture = part.required("image_url", "a picture");
    message.pictures.push_back(picture_at(picture, part.at("image_url"), ignored));
  } else {
    throw invalid(part.at("type"), "expected \"text\" or \"image_url\", found " + shown(type),
                  "unsupported_value");
  }
  part.refuse_others();
}

Message message_at(const json& value, const std::string& path, std::vector<std::string>& ignored) {
  Members members(value, path);
  Message message{members.text("role").value_or(""), "", {}};
  if (message.role == "developer") message.role = "system";
  if (message.role != "system" && message.role != "user" && message.role != "assistant")
    throw invalid(members.at("role"),
                  "expected \"system\", \"developer\", \"user\" or \"assistant\", found " +
                      shown(message.role),
                  "unsupported_value");
  const json& content = members.required("content", "text");
  if (content.is_array())
    for (size_t i = 0; i < content.size(); ++i)
      add_part(message, content[i], item(members.at("content"), i), ignored);
  else
    message.text = *members.text("content");
  members.pass_over("name", ignored);
  members.only("tool_calls", {json::array()});
  members.find("refusal"), members.find("audio"), members.find("annotations");
  members.refuse_others();
  return message;
}

void add_paragraph(std::string& text, const std::string& more) {
  text += (text.empty() || more.empty() ? "" : "\n\n") + more;
}

std::vector<std::string> stops_of(Members& body, const AskLimits& limits) {
  const json* stop = body.find("stop");
  if (!stop) return {};
  const json list = stop->is_string() ? json::array({*stop}) : *stop;
  if (!list.is_array() || list.size() > size_t(limits.stops))
    throw invalid("stop",
                  "expected a string, or up to " + std::to_string(limits.stops) + " of them");
  std::vector<std::string> stops;
  for (const json& one : list) {
    if (!one.is_string() || one.get_ref<const std::string&>().empty() ||
        one.get_ref<const std::string&>().size() > limits.stop_bytes)
      throw invalid("stop", "expected strings of 1 to " + std::to_string(limits.stop_bytes) +
                                " bytes, found " + shown(one));
    stops.push_back(one);
  }
  return stops;
}

std::vector<std::pair<int, double>> bias_of(Members& body) {
  std::vector<std::pair<int, double>> bias;
  const json* asked = body.find("logit_bias");
  if (!asked) return bias;
  if (!asked->is_object())
    throw invalid("logit_bias", "expected an object of token ids", "invalid_type");
  for (const auto& [name, value] : asked->items()) {
    int id = -1;
    const auto read = std::from_chars(name.data(), name.data() + name.size(), id);
    if (read.ec != std::errc() || read.ptr != name.data() + name.size() || id < 0)
      throw invalid("logit_bias", "expected ids of tokens as keys, found " + shown(name));
    const double more = value.is_number() ? value.get<double>() : 1e9;
    if (!(more >= -100 && more <= 100))
      throw invalid("logit_bias", "expected numbers from -100 to 100, found " + shown(value));
    bias.push_back({id, more});
  }
  return bias;
}

void read_sampling(Members& body, Ask& ask) {
  Sampling& s = ask.sampling;
  s.temperature = body.number("temperature", 0, 100).value_or(s.temperature);
  s.top_p = body.number("top_p", 1e-9, 1).value_or(s.top_p);
  s.min_p = body.number("min_p", 0, 1).value_or(s.min_p);
  s.top_k = int(std::max(
      int64_t(0), body.whole("top_k", -1, std::numeric_limits<int>::max()).value_or(s.top_k)));
  s.repetition_penalty =
      body.number("repetition_penalty", 1e-6, 1e6).value_or(s.repetition_penalty);
  if (const auto seed = body.whole("seed", std::numeric_limits<int64_t>::min(),
                                   std::numeric_limits<int64_t>::max())) {
    s.seed = uint64_t(*seed);
    ask.seeded = true;
  }
  s.bias = bias_of(body);
  body.only("frequency_penalty", {0});
  body.only("presence_penalty", {0});
}

// What both kinds of completion have.
void read_common(Members& body, Ask& ask, const AskLimits& limits) {
  ask.model = body.text("model").value_or("");
  read_sampling(body, ask);
  ask.choices = int(body.whole("n", 1, limits.choices).value_or(1));
  ask.stops = stops_of(body, limits);
  ask.stream = body.flag("stream").value_or(false);
  ask.ignore_eos = body.flag("ignore_eos").value_or(false);
  if (const json* options = body.find("stream_options")) {
    if (!ask.stream)
      throw invalid("stream_options", "only where stream is true", "unsupported_value");
    Members stream(*options, "stream_options");
    ask.usage_chunk = stream.flag("include_usage").value_or(false);
    stream.only("include_obfuscation", {false});
    stream.refuse_others();
  }
  body.pass_over("user", ask.ignored);
}

int max_tokens_of(Members& body, const char* name) {
  return int(body.whole(name, 1, std::numeric_limits<int>::max()).value_or(0));
}

// Of newer clients, which send them without being asked to.
void read_inert(Members& body, Ask& ask) {
  for (const char* name : {"metadata", "prompt_cache_key", "safety_identifier"})
    body.pass_over(name, ask.ignored);
  body.only("store", {false});
  body.only("service_tier", {"auto", "default"});
  body.only("modalities", {{"text"}});
  body.only("tools", {json::array()});
  body.only("tool_choice", {"none", "auto"});
  body.only("functions", {json::array()});
  body.only("parallel_tool_calls", {true, false});
}

void read_format(Members& body, Ask& ask) {
  const json* format = body.find("response_format");
  if (!format) return;
  Members members(*format, "response_format");
  ask.format = members.text("type").value_or("");
  if (ask.format == "json_object") {
    ask.grammar = std::make_shared<JsonGrammar>(object_grammar());
  } else if (ask.format == "json_schema") {
    Members schema(members.required("json_schema", "a schema"), members.at("json_schema"));
    schema.text("name"), schema.text("description"), schema.flag("strict");
    const json& of = schema.required("schema", "a schema");
    ask.grammar = std::make_shared<JsonGrammar>(schema_grammar(of, schema.at("schema")));
    schema.refuse_others();
  } else if (ask.format != "text") {
    throw invalid(
        "response_format.type",
        "expected \"text\", \"json_object\" or \"json_schema\", found " + shown(ask.format),
        "unsupported_value");
  }
  members.refuse_others();
  if (ask.grammar && ask.ignore_eos)
    throw invalid("ignore_eos", "not with a response_format of JSON, which has an end",
                  "unsupported_value");
}

// What only this server knows.
void read_own(Members& body, Ask& ask, const AskLimits& limits) {
  const json* own = body.find("revenant");
  if (!own) return;
  Members members(*own, "revenant");
  ask.look = members.flag("look").value_or(false);
  ask.beams = int(members.whole("beams", 1, limits.beams).value_or(1));
  ask.traverse = members.text("traverse").value_or("");
  ask.grounding = members.flag("grounding").value_or(false);
  ask.abstain = members.flag("abstain");
  members.refuse_others();
  const auto refuse = [&](const char* name, const std::string& message) {
    throw invalid(members.at(name), message, "unsupported_value");
  };
  if (ask.look && (ask.choices > 1 || ask.beams > 1))
    refuse("look", "only of one answer, and without beams");
  if (ask.grounding && ask.talk.pictures.empty())
    refuse("grounding", "only of an answer about pictures");
  if ((ask.grounding || ask.abstain == true) && ask.beams > 1)
    refuse("beams", "not with grounding or abstain");
  if (ask.beams == 1) return;
  if (ask.stream) refuse("beams", "not where stream is true: the answer is known at its end only");
  if (ask.sampling.temperature > 0) refuse("beams", "only where temperature is 0");
  if (ask.top_logprobs >= 0 || ask.grammar || !ask.sampling.bias.empty())
    refuse("beams", "not with logprobs, response_format or logit_bias");
}

}  // namespace

Talk talk_of(const json& messages, const std::string& path, const AskLimits& limits,
             std::vector<std::string>& ignored) {
  if (!messages.is_array() || messages.empty())
    throw invalid(path, "expected messages, found " + shown(messages), "invalid_type");
  Talk talk;
  std::string system;
  bool asking = false;  // the last message was the user's
  for (size_t i = 0; i < messages.size(); ++i) {
    Message message = message_at(messages[i], item(path, i), ignored);
    if (message.role == "system") {
      if (!talk.turns.empty())
        throw invalid(item(path, i) + ".role", "system texts stand before all others");
      add_paragraph(system, message.text);
    } else if (message.role == "user") {
      if (!asking) talk.turns.push_back({talk.turns.empty() ? system : "", 0, ""});
      asking = true;
      add_paragraph(talk.turns.back().question, message.text);
      talk.turns.back().pictures += int(message.pictures.size());
      talk.pictures.insert(talk.pictures.end(), message.pictures.begin(), message.pictures.end());
    } else {
      if (talk.turns.empty())
        throw invalid(item(path, i) + ".role", "an answer before the first question");
      if (message.text.empty())
        throw invalid(item(path, i) + ".content", "expected an answer, found an empty one");
      asking = false;
      add_paragraph(talk.turns.back().answer, message.text);
    }
  }
  if (!asking)
    throw invalid(item(path, messages.size() - 1) + ".role", "the last message is the user's");
  if (talk.pictures.size() > size_t(limits.pictures))
    throw invalid(path, "expected at most " + std::to_string(limits.pictures) +
                            " pictures, found " + std::to_string(talk.pictures.size()));
  return talk;
}

std::vector<int> ids_of(const json& list, const std::string& path) {
  std::vector<int> ids;
  for (size_t i = 0; i < list.size(); ++i) {
    if (!list[i].is_number_integer() || list[i] < 0 || list[i] > std::numeric_limits<int>::max())
      throw invalid(item(path, i), "expected a token's id, found " + shown(list[i]),
                    "invalid_type");
    ids.push_back(list[i].get<int>());
  }
  return ids;
}

Ask chat_ask(const json& request, const AskLimits& limits, const Sampling& defaults) {
  Members body(request);
  Ask ask;
  ask.sampling = defaults;
  read_common(body, ask, limits);
  const json& messages = body.required("messages", "messages");
  ask.talk = talk_of(messages, "messages", limits, ask.ignored);
  const int most = max_tokens_of(body, "max_completion_tokens"),
            older = max_tokens_of(body, "max_tokens");
  if (most && older && most != older)
    throw invalid("max_tokens", "is not what max_completion_tokens says");
  ask.max_tokens = most ? most : older;
  const bool logprobs = body.flag("logprobs").value_or(false);
  const auto top = body.whole("top_logprobs", 0, limits.top_logprobs);
  if (top && !logprobs)
    throw invalid("top_logprobs", "only where logprobs is true", "unsupported_value");
  if (logprobs) ask.top_logprobs = int(top.value_or(0));
  read_inert(body, ask);
  read_format(body, ask);
  read_own(body, ask, limits);
  body.refuse_others();
  return ask;
}

Ask completion_ask(const json& request, const AskLimits& limits, const Sampling& defaults) {
  Members body(request);
  Ask ask;
  ask.sampling = defaults;
  read_common(body, ask, limits);
  const json& prompt = body.required("prompt", "a text");
  const bool many = prompt.is_array() && !prompt.empty() && !prompt[0].is_number();
  const json list = many ? prompt : json::array({prompt});
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string path = many ? item("prompt", i) : "prompt";
    if (list[i].is_string())
      ask.prompts.emplace_back(list[i].get<std::string>());
    else if (list[i].is_array() && !list[i].empty())
      ask.prompts.emplace_back(ids_of(list[i], path));
    else
      throw invalid(path, "expected a text or ids of tokens, found " + shown(list[i]),
                    "invalid_type");
  }
  if (ask.prompts.size() > size_t(limits.prompts))
    throw invalid("prompt", "expected at most " + std::to_string(limits.prompts) + " prompts");
  ask.max_tokens = max_tokens_of(body, "max_tokens");
  ask.top_logprobs = int(body.whole("logprobs", 0, limits.top_logprobs).value_or(-1));
  ask.echo = body.flag("echo").value_or(false);
  if (ask.echo && ask.top_logprobs >= 0)
    throw invalid("echo", "not with logprobs: those of the prompt are not kept",
                  "unsupported_value");
  body.only("best_of", {1, ask.choices});
  body.only("suffix", {""});
  body.refuse_others();
  return ask;
}

}  // namespace revenant
