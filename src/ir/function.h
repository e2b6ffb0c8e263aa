// Function: the IR of one translated block, and the table of operation properties.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "ir/types.h"

namespace myna::ir {

/// A row of ops.inc.
struct OpInfo {
    std::string_view text;
    std::string_view result;
    std::string_view args;
    std::string_view props;
    uint8_t arg_count;
    bool pure, commutative, reads_mem, writes_mem, may_fault, leaves, touches_state, fp_flags;
};

namespace detail {
extern const OpInfo kOps[];
inline constexpr auto kAsInst = static_cast<Type>(0xff);
constexpr Type fixed_type(std::string_view result) {
    switch (result[0]) {
        case 'B':
        case 'i': return Type::kI32;
        case 'l': return Type::kI64;
        case 'F': return Type::kFlags;
        case 'v': return Type::kV128;
        case 'V': return Type::kVoid;
        default: return kAsInst;
    }
}
inline constexpr Type kFixedType[] = {
#define IR_OP(name, text, result, args, props, doc) fixed_type(result),
#include "ir/ops.inc"
#undef IR_OP
};
}  // namespace detail

/// Properties of `op`.
inline const OpInfo& info(Op op) noexcept { return detail::kOps[static_cast<size_t>(op)]; }

/// The type of the value that `i` makes; kVoid when it makes none.
inline Type result_type(const Inst& i) noexcept {
    const Type t = detail::kFixedType[static_cast<size_t>(i.op)];
    return t == detail::kAsInst ? i.type : t;
}

/// A piece of guest code a block was made from.
struct GuestRange {
    uint64_t pc;
    uint32_t bytes;
};

/// The IR of one block. Reused from block to block: clear() keeps the memory.
struct Function {
    std::vector<Inst> insts;
    std::vector<V128> vconsts;       // the pool behind kVConst
    std::vector<GuestRange> ranges;  // guest bytes it depends on; the first starts at `pc`
    uint64_t pc = 0;                 // guest PC of the entry
    uint32_t mode = 0;               // the block key's mode bits (guest defined)
    uint32_t guest_insns = 0;
    NanRule nan_rule = NanRule::kArm;
    FpMode fp_mode;         // when not all default, fp_exact must be set as well
    uint8_t mmu_index = 0;   // system mode: which of the softmmu TLB's tables memory operations use
    bool exact_underflow = false;  // NanRule other than kRiscv: underflow is detected before rounding, checked at each operation
    bool fp_exact = false;  // every FP operation through the soft implementation (flush-to-zero, round-to-nearest-away …)

    void clear() {
        insts.clear();
        vconsts.clear();
        ranges.clear();
        pc = mode = guest_insns = 0;
        fp_mode = {};
        exact_underflow = fp_exact = false;
    }
    [[nodiscard]] const Inst& operator[](Ref r) const noexcept { return insts[r]; }
};

}  // namespace myna::ir
