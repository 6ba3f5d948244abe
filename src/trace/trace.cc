#include "trace/trace.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace revenant {
namespace {

const ArrayNote silent = [](Site, Note, const Array&) {};

std::vector<int> to_ids(const Array& array) { return {array.ints.begin(), array.ints.end()}; }

Array with_shape(Array array, std::vector<int64_t> shape) {
  array.shape = std::move(shape);
  return array;
}

Array scalar(double value) { return {{}, {float(value)}, {}}; }

// [N, ...] -> [1, N, width]
Array one_sequence(const Array& array) {
  const int64_t rows = array.shape.at(0);
  return with_shape(array, {1, rows, int64_t(array.floats.size()) / rows});
}

// [N, heads, d] -> [1, N, heads, d]
Array one_sequence_heads(const Array& array, int64_t d) {
  const int64_t rows = array.shape.at(0);
  return with_shape(array, {1, rows, int64_t(array.floats.size()) / rows / d, d});
}

// The forward text's notes, renamed as the goldens name them.
class Recorder {
 public:
  Recorder(const Config& config, std::string group, Arrays& out)
      : c_(config), group_(std::move(group)), out_(out) {}

  ArrayNote tower(int64_t tiles) {
    return [this, tiles](Site site, Note name, const Array& x) {
      const std::string key = name == Note::tower_layer ? "layer." + std::to_string(site.layer)
                                                        : std::string(name_of(name));
      const int64_t width = x.shape.back();
      out_[group_ + key] = with_shape(x, {tiles, int64_t(x.floats.size()) / tiles / width, width});
    };
  }
  ArrayNote decoder() {
    return [this](Site site, Note name, const Array& x) { put(site, name, x); };
  }

 private:
  void put(Site site, Note note, const Array& x) {
    const std::string name(name_of(note));
    const std::string layer = group_ + "layer." + std::to_string(site.layer) + ".";
    switch (note) {
      case Note::inputs_embeds:
      case Note::final_norm:
        out_[group_ + name] = one_sequence(x);
        break;
      case Note::output:
      case Note::pass1:
      case Note::pass2:
        out_[layer + name] = one_sequence(x);
        break;
      case Note::trol_gate:
        out_[layer + (c_.phantom.on ? name : "gate")] = with_shape(x, {1, x.shape.at(0)});
        break;
      case Note::attn_output:
        out_[layer + name + (c_.trol.on ? "_pass" + std::to_string(site.pass) : "")] =
            one_sequence(x);
        break;
      default:
        if (site.pass == 1) put_first_pass(layer, note, x);
    }
  }
  void put_first_pass(const std::string& layer, Note note, const Array& x) {
    const std::string name(name_of(note));
    if (c_.trol.on && (note == Note::k || note == Note::v))
      out_[layer + "cache_" + name] = one_sequence_heads(x, c_.head_dim);
    if (!c_.phantom.on) return;
    if (note != Note::q_ghost && note != Note::k_ghost && note != Note::v_ghost) {
      out_[layer + name] =
          note == Note::gate ? one_sequence(x) : one_sequence_heads(x, c_.head_dim);
      return;
    }
    // Ghosts are kept unscaled: q* = eta y, k* = eta y, v* = v + eta y.
    Array scaled = one_sequence_heads(x, c_.head_dim);
    for (float& value : scaled.floats) value *= float(c_.phantom.eta);
    if (note == Note::v_ghost) {
      const Array& v = out_.at(layer + "v");
      for (size_t i = 0; i < v.floats.size(); ++i) scaled.floats[i] += v.floats[i];
    }
    out_[layer + name.substr(0, 1) + "_phantom"] = std::move(scaled);
  }

