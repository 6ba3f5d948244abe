#include "engine/synth.h"

#include <cmath>
#include <set>

#include "base/error.h"
#include "base/named_seed.h"
#include "base/threads.h"
#include "io/checkpoint.h"
#include "io/torch_file.h"
#include "model/weights.h"
#include "text/made_up.h"
#include "text/tokenizer_files.h"

namespace revenant {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr double spread = 0.02;  // transformers' initializer_range
constexpr size_t lanes = 4;      // numbers from one 64-bit word

// The k-th of 65,536 equally likely values of a normal distribution, by Newton's method from the
// one before.
std::vector<double> normal_quantiles() {
  constexpr size_t count = 1 << 16;
  std::vector<double> values(count);
  double x = 0;
  for (size_t i = count / 2; i < count; ++i) {
    const double p = (double(i) + 0.5) / count;
    for (int step = 0; step < 8; ++step)
      x += (p - 0.5 * std::erfc(-x / std::sqrt(2.0))) * std::sqrt(2 * M_PI) * std::exp(x * x / 2);
    values[i] = x;
    values[count - 1 - i] = -x;
  }
  return values;
}

template <class T>
T stored(double value, DType type) {
  if constexpr (sizeof(T) == 4) return float(value);
  return T(type == DType::f16 ? to_f16(float(value)) : to_bf16(float(value)));
}

// Numbers for one run, T = float or the bits of a 16-bit type.
template <class T>
struct Numbers {
  DType type;
  Threads& threads;
  std::vector<T> normal;

  Numbers(DType t, Threads& pool) : type(t), threads(pool) {
    for (const double x : normal_quantiles()) normal.push_back(stored<T>(spread * x, t));
  }
  // Word w of a tensor is a function of (key, w): no thread or chunk shows in the result.
  void fill(std::span<T> out, uint64_t key, uint64_t first_word) const {
    threads.parallel_for(out.size() / lanes, 1 << 14, [&](size_t begin, size_t end) {
      Random random(key + (first_word + begin) * 0x9e3779b97f4a7c15ull);  // SplitMix64's step
      for (size_t word = begin; word < end; ++word) {
        const uint64_t bits = random.next();
        for (size_t lane = 0; lane < lanes; ++lane)
          out[word * lanes + lane] = normal[bits >> 16 * lane & 0xffff];
      }
    });
  }
};

// The value of a tensor that is the same all over; nothing: random.
std::optional<double> constant_of(const TensorSpec& spec) {
  if (spec.stored.ends_with(".bias")) return 0;
  if (spec.role == Role::norm) return 1;
  if (spec.role == Role::scale) return 0.1;
  return {};
}

template <class T>
void produce(const TensorSpec& spec, uint64_t seed, const Numbers<T>& numbers, const Sink& sink) {
  constexpr size_t chunk = 1 << 21;
  const size_t count = size_t(TensorSpec::count(spec.stored_shape));
  const std::optional<double> constant = constant_of(spec);
  std::vector<T> values(std::min(chunk, (count + lanes - 1) / lanes * lanes),
                        stored<T>(constant.value_or(0), numbers.type));
  for (size_t done = 0; done < count; done += values.size()) {
    if (!constant) numbers.fill(values, named_seed(seed, spec.stored), done / lanes);
    sink(std::as_bytes(std::span(values).first(std::min(values.size(), count - done))));
  }
}

bool in_gate_file(const TensorSpec& spec) { return spec.name.starts_with("trol_gate."); }

// Every stored tensor once; CLIP's last norm too, which no forward uses but every file holds.
std::vector<TensorSpec> stored_tensors(const Config& config) {
  std::vector<TensorSpec> specs;
  std::set<std::string> seen;
  for (const TensorSpec& spec : tensor_table(config))
    if (!in_gate_file(spec) && seen.insert(spec.stored).second) specs.push_back(spec);
  if (config.vision.kind != Tower::clip) return specs;
  for (const char* part : {"weight", "bias"}) {
    TensorSpec spec;
    spec.stored = std::string("vit.vision_tower.vision_model.post_layernorm.") + part;
    spec.stored_shape = {config.vision.hidden};
    spec.role = Role::norm;
    specs.push_back(spec);
  }
  return specs;
}

// trol_gating.pt: bf16, one entry a layer over the same two storages, as the released module list
// of one shared gate gives.
void write_gate(const Path& file, const Config& config, const SynthOptions& options) {
  Threads one(1);
  const Numbers<uint16_t> numbers(DType::bf16, one);
  std::vector<std::pair<std::string, TorchTensor>> kinds;
  for (const TensorSpec& spec : tensor_table(config)) {
    if (!in_gate_file(spec)) continue;
    const std::string kind = spec.name.substr(spec.name.rfind('.'));
    if (!kinds.empty() && kinds.front().first == kind) break;
    TorchTensor tensor{DType::bf16, spec.stored_shape, {}};
    produce(spec, options.seed, numbers, [&](std::span<const std::byte> bytes) {
      tensor.data.insert(tensor.data.end(), bytes.begin(), bytes.end());
    });
    kinds.emplace_back(kind, std::move(tensor));
  }
  std::vector<NamedTensor> entries;
  for (int layer = 0; layer < config.layers; ++layer)
    for (const auto& [kind, tensor] : kinds)
      entries.push_back({std::to_string(layer) + kind, tensor.view()});
  write_torch_file(file, entries);
}

template <class T>
void write_weights(const Path& directory, const json& content, const Config& config,
                   uint64_t shard_bytes, const SynthOptions& options, uint64_t total) {
  Threads threads(options.threads);
  const Numbers<T> numbers(options.dtype, threads);
  uint64_t done = 0;
  std::vector<TensorSource> sources;
  for (const TensorSpec& spec : stored_tensors(config))
    sources.push_back({spec.stored, options.dtype, spec.stored_shape, [&, spec](const Sink& sink) {
                         produce(spec, options.seed, numbers,
                                 [&](std::span<const std::byte> bytes) {
                                   sink(bytes);
                                   done += bytes.size();
                                   if (options.on_progress) options.on_progress(done, total);
                                 });
                       }});
  write_checkpoint(directory, content, sources, shard_bytes);
}

uint64_t weight_bytes(const Config& config, DType type) {
  uint64_t bytes = 0;
  for (const TensorSpec& spec : stored_tensors(config))
    bytes += uint64_t(TensorSpec::count(spec.stored_shape)) * size_of(type);
  return bytes;
}

// Takes back what was made unless told to keep it.
class Undo {
 public:
  explicit Undo(const Path& directory) : directory_(directory), topmost_(fs::absolute(directory)) {
    existed_ = fs::exists(directory);
    while (!existed_ && !fs::exists(topmost_.parent_path())) topmost_ = topmost_.parent_path();
  }
  ~Undo() {
    if (kept_) return;
    std::error_code ignored;
    if (!existed_)
      fs::remove_all(topmost_, ignored);
    else
      for (const auto& entry : fs::directory_iterator(directory_, ignored))
        fs::remove_all(entry.path(), ignored);
  }
  void keep() { kept_ = true; }

