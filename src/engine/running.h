// One answer on its way: its sessions, its search and its text, from the prompt to the last token.
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/batch.h"
#include "engine/beam.h"
#include "engine/generate.h"

namespace revenant {

Error no_memory();

// Bytes of pages that a prompt and its answer take at most: of the whole sequence in every pass
// that it has, and of each further beam those of its answer.
size_t most_cache_bytes(const Model& model, int prompt_tokens, const GenerateOptions& options);

class Running {
 public:
  // Throws Error on options that mean nothing.
  Running(const Model& model, Request request);

  void begin();          // its session gets the prompt
  bool reading() const;  // the prompt has tokens without rows
  bool done() const { return done_; }
  // Of its next step: the sessions whose next rows it needs.
  std::span<Session* const> sessions() const {
    return beams_ ? beams_->sessions() : std::span(&request_.session, 1);
  }
  // Of its sessions' last rows, from `row` on.
  void take(const Computed& made, int row);
  void fail(const Error& failure);
  void cancel();

  // From any thread: it is to end. `stopping` also asks who waits for the answer; once it is true,
  // it stays so.
  void stop() { stopped_ = true; }
  bool stopped() const { return stopped_; }
  bool stopping();

  void reused(int rows) { made_.timings.reused_tokens += rows; }  // of its prompt, more

  // Bytes of pages that it may need still, at most: without those that its session holds.
  size_t wanted_bytes() const;
  Generated result() && { return std::move(made_); }

 private:
  void finish_prompt(const Computed& made, int row);
  void choose(const Tensor& logits, int row);
  void choose_beams(const Tensor& logits, int row);
  void accept(int id);
  bool cut_at_stop_string();
  size_t held_back() const;
  bool give(int id, size_t keep);
  void finish(Finish reason, int id);
  void end(Finish reason);

  Request request_;
  std::optional<Session> own_;  // where the request has none
  Random random_;
  std::optional<Beams> beams_;
  std::optional<StreamDecoder> decoder_;
  std::string waiting_;
  Generated made_;
  Stopwatch watch_;
  int before_ = 0;  // tokens of the session that the prompt began with already
  bool begun_ = false, read_ = false, done_ = false;
  std::atomic<bool> stopped_ = false;
};

}  // namespace revenant
