#include "text/prompt.h"

#include <algorithm>

#include "base/error.h"
#include "text/unicode.h"

namespace revenant {
namespace {

std::string trol_system(const std::string& begin, const std::string& end) {
  return begin +
         "You are AI model created by Byung-Kwan Lee, Ph.D. candidate, KAIST EE, of which AI model "
         "name is TroL (Traversal of Layers). You must give helpful, detailed, and polite answers "
         "to the user's questions" +
         end + "\n";
}

PromptRule phantom_im(PromptFamily family) {
  return {.family = family,
          .name = name_of(family),
          .system = "",
          .user_begin = "<|im_start|>user\n",
          .user_end = "<|im_end|>",
          .assistant_begin = "<|im_start|>assistant\n",
          .answer_end = "<|im_end|>",
          .turn_gap = "",
          .picture_begin = "<img>",
          .picture_end = "</img>",
          .context_token = "<IMG_CONTEXT>",
          .after_pictures = "",
          .stop_tokens = {"<|im_end|>"},
          .answer_begin_mark = "assistant\n",
          .answer_end_mark = "<|im_end|>"};
}

PromptRule phantom_phi3() {
  PromptRule rule = phantom_im(PromptFamily::phantom_phi3);
  rule.user_begin = "<|user|>\n";
  rule.assistant_begin = rule.answer_begin_mark = "<|assistant|>\n";
  rule.user_end = rule.answer_end = rule.answer_end_mark = "<|end|>";
  rule.stop_tokens = {"<|end|>"};
  return rule;
}

PromptRule trol(PromptRule rule, PromptFamily family) {
  rule.family = family;
  rule.name = name_of(family);
  rule.answer_end += "\n</s>";
  rule.turn_gap = rule.after_pictures = "\n";
  rule.stop_tokens = {"</s>"};
  rule.trol = true;
  return rule;
}

PromptRule trol_phi3() {
  PromptRule rule = trol(phantom_phi3(), PromptFamily::trol_phi3);
  rule.system = trol_system("<s><|system|>\n", "<|end|>");
  return rule;
}

PromptRule trol_internlm2() {
  PromptRule rule = trol(phantom_im(PromptFamily::phantom_internlm2), PromptFamily::trol_internlm2);
  rule.system = trol_system("<s>[UNUSED_TOKEN_146]system\n", "[UNUSED_TOKEN_145]");
  rule.user_begin = "[UNUSED_TOKEN_146]user\n";
  rule.assistant_begin = "[UNUSED_TOKEN_146]assistant\n";
  rule.user_end = rule.answer_end_mark = "[UNUSED_TOKEN_145]";
  rule.answer_end = "[UNUSED_TOKEN_145]\n</s>";
  rule.picture_begin = rule.picture_end = "";
  rule.context_token = image_mark;
  rule.appends_context = true;
  return rule;
}

Piece template_piece(const std::string& text) { return {Piece::template_text, text, 0, false}; }

int picture_tokens(std::span<const int> tokens_per_picture, int picture) {
  CHECK(picture >= 0 && size_t(picture) < tokens_per_picture.size());
  CHECK(tokens_per_picture[size_t(picture)] > 0);
  return tokens_per_picture[size_t(picture)];
}

// The prompt as one text: every picture with one context token, where those stand, and which
// ranges may hold special tokens.
struct Script {
  std::string text;
  std::vector<std::pair<size_t, size_t>> trusted;
  std::vector<std::pair<size_t, int>> pictures;  // offset of the context token, picture index
  std::vector<size_t> begins;                    // of each piece, and the end of the last
};

void trust_tail(Script& script, size_t begin) {
  if (begin == script.text.size()) return;
  if (!script.trusted.empty() && script.trusted.back().second == begin)
    script.trusted.back().second = script.text.size();
  else
    script.trusted.push_back({begin, script.text.size()});
}

Script script_of(const PromptRule& rule, std::span<const Piece> pieces) {
  Script script;
  for (const Piece& piece : pieces) {
    const size_t begin = script.text.size();
    script.begins.push_back(begin);
    if (piece.kind == Piece::plain) {
      script.text += repaired(piece.text);
    } else if (piece.kind == Piece::template_text) {
      script.text += piece.text;
    } else {
      script.pictures.push_back({begin + rule.picture_begin.size(), piece.picture_index});
      script.text += rule.picture_begin + rule.context_token + rule.picture_end;
    }
    if (piece.kind != Piece::plain) trust_tail(script, begin);
  }
  script.begins.push_back(script.text.size());
  return script;
}

// How many tokens the text before a cut has when it is tokenised alone. An added token that ends
// before the cut stays what it is in the whole text, and nothing before it depends on what follows:
// so only what comes after the last such token is tokenised anew. Cuts ascend.
class PrefixLengths {
 public:
  PrefixLengths(const Tokenizer& tokenizer, const Script& script, std::span<const int> per_picture)
      : tokenizer_(tokenizer),
        script_(script),
        per_picture_(per_picture),
        parts_(tokenizer.encode_parts(script.text, script.trusted)) {}

