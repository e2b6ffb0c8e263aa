// Structures in memory: Arm ARM C4.1.94 LD1..LD4, ST1..ST4, LD1R..LD4R.
//
// Interleaved structures are whole vector loads and shuffles. Four registers: bytes and halves are first sorted within
// each vector so that each register's part is 32 bits, then 32-bit lanes are transposed. Three registers: each result
// takes bytes of all three vectors by table lookup with constant indices.
//
// All loads come before the first register changes: a fault leaves the state as it was before the instruction.
#include <array>

#include "guest/aarch64/lift_simd.h"

namespace myna::guest::aarch64 {

namespace {

struct Indices {
    uint64_t lo = 0, hi = 0;
    void set(unsigned byte, unsigned index) {
        uint64_t& half = byte < 8 ? lo : hi;
        const unsigned shift = 8 * (byte & 7);
        half = (half & ~(uint64_t{0xff} << shift)) | uint64_t{index} << shift;
    }
    static Indices none() { return {~uint64_t{0}, ~uint64_t{0}}; }  // 0xff selects zero
    [[nodiscard]] bool is_none() const { return lo == ~uint64_t{0} && hi == ~uint64_t{0}; }
};

/// Sorts a vector of 4-member structures so that each member's elements are neighbours; `inverse`: back again.
Indices group_by_member(unsigned size, bool inverse) {
    Indices out;
    const unsigned elements = 16u >> size, each = elements / 4;
    for (unsigned member = 0; member < 4; ++member)
        for (unsigned n = 0; n < each; ++n)
            for (unsigned byte = 0; byte < 1u << size; ++byte) {
                const unsigned grouped = ((member * each + n) << size) + byte, mixed = ((n * 4 + member) << size) + byte;
                inverse ? out.set(mixed, grouped) : out.set(grouped, mixed);
            }
    return out;
}

/// LD3: which bytes of vector `from` go where in register `member`; ST3 (`store`): which of register `from` into vector `member`.
Indices three_way(unsigned size, unsigned bytes, unsigned member, unsigned from, bool store) {
    Indices out = Indices::none();
    for (unsigned pos = 0; pos < 16; ++pos) {
        if (!store) {
            if (pos >= bytes) break;
            const unsigned memory = (((pos >> size) * 3 + member) << size) + (pos & ((1u << size) - 1));
            if (memory / 16 == from) out.set(pos, memory % 16);
        } else {
            const unsigned memory = member * 16 + pos;
            if (memory >= 3 * bytes) break;
            const unsigned element = memory >> size;
            if (element % 3 == from) out.set(pos, ((element / 3) << size) + (memory & ((1u << size) - 1)));
        }
    }
    return out;
}

}  // namespace

Ref SimdLifter::load_vector(bool q, Ref addr, unsigned disp) {
    return q ? load(Type::kV128, 4, addr, disp) : zext_fp(load(Type::kF64, 3, addr, disp));
}

void SimdLifter::store_vector(bool q, Ref addr, Ref value, unsigned disp) {
    if (q) store(4, addr, value, disp);
    else store(3, addr, b_.emit(Op::kVLow, Type::kF64, 0, value), disp);
}

void SimdLifter::write_back(unsigned post, unsigned rm, unsigned rn, Ref base, unsigned bytes) {
    if (post) set_x_or_sp(rn, rm == 31 ? b_.add_imm(base, bytes) : b_.add(base, x(rm)));
}

void SimdLifter::load_interleaved(unsigned regs, unsigned size, bool q, Ref base, unsigned rt) {
    const unsigned bytes = q ? 16 : 8, vectors = (regs * bytes + 15) / 16;
    std::array<Ref, 4> in{}, out{};
    for (unsigned n = 0; n < vectors; ++n) in[n] = load_vector((n + 1) * 16 <= regs * bytes, base, 16 * n);
    const auto pick = [&](Op op, unsigned e, Ref a, Ref b) { return vop(op, e, a, b); };
    if (regs == 2) {
        const Ref second = q ? in[1] : vzero();
        out[0] = pick(Op::kVUzp1, size, in[0], second);
        out[1] = pick(Op::kVUzp2, size, in[0], second);
    } else if (regs == 3) {
        for (unsigned member = 0; member < 3; ++member) {
            Ref sum = kNoRef;
            for (unsigned from = 0; from < vectors; ++from) {
                const Indices ix = three_way(size, bytes, member, from, false);
                if (ix.is_none()) continue;
                const Ref part = vop(Op::kVTbl, 0, in[from], b_.vimm(ix.lo, ix.hi));
                sum = sum == kNoRef ? part : vor(sum, part);
            }
            out[member] = sum;
        }
    } else {
        if (size < 2) {
            const Indices ix = group_by_member(size, false);
            for (unsigned n = 0; n < vectors; ++n) in[n] = vop(Op::kVTbl, 0, in[n], b_.vimm(ix.lo, ix.hi));
        }
        if (!q) {  // member parts of 32 bits in two vectors
            const Ref low = pick(Op::kVZip1, 2, in[0], in[1]), high = pick(Op::kVZip2, 2, in[0], in[1]);
            out = {low_half(low), high_half(low), low_half(high), high_half(high)};
        } else {
            const unsigned e = size == 3 ? 3 : 2;
            const Ref even01 = pick(Op::kVUzp1, e, in[0], in[1]), odd01 = pick(Op::kVUzp2, e, in[0], in[1]);
            const Ref even23 = pick(Op::kVUzp1, e, in[2], in[3]), odd23 = pick(Op::kVUzp2, e, in[2], in[3]);
            out = {pick(Op::kVUzp1, e, even01, even23), pick(Op::kVUzp1, e, odd01, odd23), pick(Op::kVUzp2, e, even01, even23),
                   pick(Op::kVUzp2, e, odd01, odd23)};
        }
    }
    for (unsigned n = 0; n < regs; ++n) set_v((rt + n) & 31, out[n]);
}

void SimdLifter::store_interleaved(unsigned regs, unsigned size, bool q, Ref base, unsigned rt) {
    const unsigned bytes = q ? 16 : 8, vectors = (regs * bytes + 15) / 16;
    std::array<Ref, 4> in{}, out{};
    for (unsigned n = 0; n < regs; ++n) in[n] = v((rt + n) & 31);
    const auto pick = [&](Op op, unsigned e, Ref a, Ref b) { return vop(op, e, a, b); };
    if (regs == 2) {
        out[0] = pick(Op::kVZip1, size, in[0], in[1]);
        if (q) out[1] = pick(Op::kVZip2, size, in[0], in[1]);
    } else if (regs == 3) {
        for (unsigned n = 0; n < vectors; ++n) {
            Ref sum = kNoRef;
            for (unsigned from = 0; from < 3; ++from) {
                const Indices ix = three_way(size, bytes, n, from, true);
                if (ix.is_none()) continue;
                const Ref part = vop(Op::kVTbl, 0, in[from], b_.vimm(ix.lo, ix.hi));
                sum = sum == kNoRef ? part : vor(sum, part);
            }
            out[n] = sum;
        }
    } else if (size == 3) {
        out = {low_halves(in[0], in[1]), low_halves(in[2], in[3]), pick(Op::kVZip2, 3, in[0], in[1]), pick(Op::kVZip2, 3, in[2], in[3])};
    } else {
        const Ref even = pick(Op::kVZip1, 2, in[0], in[2]), odd = pick(Op::kVZip1, 2, in[1], in[3]);
        out[0] = pick(Op::kVZip1, 2, even, odd);
        out[1] = pick(Op::kVZip2, 2, even, odd);
        if (q) {
            const Ref even_hi = pick(Op::kVZip2, 2, in[0], in[2]), odd_hi = pick(Op::kVZip2, 2, in[1], in[3]);
            out[2] = pick(Op::kVZip1, 2, even_hi, odd_hi);
            out[3] = pick(Op::kVZip2, 2, even_hi, odd_hi);
        }
        if (size < 2) {
            const Indices ix = group_by_member(size, true);
            for (unsigned n = 0; n < vectors; ++n) out[n] = vop(Op::kVTbl, 0, out[n], b_.vimm(ix.lo, ix.hi));
        }
    }
    for (unsigned n = 0; n < vectors; ++n) store_vector((n + 1) * 16 <= regs * bytes, base, out[n], 16 * n);
}

bool SimdLifter::ldst_multi(const LdstMulti& i) {
    constexpr uint8_t kRegs[16] = {4, 0, 4, 0, 3, 0, 3, 1, 2, 0, 2, 0, 0, 0, 0, 0};
    const unsigned regs = kRegs[i.op], bytes = i.q ? 16 : 8;
    const bool interleaved = i.op == 0 || i.op == 4 || i.op == 8;
    const Ref base = x_or_sp(i.rn);
    if (interleaved) {
        i.l ? load_interleaved(regs, i.size, i.q, base, i.rt) : store_interleaved(regs, i.size, i.q, base, i.rt);
    } else if (i.l) {
        std::array<Ref, 4> in{};
        for (unsigned n = 0; n < regs; ++n) in[n] = load_vector(i.q, base, n * bytes);
        for (unsigned n = 0; n < regs; ++n) set_v((i.rt + n) & 31, in[n]);
    } else {
        for (unsigned n = 0; n < regs; ++n) store_vector(i.q, base, v((i.rt + n) & 31), n * bytes);
    }
    write_back(i.post, i.rm, i.rn, base, regs * bytes);
    return true;
}

bool SimdLifter::ldst_lane(const LdstLane& i) {
    const unsigned regs = i.n + 1u, bytes = 1u << i.es;
    const Ref base = x_or_sp(i.rn);
    const Type t = i.es == 3 ? Type::kI64 : Type::kI32;
    if (i.l) {
        std::array<Ref, 4> in{};
        for (unsigned n = 0; n < regs; ++n) in[n] = load(t, i.es, base, n * bytes);
        for (unsigned n = 0; n < regs; ++n) {
            const unsigned reg = (i.rt + n) & 31;
            set_v(reg, vop(Op::kVIns, i.es, v(reg), in[n], kNoRef, i.idx));
        }
    } else {
        for (unsigned n = 0; n < regs; ++n) store(i.es, base, lane(t, v((i.rt + n) & 31), i.es, i.idx), n * bytes);
    }
    write_back(i.post, i.rm, i.rn, base, regs * bytes);
    return true;
}

bool SimdLifter::ld_replicate(const LdReplicate& i) {
    const unsigned regs = i.n + 1u, bytes = 1u << i.size;
    const Ref base = x_or_sp(i.rn);
    std::array<Ref, 4> in{};
    for (unsigned n = 0; n < regs; ++n) in[n] = load(i.size >= 2 ? fp_type(i.size) : Type::kI32, i.size, base, n * bytes);
    for (unsigned n = 0; n < regs; ++n) set_vq(i.q, (i.rt + n) & 31, vop(Op::kVDup, i.size, in[n]));
    write_back(i.post, i.rm, i.rn, base, regs * bytes);
    return true;
}

}  // namespace myna::guest::aarch64
