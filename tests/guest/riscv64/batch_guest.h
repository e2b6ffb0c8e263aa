// riscv64 for the differential harness.
#pragma once

#include "guest/common/batch.h"

namespace myna::test {

/// A guest with these extensions (a -cpu argument), and the QEMU command that has them.
std::unique_ptr<GuestUnderTest> make_riscv64(const std::string& cpu, std::vector<std::string> qemu);

}  // namespace myna::test
