#include "engine/traced.h"

#include <algorithm>

#include "engine/session.h"

namespace revenant {
namespace {

Array to_array(const Tensor& x) {
  std::vector<int64_t> shape = {x.rows};
  if (x.heads > 1 || x.width == 1) shape.push_back(x.heads);
  shape.push_back(x.width);
  return {shape, {x.data(), x.data() + x.size()}, {}};
}

Tensor to_tensor(const Array& array) {
  const int64_t width = array.shape.back();
  return Tensor::from(array.floats.data(), int(int64_t(array.floats.size()) / width), int(width));
}

struct Notes : Observer {
  explicit Notes(const ArrayNote& note) : note_to(note) {}
  void note(Site site, Note name, const Tensor& value) override {
    note_to(site, name, to_array(value));
  }
  const ArrayNote& note_to;
};

}  // namespace

Native NativeTraced::native(Observer* observer) const {
  const Native full = model_->native(observer);
  return {config_, full.weights, full.threads, observer, full.kernels};
}

void NativeTraced::switch_mechanisms(bool on) {
  config_.phantom.on = on && model_->config().phantom.on;
  config_.trol.on = on && model_->config().trol.on;
}

Array NativeTraced::see(const Array& pixels, const ArrayNote& note) {
  Notes notes(note);
  return to_array(revenant::see(native(&notes), pixels.floats, int(pixels.shape.at(0)),
                                int(pixels.shape.at(3))));
}

Array NativeTraced::forward(const Step& step, std::span<const int> ids, const Array* features,
                            const ArrayNote& note) {
  Notes notes(note);
  std::vector<Sequence> sequences;
  for (size_t i = 0; i < step.spans.size(); ++i) sequences.emplace_back(config_);
  std::vector<Sequence*> pointers;
  for (Sequence& sequence : sequences) pointers.push_back(&sequence);
  const Tensor rows = features ? to_tensor(*features) : Tensor();
  const Native observed = native(&notes);
  return to_array(logits(
      observed, revenant::forward(observed, step, pointers, ids, features ? &rows : nullptr)));
}

std::optional<Traced::Continuation> NativeTraced::generate(std::span<const int> ids,
                                                           const Array* features, int count) {
  Session session(*model_);
  Tensor next = session.feed(ids, features ? to_tensor(*features) : Tensor());
  Continuation made;
  made.logits.shape = {count, next.width};
  for (int i = 0; i < count; ++i) {
    made.logits.floats.insert(made.logits.floats.end(), next.data(), next.data() + next.size());
    made.tokens.push_back(
        int(std::max_element(next.data(), next.data() + next.size()) - next.data()));
    if (i + 1 < count) next = session.step(made.tokens.back());
  }
  return made;
}

}  // namespace revenant
