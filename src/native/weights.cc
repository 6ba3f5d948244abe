#include "native/weights.h"

#include <cstring>

#include "base/error.h"
#include "model/check.h"

namespace revenant {
namespace {

class Loader {
 public:
  Loader(const Config& config, const WeightSource& source) : source_(source) {
    std::map<std::string, Stored> stored;
    for (const Tensors* tensors : {&source.checkpoint->tensors(), &source.extra})
      for (const auto& [name, view] : *tensors) stored[name] = {view.shape, view.dtype, view.data};
    check_stored(config, stored, [&](const std::string& name) { return file_of(name).string(); });
  }

  Matrix get(const TensorSpec& spec) const {
    const auto it = source_.extra.find(spec.stored);
    const TensorView& view =
        it != source_.extra.end() ? it->second : source_.checkpoint->tensor(spec.stored);
    if (view.dtype != DType::f32 && view.dtype != DType::f16 && view.dtype != DType::bf16)
      throw Error("weights", file_of(spec.stored).string() + ": " + spec.stored, "F32, F16 or BF16",
                  to_string(view.dtype));
    const bool is_matrix = spec.shape.size() == 2 && spec.role != Role::position;
    return is_matrix ? matrix(spec, view) : vector(spec, view);
  }

 private:
  Path file_of(const std::string& stored) const {
    if (source_.extra.contains(stored)) return source_.extra_file;
    if (source_.checkpoint->tensors().contains(stored)) return source_.checkpoint->file_of(stored);
    return source_.checkpoint->path();
  }

  static Matrix matrix(const TensorSpec& spec, const TensorView& view) {
    Matrix m;
    m.data = view.data.data();
    m.type = view.dtype == DType::f32   ? WeightType::f32
             : view.dtype == DType::f16 ? WeightType::f16
                                        : WeightType::bf16;
    m.rows = int(spec.shape[0]);
    m.columns = int(spec.shape[1]);
    m.map = spec.rows;
    if (reinterpret_cast<uintptr_t>(m.data) % size_of(view.dtype) != 0) align(m, view);
    return m;
  }
  // Files of other writers may put a tensor at an odd address; only then it is copied.
  static void align(Matrix& m, const TensorView& view) {
    auto copy = std::make_shared<std::vector<float>>((view.data.size() + 3) / 4);
    std::memcpy(copy->data(), view.data.data(), view.data.size());
    m.data = reinterpret_cast<const std::byte*>(copy->data());
    m.values = copy;
  }
  static Matrix vector(const TensorSpec& spec, const TensorView& view) {
    Matrix m;
    m.rows = int(spec.shape[0]);
    m.columns = spec.shape.size() == 2 ? int(spec.shape[1]) : 1;
    m.map = {0, m.rows, 0};
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
};

}  // namespace

Weights<Matrix> load_weights(const Config& config, const WeightSource& source) {
  const Loader loader(config, source);
  return bind<Matrix>(config, [&](const TensorSpec& spec) { return loader.get(spec); });
}

}  // namespace revenant
