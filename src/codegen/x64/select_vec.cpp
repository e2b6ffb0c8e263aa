// Selection of integer vectors: logic, arithmetic, shifts, comparison, saturation, widening, narrowing, dot products.
//
// Most operations are one host instruction in two tables below; the rest are short sequences. Operands of an operation
// are read before its result's register is written, or the result has a register of its own.
#include "codegen/x64/lane_call.h"
#include "codegen/x64/select_fp.h"

namespace myna::x64 {

namespace {

constexpr uint64_t kOnes64 = ~uint64_t{0};

/// The host instruction for each element width; kCount: none.
struct ByWidth {
    SseOp b, w, d, q;
    [[nodiscard]] SseOp of(Elem e) const {
        switch (e) {
            case Elem::k8: return b;
            case Elem::k16: case Elem::kF16: return w;
            case Elem::k32: case Elem::kF32: return d;
            default: return q;
        }
    }
};
constexpr SseOp kNone = SseOp::kCount;

constexpr ByWidth kAdd = {SseOp::paddb, SseOp::paddw, SseOp::paddd, SseOp::paddq};
constexpr ByWidth kSub = {SseOp::psubb, SseOp::psubw, SseOp::psubd, SseOp::psubq};
constexpr ByWidth kEq = {SseOp::pcmpeqb, SseOp::pcmpeqw, SseOp::pcmpeqd, SseOp::pcmpeqq};
constexpr ByWidth kGt = {SseOp::pcmpgtb, SseOp::pcmpgtw, SseOp::pcmpgtd, SseOp::pcmpgtq};
constexpr ByWidth kSmin = {SseOp::pminsb, SseOp::pminsw, SseOp::pminsd, kNone};
constexpr ByWidth kSmax = {SseOp::pmaxsb, SseOp::pmaxsw, SseOp::pmaxsd, kNone};
constexpr ByWidth kUmin = {SseOp::pminub, SseOp::pminuw, SseOp::pminud, kNone};
constexpr ByWidth kUmax = {SseOp::pmaxub, SseOp::pmaxuw, SseOp::pmaxud, kNone};

/// Operations that are one instruction of two operands for this width.
SseOp single(Op op, Elem w) {
    switch (op) {
        case Op::kVAnd: return SseOp::pand;
        case Op::kVOr: return SseOp::por;
        case Op::kVXor: return SseOp::pxor;
        case Op::kVAdd: return kAdd.of(w);
        case Op::kVSub: return kSub.of(w);
        case Op::kVMul: return ByWidth{kNone, SseOp::pmullw, SseOp::pmulld, kNone}.of(w);
        case Op::kVCmpEq: return kEq.of(w);
        case Op::kVCmpGt: return kGt.of(w);
        case Op::kVSmin: return kSmin.of(w);
        case Op::kVSmax: return kSmax.of(w);
        case Op::kVUmin: return kUmin.of(w);
        case Op::kVUmax: return kUmax.of(w);
        case Op::kVSqadd: return ByWidth{SseOp::paddsb, SseOp::paddsw, kNone, kNone}.of(w);
        case Op::kVUqadd: return ByWidth{SseOp::paddusb, SseOp::paddusw, kNone, kNone}.of(w);
        case Op::kVSqsub: return ByWidth{SseOp::psubsb, SseOp::psubsw, kNone, kNone}.of(w);
        case Op::kVUqsub: return ByWidth{SseOp::psubusb, SseOp::psubusw, kNone, kNone}.of(w);
        case Op::kVSqxtn: return ByWidth{SseOp::packsswb, SseOp::packssdw, kNone, kNone}.of(w);
        case Op::kVSqxtun: return ByWidth{SseOp::packuswb, SseOp::packusdw, kNone, kNone}.of(w);
        case Op::kVAddp: return ByWidth{kNone, SseOp::phaddw, SseOp::phaddd, kNone}.of(w);
        default: return kNone;
    }
}

constexpr unsigned width(Elem w) {
    constexpr unsigned kBits[] = {8, 16, 32, 64, 16, 32, 64};
    return kBits[static_cast<unsigned>(w)];
}
/// `v` in every lane of this width, as 64 bits.
constexpr uint64_t repeated(Elem w, uint64_t v) {
    const unsigned n = width(w);
    if (n == 64) return v;
    v &= (uint64_t{1} << n) - 1;
    for (unsigned k = n; k < 64; k *= 2) v |= v << k;
    return v;
}
constexpr uint64_t sign_bits(Elem w) { return repeated(w, uint64_t{1} << (width(w) - 1)); }
constexpr unsigned shift_lane(Elem w) { return width(w) == 64 ? 3 : width(w) == 32 ? 2 : 1; }
constexpr unsigned kSrl = 2, kSra = 4, kSll = 6;

/// One instruction's selection: the operands and shorthands for what sequences need.
struct Sequence {
    Selector& s;
    Ref i;
    const Inst& in = s.inst(i);
    Emitter& e = s.e;
    RegAlloc& ra = s.ra;
    Elem w = static_cast<Elem>(in.sub);

