// Where a recipe wants to be computed; apart from device.h, so that recipes need no libtorch.
#pragma once

namespace revenant {

enum class DeviceChoice { automatic, cpu, cuda };

}  // namespace revenant
