#include "engine/prefix.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/sha256.h"
#include "kernels/kernels.h"

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

std::string name_after(const std::string& before, const PageKey& key) {
  const nlohmann::json about = {
      before, key.ids, key.pictures, key.salt, key.made.rope_rule, key.made.traversed};
  return sha256_of(about.dump());
}

// On disk: the passes' bytes one after the other; then of a sequence's first page its anchors,
// layer by layer what q's, k's and v's mixer looks at, each part after how many numbers it has, and
// what the ghosts add.
std::string packed(const SharedPage& page, size_t page_bytes, bool first) {
  std::string bytes;
  bytes.reserve(page.passes.size() * page_bytes);
  for (const Page& pass : page.passes)
    bytes.append(reinterpret_cast<const char*>(pass.data()), page_bytes);
  if (!first) return bytes;
  for (const Anchor& anchor : *page.anchors) {
    for (const auto* part : parts_of(anchor)) {
      const uint64_t count = part->size();
      bytes.append(reinterpret_cast<const char*>(&count), sizeof count);
      bytes.append(reinterpret_cast<const char*>(part->data()), count * sizeof(float));
    }
    bytes.append(reinterpret_cast<const char*>(&anchor.ghosts_add), sizeof anchor.ghosts_add);
  }
  return bytes;
}

// Nothing: these are no anchors of so many layers.
std::shared_ptr<std::vector<Anchor>> anchors_in(std::string_view bytes, size_t layers) {
  auto anchors = std::make_shared<std::vector<Anchor>>(layers);
  for (Anchor& anchor : *anchors) {
    for (std::vector<float>* part : parts_of(anchor)) {
      uint64_t count = 0;
      if (bytes.size() < sizeof count) return nullptr;
      std::memcpy(&count, bytes.data(), sizeof count);
      bytes.remove_prefix(sizeof count);
      if (bytes.size() / sizeof(float) < count) return nullptr;
      part->resize(count);
      if (count > 0) std::memcpy(part->data(), bytes.data(), count * sizeof(float));
      bytes.remove_prefix(count * sizeof(float));
    }
    if (bytes.size() < sizeof anchor.ghosts_add) return nullptr;
    std::memcpy(&anchor.ghosts_add, bytes.data(), sizeof anchor.ghosts_add);
    bytes.remove_prefix(sizeof anchor.ghosts_add);
  }
  return bytes.empty() ? anchors : nullptr;
}

}  // namespace

std::string numbers_of(const Model& model) {
  static const std::string program = sha256_of_file("/proc/self/exe");
  const ModelFiles& files = model.files();
  nlohmann::json about = {program, kernels().isa, files.config_json()};
  for (const Path& file : files.weight_files()) {
    const auto time = std::filesystem::last_write_time(file).time_since_epoch().count();
    about.push_back({file.string(), std::filesystem::file_size(file), int64_t(time)});
  }
  const auto add = [&](const Linear<Weight>& linear) {
    const auto view = linear.weight.packed.view(0, 1);
    about.push_back({int(linear.weight.packed.format), int(view.input())});
  };
  for (const auto& layer : model.native().weights.layers)
    for (const auto* linear : {&layer.attention.q, &layer.attention.k, &layer.attention.v,
                               &layer.attention.o, &layer.mlp.gate, &layer.mlp.up, &layer.mlp.down})
      add(*linear);
  const PageShape& shape = model.pages()->shape();
  about.push_back({int(shape.types.all), int(shape.types.ghost_v), shape.layers, shape.parts,
                   shape.heads, shape.head_dim});
  return sha256_of(json_text(about));
}

Prefixes::Prefixes(const Model& model, DiskCache* disk)
    : pages_(model.pages()), layers_(size_t(model.config().layers)), disk_(disk) {
  if (disk_) root_.name = numbers_of(model);
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
  while (extend_from_memory(session) && disk_ && extend_from_disk(session)) continue;
}

// Whether there may be more elsewhere.
bool Prefixes::extend_from_memory(Session& session) {
  const std::lock_guard lock(mutex_);
  Node* node = &root_;
  for (int p = 0;; ++p) {
    const bool own = p < session.cached() / page_rows;
    if (!own && !session.takes_page(p)) return false;
    node = child(*node, session.page_key(p));
    if (!node) return !own || session.takes_page(session.cached() / page_rows);
    node->used = ++clock_;
    if (!own) session.take_page(node->page);
  }
}

// The next page, if it is there: whole or not at all. Pages are taken without the lock: others are
// given back for them.
bool Prefixes::extend_from_disk(Session& session) {
  const int page = session.cached() / page_rows;
  std::string name = root_.name;
  for (int p = 0; p <= page; ++p) name = name_after(name, session.page_key(p));
  const std::optional<std::string> bytes = disk_->find(name);
  if (!bytes) return false;
  const size_t page_bytes = pages_->shape().bytes(), passes = session.passes_of_pages();
  if (bytes->size() < passes * page_bytes) return false;
  SharedPage shared;
  const std::string_view rest = std::string_view(*bytes).substr(passes * page_bytes);
  if (page == 0 ? !(shared.anchors = anchors_in(rest, layers_)) : !rest.empty()) return false;
  try {
    for (size_t pass = 0; pass < passes; ++pass) {
      shared.passes.push_back(pages_->get());
      std::memcpy(shared.passes.back().data(), bytes->data() + pass * page_bytes, page_bytes);
    }
  } catch (const Error&) {  // no room: it will be told where rows are computed
    return false;
  }
  session.take_page(shared);
  keep(session);
  return true;
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
      if (disk_) {
        made->name = name_after(node->name, key);
        if (!disk_->has(made->name))
          disk_->put(made->name, packed(made->page, pages_->shape().bytes(), p == 0));
      }
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