  const Config& c_;
  std::string group_;
  Arrays& out_;
};

std::vector<uint8_t> picture_marks(const Config& c, std::span<const int> ids) {
  std::vector<uint8_t> marks;
  for (const int id : ids) marks.push_back(id == c.image_token);
  return marks;
}

// CLIP towers may be given 8-bit pixels: (x - 255 mean) / (255 std).
std::optional<Array> pixels_of(const Arrays& inputs, const std::string& group) {
  if (const auto it = inputs.find(group + "pixel_values"); it != inputs.end()) return it->second;
  const auto it = inputs.find(group + "image_u8");
  if (it == inputs.end()) return {};
  constexpr double mean[] = {0.48145466, 0.4578275, 0.40821073};
  constexpr double deviation[] = {0.26862954, 0.26130258, 0.27577711};
  Array pixels{it->second.shape, {}, {}};
  const size_t plane = size_t(pixels.shape.at(2) * pixels.shape.at(3));
  for (size_t i = 0; i < it->second.ints.size(); ++i) {
    const size_t channel = i / plane % 3;
    pixels.floats.push_back(
        float((double(it->second.ints[i]) - 255 * mean[channel]) / (255 * deviation[channel])));
  }
  return pixels;
}

// The pictures of a group as rows; golden ones where the inputs hold them, so that each stage is
// held to the goldens by itself.
std::optional<Array> see_group(Traced& t, const Arrays& inputs, const std::string& group) {
  if (const auto it = inputs.find(group + "projected"); it != inputs.end()) {
    const int64_t width = it->second.shape.back();
    return with_shape(it->second, {int64_t(it->second.floats.size()) / width, width});
  }
  const auto pixels = pixels_of(inputs, group);
  if (!pixels) return {};
  return t.see(*pixels, silent);
}

Step whole_prompt(const Config& c, std::span<const int> ids, int generated = 0) {
  Step step;
  const int prompt = int(ids.size()) - generated;
  std::vector<uint8_t> marks = picture_marks(c, ids);
  std::fill(marks.begin() + prompt, marks.end(), 0);  // what is generated is no picture
  step.add(0, 0, int(ids.size()), prompt, true, marks);
  step.spans[0].generated = generated;
  return step;
}

const Array* pointer(const std::optional<Array>& array) { return array ? &*array : nullptr; }

// Rows [first, first + count) of [rows, width].
Array rows_of(const Array& x, int64_t first, int64_t count) {
  const int64_t width = x.shape.back();
  const auto begin = x.floats.begin() + first * width;
  return {{count, width}, {begin, begin + count * width}, {}};
}

// Greedy: with the executor's cache or, where it has none, by a whole forward a token.
Traced::Continuation continue_prompt(Traced& t, const std::vector<int>& ids, const Array* features,
                                     int count) {
  if (auto made = t.generate(ids, features, count)) return *made;
  Traced::Continuation made;
  std::vector<int> all = ids;
  for (int i = 0; i < count; ++i) {
    const Array logits = t.forward(whole_prompt(t.config(), all, i), all, features, silent);
    const std::vector<float> last = rows_of(logits, int64_t(all.size()) - 1, 1).floats;
    all.push_back(int(std::ranges::max_element(last) - last.begin()));
    made.tokens.push_back(all.back());
    made.logits.floats.insert(made.logits.floats.end(), last.begin(), last.end());
    made.logits.shape = {i + 1, int64_t(last.size())};
  }
  return made;
}

// As many tokens as the inputs hold of this continuation, else as asked, else as the goldens have.
int tokens_to_make(const Arrays& inputs, const std::string& name, int asked, int usual) {
  const auto it = inputs.find(name);
  if (it == inputs.end()) return asked ? asked : usual;
  return int(it->second.shape.empty() ? 1 : it->second.shape.back());
}

// Greedy tokens up to the stop token, which is kept; with `fill` the row goes on with it.
void add_stopped(Array& out, std::span<const int64_t> tokens, int64_t stop, bool fill) {
  bool ended = false;
  for (const int64_t token : tokens) {
    if (ended && !fill) break;
    out.ints.push_back(ended ? stop : token);
    ended = ended || token == stop;
  }
}

void put_continuation(Arrays& out, const std::string& tokens, const std::string& logits,
                      const Traced::Continuation& made) {
  out[tokens] = {{1, int64_t(made.tokens.size())}, {}, {made.tokens.begin(), made.tokens.end()}};
  out[logits] = one_sequence(made.logits);
}

// One sequence; prefill/ has the pictures of vision/ and shows its intermediates.
void trace_prompt(Traced& t, const Arrays& inputs, const std::string& group, int new_tokens,
                  Arrays& out) {
  const bool main = group == "prefill/";
  const std::vector<int> ids = to_ids(inputs.at(group + "input_ids"));
  const std::optional<Array> features = main ? see_group(t, inputs, "vision/") : std::nullopt;
  Recorder recorder(t.config(), group, out);
  const Array logits = t.forward(whole_prompt(t.config(), ids), ids, pointer(features),
                                 main ? recorder.decoder() : silent);
  out[group + "logits"] = one_sequence(logits);
  if (main && t.config().image_lora_rank > 0) {
    const auto marks = picture_marks(t.config(), ids);
    out[group + "im_mask"] = {{1, int64_t(marks.size())}, {}, {marks.begin(), marks.end()}};
  }
  const std::string tokens = main ? "gen/tokens" : group + "gen_tokens";
  const int count = tokens_to_make(inputs, tokens, new_tokens, main ? 20 : 16);
  put_continuation(out, tokens, main ? "gen/logits" : group + "gen_logits",
                   continue_prompt(t, ids, pointer(features), count));
  if (main && inputs.contains("gen_stop/stop_id")) {
    Array& kept = out["gen_stop/tokens"];
    add_stopped(kept, out[tokens].ints, inputs.at("gen_stop/stop_id").ints.at(0), false);
    kept.shape = {1, int64_t(kept.ints.size())};
  }
  if (!main) return;
  t.switch_mechanisms(false);
  out["off/logits"] =
      one_sequence(t.forward(whole_prompt(t.config(), ids), ids, pointer(features), silent));
  t.switch_mechanisms(true);
}

// Padded rows, without their padding.
struct Batch {
  std::vector<std::vector<int>> ids;
  std::vector<std::vector<int64_t>> labels;
  int64_t width = 0;
};

Batch unpad(const Arrays& inputs, const std::string& group) {
  const Array& ids = inputs.at(group + "input_ids");
  const Array& mask = inputs.at(group + "attention_mask");
  const auto labels = inputs.find(group + "labels");
  Batch batch;
  batch.width = ids.shape.at(1);
  for (int64_t r = 0; r < ids.shape[0]; ++r) {
    batch.ids.emplace_back();
    batch.labels.emplace_back();
    for (int64_t i = r * batch.width; i < (r + 1) * batch.width; ++i) {
      if (!mask.ints.at(size_t(i))) continue;
      batch.ids.back().push_back(int(ids.ints[size_t(i)]));
      if (labels != inputs.end()) batch.labels.back().push_back(labels->second.ints.at(size_t(i)));
    }
  }
  return batch;
}

// Ragged rows. The reference decides its rotary rule over the padded length while it generates, and
// over positions while it trains; `rope_length` 0 means each sequence's own.
Step ragged(const Config& c, const Batch& batch, int rope_length, std::vector<int>& ids) {
  Step step;
  for (size_t r = 0; r < batch.ids.size(); ++r) {
    const std::vector<int>& row = batch.ids[r];
    step.add(int(r), 0, int(row.size()), rope_length ? rope_length : int(row.size()), true,
             picture_marks(c, row));
    ids.insert(ids.end(), row.begin(), row.end());
  }
  return step;
}

void trace_batch(Traced& t, const Arrays& inputs, int new_tokens, Arrays& out) {
  const Batch batch = unpad(inputs, "batch/");
  const std::optional<Array> features = see_group(t, inputs, "batch/");
  std::vector<int> ids;
  const Step step = ragged(t.config(), batch, int(batch.width), ids);
  const Array logits = t.forward(step, ids, pointer(features), silent);
  const int64_t rows = int64_t(batch.ids.size()), vocab = logits.shape.back();
  Array padded{
      {rows, batch.width, vocab}, std::vector<float>(size_t(rows * batch.width * vocab), 0.0f), {}};
  for (const Span& span : step.spans)
    std::copy_n(logits.floats.begin() + span.first_row * vocab, span.rows * vocab,
                padded.floats.begin() + ((span.sequence + 1) * batch.width - span.rows) * vocab);
  out["batch/logits"] = std::move(padded);
  const size_t count = size_t(tokens_to_make(inputs, "batch/gen_tokens", new_tokens, 16));
  Array tokens{{rows, int64_t(count)}, {}, {}}, all{{rows, int64_t(count), vocab}, {}, {}};
  int64_t used = 0;  // picture rows given to earlier sequences
  for (const std::vector<int>& prompt : batch.ids) {
    int64_t pictures = 0;
    for (const int id : prompt) pictures += id == t.config().image_token;
    const std::optional<Array> own =
        pictures ? std::optional(rows_of(*features, used, pictures)) : std::nullopt;
    used += pictures;
    const auto made = continue_prompt(t, prompt, pointer(own), int(count));
    tokens.ints.insert(tokens.ints.end(), made.tokens.begin(), made.tokens.end());
    all.floats.insert(all.floats.end(), made.logits.floats.begin(), made.logits.floats.end());
  }
  if (inputs.contains("batch_stop/stop_id")) {
    constexpr size_t shown = 8;  // as in the goldens
    Array& kept = out["batch_stop/tokens"];
    for (size_t r = 0; r < batch.ids.size(); ++r)
      add_stopped(kept, std::span(tokens.ints).subspan(r * count, std::min(shown, count)),
                  inputs.at("batch_stop/stop_id").ints.at(0), true);
    kept.shape = {rows, int64_t(std::min(shown, count))};
  }
  out["batch/gen_tokens"] = std::move(tokens);
  out["batch/gen_logits"] = std::move(all);
}

// The label of the next row.
std::vector<int64_t> targets_of(const Batch& batch) {
  std::vector<int64_t> targets;
  for (const auto& labels : batch.labels)
    for (size_t i = 0; i < labels.size(); ++i)
      targets.push_back(i + 1 < labels.size() ? labels[i + 1] : -100);
  return targets;
}

void trace_training(Traced& t, const Arrays& inputs, Arrays& out) {
  const Batch batch = unpad(inputs, "train/");
  const Array pixels = *pixels_of(inputs, "train/");
  std::vector<int> ids;
  const Step step = ragged(t.config(), batch, 0, ids);
  const std::vector<int64_t> targets = targets_of(batch);
  const Array features = t.see(pixels, silent);
  const Array logits = t.forward(step, ids, &features, silent);
  out["train/sft_loss"] = scalar(answer_loss(logits, targets));
  if (!t.has_autograd()) return;
  for (auto& [name, array] : t.train(step, ids, targets, pixels))
    out["train/" + name] = std::move(array);
}

// Two answers to one question. The losses are made here from the logits, or, where the executor has
// autograd, by what it trains with.
void trace_preference(Traced& t, const Arrays& inputs, Arrays& out) {
  const std::string sides[] = {"chosen", "rejected"};
  const std::optional<Array> pixels = pixels_of(inputs, "po/");
  std::optional<Array> features;
  if (pixels) features = t.see(*pixels, silent);
  Batch both;
  std::vector<double> means;  // log-probability of an answer's token
  for (const std::string& side : sides) {
    const std::vector<int> ids = to_ids(inputs.at("po/" + side + "_input_ids"));
    const Batch one{{ids}, {inputs.at("po/" + side + "_labels").ints}};
    both.ids.push_back(ids);
    both.labels.push_back(one.labels[0]);
    const Array logits = t.forward(whole_prompt(t.config(), ids), ids, pointer(features), silent);
    const std::vector<int64_t> targets = targets_of(one);
    const auto count = std::ranges::count_if(targets, [](int64_t label) { return label >= 0; });
    means.push_back(-answer_loss(logits, targets));
    out["po/" + side + "_logits"] = one_sequence(logits);
    out["po/n_" + side] = {{1}, {}, {count}};
    out["po/logp_" + side] = {{1}, {float(means.back() * double(count))}, {}};
  }
  for (size_t j = 0; j < std::size(preference_settings); ++j) {
    const auto [beta, gamma] = preference_settings[j];
    const double against = gamma - beta * (means[0] - means[1]);  // of log sigmoid, the sign turned
    const double preference = std::max(against, 0.0) + std::log1p(std::exp(-std::abs(against)));
    const std::string at = "po/" + std::to_string(j) + "/";
    out[at + "sft_term"] = scalar(-means[0]);
    out[at + "preference_term"] = scalar(preference);
    out[at + "loss"] = scalar(preference - means[0]);
  }
  if (!t.has_autograd()) return;
  std::vector<int> ids;
  const Step step = ragged(t.config(), both, 0, ids);
  for (auto& [name, array] : t.prefer(step, ids, targets_of(both), pointer(pixels)))
    out["po/" + name] = std::move(array);
}

void trace_tower(Traced& t, const Arrays& inputs, const std::string& group, Arrays& out) {
  const Array pixels = *pixels_of(inputs, group);
  Recorder recorder(t.config(), group, out);
  t.see(pixels, recorder.tower(pixels.shape.at(0)));
  if (group == "vision/") return;
  out[group + "last"] = out.at(group + "layer." + std::to_string(t.config().vision.layers - 1));
}

}  // namespace

