// Loads and stores of general and SIMD&FP registers (Arm ARM C4.1.94).
//
// Order within an instruction: addresses from the old base, all accesses, then the loaded registers, then the base. So a
// fault leaves every register as it was. Offsets go into the memory operation's displacement.
#include "guest/aarch64/lift_insn.h"

namespace myna::guest::aarch64 {
namespace {

constexpr unsigned kNoWriteBack = 0;

}  // namespace

void InsnLifter::write_back(unsigned rn, Ref base, int64_t offset, unsigned wback) {
    if (wback != kNoWriteBack) set_x_or_sp(rn, b_.add_imm(base, offset));
}

/// opc: 1 zero extends, 2 sign extends to 64 bits, 3 to 32 bits.
void InsnLifter::load_int(unsigned rt, unsigned size, unsigned opc, Ref addr, int64_t disp, unsigned attr) {
    const unsigned sign = opc >= 2 ? unsigned{MemAttr::kSigned} : 0;
    if (opc == 3) set_w(rt, load(Type::kI32, size | sign | attr, addr, disp));
    else set_x(rt, load(Type::kI64, size | sign | attr, addr, disp));
}

/// The value as it goes into a vector register: zeroes above the loaded bytes.
Ref InsnLifter::load_vec(unsigned size, Ref addr, int64_t disp) {
    switch (size) {
        case 0: {
            const Ref byte = load(Type::kI32, 0, addr, disp);
            return b_.emit(Op::kVZext, Type::kV128, 0, b_.bitcast(Type::kF32, byte));
        }
        case 1: return b_.emit(Op::kVZext, Type::kV128, 0, load(Type::kF16, 1, addr, disp));
        case 2: return b_.emit(Op::kVZext, Type::kV128, 0, load(Type::kF32, 2, addr, disp));
        case 3: return b_.emit(Op::kVZext, Type::kV128, 0, load(Type::kF64, 3, addr, disp));
        default: return load(Type::kV128, 4, addr, disp);
    }
}

void InsnLifter::store_vec(unsigned rt, unsigned size, Ref addr, int64_t disp) {
    switch (size) {
        case 0: store(0, addr, b_.bitcast(Type::kI32, s(rt)), disp); break;
        case 1: store(1, addr, h(rt), disp); break;
        case 2: store(2, addr, s(rt), disp); break;
        case 3: store(3, addr, d(rt), disp); break;
        default: store(4, addr, v(rt), disp); break;
    }
}

// ---- literal

bool InsnLifter::ldr_lit(const LdrLit& i) {
    load_int(i.rt, i.size, i.opc, b_.imm(pc_ + static_cast<uint64_t>(int64_t{i.off})), 0);
    return true;
}

bool InsnLifter::ldr_lit_v(const LdrLitV& i) {
    set_v(i.rt, load_vec(i.size, b_.imm(pc_ + static_cast<uint64_t>(int64_t{i.off})), 0));
    return true;
}

bool InsnLifter::prfm_lit(const PrfmLit&) { return true; }
bool InsnLifter::prfm_imm(const PrfmImm&) { return true; }
bool InsnLifter::prfm_reg(const PrfmReg&) { return true; }

// ---- pairs

bool InsnLifter::stp(const Stp& i) {
    const Ref base = x_or_sp(i.rn);
    const int64_t offset = int64_t{i.imm} * (1 << i.size);
    const int64_t disp = access_disp(offset, i.wback);
    const Ref first = x(i.rt), second = x(i.rt2);
    if (i.size == 3 && is_single_copy_pair(i.rn)) {
        store(4, base, i.rt == 31 && i.rt2 == 31 ? b_.vimm(0, 0) : pair_to_v128(first, second), disp);
        write_back(i.rn, base, offset, i.wback);
        return true;
    }
    store(i.size, base, first, disp);
    store(i.size, base, second, disp + (1 << i.size));
    write_back(i.rn, base, offset, i.wback);
    return true;
}

bool InsnLifter::ldp(const Ldp& i) {
    const Ref base = x_or_sp(i.rn);
    const int64_t offset = int64_t{i.imm} * (1 << i.size);
    const int64_t disp = access_disp(offset, i.wback);
    const unsigned attr = i.size | (i.sign ? unsigned{MemAttr::kSigned} : 0);
    if (i.size == 3 && is_single_copy_pair(i.rn)) {
        const Ref both = load(Type::kV128, 4, base, disp);
        const Ref low = lane64(both, 0), high = lane64(both, 1);
        set_x(i.rt, low);
        set_x(i.rt2, high);
        write_back(i.rn, base, offset, i.wback);
        return true;
    }
    const Ref first = load(Type::kI64, attr, base, disp);
    const Ref second = load(Type::kI64, attr, base, disp + (1 << i.size));
    set_x(i.rt, first);
    set_x(i.rt2, second);
    write_back(i.rn, base, offset, i.wback);
    return true;
}

bool InsnLifter::stp_v(const StpV& i) {
    const Ref base = x_or_sp(i.rn);
    const int64_t offset = int64_t{i.imm} * (1 << i.size);
    const int64_t disp = access_disp(offset, i.wback);
    store_vec(i.rt, i.size, base, disp);
    store_vec(i.rt2, i.size, base, disp + (1 << i.size));
    write_back(i.rn, base, offset, i.wback);
    return true;
}

bool InsnLifter::ldp_v(const LdpV& i) {
    const Ref base = x_or_sp(i.rn);
    const int64_t offset = int64_t{i.imm} * (1 << i.size);
    const int64_t disp = access_disp(offset, i.wback);
    const Ref first = load_vec(i.size, base, disp);
    const Ref second = load_vec(i.size, base, disp + (1 << i.size));
    set_v(i.rt, first);
    set_v(i.rt2, second);
    write_back(i.rn, base, offset, i.wback);
    return true;
}

// ---- one register, immediate offset; wback: 0 none, 1 post-indexed, 2 pre-indexed

bool InsnLifter::str_imm(const StrImm& i) {
    const Ref base = x_or_sp(i.rn);
    store(i.size, base, x(i.rt), access_disp(i.imm, i.wback));
    write_back(i.rn, base, i.imm, i.wback);
    return true;
}

bool InsnLifter::ldr_imm(const LdrImm& i) {
    const Ref base = x_or_sp(i.rn);
    load_int(i.rt, i.size, i.opc, base, access_disp(i.imm, i.wback));
    write_back(i.rn, base, i.imm, i.wback);
    return true;
}

bool InsnLifter::str_v_imm(const StrVImm& i) {
    const Ref base = x_or_sp(i.rn);
    store_vec(i.rt, i.size, base, access_disp(i.imm, i.wback));
    write_back(i.rn, base, i.imm, i.wback);
    return true;
}

bool InsnLifter::ldr_v_imm(const LdrVImm& i) {
    const Ref base = x_or_sp(i.rn);
    set_v(i.rt, load_vec(i.size, base, access_disp(i.imm, i.wback)));
    write_back(i.rn, base, i.imm, i.wback);
    return true;
}

bool InsnLifter::str_uimm(const StrUimm& i) {
    store(i.size, x_or_sp(i.rn), x(i.rt), int64_t{i.imm12} << i.size);
    return true;
}

bool InsnLifter::ldr_uimm(const LdrUimm& i) {
    load_int(i.rt, i.size, i.opc, x_or_sp(i.rn), int64_t{i.imm12} << i.size);
    return true;
}

bool InsnLifter::str_v_uimm(const StrVUimm& i) {
    store_vec(i.rt, i.size, x_or_sp(i.rn), int64_t{i.imm12} << i.size);
    return true;
}

bool InsnLifter::ldr_v_uimm(const LdrVUimm& i) {
    set_v(i.rt, load_vec(i.size, x_or_sp(i.rn), int64_t{i.imm12} << i.size));
    return true;
}

// ---- register offset; opt2:opt0 (with option<1> = 1): 0 0 UXTW, 0 1 LSL, 1 0 SXTW, 1 1 SXTX

Ref InsnLifter::indexed(unsigned rn, unsigned rm, bool opt2, bool opt0, unsigned amount) {
    Ref index = opt0 ? x(rm) : opt2 ? b_.sext(w(rm)) : b_.zext(w(rm));
    if (amount != 0) index = b_.shl_imm(index, amount);
    return b_.add(x_or_sp(rn), index);
}

bool InsnLifter::str_reg(const StrReg& i) {
    store(i.size, indexed(i.rn, i.rm, i.opt2, i.opt0, i.s ? i.size : 0), x(i.rt));
    return true;
}

bool InsnLifter::ldr_reg(const LdrReg& i) {
    load_int(i.rt, i.size, i.opc, indexed(i.rn, i.rm, i.opt2, i.opt0, i.s ? i.size : 0), 0);
    return true;
}

bool InsnLifter::str_v_reg(const StrVReg& i) {
    store_vec(i.rt, i.size, indexed(i.rn, i.rm, i.opt2, i.opt0, i.s ? i.size : 0), 0);
    return true;
}

bool InsnLifter::ldr_v_reg(const LdrVReg& i) {
    set_v(i.rt, load_vec(i.size, indexed(i.rn, i.rm, i.opt2, i.opt0, i.s ? i.size : 0), 0));
    return true;
}

}  // namespace myna::guest::aarch64
