#include "engine/model.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace revenant {

Model::Model(const Path& path, const ModelOptions& options)
    : network_(Network::open(path, options.settings, options.weights)),
      pages_(std::make_shared<Pages>(config(), network_.cache_types(options.cache_type),
                                     options.cache_memory)),
      threads_(std::make_unique<Threads>(options.threads)) {}

Speech Model::open_speech() const {
  const PromptRule& rule = prompt_rule(prompt_family(config()));
  Speech speech{rule, tokenizer_for(rule, Tokenizer::open(files().small())), {}};
  check_fit(rule, speech.tokenizer, config().image_token, config().embedding_rows,
            files().path().string());
  speech.stop_ids = stop_ids(rule, speech.tokenizer);
  for (const int id : config().eos_tokens) speech.stop_ids.push_back(id);
  return speech;
}

int Model::image_token() const {
  const bool sees = config().vision.kind != Tower::none;
  if (config().image_token >= 0 || !sees) return config().image_token;
  return speech().tokenizer.id_of(speech().rule.context_token);
}

const Speech& Model::speech() const {
  const std::lock_guard lock(opening_);
  if (!speech_) speech_.emplace(open_speech());
  return *speech_;
}

void Model::check_ids(const char* part, std::span<const int> ids) const {
  const int known = config().embedding_rows;
  for (const int id : ids)
    if (id < 0 || id >= known)
      throw Error(part, "token", "an id in [0, " + std::to_string(known) + ")", std::to_string(id));
}

void Model::check_prompt(const char* part, std::span<const int> ids, const Tensor& features) const {
  check_ids(part, ids);
  const auto marks = std::count(ids.begin(), ids.end(), image_token());
  const int rows = features.empty() ? 0 : features.rows;
  if (marks != rows)
    throw Error(part, "picture tokens", std::to_string(marks) + " rows of features",
                std::to_string(rows));
}

Pictures Model::encode(std::span<const Image> pictures, const GoOn& go_on,
                       Observer* observer) const {
  if (!pictures.empty() && config().vision.kind == Tower::none)
    throw Error("model", files().path().string(), "a model that sees", "a language model alone");
  Pictures encoded;
  std::vector<Image> tiles;
  for (const Image& picture : pictures) {
    Tiles more = tile(picture, tile_rule());
    encoded.tokens.push_back(int(more.tiles.size()) * config().tokens_per_tile());
    std::move(more.tiles.begin(), more.tiles.end(), std::back_inserter(tiles));
  }
  if (!tiles.empty()) encoded.features = encode_tiles(tiles, go_on, 2, observer);
  return encoded;
}

Tensor Model::encode_tiles(std::span<const Image> tiles, const GoOn& go_on, int together,
                           Observer* observer) const {
  CHECK(!tiles.empty() && together > 0);
  const TileRule rule = tile_rule();
  const int per_tile = config().tokens_per_tile();
  Tensor features(int(tiles.size()) * per_tile, 1, config().hidden);
  for (int first = 0; first < int(tiles.size()); first += together) {
    const int count = std::min(together, int(tiles.size()) - first);
    const auto pixels = normalise(tiles.subspan(size_t(first), size_t(count)), rule);
    const Tensor rows = see(native(observer, go_on), pixels, count, rule.size);
    std::memcpy(features.row(first * per_tile), rows.data(), rows.size() * sizeof(float));
  }
  return features;
}

}  // namespace revenant
