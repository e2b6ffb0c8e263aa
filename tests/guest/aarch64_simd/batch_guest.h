// aarch64 for the differential harness: streams of SIMD&FP instructions.
#pragma once

#include "guest/common/batch.h"

namespace myna::test {

/// A guest with these features (a -cpu argument), and the QEMU command that has them. `fpcr_bits`: what of FPCR streams
/// find set at random.
std::unique_ptr<GuestUnderTest> make_aarch64_simd(const std::string& cpu, std::vector<std::string> qemu, uint32_t fpcr_bits);

}  // namespace myna::test
