#include "native/weights.h"

#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "model/check.h"

namespace revenant {
namespace {

class Loader {
 public:
  Loader(const Config& config, const WeightSource& source, std::optional<Format> wanted)
      : source_(source), wanted_(wanted), threads_(wanted ? 0 : 1) {
    std::map<std::string, Stored> stored;
    for (const Tensors* tensors : {&source.checkpoint->tensors(), &source.extra})
      for (const auto& [name, view] : *tensors) stored[name] = {view.shape, view.dtype, view.data};
    check_stored(config, stored, [&](const std::string& name) { return file_of(name).string(); });
  }

  Weight get(const TensorSpec& spec) {
    const auto it = source_.extra.find(spec.stored);
    const TensorView& view =
        it != source_.extra.end() ? it->second : source_.checkpoint->tensor(spec.stored);
    if (view.dtype != DType::f32 && view.dtype != DType::f16 && view.dtype != DType::bf16)
      throw Error("weights", file_of(spec.stored).string() + ": " + spec.stored, "F32, F16 or BF16",
                  to_string(view.dtype));
    const bool is_matrix = spec.shape.size() == 2 && spec.role != Role::position;
    if (!is_matrix) return {{}, vector(spec, view)};
    Packed mapped = matrix(spec, view);
    const Format format = format_of(spec);
    if (is_quantised(format)) return {quantised(mapped, format), {}};
    mapped.brain_inputs = format == Format::bf16 && mapped.format == Format::bf16;
    return {mapped, {}};
  }

 private:
  Path file_of(const std::string& stored) const {
    if (source_.extra.contains(stored)) return source_.extra_file;
    if (source_.checkpoint->tensors().contains(stored)) return source_.checkpoint->file_of(stored);
    return source_.checkpoint->path();
  }

  Format format_of(const TensorSpec& spec) const {
    const bool may = spec.role == Role::linear || spec.role == Role::embedding;
    if (!wanted_ || !may) return Format::f32;
    if (!is_quantised(*wanted_)) return *wanted_;
    const bool sensitive = spec.role == Role::embedding || part_of(spec) != Part::language;
    return format_for(sensitive ? Format::q8_0 : *wanted_, size_t(spec.shape[1]));
  }

  static Packed matrix(const TensorSpec& spec, const TensorView& view) {
    Packed m;
    m.data = view.data.data();
    m.format = view.dtype == DType::f32   ? Format::f32
               : view.dtype == DType::f16 ? Format::f16
                                          : Format::bf16;
    m.rows = int(spec.shape[0]);
    m.columns = int(spec.shape[1]);
    m.map = spec.rows;
    if (reinterpret_cast<uintptr_t>(m.data) % size_of(view.dtype) != 0) align(m, view);
    return m;
  }
  // Files of other writers may put a tensor at an odd address; only then it is copied.
  static void align(Packed& m, const TensorView& view) {
    auto copy = std::make_shared<std::vector<float>>((view.data.size() + 3) / 4);
    std::memcpy(copy->data(), view.data.data(), view.data.size());
    m.data = reinterpret_cast<const std::byte*>(copy->data());
    m.owner = copy;
  }
  // Once for what serves in several places. The mapped pages are given back: nobody reads them now.
  Packed quantised(const Packed& mapped, Format format) {
    Packed& made = made_[{mapped.view(0, 1).data, mapped.rows}];
    if (made.data) return made;
    made = pack(format, mapped.rows, mapped.columns, threads_,
                [&](int row, float* out) { mapped.unpack_row(row, out); });
    for (size_t r = 0; r < size_t(mapped.rows); r += size_t(mapped.map.block)) {
      const WeightView block = mapped.view(r, size_t(mapped.rows));
      forget_pages(block.data, block.n * row_bytes(mapped.format, block.k));
    }
    return made;
  }
  static Vector vector(const TensorSpec& spec, const TensorView& view) {
    Vector m;
    m.rows = int(spec.shape[0]);
    m.columns = spec.shape.size() == 2 ? int(spec.shape[1]) : 1;
    const std::vector<float> stored = to_floats(view);
    auto values = std::make_shared<std::vector<float>>();
    values->reserve(size_t(m.rows) * size_t(m.columns));
    for (int64_t r = 0; r < m.rows; ++r) {
      const auto row = stored.begin() + spec.rows(r) * m.columns;
      values->insert(values->end(), row, row + m.columns);
    }
    m.values = std::move(values);
    return m;
  }

  const WeightSource& source_;
  std::optional<Format> wanted_;
  Threads threads_;
  std::map<std::pair<const void*, int>, Packed> made_;  // by first row and rows
};

}  // namespace

Weights<Weight> load_weights(const Config& config, const WeightSource& source,
                             std::optional<Format> wanted) {
  Loader loader(config, source, wanted);
  return bind<Weight>(config, [&](const TensorSpec& spec) { return loader.get(spec); });
}

}  // namespace revenant
