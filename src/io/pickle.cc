#include "io/pickle.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <unordered_map>

#include "base/place.h"

namespace revenant::pickle {
namespace {

constexpr size_t max_bytes = 16 << 20, max_values = 1 << 20, max_marks = 1000, max_name = 200;

const char* const ordered_dict = "collections OrderedDict";
const char* const rebuild_tensor = "torch._utils _rebuild_tensor_v2";
const char* const rebuild_parameter = "torch._utils _rebuild_parameter";

// For messages; source: CPython's pickletools.py.
const std::map<uint8_t, const char*> forbidden = {{'0', "POP"},
                                                  {'1', "POP_MARK"},
                                                  {'2', "DUP"},
                                                  {'B', "BINBYTES"},
                                                  {'C', "SHORT_BINBYTES"},
                                                  {'F', "FLOAT"},
                                                  {'G', "BINFLOAT"},
                                                  {'I', "INT"},
                                                  {'L', "LONG"},
                                                  {'P', "PERSID"},
                                                  {'S', "STRING"},
                                                  {'T', "BINSTRING"},
                                                  {'U', "SHORT_BINSTRING"},
                                                  {'V', "UNICODE"},
                                                  {'d', "DICT"},
                                                  {'g', "GET"},
                                                  {'i', "INST"},
                                                  {'l', "LIST"},
                                                  {'o', "OBJ"},
                                                  {'p', "PUT"},
                                                  {0x81, "NEWOBJ"},
                                                  {0x82, "EXT1"},
                                                  {0x83, "EXT2"},
                                                  {0x84, "EXT4"},
                                                  {0x8b, "LONG4"},
                                                  {0x8c, "SHORT_BINUNICODE"},
                                                  {0x8d, "BINUNICODE8"},
                                                  {0x8e, "BINBYTES8"},
                                                  {0x8f, "EMPTY_SET"},
                                                  {0x90, "ADDITEMS"},
                                                  {0x91, "FROZENSET"},
                                                  {0x92, "NEWOBJ_EX"},
                                                  {0x93, "STACK_GLOBAL"},
                                                  {0x94, "MEMOIZE"},
                                                  {0x95, "FRAME"},
                                                  {0x96, "BYTEARRAY8"},
                                                  {0x97, "NEXT_BUFFER"},
                                                  {0x98, "READONLY_BUFFER"}};

bool allowed(const std::string& global) {
  return global == ordered_dict || global == rebuild_tensor || global == rebuild_parameter ||
         storage_type(global);
}

class Machine {
 public:
  Machine(std::string_view bytes, Place place) : bytes_(bytes), place_(std::move(place)) {}
  Pickle run();

 private:
  [[noreturn]] void fail(const std::string& message) const {
    (place_ / ("byte " + std::to_string(start_))).fail(message);
  }
  void require(bool condition, const char* message) const {
    if (!condition) fail(message);
  }

  // The bytes.
  std::string_view take(size_t n);
  uint64_t take_unsigned(size_t n);
  std::string take_line();
  int64_t take_long();

  // The stack; marks_ are heights of it.
  void push(Id id) { stack_.push_back(id); }
  void push(Value value);
  void push_integer(int64_t n) { push(Value{Kind::integer, n, {}, {}}); }
  Id pop();
  Value& top(Kind kind, const char* message);
  void push_mark();
  std::vector<Id> pop_to_mark();
  void push_tuple(size_t n);

  void memoize(uint64_t slot);
  void recall(uint64_t slot);
  void step(uint8_t opcode);
  void push_global();
  void set_items(const std::vector<Id>& items);
  void push_storage();
  void reduce();
  void build();

