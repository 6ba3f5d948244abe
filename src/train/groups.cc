#define USE_C10D_GLOO  // as libtorch was built
#include "train/groups.h"

#include <dlfcn.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "train/nccl/group.h"

namespace revenant {

Group gloo_group(const Store& store, int rank, int size, bool same_machine) {
  using Gloo = c10d::ProcessGroupGloo;
  const char* interface = std::getenv("GLOO_SOCKET_IFNAME");
  auto options = Gloo::Options::create(kGroupTimeout);
  options->devices = {interface      ? Gloo::createDeviceForInterface(interface)
                      : same_machine ? Gloo::createDeviceForHostname("127.0.0.1")
                                     : Gloo::createDefaultDevice()};
  return c10::make_intrusive<Gloo>(c10::make_intrusive<c10d::PrefixStore>("gloo", store), rank,
                                   size, options);
}

// The part that needs CUDA's headers and libraries is a module of its own beside the program.
Group nccl_group(const Store& store, int rank, int size, torch::Device device) {
  const auto module = std::filesystem::read_symlink("/proc/self/exe").parent_path() / kNcclModule;
  void* library = ::dlopen(module.c_str(), RTLD_NOW);
  if (!library)
    throw Error("train", "several processes on CUDA",
                "NCCL, which a build has where CUDA's and NCCL's headers are (docs/training.md)",
                ::dlerror());
  const auto make =
      reinterpret_cast<decltype(&revenant_nccl_group)>(::dlsym(library, "revenant_nccl_group"));
  CHECK(make);
  return Group::reclaim(
      make(c10::make_intrusive<c10d::PrefixStore>("nccl", store), rank, size, device.index()));
}

}  // namespace revenant
