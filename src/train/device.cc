#include "train/device.h"

#include <ATen/autocast_mode.h>
#include <dlfcn.h>
#include <torch/cuda.h>

#include <optional>

#include "base/error.h"
#include "kernels/gemm.h"
#include "train/ranks.h"

namespace revenant {
namespace {

// What keeps CUDA from working here; nothing where it works. Looked at once: torch remembers what
// it found first.
std::optional<std::string> load_cuda() {
  for (const char* library : {"libcuda.so.1", "libtorch_cuda.so"})  // the driver's, torch's
    if (!::dlopen(library, RTLD_NOW | RTLD_GLOBAL)) return std::string(::dlerror());
  try {
    if (torch::cuda::device_count() > 0) return {};
    return std::string("no CUDA device");
  } catch (const c10::Error& error) {
    return std::string(error.what_without_backtrace());
  }
}

const std::optional<std::string>& why_no_cuda() {
  static const std::optional<std::string> reason = load_cuda();
  return reason;
}

}  // namespace

torch::Device device_of(DeviceChoice choice) {
  if (choice == DeviceChoice::cpu || (choice == DeviceChoice::automatic && why_no_cuda()))
    return torch::kCPU;
  if (why_no_cuda())
    throw Error("train", "device", "CUDA, which cuda asks for (docs/training.md)", *why_no_cuda());
  const int local = rank_place().local_rank, count = int(torch::cuda::device_count());
  if (local >= count)
    throw Error("train", "device", "a CUDA device for each process of this machine",
                std::to_string(count) + " for LOCAL_RANK " + std::to_string(local));
  return {torch::kCUDA, c10::DeviceIndex(local)};
}

std::string described(torch::Device device) {
  if (device.is_cpu()) return "the CPU";
  char name[128] = "";
  if (auto* of = reinterpret_cast<int (*)(char*, int, int)>(::dlsym(nullptr, "cuDeviceGetName")))
    of(name, sizeof name, device.index());
  return device.str() + " (" + name + ")";
}

torch::Tensor indices(const std::vector<int64_t>& values, torch::Device device) {
  return torch::tensor(values, torch::kLong).to(device);
}

namespace {
thread_local bool products_alone = false;
}  // namespace

// Without torch's cache of leaves in bf16, which would outlive a step and be stale in the next.
Autocast::Autocast(bool on, torch::Device device)
    : device_(device), cached_(at::autocast::is_autocast_cache_enabled()) {
  products_alone = on && device.is_cpu() && has_bf16_gemm();
  at::autocast::set_autocast_cache_enabled(false);
  at::autocast::set_autocast_dtype(device.type(), at::kBFloat16);  // CUDA's own choice is f16
  at::autocast::set_autocast_enabled(device.type(), on && !products_alone);
}

Autocast::~Autocast() {
  products_alone = false;
  at::autocast::set_autocast_enabled(device_.type(), false);
  at::autocast::set_autocast_cache_enabled(cached_);
}

bool Autocast::is_on(torch::Device device) {
  return products_alone || at::autocast::is_autocast_enabled(device.type());
}

bool Autocast::in_products_alone() { return products_alone; }

}  // namespace revenant
