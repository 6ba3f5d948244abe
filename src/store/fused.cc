#include "store/fused.h"

#include <algorithm>

namespace revenant {

TensorSpecs unique_tensors(const Config& config) {
  TensorSpecs specs;
  for (const TensorSpec& spec : tensor_table(config)) specs.emplace(spec.name, spec);
  return specs;
}

std::vector<float> stored_floats(
    const TensorSpecs& specs, const std::string& stored,
    const std::function<std::vector<float>(const TensorSpec&)>& floats_of_weight) {
  std::vector<float> all;
  for (const auto& [name, spec] : specs) {
    if (spec.stored != stored) continue;
    all.resize(size_t(TensorSpec::count(spec.stored_shape)));
    const std::vector<float> own = floats_of_weight(spec);
    const size_t columns = own.size() / size_t(spec.shape[0]);
    for (int64_t r = 0; r < spec.shape[0]; ++r)
      std::copy_n(own.begin() + r * int64_t(columns), columns,
                  all.begin() + (spec.whole() ? r : spec.rows(r)) * int64_t(columns));
  }
  return all;
}

}  // namespace revenant
