#include "eval/predict.h"

#include <algorithm>
#include <deque>
#include <map>
#include <numeric>

#include "base/error.h"

namespace revenant {
namespace {

constexpr uint8_t grey = 128;

Pictures encode_shown(const Model& model, const std::vector<Path>& files,
                      const PredictOptions& options) {
  std::vector<Image> images;
  for (const Path& file : files) {
    images.push_back(read_image(file, options.reading));
    if (options.shown == Shown::blank)
      images.back() = blank_image(images.back().width, images.back().height, grey);
  }
  return model.encode(images);
}

// The pictures that the first question of a row marks; later questions may mark more.
Pictures first_pictures(const Pictures& all, size_t count) {
  Pictures some;
  some.tokens.assign(all.tokens.begin(), all.tokens.begin() + long(count));
  const int rows = std::accumulate(some.tokens.begin(), some.tokens.end(), 0);
  if (rows > 0) some.features = all.features.slice(0, rows);
  return some;
}

Request request_for(const Model& model, const Row& row, const Pictures& pictures, Session& session,
                    const GenerateOptions& options) {
  const Speech& speech = model.speech();
  const Turn turn{row.question, 0, ""};
  const auto pieces = row_pieces(speech.rule, {&turn, 1});
  const auto marks = std::ranges::count(pieces, Piece::picture, &Piece::kind);
  const Pictures marked = first_pictures(pictures, size_t(marks));
  const EncodedPrompt prompt = encode_prompt(speech.tokenizer, speech.rule, pieces, marked.tokens);
  return {&session, {prompt.ids.begin(), prompt.ids.end()}, marked.features, options};
}

// A group on its way: one session, whose prompts begin alike.
struct Lane {
  RowGroup group;
  Session session;
  Pictures pictures = {};
  std::string failure = {};  // of its pictures
};

// What a lane holds at most: cached rows of prompt and answer, which grow by half at a time, once
// more for every further beam; and its pictures, twice. A question has at most a token a byte.
size_t bytes_of(const Model& model, const Lane& lane, std::span<const Row> rows,
                const PredictOptions& options) {
  constexpr size_t of_template = 128;
  const Config& c = model.config();
  size_t longest = 0;
  for (size_t r = lane.group.begin; r < lane.group.end; ++r)
    longest = std::max(longest, rows[r].question.size());
  const size_t seen = size_t(lane.pictures.features.rows);
  const size_t tokens = seen + longest + of_template + size_t(options.max_new_tokens);
  const size_t copies = size_t(c.trol.streams()) + size_t(std::max(1, options.beams)) - 1;
  return tokens * 3 / 2 * copies * cache_row_bytes(c, model.cache_type()) +
         2 * seen * size_t(c.hidden) * sizeof(float);
}

// What `work` throws as an Error, as text; empty if it comes to its end.
std::string failure_of(const auto& work) {
  try {
    work();
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

class Predictor {
 public:
  Predictor(const Model& model, std::span<const Row> rows, const PredictOptions& options)
      : model_(model), rows_(rows), options_(options), predictions_(rows.size()) {
    const Speech& speech = model.speech();
    generate_.beams = options.beams;
    generate_.max_new_tokens = options.max_new_tokens;
    generate_.stop_ids = speech.stop_ids;
    generate_.speech = &speech;
  }

  // The first `groups`, as many as the memory holds, share the steps; `shown` has for each the
  // files that it is shown. Returns how many: the next one is taken to be as large as the last.
  size_t run(std::span<const RowGroup> groups, std::span<const std::vector<Path>> shown) {
    std::deque<Lane> lanes;
    size_t rounds = 0;
    for (size_t held = 0, last = 0; lanes.size() < groups.size(); held += last) {
      if (!lanes.empty() && held + last > options_.memory) break;
      const size_t i = lanes.size();
      Lane& lane = lanes.emplace_back(Lane{groups[i], Session(model_)});
      lane.failure = failure_of([&] { lane.pictures = encode_shown(model_, shown[i], options_); });
      rounds = std::max(rounds, groups[i].end - groups[i].begin);
      last = bytes_of(model_, lanes.back(), rows_, options_);
    }
    for (size_t round = 0; round < rounds; ++round) answer_round(lanes, round);
    return lanes.size();
  }
  std::vector<Prediction> result() && { return std::move(predictions_); }

 private:
  void answer_round(std::deque<Lane>& lanes, size_t round) {
    std::vector<Request> requests;
    std::vector<size_t> asked;
    for (Lane& lane : lanes) {
      const size_t row = lane.group.begin + round;
      if (row >= lane.group.end) continue;
      ++done_;
      std::string& failure = predictions_[row].failure;
      failure = lane.failure;
      if (!failure.empty()) continue;
      failure = failure_of([&] {
        requests.push_back(request_for(model_, rows_[row], lane.pictures, lane.session, generate_));
        asked.push_back(row);
      });
    }
    const std::vector<Generated> made = generate(requests);
    for (size_t i = 0; i < made.size(); ++i)
      predictions_[asked[i]] = {
          made[i].failure ? "" : filter_output(model_.speech().rule, made[i].text),
          made[i].finish_reason == Finish::stop,
          made[i].timings.prompt_tokens + made[i].timings.generated_tokens,
          made[i].failure ? made[i].failure->what() : ""};
    if (options_.progress) options_.progress(done_, rows_.size());
  }

  const Model& model_;
  std::span<const Row> rows_;
  const PredictOptions& options_;
  GenerateOptions generate_;
  std::vector<Prediction> predictions_;
  size_t done_ = 0;
};

}  // namespace

const char* name_of(Shown shown) {
  switch (shown) {
    case Shown::own:
      return "own";
    case Shown::blank:
      return "blank";
    case Shown::shuffled:
      return "shuffled";
  }
  return "?";
}

std::vector<size_t> shuffled_groups(std::span<const Row> rows, std::span<const RowGroup> groups,
                                    uint64_t seed) {
  std::map<std::pair<std::string, size_t>, std::vector<size_t>> alike;
  for (size_t g = 0; g < groups.size(); ++g) {
    const Row& row = rows[groups[g].begin];
    alike[{row.source, row.images.size()}].push_back(g);
  }
  std::vector<size_t> order(groups.size());
  Random random(seed);
  for (const auto& [kind, members] : alike) {
    if (members.size() < 2 && kind.second > 0)
      throw Error("eval", "shuffle", "at least two pictures of source \"" + kind.first + "\"",
                  "one");
    std::vector<size_t> cycle = members;  // Sattolo: one cycle, so nobody keeps its own
    for (size_t i = cycle.size(); i > 1; --i) std::swap(cycle[i - 1], cycle[random.below(i - 1)]);
    for (size_t i = 0; i < members.size(); ++i) order[members[i]] = cycle[i];
  }
  return order;
}

std::vector<Prediction> predict(const Model& model, std::span<const Row> rows,
                                const PredictOptions& options) {
  const std::vector<RowGroup> groups = group_rows(rows);
  std::vector<std::vector<Path>> shown;
  for (const RowGroup& group : groups) shown.push_back(rows[group.begin].images);
  if (options.shown == Shown::shuffled) {
    const auto order = shuffled_groups(rows, groups, options.seed);
    for (size_t g = 0; g < groups.size(); ++g) shown[g] = rows[groups[order[g]].begin].images;
  }
  Predictor predictor(model, rows, options);
  const size_t batch = std::max<size_t>(1, options.batch);
  for (size_t first = 0; first < groups.size();) {
    const size_t count = std::min(batch, groups.size() - first);
    first += predictor.run(std::span(groups).subspan(first, count),
                           std::span(shown).subspan(first, count));
  }
  return std::move(predictor).result();
}

}  // namespace revenant
