// Which rows a forward computes. Rows are ragged: the rows of each sequence stand together, in
// order, and no padding exists, so a served batch and a packed training batch are the same thing.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "model/config.h"

namespace revenant {

// The rows of one sequence in this step.
struct Span {
  int sequence = 0;  // index into what the executor knows of sequences (caches, anchors)
  int first_row = 0, rows = 0;
  int start = 0;        // rows of the sequence that came before, in the cache
  int rope_length = 0;  // length that decides the rotary rule: the whole prompt's, then the current
  bool prompt = true;   // of a prompt, or generated: decides whether they traverse
  int generated = 0;  // of a prompt span without a cache: trailing rows that were generated one by
                      // one, each under the rotary rule of its own length (teacher forcing)
  int parent = -1;    // the span whose rows, and whose parents', came before instead of a cache; it
                      // and its other branches stand before this one (training's packed sequences)
};

struct Step {
  std::vector<Span> spans;
  std::vector<uint8_t> picture;  // [rows] 1 where a picture token stands
  int rows = 0;
  // Rows whose outputs anybody wants, ascending; nothing: all. What the last layer does beyond keys
  // and values is done for them alone.
  std::optional<std::vector<int>> asked;

  // Appends `count` rows of a sequence; `picture_rows` (may be empty: none) has `count` entries.
  void add(int sequence, int start, int count, int rope_length, bool prompt,
           const std::vector<uint8_t>& picture_rows = {}) {
    spans.push_back({sequence, rows, count, start, rope_length, prompt, 0, -1});
    rows += count;
    picture.resize(size_t(rows), 0);
    for (size_t i = 0; i < picture_rows.size(); ++i)
      picture[size_t(rows - count) + i] = picture_rows[i];
  }
};

// Whether row `row` of the span takes part in pass 2 and above. In the released code a prompt does
// if it has more than one row (papers.md 4.2, 2).
inline bool traverses(const TrolConfig& trol, const Span& span, int row = 0) {
  if (!trol.on || trol.traverse == Traverse::off) return false;
  if (trol.traverse == Traverse::all) return true;
  return span.prompt && span.rope_length > 1 && row < span.rows - span.generated;
}
inline bool traverses(const TrolConfig& trol, const Step& step) {
  return std::any_of(step.spans.begin(), step.spans.end(),
                     [&](const Span& span) { return traverses(trol, span); });
}

// Where in the model a verb is called: caches and observers need it.
struct Site {
  int layer = 0;
  int pass = 1;  // TroL: 1, 2, ...
};

}  // namespace revenant
