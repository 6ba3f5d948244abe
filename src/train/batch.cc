#include "train/batch.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/random.h"
#include "image/augment.h"

namespace revenant {
namespace {

uint64_t mixed(uint64_t a, uint64_t b) { return Random(a * 0x9e3779b97f4a7c15ull + b).next(); }

size_t groups_an_epoch(const TrainingSet& set) {
  return std::max<size_t>(1, size_t(std::lround(set.recipe.weight * double(set.groups.size()))));
}

// One epoch's order: each set gives its share from fresh permutations, then all are shuffled.
std::vector<Pick> epoch_order(const TrainingData& data, uint64_t seed, uint64_t epoch) {
  Random random(mixed(seed, epoch));
  std::vector<Pick> order;
  for (const TrainingSet& set : data.sets) {
    std::vector<size_t> permutation;
    for (size_t left = groups_an_epoch(set); left > 0; --left) {
      if (permutation.empty()) {
        permutation.resize(set.groups.size());
        std::iota(permutation.begin(), permutation.end(), size_t(0));
        random.shuffle(permutation);
      }
      order.push_back({&set, set.groups[permutation.back()], random.next()});
      permutation.pop_back();
    }
  }
  random.shuffle(order);
  return order;
}

// Appends one conversation's rows to the batch.
void add_sequence(TorchBatch& batch, const EncodedPrompt& prompt,
                  const std::vector<std::pair<int, int>>& answers) {
  const int length = int(prompt.ids.size());
  std::vector<uint8_t> picture(size_t(length), 0);
  for (const auto& [begin, end] : prompt.picture_spans)
    std::fill(picture.begin() + begin, picture.begin() + end, uint8_t(1));
  std::vector<int64_t> labels(size_t(length), -100);
  for (const auto& [begin, end] : answers)
    for (int i = begin; i < end; ++i) labels[size_t(i - 1)] = prompt.ids[size_t(i)];
  batch.step.add(int(batch.step.spans.size()), 0, length, length, true, picture);
  batch.ids.insert(batch.ids.end(), prompt.ids.begin(), prompt.ids.end());
  batch.labels.insert(batch.labels.end(), labels.begin(), labels.end());
}

// A picture as the set's recipe lets it come this time.
Image augmented(Image image, const RecipeData& recipe, Random& random) {
  if (recipe.mirror && random.below(2) == 0) image = mirrored(image);
  if (recipe.shift == 0) return image;
  const auto offset = [&](int side) {
    return int(std::lround(recipe.shift * side * (2 * random.uniform() - 1)));
  };
  const int dx = offset(image.width), dy = offset(image.height);
  return shifted(image, dx, dy);
}

std::string without_image_marks(const std::string& text) {
  std::string rest;
  for (const Piece& piece : split_image_marks(text)) rest += piece.text;
  const size_t begin = std::min(rest.size(), rest.find_first_not_of('\n'));
  return rest.substr(begin, rest.find_last_not_of('\n') + 1 - begin);
}

// The turns of rows about the same pictures, which stand in the first row's turns only.
std::vector<Piece> conversation(const PromptRule& rule, std::span<const Row* const> rows) {
  std::vector<Turn> turns;
  for (const Row* row : rows) {
    const auto asked = [&](const std::string& question) {
      return row == rows.front() ? question : without_image_marks(question);
    };
    turns.push_back({asked(row->question), 0, row->answer});
    for (const Exchange& turn : row->later) turns.push_back({asked(turn.question), 0, turn.answer});
  }
  return row_pieces(rule, turns);
}

}  // namespace

size_t TrainingData::pictures_an_epoch() const {
  size_t count = 0;
  for (const TrainingSet& set : sets) count += groups_an_epoch(set);
  return count;
}

TrainingData read_training_data(const Recipe& recipe) {
  TrainingData data;
  for (const RecipeData& entry : recipe.data) {
    TrainingSet set{read_rows(entry.path), {}, entry};
    set.groups = group_rows(set.rows);
    if (set.groups.empty()) throw Error("train", entry.path.string(), "at least one row", "none");
    data.sets.push_back(std::move(set));
  }
  return data;
}

std::vector<Pick> picks_of_step(const TrainingData& data, const Recipe& recipe, int step) {
  const size_t size =
      size_t(recipe.per_device_train_batch_size) * size_t(recipe.gradient_accumulation_steps);
  const size_t epoch_size = data.pictures_an_epoch();
  std::vector<Pick> picks;
  std::vector<Pick> order;
  uint64_t epoch = ~0ull;
  for (size_t at = size_t(step) * size; picks.size() < size; ++at) {
    if (at / epoch_size != epoch) order = epoch_order(data, recipe.seed, epoch = at / epoch_size);
    picks.push_back(order[at % epoch_size]);
  }
  return picks;
}

TorchBatch BatchMaker::make(std::span<const Pick> picks) const {
  TorchBatch batch;
  std::vector<float> pixels;
  int64_t tiles_so_far = 0;
  for (const Pick& pick : picks) {
    const std::vector<Row>& rows = pick.set->rows;
    Random random(pick.seed);
    std::vector<int> tokens;  // of each picture
    int64_t tiles_here = 0;
    for (const Path& path : rows[pick.group.begin].images) {
      const Tiles tiles = tile(augmented(read_image(path), pick.set->recipe, random), tile_rule);
      const std::vector<float> values = normalise(tiles.tiles, tile_rule);
      pixels.insert(pixels.end(), values.begin(), values.end());
      tiles_here += int64_t(tiles.tiles.size());
      ++batch.pictures;
      tokens.push_back(int(tiles.tiles.size()) * config.tokens_per_tile());
    }
    std::vector<size_t> questions(pick.group.end - pick.group.begin);
    std::iota(questions.begin(), questions.end(), pick.group.begin);
    random.shuffle(questions);
    questions.resize(std::min(questions.size(), size_t(questions_per_picture)));
    std::vector<const Row*> asked;
    for (const size_t question : questions) asked.push_back(&rows[question]);
    const size_t together = random.uniform() < conversation_share ? asked.size() : 1;
    for (size_t at = 0; at < asked.size(); at += together) {
      const std::vector<Piece> pieces = conversation(rule, std::span(asked).subspan(at, together));
      add_sequence(batch, encode_prompt(tokenizer, rule, pieces, tokens),
                   answer_spans(tokenizer, rule, pieces, tokens));
      for (int64_t t = 0; t < tiles_here; ++t) batch.tile_of_slot.push_back(tiles_so_far + t);
    }
    tiles_so_far += tiles_here;
  }
  const int64_t side = tile_rule.size;
  batch.pixels = torch::tensor(pixels).view({tiles_so_far, 3, side, side});
  return batch;
}

void round_up(TorchBatch& batch) {
  constexpr int kRows = 128, kSequences = 16, kLongest = 32;
  Step& step = batch.step;
  int sequences = kSequences - int(step.spans.size()) % kSequences;
  int rows = kRows - step.rows % kRows;
  if (rows < sequences) rows += kRows;
  while (rows > sequences * kLongest) sequences += kSequences;
  for (; sequences > 0; --sequences) {
    const int length = rows / sequences;
    step.add(int(step.spans.size()), 0, length, length, true);
    rows -= length;
  }
  batch.ids.resize(size_t(step.rows), 0);
  batch.labels.resize(size_t(step.rows), -100);
}

TileRule tile_rule_of(const Config& config) {
  if (config.vision.kind == Tower::clip) return clip_rule(config.vision.image);
  return {
      .size = config.vision.image, .max_tiles = config.max_tiles, .thumbnail = config.thumbnail};
}

}  // namespace revenant
