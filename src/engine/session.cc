#include "engine/session.h"

#include <algorithm>

#include "base/error.h"

namespace revenant {
namespace {

int count_pictures(const std::vector<uint8_t>& marks, int begin, int end) {
  return int(std::count(marks.begin() + begin, marks.begin() + end, 1));
}

// `mine` from `same` on as in `theirs`.
template <class T>
void graft(std::vector<T>& mine, const std::vector<T>& theirs, size_t same) {
  mine.resize(same);
  mine.insert(mine.end(), theirs.begin() + std::ptrdiff_t(same), theirs.end());
}

bool traversed(const Config& c, bool prompt, int length) {
  return traverses(c.trol, Span{.rows = 1, .rope_length = length, .prompt = prompt});
}

}  // namespace

// Tokens that `ids` and the history begin with alike, pictures included.
int Session::common(std::span<const int> ids, const Tensor& features) const {
  const size_t width = size_t(model_->config().hidden);
  const int image = model_->image_token();
  size_t n = 0, picture = 0;
  for (; n < std::min(ids.size(), ids_.size()) && ids[n] == ids_[n]; ++n) {
    if (pictures_[n] != (ids[n] == image)) break;
    if (!pictures_[n]) continue;
    if (features.empty() || int(picture) >= features.rows) break;
    const float* mine = features_.data() + picture * width;
    if (!std::equal(mine, mine + width, features.row(int(picture)))) break;
    ++picture;
  }
  return int(n);
}

Tensor Session::prompt(std::span<const int> ids, const Tensor& features, const GoOn& go_on) {
  if (ids.empty()) throw Error("session", "prompt", "at least one token", "none");
  const int same = std::min(common(ids, features), int(ids.size()) - 1);
  rewind(same);
  const int pictures = count_pictures(pictures_, 0, same);
  const bool more = !features.empty() && features.rows > pictures;
  return feed(ids.subspan(size_t(same)),
              more ? features.slice(pictures, features.rows - pictures) : Tensor(), 0, go_on);
}

// Room for so many tokens more, so that adding them and their rows cannot fail half-way.
void Session::reserve(size_t more) {
  const auto grow = [](auto& kept, size_t count) {
    if (count > kept.capacity()) kept.reserve(std::max(count, kept.capacity() * 3 / 2));
  };
  grow(ids_, ids_.size() + more);
  grow(pictures_, ids_.size() + more);
  grow(made_, ids_.size() + more);
}

void Session::append(std::span<const int> ids, const Tensor& features) {
  model_->check_prompt("session", ids, features);
  const int image = model_->image_token();
  reserve(ids.size());
  if (!features.empty())
    features_.insert(features_.end(), features.data(), features.data() + features.size());
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  for (const int id : ids) pictures_.push_back(id == image);
}

// Cached rows that a prompt of `length` tokens would have computed the same way.
int Session::reusable(int length) const {
  const Config& c = model_->config();
  const int rule = rope_rule_key(c.rope, length);
  int rows = 0;
  while (rows < sequence_.rows && made_[size_t(rows)].rope_rule == rule &&
         made_[size_t(rows)].traversed == traversed(c, true, length))
    ++rows;
  return rows;
}

// Prompt rows from the end of the cache to `end`.
Tensor Session::compute(int end, int length, const GoOn& go_on) {
  const Config& c = model_->config();
  const Native native = model_->native(nullptr, go_on);
  Sequence* const sequences[] = {&sequence_};
  Tensor last;
  while (sequence_.rows < end) {
    const int begin = sequence_.rows, count = std::min(rows_together, end - begin);
    const int before = count_pictures(pictures_, 0, begin);
    const int pictures = count_pictures(pictures_, begin, begin + count);
    Step step;
    step.add(0, begin, count, length, true,
             {pictures_.begin() + begin, pictures_.begin() + begin + count});
    const Tensor features =
        pictures
            ? Tensor::from(features_.data() + size_t(before) * size_t(c.hidden), pictures, c.hidden)
            : Tensor();
    const Tensor x =
        forward(native, step, sequences, std::span(ids_).subspan(size_t(begin), size_t(count)),
                pictures ? &features : nullptr);
    last = last_rows(native, x, step);
    made_.resize(size_t(sequence_.rows),
                 {rope_rule_key(c.rope, length), traversed(c, true, length)});
  }
  return logits(native, last);
}

Tensor Session::feed(std::span<const int> ids, const Tensor& features, int whole,
                     const GoOn& go_on) {
  if (ids.empty()) throw Error("session", "prompt", "at least one token", "none");
  const int before = int(ids_.size());
  append(ids, features);
  const int length = std::max(whole, int(ids_.size()));
  sequence_.rows = std::min(reusable(length), int(ids_.size()) - 1);
  made_.resize(size_t(sequence_.rows));
  try {
    return compute(int(ids_.size()), length, go_on);
  } catch (...) {
    rewind(before);
    throw;
  }
}

Tensor Session::step(int id) {
  Session* const self = this;
  return step(std::span(&self, 1), std::span(&id, 1));
}

Tensor Session::step(std::span<Session* const> sessions, std::span<const int> ids) {
  CHECK(!sessions.empty() && sessions.size() == ids.size());
  const Model& model = *sessions[0]->model_;
  model.check_ids("session", ids);
  std::vector<Sequence*> sequences;
  std::vector<Made> made;
  Step step;
  for (size_t i = 0; i < sessions.size(); ++i) {
    Session& s = *sessions[i];
    CHECK(s.model_ == &model && s.sequence_.rows == int(s.ids_.size()));
    s.reserve(1);
    const int length = int(s.ids_.size()) + 1;
    const bool prompt = length == 1;
    made.push_back(
        {rope_rule_key(model.config().rope, length), traversed(model.config(), prompt, length)});
    step.add(int(i), length - 1, 1, length, prompt);
    sequences.push_back(&s.sequence_);
  }
  const Native native = model.native();
  Tensor next;
  try {
    next = logits(native, forward(native, step, sequences, ids));
  } catch (...) {
    for (Session* s : sessions) s->sequence_.rows = int(s->ids_.size());
    throw;
  }
  for (size_t i = 0; i < sessions.size(); ++i) {
    sessions[i]->ids_.push_back(ids[i]);
    sessions[i]->pictures_.push_back(0);
    sessions[i]->made_.push_back(made[i]);
  }
  return next;
}

void Session::rewind(int tokens) {
  CHECK(tokens >= 0 && tokens <= int(ids_.size()));
  const int pictures = count_pictures(pictures_, 0, tokens);
  features_.resize(size_t(pictures) * size_t(model_->config().hidden));
  ids_.resize(size_t(tokens));
  pictures_.resize(size_t(tokens));
  sequence_.rows = std::min(sequence_.rows, tokens);
  sequence_.trim();
  made_.resize(size_t(sequence_.rows));
}

void Session::end_prompt() {
  if (model_->config().trol.traverse == Traverse::all) return;  // what is generated needs it
  sequence_.forget_later_passes();
  for (Made& made : made_) made.traversed = false;
}

Session Session::fork() const {
  Session other(*model_);
  other.follow(*this, 0);
  return other;
}

void Session::follow(const Session& other, int same) {
  CHECK(model_ == other.model_ && same >= 0 && same <= std::min(cached(), other.cached()));
  const Config& c = model_->config();
  const int streams = c.trol.traverse == Traverse::all ? c.trol.streams() : 1;
  sequence_.share(other.sequence_, streams);
  const size_t pictures = size_t(count_pictures(other.pictures_, 0, same));
  graft(features_, other.features_, pictures * size_t(c.hidden));
  graft(ids_, other.ids_, size_t(same));
  graft(pictures_, other.pictures_, size_t(same));
  graft(made_, other.made_, size_t(same));
  if (streams < c.trol.streams())
    for (size_t i = size_t(same); i < made_.size(); ++i) made_[i].traversed = false;
}

}  // namespace revenant
