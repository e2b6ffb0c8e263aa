// The meaning of integer and flag operations, in one place for the Builder (constants) and the evaluator.
//
// Values are uint64_t; kI32 values are zero extended. NZCV is held in bits 31..28, as the guests store it.
#pragma once

#include <bit>
#include <cstdint>

#include "base/bits.h"
#include "ir/types.h"

namespace myna::ir {

inline constexpr uint32_t kFlagN = 1u << 31, kFlagZ = 1u << 30, kFlagC = 1u << 29, kFlagV = 1u << 28;

constexpr unsigned width_of(Type t) noexcept {
    switch (t) {
        case Type::kF16: return 16;
        case Type::kI32:
        case Type::kF32: return 32;
        case Type::kI64:
        case Type::kF64: return 64;
        case Type::kV128: return 128;
        default: return 32;  // kFlags
    }
}
constexpr unsigned elem_bits(Elem e) noexcept {
    constexpr unsigned kBits[] = {8, 16, 32, 64, 16, 32, 64};
    return kBits[static_cast<unsigned>(e)];
}
constexpr bool is_int(Type t) noexcept { return t == Type::kI32 || t == Type::kI64; }
constexpr bool is_fp(Type t) noexcept { return t == Type::kF16 || t == Type::kF32 || t == Type::kF64; }

/// `v` cut to an integer type.
constexpr uint64_t cut(uint64_t v, Type t) noexcept { return t == Type::kI32 ? static_cast<uint32_t>(v) : v; }
/// The signed value of `v`.
constexpr int64_t signed_of(uint64_t v, Type t) noexcept {
    return t == Type::kI32 ? static_cast<int32_t>(v) : static_cast<int64_t>(v);
}

constexpr Cmp inverted(Cmp c) noexcept {
    constexpr Cmp k[] = {Cmp::kNe,  Cmp::kEq,  Cmp::kSge, Cmp::kSgt, Cmp::kSle,
                         Cmp::kSlt, Cmp::kUge, Cmp::kUgt, Cmp::kUle, Cmp::kUlt};
    return k[static_cast<unsigned>(c)];
}
/// The comparison that says the same of swapped operands.
constexpr Cmp swapped(Cmp c) noexcept {
    constexpr Cmp k[] = {Cmp::kEq,  Cmp::kNe,  Cmp::kSgt, Cmp::kSge, Cmp::kSlt,
                         Cmp::kSle, Cmp::kUgt, Cmp::kUge, Cmp::kUlt, Cmp::kUle};
    return k[static_cast<unsigned>(c)];
}
/// The opposite condition; `c` is not kAl.
constexpr Cond inverted(Cond c) noexcept { return static_cast<Cond>(static_cast<unsigned>(c) ^ 1); }

constexpr bool compare(Cmp cc, uint64_t a, uint64_t b, Type t) noexcept {
    const int64_t sa = signed_of(a, t), sb = signed_of(b, t);
    switch (cc) {
        case Cmp::kEq: return a == b;
        case Cmp::kNe: return a != b;
        case Cmp::kSlt: return sa < sb;
        case Cmp::kSle: return sa <= sb;
        case Cmp::kSgt: return sa > sb;
        case Cmp::kSge: return sa >= sb;
        case Cmp::kUlt: return a < b;
        case Cmp::kUle: return a <= b;
        case Cmp::kUgt: return a > b;
        case Cmp::kUge: return a >= b;
    }
    return false;
}

constexpr bool holds(Cond cc, uint32_t nzcv) noexcept {
    const bool n = nzcv & kFlagN, z = nzcv & kFlagZ, c = nzcv & kFlagC, v = nzcv & kFlagV;
    switch (cc) {
        case Cond::kEq: return z;
        case Cond::kNe: return !z;
        case Cond::kCs: return c;
        case Cond::kCc: return !c;
        case Cond::kMi: return n;
        case Cond::kPl: return !n;
        case Cond::kVs: return v;
        case Cond::kVc: return !v;
        case Cond::kHi: return c && !z;
        case Cond::kLs: return !(c && !z);
        case Cond::kGe: return n == v;
        case Cond::kLt: return n != v;
        case Cond::kGt: return !z && n == v;
        case Cond::kLe: return z || n != v;
        case Cond::kAl: return true;
    }
    return true;
}

/// NZCV of a + b + carry.
constexpr uint32_t flags_of_sum(uint64_t a, uint64_t b, bool carry, Type t) noexcept {
    const uint64_t r = cut(a + b + carry, t);
    const unsigned top = width_of(t) - 1;
    const uint64_t carries = (a & b) | ((a | b) & ~r);  // out of each bit
    uint32_t f = 0;
    if (bit(r, top)) f |= kFlagN;
    if (r == 0) f |= kFlagZ;
    if (bit(carries, top)) f |= kFlagC;
    if (bit((a ^ r) & (b ^ r), top)) f |= kFlagV;
    return f;
}
constexpr uint32_t flags_of_difference(uint64_t a, uint64_t b, Type t) noexcept {
    return flags_of_sum(a, cut(~b, t), true, t);
}
constexpr uint32_t flags_of_logic(uint64_t r, Type t) noexcept {
    return (bit(r, width_of(t) - 1) ? kFlagN : 0) | (r == 0 ? kFlagZ : 0);
}

constexpr uint64_t reverse_bits(uint64_t v) noexcept {
    v = (v >> 1 & 0x5555555555555555) | (v & 0x5555555555555555) << 1;
    v = (v >> 2 & 0x3333333333333333) | (v & 0x3333333333333333) << 2;
    v = (v >> 4 & 0x0f0f0f0f0f0f0f0f) | (v & 0x0f0f0f0f0f0f0f0f) << 4;
    return std::byteswap(v);
}
constexpr uint64_t clmul_low(uint64_t a, uint64_t b) noexcept {
    uint64_t r = 0;
    for (unsigned i = 0; i < 64; ++i) r ^= bit(b, i) ? a << i : 0;
    return r;
}
constexpr uint64_t clmul_high(uint64_t a, uint64_t b) noexcept {
    uint64_t r = 0;
    for (unsigned i = 1; i < 64; ++i) r ^= bit(b, i) ? a >> (64 - i) : 0;
    return r;
}
/// CRC of `acc` with the low `bytes` of `v`, bit reflected (the polynomial too).
constexpr uint32_t crc32(uint32_t acc, uint64_t v, unsigned bytes, bool castagnoli) noexcept {
    const uint32_t poly = castagnoli ? 0x82f63b78 : 0xedb88320;
    for (unsigned i = 0; i < bytes; ++i) {
        acc ^= static_cast<uint8_t>(v >> (8 * i));
        for (int k = 0; k < 8; ++k) acc = acc >> 1 ^ (acc & 1 ? poly : 0);
    }
    return acc;
}

/// True when eval_int knows the operation: integer operands in, integer result out, no effects.
bool is_int_op(Op op) noexcept;
/// Loads, stores and atomics.
constexpr bool is_memory(Op op) noexcept { return op >= Op::kLoad && op <= Op::kRmwUmax; }
/// The result of integer operation `op`; operands are zero extended from their types.
uint64_t eval_int(Op op, Type t, uint8_t sub, uint64_t a, uint64_t b, uint64_t c, uint64_t imm) noexcept;

}  // namespace myna::ir
