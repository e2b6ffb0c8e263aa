#include "variants.h"

#include <initializer_list>

namespace myna::x64 {

using ir::Elem;
using ir::Op;
using ir::Type;

namespace {

constexpr Type kScalars[] = {Type::kF16, Type::kF32, Type::kF64};
constexpr Elem kInts[] = {Elem::k8, Elem::k16, Elem::k32, Elem::k64};
constexpr Elem kFloats[] = {Elem::kF16, Elem::kF32, Elem::kF64};
constexpr unsigned bits(Elem e) {
    constexpr unsigned k[] = {8, 16, 32, 64, 16, 32, 64};
    return k[static_cast<unsigned>(e)];
}

struct List {
    std::vector<Variant> v;
    void add(Op op, Type t, std::initializer_list<Type> in, unsigned sub = 0, uint64_t imm = 0) {
        Variant x{op, t, {Type::kVoid, Type::kVoid, Type::kVoid}, static_cast<uint8_t>(sub), imm};
        unsigned n = 0;
        for (Type i : in) x.operands[n++] = i;
        v.push_back(x);
    }
    void vec(Op op, unsigned count, Elem e, uint64_t imm = 0) {
        Variant x{op, Type::kV128, {Type::kVoid, Type::kVoid, Type::kVoid}, static_cast<uint8_t>(e), imm};
        for (unsigned n = 0; n < count; ++n) x.operands[n] = Type::kV128;
        v.push_back(x);
    }
};

void scalar_fp(List& l) {
    for (Type t : kScalars) {
        for (Op op : {Op::kFAdd, Op::kFSub, Op::kFMul, Op::kFDiv}) l.add(op, t, {t, t});
        for (Op op : {Op::kFSqrt, Op::kFNeg, Op::kFAbs}) l.add(op, t, {t});
        for (unsigned sub = 0; sub < 4; ++sub) l.add(Op::kFMa, t, {t, t, t}, sub);
        for (unsigned sub = 0; sub < 3; ++sub)
            for (Op op : {Op::kFMin, Op::kFMax, Op::kFSgnj}) l.add(op, t, {t, t}, sub);
        for (unsigned sub = 0; sub < 4; ++sub) {
            l.add(Op::kFCmp, t, {t, t}, sub);
            l.add(Op::kFCmp, t, {t, t}, sub | ir::kFcmpSignal);
        }
        for (Type from : kScalars)
            if (from != t) l.add(Op::kFCvt, t, {from});
        for (Type i : {Type::kI32, Type::kI64}) {
            for (unsigned round = 0; round < 6; ++round)
                for (uint64_t frac : {0, 5}) {
                    l.add(Op::kFToS, i, {t}, round, frac);
                    l.add(Op::kFToU, i, {t}, round, frac);
                }
            for (uint64_t frac : {0, 9}) {
                l.add(Op::kSToF, t, {i}, 0, frac);
                l.add(Op::kUToF, t, {i}, 0, frac);
            }
        }
        for (unsigned round = 0; round < 6; ++round) {
            l.add(Op::kFRound, t, {t}, round);
            l.add(Op::kFRound, t, {t}, round | ir::kRoundInexact);
        }
        l.add(Op::kVZext, Type::kV128, {t});
        if (t != Type::kF64) {
            l.add(Op::kBox32, Type::kF64, {t});
            l.add(Op::kUnbox32, t, {Type::kF64});
        }
    }
    l.add(Op::kBitcast, Type::kF32, {Type::kI32});
    l.add(Op::kBitcast, Type::kF16, {Type::kI32});
    l.add(Op::kBitcast, Type::kF64, {Type::kI64});
    l.add(Op::kBitcast, Type::kI32, {Type::kF32});
    l.add(Op::kBitcast, Type::kI32, {Type::kF16});
    l.add(Op::kBitcast, Type::kI64, {Type::kF64});
}

void integers(List& l) {
    for (Op op : {Op::kVAnd, Op::kVOr, Op::kVXor, Op::kVAndN}) l.vec(op, 2, Elem::k8);
    l.vec(Op::kVNot, 1, Elem::k8);
    l.vec(Op::kVBsl, 3, Elem::k8);
    l.vec(Op::kVCnt, 1, Elem::k8);
    for (uint64_t imm : {0, 1}) l.vec(Op::kVPmull64, 2, Elem::k64, imm);
    for (Op op : {Op::kVSdot, Op::kVUdot, Op::kVUsdot}) l.vec(op, 3, Elem::k32);
    l.vec(Op::kVTbl, 2, Elem::k8);
    for (uint64_t imm = 0; imm < 16; ++imm) l.vec(Op::kVExt, 2, Elem::k8, imm);
    for (Elem e : kInts) {
        const unsigned n = bits(e);
        for (Op op : {Op::kVAdd, Op::kVSub, Op::kVMul, Op::kVUshl, Op::kVSshl, Op::kVCmpEq, Op::kVCmpGt, Op::kVCmpGe, Op::kVCmpHi, Op::kVCmpHs,
                      Op::kVTst, Op::kVSmin, Op::kVSmax, Op::kVUmin, Op::kVUmax, Op::kVSqadd, Op::kVUqadd, Op::kVSqsub, Op::kVUqsub, Op::kVShsub,
                      Op::kVUhsub, Op::kVSabd, Op::kVUabd, Op::kVAddp, Op::kVZip1, Op::kVZip2, Op::kVUzp1, Op::kVUzp2, Op::kVTrn1, Op::kVTrn2})
            l.vec(op, 2, e);
        for (Op op : {Op::kVNeg, Op::kVAbs}) l.vec(op, 1, e);
        for (uint64_t imm : {0, 1}) l.vec(Op::kVShadd, 2, e, imm), l.vec(Op::kVUhadd, 2, e, imm);
        for (uint64_t imm = 0; imm <= n; imm += imm + 3 < n && imm > 2 ? 3 : 1)
            for (Op op : {Op::kVShlI, Op::kVShrI, Op::kVSarI}) l.vec(op, 1, e, imm);
        if (n < 64) {
            l.vec(Op::kVClz, 1, e);
            for (uint64_t imm : {0, 1}) {
                l.vec(Op::kVSxtl, 1, e, imm), l.vec(Op::kVUxtl, 1, e, imm);
                l.vec(Op::kVSmull, 2, e, imm), l.vec(Op::kVUmull, 2, e, imm);
                if (n == 16 || n == 32) l.vec(Op::kVSqdmulh, 2, e, imm);
            }
            for (Op op : {Op::kVXtn, Op::kVSqxtn, Op::kVUqxtn, Op::kVSqxtun}) l.vec(op, 2, e);
        }
        for (uint64_t container : {2, 4, 8, 16})
            if (container * 8 >= n) l.vec(Op::kVRev, 1, e, container);
        const unsigned lanes = 128 / n;
        for (unsigned k = 0; k < lanes; ++k) {
            l.vec(Op::kVDupL, 1, e, k);
            const Type scalar = n == 64 ? Type::kI64 : Type::kI32;
            l.add(Op::kVIns, Type::kV128, {Type::kV128, scalar}, static_cast<unsigned>(e), k);
            for (unsigned j = 0; j < lanes; j += lanes > 4 ? 3 : 1) l.vec(Op::kVInsL, 2, e, k | j << 8);
            for (Type t : {Type::kI32, Type::kI64}) {
                if (n == 64 && t == Type::kI32) continue;
                l.add(Op::kVGet, t, {Type::kV128}, static_cast<unsigned>(e), k);
                l.add(Op::kVGet, t, {Type::kV128}, static_cast<unsigned>(e), k | 0x100);
            }
        }
        l.add(Op::kVDup, Type::kV128, {n == 64 ? Type::kI64 : Type::kI32}, static_cast<unsigned>(e));
    }
    for (Elem e : kFloats) {
        const Type t = e == Elem::kF16 ? Type::kF16 : e == Elem::kF32 ? Type::kF32 : Type::kF64;
        l.add(Op::kVDup, Type::kV128, {t}, static_cast<unsigned>(e));
        for (unsigned k = 0; k < 128 / bits(e); ++k) {
            l.add(Op::kVIns, Type::kV128, {Type::kV128, t}, static_cast<unsigned>(e), k);
            l.add(Op::kVGet, t, {Type::kV128}, static_cast<unsigned>(e), k);
        }
    }
}

void vector_fp(List& l) {
    for (Elem e : kFloats) {
        for (Op op : {Op::kVFAdd, Op::kVFSub, Op::kVFMul, Op::kVFDiv, Op::kVFAddp}) l.vec(op, 2, e);
        l.vec(Op::kVFSqrt, 1, e);
        for (uint64_t imm = 0; imm < 4; ++imm) l.vec(Op::kVFMa, 3, e, imm);
        for (uint64_t imm = 0; imm < 3; ++imm) l.vec(Op::kVFMin, 2, e, imm), l.vec(Op::kVFMax, 2, e, imm);
        for (uint64_t imm = 0; imm < 4; ++imm) l.vec(Op::kVFCmp, 2, e, imm), l.vec(Op::kVFCmp, 2, e, imm | ir::kFcmpSignal);
        for (uint64_t round = 0; round < 6; ++round) {
            for (uint64_t frac : {0, 7}) l.vec(Op::kVFToS, 1, e, round | frac << 8), l.vec(Op::kVFToU, 1, e, round | frac << 8);
            l.vec(Op::kVFRound, 1, e, round), l.vec(Op::kVFRound, 1, e, round | ir::kRoundInexact);
        }
        for (uint64_t frac : {0, 7}) l.vec(Op::kVSToF, 1, e, frac << 8), l.vec(Op::kVUToF, 1, e, frac << 8);
        if (e != Elem::kF64) {
            for (uint64_t imm : {0, 1}) l.vec(Op::kVFCvtL, 1, e, imm);
            l.vec(Op::kVFCvtN, 1, e);
        }
    }
}

}  // namespace

std::vector<Variant> all_variants() {
    List l;
    scalar_fp(l);
    integers(l);
    vector_fp(l);
    for (Op op : {Op::kVAesE, Op::kVAesD}) l.vec(op, 2, Elem::k8);
    for (Op op : {Op::kVAesMc, Op::kVAesImc}) l.vec(op, 1, Elem::k8);
    for (uint64_t imm : {0, 1}) l.vec(Op::kVSha256H, 3, Elem::k32, imm), l.vec(Op::kVSha256Su, 3, Elem::k32, imm);
    return l.v;
}

}  // namespace myna::x64
