#include <algorithm>

#include "base/error.h"
#include "base/shape.h"
#include "trace/trace.h"

namespace revenant {
namespace {

const Array& need(const Arrays& inputs, const std::string& name) {
  const auto it = inputs.find(name);
  if (it == inputs.end()) throw Error("trace", name, "a tensor of the inputs file", "nothing");
  return it->second;
}

// What an inputs file may hold, refused by name where a trace could not read it.
class Inputs {
 public:
  Inputs(const Config& config, const Arrays& arrays) : c_(config), arrays_(arrays) {}

  void check() const {
    if (c_.phantom.on && c_.phantom.eta_learnable)
      throw Error("trace", "revenant.phantom_eta_learnable",
                  "false: ghosts are shown by the configuration's eta", "true");
    for (const std::string group : {"vision/", "vision_interp/", "batch/", "train/", "po/"})
      check_pictures(group);
    check_prompt("prefill/", features("vision/"), "gen/tokens");
    check_prompt("text/", 0, "text/gen_tokens");
    check_prompt("long/", 0, "long/gen_tokens");
    for (const char* name : {"gen_stop/stop_id", "batch_stop/stop_id"}) check_row(name, 1);
    check_batch("batch/", features("batch/"));
    check_continued_rows();
    if (find("train/input_ids") && !find("train/image_u8")) need(arrays_, "train/pixel_values");
    check_batch("train/", features("train/"));
    check_targets();
    check_pair();
    for (const char* group : {"prefill/", "text/", "long/", "batch/", "train/"})
      check_positions(group);
  }

 private:
  const Array* find(const std::string& name) const {
    const auto it = arrays_.find(name);
    return it == arrays_.end() ? nullptr : &it->second;
  }
  static void require(bool good, const std::string& name, const std::string& expected,
                      const Array& a) {
    const char* type = !a.floats.empty() ? "floats " : !a.ints.empty() ? "integers " : "empty ";
    if (!good) throw Error("trace", name, expected, type + shape_text(a.shape));
  }
  static void require_range(const std::string& name, const Array& a, int64_t first, int64_t end) {
    for (const int64_t value : a.ints)
      if (value < first || value >= end)
        throw Error("trace", name,
                    "integers in [" + std::to_string(first) + ", " + std::to_string(end) + ")",
                    std::to_string(value));
  }
  static void require_like(const std::string& name, const Array& a, const Array& other) {
    require(!a.ints.empty() && a.shape == other.shape, name, "integers " + shape_text(other.shape),
            a);
  }

  // Ids of one sequence; `length` 0: any.
  void check_row(const std::string& name, size_t length = 0) const {
    const Array* a = find(name);
    if (!a) return;
    const bool row = a->shape.size() == 1 || (a->shape.size() == 2 && a->shape[0] == 1) ||
                     (length == 1 && a->shape.empty());
    const std::string n = length ? std::to_string(length) : "N";
    require(row && !a->ints.empty() && (!length || a->ints.size() == length), name,
            "integers [" + n + "] or [1, " + n + "]", *a);
    require_range(name, *a, 0, c_.embedding_rows);
  }
  void check_pictures(const std::string& group) const {
    // Of the resampled positions only the tower is looked at.
    const int unit = c_.vision.patch * (group == "vision_interp/" ? 1 : c_.shuffle);
    const std::string shape = " [T, 3, S, S] with S a multiple of " + std::to_string(unit);
    const auto square = [&](const std::vector<int64_t>& s) {
      return s.size() == 4 && s[1] == 3 && s[2] == s[3] && s[3] % unit == 0;
    };
    if (const Array* a = find(group + "pixel_values"))
      require(!a->floats.empty() && square(a->shape), group + "pixel_values", "floats" + shape, *a);
    if (const Array* a = find(group + "image_u8")) {
      require(!a->ints.empty() && square(a->shape), group + "image_u8", "integers" + shape, *a);
      require_range(group + "image_u8", *a, 0, 256);
    }
    if (const Array* a = find(group + "projected"))
      require(!a->floats.empty() && a->shape.size() >= 2 && a->shape.back() == c_.hidden,
              group + "projected", "floats [..., " + std::to_string(c_.hidden) + "]", *a);
  }
  // Rows that the group's pictures give; a training sees its pictures itself.
  int64_t features(const std::string& group) const {
    const bool trains = group == "train/" || group == "po/";
    const Array* ready = trains ? nullptr : find(group + "projected");
    if (ready) return int64_t(ready->floats.size()) / c_.hidden;
    const Array* pixels = find(group + "pixel_values");
    if (!pixels) pixels = find(group + "image_u8");
    if (!pixels) return 0;
    const int64_t side = pixels->shape[3] / c_.vision.patch / c_.shuffle;
    return pixels->shape[0] * side * side;
  }
  void check_marks(const std::string& name, int64_t marks, int64_t rows) const {
    if (marks != rows)
      throw Error("trace", name,
                  std::to_string(rows) + " picture tokens, one a row of its pictures",
                  std::to_string(marks));
  }
  void check_prompt(const std::string& group, int64_t rows, const std::string& continued) const {
    check_row(group + "input_ids");
    check_row(continued);
    if (const Array* ids = find(group + "input_ids"))
      check_marks(group + "input_ids", std::ranges::count(ids->ints, c_.image_token), rows);
  }

