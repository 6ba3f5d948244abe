// Context-free grammars over bytes, read byte by byte: what may still follow.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <map>
#include <string_view>
#include <vector>

namespace revenant {

using ByteSet = std::bitset<256>;
ByteSet bytes_between(int first, int last);
ByteSet bytes_of(std::string_view some);

// Rules are lists of alternatives, each a sequence of sets of bytes and of rules. No rule may begin
// with itself.
class Grammar {
 public:
  struct Symbol {
    bool rule;  // or a set
    uint32_t index;
  };
  using Sequence = std::vector<Symbol>;

  uint32_t add_rule();  // empty so far: nothing matches it
  void add(uint32_t rule, const Sequence& sequence);
  Symbol set(const ByteSet& bytes);
  static Symbol use(uint32_t rule) { return {true, rule}; }
  Sequence text(std::string_view exactly);
  size_t size() const { return elements_.size(); }
  // Every rule can be matched to its end, and none begins with itself.
  bool sound() const;

 private:
  friend class Matcher;
  std::vector<bool> rules_where(bool may_be_empty) const;
  struct Element {
    enum Kind : uint8_t { set, rule, end } kind;
    uint32_t index;
  };
  std::vector<Element> elements_;             // sequences, each with its end
  std::vector<std::vector<uint32_t>> rules_;  // where the alternatives of each begin
  std::vector<ByteSet> sets_;
};

// The states of reading, made as they are met. A state is a set of stacks of places in the grammar.
// Nesting beyond `most_levels` is as if the grammar did not have it.
class Matcher {
 public:
  using State = int;
  static constexpr State none = -1;

  Matcher(Grammar grammar, uint32_t start);
  State start() const { return 0; }
  State after(State state, uint8_t byte);  // none: the byte may not come there
  bool complete(State state) const { return states_[size_t(state)].complete; }
  size_t states() const { return states_.size(); }

 private:
  using Stack = std::vector<uint32_t>;
  struct Known {
    std::vector<Stack> stacks;  // each with a set of bytes on top
    bool complete = false;
    std::array<State, 256> next;  // unknown, until it is asked for
  };
  static constexpr State unknown = -2;
  static constexpr size_t most_levels = 200, most_stacks = 4096, most_states = 200'000;

  void expand(Stack stack, std::vector<Stack>& stacks, bool& complete) const;
  State known(std::vector<Stack> stacks, bool complete);

  const Grammar grammar_;
  std::vector<Known> states_;
  std::map<std::pair<bool, std::vector<Stack>>, State> by_stacks_;
};

}  // namespace revenant
