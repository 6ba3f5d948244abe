// Which tokens may come next, so that the text of an answer keeps to a grammar.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/model.h"
#include "serve/grammar.h"

namespace revenant {

// Tokens by the bytes that they stand for, sorted; without special ones.
class TokenSpellings {
 public:
  // `rows`: of the logits.
  TokenSpellings(const Speech& speech, int rows);

  // A flag for each row: whether a token goes on from there, an end token where it may end.
  std::vector<uint8_t> allowed(Matcher& matcher, Matcher::State state) const;
  std::string_view bytes(int id) const;  // empty: of no text

 private:
  struct Token {
    int id;
    uint32_t common;  // bytes that it begins with as the one before it does
    std::string bytes;
  };
  const int rows_;
  std::vector<Token> tokens_;
  std::vector<int> places_;  // [rows] in tokens_; -1: none
  std::vector<int> stop_ids_;
};

// What the choices of a request share. Of one thread.
class Masks {
 public:
  Masks(std::shared_ptr<const TokenSpellings> spellings, Grammar grammar, uint32_t start)
      : spellings_(std::move(spellings)), matcher_(std::move(grammar), start) {}
  Matcher::State start() const { return matcher_.start(); }
  Matcher::State after(Matcher::State state, int id);  // throws Error where it may not come
  std::span<const uint8_t> of(Matcher::State state);   // until it is asked again

 private:
  static constexpr size_t most_kept = 64;
  const std::shared_ptr<const TokenSpellings> spellings_;
  Matcher matcher_;
  std::map<Matcher::State, std::vector<uint8_t>> kept_;
};

// Of one choice; a generate.h `Allowed`.
class Constraint {
 public:
  explicit Constraint(std::shared_ptr<Masks> masks)
      : masks_(std::move(masks)), state_(masks_->start()) {}
  std::span<const uint8_t> allowed(std::span<const int> made);

 private:
  const std::shared_ptr<Masks> masks_;
  Matcher::State state_;
  size_t read_ = 0;
};

}  // namespace revenant
