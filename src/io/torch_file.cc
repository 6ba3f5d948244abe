#include "io/torch_file.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <set>

#include "base/place.h"
#include "io/pickle.h"
#include "io/zip.h"

namespace revenant {
namespace {

using pickle::Kind;
using pickle::Pickle;
using pickle::Value;
using Bytes = std::span<const std::byte>;

// Tensors may share a storage, so a small file can ask for a lot: how much beyond its own size.
constexpr uint64_t max_growth = 256 << 20;

std::string_view text_of(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The pickle and, by key, the bytes of its storages.
struct Archive {
  Place place;
  Pickle pickle;
  std::map<std::string, Bytes> storages;
};

Archive open_zip(Bytes bytes, const Place& file) {
  const ZipEntries entries = read_zip(bytes, file.file);
  const auto main = std::find_if(entries.begin(), entries.end(), [](const auto& entry) {
    const auto slash = entry.first.find('/');
    return slash != std::string::npos && entry.first.substr(slash) == "/data.pkl";
  });
  if (main == entries.end()) file.fail("an entry NAME/data.pkl", "none");
  const std::string root = main->first.substr(0, main->first.find('/'));
  const auto order = entries.find(root + "/byteorder");
  if (order != entries.end() && text_of(order->second) != "little") {
    file.fail("byteorder little", std::string(text_of(order->second)));
  }
  Archive archive{file, pickle::read(text_of(main->second), file.file), {}};
  const std::string prefix = root + "/data/";
  for (const auto& [name, data] : entries) {
    if (name.starts_with(prefix)) archive.storages[name.substr(prefix.size())] = data;
  }
  return archive;
}

// Five pickles (magic number, version, system, tensors, keys of the storages), then per key the
// number of elements and the elements. Source: torch/serialization.py, _legacy_load.
constexpr std::string_view magic(
    "\x80\x02\x8a\x0al\xfc\x9c"
    "F\xf9 j\xa8P\x19.",
    15);

void check_version(const Pickle& version, const Pickle& system, const Place& file) {
  if (version[version.root].kind != Kind::integer || version[version.root].number != 1001) {
    file.fail("protocol version 1001", "another");
  }
  const Value& fields = system[system.root];
  for (size_t i = 0; fields.kind == Kind::dict && i + 1 < fields.items.size(); i += 2) {
    if (system[fields.items[i]].text == "little_endian" &&
        system[fields.items[i + 1]].number == 1) {
      return;
    }
  }
  file.fail("a little-endian file", "another");
}

// Element sizes by storage key, as the pickle's storages say.
std::map<std::string, size_t> element_sizes(const Pickle& tensors) {
  std::map<std::string, size_t> sizes;
  for (const Value& value : tensors.values) {
    if (value.kind == Kind::storage) {
      sizes[value.text] = size_of(*pickle::storage_type(tensors[value.items[0]].text));
    }
  }
  return sizes;
}

Archive open_legacy(Bytes bytes, const Place& file) {
  const std::string_view text = text_of(bytes);
  size_t at = magic.size();
  const auto next = [&] {
    Pickle part = pickle::read(text.substr(at), file.file);
    at += part.end;
    return part;
  };
  const Pickle version = next(), system = next();
  check_version(version, system, file);
  Archive archive{file, next(), {}};
  const Pickle keys = next();
  const auto sizes = element_sizes(archive.pickle);
  if (keys[keys.root].kind != Kind::list) file.fail("a list of keys", "none");
  for (const auto id : keys[keys.root].items) {
    const std::string& key = keys[id].text;
    uint64_t count = 0, size = 0;
    if (text.size() - at < 8) (archive.place / ("storage " + key)).fail("the file ends before it");
    std::memcpy(&count, text.data() + at, 8);
    at += 8;
    const auto element = sizes.find(key);
    if (element == sizes.end()) (archive.place / ("storage " + key)).fail("no tensor uses it");
    if (__builtin_mul_overflow(count, element->second, &size) || size > text.size() - at) {
      (archive.place / ("storage " + key)).fail("the file ends within it");
    }
    if (!archive.storages.emplace(key, bytes.subspan(at, size)).second) {
      (archive.place / ("storage " + key)).fail("stands twice");
    }
    at += size;
  }
  if (at != text.size()) file.fail("bytes after the last storage");
  return archive;
}

std::vector<int64_t> integers(const Archive& archive, const std::string& name, const Value& tuple) {
  // torch's own bound; a short file could name one long tuple for many tensors.
  if (tuple.items.size() > 64) (archive.place / name).fail("more than 64 dimensions");
  std::vector<int64_t> numbers;
  for (const auto id : tuple.items) {
    const Value& item = archive.pickle[id];
    if (tuple.kind != Kind::tuple || item.kind != Kind::integer || item.number < 0) {
      (archive.place / name).fail("size and stride must be tuples of whole numbers");
    }
    numbers.push_back(item.number);
  }
  return numbers;
}

// Where the last element lies, counted from the storage's first; nothing on overflow.
std::optional<uint64_t> last_element(uint64_t offset, const std::vector<int64_t>& shape,
                                     const std::vector<int64_t>& stride) {
  uint64_t last = offset, step = 0;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (__builtin_mul_overflow(uint64_t(shape[i] - 1), uint64_t(stride[i]), &step) ||
        __builtin_add_overflow(last, step, &last)) {
      return std::nullopt;
    }
  }
  return last;
}

// Copies a strided tensor into row-major order; the ranges are checked already.
std::vector<std::byte> gather(Bytes storage, uint64_t offset, size_t element, size_t bytes,
                              const std::vector<int64_t>& shape,
                              const std::vector<int64_t>& stride) {
  std::vector<std::byte> data(bytes);
  std::vector<int64_t> index(shape.size(), 0);
  uint64_t from = offset;
  for (size_t to = 0; to < bytes; to += element) {
    std::memcpy(data.data() + to, storage.data() + from * element, element);
    for (size_t d = shape.size(); d-- > 0;) {
      from += uint64_t(stride[d]);
      if (++index[d] < shape[d]) break;
      from -= uint64_t(stride[d]) * uint64_t(shape[d]);
      index[d] = 0;
    }
  }
  return data;
}

TorchTensor read_tensor(const Archive& archive, const std::string& name, const Value& value,
                        uint64_t& budget) {
  if (value.kind != Kind::tensor)
    (archive.place / name).fail("expected a tensor, found something else");
  const auto part = [&](size_t i) -> const Value& { return archive.pickle[value.items[i]]; };
  const Value &storage = part(0), &offset = part(1);
  if (storage.kind != Kind::storage || offset.kind != Kind::integer || offset.number < 0) {
    (archive.place / name).fail("not built from a storage and an offset");
  }
  TorchTensor tensor;
  tensor.dtype = *pickle::storage_type(archive.pickle[storage.items[0]].text);
  tensor.shape = integers(archive, name, part(2));
  const auto stride = integers(archive, name, part(3));
  const auto data = archive.storages.find(storage.text);
  if (data == archive.storages.end())
    (archive.place / name).fail("storage " + storage.text + " is absent");
  const size_t element = size_of(tensor.dtype), held = data->second.size() / element;
  if (held != uint64_t(storage.number) || data->second.size() % element != 0) {
    (archive.place / name)
        .fail("storage " + storage.text + " should hold " + std::to_string(storage.number) +
              " elements, found " + std::to_string(data->second.size()) + " bytes");
  }
  const auto bytes = byte_count(tensor.dtype, tensor.shape);
  if (stride.size() != tensor.shape.size() || !bytes)
    (archive.place / name).fail("impossible shape");
  if (*bytes == 0) return tensor;
  const auto last = last_element(uint64_t(offset.number), tensor.shape, stride);
  if (!last || *last >= held) (archive.place / name).fail("reaches beyond its storage");
  if (*bytes > budget) (archive.place / name).fail("tensors far larger than their file");
  budget -= *bytes;
  tensor.data =
      gather(data->second, uint64_t(offset.number), element, *bytes, tensor.shape, stride);
  return tensor;
}

}  // namespace

std::vector<std::pair<std::string, TorchTensor>> read_torch_file(const Path& path) {
  const MappedFile mapped(path);
  const Bytes bytes = mapped.bytes();
  const Place file{"torch", path.string()};
  if (!is_zip(bytes) && !mapped.text().starts_with(magic)) {
    file.fail("a file of torch.save", "another kind of file");
  }
  const Archive archive = is_zip(bytes) ? open_zip(bytes, file) : open_legacy(bytes, file);
  const Value& root = archive.pickle[archive.pickle.root];
  if (root.kind != Kind::dict) file.fail("a dictionary", "something else");
  uint64_t budget = bytes.size() + max_growth;
  std::vector<std::pair<std::string, TorchTensor>> tensors;
  std::set<std::string> names;
  for (size_t i = 0; i + 1 < root.items.size(); i += 2) {
    const Value& key = archive.pickle[root.items[i]];
    if (key.kind != Kind::text) file.fail("names as keys", "something else");
    if (!names.insert(key.text).second) (archive.place / key.text).fail("stands twice");
    tensors.emplace_back(key.text,
                         read_tensor(archive, key.text, archive.pickle[root.items[i + 1]], budget));
  }
  return tensors;
}

}  // namespace revenant
