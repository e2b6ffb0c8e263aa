// Data movement: Arm ARM C4.1.96 "Advanced SIMD permute", "extract", "table lookup", "copy", "modified immediate".
#include <bit>

#include "guest/aarch64/lift_simd.h"

namespace myna::guest::aarch64 {

namespace {

/// imm5 of the copy class: log2 of the element's bytes is the lowest bit set, the lane stands above it.
constexpr unsigned copy_size(unsigned imm5) { return static_cast<unsigned>(std::countr_zero(imm5)); }
constexpr unsigned copy_lane(unsigned imm5) { return imm5 >> (copy_size(imm5) + 1); }

/// AdvSIMDExpandImm (Arm ARM shared pseudocode), 64 bits, before the inversion of MVNI and BIC.
uint64_t expand_imm(unsigned op, unsigned cmode, unsigned o2, uint64_t imm8) {
    const auto repeat = [](uint64_t value, unsigned bits) {
        for (; bits < 64; bits *= 2) value |= value << bits;
        return value;
    };
    switch (cmode >> 1) {
        case 0: case 1: case 2: case 3: return repeat(imm8 << 8 * (cmode >> 1), 32);
        case 4: case 5: return repeat(imm8 << 8 * (cmode >> 1 & 1), 16);
        case 6: return repeat(cmode & 1 ? imm8 << 16 | 0xffff : imm8 << 8 | 0xff, 32);
        default: break;
    }
    if (!(cmode & 1)) {
        if (!op) return repeat(imm8, 8);
        uint64_t mask = 0;
        for (unsigned i = 0; i < 8; ++i)
            if (imm8 >> i & 1) mask |= uint64_t{0xff} << 8 * i;
        return mask;
    }
    const uint64_t sign = imm8 >> 7, b = imm8 >> 6 & 1, low6 = imm8 & 0x3f;
    if (o2) return repeat(sign << 15 | (b ? 0x3000u : 0x4000u) | low6 << 6, 16);
    if (op) return sign << 63 | (b ? uint64_t{0x3fc} << 52 : uint64_t{0x400} << 52) | low6 << 48;
    return repeat(sign << 31 | (b ? 0x3e000000u : 0x40000000u) | low6 << 19, 32);
}

}  // namespace

bool SimdLifter::v_modimm(const VModimm& i) {
    const uint64_t value = expand_imm(i.op, i.cmode, i.o2, i.imm8);
    const bool accumulates = i.cmode < 12 && (i.cmode & 1);  // ORR, BIC
    const auto constant = [&](uint64_t x) { return b_.vimm(x, i.q ? x : 0); };
    if (accumulates) {
        const Ref d = v(i.rd), c = b_.vimm(value, value);
        set_vq(i.q, i.rd, i.op ? vop(Op::kVAndN, 0, d, c) : vor(d, c));
    } else {
        const bool inverted = i.op && i.cmode < 14;  // MVNI
        set_v(i.rd, constant(inverted ? ~value : value));
    }
    return true;
}

bool SimdLifter::v_permute(const VPermute& i) {
    constexpr Op kOps[8] = {Op::kVUzp1, Op::kVUzp1, Op::kVTrn1, Op::kVZip1, Op::kVUzp1, Op::kVUzp2, Op::kVTrn2, Op::kVZip2};
    const Op op = kOps[i.op];
    const Ref a = v(i.rn), b = v(i.rm);
    if (i.q) {
        set_v(i.rd, vop(op, i.size, a, b));
        return true;
    }
    switch (op) {
        case Op::kVUzp1:
        case Op::kVUzp2: set_v(i.rd, vop(op, i.size, low_halves(a, b), vzero())); break;
        case Op::kVZip2: set_v(i.rd, high_half(vop(Op::kVZip1, i.size, a, b))); break;
        default: set_low(8, i.rd, vop(op, i.size, a, b));
    }
    return true;
}

bool SimdLifter::ext(const Ext& i) {
    const Ref a = v(i.rn), b = v(i.rm);
    if (i.q) {
        set_v(i.rd, i.pos ? vop(Op::kVExt, 0, a, b, kNoRef, i.pos) : a);
    } else {
        const Ref both = low_halves(a, b);
        set_low(8, i.rd, i.pos ? vop(Op::kVExt, 0, both, vzero(), kNoRef, i.pos) : both);
    }
    return true;
}

/// kVTbl gives 0 for an index above 15: tables of several registers are or-ed, the index moved down for each.
bool SimdLifter::tbl(const Tbl& i) {
    const Ref index = v(i.rm);
    Ref result = vop(Op::kVTbl, 0, v(i.rn), index);
    for (unsigned n = 1; n <= i.len; ++n) {
        const Ref moved = vop(Op::kVSub, 0, index, vsplat(0, 16 * n));
        result = vor(result, vop(Op::kVTbl, 0, v((i.rn + n) & 31), moved));
    }
    if (i.tbx) {
        const Ref outside = vop(Op::kVCmpHi, 0, index, vsplat(0, 16u * (i.len + 1u) - 1));
        result = vor(result, vand(v(i.rd), outside));
    }
    set_vq(i.q, i.rd, result);
    return true;
}

bool SimdLifter::dup_elem(const DupElem& i) {
    set_vq(i.q, i.rd, dup_element(copy_size(i.imm5), {i.rn, copy_lane(i.imm5)}));
    return true;
}

bool SimdLifter::dup_gpr(const DupGpr& i) {
    const unsigned size = copy_size(i.imm5);
    set_vq(i.q, i.rd, vop(Op::kVDup, size, size == 3 ? x(i.rn) : w(i.rn)));
    return true;
}

/// DUP (element), scalar.
bool SimdLifter::dup_s(const DupS& i) {
    const unsigned size = copy_size(i.imm5), index = copy_lane(i.imm5);
    if (size == 0) {
        set_low(1, i.rd, vop(Op::kVExt, 0, v(i.rn), vzero(), kNoRef, index));
    } else {
        set_fp(i.rd, fp_lane(size, v(i.rn), index));
    }
    return true;
}

bool SimdLifter::smov(const Smov& i) {
    const Type t = i.q ? Type::kI64 : Type::kI32;
    set_r(i.q, i.rd, lane(t, v(i.rn), copy_size(i.imm5), copy_lane(i.imm5) | 0x100));
    return true;
}

bool SimdLifter::umov(const Umov& i) {
    const Type t = i.q ? Type::kI64 : Type::kI32;
    set_r(i.q, i.rd, lane(t, v(i.rn), copy_size(i.imm5), copy_lane(i.imm5)));
    return true;
}

bool SimdLifter::ins_gpr(const InsGpr& i) {
    const unsigned size = copy_size(i.imm5);
    set_v(i.rd, vop(Op::kVIns, size, v(i.rd), size == 3 ? x(i.rn) : w(i.rn), kNoRef, copy_lane(i.imm5)));
    return true;
}

bool SimdLifter::ins_elem(const InsElem& i) {
    const unsigned size = copy_size(i.imm5), from = i.src >> size;
    set_v(i.rd, vop(Op::kVInsL, size, v(i.rd), v(i.rn), kNoRef, copy_lane(i.imm5) | uint64_t{from} << 8));
    return true;
}

}  // namespace myna::guest::aarch64
