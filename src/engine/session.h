// One conversation with a model: its tokens, its cached rows and its pictures. Sessions share
// nothing that changes, so they may be interleaved in any way.
#pragma once

#include <span>
#include <vector>

#include "engine/model.h"

namespace revenant {

// Prompt rows that are computed together; bounds memory, never shows in results.
constexpr int rows_together = 512;

class Session {
 public:
  explicit Session(const Model& model) : model_(&model), sequence_(model.config(), model.pages()) {}

  // Prompt tokens, after all that was fed or generated before; returns the last row's logits
  // [1, vocab]. `features` has a row for each picture token among them. `whole` is the length that
  // the history will have when the prompt is complete, for a prompt that comes in pieces (0: this
  // is its last piece); it decides the rotary rule and whether TroL traverses. What the cache holds
  // under another rule, or TroL generated in one pass, is computed anew: a prompt's rows are always
  // those of the history fed whole.
  // Throws Error, or Stopped if `go_on` says so; the history is then what it was before. Rows that
  // were to be computed anew may be missing (`cached`), which the next feed or prompt makes good.
  Tensor feed(std::span<const int> ids, const Tensor& features = {}, int whole = 0,
              const GoOn& go_on = {});
  // The history becomes `ids`, with `features` for all its pictures: keeps the rows of what both
  // begin with, feeds the rest. A chat's next turn is its whole history. What throws leaves the
  // common beginning.
  Tensor prompt(std::span<const int> ids, const Tensor& features = {}, const GoOn& go_on = {});
  Tensor step(int id);  // one generated token; the next one's logits [1, vocab]
  // One generated token for each of several sessions of one model; logits [sessions, vocab]. If it
  // throws, all of them are as they were before.
  static Tensor step(std::span<Session* const> sessions, std::span<const int> ids);

  // Forgets all but the first `tokens` tokens.
  void rewind(int tokens);
  // Drops what only a prompt that goes on would need; a later feed computes it again.
  void end_prompt();

  // A search that goes several ways: another session with this history. It may be continued by
  // steps; what only a prompt that goes on would need is not copied.
  Session fork() const;
  // Takes over the history of a fork, of which the first `same` tokens are known to be this one's.
  void follow(const Session& other, int same);

  const Model& model() const { return *model_; }
  const std::vector<int>& ids() const { return ids_; }
  int cached() const { return sequence_.rows; }  // tokens with rows in the cache
  size_t cache_bytes() const { return sequence_.bytes(); }

 private:
  // How a row of the cache was computed.
  struct Made {
    int rope_rule = 0;
    bool traversed = false;
  };
  int common(std::span<const int> ids, const Tensor& features) const;
  void append(std::span<const int> ids, const Tensor& features);
  void reserve(size_t more);
  int reusable(int length) const;
  Tensor compute(int end, int length, const GoOn& go_on);

  const Model* model_;
  Sequence sequence_;
  std::vector<int> ids_;
  std::vector<uint8_t> pictures_;  // [ids] 1: takes a row of features_
  std::vector<float> features_;    // [pictures, hidden]
  std::vector<Made> made_;         // [rows in the cache]
};

}  // namespace revenant
