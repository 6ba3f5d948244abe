#include "eval/importance.h"

#include "base/error.h"
#include "eval/predict.h"

namespace revenant {
namespace {

// A matrix is known by where it lies: the first of its bytes, and of its rows among fused ones.
using Place = std::pair<const std::byte*, int64_t>;

class Watch : public Observer {
 public:
  explicit Watch(const Model& model) {
    for (const TensorSpec& spec : tensor_table(model.config())) {
      if (spec.shape.size() != 2 || spec.role == Role::position) continue;
      const StoredWeight stored = model.files().weight(spec);
      if (is_quantised(stored.format))
        throw Error("imatrix", model.files().path().string(), "weights of 16 or 32 bits",
                    spec.name + " in " + info(stored.format).name);
      names_[{stored.data.data(), stored.rows.offset}] = spec.name;
    }
  }
  void note(Site, Note, const Tensor&) override {}
  void product(const Packed& weight, const Tensor& x) override {
    const auto name = names_.find({weight.data, weight.map.offset});
    if (name == names_.end()) return;
    InputSquares& squares = importance_[name->second];
    squares.sums.resize(size_t(x.width));
    const size_t rows = size_t(x.rows) * size_t(x.heads), width = size_t(x.width);
    for (size_t r = 0; r < rows; ++r)
      for (size_t i = 0; i < width; ++i) {
        const double value = double(x.data()[r * width + i]);
        squares.sums[i] += value * value;
      }
    squares.rows += int64_t(rows);
  }
  Importance result() && { return std::move(importance_); }

 private:
  std::map<Place, std::string> names_;
  Importance importance_;
};

// The prompt, and its right answer as if it were generated.
void read_row(const Model& model, const Row& row, const Pictures& pictures, Watch& watch,
              const GoOn& go_on) {
  const Speech& speech = model.speech();
  const RowPrompt prompt = prompt_of(model, row, pictures);
  std::vector<int> answer;
  for (const int32_t id : speech.tokenizer.encode(row.answer, Specials::as_text))
    answer.push_back(id);
  const Native native = model.native(&watch, go_on);
  Sequence sequence(model.config(), model.pages());
  Sequence* const sequences[] = {&sequence};
  Step first, second;
  const int length = int(prompt.ids.size());
  std::vector<uint8_t> shows;
  for (const int id : prompt.ids) shows.push_back(id == model.image_token());
  first.add(0, 0, length, length, true, shows);
  const Tensor before = forward(native, first, sequences, prompt.ids,
                                prompt.features.empty() ? nullptr : &prompt.features);
  logits(native, last_rows(native, before, first));
  if (answer.empty()) return;
  second.add(0, length, int(answer.size()), length + int(answer.size()), false);
  logits(native, forward(native, second, sequences, answer));
}

}  // namespace

Importance measure_importance(const Model& model, std::span<const Row> rows,
                              const ImportanceOptions& options) {
  Watch watch(model);
  size_t done = 0;
  for (const RowGroup& group : group_rows(rows)) {
    const std::vector<Image> images = images_of(rows[group.begin].images, options.reading);
    const Pictures pictures = model.encode(images, options.go_on, &watch);
    for (size_t row = group.begin; row < group.end; ++row) {
      stop_unless(options.go_on);
      read_row(model, rows[row], pictures, watch, options.go_on);
      if (options.progress) options.progress(++done, rows.size());
    }
  }
  Importance importance = std::move(watch).result();
  if (!rows.empty() && !importance.contains("blk.0.ffn_up.weight"))
    throw Error("imatrix", model.files().path().string(), "weights as they are stored",
                "others (--weights)");
  return importance;
}

}  // namespace revenant
