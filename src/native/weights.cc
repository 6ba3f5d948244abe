#include "native/weights.h"

#include <cmath>
#include <cstring>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "kernels/panels.h"

namespace revenant {
namespace {

class Loader {
 public:
  Loader(const ModelFiles& files, const std::optional<QuantizeType>& wanted)
      : files_(files), wanted_(wanted) {}

  Weight get(const TensorSpec& spec) {
    const StoredWeight stored = files_.weight(spec);
    const bool is_matrix = spec.shape.size() == 2 && spec.role != Role::position;
    if (!is_matrix) return {{}, vector(spec, stored)};
    if (is_quantised(stored.format)) {
      if (wanted_)
        throw Error("weights", files_.path().string(), "weights of 16 or 32 bits to quantise",
                    spec.name + " in " + info(stored.format).name);
      Packed panels = stored.in_panels ? mapped_panels(spec, stored) : in_panels(spec, stored);
      panels.per_channel = stored.per_channel;
      return {panels, {}};
    }
    Packed rows = matrix(spec, stored);
    const Format format =
        wanted_ ? format_for(*wanted_, files_.config(), spec, stored.format) : stored.format;
    if (format != stored.format) rows = as_wanted(spec, rows, format, stored.mapped && !rows.owner);
    rows.brain_inputs =
        wanted_ && wanted_->most == Format::bf16 && may_round(spec) && rows.format == Format::bf16;
    return {rows, {}};
  }

 private:
  static bool may_round(const TensorSpec& spec) {
    return spec.role == Role::linear || spec.role == Role::embedding;
  }

  static Packed matrix(const TensorSpec& spec, const StoredWeight& stored) {
    Packed m;
    m.data = stored.data.data();
    m.format = stored.format;
    m.rows = int(spec.shape[0]);
    m.columns = int(spec.shape[1]);
    m.map = stored.rows;
    if (reinterpret_cast<uintptr_t>(m.data) % info(stored.format).bytes != 0) align(m, stored);
    return m;
  }
  // Files of other writers may put a tensor at an odd address; only then it is copied.
  static void align(Packed& m, const StoredWeight& stored) {
    auto copy = std::make_shared<std::vector<float>>((stored.data.size() + 3) / 4);
    std::memcpy(copy->data(), stored.data.data(), stored.data.size());
    m.data = reinterpret_cast<const std::byte*>(copy->data());
    m.owner = copy;
  }
  Packed mapped_panels(const TensorSpec& spec, const StoredWeight& stored) const {
    if (reinterpret_cast<uintptr_t>(stored.data.data()) % group_bytes != 0)
      throw Error("weights", files_.path().string() + ": " + spec.name,
                  "panels at a multiple of " + std::to_string(group_bytes) + " bytes",
                  "another alignment");
    return {stored.format,
            int(spec.shape[0]),
            int(spec.shape[1]),
            {0, spec.shape[0], 0},
            stored.data.data(),
            {},
            false};
  }
  // Blocks as they lie in a file, in the kernels' order: no number changes.
  Packed in_panels(const TensorSpec& spec, const StoredWeight& stored) {
    const size_t bytes = row_bytes(stored.format, size_t(spec.shape[1]));
    return once(spec, [&] {
      const Packed made = pack(stored.format, int(spec.shape[0]), int(spec.shape[1]), threads(),
                               [&](int row, std::byte*) {
                                 return stored.data.data() + size_t(stored.rows(row)) * bytes;
                               });
      if (stored.mapped) forget_pages(stored.data.data(), stored.data.size());
      return made;
    });
  }
  // The mapped pages are given back: nobody reads them now.
  Packed as_wanted(const TensorSpec& spec, const Packed& stored, Format format, bool mapped) {
    return once(spec, [&] {
      const auto floats = [&](int row, float* out) {
        stored.unpack_row(row, out);
        if (const auto u = unfit(format, {out, size_t(stored.columns)}))
          throw Error("weights", files_.path().string() + ": " + spec.name, u->expected,
                      std::to_string(u->number));
      };
      const Packed made = packed_floats(format, stored.rows, stored.columns, threads(), floats);
      for (size_t r = 0; mapped && r < size_t(stored.rows); r += size_t(stored.map.block)) {
        const WeightView block = stored.view(r, size_t(stored.rows));
        forget_pages(block.data, block.n * row_bytes(stored.format, block.k));
      }
      return made;
    });
  }
  // What serves in several places is packed once.
  template <class Make>
  Packed once(const TensorSpec& spec, const Make& make) {
    Packed& made = made_[spec.name];
    if (!made.data) made = make();
    return made;
  }
  Threads& threads() {
    if (!threads_) threads_ = std::make_unique<Threads>(0);
    return *threads_;
  }
  static Vector vector(const TensorSpec& spec, const StoredWeight& stored) {
    const int columns = spec.shape.size() == 2 ? int(spec.shape[1]) : 1;
    return {int(spec.shape[0]), columns,
            std::make_shared<const std::vector<float>>(floats_of(stored, spec))};
  }

  const ModelFiles& files_;
  std::optional<QuantizeType> wanted_;
  std::unique_ptr<Threads> threads_;  // once there is something to pack
  std::map<std::string, Packed> made_;
};

}  // namespace

float norm_bound(const Packed& matrix) {
  const size_t n = size_t(matrix.columns), rows = size_t(matrix.rows);
  std::vector<float> row(n), turned(n * rows), squares(n * n);
  for (size_t r = 0; r < rows; ++r) {
    matrix.unpack_row(int(r), row.data());
    for (size_t i = 0; i < n; ++i) turned[i * rows + r] = row[i];
  }
  kernels().product({Format::f32, turned.data(), n, rows}, turned.data(), n, nullptr,
                    squares.data(), n);
  double sum = 0;
  for (const float x : squares) sum += double(x) * x;
  return float(std::pow(sum, 0.25) * 1.001);  // and what rounding took
}

Weights<Weight> load_weights(const ModelFiles& files, const std::optional<QuantizeType>& wanted) {
  Loader loader(files, wanted);
  Weights<Weight> weights =
      bind<Weight>(files.config(), [&](const TensorSpec& spec) { return loader.get(spec); });
  if (files.config().phantom.on)
    for (auto& layer : weights.layers) {
      PhantomWeights<Weight>& w = layer.attention.phantom;
      for (auto* linear : {&w.mix_q.o, &w.mix_k.o, &w.mix_v.o, &w.mix_v.v})
        linear->weight.norm = norm_bound(linear->weight.packed);
    }
  return weights;
}

}  // namespace revenant
