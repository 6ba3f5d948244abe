#include "engine/quantize.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>
#include <set>

#include "base/error.h"
#include "base/file_set.h"
#include "base/json.h"
#include "base/threads.h"
#include "io/gate_file.h"
#include "io/gguf.h"
#include "model/check.h"
#include "text/tokenizer_files.h"
#include "text/unicode.h"

namespace revenant {
namespace {

constexpr QuantizeType types[] = {
    {"F32", Format::f32, false, 0},     {"F16", Format::f16, false, 1},
    {"BF16", Format::bf16, false, 32},  {"Q8_0", Format::q8_0, false, 7},
    {"Q6_K", Format::q6_k, false, 18},  {"Q5_K", Format::q5_k, false, 16},
    {"Q5_K_M", Format::q5_k, true, 17}, {"Q5_0", Format::q5_0, false, 8},
    {"Q4_K", Format::q4_k, false, 14},  {"Q4_K_M", Format::q4_k, true, 15},
    {"Q4_1", Format::q4_1, false, 3},   {"Q4_0", Format::q4_0, false, 2},
};

double bits(Format format) {
  const FormatInfo& f = info(format);
  return 8.0 * double(f.bytes) / double(f.block);
}

Format at_least(Format floor, Format wanted) { return bits(wanted) < bits(floor) ? floor : wanted; }

// llama.cpp's choice of the layers that a mixture gives more bits to: the first and the last
// eighth, and every third between.
bool gets_more(int layer, int layers) {
  const int eighth = layers / 8;
  return layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2;
}

Format of_bulk(const QuantizeType& type, const Config& config, const std::string& name) {
  if (!type.mixed) return type.most;
  const bool sensitive = name.ends_with(".attn_v.weight") || name.ends_with(".ffn_down.weight");
  const int layer = name.starts_with("blk.") ? std::stoi(name.substr(4)) : 0;
  return sensitive && gets_more(layer, config.layers) ? at_least(Format::q6_k, type.most)
                                                      : type.most;
}

bool is_output(const Config& c, const std::string& name) {
  return name == "output.weight" || (c.tied_output && name == "token_embd.weight");
}

Format format_of(DType type) {
  return type == DType::f32 ? Format::f32 : type == DType::f16 ? Format::f16 : Format::bf16;
}

// Where each weight's numbers lie.
struct Source {
  Checkpoint checkpoint;
  Config config;
  std::optional<GateFile> gate_file;
  Tensors gate;

