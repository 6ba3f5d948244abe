#include "client/events.h"

#include "base/json.h"

namespace revenant {

void EventReader::push(std::string_view bytes,
                       const std::function<void(const std::string&)>& event) {
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    line_ += bytes.substr(0, end);
    if (line_.size() + data_.size() > most_)
      throw NoEvents("expected events of at most " + std::to_string(most_) + " bytes, found more");
    if (end == bytes.npos) return;
    bytes.remove_prefix(end + 1);
    line(event);
  }
}

// One is whole. An empty one ends an event.
void EventReader::line(const std::function<void(const std::string&)>& event) {
  std::string line = std::exchange(line_, "");
  if (line.ends_with('\r')) line.pop_back();
  if (line.find('\r') != line.npos)
    throw NoEvents("expected lines that end in LF or CR LF, found a CR alone");
  if (line.empty()) {
    const std::string data = std::exchange(data_, "");
    if (std::exchange(has_data_, false)) event(data);
    return;
  }
  const size_t colon = line.find(':');
  const std::string field = line.substr(0, colon);
  if (colon == 0 || field == "event" || field == "id" || field == "retry") return;
  if (field != "data")
    throw NoEvents("expected a field of an event (data, event, id, retry), found " + shown(line));
  std::string value = colon == line.npos ? "" : line.substr(colon + 1);
  if (value.starts_with(' ')) value.erase(0, 1);
  data_ += (has_data_ ? "\n" : "") + value;
  has_data_ = true;
}

}  // namespace revenant
