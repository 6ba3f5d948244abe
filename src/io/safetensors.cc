#include "io/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "base/shape.h"

namespace revenant {
namespace {

using nlohmann::json;

constexpr uint64_t length_bytes = 8, max_header = 100'000'000;  // the format's own limit

// In the order in which the Python package lays tensors out, reversed (Rust enum `Dtype`).
constexpr std::array all_types = {DType::boolean, DType::u8,  DType::i8,  DType::i16, DType::f16,
                                  DType::bf16,    DType::i32, DType::f32, DType::f64, DType::i64};

Place place_of(const Path& file) { return {"safetensors", file.string()}; }

std::string_view header_of(const Place& file, std::string_view text) {
  if (text.size() < length_bytes) {
    file.fail("at least 8 bytes", std::to_string(text.size()) + " bytes");
  }
  uint64_t length = 0;
  std::memcpy(&length, text.data(), length_bytes);
  if (length > max_header) {
    file.fail("a header of at most " + std::to_string(max_header) + " bytes",
              std::to_string(length) + " bytes");
  }
  if (length > text.size() - length_bytes) {
    file.fail("a header of " + std::to_string(length) + " bytes",
              std::to_string(text.size() - length_bytes) + " bytes (file truncated)");
  }
  const std::string_view header = text.substr(length_bytes, length);
  if (!header.starts_with('{')) file.fail("a header that begins with '{'", "another byte");
  return header;
}

Metadata read_metadata(const Place& file, const json& value) {
  if (!value.is_object()) (file / "__metadata__").fail("an object of strings", shown(value));
  Metadata metadata;
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) (file / "__metadata__").fail("strings", key + " = " + shown(text));
    metadata[key] = text.get<std::string>();
  }
  return metadata;
}

DType read_dtype(const Place& tensor, const json& value) {
  std::string known;
  for (const DType type : all_types) {
    if (value == to_string(type)) return type;
    known += ' ' + to_string(type);
  }
  tensor.fail("a dtype of" + known, shown(value));
}

std::vector<int64_t> read_shape(const Place& tensor, const json& value) {
  const auto dimension = [](const json& n) {
    return n.is_number_unsigned() && n.get<uint64_t>() <= uint64_t(INT64_MAX);
  };
  if (!value.is_array() || !std::all_of(value.begin(), value.end(), dimension)) {
    tensor.fail("a shape of whole numbers", shown(value));
  }
  return value.get<std::vector<int64_t>>();
}

struct Extent {
  uint64_t begin = 0, end = 0;
  auto operator<=>(const Extent&) const = default;
};

Extent read_extent(const Place& tensor, const json& value) {
  if (!value.is_array() || value.size() != 2 || !value[0].is_number_unsigned() ||
      !value[1].is_number_unsigned()) {
    tensor.fail("data_offsets of two whole numbers", shown(value));
  }
  return {value[0].get<uint64_t>(), value[1].get<uint64_t>()};
}

std::string show(const Extent& extent) {
  return std::string("[") + std::to_string(extent.begin) + ", " + std::to_string(extent.end) + "]";
}

TensorView read_entry(const Place& tensor, const json& value, std::span<const std::byte> data,
                      Extent& extent) {
  if (!value.is_object() || value.size() != 3 || !value.contains("dtype") ||
      !value.contains("shape") || !value.contains("data_offsets")) {
    tensor.fail("dtype, shape and data_offsets", shown(value));
  }
  TensorView view;
  view.dtype = read_dtype(tensor, value["dtype"]);
  view.shape = read_shape(tensor, value["shape"]);
  extent = read_extent(tensor, value["data_offsets"]);
  if (extent.begin > extent.end || extent.end > data.size()) {
    tensor.fail("data_offsets within " + std::to_string(data.size()) + " bytes of data",
                show(extent));
  }
  const auto bytes = byte_count(view.dtype, view.shape);
  const std::string kind = to_string(view.dtype) + " " + shape_text(view.shape);
  if (!bytes) tensor.fail("a size below 2^64", kind);
  if (*bytes != extent.end - extent.begin) {
    tensor.fail(std::to_string(*bytes) + " bytes for " + kind,
                std::to_string(extent.end - extent.begin));
  }
  view.data = data.subspan(extent.begin, extent.end - extent.begin);
  return view;
}

