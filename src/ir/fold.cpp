// Folding: what the Builder makes of an instruction instead of emitting it as asked.
//
//   emit(op, …) ─▶ fold ─▶ a value that exists or a constant            (nothing is emitted)
//                     └──▶ the same or a simpler instruction ─▶ share ─▶ append
//
// A rule may use a value only if that costs no more than what it replaces. The trap is a guest register that was
// overwritten: its old value needs a second host register to live on. So chains like (x + c1) + c2 are folded to x + c2'
// only when the middle value has no register of its own or x still has one (Builder::in_slot).
#include <algorithm>
#include <bit>
#include <utility>

#include "ir/builder.h"
#include "ir/scalar.h"

namespace myna::ir {
namespace {

constexpr unsigned kNear = 40;  // operations, some ten guest instructions, over which another register may well be spared
constexpr bool is_arithmetic(Op op) noexcept { return op >= Op::kAdd && op <= Op::kMul; }

constexpr Cmp cmp_of(uint8_t sub) noexcept { return static_cast<Cmp>(sub); }
constexpr uint8_t sub_of(Cmp c) noexcept { return static_cast<uint8_t>(c); }

}  // namespace

bool Builder::is_bool(Ref r) const noexcept {
    const Inst& i = f_.insts[r];
    switch (i.op) {
        case Op::kCmp:
        case Op::kCond:
        case Op::kFCmp:
        case Op::kSc: return true;
        case Op::kConst: return i.imm <= 1;
        case Op::kAnd: return f_.insts[i.b].op == Op::kConst && f_.insts[i.b].imm == 1;
        default: return false;
    }
}

unsigned Builder::unsigned_bits(Ref r, unsigned depth) const noexcept {
    const Inst& i = f_.insts[r];
    uint64_t k = 0;
    if (depth == 0) return width_of(type_of(r));
    switch (i.op) {
        case Op::kConst: return static_cast<unsigned>(std::bit_width(i.imm));
        case Op::kLoad:
            return is_int(i.type) && !(i.sub & MemAttr::kSigned) ? 8u << (i.sub & MemAttr::kSizeMask) : width_of(i.type);
        case Op::kZext:
        case Op::kTrunc: return std::min(32u, unsigned_bits(i.a, depth - 1));
        case Op::kZext8: return 8;
        case Op::kZext16: return 16;
        case Op::kCmp:
        case Op::kCond:
        case Op::kFCmp:
        case Op::kSc: return 1;
        case Op::kUbfx: return static_cast<unsigned>(i.imm >> 8 & 0xff);
        case Op::kAnd: return is_const(i.b, &k) ? static_cast<unsigned>(std::bit_width(k)) : width_of(i.type);
        case Op::kShr:
            if (is_const(i.b, &k)) return width_of(i.type) - static_cast<unsigned>(k & (width_of(i.type) - 1));
            return width_of(i.type);
        case Op::kClz:
        case Op::kCtz:
        case Op::kCls:
        case Op::kPopcnt: return 7;
        case Op::kAdd: return std::min(width_of(i.type), std::max(unsigned_bits(i.a, depth - 1), unsigned_bits(i.b, depth - 1)) + 1);
        case Op::kMul: return std::min(width_of(i.type), unsigned_bits(i.a, depth - 1) + unsigned_bits(i.b, depth - 1));
        case Op::kOr:
        case Op::kXor: return std::max(unsigned_bits(i.a, depth - 1), unsigned_bits(i.b, depth - 1));
        case Op::kShl:
            if (!is_const(i.b, &k)) return width_of(i.type);
            return std::min(width_of(i.type), unsigned_bits(i.a, depth - 1) + static_cast<unsigned>(k & (width_of(i.type) - 1)));
        case Op::kVGet:
            return is_int(i.type) && !(i.imm & 0x100) ? elem_bits(static_cast<Elem>(i.sub)) : width_of(i.type);
        default: return width_of(type_of(r));
    }
}

unsigned Builder::signed_bits(Ref r, unsigned depth) const noexcept {
    const Inst& i = f_.insts[r];
    const unsigned w = width_of(type_of(r));
    uint64_t k = 0;
    if (depth == 0) return w;
    unsigned n = w;
    switch (i.op) {
        case Op::kConst: {
            const uint64_t v = static_cast<uint64_t>(signed_of(i.imm, i.type));
            return 65 - static_cast<unsigned>(std::countl_zero(v ^ static_cast<uint64_t>(static_cast<int64_t>(v) >> 63)));
        }
        case Op::kLoad:
            if (is_int(i.type) && (i.sub & MemAttr::kSigned)) return std::min(w, 8u << (i.sub & MemAttr::kSizeMask));
            break;
        case Op::kSext: return signed_bits(i.a, depth - 1);
        case Op::kTrunc: n = signed_bits(i.a, depth - 1); break;  // above 32 it says nothing
        case Op::kSext8: return 8;
        case Op::kSext16: return 16;
        case Op::kSbfx: return static_cast<unsigned>(i.imm >> 8 & 0xff);
        case Op::kSar:
            if (is_const(i.b, &k)) return w - static_cast<unsigned>(k & (w - 1));
            break;
        case Op::kAdd:
        case Op::kSub: n = std::max(signed_bits(i.a, depth - 1), signed_bits(i.b, depth - 1)) + 1; break;
        case Op::kMul: n = signed_bits(i.a, depth - 1) + signed_bits(i.b, depth - 1); break;
        case Op::kNeg: n = signed_bits(i.a, depth - 1) + 1; break;
        case Op::kShl:
            if (is_const(i.b, &k)) n = signed_bits(i.a, depth - 1) + static_cast<unsigned>(k & (w - 1));
            break;
        default: break;
    }
    return std::min({w, n, unsigned_bits(r, depth) + 1});
}

/// A kI32 sum, difference or product extended by its sign, where 64-bit arithmetic on the registers it was made from
/// gives just that: they hold small numbers, so that nothing overflows.
Ref Builder::widened_arithmetic(Ref r) {
    const Inst n = f_.insts[r];
    if ((n.op != Op::kAdd && n.op != Op::kSub && n.op != Op::kMul) || n.type != Type::kI32 || in_slot(r)) return kNoRef;
    const auto has_register = [&](Ref x) {
        const Inst& d = f_.insts[x];
        return d.op == Op::kConst || (d.op == Op::kTrunc && signed_bits(d.a) <= 31);
    };
    const unsigned a = signed_bits(n.a), b = signed_bits(n.b);
    if ((n.op == Op::kMul ? a + b : std::max(a, b) + 1) > 32 || !has_register(n.a) || !has_register(n.b)) return kNoRef;
    const auto wide = [&](Ref x) {
        uint64_t k = 0;
        return is_const(x, &k) ? imm(static_cast<uint64_t>(signed_of(k, Type::kI32))) : f_.insts[x].a;
    };
    const Ref x = wide(n.a);
    return emit(n.op, Type::kI64, 0, x, wide(n.b));
}

Ref Builder::fold(Inst& i) {
    switch (i.op) {
        case Op::kAdd: return fold_add(i);
        case Op::kSub: return fold_sub(i);
        case Op::kMul: return fold_mul(i);
        case Op::kAnd:
        case Op::kOr:
        case Op::kXor:
        case Op::kAndN: return fold_logic(i);
        case Op::kShl:
        case Op::kShr:
        case Op::kSar:
        case Op::kRor: return fold_shift(i);
        case Op::kTrunc:
        case Op::kZext:
        case Op::kSext:
        case Op::kSext8:
        case Op::kSext16:
        case Op::kZext8:
        case Op::kZext16: return fold_extend(i);
        case Op::kUbfx:
        case Op::kSbfx:
        case Op::kBfi: return fold_field(i);
        case Op::kCmp: return fold_cmp(i);
        case Op::kSelect: return fold_select(i);
        case Op::kCond: return fold_cond(i);
        default:
            if (!is_memory(i.op)) return fold_move(i);
            fold_address(i);
            return kNoRef;
    }
}

/// Displacements of constant additions go into the memory operation.
void Builder::fold_address(Inst& i) {
    uint64_t k = 0;
    if (is_const(i.a, &k)) {
        if (i.imm) i.a = imm(k + i.imm);
        i.imm = 0;
        return;
    }
    const Inst& a = f_.insts[i.a];
    if ((a.op != Op::kAdd && a.op != Op::kSub) || !is_const(a.b, &k)) return;
    if (in_slot(i.a) && !in_slot(a.a)) return;
    const uint64_t disp = i.imm + (a.op == Op::kAdd ? k : 0 - k);
    if (!fits_i32(static_cast<int64_t>(disp))) return;
    i.a = a.a;
    i.imm = disp;
}

Ref Builder::fold_add(Inst& i) {
    uint64_t k = 0, k2 = 0;
    if (!is_const(i.b, &k)) return kNoRef;
    if (is_const(i.a, &k2)) return imm(k + k2, i.type);
    if (k == 0) return i.a;
    const Inst& a = f_.insts[i.a];
    if ((a.op == Op::kAdd || a.op == Op::kSub) && is_const(a.b, &k2) && (!in_slot(i.a) || in_slot(a.a))) {
        const Ref base = a.a;
        const uint64_t sum = cut(a.op == Op::kAdd ? k + k2 : k - k2, i.type);
        if (sum == 0) return base;
        i.b = imm(sum, i.type);
        i.a = base;
    }
    return kNoRef;
}

Ref Builder::fold_sub(Inst& i) {
    uint64_t k = 0, k2 = 0;
    if (i.a == i.b) return imm(0, i.type);
    const bool const_a = is_const(i.a, &k2);
    if (is_const(i.b, &k)) {
        if (const_a) return imm(k2 - k, i.type);
        if (k == 0) return i.a;
        const Inst& a = f_.insts[i.a];
        if ((a.op == Op::kAdd || a.op == Op::kSub) && is_const(a.b, &k2) && (!in_slot(i.a) || in_slot(a.a))) {
            const Ref base = a.a;
            const uint64_t sum = cut(a.op == Op::kAdd ? k2 - k : 0 - k2 - k, i.type);
            if (sum == 0) return base;
            i.op = Op::kAdd;
            i.b = imm(sum, i.type);
            i.a = base;
        }
        return kNoRef;
    }
    if (const_a && k2 == 0) {
        i = Inst{Op::kNeg, i.type, 0, i.b, kNoRef, kNoRef, 0};
        return fold_move(i);
    }
    return kNoRef;
}

Ref Builder::fold_mul(Inst& i) {
    uint64_t k = 0, k2 = 0;
    if (!is_const(i.b, &k)) return kNoRef;
    if (is_const(i.a, &k2)) return imm(k * k2, i.type);
    if (k == 0) return i.b;
    if (k == 1) return i.a;
    if (std::has_single_bit(k)) {
        const unsigned n = static_cast<unsigned>(std::countr_zero(k));
        i.op = Op::kShl;
        i.b = imm(n, i.type);
        return fold_shift(i);
    }
    return kNoRef;
}

Ref Builder::fold_logic(Inst& i) {
    uint64_t k = 0, k2 = 0;
    const uint64_t ones = low_mask(width_of(i.type));
    if (i.a == i.b) return i.op == Op::kXor || i.op == Op::kAndN ? imm(0, i.type) : i.a;
    const bool const_a = is_const(i.a, &k2);
    if (!is_const(i.b, &k)) {
        if (i.op == Op::kAndN) {
            if (const_a && k2 == 0) return i.a;
            if (const_a && k2 == ones) {
                i = Inst{Op::kNot, i.type, 0, i.b, kNoRef, kNoRef, 0};
                return fold_move(i);
            }
            return kNoRef;
        }
        if (i.op == Op::kAnd) {  // a & ~b
            if (f_.insts[i.a].op == Op::kNot) std::swap(i.a, i.b);
            if (f_.insts[i.b].op == Op::kNot) {
                i.op = Op::kAndN;
                i.b = f_.insts[i.b].a;
            }
        }
        return kNoRef;
    }
    if (const_a) return imm(eval_int(i.op, i.type, 0, k2, k, 0, 0), i.type);
    if (i.op == Op::kAndN) {
        i.op = Op::kAnd;
        k ^= ones;
        i.b = imm(k, i.type);
    }
    const Inst& a = f_.insts[i.a];
    if (i.op == Op::kAnd) {
        if (k == 0) return i.b;
        if (low_mask(unsigned_bits(i.a)) <= k && std::has_single_bit(k + 1)) return i.a;  // all it can keep (k + 1 == 0: ones)
        if (k == ones) return i.a;
        if (a.op == Op::kAnd && is_const(a.b, &k2) && (!in_slot(i.a) || in_slot(a.a))) {
            i.a = a.a;
            i.b = imm(k & k2, i.type);
            return fold_logic(i);
        }
        if (k == 0xff || k == 0xffff) {
            i = Inst{k == 0xff ? Op::kZext8 : Op::kZext16, i.type, 0, i.a, kNoRef, kNoRef, 0};
            return fold_extend(i);
        }
        if (k == 0xffffffff) {  // kI64
            i = Inst{Op::kZext, Type::kI64, 0, trunc(i.a), kNoRef, kNoRef, 0};
            return fold_extend(i);
        }
        return kNoRef;
    }
    if (k == 0) return i.a;
    if (k == ones) {
        if (i.op == Op::kOr) return i.b;
        i = Inst{Op::kNot, i.type, 0, i.a, kNoRef, kNoRef, 0};
        return fold_move(i);
    }
    if (i.op == Op::kXor && k == 1 && is_bool(i.a) && i.type == Type::kI32) {
        if (a.op == Op::kCmp) {
            i = Inst{Op::kCmp, a.type, sub_of(inverted(cmp_of(a.sub))), a.a, a.b, kNoRef, 0};
            return kNoRef;
        }
        if (a.op == Op::kCond) {
            i = Inst{Op::kCond, a.type, static_cast<uint8_t>(a.sub ^ 1), a.a, kNoRef, kNoRef, 0};
            return kNoRef;
        }
    }
    if (a.op == i.op && is_const(a.b, &k2) && (!in_slot(i.a) || in_slot(a.a))) {
        i.a = a.a;
        i.b = imm(i.op == Op::kOr ? k | k2 : k ^ k2, i.type);
        return fold_logic(i);
    }
    return kNoRef;
}

Ref Builder::fold_shift(Inst& i) {
    const unsigned w = width_of(i.type);
    uint64_t k = 0, k2 = 0;
    if (!is_const(i.b, &k)) {
        // The count is taken modulo the width anyway.
        const Inst& n = f_.insts[i.b];
        if (n.op == Op::kAnd && is_const(n.b, &k2) && (k2 & (w - 1)) == w - 1) i.b = n.a;
        return kNoRef;
    }
    if (is_const(i.a, &k2)) return imm(eval_int(i.op, i.type, 0, k2, k, 0, 0), i.type);
    const unsigned n = static_cast<unsigned>(k & (w - 1));
    if (n == 0) return i.a;
    if (n != k) i.b = imm(n, i.type);
    const Inst& a = f_.insts[i.a];
    if (i.op == Op::kShr && unsigned_bits(i.a) <= n) return imm(0, i.type);
    if (a.op == i.op && is_const(a.b, &k2) && (!in_slot(i.a) || in_slot(a.a))) {
        unsigned sum = n + static_cast<unsigned>(k2 & (w - 1));
        if (i.op == Op::kRor) {
            sum %= w;
        } else if (sum >= w) {
            if (i.op != Op::kSar) return imm(0, i.type);
            sum = w - 1;
        }
        const Ref base = a.a;
        if (sum == 0) return base;
        i.a = base;
        i.b = imm(sum, i.type);
        return kNoRef;
    }
    // A first shift of 32 bits may have been extended into a 64-bit register (SLLIW, then SRAIW).
    const bool extended = a.op == Op::kTrunc && (f_.insts[a.a].op == Op::kSext || f_.insts[a.a].op == Op::kZext);
    const Inst& first = extended ? f_.insts[f_.insts[a.a].a] : a;
    if ((i.op == Op::kShr || i.op == Op::kSar) && first.op == Op::kShl && is_const(first.b, &k2)) {
        const unsigned left = static_cast<unsigned>(k2 & (w - 1));
        const Op field = i.op == Op::kShr ? Op::kUbfx : Op::kSbfx;
        const Ref base = first.a;
        if (left <= n) {  // (x << l) >> n: a bit field, right aligned
            i = Inst{field, i.type, 0, base, kNoRef, kNoRef, (n - left) | uint64_t{w - n} << 8};
            return fold_field(i);
        }
        if (!extended && !in_slot(i.a)) {  // … or shifted left
            const Ref low = emit(field, i.type, 0, base, kNoRef, kNoRef, uint64_t{w - left} << 8);
            i = Inst{Op::kShl, i.type, 0, low, imm(left - n, i.type), kNoRef, 0};
            return kNoRef;
        }
    }
    return kNoRef;
}

Ref Builder::fold_extend(Inst& i) {
    uint64_t k = 0;
    if (is_const(i.a, &k)) return imm(eval_int(i.op, i.type, 0, k, 0, 0, 0), i.type);
    const Inst& a = f_.insts[i.a];
    switch (i.op) {
        case Op::kTrunc:  // the low half of a register costs nothing; another value that is kept alive does
            if (a.op != Op::kZext && a.op != Op::kSext) return kNoRef;
            // … except that what is made anyway, and not long ago, is there one operation earlier than its extension.
            if (!in_slot(i.a) || in_slot(a.a) || (a.op == Op::kSext && next_ - a.a < kNear && is_arithmetic(f_.insts[a.a].op))) return a.a;
            return kNoRef;
        case Op::kZext:
            if (a.op == Op::kTrunc && unsigned_bits(a.a) <= 32) return a.a;
            return kNoRef;
        case Op::kSext:
            if (a.op == Op::kTrunc && signed_bits(a.a) <= 32) return a.a;
            if (const Ref wide = widened_arithmetic(i.a); wide != kNoRef) return wide;
            // A narrower sign extension of a register's low half reaches to the top as well.
            if ((a.op == Op::kSext8 || a.op == Op::kSext16 || a.op == Op::kSbfx) && f_.insts[a.a].op == Op::kTrunc && !in_slot(i.a)) {
                i = Inst{a.op, Type::kI64, 0, f_.insts[a.a].a, kNoRef, kNoRef, a.imm};
                return a.op == Op::kSbfx ? fold_field(i) : fold_extend(i);
            }
            if (unsigned_bits(i.a) <= 31) {  // the sign bit is 0: the cheaper extension
                i.op = Op::kZext;
                if (a.op == Op::kTrunc && unsigned_bits(a.a) <= 31) return a.a;
            }
            return kNoRef;
        case Op::kSext8:
        case Op::kSext16: {
            const unsigned n = i.op == Op::kSext8 ? 8 : 16;
            if (signed_bits(i.a) <= n) return i.a;
            if (a.op == Op::kSext16 || a.op == Op::kZext16 || (a.op == Op::kZext8 && n == 8)) {
                if (!in_slot(i.a) || in_slot(a.a)) i.a = a.a;
            }
            return kNoRef;
        }
        default: {  // kZext8, kZext16
            const unsigned n = i.op == Op::kZext8 ? 8 : 16;
            if (unsigned_bits(i.a) <= n) return i.a;
            if (a.op == Op::kSext16 || a.op == Op::kZext16 || (a.op == Op::kSext8 && n == 8)) {
                if (!in_slot(i.a) || in_slot(a.a)) i.a = a.a;
            }
            return kNoRef;
        }
    }
}

Ref Builder::fold_field(Inst& i) {
    const unsigned w = width_of(i.type), lo = i.imm & 0xff, len = i.imm >> 8 & 0xff;
    uint64_t k = 0, k2 = 0;
    if (i.op == Op::kBfi) {
        if (len == w) return i.b;
        if (is_const(i.a, &k)) {
            if (is_const(i.b, &k2)) return imm(eval_int(i.op, i.type, 0, k, k2, 0, i.imm), i.type);
            if (k == 0) {
                const Ref low = emit(Op::kUbfx, i.type, 0, i.b, kNoRef, kNoRef, uint64_t{len} << 8);
                i = Inst{Op::kShl, i.type, 0, low, imm(lo, i.type), kNoRef, 0};
                return fold_shift(i);
            }
        }
        return kNoRef;
    }
    if (is_const(i.a, &k)) return imm(eval_int(i.op, i.type, 0, k, 0, 0, i.imm), i.type);
    if (len == w) return i.a;
    const bool is_signed = i.op == Op::kSbfx;
    if (lo + len == w) {
        i = Inst{is_signed ? Op::kSar : Op::kShr, i.type, 0, i.a, imm(lo, i.type), kNoRef, 0};
        return kNoRef;
    }
    if (!is_signed && unsigned_bits(i.a) <= lo + len) {
        i = Inst{Op::kShr, i.type, 0, i.a, imm(lo, i.type), kNoRef, 0};
        return fold_shift(i);
    }
    if (lo == 0) {
        if (len == 8 || len == 16) {
            const Op op = is_signed ? (len == 8 ? Op::kSext8 : Op::kSext16) : (len == 8 ? Op::kZext8 : Op::kZext16);
            i = Inst{op, i.type, 0, i.a, kNoRef, kNoRef, 0};
            return fold_extend(i);
        }
        if (len == 32) {
            i = Inst{is_signed ? Op::kSext : Op::kZext, Type::kI64, 0, trunc(i.a), kNoRef, kNoRef, 0};
            return fold_extend(i);
        }
        if (is_signed && signed_bits(i.a) <= len) return i.a;
        if (!is_signed && len < 32) {
            i = Inst{Op::kAnd, i.type, 0, i.a, imm(low_mask(len), i.type), kNoRef, 0};
            return fold_logic(i);
        }
    }
    return kNoRef;
}

/// Negation, complement and moves between register files; also constants of the remaining integer operations.
Ref Builder::fold_move(Inst& i) {
    if (i.a == kNoRef) return kNoRef;
    const Inst& a = f_.insts[i.a];
    switch (i.op) {
        case Op::kNeg:
        case Op::kNot:
        case Op::kFNeg:
            if (a.op == i.op) return a.a;
            break;
        case Op::kFAbs:
            if (a.op == Op::kFAbs) return i.a;
            if (a.op == Op::kFNeg) i.a = a.a;
            break;
        case Op::kAdc: {
            uint64_t k = 0;
            if (is_const(i.c, &k) && k == 0) {
                i = Inst{Op::kAdd, i.type, 0, i.a, i.b, kNoRef, 0};
                if (is_const(i.a)) std::swap(i.a, i.b);
                return fold_add(i);
            }
            break;
        }
        case Op::kClz:
            if (a.op == Op::kBitrev) {
                i = Inst{Op::kCtz, i.type, 0, a.a, kNoRef, kNoRef, 0};
                return fold_move(i);
            }
            break;
        case Op::kExtr:
            if ((i.imm & (width_of(i.type) - 1)) == 0) return i.b;
            if (i.a == i.b) {
                i = Inst{Op::kRor, i.type, 0, i.a, imm(i.imm, i.type), kNoRef, 0};
                return fold_shift(i);
            }
            break;
        case Op::kBitcast:
            if (a.op == Op::kConst) return imm(a.imm, i.type);
            if (type_of(i.a) == i.type) return i.a;
            if (a.op == Op::kBitcast && type_of(a.a) == i.type && i.type != Type::kI32) return a.a;
            return kNoRef;
        case Op::kVLow:
            if (a.op == Op::kVZext && type_of(a.a) == i.type) return a.a;
            return kNoRef;
        case Op::kUnbox32:
            if (a.op == Op::kBox32 && type_of(a.a) == i.type) return a.a;
            return kNoRef;
        case Op::kVAnd:
            if (i.a == i.b || is_zero_vector(i.a)) return i.a;
            return is_zero_vector(i.b) ? i.b : kNoRef;
        case Op::kVOr:
            if (i.a == i.b || is_zero_vector(i.b)) return i.a;
            return is_zero_vector(i.a) ? i.b : kNoRef;
        case Op::kVXor:
            if (i.a == i.b) return vimm(0, 0);
            [[fallthrough]];
        case Op::kVAdd:
            if (is_zero_vector(i.a)) return i.b;
            [[fallthrough]];
        case Op::kVSub:
        case Op::kVAndN:
            return is_zero_vector(i.b) ? i.a : kNoRef;
        case Op::kVNot:
            if (a.op == Op::kVNot) return a.a;
            return kNoRef;
        case Op::kFlPack:
            if (a.op == Op::kFlUnpack) return a.a;
            return kNoRef;
        case Op::kFlUnpack:
            if (a.op == Op::kFlPack) {
                i = Inst{Op::kAnd, Type::kI32, 0, a.a, imm32(0xf0000000), kNoRef, 0};
                if (is_const(i.a)) return imm32(static_cast<uint32_t>(f_.insts[i.a].imm) & 0xf0000000);
                return fold_logic(i);
            }
            return kNoRef;
        case Op::kFlSel: {
            uint64_t k = 0;
            if (is_const(i.a, &k)) return k ? i.b : i.c;
            return i.b == i.c ? i.b : kNoRef;
        }
        default: break;
    }
    if (a.op != Op::kConst || !is_int_op(i.op)) return kNoRef;
    uint64_t b = 0, c = 0;
    if (i.b != kNoRef && !is_const(i.b, &b)) return kNoRef;
    if (i.c != kNoRef && !is_const(i.c, &c)) return kNoRef;
    return imm(eval_int(i.op, i.type, i.sub, a.imm, b, c, i.imm), i.type);
}

Ref Builder::not_bool(Ref c) { return emit(Op::kXor, Type::kI32, 0, c, imm32(1)); }

Ref Builder::fold_cmp(Inst& i) {
    uint64_t k = 0, k2 = 0;
    if (is_const(i.a, &k2) && !is_const(i.b)) {
        std::swap(i.a, i.b);
        i.sub = sub_of(swapped(cmp_of(i.sub)));
    }
    const Cmp cc = cmp_of(i.sub);
    if (i.a == i.b) return truth(compare(cc, 0, 0, i.type));
    if (!is_const(i.b, &k)) return kNoRef;
    if (is_const(i.a, &k2)) return truth(compare(cc, k2, k, i.type));
    switch (cc) {
        case Cmp::kUlt:
            if (k == 0) return truth(false);
            if (k == 1) { i.sub = sub_of(Cmp::kEq), k = 0, i.b = imm(0, i.type); }
            break;
        case Cmp::kUge:
            if (k == 0) return truth(true);
            if (k == 1) { i.sub = sub_of(Cmp::kNe), k = 0, i.b = imm(0, i.type); }
            break;
        case Cmp::kUgt:
            if (k == 0) i.sub = sub_of(Cmp::kNe);
            break;
        case Cmp::kUle:
            if (k == 0) i.sub = sub_of(Cmp::kEq);
            break;
        default: break;
    }
    if (k != 0 || (cmp_of(i.sub) != Cmp::kNe && cmp_of(i.sub) != Cmp::kEq)) return kNoRef;
    // A boolean against 0, through its extension too.
    Ref x = i.a;
    if (f_.insts[x].op == Op::kZext && is_bool(f_.insts[x].a)) x = f_.insts[x].a;
    if (type_of(x) == Type::kI32 && is_bool(x) && f_.insts[x].op != Op::kAnd) {
        if (cmp_of(i.sub) == Cmp::kNe) return x;
        return f_.insts[x].op == Op::kCmp || f_.insts[x].op == Op::kCond ? not_bool(x) : kNoRef;
    }
    return kNoRef;
}

Ref Builder::fold_select(Inst& i) {
    uint64_t k = 0, kb = 0, kc = 0;
    if (is_const(i.a, &k)) return k ? i.b : i.c;
    if (i.b == i.c) return i.b;
    // select(x == 0, y, z) keeps its comparison: it fuses; a plain inversion does not.
    if (!is_int(i.type) || !is_const(i.b, &kb) || !is_const(i.c, &kc) || !is_bool(i.a)) return kNoRef;
    if (kb + kc != 1 || kb > 1) return kNoRef;
    const Ref c = kb ? i.a : not_bool(i.a);
    return i.type == Type::kI32 ? c : zext(c);
}

Ref Builder::cond_of_sub(Cond cc, const Inst& fl) {
    static constexpr Cmp kMap[] = {Cmp::kEq, Cmp::kNe, Cmp::kUge, Cmp::kUlt, Cmp::kEq,  Cmp::kEq,  Cmp::kEq,
                                   Cmp::kEq, Cmp::kUgt, Cmp::kUle, Cmp::kSge, Cmp::kSlt, Cmp::kSgt, Cmp::kSle};
    const Inst f = fl;
    if (cc == Cond::kVs || cc == Cond::kVc) return kNoRef;
    const Inst difference{Op::kSub, f.type, 0, f.a, f.b, kNoRef, 0};
    if (cc == Cond::kMi || cc == Cond::kPl) {
        uint64_t k = 0;
        const Ref d = is_const(f.b, &k) && k == 0 ? f.a : find(difference);
        if (d == kNoRef) return kNoRef;
        return cmp(cc == Cond::kMi ? Cmp::kSlt : Cmp::kSge, d, imm(0, f.type));
    }
    const Cmp c = kMap[static_cast<unsigned>(cc)];
    if ((c == Cmp::kEq || c == Cmp::kNe) && !in_slot(f.a)) {
        const Ref d = find(difference);
        if (d != kNoRef && in_slot(d)) return cmp(c, d, imm(0, f.type));
    }
    return cmp(c, f.a, f.b);
}

Ref Builder::cond_of_add(Cond cc, const Inst& fl) {
    const Inst f = fl;
    uint64_t k = 0;
    const Inst sum{Op::kAdd, f.type, 0, f.a, f.b, kNoRef, 0};
    const Ref s = find(sum);
    if (cc == Cond::kEq || cc == Cond::kNe || cc == Cond::kMi || cc == Cond::kPl) {
        if (s != kNoRef) {
            const Cmp c = cc == Cond::kEq ? Cmp::kEq : cc == Cond::kNe ? Cmp::kNe : cc == Cond::kMi ? Cmp::kSlt : Cmp::kSge;
            return cmp(c, s, imm(0, f.type));
        }
        if (cc == Cond::kMi || cc == Cond::kPl) return kNoRef;
    }
    // a + k compares as a - (-k), but for k = 0 (carry) and the most negative k (overflow).
    const uint64_t least = uint64_t{1} << (width_of(f.type) - 1);
    if (is_const(f.b, &k) && k != 0 && k != least && s == kNoRef) {
        return cond_of_sub(cc, Inst{Op::kFlSub, f.type, 0, f.a, imm(0 - k, f.type), kNoRef, 0});
    }
    if ((cc == Cond::kCs || cc == Cond::kCc) && s != kNoRef && in_slot(f.a)) {
        return cmp(cc == Cond::kCs ? Cmp::kUlt : Cmp::kUge, s, f.a);
    }
    return kNoRef;
}

Ref Builder::cond_of_logic(Cond cc, const Inst& fl) {
    const Inst f = fl;
    const Ref zero = imm(0, f.type);
    switch (cc) {
        case Cond::kEq: return cmp(Cmp::kEq, f.a, zero);
        case Cond::kNe: return cmp(Cmp::kNe, f.a, zero);
        case Cond::kMi:
        case Cond::kLt: return cmp(Cmp::kSlt, f.a, zero);
        case Cond::kPl:
        case Cond::kGe: return cmp(Cmp::kSge, f.a, zero);
        case Cond::kGt: return cmp(Cmp::kSgt, f.a, zero);
        case Cond::kLe: return cmp(Cmp::kSle, f.a, zero);
        case Cond::kCs:
        case Cond::kVs:
        case Cond::kHi: return truth(false);
        default: return truth(true);
    }
}

/// (first condition holds) ? (second comparison) : (a known bit): an and, or an or, of two comparisons.
Ref Builder::cond_of_ccmp(Cond cc, const Inst& fl) {
    const Inst f = fl;
    if (!is_int(f.type)) return kNoRef;
    const bool otherwise = holds(cc, static_cast<uint32_t>(f.imm & 15) << 28);
    const Inst second{f.imm & 16 ? Op::kFlAdd : Op::kFlSub, f.type, 0, f.b, f.c, kNoRef, 0};
    const Cond first = static_cast<Cond>(f.sub);
    const Ref then = f.imm & 16 ? cond_of_add(cc, second) : cond_of_sub(cc, second);
    if (then == kNoRef) return kNoRef;
    if (first == Cond::kAl) return then;
    return otherwise ? or_(cond(inverted(first), f.a), then) : and_(cond(first, f.a), then);
}

Ref Builder::fold_cond(Inst& i) {
    const Cond cc = static_cast<Cond>(i.sub);
    if (cc == Cond::kAl) return truth(true);
    const Inst& fl = f_.insts[i.a];
    switch (fl.op) {
        case Op::kFlSub: return cond_of_sub(cc, fl);
        case Op::kFlAdd: return cond_of_add(cc, fl);
        case Op::kFlLogic: return cond_of_logic(cc, fl);
        case Op::kFlCcmp: return cond_of_ccmp(cc, fl);
        case Op::kFlPack:
            if (uint64_t k = 0; is_const(fl.a, &k)) return truth(holds(cc, static_cast<uint32_t>(k)));
            return kNoRef;
        default: return kNoRef;
    }
}

}  // namespace myna::ir
