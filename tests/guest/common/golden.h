// Golden host code: what each guest instruction becomes, in a text file that reviews show the difference of.
//
//   8b020020 add x0, x1, x2 ; 1 insns 4 bytes
//       lea rdi, [r8+r9*1]
//
// The file lists the instructions; the lines below each are what the back end makes for a fixed host (AVX2 and BMI2, no
// AVX-512), from the block's entry to its exit. MYNA_BLESS=1 writes the file anew.
#pragma once

#include <string>

#include "guest/common/arch.h"

namespace myna::test {

/// Compares every instruction of the golden file at `path`; returns what differs, or "" ("skip: why" when it cannot be
/// done here).
std::string check_golden(const guest::GuestArch& arch, const std::string& cpu, const std::string& path);

}  // namespace myna::test
