// The file in which a person says what becomes of the rows that the models leave open.
#pragma once

#include <functional>
#include <span>

#include "triples/standing.h"

namespace revenant {

// A list of {row, id, pictures, question, answer, rejected, why, verdict}. Whoever looks at it
// writes "keep" or "drop" as verdict, and may write another `rejected`.
struct Open {
  size_t row;  // counted from 0
  Standing standing;
};
// Of `before`, the file as it stands (it need not), stay: what a person has written about rows that
// are open still (a verdict, or a `rejected` that `tried` does not know as a model's), and what is
// not about `rows`. Empty where nothing is open.
std::string review_text(std::span<const Row> rows, std::span<const Open> open, const Path& before,
                        const std::function<bool(size_t row, const std::string&)>& tried);

// What was said in it so far about `rows`. Throws Error, naming entry and field, where it says
// anything else.
struct Reviewed {
  size_t row;
  Word word;
};
// `more`: there are rows beyond `rows`, about which it may speak.
std::vector<Reviewed> read_review(const Path& file, std::span<const Row> rows, bool more = false);

}  // namespace revenant
