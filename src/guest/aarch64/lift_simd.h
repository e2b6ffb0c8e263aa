// SimdLifter: lift functions of insn_simd.decode (Advanced SIMD, floating point, cryptography), bodies in lift_simd_*.cpp.
#pragma once

#include "guest/aarch64/lifter.h"

namespace myna::guest::aarch64 {

class SimdLifter : public Lifter {
  public:
    using Lifter::Lifter;
};

}  // namespace myna::guest::aarch64
