#include "train/batch.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "base/random.h"
#include "data/turns.h"
#include "image/augment.h"
#include "train/pack.h"

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

void keep_tasks(std::vector<Row>& rows, const RecipeData& entry) {
  for (const std::string& task : entry.tasks)
    if (std::ranges::find(rows, task, &Row::task) == rows.end())
      throw Error("train", entry.path.string() + ": tasks", "a task that rows have", task);
  if (entry.tasks.empty()) return;
  std::erase_if(rows, [&](const Row& row) {
    return std::ranges::find(entry.tasks, row.task) == entry.tasks.end();
  });
}

// How many tokens end an answer.
int end_tokens(const Tokenizer& tokenizer, const PromptRule& rule) {
  const std::vector<Piece> end = {{Piece::template_text, rule.answer_end}};
  return int(encode_prompt(tokenizer, rule, end, {}).ids.size());
}

}  // namespace

size_t TrainingData::pictures_an_epoch() const {
  size_t count = 0;
  for (const TrainingSet& set : sets) count += groups_an_epoch(set);
  return count;
}

TrainingData read_training_data(const std::vector<RecipeData>& entries, bool pairs) {
  TrainingData data;
  for (const RecipeData& entry : entries) {
    TrainingSet set{
        read_rows(entry.path, {.fields = entry.fields}), {}, entry, digest_of_rows(entry.path)};
    keep_tasks(set.rows, entry);
    set.groups = group_rows(set.rows);
    if (set.groups.empty()) throw Error("train", entry.path.string(), "at least one row", "none");
    const auto lacks = std::ranges::find(set.rows, "", &Row::rejected);
    if (pairs && lacks != set.rows.end())
      throw Error("train",
                  entry.path.string() + ": row " + std::to_string(lacks - set.rows.begin() + 1),
                  "a rejected answer, which the objective takes", "none");
    data.sets.push_back(std::move(set));
  }
  return data;
}

BatchOptions batch_options(const Recipe& r) {
  return {r.questions_per_picture,
          r.conversation_share,
          r.objective.takes_pairs(),
          r.objective.count_end_token,
          r.rows == Recipe::Rows::infer,
          r.packing,
          r.max_length,
          r.exif};
}

BatchOptions evaluation_options(const Recipe& recipe) {
  BatchOptions options = batch_options(recipe);
  options.questions_per_picture = std::numeric_limits<int>::max();
  options.conversation_share = 0;
  options.as_inferred = true;
  return options;
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
  for (const Pick& pick : picks) add_group(batch, pick, pixels);
  if (batch.tile_of_slot.empty()) pixels.clear();  // rows that showed them were all left out
  const int64_t side = tile_rule.size, tiles = int64_t(pixels.size()) / (3 * side * side);
  batch.pixels = torch::tensor(pixels).view({tiles, 3, side, side});
  return batch;
}

// The questions drawn about one group's pictures.
void BatchMaker::add_group(TorchBatch& batch, const Pick& pick, std::vector<float>& pixels) const {
  const std::vector<Row>& rows = pick.set->rows;
  Random random(pick.seed);
  const int64_t tile_pixels = int64_t(3) * tile_rule.size * tile_rule.size;
  const int64_t tiles_so_far = int64_t(pixels.size()) / tile_pixels;
  std::vector<int> tokens;  // of each picture
  try {
    std::vector<float> values;
    for (const Picture& picture : rows[pick.group.begin].images) {
      const Image image = read_picture(picture, {.exif = options.exif});
      const Tiles tiles = tile(augmented(image, pick.set->recipe, random), tile_rule);
      const std::vector<float> more = normalise(tiles.tiles, tile_rule);
      values.insert(values.end(), more.begin(), more.end());
      tokens.push_back(int(tiles.tiles.size()) * config.tokens_per_tile());
    }
    pixels.insert(pixels.end(), values.begin(), values.end());
  } catch (const Error& error) {
    batch.left_out.push_back(error.what());
    return;
  }
  batch.pictures += tokens.size();
  std::vector<size_t> questions(pick.group.end - pick.group.begin);
  std::iota(questions.begin(), questions.end(), pick.group.begin);
  random.shuffle(questions);
  questions.resize(std::min(questions.size(), size_t(options.questions_per_picture)));
  const size_t sequences_before = batch.step.spans.size();
  if (options.pairs) {
    for (const size_t question : questions) add_pair(batch, pick, question, tokens);
  } else {
    std::vector<const Row*> asked;
    for (const size_t question : questions) asked.push_back(&rows[question]);
    const bool all = random.uniform() < options.conversation_share;
    const size_t together = all ? asked.size() : 1;
    for (size_t at = 0; at < asked.size(); at += together) {
      const std::vector<Turn> turns = turns_of(std::span(asked).subspan(at, together));
      if (!options.as_inferred)
        add_sequence(batch, turns, false, tokens);
      else
        for (size_t n = 1; n <= turns.size(); ++n)
          add_sequence(batch, std::span(turns).first(n), true, tokens);
    }
  }
  if (options.packing) pack(batch, int(sequences_before), config.rope);
  add_slots(batch, sequences_before, tiles_so_far);
}