double answer_loss(const Array& logits, std::span<const int64_t> targets) {
  const int64_t vocab = logits.shape.back();
  double sum = 0;
  int count = 0;
  for (size_t r = 0; r < targets.size(); ++r) {
    if (targets[r] < 0) continue;
    const float* row = logits.floats.data() + int64_t(r) * vocab;
    const double top = *std::max_element(row, row + vocab);
    double total = 0;
    for (int64_t i = 0; i < vocab; ++i) total += std::exp(row[i] - top);
    sum += top + std::log(total) - row[targets[r]];
    ++count;
  }
  return sum / count;
}

Arrays trace(Traced& traced, const Arrays& inputs, int new_tokens) {
  check_inputs(traced.config(), inputs);
  Arrays out;
  for (const std::string group : {"vision/", "vision_interp/"})
    if (pixels_of(inputs, group)) trace_tower(traced, inputs, group, out);
  for (const std::string group : {"prefill/", "text/", "long/"})
    if (inputs.contains(group + "input_ids")) trace_prompt(traced, inputs, group, new_tokens, out);
  if (inputs.contains("batch/input_ids")) trace_batch(traced, inputs, new_tokens, out);
  if (inputs.contains("train/input_ids")) trace_training(traced, inputs, out);
  if (inputs.contains("po/chosen_input_ids")) trace_preference(traced, inputs, out);
  if (out.empty())
    throw Error("trace", "inputs",
                "vision/*, vision_interp/*, prefill/*, text/*, long/*, batch/*, train/* or po/*",
                "none of them");
  return out;
}

}  // namespace revenant