// The extents, in order, must cover the data exactly.
void check_cover(const Place& file, std::vector<std::pair<Extent, std::string>> extents,
                 uint64_t size) {
  std::sort(extents.begin(), extents.end());
  uint64_t position = 0;
  for (const auto& [extent, name] : extents) {
    if (extent.begin != position) {
      (file / name)
          .fail("data at offset " + std::to_string(position),
                show(extent) + (extent.begin < position ? " (overlap)" : " (hole)"));
    }
    position = extent.end;
  }
  if (position != size) {
    file.fail(std::to_string(position) + " bytes of data", std::to_string(size) + " bytes");
  }
}

std::vector<TensorSource> laid_out(std::span<const TensorSource> tensors) {
  std::vector<TensorSource> sorted(tensors.begin(), tensors.end());
  const auto rank = [](DType type) {
    return std::find(all_types.begin(), all_types.end(), type) - all_types.begin();
  };
  std::sort(sorted.begin(), sorted.end(), [&](const TensorSource& a, const TensorSource& b) {
    return a.dtype != b.dtype ? rank(a.dtype) > rank(b.dtype) : a.name < b.name;
  });
  return sorted;
}

std::string make_header(const Place& file, std::span<const TensorSource> tensors,
                        const Metadata& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::set<std::string> names = {"__metadata__"};
  uint64_t position = 0;
  std::string text = header.dump();
  text.pop_back();
  for (const auto& tensor : tensors) {
    if (!names.insert(tensor.name).second) (file / tensor.name).fail("unique names", "it twice");
    const auto bytes = byte_count(tensor.dtype, tensor.shape);
    uint64_t end = 0;
    if (!bytes || __builtin_add_overflow(position, *bytes, &end)) {
      (file / tensor.name).fail("a size below 2^64", shape_text(tensor.shape));
    }
    nlohmann::ordered_json entry;
    entry["dtype"] = to_string(tensor.dtype);
    entry["shape"] = tensor.shape;
    entry["data_offsets"] = {position, end};
    if (text.size() > 1) text += ',';
    text += json(tensor.name).dump() + ':' + entry.dump();
    position = end;
  }
  text += "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');
  if (text.size() > max_header) file.fail("a header below 100,000,000 bytes", "a longer one");
  return text;
}

}  // namespace

Safetensors::Safetensors(const Path& file) : path_(file), file_(file) {
  const Place place = place_of(file);
  const std::string_view header = header_of(place, file_.text());
  const auto data = file_.bytes().subspan(length_bytes + header.size());
  std::vector<std::pair<Extent, std::string>> extents;
  const json entries = parse_json(header, place, 3);
  for (const auto& [name, value] : entries.items()) {
    if (name == "__metadata__") {
      metadata_ = read_metadata(place, value);
      continue;
    }
    Extent extent;
    tensors_[name] = read_entry(place / name, value, data, extent);
    extents.emplace_back(extent, name);
  }
  check_cover(place, std::move(extents), data.size());
}

void write_safetensors(AtomicFile& out, const Path& path, std::span<const TensorSource> tensors,
                       const Metadata& metadata) {
  const Place file = place_of(path);
  const std::vector<TensorSource> sorted = laid_out(tensors);
  const std::string header = make_header(file, sorted, metadata);
  const uint64_t length = header.size();
  out.write(&length, sizeof length);
  out.write(header);
  for (const auto& tensor : sorted) {
    const uint64_t expected = *byte_count(tensor.dtype, tensor.shape);
    uint64_t written = 0;
    tensor.produce([&](std::span<const std::byte> piece) {
      out.write(piece.data(), piece.size());
      written += piece.size();
    });
    if (written != expected) {
      (file / tensor.name).fail(std::to_string(expected) + " bytes", std::to_string(written));
    }
  }
}

void write_safetensors(const Path& file, std::span<const TensorSource> tensors,
                       const Metadata& metadata) {
  AtomicFile out(file);
  write_safetensors(out, file, tensors, metadata);
  out.commit();
}

void write_safetensors(const Path& file, std::span<const NamedTensor> tensors,
                       const Metadata& metadata) {
  std::vector<TensorSource> sources;
  for (const auto& tensor : tensors) sources.push_back(source_of(tensor));
  write_safetensors(file, sources, metadata);
}

}  // namespace revenant
