// Pointer authentication (Arm ARM D8.10; FEAT_PAuth with FEAT_PAuth2) by an implementation-defined function.
//
// With FEAT_PAuth2, signing and authenticating are the same: the code is exclusive-or'ed into the pointer, and a pointer
// whose code was wrong keeps a corrupted upper part and faults when it is used. The code has 7 bits, 54..48 (48-bit
// addresses, top byte ignored):
//
//   code = ((address << 16 ^ modifier ^ key.lo) * (key.hi | 1)) >> 57
//
// init_state makes key.hi odd. Eight host instructions; it guards against stray writes, not against an attacker who can
// read the emulator's memory.
#include "guest/aarch64/lift_insn.h"

namespace myna::guest::aarch64 {

using Branch = ir::Builder::Branch;

Ref InsnLifter::authenticated(Ref pointer, Ref modifier, unsigned key) {
    const Ref mixed = b_.xor_(b_.xor_(b_.shl_imm(pointer, 16), modifier), b_.get(kPauthKey0 + 2 * key));
    const Ref code = b_.shr_imm(b_.mul(mixed, b_.get(kPauthKey0 + 2 * key + 1)), 57);
    return b_.xor_(pointer, b_.shl_imm(code, 48));
}

bool InsnLifter::pac(const Pac& i) {
    sign_x(i.rd, x_or_sp(i.rn), i.key);
    return true;
}
bool InsnLifter::aut(const Aut& i) {
    sign_x(i.rd, x_or_sp(i.rn), i.key);
    return true;
}
bool InsnLifter::pacz(const Pacz& i) {
    sign_x(i.rd, b_.imm(0), i.key);
    return true;
}
bool InsnLifter::autz(const Autz& i) {
    sign_x(i.rd, b_.imm(0), i.key);
    return true;
}

bool InsnLifter::xpac(const Xpac& i) {
    // Bits 54..48 become bit 55; the top byte stays.
    const Ref p = x(i.rd);
    set_x(i.rd, b_.bfi(p, b_.sbfx(p, 55, 1), 48, 7));
    return true;
}
bool InsnLifter::xpaclri(const Xpaclri&) {
    const Ref p = x(30);
    set_x(30, b_.bfi(p, b_.sbfx(p, 55, 1), 48, 7));
    return true;
}

bool InsnLifter::pacga(const Pacga& i) {
    const Ref mixed = b_.mul(b_.xor_(x(i.rn), b_.get(kPauthKey0 + 8)), b_.get(kPauthKey0 + 9));
    const Ref again = b_.mul(b_.xor_(b_.ror(mixed, b_.imm(29)), x_or_sp(i.rm)), b_.get(kPauthKey0 + 9));
    set_x(i.rd, b_.and_(again, b_.imm(0xffffffff00000000)));
    return true;
}

// ---- hint space: harmless where pointer authentication is off

bool InsnLifter::pacia1716(const Pacia1716&) {
    sign_x(17, x(16), 0);
    return true;
}
bool InsnLifter::pacib1716(const Pacib1716&) {
    sign_x(17, x(16), 1);
    return true;
}
bool InsnLifter::autia1716(const Autia1716&) {
    sign_x(17, x(16), 0);
    return true;
}
bool InsnLifter::autib1716(const Autib1716&) {
    sign_x(17, x(16), 1);
    return true;
}
bool InsnLifter::paciaz(const Paciaz&) {
    sign_x(30, b_.imm(0), 0);
    return true;
}
bool InsnLifter::paciasp(const Paciasp&) {
    sign_x(30, b_.get(kSp), 0);
    return true;
}
bool InsnLifter::pacibz(const Pacibz&) {
    sign_x(30, b_.imm(0), 1);
    return true;
}
bool InsnLifter::pacibsp(const Pacibsp&) {
    sign_x(30, b_.get(kSp), 1);
    return true;
}
bool InsnLifter::autiaz(const Autiaz&) {
    sign_x(30, b_.imm(0), 0);
    return true;
}
bool InsnLifter::autiasp(const Autiasp&) {
    sign_x(30, b_.get(kSp), 0);
    return true;
}
bool InsnLifter::autibz(const Autibz&) {
    sign_x(30, b_.imm(0), 1);
    return true;
}
bool InsnLifter::autibsp(const Autibsp&) {
    sign_x(30, b_.get(kSp), 1);
    return true;
}

// ---- authenticating branches and loads; m: key A or B

bool InsnLifter::braz(const Braz& i) {
    end_indirect(authenticated(x(i.rn), b_.imm(0), i.m), Branch::kJump);
    return true;
}
bool InsnLifter::bra(const Bra& i) {
    end_indirect(authenticated(x(i.rn), x_or_sp(i.rm), i.m), Branch::kJump);
    return true;
}
bool InsnLifter::blraz(const Blraz& i) {
    const Ref target = authenticated(x(i.rn), b_.imm(0), i.m);
    set_x(30, b_.imm(next_pc()));
    end_indirect(target, Branch::kCall, next_pc());
    return true;
}
bool InsnLifter::blra(const Blra& i) {
    const Ref target = authenticated(x(i.rn), x_or_sp(i.rm), i.m);
    set_x(30, b_.imm(next_pc()));
    end_indirect(target, Branch::kCall, next_pc());
    return true;
}
bool InsnLifter::reta(const Reta& i) {
    end_indirect(authenticated(x(30), b_.get(kSp), i.m), Branch::kReturn);
    return true;
}

bool InsnLifter::ldra(const Ldra& i) {
    const Ref base = authenticated(x_or_sp(i.rn), b_.imm(0), 2u + i.m);
    const int64_t offset = int64_t{i.imm} * 8;
    set_x(i.rt, load(Type::kI64, 3, base, offset));
    if (i.w) set_x_or_sp(i.rn, b_.add_imm(base, offset));
    return true;
}

}  // namespace myna::guest::aarch64
