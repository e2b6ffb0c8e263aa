// Exclusives, ordered accesses, compare and swap, and the LSE operations (Arm ARM C3.2.6, C3.2.7, C3.2.12; B2.3).
//
// Acquire and release come free on a TSO host. What does not is a store-release followed by a load-acquire: STLR is
// therefore a sequentially consistent store; LDAPR needs nothing against it, so plain loads do for both.
#include "guest/aarch64/lift_insn.h"

namespace myna::guest::aarch64 {
namespace {

constexpr unsigned acquire_if(bool a) { return a ? unsigned{MemAttr::kAcquire} : 0; }
constexpr unsigned release_if(bool r) { return r ? unsigned{MemAttr::kRelease} : 0; }

}  // namespace

Ref InsnLifter::pair_to_v128(Ref lo, Ref hi) {
    const Ref low = b_.emit(Op::kVZext, Type::kV128, 0, b_.bitcast(Type::kF64, lo));
    return b_.emit(Op::kVIns, Type::kV128, static_cast<uint8_t>(ir::Elem::k64), low, hi, kNoRef, 1);
}

Ref InsnLifter::lane64(Ref vec, unsigned lane) {
    return b_.emit(Op::kVGet, Type::kI64, static_cast<uint8_t>(ir::Elem::k64), vec, kNoRef, kNoRef, lane);
}

// ---- exclusives

bool InsnLifter::ldxr(const Ldxr& i) {
    before_fault();
    set_x(i.rt, b_.emit(Op::kLl, Type::kI64, static_cast<uint8_t>(i.size | acquire_if(i.lasr)), atomic_address(i.rn)));
    return true;
}

bool InsnLifter::stxr(const Stxr& i) {
    before_fault();
    const Ref failed = b_.emit(Op::kSc, Type::kI32, static_cast<uint8_t>(i.size | release_if(i.lasr)), atomic_address(i.rn), x(i.rt));
    set_w(i.rs, failed);
    return true;
}

bool InsnLifter::ldxp(const Ldxp& i) {
    before_fault();
    if (i.sz) {
        const Ref both = b_.emit(Op::kLl, Type::kV128, static_cast<uint8_t>(4 | acquire_if(i.lasr)), atomic_address(i.rn));
        const Ref first = lane64(both, 0), second = lane64(both, 1);
        set_x(i.rt, first);
        set_x(i.rt2, second);
    } else {
        const Ref both = b_.emit(Op::kLl, Type::kI64, static_cast<uint8_t>(3 | acquire_if(i.lasr)), atomic_address(i.rn));
        set_w(i.rt, b_.trunc(both));
        set_x(i.rt2, b_.shr_imm(both, 32));
    }
    return true;
}

bool InsnLifter::stxp(const Stxp& i) {
    before_fault();
    const Ref value = i.sz ? pair_to_v128(x(i.rt), x(i.rt2)) : b_.or_(b_.zext(w(i.rt)), b_.shl_imm(x(i.rt2), 32));
    const unsigned size = i.sz ? 4 : 3;
    set_w(i.rs, b_.emit(Op::kSc, Type::kI32, static_cast<uint8_t>(size | release_if(i.lasr)), atomic_address(i.rn), value));
    return true;
}

// ---- ordered accesses

bool InsnLifter::ldar(const Ldar& i) {
    set_x(i.rt, load(Type::kI64, i.size | MemAttr::kAcquire, x_or_sp(i.rn)));
    return true;
}

bool InsnLifter::stlr(const Stlr& i) {
    store(i.size | MemAttr::kRelease | MemAttr::kSeqCst, x_or_sp(i.rn), x(i.rt));
    return true;
}

bool InsnLifter::ldapr(const Ldapr& i) {
    set_x(i.rt, load(Type::kI64, i.size | MemAttr::kAcquire, x_or_sp(i.rn)));
    return true;
}

bool InsnLifter::stlur(const Stlur& i) {
    store(i.size | MemAttr::kRelease | MemAttr::kSeqCst, x_or_sp(i.rn), x(i.rt), i.imm);
    return true;
}

bool InsnLifter::ldapur(const Ldapur& i) {
    set_x(i.rt, load(Type::kI64, i.size | MemAttr::kAcquire, x_or_sp(i.rn), i.imm));
    return true;
}

bool InsnLifter::ldapurs(const Ldapurs& i) {
    load_int(i.rt, i.size, i.opc, x_or_sp(i.rn), i.imm, MemAttr::kAcquire);
    return true;
}

// ---- compare and swap

bool InsnLifter::cas(const Cas& i) {
    before_fault();
    const unsigned attr = i.size | acquire_if(i.acq) | release_if(i.rel);
    set_x(i.rs, b_.emit(Op::kCas, Type::kI64, static_cast<uint8_t>(attr), atomic_address(i.rn), x(i.rs), x(i.rt)));
    return true;
}

bool InsnLifter::casp(const Casp& i) {
    before_fault();
    const unsigned attr = acquire_if(i.acq) | release_if(i.rel);
    const unsigned rs2 = i.rs + 1u, rt2 = i.rt + 1u;
    if (i.sz) {
        const Ref expected = pair_to_v128(x(i.rs), x(rs2)), desired = pair_to_v128(x(i.rt), x(rt2));
        const Ref old = b_.emit(Op::kCas, Type::kV128, static_cast<uint8_t>(4 | attr), atomic_address(i.rn), expected, desired);
        const Ref first = lane64(old, 0), second = lane64(old, 1);
        set_x(i.rs, first);
        set_x(rs2, second);
        return true;
    }
    const Ref expected = b_.or_(b_.zext(w(i.rs)), b_.shl_imm(x(rs2), 32));
    const Ref desired = b_.or_(b_.zext(w(i.rt)), b_.shl_imm(x(rt2), 32));
    const Ref old = b_.emit(Op::kCas, Type::kI64, static_cast<uint8_t>(3 | attr), atomic_address(i.rn), expected, desired);
    set_w(i.rs, b_.trunc(old));
    set_x(rs2, b_.shr_imm(old, 32));
    return true;
}

// ---- read, modify, write

bool InsnLifter::ldop(const Ldop& i) {
    static constexpr Op kOps[8] = {Op::kRmwAdd,  Op::kRmwAnd,  Op::kRmwXor,  Op::kRmwOr,
                                   Op::kRmwSmax, Op::kRmwSmin, Op::kRmwUmax, Op::kRmwUmin};
    before_fault();
    const unsigned attr = i.size | acquire_if(i.acq) | release_if(i.rel);
    const Ref operand = i.op == 1 ? b_.not_(x(i.rs)) : x(i.rs);  // LDCLR
    set_x(i.rt, b_.rmw(kOps[i.op], static_cast<uint8_t>(attr), atomic_address(i.rn), operand));
    return true;
}

bool InsnLifter::swp(const Swp& i) {
    before_fault();
    const unsigned attr = i.size | acquire_if(i.acq) | release_if(i.rel);
    set_x(i.rt, b_.rmw(Op::kRmwXchg, static_cast<uint8_t>(attr), atomic_address(i.rn), x(i.rs)));
    return true;
}

}  // namespace myna::guest::aarch64
