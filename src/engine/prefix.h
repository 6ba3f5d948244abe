// Beginnings of prompts that were computed once: a tree of whole pages, each known by its tokens,
// its pictures, the rotary rule and the passes, and by all pages before it. Who begins alike takes
// the pages instead of computing their rows; they are the same bits. What nobody uses goes when
// pages are needed, the least recently used first.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/session.h"

namespace revenant {

class Prefixes {
 public:
  explicit Prefixes(const Model& model);
  ~Prefixes();
  Prefixes(const Prefixes&) = delete;

  // The session takes the pages that follow its rows, as far as its prompt goes.
  void extend(Session& session);
  // Becomes an owner of the session's whole pages.
  void keep(const Session& session);

  size_t bytes() const;       // of all its pages
  size_t idle_bytes() const;  // of those that can be given back
  // Gives back the page, of those that nobody else owns, that was not used for the longest time.
  bool evict();

 private:
  struct Node {
    PageKey key;
    SharedPage page;
    uint64_t used = 0;
    Node* parent = nullptr;
    std::multimap<uint64_t, std::unique_ptr<Node>> children;  // by hash of the key
    bool unused() const;                                      // nobody else owns its pages
  };
  static std::pair<bool, size_t> idle(const Node& node);
  static Node* child(Node& node, const PageKey& key);
  template <class F>
  static void visit(Node& node, const F& f);

  const std::shared_ptr<Pages> pages_;
  mutable std::mutex mutex_;
  Node root_;
  uint64_t clock_ = 0;
};

// Whether the next page of both prompts is the same, after the same tokens: one of them need not
// be computed.
bool same_page(const Session& a, const Session& b);

}  // namespace revenant