 private:
  Path directory_, topmost_;  // topmost_: the highest folder that did not exist
  bool existed_ = false, kept_ = false;
};

void check_place(const Path& directory, uint64_t bytes, const SynthOptions& options) {
  if (fs::exists(directory) && !(fs::is_directory(directory) && fs::is_empty(directory)))
    throw Error("synth", directory.string(), "no such file, or an empty directory",
                "something else");
  Path place = fs::absolute(directory);
  while (!fs::exists(place)) place = place.parent_path();
  const uint64_t free = options.free_bytes.value_or(fs::space(place).available);
  const uint64_t needed = bytes + bytes / 100 + (64 << 20);  // headers, tokenizer
  if (free < needed)
    throw Error("synth", directory.string(), std::to_string(needed) + " bytes of free space",
                std::to_string(free));
}

json config_of(const Released& model, const SynthOptions& options) {
  json content = model.config;
  const char* type = options.dtype == DType::f32   ? "float32"
                     : options.dtype == DType::f16 ? "float16"
                                                   : "bfloat16";
  content["torch_dtype"] = type;
  for (const char* part : {"llm_config", "vision_config"})
    if (content.contains(part)) content[part]["torch_dtype"] = type;
  return with_settings(content, options.settings);
}

}  // namespace

void synth(const Path& directory, const Released& model, const SynthOptions& options) {
  if (options.dtype != DType::bf16 && options.dtype != DType::f16 && options.dtype != DType::f32)
    throw Error("synth", "dtype", "BF16, F16 or F32", to_string(options.dtype));
  const json content = config_of(model, options);
  const Config config = parse_config(content, model.name);
  const uint64_t total = weight_bytes(config, options.dtype);
  check_place(directory, total, options);
  Undo undo(directory);
  fs::create_directories(directory);
  if (options.tokenizer.empty())
    write_made_up_tokenizer(directory, prompt_family(config));
  else if (copy_tokenizer(options.tokenizer, directory) == 0)
    throw Error("synth", options.tokenizer.string(), "tokenizer files", "none");
  if (config.trol.on) write_gate(directory / "trol_gating.pt", config, options);
  if (options.dtype == DType::f32)
    write_weights<float>(directory, content, config, model.shard_bytes, options, total);
  else
    write_weights<uint16_t>(directory, content, config, model.shard_bytes, options, total);
  undo.keep();
}

}  // namespace revenant
