#include "store/merge.h"

#include <filesystem>

#include "base/error.h"
#include "base/json.h"
#include "base/threads.h"
#include "io/checkpoint.h"
#include "io/gate_file.h"
#include "quant/format.h"
#include "store/adapter.h"
#include "store/quantized_base.h"

namespace revenant {
namespace {

namespace fs = std::filesystem;

// What the merged model is made of.
struct Parts {
  Checkpoint base;
  AdapterFiles adapter;
  nlohmann::json config_json;
  Config config;
  std::optional<QuantizedBase> quantized;  // what the adapter was trained over
  std::optional<GateFile> gate;
  Tensors tensors;  // of the base, a gate file's too, those trained whole in their places
};

std::string shape_of(const std::vector<int64_t>& shape) { return nlohmann::json(shape).dump(); }

void check_shape(const Path& file, const std::string& name, const std::vector<int64_t>& expected,
                 const std::vector<int64_t>& found) {
  if (expected != found)
    throw Error("adapter", file.string() + ": " + name, shape_of(expected), shape_of(found));
}

Parts read_parts(const Path& base, const Path& adapter) {
  Parts p{Checkpoint::open(base), AdapterFiles::open(adapter), {}, {}, {}, {}, {}};
  const bool own = fs::exists(adapter / "config.json");
  const Path config_file = (own ? adapter : base) / "config.json";
  p.config_json = own ? read_json(config_file, "adapter") : p.base.config();
  const nlohmann::json quantized =
      own && p.config_json.is_object()
          ? p.config_json.value("quantization_config", nlohmann::json())
          : nlohmann::json();
  if (!quantized.is_null()) p.config_json.erase("quantization_config");
  p.config = parse_config(p.config_json, config_file.string());
  if (!quantized.is_null()) p.quantized = quantized_base(quantized, p.config, config_file.string());
  p.tensors = p.base.tensors();
  const Config stored_as = parse_config(p.base.config(), (base / "config.json").string());
  if (const std::string stem = stored_gate(stored_as); !stem.empty())
    if ((p.gate = gate_beside(p.base, stem)))
      for (const auto& [name, view] : p.gate->tensors(stem)) p.tensors[name] = view;
  for (const auto& [name, view] : p.adapter.replaced()) p.tensors[name] = view;
  return p;
}

// The tensors of the merged model, by name: those of the table, and the base's known unused ones.
std::map<std::string, TensorView> members(const Parts& p, const Path& base) {
  const Path file = p.adapter.path() / adapter_weights_name;
  std::map<std::string, TensorView> members;
  for (const TensorSpec& spec : tensor_table(p.config)) {
    const auto it = p.tensors.find(spec.stored);
    if (it == p.tensors.end())
      throw Error("adapter", base.string() + ": " + spec.stored, "a tensor", "none");
    check_shape(p.adapter.replaced().contains(spec.stored) ? file : base, spec.stored,
                spec.stored_shape, it->second.shape);
    members.emplace(spec.stored, it->second);
  }
  const auto demand = [&](const std::string& name) {
    if (!members.contains(name))
      throw Error("adapter", file.string() + ": " + name, "a tensor of " + base.string(), "none");
  };
  for (const auto& [name, adapter] : p.adapter.adapters()) {
    demand(name);
    check_shape(file, name, members.at(name).shape, {adapter.b.shape.at(0), adapter.a.shape.at(1)});
  }
  for (const auto& [name, view] : p.adapter.replaced()) demand(name);
  for (const auto& [name, view] : p.base.tensors())
    if (is_known_unused(name)) members.emplace(name, view);
  return members;
}

std::vector<std::byte> stored_as(Format format, const std::vector<float>& values) {
  std::vector<std::byte> bytes(row_bytes(format, values.size()));
  pack_row(format, values, bytes.data());
  return bytes;
}

// W += scale B A
void add_product(std::vector<float>& w, const StoredAdapter& adapter, Threads& threads) {
  const std::vector<float> a = to_floats(adapter.a), b = to_floats(adapter.b);
  const size_t rank = size_t(adapter.a.shape[0]), in = size_t(adapter.a.shape[1]);
  threads.parallel_for(w.size() / in, 16, [&](size_t begin, size_t end) {
    for (size_t row = begin; row < end; ++row)
      for (size_t k = 0; k < rank; ++k) {
        const float factor = float(adapter.scale) * b[row * rank + k];
        for (size_t i = 0; i < in; ++i) w[row * in + i] += factor * a[k * in + i];
      }
  });
}

}  // namespace

void merge_adapter(const Path& base, const Path& adapter, const Path& output,
                   const MergeOptions& options) {
  const Parts parts = read_parts(base, adapter);
  const std::map<std::string, TensorView> all = members(parts, base);
  if (fs::exists(output) && !fs::is_empty(output))
    throw Error("merge", output.string(), "a directory that is new or empty", "one with files");
  Threads threads(options.threads);
  size_t done = 0, total = 0;
  std::vector<TensorSource> sources;
  for (const auto& [name, view] : all) {
    const auto it = parts.adapter.adapters().find(name);
    const StoredAdapter* beside = it == parts.adapter.adapters().end() ? nullptr : &it->second;
    const DType dtype = options.dtype.value_or(view.dtype);
    const std::optional<Format> format = format_of(dtype);
    const bool fewer_bits = parts.quantized && parts.quantized->matrices.contains(name);
    const bool changes = beside || fewer_bits || dtype != view.dtype;
    if (changes && !format)
      throw Error("merge", base.string() + ": " + name, "F32, F16 or BF16", to_string(dtype));
    total += size_t(view.count()) * size_of(dtype);
    sources.push_back({name, dtype, view.shape,
                       [&, view = &view, format, changes, fewer_bits, beside](const Sink& sink) {
                         std::vector<std::byte> changed;
                         std::span<const std::byte> bytes = view->data;
                         if (changes) {
                           std::vector<float> w = to_floats(*view);
                           if (fewer_bits)
                             w = as_quantized(parts.quantized->kind, w, view->shape[0],
                                              view->shape[1]);
                           if (beside) add_product(w, *beside, threads);
                           changed = stored_as(*format, w);
                           bytes = changed;
                         }
                         sink(bytes);
                         done += bytes.size();
                         if (options.on_progress) options.on_progress(done, total);
                       }});
  }
  write_checkpoint(output, parts.config_json, sources);
}

}  // namespace revenant
