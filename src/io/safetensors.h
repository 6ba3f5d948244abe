// The safetensors format, read by its strict rules: 8 bytes of header length, a JSON header, then
// the tensors' bytes without holes or overlaps. Source: huggingface/safetensors, README "Format".
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "base/file.h"
#include "io/tensor.h"

namespace revenant {

using Tensors = std::map<std::string, TensorView>;
using Metadata = std::map<std::string, std::string>;

// A memory-mapped file; the views point into the mapping and live as long as it does.
class Safetensors {
 public:
  explicit Safetensors(const Path& file);  // throws Error that names file, tensor, rule
  const Tensors& tensors() const { return tensors_; }
  const Metadata& metadata() const { return metadata_; }
  const Path& path() const { return path_; }

 private:
  Path path_;
  MappedFile file_;
  Tensors tensors_;
  Metadata metadata_;
};

// Writes atomically. Tensors are laid out as Python's safetensors does: by element type, widest
// last in its list first, then by name, so that every tensor is aligned to its element.
void write_safetensors(const Path& file, std::span<const NamedTensor> tensors,
                       const Metadata& metadata = {{"format", "pt"}});
void write_safetensors(const Path& file, std::span<const TensorSource> tensors,
                       const Metadata& metadata = {{"format", "pt"}});

// The same into a file that the caller commits.
void write_safetensors(AtomicFile& out, const Path& file, std::span<const TensorSource> tensors,
                       const Metadata& metadata);

}  // namespace revenant
