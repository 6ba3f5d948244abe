// Beginnings of prompts that were computed once: a tree of whole pages, each known by its tokens,
// its pictures, the rotary rule and the passes, and by all pages before it. Who begins alike takes
// the pages instead of computing their rows; they are the same bits. What nobody uses goes when
// pages are needed, the least recently used first. With a cache on disk whole pages are kept there
// too, over runs.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "base/disk_cache.h"
#include "engine/session.h"

namespace revenant {

class Prefixes {
 public:
  explicit Prefixes(const Model& model, DiskCache* disk = nullptr);
  ~Prefixes();
  Prefixes(const Prefixes&) = delete;

  // The session takes the pages that follow its rows, as far as its prompt goes. Those that only
  // the disk has are read.
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
    std::string name = {};  // on disk: SHA-256 of its key and of all before it
    std::multimap<uint64_t, std::unique_ptr<Node>> children = {};  // by hash of the key
    bool unused() const;                                           // nobody else owns its pages
  };
  static std::pair<bool, size_t> idle(const Node& node);
  static Node* child(Node& node, const PageKey& key);
  template <class F>
  static void visit(Node& node, const F& f);

  bool extend_from_memory(Session& session);
  bool extend_from_disk(Session& session);

  const std::shared_ptr<Pages> pages_;
  const size_t layers_;
  DiskCache* const disk_;
  mutable std::mutex mutex_;
  Node root_;
  uint64_t clock_ = 0;
};

// What decides about the bits of rows: the program, its kernels, the model and its settings. The
// files of weights count by name, size and time.
std::string numbers_of(const Model& model);

// Whether the next page of both prompts is the same, after the same tokens: one of them need not
// be computed.
bool same_page(const Session& a, const Session& b);

}  // namespace revenant
