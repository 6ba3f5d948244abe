// The writing half of torch_file.h. Opcodes: CPython's pickletools.py, protocol 2; the shape of the
// pickle is that of torch.save.
#include <map>

#include "base/error.h"
#include "io/torch_file.h"
#include "io/zip.h"

namespace revenant {
namespace {

using namespace std::string_literals;

std::string int32_bytes(uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 4; ++i) bytes += char(value >> 8 * i);
  return bytes;
}

std::string text(const std::string& s) { return 'X' + int32_bytes(s.size()) + s; }  // BINUNICODE

std::string number(int64_t n) {
  if (n < 0 || n > INT32_MAX)
    throw Error("torch", "writing", "numbers below 2^31", std::to_string(n));
  return 'J' + int32_bytes(uint64_t(n));  // BININT
}

std::string tuple(const std::vector<int64_t>& numbers) {
  std::string items;
  for (const int64_t n : numbers) items += number(n);
  return "(" + items + "t";
}

std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}

const std::string empty_ordered_dict = global("collections", "OrderedDict") + ")R";

std::string storage_name(DType type, const std::string& tensor) {
  switch (type) {
    case DType::f32:
      return "FloatStorage";
    case DType::f16:
      return "HalfStorage";
    case DType::bf16:
      return "BFloat16Storage";
    default:
      throw Error("torch", tensor, "F32, F16 or BF16 to write", to_string(type));
  }
}

std::vector<int64_t> row_major(const std::vector<int64_t>& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

// _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, backward_hooks)
std::string tensor(const NamedTensor& t, const std::string& key) {
  return global("torch._utils", "_rebuild_tensor_v2") + "((" + text("storage") +
         global("torch", storage_name(t.view.dtype, t.name)) + text(key) + text("cpu") +
         number(t.view.count()) + "tQ" + number(0) + tuple(t.view.shape) +
         tuple(row_major(t.view.shape)) + "\x89" + empty_ordered_dict + "tR";
}

}  // namespace

void write_torch_file(const Path& file, std::span<const NamedTensor> tensors) {
  const std::string root = file.stem().string();
  std::vector<std::pair<std::string, std::string>> storages;
  std::map<const void*, std::string> keys;
  std::string items;
  for (const NamedTensor& t : tensors) {
    const auto [key, fresh] = keys.emplace(t.view.data.data(), std::to_string(keys.size()));
    if (fresh)
      storages.emplace_back(
          root + "/data/" + key->second,
          std::string(reinterpret_cast<const char*>(t.view.data.data()), t.view.data.size()));
    items += text(t.name) + tensor(t, key->second);
  }
  std::vector<std::pair<std::string, std::string>> entries = {
      {root + "/data.pkl", "\x80\x02"s + empty_ordered_dict + "(" + items + "u."},
      {root + "/byteorder", "little"}};
  entries.insert(entries.end(), storages.begin(), storages.end());
  entries.emplace_back(root + "/version", "3\n");
  write_file(file, write_zip(entries, file.string()));
}

}  // namespace revenant
