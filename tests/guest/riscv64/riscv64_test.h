// What the riscv64 tests share.
#pragma once

#include <string>

#include "guest/common/llvm_mc.h"
#include "guest/common/seed.h"

namespace myna::test {

/// llvm-mc with all extensions of `-cpu max`, without aliases.
LlvmTarget riscv64_llvm();

/// Texts that differ without one of them being wrong: CSRs that only one side has a name for, and the like.
bool known_difference(const std::string& ours, const std::string& llvm);

}  // namespace myna::test