  int before(size_t cut) {
    for (; next_ < parts_.size() && end_of(next_) <= cut; ++next_) {
      passed_ += tokens_of(parts_[next_], 0);
      if (!has_a_place(next_)) continue;
      settled_ = passed_;
      from_ = parts_[next_].begin;
      anchored_ = true;
    }
    int tokens = settled_;
    const auto parts = tokenizer_.encode_parts(
        std::string_view(script_.text).substr(from_, cut - from_), trusted(from_, cut));
    for (size_t i = anchored_; i < parts.size(); ++i) tokens += tokens_of(parts[i], from_);
    return tokens;
  }

 private:
  size_t end_of(size_t part) const {
    return part + 1 < parts_.size() ? parts_[part + 1].begin : script_.text.size();
  }
  // An added token that was found in normalised text shares its offset with its neighbours.
  bool has_a_place(size_t part) const {
    const size_t begin = parts_[part].begin;
    return parts_[part].added && end_of(part) > begin &&
           (part == 0 || parts_[part - 1].begin < begin);
  }
  int tokens_of(const TokenPart& part, size_t from) const {
    const auto& pictures = script_.pictures;
    const auto picture =
        std::ranges::lower_bound(pictures, part.begin + from, {}, &std::pair<size_t, int>::first);
    const bool shown = picture != pictures.end() && picture->first == part.begin + from;
    return int(part.ids.size()) * (shown ? picture_tokens(per_picture_, picture->second) : 1);
  }
  std::vector<std::pair<size_t, size_t>> trusted(size_t begin, size_t end) const {
    std::vector<std::pair<size_t, size_t>> ranges;
    auto range =
        std::ranges::upper_bound(script_.trusted, begin, {}, &std::pair<size_t, size_t>::second);
    for (; range != script_.trusted.end() && range->first < end; ++range)
      ranges.push_back(
          {std::max(range->first, begin) - begin, std::min(range->second, end) - begin});
    return ranges;
  }

