// Zba, Zbb, Zbc, Zbs and the parts of the cryptography extensions that move bits: Zbkb, Zbkc, Zbkx.
#include "guest/riscv64/lifter.h"

namespace myna::guest::riscv64 {

// ---- Zba

bool Lifter::sh1add(const Sh1add& i) { return wr(i.rd, ir.add(ir.shl_imm(x(i.rs1), 1), x(i.rs2))); }
bool Lifter::sh2add(const Sh2add& i) { return wr(i.rd, ir.add(ir.shl_imm(x(i.rs1), 2), x(i.rs2))); }
bool Lifter::sh3add(const Sh3add& i) { return wr(i.rd, ir.add(ir.shl_imm(x(i.rs1), 3), x(i.rs2))); }
bool Lifter::add_uw(const AddUw& i) { return wr(i.rd, ir.add(ir.zext(w(i.rs1)), x(i.rs2))); }
bool Lifter::sh1add_uw(const Sh1addUw& i) { return wr(i.rd, ir.add(ir.shl_imm(ir.zext(w(i.rs1)), 1), x(i.rs2))); }
bool Lifter::sh2add_uw(const Sh2addUw& i) { return wr(i.rd, ir.add(ir.shl_imm(ir.zext(w(i.rs1)), 2), x(i.rs2))); }
bool Lifter::sh3add_uw(const Sh3addUw& i) { return wr(i.rd, ir.add(ir.shl_imm(ir.zext(w(i.rs1)), 3), x(i.rs2))); }
bool Lifter::slli_uw(const SlliUw& i) { return wr(i.rd, ir.shl_imm(ir.zext(w(i.rs1)), i.shamt)); }

// ---- Zbb

bool Lifter::andn(const Andn& i) { return wr(i.rd, ir.andn(x(i.rs1), x(i.rs2))); }
bool Lifter::orn(const Orn& i) { return wr(i.rd, ir.or_(x(i.rs1), ir.not_(x(i.rs2)))); }
bool Lifter::xnor(const Xnor& i) { return wr(i.rd, ir.not_(ir.xor_(x(i.rs1), x(i.rs2)))); }
bool Lifter::clz(const Clz& i) { return wr(i.rd, ir.un(Op::kClz, x(i.rs1))); }
bool Lifter::ctz(const Ctz& i) { return wr(i.rd, ir.un(Op::kCtz, x(i.rs1))); }
bool Lifter::cpop(const Cpop& i) { return wr(i.rd, ir.un(Op::kPopcnt, x(i.rs1))); }
bool Lifter::clzw(const Clzw& i) { return wr(i.rd, ir.zext(ir.un(Op::kClz, w(i.rs1)))); }
bool Lifter::ctzw(const Ctzw& i) { return wr(i.rd, ir.zext(ir.un(Op::kCtz, w(i.rs1)))); }
bool Lifter::cpopw(const Cpopw& i) { return wr(i.rd, ir.zext(ir.un(Op::kPopcnt, w(i.rs1)))); }
bool Lifter::sext_b(const SextB& i) { return wr(i.rd, ir.un(Op::kSext8, x(i.rs1))); }
bool Lifter::sext_h(const SextH& i) { return wr(i.rd, ir.un(Op::kSext16, x(i.rs1))); }
bool Lifter::zext_h(const ZextH& i) { return wr(i.rd, ir.un(Op::kZext16, x(i.rs1))); }
bool Lifter::min(const Min& i) { return wr(i.rd, min_max(Cmp::kSlt, x(i.rs1), x(i.rs2))); }
bool Lifter::minu(const Minu& i) { return wr(i.rd, min_max(Cmp::kUlt, x(i.rs1), x(i.rs2))); }
bool Lifter::max(const Max& i) { return wr(i.rd, min_max(Cmp::kSgt, x(i.rs1), x(i.rs2))); }
bool Lifter::maxu(const Maxu& i) { return wr(i.rd, min_max(Cmp::kUgt, x(i.rs1), x(i.rs2))); }
bool Lifter::ror(const Ror& i) { return wr(i.rd, ir.ror(x(i.rs1), x(i.rs2))); }
bool Lifter::rol(const Rol& i) { return wr(i.rd, ir.ror(x(i.rs1), ir.neg(x(i.rs2)))); }
bool Lifter::rori(const Rori& i) { return wr(i.rd, ir.ror(x(i.rs1), imm(i.shamt))); }
bool Lifter::rorw(const Rorw& i) { return wr_w(i.rd, ir.ror(w(i.rs1), w(i.rs2))); }
bool Lifter::rolw(const Rolw& i) { return wr_w(i.rd, ir.ror(w(i.rs1), ir.neg(w(i.rs2)))); }
bool Lifter::roriw(const Roriw& i) { return wr_w(i.rd, ir.ror(w(i.rs1), imm_w(i.shamt))); }
bool Lifter::rev8(const Rev8& i) { return wr(i.rd, ir.un(Op::kBswap, x(i.rs1))); }
bool Lifter::orc_b(const OrcB& i) {
    // Bit 7 of each byte: set in the byte, or carried into it by its lower seven bits. Then 1 becomes 0xff.
    const Ref v = x(i.rs1), low7 = ir.imm(0x7f7f7f7f7f7f7f7f);
    const Ref any = ir.or_(ir.add(ir.and_(v, low7), low7), v);
    const Ref ones = ir.and_(ir.shr_imm(any, 7), ir.imm(0x0101010101010101));
    return wr(i.rd, ir.sub(ir.shl_imm(ones, 8), ones));
}

// ---- Zbkb, Zbkx, Zbc, Zbkc

bool Lifter::pack(const Pack& i) { return wr(i.rd, ir.bfi(x(i.rs1), x(i.rs2), 32, 32)); }
bool Lifter::packh(const Packh& i) {
    return wr(i.rd, ir.bfi(ir.un(Op::kZext8, x(i.rs1)), x(i.rs2), 8, 8));
}
bool Lifter::packw(const Packw& i) { return wr_w(i.rd, ir.bfi(w(i.rs1), w(i.rs2), 16, 16)); }
bool Lifter::brev8(const Brev8& i) { return wr(i.rd, ir.un(Op::kBswap, ir.un(Op::kBitrev, x(i.rs1)))); }
bool Lifter::xperm4(const Xperm4& i) { return wr(i.rd, ir.call(kHelper_xperm4, Type::kI64, x(i.rs1), x(i.rs2))); }
bool Lifter::xperm8(const Xperm8& i) {
    // An index of 8..15 finds the zeroes above the table, a greater one gives zero anyway.
    const Ref table = vector_of(x(i.rs1), kNoRef), index = vector_of(x(i.rs2), kNoRef);
    return wr_low(i.rd, ir.emit(Op::kVTbl, Type::kV128, static_cast<uint8_t>(ir::Elem::k8), table, index));
}
bool Lifter::clmul(const Clmul& i) { return wr(i.rd, ir.bin(Op::kClmul, x(i.rs1), x(i.rs2))); }
bool Lifter::clmulh(const Clmulh& i) { return wr(i.rd, ir.bin(Op::kClmulH, x(i.rs1), x(i.rs2))); }
bool Lifter::clmulr(const Clmulr& i) {  // bits 126..63 of the product
    const Ref a = x(i.rs1), b = x(i.rs2);
    return wr(i.rd, ir.bin(Op::kExtr, ir.bin(Op::kClmulH, a, b), ir.bin(Op::kClmul, a, b), 0, 63));
}

// ---- Zbs

bool Lifter::bset(const Bset& i) { return wr(i.rd, ir.or_(x(i.rs1), ir.shl(imm(1), x(i.rs2)))); }
bool Lifter::bclr(const Bclr& i) { return wr(i.rd, ir.andn(x(i.rs1), ir.shl(imm(1), x(i.rs2)))); }
bool Lifter::binv(const Binv& i) { return wr(i.rd, ir.xor_(x(i.rs1), ir.shl(imm(1), x(i.rs2)))); }
bool Lifter::bext(const Bext& i) { return wr(i.rd, ir.and_(ir.shr(x(i.rs1), x(i.rs2)), imm(1))); }
bool Lifter::bseti(const Bseti& i) { return wr(i.rd, ir.or_(x(i.rs1), ir.imm(uint64_t{1} << i.shamt))); }
bool Lifter::bclri(const Bclri& i) { return wr(i.rd, ir.and_(x(i.rs1), ir.imm(~(uint64_t{1} << i.shamt)))); }
bool Lifter::binvi(const Binvi& i) { return wr(i.rd, ir.xor_(x(i.rs1), ir.imm(uint64_t{1} << i.shamt))); }
bool Lifter::bexti(const Bexti& i) { return wr(i.rd, ir.ubfx(x(i.rs1), i.shamt, 1)); }

}  // namespace myna::guest::riscv64
