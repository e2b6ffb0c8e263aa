// CPU models by name; identification registers and HWCAP that follow from their features are in sysreg.h.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "guest/common/arch.h"

namespace myna::guest::aarch64 {

/// "max", "cortex-a72", "max,lse=off": an error names what is not known.
Result<CpuConfig> parse_cpu(std::string_view spec);
/// The text of `-cpu help`.
std::string cpu_help();

}  // namespace myna::guest::aarch64
