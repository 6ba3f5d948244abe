#include "engine/prefix.h"

#include <algorithm>

namespace revenant {
namespace {

// FNV-1a over the numbers of a key: a first guess, which a comparison confirms.
uint64_t hash_of(const PageKey& key) {
  uint64_t hash = 14695981039346656037u;
  const auto add = [&](uint64_t value) { hash = (hash ^ value) * 1099511628211u; };
  for (const int id : key.ids) add(uint64_t(id));
  for (const char c : key.pictures + key.salt) add(uint64_t(c));
  add(uint64_t(key.made.rope_rule));
  add(key.made.traversed);
  return hash;
}

}  // namespace

Prefixes::Prefixes(const Model& model) : pages_(model.pages()) {
  pages_->make_room([this] { return evict(); });
}

Prefixes::~Prefixes() { pages_->make_room({}); }

bool Prefixes::Node::unused() const {
  return std::ranges::none_of(page.passes, [](const Page& p) { return p.shared(); });
}

Prefixes::Node* Prefixes::child(Node& node, const PageKey& key) {
  const auto [begin, end] = node.children.equal_range(hash_of(key));
  for (auto at = begin; at != end; ++at)
    if (at->second->key == key) return at->second.get();
  return nullptr;
}

template <class F>
void Prefixes::visit(Node& node, const F& f) {
  for (const auto& [hash, one] : node.children) {
    f(*one);
    visit(*one, f);
  }
}

void Prefixes::extend(Session& session) {
  const std::lock_guard lock(mutex_);
  Node* node = &root_;
  for (int p = 0;; ++p) {
    const bool own = p < session.cached() / page_rows;
    if (!own && !session.takes_page(p)) return;
    node = child(*node, session.page_key(p));
    if (!node) return;
    node->used = ++clock_;
    if (!own) session.take_page(node->page);
  }
}

void Prefixes::keep(const Session& session) {
  const std::lock_guard lock(mutex_);
  Node* node = &root_;
  for (int p = 0; session.gives_page(p); ++p) {
    PageKey key = session.page_key(p);
    Node* next = child(*node, key);
    if (!next) {
      auto made = std::make_unique<Node>();
      made->page = session.give_page(p);
      made->parent = node;
      const uint64_t hash = hash_of(key);
      made->key = std::move(key);
      next = node->children.emplace(hash, std::move(made))->second.get();
    }
    next->used = ++clock_;
    node = next;
  }
}

size_t Prefixes::bytes() const {
  const std::lock_guard lock(mutex_);
  size_t pages = 0;
  visit(const_cast<Node&>(root_), [&](const Node& node) { pages += node.page.passes.size(); });
  return pages * pages_->shape().bytes();
}

// The pages of those nodes that nothing in use lies behind; returns whether this is one of them.
std::pair<bool, size_t> Prefixes::idle(const Node& node) {
  bool all = node.unused();
  size_t pages = 0;
  for (const auto& [hash, child] : node.children) {
    const auto [whole, more] = idle(*child);
    all = all && whole;
    pages += more;
  }
  return {all, pages + (all ? node.page.passes.size() : 0)};
}

size_t Prefixes::idle_bytes() const {
  const std::lock_guard lock(mutex_);
  return idle(root_).second * pages_->shape().bytes();
}

bool Prefixes::evict() {
  const std::lock_guard lock(mutex_);
  Node* oldest = nullptr;
  visit(root_, [&](Node& node) {
    if (node.children.empty() && node.unused() && (!oldest || node.used < oldest->used))
      oldest = &node;
  });
  if (!oldest) return false;
  std::erase_if(oldest->parent->children,
                [&](const auto& one) { return one.second.get() == oldest; });
  return true;
}

bool same_page(const Session& a, const Session& b) {
  const int page = a.cached() / page_rows;
  if (!a.takes_page(page) || b.cached() / page_rows != page ||
      int(b.ids().size()) < (page + 1) * page_rows)
    return false;
  for (int p = 0; p <= page; ++p)
    if (a.page_key(p) != b.page_key(p)) return false;
  return true;
}

}  // namespace revenant
