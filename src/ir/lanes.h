// The meaning of every floating-point and vector operation, as plain loops over lanes.
//
// One function serves three: the evaluator (the oracle), the slow paths of translated code, where an operation's fast
// form met a NaN, and the exact mode of a Function (flush-to-zero, ties away). Floating point goes through softfp.
#pragma once

#include <cstdint>

#include "ir/function.h"

namespace myna::ir {

/// An operation without its operands. 16 bytes, so that translated code can keep one among its vector literals.
struct LaneOp {
    uint16_t op;        // Op
    Type type;          // Inst::type
    Type src;           // type of operand a (kVoid when there is none)
    uint8_t sub;        // Inst::sub
    uint8_t nan_rule;   // NanRule
    uint8_t fp_mode;    // FpMode: bit 0 flush, 1 flush16, 2 round_away
    uint8_t reserved;
    uint64_t imm;       // Inst::imm
};
static_assert(sizeof(LaneOp) == 16);

/// `i` of block `f`, whose first operand has type `src`.
LaneOp lane_op(const Function& f, const Inst& i, Type src) noexcept;

/// True for the operations evaluate_lanes knows: moves between register files, scalar FP, vectors, fl_fcmp.
bool is_lane_op(Op op) noexcept;

/// The result of `op`. Scalars are in the low bits, zeroes above; kFlags: NZCV in bits 31..28. Rounding mode from
/// `mxcsr`, exception flags or-ed into it.
V128 evaluate_lanes(const LaneOp& op, const V128& a, const V128& b, const V128& c, uint32_t& mxcsr) noexcept;

}  // namespace myna::ir
