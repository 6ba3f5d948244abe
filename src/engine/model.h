// A model directory or file, ready to answer: weights, threads, and (opened when first needed) its
// tokenizer and prompt rule. Shared by all sessions, which own everything that changes.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "image/tiles.h"
#include "native/forward.h"
#include "native/network.h"
#include "text/prompt.h"

namespace revenant {

struct ModelOptions {
  std::vector<std::string> settings = {};    // "key=value" over config.json
  int threads = 0;                           // 0: as many as the machine runs at once
  std::optional<Format> cache_type = {};     // of keys and values; none: Network::cache_types
  size_t cache_memory = 0;                   // bytes of all sequences' caches; 0: no limit
  std::optional<QuantizeType> weights = {};  // quantised when read; none: as they are stored
};

// How a model's family speaks.
struct Speech {
  const PromptRule& rule;
  Tokenizer tokenizer;
  std::vector<int> stop_ids;
};

// Pictures as rows of the language model.
struct Pictures {
  Tensor features;          // [sum of tokens, hidden]; empty: no pictures
  std::vector<int> tokens;  // of each picture
};

class Model {
 public:
  explicit Model(const Path& path, const ModelOptions& options = {});  // throws Error

  const Config& config() const { return network_.config; }
  const ModelFiles& files() const { return network_.files; }
  const std::vector<std::string>& warnings() const { return network_.warnings; }
  CacheTypes cache_types() const { return pages_->shape().types; }
  const std::shared_ptr<Pages>& pages() const { return pages_; }  // of all its sequences
  Native native(Observer* observer = nullptr, GoOn go_on = {}) const {
    return {network_.config, network_.weights, *threads_, observer, nullptr, std::move(go_on)};
  }

  // Where a row of a picture goes: as config.json says, else the tokenizer (-1: neither knows one,
  // or the model is a language model alone).
  int image_token() const;
  // Throws Error if the model's tokenizer is missing or does not fit. Safe from many threads.
  const Speech& speech() const;
  // Throw Error of `part` unless the ids are the model's, and the pictures' as many as `features`.
  void check_ids(const char* part, std::span<const int> ids) const;
  void check_prompt(const char* part, std::span<const int> ids, const Tensor& features) const;
  TileRule tile_rule() const { return revenant::tile_rule(config()); }
  // Both throw Stopped if `go_on` says so. Tiles become rows `together` at a time: that bounds the
  // memory, and how long a product takes between two questions to `go_on`.
  Tensor encode_tiles(std::span<const Image> tiles, const GoOn& go_on = {}, int together = 2,
                      Observer* observer = nullptr) const;
  Pictures encode(std::span<const Image> pictures, const GoOn& go_on = {},
                  Observer* observer = nullptr) const;

 private:
  Speech open_speech() const;

  Network network_;
  std::shared_ptr<Pages> pages_;
  std::unique_ptr<Threads> threads_;
  mutable std::mutex opening_;
  mutable std::optional<Speech> speech_;
};

}  // namespace revenant