  const Tokenizer& tokenizer_;
  const Script& script_;
  std::span<const int> per_picture_;
  std::vector<TokenPart> parts_;
  size_t next_ = 0, from_ = 0;
  int passed_ = 0, settled_ = 0;  // tokens of the parts gone through; of those up to the anchor
  bool anchored_ = false;
};

// question_of(turn, pictures so far) makes the pieces of a question.
template <class F>
std::vector<Piece> talk(const PromptRule& rule, std::span<const Turn> turns, F question_of) {
  std::vector<Piece> pieces;
  if (!rule.system.empty()) pieces.push_back(template_piece(rule.system));
  int picture = 0;
  for (const Turn& turn : turns) {
    const bool last = &turn == &turns.back();
    CHECK(last || !turn.answer.empty());
    const auto parts = turn_pieces(rule, question_of(turn, picture), turn.answer);
    pieces.insert(pieces.end(), parts.begin(), parts.end());
    if (!last && !rule.turn_gap.empty()) pieces.push_back(template_piece(rule.turn_gap));
  }
  return pieces;
}

}  // namespace

std::span<const PromptRule> prompt_rules() {
  static const std::vector<PromptRule> rules = {phantom_im(PromptFamily::phantom_qwen2),
                                                phantom_im(PromptFamily::phantom_internlm2),
                                                phantom_phi3(), trol_internlm2(), trol_phi3()};
  return rules;
}

const PromptRule& prompt_rule(PromptFamily family) {
  const auto rules = prompt_rules();
  return *std::ranges::find(rules, family, &PromptRule::family);
}

Tokenizer tokenizer_for(const PromptRule& rule, const Tokenizer& tokenizer) {
  const Tokenizer fitted =
      rule.appends_context ? tokenizer.with_token(rule.context_token) : tokenizer;
  std::vector<std::string> needed = rule.stop_tokens;
  needed.insert(needed.end(), {rule.context_token, rule.picture_begin, rule.picture_end});
  for (const std::string& token : needed)
    if (!token.empty() && fitted.id_of(token) < 0)
      throw Error("prompt", rule.name, "a tokenizer with '" + token + "'", "one without");
  return fitted;
}

void check_fit(const PromptRule& rule, const Tokenizer& tokenizer, int context_id, int rows,
               const std::string& subject) {
  const int found = tokenizer.id_of(rule.context_token);
  if (context_id >= 0 && found != context_id)
    throw Error("model", subject + ": " + rule.context_token,
                "id " + std::to_string(context_id) + " of config.json",
                "id " + std::to_string(found) + " in the tokenizer");
  if (tokenizer.size() > rows)
    throw Error("model", subject + ": tokenizer", "at most " + std::to_string(rows) + " tokens",
                std::to_string(tokenizer.size()));
}

std::vector<int32_t> stop_ids(const PromptRule& rule, const Tokenizer& tokenizer) {
  std::vector<int32_t> ids;
  for (const std::string& token : rule.stop_tokens) ids.push_back(tokenizer.id_of(token));
  return ids;
}

std::vector<Piece> turn_pieces(const PromptRule& rule, std::vector<Piece> question,
                               const std::string& answer) {
  std::vector<Piece> pieces = {template_piece(rule.user_begin)};
  pieces.insert(pieces.end(), question.begin(), question.end());
  pieces.push_back(template_piece(rule.user_end + rule.turn_gap + rule.assistant_begin));
  if (answer.empty()) return pieces;
  pieces.push_back({Piece::plain, answer, 0, true});
  pieces.push_back({Piece::template_text, rule.answer_end, 0, true});
  return pieces;
}

std::vector<Piece> chat_pieces(const PromptRule& rule, std::span<const Turn> turns) {
  return talk(rule, turns, [&](const Turn& turn, int& picture) {
    std::vector<Piece> question;
    for (int i = 0; i < turn.pictures; ++i)
      question.push_back({Piece::picture, "", picture++, false});
    if (turn.pictures > 0 && !rule.after_pictures.empty())
      question.push_back(template_piece(rule.after_pictures));
    question.push_back({Piece::plain, turn.question, 0, false});
    return question;
  });
}

std::vector<Piece> row_pieces(const PromptRule& rule, std::span<const Turn> turns) {
  return talk(rule, turns, [&](const Turn& turn, int& picture) {
    std::vector<Piece> question;
    bool pictures_only = true;
    for (Piece& piece : split_image_marks(turn.question)) {
      if (piece.kind == Piece::picture) {
        piece.picture_index = picture++;
      } else if (pictures_only && !question.empty()) {
        piece.text.erase(0, std::min(piece.text.find_first_not_of("\r\n"), piece.text.size()));
        if (piece.text.empty()) continue;
        if (!rule.after_pictures.empty()) question.push_back(template_piece(rule.after_pictures));
      }
      pictures_only = pictures_only && piece.kind == Piece::picture;
      question.push_back(std::move(piece));
    }
    return question;
  });
}

std::vector<Piece> split_image_marks(std::string_view text, Piece::Kind kind) {
  std::vector<Piece> pieces;
  int picture = 0;
  for (size_t at; (at = text.find(image_mark)) != text.npos;) {
    if (at > 0) pieces.push_back({kind, std::string(text.substr(0, at)), 0, false});
    pieces.push_back({Piece::picture, "", picture++, false});
    text.remove_prefix(at + image_mark.size());
  }
  if (!text.empty()) pieces.push_back({kind, std::string(text), 0, false});
  return pieces;
}

EncodedPrompt encode_prompt(const Tokenizer& tokenizer, const PromptRule& rule,
                            std::span<const Piece> pieces,
                            std::span<const int> tokens_per_picture) {
  const Script script = script_of(rule, pieces);
  EncodedPrompt prompt;
  size_t picture = 0;
  for (const TokenPart& part : tokenizer.encode_parts(script.text, script.trusted)) {
    size_t copies = 1;
    if (picture < script.pictures.size() && part.begin == script.pictures[picture].first) {
      CHECK(part.added);  // tokenizer_for makes sure of it
      copies = size_t(picture_tokens(tokens_per_picture, script.pictures[picture++].second));
      const int begin = int(prompt.ids.size());
      prompt.picture_spans.push_back({begin, begin + int(copies)});
    }
    for (; copies > 0; --copies)
      prompt.ids.insert(prompt.ids.end(), part.ids.begin(), part.ids.end());
  }
  CHECK(picture == script.pictures.size());
  return prompt;
}

std::vector<std::pair<int, int>> answer_spans(const Tokenizer& tokenizer, const PromptRule& rule,
                                              std::span<const Piece> pieces,
                                              std::span<const int> tokens_per_picture) {
  const Script script = script_of(rule, pieces);
  PrefixLengths lengths(tokenizer, script, tokens_per_picture);
  std::vector<std::pair<int, int>> spans;
  for (size_t i = 0; i < pieces.size();) {
    size_t j = i;
    while (j < pieces.size() && pieces[j].answer) ++j;
    if (j > i) {
      const int begin = lengths.before(script.begins[i]);
      spans.push_back({begin, lengths.before(script.begins[j])});
    }
    i = std::max(j, i + 1);
  }
  return spans;
}

std::string prompt_text(const PromptRule& rule, std::span<const Piece> pieces,
                        std::span<const int> tokens_per_picture) {
  std::string text;
  for (const Piece& piece : pieces) {
    if (piece.kind != Piece::picture) {
      text += piece.text;
      continue;
    }
    text += rule.picture_begin;
    for (int i = picture_tokens(tokens_per_picture, piece.picture_index); i > 0; --i)
      text += rule.context_token;
    text += rule.picture_end;
  }
  return text;
}

std::string filter_output(const PromptRule& rule, std::string_view decoded) {
  const size_t begin = decoded.rfind(rule.answer_begin_mark);
  if (begin != decoded.npos) decoded.remove_prefix(begin + rule.answer_begin_mark.size());
  const std::string valid = repaired(decoded.substr(0, decoded.find(rule.answer_end_mark)));
  return std::string(strip(valid));
}

}  // namespace revenant
