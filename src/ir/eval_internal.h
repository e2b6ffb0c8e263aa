// What the evaluator's files share: one function for each kind of operation.
//
//   eval.cpp       control flow, guest registers, integers, flags, helpers
//   eval_mem.cpp   guest memory
//   eval_fp.cpp    scalar floating point, moves between register files, fl_fcmp
//   eval_vec.cpp   vectors
//
// Operands and results are V128: scalars in u64[0] (zero extended), everything above zero; flags as NZCV in bits 31..28;
// booleans 0 or 1. An operand that is kNoRef is all zeroes.
#pragma once

#include "ir/eval.h"

namespace myna::ir {

struct EvalContext {
    const Function& f;
    const guest::GuestArch& arch;
    guest::VcpuHeader& hdr;  // hdr.mxcsr: rounding mode, and where exception flags collect
    EvalMemory& mem;

    [[nodiscard]] Type type_of(Ref r) const noexcept { return result_type(f.insts[r]); }
};

constexpr V128 scalar(uint64_t v) noexcept { return V128{{v, 0}}; }

/// kFAdd … kFRound, kFlFcmp, kBitcast, kVZext, kVLow, kBox32, kUnbox32.
V128 eval_fp(const Inst& i, const V128& a, const V128& b, const V128& c, EvalContext& ctx);

/// All vector operations (kVAnd to the end of the table). kVGet gives its lane as a scalar of Inst::type.
V128 eval_vector(const Inst& i, const V128& a, const V128& b, const V128& c, EvalContext& ctx);

/// kLoad, kStore, kLl, kSc, kCas, kRmw*.
V128 eval_memory(const Inst& i, const V128& a, const V128& b, const V128& c, EvalContext& ctx);

}  // namespace myna::ir
