#include "data/row_talk.h"

#include <algorithm>

#include "base/json.h"
#include "text/prompt.h"

namespace revenant {
namespace {

using Json = nlohmann::json;

// How messages name who speaks and what is said.
struct Style {
  const char *from, *value, *user, *assistant;
};
constexpr Style llava = {"from", "value", "human", "gpt"};
constexpr Style openai = {"role", "content", "user", "assistant"};

struct Message {
  Style style;
  At at;
  std::string from, text;
  std::vector<At> pictures;

  Field value() const { return at.field / style.value; }
  bool by_user() const { return from == llava.user || from == openai.user; }
  bool by_assistant() const { return from == llava.assistant || from == openai.assistant; }
  bool by_system() const { return from == "system"; }
  [[noreturn]] void out_of_turn(const char* expected) const {
    (at / style.from).fail("\"" + std::string(expected) + "\"");
  }
};

// The picture of a content part; nothing: it is one of those in the row's own field.
std::optional<At> picture_of(const At& part) {
  for (const char* key : {"image", "image_url", "url", "path"}) {
    if (!part.value->contains(key) || part.value->at(key).is_null()) continue;
    const At value = part / key;
    return value.value->is_object() && value.value->contains("url") ? value / "url" : value;
  }
  return std::nullopt;
}

// A text, or OpenAI's list of content parts; a part that is a picture becomes a mark.
void say(Message& message, const At& content) {
  if (!content.value->is_array()) {
    message.text = content.text();
    return;
  }
  for (size_t i = 0; i < content.value->size(); ++i) {
    const At part = content[i];
    if (!part.value->is_object() || !part.value->contains("type")) part.fail("a part with a type");
    const std::string type = (part / "type").text();
    if (type == "text") {
      if (!part.value->contains("text")) part.fail("a part with text");
      message.text += (part / "text").text();
    } else if (type == "image" || type == "image_url") {
      message.text += image_mark;
      if (const auto picture = picture_of(part)) message.pictures.push_back(*picture);
    } else {
      (part / "type").fail("\"text\", \"image\" or \"image_url\"");
    }
  }
}

Message message_of(const At& at, const Style& usual) {
  const auto is = [&](const Style& style) {
    return at.value->is_object() && at.value->contains(style.from) &&
           at.value->contains(style.value);
  };
  const Style& style = is(llava) ? llava : is(openai) ? openai : usual;
  if (!is(style)) at.fail("{\"" + std::string(style.from) + "\", \"" + style.value + "\"}");
  Message message{style, at, (at / style.from).text(), {}, {}};
  say(message, at / style.value);
  return message;
}

std::vector<Message> messages_of(const At& at, const Style& usual) {
  if (!at.value->is_array()) at.fail("a list");
  std::vector<Message> messages;
  for (size_t i = 0; i < at.value->size(); ++i) messages.push_back(message_of(at[i], usual));
  return messages;
}

// After the marks that the question begins with, which stay in front.
std::string with_system(const std::string& system, const std::string& question) {
  size_t at = 0;
  while (question.compare(at, image_mark.size(), image_mark) == 0)
    at = std::min(question.find_first_not_of("\r\n", at + image_mark.size()), question.size());
  return question.substr(0, at) + system + "\n\n" + question.substr(at);
}

std::string pairs_of(const std::vector<Message>& messages) {
  const Style& style = messages.empty() ? llava : messages.back().style;
  return "pairs of " + std::string(style.user) + " and " + style.assistant;
}

// Questions with their answers; the last one stands in the field `chosen` if that is not empty.
RowTalk turns_of(const At& at, std::vector<Message> messages, const std::string& chosen) {
  const bool open = !chosen.empty();
  RowTalk talk;
  talk.at = at.field;
  const bool system = !messages.empty() && messages.front().by_system();
  const size_t said = messages.size() - system;
  if (said == 0 || said % 2 != open)
    at.field.fail(open ? "a question last, which " + chosen + " answers" : pairs_of(messages),
                  std::to_string(said) + " messages");
  for (size_t i = system; i < messages.size(); ++i) {
    Message& message = messages[i];
    const bool asks = (i - system) % 2 == 0;
    if (asks && !message.by_user()) message.out_of_turn(message.style.user);
    if (!asks && !message.by_assistant()) message.out_of_turn(message.style.assistant);
    talk.pictures.insert(talk.pictures.end(), message.pictures.begin(), message.pictures.end());
    if (asks) {
      talk.turns.push_back({std::move(message.text), ""});
    } else if (!message.pictures.empty()) {
      message.pictures.front().fail("no picture in an answer");
    } else {
      talk.turns.back().answer = std::move(message.text);
      talk.answers.push_back(message.value());
    }
  }
  std::string& first = talk.turns.front().question;
  if (system) first = with_system(messages.front().text, first);
  return talk;
}

// A text, one message of the assistant, or a list of just that.
std::string answer_of(const At& at) {
  if (at.value->is_string()) return at.text();
  const bool list = at.value->is_array();
  if (list && at.value->size() != 1)
    at.field.fail("one message of the assistant", std::to_string(at.value->size()) + " messages");
  const Message message = message_of(list ? at[0] : at, openai);
  if (!message.by_assistant()) message.out_of_turn(message.style.assistant);
  if (!message.pictures.empty()) message.pictures.front().fail("no picture in an answer");
  return message.text;
}

// The one of these fields that the row has, if it has one.
std::optional<At> only_of(const RowFields& row, std::initializer_list<const char*> keys) {
  std::optional<At> found;
  std::string name;
  for (const char* key : keys) {
    const auto value = row.find(key);
    if (found && value)
      value->field.fail("nothing here, where there is " + name, shown(*value->value));
    if (value) found = value, name = value->field.text();
  }
  return found;
}

size_t common_bytes(const std::string& a, const std::string& b) {
  size_t at = size_t(std::ranges::mismatch(a, b).in1 - a.begin());
  while (at > 0 && at < a.size() && (uint8_t(a[at]) & 0xC0) == 0x80) --at;  // whole characters
  return at > 0 && a[at - 1] == ' ' ? at - 1 : at;
}

// TRL's implicit prompt: what both begin with.
RowTalk implicit(const At& chosen, const At& rejected) {
  if (chosen.value->is_string() && rejected.value->is_string()) {
    const std::string a = chosen.text(), b = rejected.text();
    if (a == b) rejected.field.fail("another answer than the chosen one", "the same");
    const size_t common = common_bytes(a, b);
    if (common == 0) chosen.field.fail("the beginning of " + rejected.field.text(), shown(a));
    RowTalk talk{chosen.field,   {{a.substr(0, common), a.substr(common)}},
                 {chosen.field}, b.substr(common),
                 rejected.field, {}};
    return talk;
  }
  std::vector<Message> good = messages_of(chosen, openai), bad = messages_of(rejected, openai);
  const auto said_alike = [](const Message& a, const Message& b) {
    return a.from == b.from && *(a.at / a.style.value).value == *(b.at / b.style.value).value;
  };
  // Also where both answers are the same, the last message is the answer.
  for (const auto& [list, at] : {std::pair(&good, &chosen), std::pair(&bad, &rejected)})
    if (list->size() < 2 || list->size() != good.size() ||
        !std::equal(list->begin(), list->end() - 1, good.begin(), said_alike))
      at->field.fail("a prompt that both answers share, and one answer",
                     std::to_string(list->size()) + " messages");
  const Message& answer = bad.back();
  if (!answer.by_assistant()) answer.out_of_turn(answer.style.assistant);
  RowTalk talk = turns_of(chosen, std::move(good), "");
  talk.rejected = answer.text;
  talk.rejected_at = answer.value();
  return talk;
}

// Of prompt and question: a text, content parts, or messages.
std::vector<Message> asked(const At& at) {
  const Json& value = *at.value;
  const bool parts = value.is_array() && !value.empty() && value[0].is_object() &&
                     value[0].contains("type") && !value[0].contains(openai.from);
  if (value.is_array() && !parts) return messages_of(at, openai);
  Message message{openai, at, openai.user, {}, {}};
  say(message, at);
  return {message};
}

}  // namespace

std::string Field::text() const {
  std::string text;
  for (Pointer rest = pointer_; !rest.empty(); rest.pop_back()) {
    const std::string& step = rest.back();
    const bool index = !step.empty() && step.find_first_not_of("0123456789") == step.npos;
    const std::string dot = rest.parent_pointer().empty() ? "" : ".";
    text.insert(0, index ? "[" + step + "]" : dot + step);
  }
  return text;
}

void At::fail(const std::string& expected) const { field.fail(expected, shown(*value)); }

std::string At::text() const {
  if (!value->is_string()) fail("a string");
  return value->get<std::string>();
}

Field RowFields::field(const char* key) const {
  const auto named = names.find(key);
  return Field() / (named == names.end() ? key : named->second);
}

std::optional<At> RowFields::find(const char* key) const {
  const auto named = names.find(key);
  const std::string name = named == names.end() ? key : named->second;
  const auto found = name.empty() ? json.end() : json.find(name);
  if (found == json.end() || found->is_null()) return std::nullopt;
  return At{Field() / name, &*found};
}

RowTalk read_talk(const RowFields& row) {
  const auto listed = only_of(row, {"conversations", "messages", "prompt", "question"});
  const auto chosen = only_of(row, {"chosen", "answer"});
  const auto rejected = only_of(row, {"rejected", "rejected_response"});
  if (!listed && chosen && rejected) return implicit(*chosen, *rejected);
  if (!listed) row.field("conversations").fail("a list", "null");
  const bool marks_itself = row.find("conversations").has_value();
  const bool spoken = marks_itself || row.find("messages");
  std::vector<Message> messages =
      spoken ? messages_of(*listed, marks_itself ? llava : openai) : asked(*listed);
  if (!spoken && !chosen) row.field("chosen").fail("an answer", "none");
  RowTalk talk = turns_of(*listed, std::move(messages), chosen ? chosen->field.text() : "");
  talk.marks_itself = marks_itself;
  if (chosen) {
    talk.turns.back().answer = answer_of(*chosen);
    talk.answers.push_back(chosen->field);
  }
  if (rejected) {
    talk.rejected = answer_of(*rejected);
    talk.rejected_at = rejected->field;
  }
  return talk;
}

}  // namespace revenant
