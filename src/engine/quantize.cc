#include "engine/quantize.h"

#include <fnmatch.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/threads.h"
#include "engine/channels.h"
#include "io/gguf.h"
#include "kernels/panels.h"
#include "store/fused.h"
#include "store/importance.h"
#include "store/model_files.h"
#include "text/tokenizer_files.h"
#include "text/unicode.h"

namespace revenant {
namespace {

std::vector<TensorSpec> specs_of(const Config& config) {
  std::vector<TensorSpec> specs;
  std::set<std::string> seen;
  for (const TensorSpec& spec : tensor_table(config))
    if (seen.insert(spec.name).second) specs.push_back(spec);
  return specs;
}

// How a weight is written: in rows of blocks, or in panels.
struct Target {
  Format format;
  bool in_panels, per_channel;
  size_t rows, columns;           // a vector is one row
  std::vector<float> importance;  // of the columns; empty: all alike

  size_t bytes_of(size_t count) const {
    return in_panels ? panels_bytes(format, count, columns) : count * row_bytes(format, columns);
  }
};

// Rows [first, first + count), as many as `out` holds.
void pack_rows(const TensorSpec& spec, const StoredWeight& stored, const Target& to, size_t first,
               size_t count, std::byte* out) {
  const float* importance = to.importance.empty() ? nullptr : to.importance.data();
  const size_t bytes = row_bytes(to.format, to.columns);
  std::vector<float> x(to.columns);
  std::vector<std::byte> blocks(to.in_panels ? count * bytes : 0);
  std::byte* rows = to.in_panels ? blocks.data() : out;
  const std::byte* lines[panel_outputs];
  for (size_t r = 0; r < count; ++r) {
    if (spec.shape.size() == 1)
      x = floats_of(stored, spec);
    else
      unpack_row(stored, int64_t(first + r), x);
    if (const auto u = unfit(to.format, x))
      throw Error("quantize", spec.stored, u->expected, std::to_string(u->number));
    if (to.per_channel)
      pack_channel(x, rows + r * bytes);
    else
      pack_row(to.format, x, rows + r * bytes, importance);
    if (to.in_panels) lines[r] = rows + r * bytes;
  }
  if (to.in_panels) pack_panel(to.format, lines, count, to.columns, out);
}

// As many rows at a time as keep all threads busy.
void produce(const TensorSpec& spec, const StoredWeight& stored, const Target& to, Threads& threads,
             const Sink& sink) {
  constexpr size_t piece = 4 << 20;  // numbers
  const size_t each = to.in_panels ? panel_outputs : 1;
  const size_t together = std::max<size_t>(1, piece / to.columns / each) * each;
  std::vector<std::byte> packed(to.bytes_of(std::min(to.rows, together)));
  for (size_t first = 0; first < to.rows; first += together) {
    const size_t count = std::min(together, to.rows - first);
    threads.parallel_for((count + each - 1) / each, 1, [&](size_t begin, size_t end) {
      for (size_t i = begin * each; i < std::min(count, end * each); i += each)
        pack_rows(spec, stored, to, first + i, std::min(each, count - i),
                  packed.data() + to.bytes_of(i));
    });
    sink(std::span(packed).first(to.bytes_of(count)));
  }
}

bool matches(const std::vector<std::string>& patterns, const std::string& name) {
  return patterns.empty() || std::ranges::any_of(patterns, [&](const std::string& pattern) {
           return ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
         });
}

// Whatever the options name must be the model's.
void check_names(const Config& config, const Importance& importance,
                 const QuantizeOptions& options) {
  const TensorSpecs weights = unique_tensors(config);
  for (const std::string& pattern : options.match)
    if (std::ranges::none_of(weights,
                             [&](const auto& item) { return matches({pattern}, item.first); }))
      throw Error("quantize", "--match", "a pattern of a weight's name", pattern);
  for (const auto& [name, squares] : importance)
    if (!weights.contains(name))
      throw Error("quantize", options.importance.string() + ": " + name, "a weight of this model",
                  "none");
}

std::vector<float> importance_of(const Importance& importance, const TensorSpec& spec,
                                 const Path& file) {
  const auto it = importance.find(spec.name);
  if (it == importance.end()) return {};
  const std::vector<float> weights = weights_of(it->second);
  if (weights.size() != size_t(spec.shape.back()))
    throw Error("quantize", file.string() + ": " + spec.name,
                std::to_string(spec.shape.back()) + " inputs", std::to_string(weights.size()));
  return weights;
}

std::string architecture(const Config& c) {
  if (c.phantom.on && c.trol.on) return "phantom-trol";
  return c.phantom.on ? "phantom" : c.trol.on ? "trol" : "revenant";
}

// Everything but the weights: what other readers look for first, then the files as they are.
GgufKeys keys_of(const ModelFiles& source, const QuantizeType& type, bool has_settings) {
  const Config& c = source.config();
  const std::string a = architecture(c);
  GgufKeys keys = {
      {"general.architecture", a},
      {"general.name", std::filesystem::canonical(source.path()).filename().string()},
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
  };
  std::vector<std::string> names = {"config.json", "generation_config.json"};
  for (const char* name : tokenizer_file_names()) names.push_back(name);
  const FileSet& files = source.small();
  for (const std::string& name : names) {
    if (!files.has(name)) continue;
    const std::string content = name == "config.json" && has_settings
                                    ? json_text(source.config_json(), 2)
                                    : files.read(name);
    keys.emplace_back("revenant.file." + name,
                      is_utf8(content) ? GgufValue(content) : gguf_bytes(content));
  }
  return keys;
}

// Measured before anything is written.
bool bears_channels(const ModelFiles& source, const Path& directory, const QuantizeType& type,
                    const QuantizeOptions& options, Threads& threads) {
  const auto wants = [&](const TensorSpec& spec) {
    const Format stored = source.weight(spec).format;
    return may_be_per_channel(spec) && matches(options.match, spec.name) && !is_quantised(stored) &&
           format_for(type, source.config(), spec, stored) == Format::q8_0;
  };
  if (!options.per_channel || std::ranges::none_of(specs_of(source.config()), wants)) return false;
  return channels_cosine(Network::open(directory, options.settings), threads) >=
         least_channels_cosine;
}

}  // namespace

void quantize(const Path& directory, const Path& file, const QuantizeType& type,
              const QuantizeOptions& options) {
  const ModelFiles source = ModelFiles::open(directory, options.settings);
  Threads threads(options.threads);
  Importance importance;
  if (!options.importance.empty()) importance = read_importance(options.importance);
  check_names(source.config(), importance, options);
  uint64_t total = 0, done = 0;
  std::vector<GgufSource> tensors;
  std::vector<std::string> panel_names, panel_formats, channel_names;
  const bool channels = bears_channels(source, directory, type, options, threads);
  for (const TensorSpec& spec : specs_of(source.config())) {
    const StoredWeight stored = source.weight(spec);
    if (is_quantised(stored.format))
      throw Error("quantize", directory.string(), "weights of 16 or 32 bits",
                  spec.name + " in " + info(stored.format).name);
    const Format format = matches(options.match, spec.name)
                              ? format_for(type, source.config(), spec, stored.format)
                              : stored.format;
    const size_t count = size_t(TensorSpec::count(spec.shape)), columns = size_t(spec.shape.back());
    const bool per_channel = channels && format == Format::q8_0 && may_be_per_channel(spec);
    if (per_channel) channel_names.push_back(spec.name);
    const Target to{format,
                    is_quantised(format) && !options.portable,
                    per_channel,
                    count / columns,
                    columns,
                    is_quantised(format) ? importance_of(importance, spec, options.importance)
                                         : std::vector<float>()};
    const uint64_t bytes = count * row_bytes(stored.format, 1);
    total += bytes;
    GgufSource tensor{spec.name, format, spec.shape,
                      [&, spec, stored, to, bytes](const Sink& sink) {
                        uint64_t given = 0;
                        produce(spec, stored, to, threads, [&](auto piece) {
                          sink(piece);
                          given += piece.size();
                          if (options.on_progress)
                            options.on_progress(done + bytes * given / to.bytes_of(to.rows), total);
                        });
                        if (stored.mapped) forget_pages(stored.data.data(), stored.data.size());
                        done += bytes;
                      }};
    if (to.in_panels) {
      panel_names.push_back(spec.name);
      panel_formats.push_back(info(format).name);
      tensor.format.reset();
      const int64_t panel = int64_t(panel_sizes(format, columns).panel);
      tensor.shape = {int64_t(to.bytes_of(to.rows)) / panel, panel};
    }
    tensors.push_back(std::move(tensor));
  }
  GgufKeys keys = keys_of(source, type, !options.settings.empty());
  keys.emplace_back("revenant.layout", options.portable ? "standard" : panels_layout);
  if (!options.portable) {
    keys.emplace_back("revenant.panels.tensors", gguf_array(panel_names));
    keys.emplace_back("revenant.panels.formats", gguf_array(panel_formats));
  }
  if (!channel_names.empty()) keys.emplace_back(per_channel_key, gguf_array(channel_names));
  write_gguf(file, keys, tensors);
}

}  // namespace revenant