    Xmm a() { return ra.use_x(in.a); }
    Xmm b() { return ra.use_x(in.b); }
    Xmm c() { return ra.use_x(in.c); }
    Xmm temp() { return ra.temp_x(); }
    Xmm def() { return ra.def_x(i); }
    Xmm def_over() { return ra.def_over_x(i); }
    Mem lit(uint64_t v) { return e.literal_mem(v, v); }
    Mem all(uint64_t v) { return lit(repeated(w, v)); }
    void op(SseOp o, Xmm d, Xmm x, Xmm y) { e.vop(o, d, x, y); }
    void op(SseOp o, Xmm d, Xmm x, Mem y) { e.vop(o, d, x, y); }
    void invert(Xmm d, Xmm x) { e.vop(SseOp::pxor, d, x, lit(kOnes64)); }
    /// d = the lanes' sign as a mask; d and x differ.
    void sign_mask(Xmm d, Xmm x) {
        if (width(w) == 64) e.vzero(d), e.vop(SseOp::pcmpgtq, d, d, x);
        else if (width(w) == 8) e.vzero(d), e.vop(SseOp::pcmpgtb, d, d, x);
        else e.vshift_i(shift_lane(w), kSra, d, x, static_cast<uint8_t>(width(w) - 1));
    }
    /// d = mask ? x : y, lanes of all ones or zeroes; may change mask. d differs from all.
    void blend(Xmm d, Xmm mask, Xmm x, Xmm y) {
        if (e.avx()) return e.vblendv(0x4c, d, y, x, mask);
        e.vop(SseOp::pand, d, x, mask);
        e.vop(SseOp::pandn, mask, mask, y);
        e.vop(SseOp::por, d, d, mask);
    }
};

bool zero_vector(const Selector& s, Ref r) {
    const Inst& in = s.inst(r);
    if (in.op != Op::kVConst) return false;
    const ir::V128& v = s.function().vconsts[in.imm];
    return (v.u64[0] | v.u64[1]) == 0;
}

// ---- multiplication

void mul8(Sequence q) {
    const Xmm a = q.a(), b = q.b(), t = q.temp(), u = q.temp(), d = q.def();
    q.e.vshift_i(1, kSrl, t, a, 8);
    q.e.vshift_i(1, kSrl, u, b, 8);
    q.op(SseOp::pmullw, t, t, u);
    q.e.vshift_i(1, kSll, t, t, 8);
    q.op(SseOp::pmullw, d, a, b);
    q.op(SseOp::pand, d, d, q.lit(0x00ff00ff00ff00ff));
    q.op(SseOp::por, d, d, t);
}
void mul64(Sequence q) {
    const Xmm a = q.a(), b = q.b(), t = q.temp(), u = q.temp(), d = q.def();
    q.e.vop_i(SseOp::pshufd, t, b, 0xb1);
    q.op(SseOp::pmulld, t, t, a);  // the cross products
    q.e.vshift_i(3, kSll, u, t, 32);
    q.op(SseOp::paddd, t, t, u);
    q.op(SseOp::pand, t, t, q.lit(0xffffffff00000000));
    q.op(SseOp::pmuludq, d, a, b);
    q.op(SseOp::paddq, d, d, t);
}
void widening_multiply(Sequence q, bool is_signed) {
    const bool high = q.in.imm & 1;
    const Xmm a = q.a(), b = q.b();
    switch (q.w) {
        case Elem::k8: {
            const Xmm t = q.temp(), d = q.def();
            if (is_signed) {
                if (high) {
                    q.e.vop_i(SseOp::pshufd, t, a, 0xee);
                    q.e.vop_i(SseOp::pshufd, d, b, 0xee);
                }
                q.e.vop(SseOp::pmovsxbw, t, high ? t : a);
                q.e.vop(SseOp::pmovsxbw, d, high ? d : b);
            } else if (high) {
                const Xmm z = q.temp();
                q.e.vzero(z);
                q.op(SseOp::punpckhbw, t, a, z);
                q.op(SseOp::punpckhbw, d, b, z);
            } else {
                q.e.vop(SseOp::pmovzxbw, t, a);
                q.e.vop(SseOp::pmovzxbw, d, b);
            }
            q.op(SseOp::pmullw, d, d, t);
            return;
        }
        case Elem::k16: {
            const Xmm t = q.temp(), u = q.temp(), d = q.def_over();
            q.op(SseOp::pmullw, t, a, b);
            q.op(is_signed ? SseOp::pmulhw : SseOp::pmulhuw, u, a, b);
            q.op(high ? SseOp::punpckhwd : SseOp::punpcklwd, d, t, u);
            return;
        }
        default: {
            const Xmm t = q.temp(), d = q.def();
            const uint8_t pick = high ? 0x32 : 0x10;
            q.e.vop_i(SseOp::pshufd, t, a, pick);
            q.e.vop_i(SseOp::pshufd, d, b, pick);
            q.op(is_signed ? SseOp::pmuldq : SseOp::pmuludq, d, d, t);
        }
    }
}
/// Saturation happens for MIN * MIN alone, whose unsaturated result is MIN and cannot come about otherwise.
void doubling_multiply_high(Sequence q) {
    const bool rounding = q.in.imm & 1;
    const Xmm a = q.a(), b = q.b();
    if (q.w == Elem::k16) {
        const Xmm t = q.temp(), d = q.def();
        if (rounding) {
            q.op(SseOp::pmulhrsw, d, a, b);
        } else {
            q.op(SseOp::pmullw, t, a, b);
            q.op(SseOp::pmulhw, d, a, b);
            q.e.vshift_i(1, kSll, d, d, 1);
            q.e.vshift_i(1, kSrl, t, t, 15);
            q.op(SseOp::por, d, d, t);
        }
        q.op(SseOp::pcmpeqw, t, d, q.all(0x8000));
        q.op(SseOp::pxor, d, d, t);
        return;
    }
    const Xmm t = q.temp(), d = q.def();
    q.e.vop_i(SseOp::pshufd, t, a, 0xf5);
    q.e.vop_i(SseOp::pshufd, d, b, 0xf5);
    q.op(SseOp::pmuldq, t, t, d);  // odd lanes
    q.op(SseOp::pmuldq, d, a, b);  // even lanes
    if (rounding) {
        q.op(SseOp::paddq, t, t, q.lit(uint64_t{1} << 30));
        q.op(SseOp::paddq, d, d, q.lit(uint64_t{1} << 30));
    }
    q.e.vshift_i(3, kSll, t, t, 1);
    q.e.vshift_i(3, kSrl, d, d, 31);
    q.e.vop_i(SseOp::pblendw, d, d, t, 0xcc);
    q.op(SseOp::pcmpeqd, t, d, q.all(0x80000000));
    q.op(SseOp::pxor, d, d, t);
}

/// Even and odd bytes as words, two multiply-adds: each double word gets the sum of its four products.
void dot_product(Sequence q, bool b_signed, bool c_signed) {
    const Xmm acc = q.a(), b = q.b(), c = q.c();
    const Xmm t = q.temp(), d = q.def();
    const auto odd = [&](Xmm x, Xmm src, bool is_signed) { q.e.vshift_i(1, is_signed ? kSra : kSrl, x, src, 8); };
    const auto even = [&](Xmm x, Xmm src, bool is_signed) {
        if (!is_signed) return q.op(SseOp::pand, x, src, q.lit(0x00ff00ff00ff00ff));
        q.e.vshift_i(1, kSll, x, src, 8);
        q.e.vshift_i(1, kSra, x, x, 8);
    };
    odd(t, b, b_signed);
    odd(d, c, c_signed);
    q.op(SseOp::pmaddwd, d, d, t);
    q.op(SseOp::paddd, d, d, acc);
    if (q.in.a != q.in.b && q.in.a != q.in.c) q.ra.release(acc);
    even(t, b, b_signed);
    const Xmm u = q.ra.temp_x();
    even(u, c, c_signed);
    q.op(SseOp::pmaddwd, t, t, u);
    q.op(SseOp::paddd, d, d, t);
}

// ---- shifts

void shift_imm(Sequence q, unsigned kind) {
    const unsigned bits = width(q.w);
    unsigned n = static_cast<unsigned>(q.in.imm);
    if (n == 0) return q.ra.alias(q.i, q.in.a);
    if (n >= bits) {
        if (kind != kSra) return q.e.vzero(q.def_over());
        n = bits - 1;
    }
    const auto count = static_cast<uint8_t>(n);
    const Xmm a = q.a();
    if (bits == 8) {
        const uint64_t keep = kind == kSll ? 0xffu << n & 0xff : 0xffu >> n;
        if (kind == kSra && n == 7) {
            const Xmm d = q.def();
            return q.sign_mask(d, a);
        }
        const Xmm d = q.def_over();
        q.e.vshift_i(1, kind == kSra ? kSrl : kind, d, a, count);
        q.op(SseOp::pand, d, d, q.all(keep));
        if (kind == kSra) {
            q.op(SseOp::pxor, d, d, q.all(0x80u >> n));
            q.op(SseOp::psubb, d, d, q.all(0x80u >> n));
        }
        return;
    }
    if (bits == 64 && kind == kSra) {
        if (n == 63) {
            const Xmm d = q.def();
            return q.sign_mask(d, a);
        }
        const Xmm t = q.temp(), d = q.def_over();
        if (n < 32) {
            q.e.vshift_i(2, kSra, t, a, count);
            q.e.vshift_i(3, kSrl, d, a, count);
        } else {
            q.e.vshift_i(2, kSra, t, a, 31);
            q.e.vop_i(SseOp::pshufd, d, a, 0xf5);
            if (n > 32) q.e.vshift_i(2, kSra, d, d, static_cast<uint8_t>(n - 32));
        }
        q.e.vop_i(SseOp::pblendw, d, d, t, 0xcc);
        return;
    }
    q.e.vshift_i(shift_lane(q.w), kind, q.def_over(), a, count);
}

/// Counts are the low bytes, signed: left by b & 0xff and right by -b & 0xff, of which one is too large and gives zero
/// (or, for an arithmetic right shift, the sign: then the count's sign chooses).
void shift_variable(Sequence q, bool is_signed) {
    const bool wide = width(q.w) == 64;
    if (!q.s.host().avx2 || width(q.w) < 32) return exact_inline(q.s, q.i);
    const SseOp left = wide ? SseOp::vpsllvq : SseOp::vpsllvd, right = wide ? SseOp::vpsrlvq : SseOp::vpsrlvd;
    const Xmm a = q.a(), b = q.b(), t = q.temp(), d = q.def();
    q.e.vzero(t);
    q.op(kSub.of(q.w), t, t, b);
    q.op(SseOp::pand, t, t, q.all(0xff));
    if (!is_signed) {
        q.op(right, t, a, t);
        q.op(SseOp::pand, d, b, q.all(0xff));
        q.op(left, d, a, d);
        return q.op(SseOp::por, d, d, t);
    }
    const Xmm u = q.temp();
    if (wide) {  // by way of the complement of negative numbers
        q.sign_mask(u, a);
        q.op(SseOp::pxor, d, a, u);
        q.op(right, t, d, t);
        q.op(SseOp::pxor, t, t, u);
    } else {
        q.op(SseOp::vpsravd, t, a, t);
    }
    q.op(SseOp::pand, d, b, q.all(0xff));
    q.op(left, d, a, d);
    q.e.vshift_i(shift_lane(q.w), kSll, u, b, static_cast<uint8_t>(width(q.w) - 8));
    q.e.vblendv(wide ? 0x4b : 0x4a, d, d, t, u);
}

// ---- comparison

void greater_equal(Sequence q, bool is_signed) {
    const Xmm a = q.a(), b = q.b();
    const SseOp max = (is_signed ? kSmax : kUmax).of(q.w);
    if (max != kNone) {
        const Xmm t = q.temp();
        q.op(max, t, a, b);
        q.op(kEq.of(q.w), q.def_over(), t, a);
        return;
    }
    const Xmm t = q.temp(), d = q.def();
    if (is_signed) {
        q.op(SseOp::pcmpgtq, d, b, a);
    } else {
        q.op(SseOp::pxor, t, a, q.all(sign_bits(q.w)));
        q.op(SseOp::pxor, d, b, q.all(sign_bits(q.w)));
        q.op(SseOp::pcmpgtq, d, d, t);
    }
    q.invert(d, d);
}
void unsigned_greater(Sequence q) {
    const Xmm a = q.a(), b = q.b();
    if (zero_vector(q.s, q.in.b) || width(q.w) != 64) {
        const Xmm d = q.def();
        if (zero_vector(q.s, q.in.b)) {
            q.op(kEq.of(q.w), d, a, b);
        } else {
            q.op(kUmax.of(q.w), d, a, b);
            q.op(kEq.of(q.w), d, d, b);
        }
        q.invert(d, d);
        return;
    }
    const Xmm t = q.temp(), d = q.def();
    q.op(SseOp::pxor, d, a, q.all(sign_bits(q.w)));
    q.op(SseOp::pxor, t, b, q.all(sign_bits(q.w)));
    q.op(SseOp::pcmpgtq, d, d, t);
}
void test_bits(Sequence q) {
    const Xmm a = q.a(), b = q.b(), t = q.temp(), d = q.def();
    q.e.vzero(t);
    q.op(SseOp::pand, d, a, b);
    q.op(kEq.of(q.w), d, d, t);
    q.invert(d, d);
}
/// 64-bit lanes.
void min_max64(Sequence q, bool is_signed, bool max) {
    const Xmm a = q.a(), b = q.b(), t = q.temp(), d = q.def();
    if (is_signed) {
        q.op(SseOp::pcmpgtq, t, a, b);
    } else {
        q.op(SseOp::pxor, t, a, q.all(sign_bits(q.w)));
        q.op(SseOp::pxor, d, b, q.all(sign_bits(q.w)));
        q.op(SseOp::pcmpgtq, t, t, d);
    }
    max ? q.blend(d, t, a, b) : q.blend(d, t, b, a);
}

// ---- saturation of 32 and 64 bits

void signed_saturating(Sequence q, bool sub) {
    const Xmm a = q.a(), b = q.b(), t = q.temp(), u = q.temp(), d = q.def();
    q.op((sub ? kSub : kAdd).of(q.w), u, a, b);
    // Overflow: a and the result differ in sign, and for a sum a and b agree, for a difference they do not.
    q.op(SseOp::pxor, t, a, b);
    q.op(SseOp::pxor, d, a, u);
    if (sub) q.op(SseOp::pand, d, d, t);
    else q.op(SseOp::pandn, d, t, d);
    q.sign_mask(t, d);                       // the mask of overflows
    if (width(q.w) == 64) {
        q.e.vzero(d);
        q.op(SseOp::pcmpgtq, d, d, a);
    } else {
        q.e.vshift_i(2, kSra, d, a, 31);
    }
    q.op(SseOp::pxor, d, d, q.all(~sign_bits(q.w)));  // MAX or MIN by the sign of a
    q.op(SseOp::pand, d, d, t);
    q.op(SseOp::pandn, t, t, u);
    q.op(SseOp::por, d, d, t);
}
void unsigned_saturating(Sequence q, bool sub) {
    const Xmm a = q.a(), b = q.b();
    if (width(q.w) == 32) {
        if (sub) {
            const Xmm d = q.def();
            q.op(SseOp::pmaxud, d, a, b);
            q.op(SseOp::psubd, d, d, b);
        } else {
            const Xmm d = q.def();
            q.invert(d, a);
            q.op(SseOp::pminud, d, d, b);
            q.op(SseOp::paddd, d, d, a);
        }
        return;
    }
    const Xmm t = q.temp(), u = q.temp(), d = q.def();
    const Mem sign = q.all(sign_bits(q.w));
    q.op(SseOp::pxor, t, a, sign);
    if (sub) {
        q.op(SseOp::pxor, u, b, sign);
        q.op(SseOp::pcmpgtq, u, u, t);      // b > a: the result is zero
        q.op(SseOp::psubq, d, a, b);
        q.op(SseOp::pandn, d, u, d);
    } else {
        q.op(SseOp::paddq, d, a, b);
        q.op(SseOp::pxor, u, d, sign);
        q.op(SseOp::pcmpgtq, t, t, u);      // a > sum: all ones
        q.op(SseOp::por, d, d, t);
    }
}

/// Lane shift right by one, zeroes in; bytes need a mask.
void halve(Sequence& q, Xmm d, Xmm x) {
    q.e.vshift_i(shift_lane(q.w), kSrl, d, x, 1);
    if (width(q.w) == 8) q.op(SseOp::pand, d, d, q.all(0x7f));
}
/// (a + b [+ 1]) >> 1 without the carry: from and/or plus or minus half the difference. Signed lanes are moved by MIN.
void halving_add(Sequence q, bool is_signed) {
    const bool rounding = q.in.imm & 1;
    Xmm a = q.a(), b = q.b();
    const Xmm t = q.temp(), d = q.def();
    const Mem sign = q.all(sign_bits(q.w));
    if (rounding && width(q.w) <= 16) {
        const SseOp avg = width(q.w) == 8 ? SseOp::pavgb : SseOp::pavgw;
        if (!is_signed) return q.op(avg, d, a, b);
        q.op(SseOp::pxor, t, a, sign);
        q.op(SseOp::pxor, d, b, sign);
        q.op(avg, d, d, t);
        return q.op(SseOp::pxor, d, d, sign);
    }
    q.op(SseOp::pxor, t, a, b);
    if (is_signed && width(q.w) == 8) {  // arithmetic shift of bytes: (x >> 1 ^ 0x40) - 0x40
        halve(q, t, t);
        q.op(SseOp::pxor, t, t, q.all(0x40));
        q.op(SseOp::psubb, t, t, q.all(0x40));
    } else if (is_signed && width(q.w) != 64) {
        q.e.vshift_i(shift_lane(q.w), kSra, t, t, 1);
    } else {
        halve(q, t, t);
    }
    q.op(rounding ? SseOp::por : SseOp::pand, d, a, b);
    q.op((rounding ? kSub : kAdd).of(q.w), d, d, t);
}
/// (a - b) >> 1 = ((a ^ b) >> 1) - (~a & b).
void halving_sub(Sequence q, bool is_signed) {
    const Xmm a = q.a(), b = q.b(), t = q.temp(), d = q.def();
    q.op(SseOp::pandn, t, a, b);
    q.op(SseOp::pxor, d, a, b);
    if (is_signed && width(q.w) == 8) {
        halve(q, d, d);
        q.op(SseOp::pxor, d, d, q.all(0x40));
        q.op(SseOp::psubb, d, d, q.all(0x40));
    } else if (is_signed) {
        q.e.vshift_i(shift_lane(q.w), kSra, d, d, 1);
    } else {
        halve(q, d, d);
    }
    q.op(kSub.of(q.w), d, d, t);
}
void absolute_difference(Sequence q, bool is_signed) {
    if (width(q.w) == 64) return exact_inline(q.s, q.i);
    const Xmm a = q.a(), b = q.b(), t = q.temp(), d = q.def();
    q.op((is_signed ? kSmax : kUmax).of(q.w), d, a, b);
    q.op((is_signed ? kSmin : kUmin).of(q.w), t, a, b);
    q.op(kSub.of(q.w), d, d, t);
}

// ---- widening, narrowing

void extend_lanes(Sequence q, bool is_signed) {
    const bool high = q.in.imm & 1;
    const Xmm a = q.a();
    if (high && !is_signed) {
        const Xmm z = q.temp();
        q.e.vzero(z);
        q.op(ByWidth{SseOp::punpckhbw, SseOp::punpckhwd, SseOp::punpckhdq, kNone}.of(q.w), q.def_over(), a, z);
        return;
    }
    constexpr ByWidth kSx = {SseOp::pmovsxbw, SseOp::pmovsxwd, SseOp::pmovsxdq, kNone};
    constexpr ByWidth kZx = {SseOp::pmovzxbw, SseOp::pmovzxwd, SseOp::pmovzxdq, kNone};
    const Xmm d = q.def_over();
    if (high) q.e.vop_i(SseOp::pshufd, d, a, 0xee);
    q.e.vop((is_signed ? kSx : kZx).of(q.w), d, high ? d : a);
}
void narrow(Sequence q) {
    const Xmm a = q.a();
    if (zero_vector(q.s, q.in.b)) {
        const Xmm d = q.def_over();
        if (q.w == Elem::k8) return q.e.vop(SseOp::pshufb, d, a, q.e.literal_mem(0x0e0c0a0806040200, 0x8080808080808080));
        if (q.w == Elem::k16) return q.e.vop(SseOp::pshufb, d, a, q.e.literal_mem(0x0d0c090805040100, 0x8080808080808080));
        q.e.vop_i(SseOp::pshufd, d, a, 0x08);
        return q.e.vop(SseOp::movq, d, d);
    }
    const Xmm b = q.b();
    if (q.w == Elem::k32) return q.e.vop_i(SseOp::shufps, q.def_over(), a, b, 0x88);
    const Mem keep = q.w == Elem::k8 ? q.lit(0x00ff00ff00ff00ff) : q.lit(0x0000ffff0000ffff);
    const Xmm t = q.temp(), d = q.def();
    q.op(SseOp::pand, d, a, keep);
    q.op(SseOp::pand, t, b, keep);
    q.op(q.w == Elem::k8 ? SseOp::packuswb : SseOp::packusdw, d, d, t);
}
void unsigned_narrow(Sequence q) {
    if (q.w == Elem::k32) return exact_inline(q.s, q.i);
    const Xmm a = q.a(), b = q.b(), t = q.temp(), d = q.def();
    const bool bytes = q.w == Elem::k8;
    const Mem limit = bytes ? q.lit(0x00ff00ff00ff00ff) : q.lit(0x0000ffff0000ffff);
    q.op(bytes ? SseOp::pminuw : SseOp::pminud, d, a, limit);
    q.op(bytes ? SseOp::pminuw : SseOp::pminud, t, b, limit);
    q.op(bytes ? SseOp::packuswb : SseOp::packusdw, d, d, t);
}

// ---- the rest

void negate(Sequence q) {
    const Xmm a = q.a(), t = q.temp();
    q.e.vzero(t);
    q.op(kSub.of(q.w), q.def_over(), t, a);
}
void absolute(Sequence q) {
    const Xmm a = q.a();
    const SseOp op = ByWidth{SseOp::pabsb, SseOp::pabsw, SseOp::pabsd, kNone}.of(q.w);
    if (op != kNone) return q.e.vop(op, q.def_over(), a);
    const Xmm t = q.temp(), d = q.def();
    q.sign_mask(t, a);
    q.op(SseOp::pxor, d, a, t);
    q.op(SseOp::psubq, d, d, t);
}
void select_bits(Sequence q) {  // ((b ^ c) & a) ^ c
    const Xmm a = q.a(), b = q.b(), c = q.c(), t = q.temp();
    q.op(SseOp::pxor, t, b, c);
    q.op(SseOp::pand, t, t, a);
    q.op(SseOp::pxor, q.def_over(), t, c);
}
void pairwise_add(Sequence q) {
    const Xmm a = q.a(), b = q.b(), t = q.temp(), d = q.def();
    if (width(q.w) == 64) {
        q.op(SseOp::punpckhqdq, t, a, b);
        q.op(SseOp::punpcklqdq, d, a, b);
        return q.op(SseOp::paddq, d, d, t);
    }
    // Bytes: the odd ones are moved onto the even ones.
    q.e.vshift_i(1, kSrl, t, a, 8);
    q.op(SseOp::paddb, d, a, t);
    if (q.in.a == q.in.b) return q.op(SseOp::pshufb, d, d, q.lit(0x0e0c0a0806040200));
    q.op(SseOp::pand, d, d, q.lit(0x00ff00ff00ff00ff));
    q.e.vshift_i(1, kSrl, t, b, 8);
    q.op(SseOp::paddb, t, t, b);
    q.op(SseOp::pand, t, t, q.lit(0x00ff00ff00ff00ff));
    q.op(SseOp::packuswb, d, d, t);
}
void population_count(Sequence q) {
    const Xmm a = q.a(), t = q.temp(), u = q.temp(), d = q.def();
    const Mem table = q.e.literal_mem(0x0302020102010100, 0x0403030203020201);
    q.op(SseOp::pand, t, a, q.lit(0x0f0f0f0f0f0f0f0f));
    q.e.load128a(d, table);
    q.op(SseOp::pshufb, d, d, t);
    q.e.vshift_i(1, kSrl, t, a, 4);
    q.op(SseOp::pand, t, t, q.lit(0x0f0f0f0f0f0f0f0f));
    q.e.load128a(u, table);
    q.op(SseOp::pshufb, u, u, t);
    q.op(SseOp::paddb, d, d, u);
}
void carryless_multiply(Sequence q) {
    if (!q.s.host().pclmul) return exact_inline(q.s, q.i);
    const Xmm a = q.a(), b = q.b();
    q.e.vop_i(SseOp::pclmulqdq, q.def_over(), a, b, (q.in.imm & 1) ? 0x11 : 0x00);
}

}  // namespace

void Selector::select_vec(Ref i) {
    const Inst& in = inst(i);
    const Op op = in.op;
    if (op >= Op::kVAesE) return select_vec_crypto(*this, i);
    if (op >= Op::kVFAdd) return select_vec_fp(*this, i);
    Sequence q{*this, i};
    if (const SseOp one = single(op, q.w); one != kNone) {
        const Xmm a = q.a();
        Mem m;
        if (in.a != in.b && e.avx() && ra.root_type(in.b) == Type::kV128 && ra.mem_operand(in.b, &m)) return e.vop(one, q.def_over(), a, m);
        const Xmm b = q.b();
        return e.vop(one, q.def_over(), a, b);
    }
    switch (op) {
        case Op::kVAndN: {
            const Xmm a = q.a(), b = q.b();
            return e.vop(SseOp::pandn, q.def_over(), b, a);
        }
        case Op::kVNot: {
            const Xmm a = q.a();
            return q.invert(q.def_over(), a);
        }
        case Op::kVBsl: return select_bits(q);
        case Op::kVMul: return q.w == Elem::k8 ? mul8(q) : mul64(q);
        case Op::kVNeg: return negate(q);
        case Op::kVAbs: return absolute(q);
        case Op::kVShlI: return shift_imm(q, kSll);
        case Op::kVShrI: return shift_imm(q, kSrl);
        case Op::kVSarI: return shift_imm(q, kSra);
        case Op::kVUshl: return shift_variable(q, false);
        case Op::kVSshl: return shift_variable(q, true);
        case Op::kVCmpGe: return greater_equal(q, true);
        case Op::kVCmpHs: return greater_equal(q, false);
        case Op::kVCmpHi: return unsigned_greater(q);
        case Op::kVTst: return test_bits(q);
        case Op::kVSmin: return min_max64(q, true, false);
        case Op::kVSmax: return min_max64(q, true, true);
        case Op::kVUmin: return min_max64(q, false, false);
        case Op::kVUmax: return min_max64(q, false, true);
        case Op::kVSqadd: return signed_saturating(q, false);
        case Op::kVSqsub: return signed_saturating(q, true);
        case Op::kVUqadd: return unsigned_saturating(q, false);
        case Op::kVUqsub: return unsigned_saturating(q, true);
        case Op::kVShadd: return width(q.w) == 64 ? exact_inline(*this, i) : halving_add(q, true);
        case Op::kVUhadd: return halving_add(q, false);
        case Op::kVShsub: return width(q.w) == 64 ? exact_inline(*this, i) : halving_sub(q, true);
        case Op::kVUhsub: return halving_sub(q, false);
        case Op::kVSabd: return absolute_difference(q, true);
        case Op::kVUabd: return absolute_difference(q, false);
        case Op::kVSxtl: return extend_lanes(q, true);
        case Op::kVUxtl: return extend_lanes(q, false);
        case Op::kVXtn: return narrow(q);
        case Op::kVUqxtn: return unsigned_narrow(q);
        case Op::kVSmull: return widening_multiply(q, true);
        case Op::kVUmull: return widening_multiply(q, false);
        case Op::kVPmull64: return carryless_multiply(q);
        case Op::kVSqdmulh: return doubling_multiply_high(q);
        case Op::kVSdot: return dot_product(q, true, true);
        case Op::kVUdot: return dot_product(q, false, false);
        case Op::kVUsdot: return dot_product(q, false, true);
        case Op::kVAddp: return pairwise_add(q);
        case Op::kVCnt: return population_count(q);
        case Op::kVSqxtn:
        case Op::kVSqxtun:
        case Op::kVClz: return exact_inline(*this, i);
        default: return select_vec_permute(*this, i);
    }
}

}  // namespace myna::x64
