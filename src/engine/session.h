// One conversation with a model: its tokens, its cached rows and its pictures. Sessions share
// nothing that changes, so they may be interleaved in any way.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/model.h"

namespace revenant {

// Prompt rows that are computed together; bounds memory, never shows in results.
constexpr int rows_together = 512;

// How a row of the cache was computed.
struct Made {
  int rope_rule = 0;
  bool traversed = false;
  bool operator==(const Made&) const = default;
};

// What a page of 64 tokens is known by, apart from the pages before it.
struct PageKey {
  std::vector<int> ids;
  std::string pictures;  // SHA-256 of the features' rows that stand in it; empty: none
  std::string salt;      // of its session
  Made made;
  bool operator==(const PageKey&) const = default;
};

// The next rows that a session wants computed: [begin, begin + rows) of its tokens. What it points
// to is the session's, and stands until that changes.
struct Plan {
  int begin = 0, rows = 0;  // no rows: all tokens have theirs
  int length = 0;           // decides the rotary rule
  bool prompt = true;       // or generated
  bool last = true;         // no token is left without a row then
  std::span<const int> ids;
  std::span<const uint8_t> pictures;  // [rows] 1: takes a row of features
  std::span<const float> features;    // [pictures, hidden]
};

class Session {
 public:
  // Sessions with different salts never share pages.
  explicit Session(const Model& model, std::string salt = {})
      : model_(&model), sequence_(model.config(), model.pages()), salt_(std::move(salt)) {}

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

  // The same in two halves, for those who compute rows of many sessions together (batch.h): tokens
  // are put behind the history, then what `plan` says is computed and committed until nothing is
  // left. Putting throws Error before anything changes.
  void put(std::span<const int> ids, const Tensor& features = {}, int whole = 0);
  // As `prompt`; returns the tokens of the common beginning.
  int put_prompt(std::span<const int> ids, const Tensor& features = {});
  void put(int id);  // generated; all tokens have their rows
  Plan plan(int most = rows_together) const;
  Sequence& sequence() { return sequence_; }
  void commit(const Plan& plan) noexcept;  // its rows are in the cache

  // Pages that sessions share (prefix.h). A session takes one where its prompt's next rows begin a
  // whole page, and gives one that is whole and made as all pages before it were.
  bool takes_page(int page) const;
  bool gives_page(int page) const;
  PageKey page_key(int page) const;  // of tokens that it has
  size_t passes_of_pages() const;    // that one has which it takes or gives
  void take_page(const SharedPage& page);
  SharedPage give_page(int page) const;

  // Forgets all but the first `tokens` tokens.
  void rewind(int tokens);
  // Drops what only a prompt that goes on would need; a later feed computes it again.
  void end_prompt();

  // A search that goes several ways: another session with this history. It may be continued by
  // steps; what only a prompt that goes on would need is not shared.
  Session fork() const;
  // Takes over the history of a fork, of which the first `same` tokens are known to be this one's.
  void follow(const Session& other, int same);

  const Model& model() const { return *model_; }
  const std::vector<int>& ids() const { return ids_; }
  int cached() const { return sequence_.rows; }  // tokens with rows in the cache
  size_t cache_bytes() const { return sequence_.bytes(); }

 private:
  int common(std::span<const int> ids, const Tensor& features) const;
  void append(std::span<const int> ids, const Tensor& features);
  void reserve(size_t more);
  int reusable(int length) const;
  Tensor compute(int before, const GoOn& go_on);

  const Model* model_;
  Sequence sequence_;
  std::string salt_;
  std::vector<int> ids_;
  std::vector<uint8_t> pictures_;             // [ids] 1: takes a row of features_
  std::vector<float> features_;               // [pictures, hidden]
  std::vector<Made> made_;                    // [rows in the cache]
  mutable std::vector<std::string> digests_;  // [pages] of their pictures
  int length_ = 0;  // of the prompt that tokens without rows belong to; 0: generated
};

}  // namespace revenant