  std::string_view bytes_;
  Place place_;
  size_t position_ = 0, start_ = 0;  // start_: of the current opcode
  std::vector<Value> values_;
  std::vector<Id> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, Id> memo_;
};

std::string_view Machine::take(size_t n) {
  require(n <= bytes_.size() - position_, "the pickle ends too early");
  const auto part = bytes_.substr(position_, n);
  position_ += n;
  return part;
}

uint64_t Machine::take_unsigned(size_t n) {
  uint64_t value = 0;
  std::memcpy(&value, take(n).data(), n);
  return value;
}

std::string Machine::take_line() {
  const size_t end = bytes_.substr(position_, max_name).find('\n');
  require(end != std::string_view::npos, "GLOBAL: a name without an end");
  const std::string line(take(end));
  take(1);
  return line;
}

// LONG1: a length and little-endian two's complement.
int64_t Machine::take_long() {
  const size_t n = take_unsigned(1);
  require(n <= 8, "LONG1: a number beyond 64 bits");
  const uint64_t bits = take_unsigned(n);
  const int shift = int(64 - 8 * n);
  return n == 0 ? 0 : int64_t(bits << shift) >> shift;
}

void Machine::push(Value value) {
  require(values_.size() < max_values, "too many values");
  values_.push_back(std::move(value));
  push(Id(values_.size() - 1));
}

Id Machine::pop() {
  require(stack_.size() > (marks_.empty() ? 0 : marks_.back()), "the stack is empty");
  const Id id = stack_.back();
  stack_.pop_back();
  return id;
}

Value& Machine::top(Kind kind, const char* message) {
  const Id id = pop();
  push(id);
  require(values_[id].kind == kind, message);
  return values_[id];
}

void Machine::push_mark() {
  require(marks_.size() < max_marks, "too many MARKs");
  marks_.push_back(stack_.size());
}

std::vector<Id> Machine::pop_to_mark() {
  require(!marks_.empty(), "no MARK");
  std::vector<Id> items(stack_.begin() + ptrdiff_t(marks_.back()), stack_.end());
  stack_.resize(marks_.back());
  marks_.pop_back();
  return items;
}

void Machine::push_tuple(size_t n) {
  std::vector<Id> items(n);
  for (size_t i = n; i > 0; --i) items[i - 1] = pop();
  push(Value{Kind::tuple, 0, {}, items});
}

void Machine::memoize(uint64_t slot) {
  const Id id = pop();
  push(id);
  memo_[slot] = id;
}

void Machine::recall(uint64_t slot) {
  const auto found = memo_.find(slot);
  require(found != memo_.end(), "a memo slot that was never set");
  push(found->second);
}

void Machine::push_global() {
  const std::string module = take_line(), name = module + ' ' + take_line();
  if (!allowed(name)) fail("GLOBAL " + name + " is not allowed");
  push(Value{Kind::global, 0, name, {}});
}

void Machine::set_items(const std::vector<Id>& items) {
  require(items.size() % 2 == 0, "SETITEMS: a key without a value");
  auto& dict = top(Kind::dict, "SETITEMS on what is no dictionary");
  dict.items.insert(dict.items.end(), items.begin(), items.end());
}

// ("storage", type, key, location, elements) or, in the old form, one more: a view, which is None.
void Machine::push_storage() {
  const std::vector<Id>& fields = top(Kind::tuple, "BINPERSID of what is no tuple").items;
  pop();
  const auto is = [&](size_t i, Kind kind) { return values_[fields[i]].kind == kind; };
  const bool good = (fields.size() == 5 || (fields.size() == 6 && is(5, Kind::none))) &&
                    is(0, Kind::text) && values_[fields[0]].text == "storage" &&
                    is(1, Kind::global) && storage_type(values_[fields[1]].text) &&
                    is(2, Kind::text) && is(4, Kind::integer) && values_[fields[4]].number >= 0;
  require(good, "BINPERSID: not a storage");
  push(Value{Kind::storage, values_[fields[4]].number, values_[fields[2]].text, {fields[1]}});
}

void Machine::reduce() {
  const std::vector<Id>& arguments = top(Kind::tuple, "REDUCE: arguments are no tuple").items;
  pop();
  const std::string& function = top(Kind::global, "REDUCE of what is no GLOBAL").text;
  pop();
  if (function == ordered_dict && arguments.empty()) {
    push(Value{Kind::dict, 0, {}, {}});
  } else if (function == rebuild_tensor && arguments.size() == 6) {
    // storage, offset, size, stride; requires_grad and hooks say nothing of the numbers
    push(Value{Kind::tensor, 0, {}, {arguments.begin(), arguments.begin() + 4}});
  } else if (function == rebuild_parameter && arguments.size() == 3) {
    push(arguments[0]);
  } else {
    fail("REDUCE: cannot apply " + function);
  }
}

// An OrderedDict's attributes (`_metadata` of a state_dict) hold nothing of the tensors.
void Machine::build() {
  top(Kind::dict, "BUILD with what is no dictionary");
  pop();
  top(Kind::dict, "BUILD of what is no dictionary");
}

// One line an opcode:
// clang-format off
void Machine::step(uint8_t opcode) {
  switch (opcode) {
    case 0x80: return require(take_unsigned(1) == 2, "PROTO: a protocol other than 2");
    case '(': return push_mark();
    case ')': return push_tuple(0);
    case 0x85: return push_tuple(1);
    case 0x86: return push_tuple(2);
    case 0x87: return push_tuple(3);
    case 't': return push(Value{Kind::tuple, 0, {}, pop_to_mark()});
    case 'N': return push(Value{});
    case 0x88: return push(Value{Kind::boolean, 1, {}, {}});
    case 0x89: return push(Value{Kind::boolean, 0, {}, {}});
    case 'K': return push_integer(int64_t(take_unsigned(1)));
    case 'M': return push_integer(int64_t(take_unsigned(2)));
    case 'J': return push_integer(int32_t(take_unsigned(4)));
    case 0x8a: return push_integer(take_long());
    case 'X': return push(Value{Kind::text, 0, std::string(take(take_unsigned(4))), {}});
    case '}': return push(Value{Kind::dict, 0, {}, {}});
    case ']': return push(Value{Kind::list, 0, {}, {}});
    case 'q': return memoize(take_unsigned(1));
    case 'r': return memoize(take_unsigned(4));
    case 'h': return recall(take_unsigned(1));
    case 'j': return recall(take_unsigned(4));
    case 'c': return push_global();
    case 'u': return set_items(pop_to_mark());
    case 's': {
      const Id value = pop(), key = pop();
      return set_items({key, value});
    }
    case 'a': {
      const Id item = pop();
      return top(Kind::list, "APPEND to what is no list").items.push_back(item);
    }
    case 'e': {
      const auto items = pop_to_mark();
      auto& list = top(Kind::list, "APPENDS to what is no list").items;
      list.insert(list.end(), items.begin(), items.end());
      return;
    }
    case 'Q': return push_storage();
    case 'R': return reduce();
    case 'b': return build();
    default: break;
  }
  const auto name = forbidden.find(opcode);
  fail(std::string("opcode ") +
       (name == forbidden.end() ? std::to_string(opcode) : std::string(name->second)) +
       " is not allowed");
}
// clang-format on

Pickle Machine::run() {
  require(bytes_.size() <= max_bytes, "the pickle is too long");
  for (;;) {
    start_ = position_;
    const auto opcode = uint8_t(take_unsigned(1));
    if (opcode == '.') break;
    step(opcode);
  }
  require(stack_.size() == 1 && marks_.empty(), "STOP: not exactly one value is left");
  return {std::move(values_), stack_[0], position_};
}

}  // namespace

std::optional<DType> storage_type(const std::string& global) {
  static const std::map<std::string, DType> types = {
      {"torch FloatStorage", DType::f32},     {"torch HalfStorage", DType::f16},
      {"torch BFloat16Storage", DType::bf16}, {"torch DoubleStorage", DType::f64},
      {"torch LongStorage", DType::i64},      {"torch IntStorage", DType::i32},
      {"torch ShortStorage", DType::i16},     {"torch CharStorage", DType::i8},
      {"torch ByteStorage", DType::u8},       {"torch BoolStorage", DType::boolean}};
  const auto found = types.find(global);
  if (found == types.end()) return std::nullopt;
  return found->second;
}

Pickle read(std::string_view bytes, const std::string& subject) {
  return Machine(bytes, {"pickle", subject}).run();
}

}  // namespace revenant::pickle
