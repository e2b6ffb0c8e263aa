// What each integer operation of ops.inc computes.
#include "ir/scalar.h"

namespace myna::ir {
namespace {

uint64_t divide(Op op, uint64_t a, uint64_t b, Type t) noexcept {
    const int64_t sa = signed_of(a, t), sb = signed_of(b, t);
    switch (op) {
        case Op::kDivU: return b ? a / b : 0;
        case Op::kRemU: return b ? a % b : a;
        case Op::kDivS: return sb == 0 ? 0 : sb == -1 ? 0 - a : static_cast<uint64_t>(sa / sb);
        default: return sb == 0 ? a : sb == -1 ? 0 : static_cast<uint64_t>(sa % sb);
    }
}

uint64_t rotate_right(uint64_t a, unsigned n, Type t) noexcept {
    return t == Type::kI32 ? std::rotr(static_cast<uint32_t>(a), static_cast<int>(n)) : std::rotr(a, static_cast<int>(n));
}

uint64_t multiply_high(Op op, uint64_t a, uint64_t b, Type t) noexcept {
    if (op == Op::kMulHU) {
        if (t == Type::kI32) return (a * b) >> 32;
        return static_cast<uint64_t>((static_cast<unsigned __int128>(a) * b) >> 64);
    }
    const int64_t sa = signed_of(a, t), sb = signed_of(b, t);
    return static_cast<uint64_t>((static_cast<__int128>(sa) * sb) >> width_of(t));
}

uint64_t insert_bits(uint64_t a, uint64_t b, uint64_t imm) noexcept {
    const unsigned lo = imm & 0xff, len = (imm >> 8) & 0xff;
    const uint64_t mask = low_mask(len) << lo;
    return (a & ~mask) | (b << lo & mask);
}

uint64_t swap_bytes_in(uint64_t v, unsigned bytes) noexcept {
    v = (v >> 8 & 0x00ff00ff00ff00ff) | (v & 0x00ff00ff00ff00ff) << 8;
    if (bytes >= 4) v = (v >> 16 & 0x0000ffff0000ffff) | (v & 0x0000ffff0000ffff) << 16;
    if (bytes >= 8) v = std::rotr(v, 32);
    return v;
}

}  // namespace

bool is_int_op(Op op) noexcept { return op >= Op::kAdd && op <= Op::kCrc32; }

uint64_t eval_int(Op op, Type t, uint8_t sub, uint64_t a, uint64_t b, uint64_t c, uint64_t imm) noexcept {
    const unsigned w = width_of(t);
    const unsigned n = static_cast<unsigned>(b) & (w - 1);
    uint64_t r = 0;
    switch (op) {
        case Op::kAdd: r = a + b; break;
        case Op::kSub: r = a - b; break;
        case Op::kMul: r = a * b; break;
        case Op::kMulHS:
        case Op::kMulHU: r = multiply_high(op, a, b, t); break;
        case Op::kDivS:
        case Op::kDivU:
        case Op::kRemS:
        case Op::kRemU: r = divide(op, a, b, t); break;
        case Op::kAnd: r = a & b; break;
        case Op::kOr: r = a | b; break;
        case Op::kXor: r = a ^ b; break;
        case Op::kAndN: r = a & ~b; break;
        case Op::kNot: r = ~a; break;
        case Op::kNeg: r = 0 - a; break;
        case Op::kShl: r = a << n; break;
        case Op::kShr: r = a >> n; break;
        case Op::kSar: r = static_cast<uint64_t>(signed_of(a, t) >> n); break;
        case Op::kRor: r = rotate_right(a, n, t); break;
        case Op::kExtr: r = imm ? a << (w - imm) | b >> imm : b; break;
        case Op::kClz: r = static_cast<unsigned>(std::countl_zero(a)) - (64 - w); break;
        case Op::kCtz: r = a ? static_cast<unsigned>(std::countr_zero(a)) : w; break;
        case Op::kCls: {
            const uint64_t s = static_cast<uint64_t>(signed_of(a, t));
            r = static_cast<unsigned>(std::countl_zero(s ^ static_cast<uint64_t>(static_cast<int64_t>(s) >> 63))) - (64 - w) - 1;
            break;
        }
        case Op::kPopcnt: r = static_cast<unsigned>(std::popcount(a)); break;
        case Op::kBswap: r = t == Type::kI32 ? std::byteswap(static_cast<uint32_t>(a)) : std::byteswap(a); break;
        case Op::kBswap16: r = swap_bytes_in(a, 2); break;
        case Op::kBswap32: r = swap_bytes_in(a, 4); break;
        case Op::kBitrev: r = reverse_bits(a) >> (64 - w); break;
        case Op::kSext8: r = static_cast<uint64_t>(sign_extend(a, 8)); break;
        case Op::kSext16: r = static_cast<uint64_t>(sign_extend(a, 16)); break;
        case Op::kZext8: r = a & 0xff; break;
        case Op::kZext16: r = a & 0xffff; break;
        case Op::kTrunc:
        case Op::kZext: r = static_cast<uint32_t>(a); break;
        case Op::kSext: r = static_cast<uint64_t>(sign_extend(a, 32)); break;
        case Op::kUbfx: r = bits(a, imm & 0xff, (imm >> 8) & 0xff); break;
        case Op::kSbfx:
            r = static_cast<uint64_t>(sign_extend(a >> (imm & 0xff), (imm >> 8) & 0xff));
            break;
        case Op::kBfi: r = insert_bits(a, b, imm); break;
        case Op::kAdc: r = a + b + (c & 1); break;
        case Op::kCmp: return compare(static_cast<Cmp>(sub), a, b, t);
        case Op::kSelect: r = static_cast<uint32_t>(a) ? b : c; break;
        case Op::kClmul: r = clmul_low(a, b); break;
        case Op::kClmulH: r = clmul_high(a, b); break;
        case Op::kCrc32: r = crc32(static_cast<uint32_t>(a), b, 1u << sub, imm & 1); break;
        default: break;
    }
    return cut(r, t);
}

}  // namespace myna::ir
