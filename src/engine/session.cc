#include "engine/session.h"

#include <algorithm>

#include "base/error.h"
#include "base/sha256.h"
#include "engine/batch.h"

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

// How rows are made under such a length.
Made made_under(const Config& c, int length, bool prompt) {
  const Span span{.rows = 1, .rope_length = length, .prompt = prompt};
  return {rope_rule_key(c.rope, length), traverses(c.trol, span)};
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

int Session::put_prompt(std::span<const int> ids, const Tensor& features) {
  if (ids.empty()) throw Error("session", "prompt", "at least one token", "none");
  const int same = std::min(common(ids, features), int(ids.size()) - 1);
  rewind(same);
  const int pictures = count_pictures(pictures_, 0, same);
  const bool more = !features.empty() && features.rows > pictures;
  put(ids.subspan(size_t(same)),
      more ? features.slice(pictures, features.rows - pictures) : Tensor());
  return same;
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
  const Made made = made_under(model_->config(), length, true);
  int rows = 0;
  while (rows < sequence_.rows && made_[size_t(rows)] == made) ++rows;
  return rows;
}

void Session::put(std::span<const int> ids, const Tensor& features, int whole) {
  if (ids.empty()) throw Error("session", "prompt", "at least one token", "none");
  append(ids, features);
  length_ = std::max(whole, int(ids_.size()));
  sequence_.rows = std::min(reusable(length_), int(ids_.size()) - 1);
  made_.resize(size_t(sequence_.rows));
}

void Session::put(int id) {
  model_->check_ids("session", std::span(&id, 1));
  CHECK(sequence_.rows == int(ids_.size()));
  reserve(1);
  ids_.push_back(id);
  pictures_.push_back(0);
  length_ = 0;
}

Plan Session::plan(int most) const {
  Plan plan;
  const int all = int(ids_.size());
  plan.begin = sequence_.rows;
  plan.rows = std::min(most, all - plan.begin);
  plan.length = length_ > 0 ? length_ : all;
  plan.prompt = length_ > 0 || all == 1;
  plan.last = plan.begin + plan.rows == all;
  const size_t begin = size_t(plan.begin), rows = size_t(plan.rows),
               width = size_t(model_->config().hidden);
  plan.ids = std::span(ids_).subspan(begin, rows);
  plan.pictures = std::span(pictures_).subspan(begin, rows);
  plan.features = std::span(features_).subspan(
      size_t(count_pictures(pictures_, 0, plan.begin)) * width,
      size_t(count_pictures(pictures_, plan.begin, plan.begin + plan.rows)) * width);
  return plan;
}

void Session::commit(const Plan& plan) noexcept {
  sequence_.rows = plan.begin + plan.rows;
  made_.resize(size_t(sequence_.rows), made_under(model_->config(), plan.length, plan.prompt));
}

bool Session::takes_page(int page) const {
  const Plan next = plan();
  return next.prompt && next.begin == page * page_rows &&
         (page + 1) * page_rows < int(ids_.size());  // a row is left that chooses the next token
}

bool Session::gives_page(int page) const {
  const int end = (page + 1) * page_rows;
  return end <= cached() && made_[size_t(end - 1)] == made_[0] &&
         std::equal(made_.begin() + 1, made_.begin() + end, made_.begin()) &&
         (!made_[0].traversed || sequence_.has_later_passes(page));
}

PageKey Session::page_key(int page) const {
  const int begin = page * page_rows, end = begin + page_rows;
  const size_t width = size_t(model_->config().hidden);
  while (int(digests_.size()) <= page) {
    const int at = int(digests_.size()) * page_rows;
    const size_t first = size_t(count_pictures(pictures_, 0, at)) * width,
                 count = size_t(count_pictures(pictures_, at, at + page_rows)) * width;
    Sha256 digest;
    digest.add(std::as_bytes(std::span(features_).subspan(first, count)));
    digests_.push_back(count ? digest.digits() : "");
  }
  const Made made = begin < cached() ? made_[size_t(begin)]
                                     : made_under(model_->config(), plan().length, plan().prompt);
  return {{ids_.begin() + begin, ids_.begin() + end}, digests_[size_t(page)], salt_, made};
}

size_t Session::passes_of_pages() const {
  const Plan next = plan();
  const bool traversed = cached() > 0
                             ? made_[0].traversed
                             : made_under(model_->config(), next.length, next.prompt).traversed;
  return size_t(traversed ? model_->config().trol.passes : 1);
}

void Session::take_page(const SharedPage& page) {
  const Plan next = plan();
  sequence_.take(page);
  made_.resize(size_t(sequence_.rows), made_under(model_->config(), next.length, next.prompt));
}

SharedPage Session::give_page(int page) const {
  return sequence_.page(page, made_[0].traversed ? model_->config().trol.passes : 1);
}

Tensor Session::feed(std::span<const int> ids, const Tensor& features, int whole,
                     const GoOn& go_on) {
  const int before = int(ids_.size());
  put(ids, features, whole);
  return compute(before, go_on);
}

Tensor Session::prompt(std::span<const int> ids, const Tensor& features, const GoOn& go_on) {
  const int before = put_prompt(ids, features);
  return compute(before, go_on);
}

// Rows of all tokens; what goes wrong leaves the first `before` tokens.
Tensor Session::compute(int before, const GoOn& go_on) {
  try {
    for (;;) {
      const Entry entry{this};
      const Computed made = compute_rows(std::span(&entry, 1), go_on);
      if (made.of[0].failure) throw *made.of[0].failure;
      if (made.of[0].logits >= 0) return made.logits;
    }
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
  std::vector<Entry> entries;
  std::vector<int> before;
  for (Session* session : sessions) {
    entries.push_back({session});
    before.push_back(int(session->ids_.size()));
  }
  try {
    for (size_t i = 0; i < sessions.size(); ++i) sessions[i]->put(ids[i]);
    const Computed made = compute_rows(entries);
    for (const Computed::Of& of : made.of)
      if (of.failure) throw *of.failure;
    return made.logits;
  } catch (...) {
    for (size_t i = 0; i < entries.size(); ++i) sessions[i]->rewind(before[i]);
    throw;
  }
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
  digests_.resize(std::min(digests_.size(), size_t(tokens / page_rows)));
}

void Session::end_prompt() {
  if (model_->config().trol.traverse == Traverse::all) return;  // what is generated needs it
  sequence_.forget_later_passes();
  for (Made& made : made_) made.traversed = false;
}

Session Session::fork() const {
  Session other(*model_, salt_);
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
  length_ = other.length_;
  digests_.resize(std::min(digests_.size(), size_t(same / page_rows)));
  graft(ids_, other.ids_, size_t(same));
  graft(pictures_, other.pictures_, size_t(same));
  graft(made_, other.made_, size_t(same));
  if (streams < c.trol.streams())
    for (size_t i = size_t(same); i < made_.size(); ++i) made_[i].traversed = false;
}

}  // namespace revenant