  void check_batch(const std::string& group, int64_t rows) const {
    const Array* ids = find(group + "input_ids");
    if (!ids) return;
    require(!ids->ints.empty() && ids->shape.size() == 2, group + "input_ids", "integers [R, N]",
            *ids);
    require_range(group + "input_ids", *ids, 0, c_.embedding_rows);
    const Array& mask = need(arrays_, group + "attention_mask");
    check_mask(group + "attention_mask", mask, *ids, group == "batch/");
    int64_t marks = 0;
    for (size_t i = 0; i < ids->ints.size(); ++i)
      marks += mask.ints[i] && ids->ints[i] == c_.image_token;
    check_marks(group + "input_ids", marks, rows);
    if (const Array* labels = find(group + "labels")) {
      require_like(group + "labels", *labels, *ids);
      require_range(group + "labels", *labels, -100, c_.vocab);
    }
  }
  // `left`: the padding stands there. A training's may stand anywhere.
  void check_mask(const std::string& name, const Array& mask, const Array& ids, bool left) const {
    require_like(name, mask, ids);
    require_range(name, mask, 0, 2);
    const int64_t width = ids.shape[1];
    for (auto row = mask.ints.begin(); row != mask.ints.end(); row += width) {
      const auto end = row + width;
      const bool good = std::count(row, end, 1) > 0 && (!left || std::is_sorted(row, end));
      if (!good)
        throw Error("trace", name, left ? "zeros, then ones, in each row" : "a one in each row",
                    "another row " + std::to_string((row - mask.ints.begin()) / width));
    }
  }
  void check_continued_rows() const {
    const Array* ids = find("batch/input_ids");
    const Array* tokens = find("batch/gen_tokens");
    if (!ids) return;
    if (tokens) {
      require(
          !tokens->ints.empty() && tokens->shape.size() == 2 && tokens->shape[0] == ids->shape[0],
          "batch/gen_tokens", "integers [" + std::to_string(ids->shape[0]) + ", N]", *tokens);
      require_range("batch/gen_tokens", *tokens, 0, c_.embedding_rows);
    }
    for (int64_t r = 0; r < ids->shape[0]; ++r) {
      const std::string name = "batch_row." + std::to_string(r) + "/gen_tokens";
      if (find(name)) check_row(name, size_t(need(arrays_, "batch/gen_tokens").shape[1]));
    }
  }
  // What is computed anyway: tokens count from 0, from the first that the mask lets stand.
  void check_positions(const std::string& group) const {
    const Array* ids = find(group + "input_ids");
    if (!ids) return;
    const Array* mask = find(group + "attention_mask");
    const bool rows = group == "batch/" || group == "train/";
    const auto ones = [&] {
      const auto one = [](auto value) { return value == 1; };
      return mask->ints.size() + mask->floats.size() == ids->ints.size() &&
             std::ranges::all_of(mask->ints, one) && std::ranges::all_of(mask->floats, one);
    };
    if (mask && !rows && !ones())
      throw Error("trace", group + "attention_mask", "a one for each of the input_ids", "others");
    const Array* positions = find(group + "position_ids");
    if (!positions) return;
    if (rows)
      require_like(group + "position_ids", *positions, *ids);
    else
      require(positions->ints.size() == ids->ints.size(), group + "position_ids",
              "integers " + shape_text(ids->shape), *positions);
    const size_t width = rows ? size_t(ids->shape[1]) : ids->ints.size();
    int64_t next = 0;
    for (size_t i = 0; i < ids->ints.size(); ++i) {
      if (i % width == 0) next = 0;
      if (rows && mask && !mask->ints[i]) continue;
      if (positions->ints[i] != next++)
        throw Error(
            "trace", group + "position_ids",
            std::to_string(next - 1) + " for token " + std::to_string(i % width) + " of its row",
            std::to_string(positions->ints[i]));
    }
  }
  // The mean of no loss would be no number.
  void check_targets() const {
    const Array* ids = find("train/input_ids");
    if (!ids) return;
    const auto& mask = need(arrays_, "train/attention_mask").ints;
    const auto& labels = need(arrays_, "train/labels").ints;
    for (size_t i = 1; i < labels.size(); ++i)
      if (labels[i] >= 0 && mask[i - 1] && i % size_t(ids->shape[1]) != 0) return;
    throw Error("trace", "train/labels", "a label of at least 0 after the first token of a row",
                "none");
  }

  // Two answers to one question about the same pictures.
  void check_pair() const {
    if (!find("po/chosen_input_ids") && !find("po/rejected_input_ids")) return;
    for (const std::string side : {"po/chosen_", "po/rejected_"}) {
      const Array& ids = need(arrays_, side + "input_ids");
      check_prompt(side, features("po/"), side + "input_ids");
      const Array& labels = need(arrays_, side + "labels");
      require_like(side + "labels", labels, ids);
      require_range(side + "labels", labels, -100, c_.vocab);
      if (std::ranges::none_of(labels.ints.begin() + 1, labels.ints.end(),
                               [](int64_t label) { return label >= 0; }))
        throw Error("trace", side + "labels", "a label of at least 0 after the first token",
                    "none");
    }
  }

  const Config& c_;
  const Arrays& arrays_;
};

}  // namespace

void check_inputs(const Config& config, const Arrays& inputs) { Inputs(config, inputs).check(); }

}  // namespace revenant
