// Every floating-point and vector operation of ops.inc with every sub and imm that means something different.
#pragma once

#include <vector>

#include "ir/function.h"

namespace myna::x64 {

struct Variant {
    ir::Op op;
    ir::Type type;             // Inst::type
    ir::Type operands[3];      // kVoid: none
    uint8_t sub = 0;
    uint64_t imm = 0;
};

std::vector<Variant> all_variants();

}  // namespace myna::x64
