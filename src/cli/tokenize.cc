// revenant tokenize: text to ids and back, a line at a time.
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "base/json.h"
#include "cli/commands.h"
#include "cli/program.h"
#include "store/model_files.h"
#include "text/tokenizer.h"

namespace revenant {
namespace {

using nlohmann::json;
using Ids = std::vector<int32_t>;

struct Args {
  Path directory;
  bool as_json = false, special = false, decode = false, pieces = false;
};

// Where we are in the input, for messages.
struct Line {
  std::string text;
  size_t number = 0;
  std::string subject() const { return "line " + std::to_string(number) + " of the input"; }
};

int32_t id_from(const json& value, const Line& line) {
  const bool fits = value.is_number_integer() && value >= 0 && value <= INT32_MAX;
  if (!fits) throw Error("tokenize", line.subject(), "ids", json_text(value));
  return value.get<int32_t>();
}

Ids parse_ids(const Line& line, bool as_json) {
  std::string text = line.text;
  if (!as_json) {
    std::istringstream words(line.text);
    text.clear();
    for (std::string word; words >> word;) text += (text.empty() ? "" : ",") + word;
    text = "[" + text + "]";
  }
  const json list = parse_json(text, {"tokenize", line.subject()});
  if (!list.is_array())
    throw Error("tokenize", line.subject(), "an array of ids", list.type_name());
  Ids ids;
  for (const json& value : list) ids.push_back(id_from(value, line));
  return ids;
}

Ids known(const Ids& ids, const Tokenizer& tokenizer, const Line& line) {
  for (const int32_t id : ids)
    if (tokenizer.token_of(id).empty())
      throw Error("tokenize", line.subject(),
                  "ids of this vocabulary (size " + std::to_string(tokenizer.size()) + ")",
                  std::to_string(id));
  return ids;
}

std::string parse_text(const Line& line, bool as_json) {
  if (!as_json) return line.text;
  const json text = parse_json(line.text, {"tokenize", line.subject()});
  if (!text.is_string()) throw Error("tokenize", line.subject(), "a string", text.type_name());
  return text.get<std::string>();
}

std::string ids_text(const Ids& ids, bool as_json) {
  std::string text;
  for (const int32_t id : ids)
    text += (text.empty() ? "" : as_json ? "," : " ") + std::to_string(id);
  return as_json ? "[" + text + "]" : text;
}

std::string pieces_text(const Tokenizer& tokenizer, const Ids& ids) {
  json pieces = json::array();
  for (const int32_t id : ids) pieces.push_back(std::string(tokenizer.token_of(id)));
  return json_text(pieces);
}

std::string answer(const Tokenizer& tokenizer, const Args& args, const Line& line) {
  if (args.decode) {
    const Ids ids = known(parse_ids(line, args.as_json), tokenizer, line);
    const std::string text = tokenizer.decode(ids, args.special);
    return args.as_json ? json_text(text) : text;
  }
  const Ids ids = tokenizer.encode(parse_text(line, args.as_json),
                                   args.special ? Specials::as_tokens : Specials::as_text);
  return args.pieces ? pieces_text(tokenizer, ids) : ids_text(ids, args.as_json);
}

void tokenize(const Args& args) {
  const Tokenizer tokenizer = Tokenizer::open(small_files_of(args.directory));
  for (Line line; std::getline(std::cin, line.text);) {
    ++line.number;
    const std::string out = answer(tokenizer, args, line) + "\n";
    std::fwrite(out.data(), 1, out.size(), stdout);
    std::fflush(stdout);  // whoever pipes a line in may wait for its answer
  }
  if (std::cin.bad() || std::ferror(stdin)) throw Error("tokenize", "stdin", "cannot read");
}

}  // namespace

void add_tokenize(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* command = app.add_subcommand("tokenize", "Text to token ids and back, line by line");
  command
      ->add_option("-m,--model", args->directory,
                   "directory with the tokenizer's files, or a GGUF file")
      ->required()
      ->transform(at_home);
  command->add_flag("--json", args->as_json,
                    "a JSON string a line in, a JSON array of ids a line out");
  command->add_flag("--special", args->special,
                    "special tokens in the text count as such; with --decode: they are shown");
  CLI::Option* decode = command->add_flag("--decode", args->decode, "the other way: ids to text");
  command->add_flag("--pieces", args->pieces, "the tokens as the files spell them, not their ids")
      ->excludes(decode);
  command->footer("Example: echo '\"Hello\"' | revenant tokenize -m MODEL --json");
  command->callback([args] { tokenize(*args); });
}

}  // namespace revenant
