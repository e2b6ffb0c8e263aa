// Scalar cryptography: Zknd, Zkne, Zknh, Zksed, Zksh.
//
// An AES instruction computes half a round over the state in rs2:rs1; the IR has whole rounds over 128 bits, whose low
// half is the answer.
#include "guest/riscv64/lifter.h"

namespace myna::guest::riscv64 {

namespace {
constexpr auto k64 = static_cast<uint8_t>(ir::Elem::k64);
}

Ref Lifter::vector_of(Ref low, Ref high) {
    const Ref v = ir.emit(Op::kVZext, Type::kV128, 0, ir.bitcast(Type::kF64, low));
    return high == kNoRef ? v : ir.emit(Op::kVIns, Type::kV128, k64, v, high, kNoRef, 1);
}
bool Lifter::wr_low(unsigned rd, Ref vector) { return wr(rd, ir.emit(Op::kVGet, Type::kI64, k64, vector)); }

Ref Lifter::aes_round(Op op, unsigned rs1, unsigned rs2) {
    return ir.emit(op, Type::kV128, 0, vector_of(x(rs1), x(rs2)), ir.vimm(0, 0));
}
bool Lifter::aes64es(const Aes64es& i) { return wr_low(i.rd, aes_round(Op::kVAesE, i.rs1, i.rs2)); }
bool Lifter::aes64ds(const Aes64ds& i) { return wr_low(i.rd, aes_round(Op::kVAesD, i.rs1, i.rs2)); }
bool Lifter::aes64esm(const Aes64esm& i) {
    return wr_low(i.rd, ir.emit(Op::kVAesMc, Type::kV128, 0, aes_round(Op::kVAesE, i.rs1, i.rs2)));
}
bool Lifter::aes64dsm(const Aes64dsm& i) {
    return wr_low(i.rd, ir.emit(Op::kVAesImc, Type::kV128, 0, aes_round(Op::kVAesD, i.rs1, i.rs2)));
}
bool Lifter::aes64im(const Aes64im& i) {
    return wr_low(i.rd, ir.emit(Op::kVAesImc, Type::kV128, 0, vector_of(x(i.rs1), kNoRef)));
}
bool Lifter::aes64ks1i(const Aes64ks1i& i) {
    return wr(i.rd, ir.call(kHelper_aes64ks1i, Type::kI64, x(i.rs1), imm(i.rnum)));
}
bool Lifter::aes64ks2(const Aes64ks2& i) {
    const Ref a = ir.shr_imm(x(i.rs1), 32), b = x(i.rs2);
    const Ref low = ir.xor_(ir.trunc(a), ir.trunc(b));
    const Ref high = ir.xor_(low, ir.trunc(ir.shr_imm(b, 32)));
    return wr(i.rd, ir.or_(ir.zext(low), ir.shl_imm(ir.zext(high), 32)));
}

/// ror(v, r1) ^ ror(v, r2) ^ (ror or shr)(v, r3)
Ref Lifter::sha(Ref v, unsigned r1, unsigned r2, unsigned r3, bool shift_last) {
    const Type t = ir.type_of(v);
    const auto rot = [&](unsigned n) { return ir.ror(v, ir.imm(n, t)); };
    return ir.xor_(ir.xor_(rot(r1), rot(r2)), shift_last ? ir.shr_imm(v, r3) : rot(r3));
}
bool Lifter::sha256sum0(const Sha256sum0& i) { return wr_w(i.rd, sha(w(i.rs1), 2, 13, 22, false)); }
bool Lifter::sha256sum1(const Sha256sum1& i) { return wr_w(i.rd, sha(w(i.rs1), 6, 11, 25, false)); }
bool Lifter::sha256sig0(const Sha256sig0& i) { return wr_w(i.rd, sha(w(i.rs1), 7, 18, 3, true)); }
bool Lifter::sha256sig1(const Sha256sig1& i) { return wr_w(i.rd, sha(w(i.rs1), 17, 19, 10, true)); }
bool Lifter::sha512sum0(const Sha512sum0& i) { return wr(i.rd, sha(x(i.rs1), 28, 34, 39, false)); }
bool Lifter::sha512sum1(const Sha512sum1& i) { return wr(i.rd, sha(x(i.rs1), 14, 18, 41, false)); }
bool Lifter::sha512sig0(const Sha512sig0& i) { return wr(i.rd, sha(x(i.rs1), 1, 8, 7, true)); }
bool Lifter::sha512sig1(const Sha512sig1& i) { return wr(i.rd, sha(x(i.rs1), 19, 61, 6, true)); }

Ref Lifter::sm3(Ref v, unsigned left1, unsigned left2) {
    const auto rotl = [&](unsigned n) { return ir.ror(v, imm_w(32 - n)); };
    return ir.xor_(v, ir.xor_(rotl(left1), rotl(left2)));
}
bool Lifter::sm3p0(const Sm3p0& i) { return wr_w(i.rd, sm3(w(i.rs1), 9, 17)); }
bool Lifter::sm3p1(const Sm3p1& i) { return wr_w(i.rd, sm3(w(i.rs1), 15, 23)); }
bool Lifter::sm4ed(const Sm4ed& i) { return wr(i.rd, ir.call(kHelper_sm4, Type::kI64, x(i.rs1), x(i.rs2), imm(i.bs))); }
bool Lifter::sm4ks(const Sm4ks& i) { return wr(i.rd, ir.call(kHelper_sm4, Type::kI64, x(i.rs1), x(i.rs2), imm(i.bs | 4))); }

}  // namespace myna::guest::riscv64
