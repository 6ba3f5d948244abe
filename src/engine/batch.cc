#include "engine/batch.h"

#include <algorithm>
#include <cstring>

namespace revenant {
namespace {

// A entry that takes member in the step.
struct Member {
  size_t entry;
  Session* session;
  Plan plan;
};

// Shows every session's observer its rows of what is noted.
class Shares : public Observer {
 public:
  Shares(const Config& config, const Step& step) : c_(config), step_(step) {}
  void add(int span, Observer* observer) { observers_.emplace_back(span, observer); }
  bool any() const { return !observers_.empty(); }

  void note(Site site, Note name, const Tensor& value) override {
    for (const auto& [index, observer] : observers_) {
      int first = 0;  // of later passes only rows that traverse are there
      const auto there = [&](const Span& s) { return site.pass == 1 || traverses(c_.trol, s); };
      for (int s = 0; s < index; ++s)
        if (there(step_.spans[size_t(s)])) first += step_.spans[size_t(s)].rows;
      const Span& span = step_.spans[size_t(index)];
      if (there(span)) observer->note(site, name, value.slice(first, span.rows));
    }
  }

 private:
  const Config& c_;
  const Step& step_;
  std::vector<std::pair<int, Observer*>> observers_;
};

// The step's rows, as forward takes them.
struct Rows {
  Step step;
  std::vector<int> ids;
  std::vector<Sequence*> sequences;
  std::vector<float> features;
};

Rows rows_of(const std::vector<Member>& members) {
  Rows rows;
  for (const Member& member : members) {
    const Plan& p = member.plan;
    rows.step.add(int(rows.sequences.size()), p.begin, p.rows, p.length, p.prompt,
                  {p.pictures.begin(), p.pictures.end()});
    rows.ids.insert(rows.ids.end(), p.ids.begin(), p.ids.end());
    rows.features.insert(rows.features.end(), p.features.begin(), p.features.end());
    rows.sequences.push_back(&member.session->sequence());
  }
  return rows;
}

// Why there is no room for the rows, if there is none.
std::optional<Error> no_room(const Config& config, Session& session, const Plan& plan) {
  try {
    Step step;
    step.add(0, plan.begin, plan.rows, plan.length, plan.prompt);
    Sequence* const sequence = &session.sequence();
    reserve(config, step, std::span(&sequence, 1));
    return {};
  } catch (const Error& error) {
    return error;
  }
}

}  // namespace

Computed compute_rows(std::span<const Entry> entries, const GoOn& go_on) {
  CHECK(!entries.empty());
  const Model& model = entries[0].session->model();
  Computed made;
  made.of.resize(entries.size());
  std::vector<Member> members;
  for (size_t i = 0; i < entries.size(); ++i) {
    CHECK(&entries[i].session->model() == &model);
    const Member member{i, entries[i].session, entries[i].session->plan(entries[i].rows)};
    if (member.plan.rows == 0) continue;
    made.of[i].failure = no_room(model.config(), *member.session, member.plan);
    if (!made.of[i].failure) members.push_back(member);
  }
  if (members.empty()) return made;
  Rows rows = rows_of(members);
  Shares shares(model.config(), rows.step);
  for (size_t p = 0; p < members.size(); ++p)
    if (Observer* observer = entries[members[p].entry].observer) shares.add(int(p), observer);
  const int hidden = model.config().hidden, seen = int(rows.features.size() / size_t(hidden));
  const Tensor features = seen ? Tensor::from(rows.features.data(), seen, hidden) : Tensor();
  std::vector<int> last;
  for (size_t p = 0; p < members.size(); ++p)
    if (members[p].plan.last)
      last.push_back(rows.step.spans[p].first_row + rows.step.spans[p].rows - 1);
  if (!shares.any()) rows.step.asked = last;  // an observer sees all
  const Native native = model.native(shares.any() ? &shares : nullptr, go_on);
  const Forwarded forwarded =
      forward_each(native, rows.step, rows.sequences, rows.ids, seen ? &features : nullptr);

  int logits_rows = 0;
  for (size_t p = 0; p < members.size(); ++p) {
    Computed::Of& of = made.of[members[p].entry];
    const int own = members[p].plan.last ? logits_rows++ : -1;
    of.failure = forwarded.failures[p];
    if (of.failure) continue;
    of.rows = members[p].plan.rows;
    if (own >= 0) of.logits = own;
  }
  if (!last.empty()) {
    made.states = shares.any() ? take_rows(native, forwarded.x, last) : forwarded.x;
    made.logits = logits(model.native(), made.states);
  }
  for (const Member& member : members)
    if (!made.of[member.entry].failure) member.session->commit(member.plan);
  return made;
}

}  // namespace revenant