// Every run of a tile's rows is told which tile fills it: each line of spans has all tiles in
// order.
void BatchMaker::add_slots(TorchBatch& batch, size_t first_span, int64_t first_tile) const {
  const std::vector<Span>& spans = batch.step.spans;
  const auto runs = [&](const Span& span) {
    const auto begin = batch.step.picture.begin() + span.first_row;
    return std::count(begin, begin + span.rows, uint8_t(1)) / config.tokens_per_tile();
  };
  for (size_t s = first_span; s < spans.size(); ++s) {
    int64_t tile = first_tile;
    for (int above = spans[s].parent; above >= 0; above = spans[size_t(above)].parent)
      tile += runs(spans[size_t(above)]);
    for (int64_t left = runs(spans[s]); left > 0; --left) batch.tile_of_slot.push_back(tile++);
  }
}

void BatchMaker::add_pair(TorchBatch& batch, const Pick& pick, size_t row,
                          std::span<const int> tokens) const {
  const Row& asked = pick.set->rows[row];
  const Row* const one = &asked;
  std::vector<Turn> turns = turns_of({&one, 1});
  if (const auto alike = answers_alike(asked)) {
    batch.left_out.push_back(pick.set->recipe.path.string() + ": row " + std::to_string(row + 1) +
                             "." + alike->field + ": " + reason_of(*alike));
    return;
  }
  TorchBatch both;  // so that a pair comes whole or not at all
  both.step = batch.step;
  const int chosen = int(batch.step.spans.size());
  for (const std::string& answer : {std::string(turns.back().answer), asked.rejected}) {
    turns.back().answer = answer;
    if (add_sequence(both, turns, true, tokens)) continue;
    batch.left_out.push_back(both.left_out.front());
    return;
  }
  batch.step = std::move(both.step);
  batch.ids.insert(batch.ids.end(), both.ids.begin(), both.ids.end());
  batch.labels.insert(batch.labels.end(), both.labels.begin(), both.labels.end());
  batch.pairs.push_back({chosen, chosen + 1, row});
  if (!pick.set->reference.chosen.empty()) {
    batch.reference.chosen.push_back(pick.set->reference.chosen[row]);
    batch.reference.rejected.push_back(pick.set->reference.rejected[row]);
  }
}

// Appends the rows of a conversation to the batch; `last_only`: the last answer alone is a target.
// False, and a word about it, if it is longer than a sequence may be: pictures are never cut.
bool BatchMaker::add_sequence(TorchBatch& batch, std::span<const Turn> turns, bool last_only,
                              std::span<const int> tokens) const {
  const auto [pieces, prompt] = encode_turns(tokenizer, rule, turns, tokens);
  const int length = int(prompt.ids.size());
  if (const auto fault = too_long(length, options.max_length)) {
    batch.left_out.push_back("\"" + turns.back().question + "\": " + reason_of(*fault));
    return false;
  }
  std::vector<std::pair<int, int>> answers = answer_spans(tokenizer, rule, pieces, tokens);
  if (last_only) answers.erase(answers.begin(), answers.end() - 1);
  const int uncounted = options.count_end_token ? 0 : end_tokens(tokenizer, rule);
  std::vector<int64_t> labels(size_t(length), -100);
  for (const auto& [begin, end] : answers)
    for (int i = begin; i < end - uncounted; ++i) labels[size_t(i - 1)] = prompt.ids[size_t(i)];
  std::vector<uint8_t> picture(size_t(length), 0);
  for (const auto& [begin, end] : prompt.picture_spans)
    std::fill(picture.begin() + begin, picture.begin() + end, uint8_t(1));
  const int generated = options.as_inferred ? length - answers.back().first : 0;
  batch.step.add(int(batch.step.spans.size()), 0, length, length - generated, true, picture);
  batch.step.spans.back().generated = generated;
  batch.ids.insert(batch.ids.end(), prompt.ids.begin(), prompt.ids.end());
  batch.labels.insert(batch.labels.end(), labels.begin(), labels.end());
  return true;
}

std::vector<std::vector<Pick>> picks_in_order(const TrainingData& data, int size) {
  std::vector<std::vector<Pick>> batches;
  for (const TrainingSet& set : data.sets)
    for (const RowGroup& group : set.groups) {
      if (batches.empty() || batches.back().size() == size_t(size)) batches.emplace_back();
      batches.back().push_back({&set, group, 0});
    }
  return batches;
}

void round_up(TorchBatch& batch) {
  constexpr int kLongest = 32;
  Step& step = batch.step;
  const bool small = step.rows < 1024;
  const int kRows = small ? 32 : 128, kSequences = small ? 4 : 16;
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

}  // namespace revenant
