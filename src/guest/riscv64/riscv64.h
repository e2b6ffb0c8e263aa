// The riscv64 guest's entry in the registry.
#pragma once

#include "guest/common/arch.h"

namespace myna::guest::riscv64 {

extern const GuestArch kArch;

}  // namespace myna::guest::riscv64
