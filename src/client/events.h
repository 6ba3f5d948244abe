// Server-sent events (WHATWG HTML, section 9.2), read as strictly as OpenAI's servers write them.
#pragma once

#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace revenant {

struct NoEvents : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Bytes in, in pieces of any size; the data of each event out. Lines end in LF or CR LF; a field is
// data, event, id or retry; comments are passed over. Throws NoEvents on all else, and on an event
// of more than `most` bytes.
class EventReader {
 public:
  explicit EventReader(size_t most = size_t(16) << 20) : most_(most) {}

  void push(std::string_view bytes, const std::function<void(const std::string& data)>& event);
  bool between() const { return line_.empty() && !has_data_; }  // no event has begun

 private:
  void line(const std::function<void(const std::string& data)>& event);

  const size_t most_;
  std::string line_, data_;
  bool has_data_ = false;
};

}  // namespace revenant
