// What happens inside a model while it answers: the gates, the ghosts and where the answer looks,
// gathered through the one observer hook. docs/view.md has every number's meaning and unit.
// Legend: L layers, N rows (prompt and answer, one a token), P prompt rows, A answer tokens,
// h heads, g key/value heads.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "engine/generate.h"

namespace revenant {

// Row-major numbers; a shape with a zero has none.
struct Numbers {
  std::vector<size_t> shape;
  std::vector<float> values;

  Numbers() = default;
  explicit Numbers(std::vector<size_t> dimensions, float fill = 0);
  float& at(size_t i, size_t j, size_t k = 0) { return values[index(i, j, k)]; }
  float at(size_t i, size_t j, size_t k = 0) const { return values[index(i, j, k)]; }
  size_t index(size_t i, size_t j, size_t k) const;
};

// Phantom. Each size is a ratio of Euclidean norms (score: of sums of magnitudes), 0 where the
// denominator is 0. "by head": over all rows; "by row": over all heads.
struct LookGhosts {
  Numbers half_weight;                    // [L, N, h] share of o1 in the blend, 0..1
  Numbers value_by_head, value_by_row;    // [L, g], [L, N]  |eta gv| / |v|
  Numbers output_by_head, output_by_row;  // [L, h], [L, N]  |o2 - o1| / |o1|
  Numbers score_by_head;  // [L, h]  sum |eta^2 gq.gk| / sum |q.k| over looking pairs
};

struct Look {
  std::vector<int> ids;            // [N] prompt, then answer
  int prompt = 0;                  // P
  bool stopped = false;            // by a stop token, the last of ids
  std::vector<Numbers> trol_gate;  // of pass 2, 3, ...: [L, rows that traverse] share of it, 0..1
  LookGhosts ghosts;               // empty without Phantom
  // [A][L, 1 or h, P + a]: softmax weights of the row that chose answer token a (row P - 1 + a)
  // over the rows before it and itself, first pass; the mean of the heads, or each.
  std::vector<Numbers> attention;
};

struct LookOptions {
  Sampling sampling;
  int max_new_tokens = 64;
  std::vector<int> stop_ids;
  bool heads = false;  // attention of every head
};

// An answer of any options but beams that is watched, step by step: for those who compute other
// things between its steps.
class Looking {
 public:
  // Of a request without a session. Throws Error on options that mean nothing.
  Looking(const Model& model, Request request, bool heads);
  ~Looking();

  // Its next rows, so many at most, whose number never shows. False: there is nothing left to do.
  bool step(int most = rows_together);
  void cancel();                                   // it ends; the look is what was seen
  size_t wanted_bytes() const;                     // of pages that it may need still, at most
  const Generated& made() const { return made_; }  // once it is done
  Look look();                                     // then, once

 private:
  struct State;
  std::unique_ptr<State> state_;
  Generated made_;
};

// What stands about an answer beside its numbers.
struct LookAbout {
  std::string name, question;                     // of the model; as the model sees it
  std::vector<std::pair<int, int>> sizes, spans;  // of pictures: width and height; rows
};

// Everything of docs/view.md; numbers are rounded to 4 significant digits.
nlohmann::json look_json(const Model& model, const Look& look, const LookAbout& about);

// How many numbers it has, at most.
size_t look_numbers(const Config& config, size_t prompt, size_t answer, bool heads);

// Answers a prompt (whose picture tokens take the rows of `features`) and watches.
Look look(const Model& model, std::span<const int> ids, const Tensor& features,
          const LookOptions& options);

}  // namespace revenant
