// A, Zabha, Zacas, Zicbom, Zicboz: atomics and cache-block operations.
//
// The host is TSO and its atomic operations are full barriers, so aq and rl cost nothing.
#include "guest/riscv64/lifter.h"

namespace myna::guest::riscv64 {

namespace {
constexpr unsigned kWord = 2, kDouble = 3, kQuad = 4;
constexpr Type type_of_size(unsigned size) noexcept { return size == kDouble ? Type::kI64 : Type::kI32; }
}  // namespace

bool Lifter::lr(const Lr& i) {
    const Ref v = ir.emit(Op::kLl, type_of_size(i.size), amo_attr(i.size), x(i.rs1));
    return i.size == kDouble ? wr(i.rd, v) : wr_w(i.rd, v);
}

bool Lifter::sc(const Sc& i) {
    const Ref value = i.size == kDouble ? x(i.rs2) : w(i.rs2);
    return wr(i.rd, flag(ir.emit(Op::kSc, Type::kI32, amo_attr(i.size), x(i.rs1), value)));
}

bool Lifter::amo(Op op, unsigned size, unsigned rd, unsigned rs1, unsigned rs2) {
    const Ref old = ir.rmw(op, amo_attr(size), x(rs1), size == kDouble ? x(rs2) : w(rs2));
    return size == kDouble ? wr(rd, old) : wr_w(rd, old);
}
bool Lifter::amoswap(const Amoswap& i) { return amo(Op::kRmwXchg, i.size, i.rd, i.rs1, i.rs2); }
bool Lifter::amoadd(const Amoadd& i) { return amo(Op::kRmwAdd, i.size, i.rd, i.rs1, i.rs2); }
bool Lifter::amoxor(const Amoxor& i) { return amo(Op::kRmwXor, i.size, i.rd, i.rs1, i.rs2); }
bool Lifter::amoand(const Amoand& i) { return amo(Op::kRmwAnd, i.size, i.rd, i.rs1, i.rs2); }
bool Lifter::amoor(const Amoor& i) { return amo(Op::kRmwOr, i.size, i.rd, i.rs1, i.rs2); }
bool Lifter::amomin(const Amomin& i) { return amo(Op::kRmwSmin, i.size, i.rd, i.rs1, i.rs2); }
bool Lifter::amomax(const Amomax& i) { return amo(Op::kRmwSmax, i.size, i.rd, i.rs1, i.rs2); }
bool Lifter::amominu(const Amominu& i) { return amo(Op::kRmwUmin, i.size, i.rd, i.rs1, i.rs2); }
bool Lifter::amomaxu(const Amomaxu& i) { return amo(Op::kRmwUmax, i.size, i.rd, i.rs1, i.rs2); }

bool Lifter::amocas(const Amocas& i) {
    const Type t = type_of_size(i.size);
    const auto attr = static_cast<uint8_t>(amo_attr(i.size) & ~MemAttr::kSigned);
    Ref expected = t == Type::kI64 ? x(i.rd) : w(i.rd);
    const Ref desired = t == Type::kI64 ? x(i.rs2) : w(i.rs2);
    if (i.size < kWord) expected = ir.un(i.size == 0 ? Op::kZext8 : Op::kZext16, expected);
    Ref old = ir.emit(Op::kCas, t, attr, x(i.rs1), expected, desired);
    if (i.size < kWord) old = ir.un(i.size == 0 ? Op::kSext8 : Op::kSext16, old);
    return t == Type::kI64 ? wr(i.rd, old) : wr_w(i.rd, old);
}

bool Lifter::amocas_q(const AmocasQ& i) {
    constexpr auto k64 = static_cast<uint8_t>(ir::Elem::k64);
    const auto pair = [&](unsigned even) {  // a pair that begins with x0 is zero, both halves
        if (even == 0) return ir.vimm(0, 0);
        const Ref low = ir.emit(Op::kVZext, Type::kV128, 0, ir.bitcast(Type::kF64, x(even)));
        return ir.emit(Op::kVIns, Type::kV128, k64, low, x(even + 1), kNoRef, 1);
    };
    const unsigned rd = i.rd * 2u, rs2 = i.rs2 * 2u;
    const auto attr = static_cast<uint8_t>(kQuad | MemAttr::kAcquire | MemAttr::kRelease);
    const Ref old = ir.emit(Op::kCas, Type::kV128, attr, x(i.rs1), pair(rd), pair(rs2));
    if (rd == 0) return true;
    wr(rd, ir.emit(Op::kVGet, Type::kI64, k64, old, kNoRef, kNoRef, 0));
    return wr(rd + 1, ir.emit(Op::kVGet, Type::kI64, k64, old, kNoRef, kNoRef, 1));
}

// ---- cache blocks of 64 bytes

bool Lifter::cbo_manage(const CboManage& i) {
    // Caches are coherent: what remains of clean and flush is the access check.
    ir.load(Type::kI64, 0, x(i.rs1));
    return true;
}

/// Linux does not let programs invalidate (senvcfg.CBIE).
bool Lifter::cbo_inval(const CboInval&) { return false; }

bool Lifter::cbo_zero(const CboZero& i) {
    const Ref block = ir.and_(x(i.rs1), imm(-64)), zero = ir.vimm(0, 0);
    for (int64_t at = 0; at < 64; at += 16) ir.store(4, block, zero, at);
    return true;
}

}  // namespace myna::guest::riscv64
