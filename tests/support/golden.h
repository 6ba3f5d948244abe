// Reads the golden data of tests/conformance/data: safetensors by name, JSON, and the folder
// itself. Deliberately apart from room `io`, so that the reader under test never reads its own
// goldens.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/dtype.h"

namespace revenant::golden {

// REVENANT_CONFORMANCE, or the folder that comes with the clone.
inline std::filesystem::path conformance_root() {
  const char* folder = std::getenv("REVENANT_CONFORMANCE");
  return folder && *folder ? folder : REVENANT_SOURCE_DIR "/tests/conformance/data";
}

inline std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("golden: cannot open " + path.string());
  return {std::istreambuf_iterator<char>(in), {}};
}

inline nlohmann::json read_json(const std::filesystem::path& path) {
  return nlohmann::json::parse(read_bytes(path));
}

struct Tensor {
  std::string dtype;  // as in the file: F32, F16, BF16, F64, I64, U8, ...
  std::vector<int64_t> shape;
  std::string bytes;
};

class Golden {
 public:
  std::map<std::string, Tensor> tensors;

  bool has(const std::string& name) const { return tensors.contains(name); }
  const Tensor& at(const std::string& name) const {
    const auto found = tensors.find(name);
    if (found == tensors.end()) throw std::runtime_error("golden: no tensor " + name);
    return found->second;
  }
  const std::vector<int64_t>& shape(const std::string& name) const { return at(name).shape; }
  std::vector<uint8_t> u8(const std::string& name) const { return raw<uint8_t>(name, "U8"); }
  std::vector<int64_t> i64(const std::string& name) const { return raw<int64_t>(name, "I64"); }
  // F32 as it is; F16, BF16 and F64 converted.
  std::vector<float> f32(const std::string& name) const {
    const std::string& dtype = at(name).dtype;
    if (dtype == "F16") return converted(raw<uint16_t>(name, "F16"), to_float_f16);
    if (dtype == "BF16") return converted(raw<uint16_t>(name, "BF16"), to_float_bf16);
    if (dtype == "F64")
      return converted(raw<double>(name, "F64"), [](double x) { return float(x); });
    return raw<float>(name, "F32");
  }

 private:
  template <class T>
  std::vector<T> raw(const std::string& name, const std::string& dtype) const {
    const Tensor& tensor = at(name);
    if (tensor.dtype != dtype) throw std::runtime_error("golden: " + name + " is " + tensor.dtype);
    std::vector<T> values(tensor.bytes.size() / sizeof(T));
    if (!values.empty()) std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
    return values;
  }
  template <class T, class F>
  static std::vector<float> converted(const std::vector<T>& from, F convert) {
    std::vector<float> to;
    to.reserve(from.size());
    for (const T x : from) to.push_back(convert(x));
    return to;
  }
};

inline Golden open(const std::filesystem::path& path) {
  const std::string file = read_bytes(path);
  uint64_t header = 0;
  if (file.size() >= 8) std::memcpy(&header, file.data(), 8);
  if (file.size() < 8 || header > file.size() - 8) throw std::runtime_error("golden: bad header");
  Golden golden;
  const auto entries = nlohmann::json::parse(file.substr(8, header));
  for (const auto& [name, entry] : entries.items()) {
    if (name == "__metadata__") continue;
    const size_t begin = entry["data_offsets"][0], end = entry["data_offsets"][1];
    golden.tensors[name] = {entry["dtype"], entry["shape"],
                            file.substr(8 + header + begin, end - begin)};
  }
  return golden;
}

}  // namespace revenant::golden
