#include "serve/grammar.h"

#include <algorithm>

#include "base/error.h"

namespace revenant {

ByteSet bytes_between(int first, int last) {
  ByteSet set;
  for (int b = first; b <= last; ++b) set.set(size_t(b));
  return set;
}

ByteSet bytes_of(std::string_view some) {
  ByteSet set;
  for (const char c : some) set.set(uint8_t(c));
  return set;
}

uint32_t Grammar::add_rule() {
  rules_.emplace_back();
  return uint32_t(rules_.size() - 1);
}

void Grammar::add(uint32_t rule, const Sequence& sequence) {
  rules_.at(rule).push_back(uint32_t(elements_.size()));
  for (const Symbol& symbol : sequence)
    elements_.push_back({symbol.rule ? Element::rule : Element::set, symbol.index});
  elements_.push_back({Element::end, 0});
}

Grammar::Symbol Grammar::set(const ByteSet& bytes) {
  const auto at = std::find(sets_.begin(), sets_.end(), bytes);
  if (at != sets_.end()) return {false, uint32_t(at - sets_.begin())};
  sets_.push_back(bytes);
  return {false, uint32_t(sets_.size() - 1)};
}

Grammar::Sequence Grammar::text(std::string_view exactly) {
  Sequence sequence;
  for (const char c : exactly) sequence.push_back(set(bytes_of({&c, 1})));
  return sequence;
}

// Rules that can be matched: at all, or by nothing.
std::vector<bool> Grammar::rules_where(bool may_be_empty) const {
  std::vector<bool> found(rules_.size());
  const auto matches = [&](uint32_t at) {
    for (; elements_[at].kind != Element::end; ++at)
      if (elements_[at].kind == Element::set ? may_be_empty : !found[elements_[at].index])
        return false;
    return true;
  };
  for (bool more = true; more;) {
    more = false;
    for (size_t rule = 0; rule < rules_.size(); ++rule)
      if (!found[rule] && std::ranges::any_of(rules_[rule], matches)) found[rule] = more = true;
  }
  return found;
}

bool Grammar::sound() const {
  if (std::ranges::count(rules_where(false), false) > 0) return false;
  const std::vector<bool> empty = rules_where(true);
  // Rules without a way back to themselves over what they begin with, the innermost first.
  std::vector<bool> clear(rules_.size());
  const auto is_clear = [&](uint32_t at) {
    for (; elements_[at].kind == Element::rule; ++at) {
      if (!clear[elements_[at].index]) return false;
      if (!empty[elements_[at].index]) return true;
    }
    return true;
  };
  size_t left = rules_.size();
  for (bool more = true; more;) {
    more = false;
    for (size_t rule = 0; rule < rules_.size(); ++rule)
      if (!clear[rule] && std::ranges::all_of(rules_[rule], is_clear))
        clear[rule] = more = true, --left;
  }
  return left == 0;
}

Matcher::Matcher(Grammar grammar, uint32_t start) : grammar_(std::move(grammar)) {
  std::vector<Stack> stacks;
  bool complete = false;
  for (const uint32_t at : grammar_.rules_.at(start)) expand({at}, stacks, complete);
  known(std::move(stacks), complete);
}

// Until a set of bytes is on top; what is left empty has matched.
void Matcher::expand(Stack stack, std::vector<Stack>& stacks, bool& complete) const {
  while (!stack.empty() && grammar_.elements_[stack.back()].kind == Grammar::Element::end)
    stack.pop_back();
  if (stack.empty()) {
    complete = true;
    return;
  }
  if (stack.size() > most_levels) return;
  const Grammar::Element top = grammar_.elements_[stack.back()];
  if (top.kind == Grammar::Element::set) {
    if (stacks.size() >= most_stacks)
      throw Error("serve", "grammar", "fewer ways to go on", std::to_string(stacks.size()));
    stacks.push_back(std::move(stack));
    return;
  }
  if (grammar_.elements_[++stack.back()].kind == Grammar::Element::end) stack.pop_back();
  for (const uint32_t at : grammar_.rules_[top.index]) {
    Stack inner = stack;
    inner.push_back(at);
    expand(std::move(inner), stacks, complete);
  }
}

Matcher::State Matcher::known(std::vector<Stack> stacks, bool complete) {
  std::sort(stacks.begin(), stacks.end());
  stacks.erase(std::unique(stacks.begin(), stacks.end()), stacks.end());
  const auto [at, fresh] = by_stacks_.try_emplace({complete, stacks}, State(states_.size()));
  if (!fresh) return at->second;
  if (states_.size() >= most_states)
    throw Error("serve", "grammar", "fewer states", std::to_string(states_.size()));
  states_.push_back({std::move(stacks), complete, {}});
  states_.back().next.fill(unknown);
  return at->second;
}

Matcher::State Matcher::after(State state, uint8_t byte) {
  const State found = states_[size_t(state)].next[byte];
  if (found != unknown) return found;
  std::vector<Stack> stacks;
  bool complete = false;
  for (const Stack& stack : states_[size_t(state)].stacks) {
    if (!grammar_.sets_[grammar_.elements_[stack.back()].index].test(byte)) continue;
    Stack rest = stack;
    ++rest.back();
    expand(std::move(rest), stacks, complete);
  }
  const State next = stacks.empty() && !complete ? none : known(std::move(stacks), complete);
  return states_[size_t(state)].next[byte] = next;
}

}  // namespace revenant
