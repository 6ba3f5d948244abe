#include "text/sentencepiece.h"

#include <bit>
#include <cstdint>

#include "base/error.h"
#include "text/unicode.h"

namespace revenant {
namespace {

// One protobuf message. Every length is checked against what is left.
class Message {
 public:
  Message(std::string_view data, const std::string& file) : data_(data), file_(file) {}

  bool next() {  // the next field: number, and value or bytes
    if (data_.empty()) return false;
    const uint64_t tag = varint();
    field = tag >> 3;
    switch (tag & 7) {
      case 0:
        value = varint();
        break;
      case 1:
        bytes = take(8);
        break;
      case 2:
        bytes = take(varint());
        break;
      case 5:
        bytes = take(4);
        break;
      default:
        fail("a known field type", std::to_string(tag & 7));
    }
    wire = int(tag & 7);
    return true;
  }
  std::string_view text() const {
    if (wire != 2 || !is_utf8(bytes))
      fail("UTF-8 text", "something else in field " + std::to_string(field));
    return bytes;
  }
  Message message() const {
    if (wire != 2) fail("a message", "a number in field " + std::to_string(field));
    return Message(bytes, file_);
  }
  float real() const {
    if (wire != 5) fail("a float", "something else in field " + std::to_string(field));
    uint32_t bits = 0;
    for (int i = 3; i >= 0; --i) bits = bits << 8 | uint8_t(bytes[size_t(i)]);
    return std::bit_cast<float>(bits);
  }
  int number() const {
    if (wire != 0) fail("a number", "something else in field " + std::to_string(field));
    return int(int64_t(value));
  }

  uint64_t field = 0, value = 0;
  int wire = 0;
  std::string_view bytes;

 private:
  [[noreturn]] void fail(const std::string& expected, const std::string& found) const {
    throw Error("tokenizer", file_, expected, found);
  }
  uint64_t varint() {
    uint64_t x = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const uint8_t b = uint8_t(take(1)[0]);
      x |= uint64_t(b & 0x7F) << shift;
      if (b < 0x80) return x;
    }
    fail("a number of at most ten bytes", "a longer one");
  }
  std::string_view take(uint64_t size) {
    if (size > data_.size())
      fail(std::to_string(size) + " more bytes", std::to_string(data_.size()) + " to the end");
    const auto part = data_.substr(0, size);
    data_.remove_prefix(size);
    return part;
  }
  std::string_view data_;
  const std::string& file_;
};

SentencePiece read_piece(Message m) {
  SentencePiece piece;
  while (m.next()) {
    if (m.field == 1) piece.text = m.text();
    if (m.field == 2) piece.score = m.real();
    if (m.field == 3) piece.type = m.number();
  }
  return piece;
}

void read_trainer(Message m, SentencePieceModel& model) {
  while (m.next()) {
    if (m.field == 3) model.model_type = m.number();
    if (m.field == 24) model.spaces_as_suffix = m.number() != 0;
    if (m.field == 35) model.byte_fallback = m.number() != 0;
    if (m.field == 40) model.unknown = m.number();
    if (m.field == 41) model.bos = m.number();
    if (m.field == 42) model.eos = m.number();
  }
}

void read_normaliser(Message m, SentencePieceModel& model) {
  while (m.next()) {
    if (m.field == 2) model.character_map = !m.bytes.empty();
    if (m.field == 3) model.dummy_prefix = m.number() != 0;
    if (m.field == 4) model.remove_extra_spaces = m.number() != 0;
    if (m.field == 5) model.escape_spaces = m.number() != 0;
  }
}

void read_denormaliser(Message m, SentencePieceModel& model) {
  while (m.next())
    if (m.field == 2) model.decoding_map = !m.bytes.empty();
}

}  // namespace

SentencePieceModel read_sentencepiece(std::string_view data, const std::string& file) {
  SentencePieceModel model;
  Message m(data, file);
  while (m.next()) {
    if (m.field == 1) model.pieces.push_back(read_piece(m.message()));
    if (m.field == 2) read_trainer(m.message(), model);
    if (m.field == 3) read_normaliser(m.message(), model);
    if (m.field == 5) read_denormaliser(m.message(), model);
  }
  return model;
}

}  // namespace revenant
