#include "triples/triple.h"

#include <algorithm>

namespace revenant {

using nlohmann::json;

namespace {

// By a name that the reader takes for nothing else than a file's.
std::string name_of(const Path& file, const Path& folder) {
  const Path near = std::filesystem::proximate(file, folder.empty() ? Path(".") : folder);
  const std::string name = near.string();
  for (const char* other : {"data:", "http:", "https:", "~"})
    if (name.starts_with(other)) return "./" + name;
  return name;
}

json shown_by(const Picture& picture, const Path& folder) {
  return picture.inside ? data_uri_of(picture) : name_of(picture.file, folder);
}

json conversation_of(const Row& row) {
  json messages = json::array();
  const auto say = [&](const char* from, const std::string& value) {
    messages.push_back({{"from", from}, {"value", value}});
  };
  say("human", row.question), say("gpt", row.answer);
  for (const Exchange& turn : row.later) say("human", turn.question), say("gpt", turn.answer);
  return messages;
}

}  // namespace

json triple_of(const Row& row, const std::string& rejected, const Path& folder) {
  json triple = {{"rejected", rejected}};
  if (row.later.empty())
    triple["question"] = row.question, triple["answer"] = row.answer;
  else
    triple["conversations"] = conversation_of(row);
  for (const auto& [key, value] :
       {std::pair("id", &row.id), std::pair("task", &row.task), std::pair("split", &row.split),
        std::pair("wording", &row.wording), std::pair("source", &row.source)})
    if (!value->empty()) triple[key] = *value;
  for (const Picture& picture : row.images) triple["images"].push_back(shown_by(picture, folder));
  return triple;
}

}  // namespace revenant
