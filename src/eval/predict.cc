#include "eval/predict.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <ranges>

#include "base/error.h"
#include "engine/engine.h"

namespace revenant {
namespace {

std::vector<Image> images_shown(const std::vector<Picture>& pictures,
                                const PredictOptions& options) {
  std::vector<Image> images = images_of(pictures, options.reading);
  if (options.shown == Shown::blank)
    for (Image& image : images) image = grey_picture(image.width, image.height);
  return images;
}

// The pictures that the first question of a row marks; later questions may mark more.
Pictures first_pictures(const Pictures& all, size_t count) {
  Pictures some;
  some.tokens.assign(all.tokens.begin(), all.tokens.begin() + long(count));
  const int rows = std::accumulate(some.tokens.begin(), some.tokens.end(), 0);
  if (rows > 0) some.features = all.features.slice(0, rows);
  return some;
}

Request request_for(const Model& model, const Row& row, const Pictures& pictures,
                    const GenerateOptions& options) {
  RowPrompt prompt = prompt_of(model, row, pictures);
  return {nullptr, std::move(prompt.ids), std::move(prompt.features), options, true};
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
    generate_.go_on = options.go_on;
    for (size_t i = 0; i < options.known.size(); ++i)
      if (options.known[i]) predictions_[i] = *options.known[i], ++done_;
  }

  // Answers the rows of the groups together; `shown` has for each the pictures that it is shown.
  void run(std::span<const RowGroup> groups, std::span<const std::vector<Picture>> shown) {
    Engine engine(model_, {.prefixes = true});
    std::map<Engine::Ticket, Asked> asked;
    for (size_t g = 0; g < groups.size(); ++g) {
      if (std::ranges::all_of(std::views::iota(groups[g].begin, groups[g].end),
                              [&](size_t row) { return known(row); }))
        continue;
      Pictures pictures, greys;
      const std::string broken = failure_of([&] {
        const std::vector<Image> images = images_shown(shown[g], options_);
        pictures = model_.encode(images, options_.go_on);
        if (options_.grounding) greys = greys_for(images);
      });
      for (size_t row = groups[g].begin; row < groups[g].end; ++row) {
        if (known(row)) continue;
        std::string failure = broken;
        if (failure.empty())
          failure = failure_of([&] { ask(engine, row, pictures, greys, asked); });
        if (!failure.empty()) answer(row, {"", false, 0, failure});
      }
    }
    for (bool more = true; more;) {
      const size_t before = done_;
      more = engine.step();
      for (auto at = asked.begin(); at != asked.end();) {
        std::optional<Generated> made = engine.result(at->first);
        if (!made) {
          ++at;
          continue;
        }
        Asked one = std::move(at->second);
        at = asked.erase(at);
        more |= !take(std::move(*made), one, engine, asked);
      }
      stop_unless(options_.go_on);
      if (options_.progress && done_ > before) options_.progress(done_, rows_.size());
    }
  }
  std::vector<Prediction> result() && { return std::move(predictions_); }

 private:
  // A row's answer on its way; or, once it is known, how likely it is over grey pictures.
  struct Asked {
    size_t row;
    std::shared_ptr<const double> log_prob = {};
    std::optional<Request> grey = {};  // which that takes; its answer is still to be put
    std::optional<Prediction> known = {};
  };

  bool known(size_t row) const { return !options_.known.empty() && options_.known[row]; }

  void ask(Engine& engine, size_t row, const Pictures& pictures, const Pictures& greys,
           std::map<Engine::Ticket, Asked>& asked) {
    Request request = request_for(model_, rows_[row], pictures, generate_);
    Asked one{row};
    if (options_.grounding) {
      one.grey = request_for(model_, rows_[row], greys, generate_);
      if (one.grey->features.empty()) throw Error("eval", "grounding", "a picture", "none");
      one.log_prob = watch_log_prob(request.options);
    }
    asked.emplace(engine.submit(std::move(request)), std::move(one));
  }

  // Whether that was all: an answer may have to be said once more, over grey pictures.
  bool take(Generated made, Asked& one, Engine& engine, std::map<Engine::Ticket, Asked>& asked) {
    if (made.finish_reason == Finish::cancelled) return true;  // it will be asked again
    Prediction prediction = one.known ? std::move(*one.known) : prediction_of(made);
    if (made.failure) {
      prediction = {"", false, prediction.tokens, made.failure->what()};
    } else if (one.known) {
      prediction.grounding->log_prob_grey = *one.log_prob;
    } else if (one.grey) {
      prediction.grounding = {*one.log_prob, 0, int(made.ids.size())};
      one.known = std::move(prediction);
      Request again = said_again(*one.grey, std::move(made.ids));
      one.log_prob = watch_log_prob(again.options);
      asked.emplace(engine.submit(std::move(again)), std::move(one));
      return false;
    }
    answer(one.row, std::move(prediction));
    return true;
  }
  Prediction prediction_of(const Generated& made) const {
    return {filter_output(model_.speech().rule, made.text), made.finish_reason == Finish::stop,
            made.timings.prompt_tokens + made.timings.generated_tokens};
  }

  // Grey pictures of these sizes: encoded once.
  const Pictures& greys_for(std::span<const Image> images) {
    std::vector<std::pair<int, int>> sizes;
    std::vector<Image> greys;
    for (const Image& image : images) {
      sizes.emplace_back(image.width, image.height);
      greys.push_back(grey_picture(image.width, image.height));
    }
    const auto at = greys_.find(sizes);
    if (at != greys_.end()) return at->second;
    return greys_[sizes] = model_.encode(greys, options_.go_on);
  }

  void answer(size_t row, Prediction prediction) {
    ++done_;
    predictions_[row] = std::move(prediction);
    if (options_.on_answer) options_.on_answer(row, predictions_[row]);
  }

  const Model& model_;
  std::span<const Row> rows_;
  const PredictOptions& options_;
  GenerateOptions generate_;
  std::vector<Prediction> predictions_;
  std::map<std::vector<std::pair<int, int>>, Pictures> greys_;  // by sizes
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

std::vector<Image> images_of(const std::vector<Picture>& pictures, const ReadOptions& reading) {
  std::vector<Image> images;
  for (const Picture& picture : pictures) images.push_back(read_picture(picture, reading));
  return images;
}

RowPrompt prompt_of(const Model& model, const Row& row, const Pictures& pictures) {
  const Speech& speech = model.speech();
  const Turn turn{row.question, 0, ""};
  const auto pieces = row_pieces(speech.rule, {&turn, 1});
  const auto marks = std::ranges::count(pieces, Piece::picture, &Piece::kind);
  const Pictures marked = first_pictures(pictures, size_t(marks));
  const EncodedPrompt prompt = encode_prompt(speech.tokenizer, speech.rule, pieces, marked.tokens);
  return {{prompt.ids.begin(), prompt.ids.end()}, marked.features};
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
  std::vector<std::vector<Picture>> shown;
  for (const RowGroup& group : groups) shown.push_back(rows[group.begin].images);
  if (options.shown == Shown::shuffled) {
    const auto order = shuffled_groups(rows, groups, options.seed);
    for (size_t g = 0; g < groups.size(); ++g) shown[g] = rows[groups[order[g]].begin].images;
  }
  Predictor predictor(model, rows, options);
  const size_t batch = std::max<size_t>(1, options.batch);
  for (size_t first = 0; first < groups.size();) {
    const size_t count = std::min(batch, groups.size() - first);
    predictor.run(std::span(groups).subspan(first, count), std::span(shown).subspan(first, count));
    first += count;
  }
  return std::move(predictor).result();
}

}  // namespace revenant
