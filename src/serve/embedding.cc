#include "serve/embedding.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "base/base64.h"
#include "base/json.h"
#include "serve/members.h"

namespace revenant {

using nlohmann::json;

namespace {

static_assert(std::endian::native == std::endian::little);  // of the numbers in base64

// A text, ids, or messages of a chat.
EmbeddingAsk::Input input_at(const json& value, const std::string& path, const AskLimits& limits,
                             std::vector<std::string>& ignored) {
  if (value.is_string()) return {path, value.get<std::string>()};
  if (value.is_array() && !value.empty() && value[0].is_number())
    return {path, ids_of(value, path)};
  if (value.is_array() && !value.empty() && value[0].is_object())
    return {path, talk_of(value, path, limits, ignored)};
  throw invalid(path, "expected a text, ids of tokens or messages, found " + shown(value),
                "invalid_type");
}

bool is_list(const json& value) {
  return value.is_array() && !value.empty() && !value[0].is_number() && !value[0].is_object();
}

}  // namespace

EmbeddingAsk embedding_ask(const json& request, const AskLimits& limits) {
  Members body(request);
  EmbeddingAsk ask;
  ask.model = body.text("model").value_or("");
  const json *input = body.find("input"), *messages = body.find("messages");
  if ((input != nullptr) == (messages != nullptr))
    throw invalid("input", "expected one of input and messages", "missing_parameter");
  if (messages) {
    ask.inputs.push_back({"messages", talk_of(*messages, "messages", limits, ask.ignored)});
  } else if (is_list(*input)) {
    if (input->size() > size_t(limits.prompts))
      throw invalid("input", "expected at most " + std::to_string(limits.prompts) +
                                 " inputs, found " + std::to_string(input->size()));
    for (size_t i = 0; i < input->size(); ++i)
      ask.inputs.push_back(input_at((*input)[i], item("input", i), limits, ask.ignored));
  } else {
    ask.inputs.push_back(input_at(*input, "input", limits, ask.ignored));
  }
  size_t pictures = 0;
  for (const EmbeddingAsk::Input& one : ask.inputs)
    if (const Talk* talk = std::get_if<Talk>(&one.of)) pictures += talk->pictures.size();
  if (pictures > size_t(limits.pictures))
    throw invalid("input", "expected at most " + std::to_string(limits.pictures) +
                               " pictures, found " + std::to_string(pictures));
  const std::string format = body.text("encoding_format").value_or("float");
  if (format != "float" && format != "base64")
    throw invalid("encoding_format", "expected \"float\" or \"base64\", found " + shown(format),
                  "unsupported_value");
  ask.base64 = format == "base64";
  ask.dimensions = int(body.whole("dimensions", 1, 1 << 20).value_or(0));
  body.pass_over("user", ask.ignored);
  body.refuse_others();
  return ask;
}

std::vector<float> normalised(std::span<const float> state) {
  double sum = 0;
  for (const float x : state) sum += double(x) * x;
  if (!std::isfinite(sum) || sum == 0)
    throw Error("serve", "an embedding", "numbers that are not all 0", std::to_string(sum));
  const double norm = std::sqrt(sum);
  std::vector<float> out;
  for (const float x : state) out.push_back(float(x / norm));
  return out;
}

EmbeddingAnswer::EmbeddingAnswer(std::string model, bool base64, int dimensions,
                                 std::vector<std::string> ignored, int prompt_tokens, size_t inputs,
                                 Client client, Metrics& metrics)
    : model_(std::move(model)),
      base64_(base64),
      dimensions_(dimensions),
      ignored_(std::move(ignored)),
      prompt_tokens_(prompt_tokens),
      client_(std::move(client)),
      metrics_(metrics),
      made_(inputs),
      left_(inputs) {}

void EmbeddingAnswer::done(size_t index, Generated made) {
  const std::lock_guard lock(mutex_);
  const bool ended = made.finish_reason == Finish::length;  // of nothing
  try {
    if (!ended) throw failure_of(made);
    const std::vector<float> numbers = normalised(made.state);
    json& value = made_[index];
    if (base64_)
      value =
          base64({reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(float)});
    else
      value = numbers;
  } catch (const Failure& failure) {
    if (!failure_) failure_ = failure;
  } catch (const Error& error) {
    if (!failure_) failure_ = Failure(500, error.what(), "failed");
  }
  reused_ += made.timings.reused_tokens;
  metrics_.count("request_success_total", 1,
                 std::string("finished_reason=\"") + (ended ? "stop" : "abort") + "\"");
  metrics_.count("prompt_tokens_total", made.timings.prompt_tokens);
  metrics_.observe("request_prefill_time_seconds", made.timings.prompt_seconds);
  if (--left_ == 0) finish();
}

void EmbeddingAnswer::finish() {
  metrics_.observe("e2e_request_latency_seconds", asked_.seconds());
  if (*client_.gone) metrics_.count("requests_disconnected_total");
  if (failure_) return client_.reply(failure_reply(*failure_));
  json data = json::array();
  for (size_t i = 0; i < made_.size(); ++i)
    data.push_back({{"object", "embedding"}, {"index", i}, {"embedding", std::move(made_[i])}});
  client_.reply(json_reply({{"object", "list"},
                            {"data", std::move(data)},
                            {"model", model_},
                            {"usage",
                             {{"prompt_tokens", prompt_tokens_},
                              {"total_tokens", prompt_tokens_},
                              {"prompt_tokens_details", {{"cached_tokens", reused_}}}}},
                            {"revenant",
                             {{"parameters",
                               {{"encoding_format", base64_ ? "base64" : "float"},
                                {"dimensions", dimensions_},
                                {"pooling", "last"},
                                {"normalized", true}}},
                              {"ignored", ignored_}}}}));
}

}  // namespace revenant