  const TensorView& view(const TensorSpec& spec) const {
    const auto in_gate = gate.find(spec.stored);
    return in_gate != gate.end() ? in_gate->second : checkpoint.tensor(spec.stored);
  }
};

Source open_source(const Path& directory, const std::vector<std::string>& settings) {
  Source s{Checkpoint::open(directory), {}, {}, {}};
  s.config = parse_config(with_settings(s.checkpoint.config(), settings),
                          (directory / "config.json").string());
  if (const std::string stem = stored_gate(s.config); !stem.empty())
    if ((s.gate_file = gate_beside(s.checkpoint, stem))) s.gate = s.gate_file->tensors(stem);
  std::map<std::string, Stored> stored;
  for (const Tensors* tensors :
       std::initializer_list<const Tensors*>{&s.checkpoint.tensors(), &s.gate})
    for (const auto& [name, view] : *tensors) stored[name] = {view.shape, view.dtype, view.data};
  check_stored(s.config, stored, [&](const std::string& name) {
    if (s.gate.contains(name)) return s.gate_file->file.string();
    const bool there = s.checkpoint.tensors().contains(name);
    return (there ? s.checkpoint.file_of(name) : directory).string();
  });
  return s;
}

std::vector<TensorSpec> weights_of(const Config& config) {
  std::vector<TensorSpec> specs;
  std::set<std::string> seen;
  for (const TensorSpec& spec : tensor_table(config))
    if (seen.insert(spec.name).second) specs.push_back(spec);
  return specs;
}

void read_numbers(const TensorView& view, size_t first, std::span<float> out) {
  const std::byte* data = view.data.data() + first * size_of(view.dtype);
  if (view.dtype == DType::f32) {
    std::memcpy(out.data(), data, out.size_bytes());
    return;
  }
  for (size_t i = 0; i < out.size(); ++i) {
    uint16_t half;
    std::memcpy(&half, data + 2 * i, 2);
    out[i] = view.dtype == DType::f16 ? to_float_f16(half) : to_float_bf16(half);
  }
}

// A number that no format holds would become another one without a word.
void check_numbers(std::span<const float> row, Format format, const std::string& name) {
  constexpr float largest_f16 = 65504;
  for (const float x : row)
    if (!std::isfinite(x) || (format == Format::f16 && std::abs(x) > largest_f16))
      throw Error("quantize", name,
                  format == Format::f16 ? "numbers up to 65504" : "finite numbers",
                  std::to_string(x));
}

// The weight row by row, as many at a time as keep all threads busy.
void produce(const TensorSpec& spec, const TensorView& view, Format format, Threads& threads,
             const Sink& sink) {
  constexpr size_t piece = 4 << 20;  // numbers
  const size_t columns = size_t(spec.shape.back()),
               rows = size_t(TensorSpec::count(spec.shape)) / columns;
  const bool vector = spec.shape.size() == 1;
  const size_t bytes = row_bytes(format, columns), together = std::max<size_t>(1, piece / columns);
  std::vector<std::byte> packed(std::min(rows, together) * bytes);
  for (size_t first = 0; first < rows; first += together) {
    const size_t count = std::min(together, rows - first);
    threads.parallel_for(count, 1, [&](size_t begin, size_t end) {
      std::vector<float> row(columns);
      for (size_t r = begin; r < end; ++r) {
        // A vector's numbers are what a fused tensor's rows are to a matrix.
        if (vector)
          for (size_t i = 0; i < columns; ++i)
            read_numbers(view, size_t(spec.rows(int64_t(i))), std::span(row).subspan(i, 1));
        else
          read_numbers(view, size_t(spec.rows(int64_t(first + r))) * columns, row);
        check_numbers(row, format, spec.stored);
        pack_row(format, row, packed.data() + r * bytes);
      }
    });
    sink(std::span(packed).first(count * bytes));
  }
}

std::string architecture(const Config& c) {
  if (c.phantom.on && c.trol.on) return "phantom-trol";
  return c.phantom.on ? "phantom" : c.trol.on ? "trol" : "revenant";
}

// Everything but the weights: what other readers look for first, then the files as they are.
GgufKeys keys_of(const Source& source, const QuantizeType& type,
                 const std::vector<std::string>& settings) {
  const Config& c = source.config;
  const std::string a = architecture(c);
  GgufKeys keys = {
      {"general.architecture", a},
      {"general.name", std::filesystem::canonical(source.checkpoint.path()).filename().string()},
      {"general.file_type", type.file_type},
      {"general.quantization_version", uint32_t(2)},
      {a + ".block_count", uint32_t(c.layers)},
      {a + ".context_length", uint32_t(c.rope.max_position)},
      {a + ".embedding_length", uint32_t(c.hidden)},
      {a + ".feed_forward_length", uint32_t(c.intermediate)},
      {a + ".attention.head_count", uint32_t(c.heads)},
      {a + ".attention.head_count_kv", uint32_t(c.kv_heads)},
      {a + ".attention.layer_norm_rms_epsilon", float(c.rms_eps)},
      {a + ".rope.freq_base", float(c.rope.theta)},
      {a + ".vocab_size", uint32_t(c.vocab)},
      {a + ".vision.block_count", uint32_t(c.vision.layers)},
      {a + ".vision.embedding_length", uint32_t(c.vision.hidden)},
      {a + ".vision.patch_size", uint32_t(c.vision.patch)},
      {"revenant.version", uint32_t(1)},
      {"revenant.layout", std::string("standard")},
  };
  std::vector<std::string> names = {"config.json", "generation_config.json"};
  for (const char* name : tokenizer_file_names()) names.push_back(name);
  const FileSet files(source.checkpoint.path());
  for (const std::string& name : names) {
    if (!files.has(name)) continue;
    const std::string content =
        name == "config.json" && !settings.empty()
            ? json_text(with_settings(source.checkpoint.config(), settings), 2)
            : files.read(name);
    keys.emplace_back("revenant.file." + name,
                      is_utf8(content) ? GgufValue(content) : gguf_bytes(content));
  }
  return keys;
}

}  // namespace

std::span<const QuantizeType> quantize_types() { return types; }

const QuantizeType& quantize_type(std::string_view name) {
  std::string names;
  for (const QuantizeType& type : types) {
    if (std::ranges::equal(name, std::string_view(type.name),
                           [](char a, char b) { return std::toupper(uint8_t(a)) == b; }))
      return type;
    names += std::string(names.empty() ? "" : ", ") + type.name;
  }
  throw Error("quantize", "type", names, std::string(name));
}

Format format_for(const QuantizeType& type, const Config& config, const TensorSpec& spec,
                  Format stored) {
  const auto fitting = [&](Format wanted) { return format_for(wanted, size_t(spec.shape.back())); };
  switch (spec.role) {
    case Role::bias:
    case Role::norm:
    case Role::scale:
    case Role::position:
      return Format::f32;
    case Role::mixer:
    case Role::gate:
      return stored;
    case Role::lora:
      return fitting(at_least(Format::q8_0, type.most));
    case Role::embedding:
    case Role::linear:
      break;
  }
  if (spec.name == "v.patch_embd.weight") return stored;
  if (spec.name.starts_with("v.") || spec.name.starts_with("mm."))
    return fitting(at_least(Format::q8_0, type.most));
  if (is_output(config, spec.name)) return fitting(at_least(Format::q6_k, type.most));
  return fitting(of_bulk(type, config, spec.name));
}

void quantize(const Path& directory, const Path& file, const QuantizeType& type,
              const QuantizeOptions& options) {
  const Source source = open_source(directory, options.settings);
  Threads threads(options.threads);
  uint64_t total = 0, done = 0;
  std::vector<GgufSource> tensors;
  for (const TensorSpec& spec : weights_of(source.config)) {
    const TensorView& view = source.view(spec);
    if (view.dtype != DType::f32 && view.dtype != DType::f16 && view.dtype != DType::bf16)
      throw Error("quantize", (directory / spec.stored).string(), "F32, F16 or BF16",
                  to_string(view.dtype));
    const Format format = format_for(type, source.config, spec, format_of(view.dtype));
    const uint64_t bytes = uint64_t(TensorSpec::count(spec.shape)) * size_of(view.dtype);
    total += bytes;
    tensors.push_back({spec.name, format, spec.shape, [&, spec, format, bytes](const Sink& sink) {
                         uint64_t given = 0;
                         const uint64_t size = uint64_t(TensorSpec::count(spec.shape)) /
                                               uint64_t(spec.shape.back()) *
                                               row_bytes(format, size_t(spec.shape.back()));
                         produce(spec, source.view(spec), format, threads, [&](auto piece) {
                           sink(piece);
                           given += piece.size();
                           if (options.on_progress)
                             options.on_progress(done + bytes * given / size, total);
                         });
                         done += bytes;
                       }});
  }
  write_gguf(file, keys_of(source, type, options.settings), tensors);
}

}  // namespace revenant
