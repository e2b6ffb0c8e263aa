// Selection of integer operations.
//
// kI32 operations are selected as 32-bit instructions, which clear bits 63..32: zext of their results is free. So none
// of them may end in a plain 64-bit move.
#include "codegen/x64/selector.h"

namespace myna::x64 {

namespace {
constexpr unsigned width(bool w) { return w ? 64 : 32; }
constexpr uint64_t mask_of(bool w) { return w ? ~uint64_t{0} : 0xffffffff; }
}  // namespace

/// The constant as an immediate of a 32- or 64-bit instruction.
bool Selector::imm32_of(Ref r, bool w, int32_t* v) const {
    uint64_t k = 0;
    if (!ra.is_const(r, &k)) return false;
    if (w && !fits_i32(static_cast<int64_t>(k))) return false;
    *v = static_cast<int32_t>(k);
    return true;
}

void Selector::alu_with(Alu op, bool w, Gpr d, Ref operand) {
    int32_t k = 0;
    Mem m;
    if (imm32_of(operand, w, &k))
        e.alu_ri(op, w, d, k);
    else if (ra.mem_operand(operand, &m))
        e.alu_rm(op, w, d, m);
    else
        e.alu_rr(op, w, d, ra.use(operand));
}

void Selector::select_int(Ref i) {
    const Inst& n = inst(i);
    const bool w = n.type == Type::kI64;
    switch (n.op) {
        case Op::kAdd: add(i); return;
        case Op::kSub: sub(i); return;
        case Op::kCmp: compare_value(i); return;
        case Op::kSelect: select_value(i); return;
        case Op::kShl: case Op::kShr: case Op::kSar: case Op::kRor: shift(i); return;
        case Op::kSext8: { const Gpr a = ra.use(n.a); e.movsx8_rr(w, ra.def_over(i), a); return; }
        case Op::kSext16: { const Gpr a = ra.use(n.a); e.movsx16_rr(w, ra.def_over(i), a); return; }
        case Op::kZext8: { const Gpr a = ra.use(n.a); e.movzx8_rr(ra.def_over(i), a); return; }
        case Op::kZext16: { const Gpr a = ra.use(n.a); e.movzx16_rr(ra.def_over(i), a); return; }
        case Op::kUbfx: case Op::kSbfx: bit_field(i); return;
        case Op::kNot: {
            const Gpr d = ra.def_from(i, n.a);
            e.not_r(w, d);  // leaves EFLAGS alone
            return;
        }
        case Op::kBswap: e.bswap(w, ra.def_from(i, n.a)); return;
        case Op::kBswap32: {
            clobber_flags();
            const Gpr d = ra.def_from(i, n.a);
            e.bswap(true, d);
            e.shift_ri(Shift::rol, true, d, 32);
            return;
        }
        default: break;
    }
    // A carry chain: the flags that the carry was taken from are still there, and nothing saves them before the addition.
    const bool carry_in_cf = n.op == Op::kAdc && inst(n.c).op == Op::kCond && inst(n.c).sub == static_cast<uint8_t>(ir::Cond::kCs) &&
                             eflags_ != kNoRef && eflags_ == inst(n.c).a && eflags_form_ == Form::kAdd && !flags_wanted();
    clobber_flags();
    switch (n.op) {
        case Op::kAnd: logic(i, Alu::and_); return;
        case Op::kOr: logic(i, Alu::or_); return;
        case Op::kXor: logic(i, Alu::xor_); return;
        case Op::kMul: {
            int32_t k = 0;
            Mem m;
            if (imm32_of(n.b, w, &k)) {
                const Gpr a = ra.use(n.a);
                e.imul_rri(w, ra.def_over(i), a, k);
            } else if (ra.mem_operand(n.b, &m)) {
                e.imul_rm(w, ra.def_from(i, n.a), m);
            } else {
                const Gpr b = ra.use(n.b);
                const Gpr d = ra.def_from(i, n.a);
                e.imul_rr(w, d, b);
            }
            return;
        }
        case Op::kMulHS: case Op::kMulHU: mul_high(i); return;
        case Op::kDivS: case Op::kDivU: case Op::kRemS: case Op::kRemU: divide(i); return;
        case Op::kAndN: {
            const Gpr b = ra.use(n.b);
            if (host().bmi1) {
                const Gpr a = ra.use(n.a);
                e.andn(w, ra.def_over(i), b, a);
            } else {
                const Gpr t = ra.temp();
                e.mov_rr(true, t, b);
                e.not_r(w, t);
                const Gpr d = ra.def_from(i, n.a);
                e.alu_rr(Alu::and_, w, d, t);
            }
            return;
        }
        case Op::kNeg: e.neg_r(w, ra.def_from(i, n.a)); return;
        case Op::kExtr: {
            const Gpr a = ra.use(n.a);
            const Gpr d = ra.def_from(i, n.b);
            const unsigned k = static_cast<unsigned>(n.imm) & (width(w) - 1);
            if (k != 0)
                e.shrd_rri(w, d, a, static_cast<uint8_t>(k));
            else
                e.mov_rr(w, d, d);
            return;
        }
        case Op::kClz: case Op::kCtz: case Op::kCls: case Op::kPopcnt: count_bits_int(i); return;
        case Op::kBswap16: case Op::kBitrev: reverse(i); return;
        case Op::kBfi: bfi(i); return;
        case Op::kAdc: {
            const Gpr c = ra.use(n.c);
            Mem m;
            int32_t k = 0;
            const bool simple = imm32_of(n.b, w, &k) || ra.mem_operand(n.b, &m);
            if (!simple) ra.use(n.b);  // before the result takes a register
            if (!carry_in_cf) e.bt_ri(false, c, 0);
            const Gpr d = ra.def_from(i, n.a);  // moves leave CF
            alu_with(Alu::adc, w, d, n.b);
            result_flags(i, Form::kAdd);
            return;
        }
        case Op::kClmul: case Op::kClmulH: carry_less(i); return;
        case Op::kCrc32: crc(i); return;
        default: return;
    }
}

void Selector::add(Ref i) {
    const Inst& n = inst(i);
    const bool w = n.type == Type::kI64;
    const bool paired = values_[i].pair != kNoRef;
    int32_t k = 0;
    Mem m;
    if (paired) clobber_flags();
    if (imm32_of(n.b, w, &k)) {
        if (paired) {
            const Gpr d = ra.def_from(i, n.a);
            e.alu_ri(Alu::add, w, d, k);
            result_flags(i, Form::kAdd);
            return;
        }
        const bool keep = flags_wanted();
        const Gpr a = ra.use(n.a);
        const Gpr d = ra.def_over(i);
        if (d == a && !keep) {
            e.alu_ri(Alu::add, w, d, k);
            result_flags(i, Form::kAdd);
        } else {
            e.lea(w, d, Mem::at(a, k));
        }
        return;
    }
    if (paired || (!flags_wanted() && ra.mem_operand(n.b, &m))) {
        if (!ra.mem_operand(n.b, &m)) ra.use(n.b);
        const Gpr d = ra.def_from(i, n.a);
        alu_with(Alu::add, w, d, n.b);
        result_flags(i, Form::kAdd);
        return;
    }
    const bool keep = flags_wanted();
    const Gpr a = ra.use(n.a);
    const Gpr b = ra.use(n.b);
    const Gpr d = ra.def_over(i);
    if (!keep && (d == a || d == b)) {
        e.alu_rr(Alu::add, w, d, d == a ? b : a);
        result_flags(i, Form::kAdd);
    } else {
        e.lea(w, d, Mem::at(a, b, 0));
    }
}

void Selector::sub(Ref i) {
    const Inst& n = inst(i);
    const bool w = n.type == Type::kI64;
    int32_t k = 0;
    if (values_[i].pair == kNoRef && imm32_of(n.b, w, &k) && k != INT32_MIN) {
        const bool keep = flags_wanted();
        const Gpr a = ra.use(n.a);
        const Gpr d = ra.def_over(i);
        if (d == a && !keep) {
            e.alu_ri(Alu::sub, w, d, k);
            result_flags(i, Form::kSub);
        } else {
            e.lea(w, d, Mem::at(a, -k));
        }
        return;
    }
    clobber_flags();
    Mem m;
    uint64_t zero = 0;
    if (values_[i].pair == kNoRef && ra.is_const(n.a, &zero) && zero == 0) {
        e.neg_r(w, ra.def_from(i, n.b));
        return;
    }
    if (!imm32_of(n.b, w, &k) && !ra.mem_operand(n.b, &m)) ra.use(n.b);
    const Gpr d = ra.def_from(i, n.a);
    alu_with(Alu::sub, w, d, n.b);
    result_flags(i, Form::kSub);
}

void Selector::logic(Ref i, Alu op) {
    const Inst& n = inst(i);
    const bool w = n.type == Type::kI64;
    uint64_t k = 0;
    int32_t k32 = 0;
    Mem m;
    if (ra.is_const(n.b, &k)) {
        if (op == Alu::and_) {
            if (k == 0xff || k == 0xffff || (w && k == 0xffffffff)) {
                const Gpr a = ra.use(n.a);
                const Gpr d = ra.def_over(i);
                k == 0xff ? e.movzx8_rr(d, a) : k == 0xffff ? e.movzx16_rr(d, a) : e.mov_rr(false, d, a);
                return;
            }
            if (w && fits_u32(k) && !fits_i32(static_cast<int64_t>(k))) {
                const Gpr d = ra.def_from(i, n.a);
                e.alu_ri(op, false, d, static_cast<int32_t>(k));
                return;
            }
            if (w && k <= 0x7fffffff) {  // the short form; the 32-bit result's sign differs only where it is 0
                const Gpr d = ra.def_from(i, n.a);
                e.alu_ri(op, false, d, static_cast<int32_t>(k));
                result_flags(i, Form::kAdd);
                eflags_logic_ = true;
                return;
            }
        }
        if (imm32_of(n.b, w, &k32)) {
            const Gpr d = ra.def_from(i, n.a);
            e.alu_ri(op, w, d, k32);
            result_flags(i, Form::kAdd);
            eflags_logic_ = true;
            return;
        }
    }
    if (!ra.mem_operand(n.b, &m)) {
        const Gpr b = ra.use(n.b);
        // When only b dies here, or is in the wanted register already, compute over it.
        const Reg wanted = values_[i].hint;
        if (ra.dies(n.b) && (!ra.dies(n.a) || (wanted != kNoReg && ra.where(n.b) == wanted))) {
            const Gpr a = ra.use(n.a);
            const Gpr d = ra.def_from(i, n.b);
            e.alu_rr(op, w, d, a);
        } else {
            const Gpr d = ra.def_from(i, n.a);
            e.alu_rr(op, w, d, b);
        }
    } else {
        const Gpr d = ra.def_from(i, n.a);
        e.alu_rm(op, w, d, m);
    }
    result_flags(i, Form::kAdd);
    eflags_logic_ = true;
}

void Selector::shift(Ref i) {
    const Inst& n = inst(i);
    const bool w = n.type == Type::kI64;
    const Shift kind = n.op == Op::kShl ? Shift::shl : n.op == Op::kShr ? Shift::shr : n.op == Op::kSar ? Shift::sar : Shift::ror;
    uint64_t k = 0;
    if (ra.is_const(n.b, &k)) {
        const auto count = static_cast<uint8_t>(k & (width(w) - 1));
        if (kind == Shift::ror && host().bmi2) {
            const Gpr a = ra.use(n.a);
            e.rorx(w, ra.def_over(i), a, count);
            return;
        }
        if (count == 0) {
            const Gpr a = ra.use(n.a);
            e.mov_rr(w, ra.def_over(i), a);
            return;
        }
        if (kind == Shift::shl && count <= 3) {
            const bool keep = flags_wanted();
            const Gpr a = ra.use(n.a);
            const Gpr d = ra.def_over(i);
            if (d != a || keep) {
                e.lea(w, d, count == 1 ? Mem::at(a, a, 0) : Mem{Mem::kNone, static_cast<uint8_t>(a), count, false, false, 0});
            } else {
                flags_changed();
                e.shift_ri(kind, w, d, count);
            }
            return;
        }
        clobber_flags();
        e.shift_ri(kind, w, ra.def_from(i, n.a), count);
        return;
    }
    if (kind != Shift::ror && host().bmi2) {
        const Gpr c = ra.use(n.b);
        const Gpr a = ra.use(n.a);
        const Gpr d = ra.def_over(i);
        kind == Shift::shl ? e.shlx(w, d, a, c) : kind == Shift::shr ? e.shrx(w, d, a, c) : e.sarx(w, d, a, c);
        return;
    }
    clobber_flags();
    ra.fixed(Gpr::rcx);
    ra.copy_to(Gpr::rcx, n.b);
    const Gpr d = ra.def_from(i, n.a);
    e.shift_cl(kind, w, d);
    if (!w) e.mov_rr(false, d, d);  // a count of zero leaves the upper half as it was
}

void Selector::bit_field(Ref i) {
    const Inst& n = inst(i);
    const bool w = n.type == Type::kI64;
    const unsigned lo = n.imm & 0xff, len = static_cast<unsigned>(n.imm >> 8);
    const bool sign = n.op == Op::kSbfx;
    if (lo == 0 && (len == 8 || len == 16 || len == 32)) {
        const Gpr a = ra.use(n.a);
        const Gpr d = ra.def_over(i);
        if (len == 8)
            sign ? e.movsx8_rr(w, d, a) : e.movzx8_rr(d, a);
        else if (len == 16)
            sign ? e.movsx16_rr(w, d, a) : e.movzx16_rr(d, a);
        else
            sign && w ? e.movsxd_rr(d, a) : e.mov_rr(false, d, a);
        return;
    }
    clobber_flags();
    const Gpr d = ra.def_from(i, n.a);
    const unsigned up = width(w) - lo - len;
    if (sign) {
        if (up != 0) e.shift_ri(Shift::shl, w, d, static_cast<uint8_t>(up));
        if (up + lo != 0)
            e.shift_ri(Shift::sar, w, d, static_cast<uint8_t>(up + lo));
        else
            e.mov_rr(w, d, d);
        return;
    }
    if (lo != 0) {
        // A field that ends at bit 31 can be shifted out of the lower half.
        const bool half = lo + len <= 32;
        e.shift_ri(Shift::shr, w && !half, d, static_cast<uint8_t>(lo));
        if (lo + len == 32 || up == 0) return;
    }
    if (len < 32)
        e.alu_ri(Alu::and_, false, d, static_cast<int32_t>(low_mask(len)));
    else if (len == 32)
        e.mov_rr(false, d, d);
    else if (len < 64) {
        e.shift_ri(Shift::shl, true, d, static_cast<uint8_t>(64 - len));
        e.shift_ri(Shift::shr, true, d, static_cast<uint8_t>(64 - len));
    }
}

void Selector::bfi(Ref i) {
    const Inst& n = inst(i);
    const bool w = n.type == Type::kI64;
    const unsigned lo = n.imm & 0xff, len = static_cast<unsigned>(n.imm >> 8);
    if (len == width(w)) {
        const Gpr b = ra.use(n.b);
        e.mov_rr(w, ra.def_over(i), b);
        return;
    }
    const uint64_t field = low_mask(len) << lo & mask_of(w);
    if (w ? fits_i32(static_cast<int64_t>(field)) : true) {
        // a ^ ((a ^ b << lo) & field)
        const Gpr a = ra.use(n.a);
        const Gpr t = ra.use_copy(n.b);
        if (lo != 0) e.shift_ri(Shift::shl, w, t, static_cast<uint8_t>(lo));
        e.alu_rr(Alu::xor_, w, t, a);
        e.alu_ri(Alu::and_, w, t, static_cast<int32_t>(field));
        const Gpr d = ra.def_from(i, n.a);
        e.alu_rr(Alu::xor_, w, d, t);
        return;
    }
    // The field rotated to the bottom, pushed out by b's low bits coming in at the top, rotated into place.
    Gpr b = ra.use(n.b);
    if (values_[n.a].root == values_[n.b].root) {
        b = ra.temp();
        ra.copy_to(b, n.b);
    }
    const Gpr d = ra.def_from(i, n.a);
    if (lo != 0) e.shift_ri(Shift::ror, w, d, static_cast<uint8_t>(lo));
    e.shrd_rri(w, d, b, static_cast<uint8_t>(len));
    const unsigned back = (lo + len) & (width(w) - 1);
    if (back != 0) e.shift_ri(Shift::rol, w, d, static_cast<uint8_t>(back));
}

void Selector::count_bits_int(Ref i) {
    const Inst& n = inst(i);
    const bool w = n.type == Type::kI64;
    const unsigned bits = width(w);
    Gpr a = ra.use(n.a);
    if (n.op == Op::kPopcnt) {
        e.popcnt(w, ra.def_over(i), a);
        return;
    }
    if (n.op == Op::kCls) {  // leading zeroes of a ^ (a >> width-1), less the sign bit itself
        const Gpr t = ra.temp();
        e.mov_rr(true, t, a);
        e.shift_ri(Shift::sar, w, t, static_cast<uint8_t>(bits - 1));
        e.alu_rr(Alu::xor_, w, t, a);
        a = t;
    }
    if (n.op != Op::kCtz && host().lzcnt) {
        const Gpr d = ra.def(i);
        e.lzcnt(w, d, a);
        if (n.op == Op::kCls) e.alu_ri(Alu::sub, false, d, 1);
        return;
    }
    if (n.op == Op::kCtz && host().bmi1) {
        e.tzcnt(w, ra.def(i), a);
        return;
    }
    const Gpr none = ra.temp();
    const Gpr d = ra.def(i);
    e.mov_ri(none, n.op == Op::kCtz ? bits : 2 * bits - 1);
    n.op == Op::kCtz ? e.bsf(w, d, a) : e.bsr(w, d, a);
    e.cmov(Cc::e, w, d, none);
    if (n.op != Op::kCtz) e.alu_ri(Alu::xor_, false, d, static_cast<int32_t>(bits - 1));
    if (n.op == Op::kCls) e.alu_ri(Alu::sub, false, d, 1);
}

void Selector::reverse(Ref i) {
    const Inst& n = inst(i);
    const bool w = n.type == Type::kI64;
    if (n.op == Op::kBswap16 && !w) {
        const Gpr d = ra.def_from(i, n.a);
        e.bswap(false, d);
        e.shift_ri(Shift::ror, false, d, 16);
        return;
    }
    const Gpr t = ra.temp();
    const Gpr mask = ra.temp();
    const Gpr d = ra.def_from(i, n.a);
    const auto exchange = [&](unsigned k, uint64_t m) {  // neighbouring groups of k bits
        e.mov_ri(mask, m & mask_of(w));
        e.mov_rr(w, t, d);
        e.shift_ri(Shift::shr, w, t, static_cast<uint8_t>(k));
        e.alu_rr(Alu::and_, w, t, mask);
        e.alu_rr(Alu::and_, w, d, mask);
        e.shift_ri(Shift::shl, w, d, static_cast<uint8_t>(k));
        e.alu_rr(Alu::or_, w, d, t);
    };
    if (n.op == Op::kBswap16) {
        exchange(8, 0x00ff00ff00ff00ff);
        return;
    }
    e.bswap(w, d);
    exchange(4, 0x0f0f0f0f0f0f0f0f);
    exchange(2, 0x3333333333333333);
    exchange(1, 0x5555555555555555);
}

void Selector::mul_high(Ref i) {
    const Inst& n = inst(i);
    const bool w = n.type == Type::kI64;
    if (n.op == Op::kMulHU && host().bmi2) {
        ra.fixed(Gpr::rdx);
        ra.copy_to(Gpr::rdx, n.a);
        const Gpr b = ra.use(n.b);
        const Gpr d = ra.def(i);
        e.mulx(w, d, d, b);  // equal registers: the high half stays
        return;
    }
    ra.fixed(Gpr::rax);
    ra.fixed(Gpr::rdx);
    ra.copy_to(Gpr::rax, n.a);
    const Gpr b = ra.use(n.b);
    n.op == Op::kMulHS ? e.imul_r(w, b) : e.mul_r(w, b);
    ra.def_in(i, Gpr::rdx);
}

/// x86 faults where the IR gives a value: a zero divisor, and the most negative number divided by -1.
void Selector::divide(Ref i) {
    const Inst& n = inst(i);
    const bool w = n.type == Type::kI64;
    const bool is_signed = n.op == Op::kDivS || n.op == Op::kRemS;
    const bool rem = n.op == Op::kRemS || n.op == Op::kRemU;
    uint64_t k = 0;
    const bool known = ra.is_const(n.b, &k) && (k & mask_of(w)) != 0 && (k & mask_of(w)) != mask_of(w);
    ra.fixed(Gpr::rax);
    ra.fixed(Gpr::rdx);
    ra.copy_to(Gpr::rax, n.a);
    const Gpr b = ra.use(n.b);
    uint32_t zero = 0, minus = 0;
    if (!known) {
        e.test_rr(w, b, b);
        zero = e.jcc8(Cc::e);
        if (is_signed) {
            e.alu_ri(Alu::cmp, w, b, -1);
            minus = e.jcc8(Cc::e);
        }
    }
    if (is_signed) {
        w ? e.cqo() : e.cdq();
        e.idiv_r(w, b);
    } else {
        e.zero(Gpr::rdx);
        e.div_r(w, b);
    }
    if (!known) {
        const uint32_t done = e.jmp8();
        e.bind8(zero);
        // x/0 = 0, x%0 = x
        rem ? e.mov_rr(w, Gpr::rdx, Gpr::rax) : e.zero(Gpr::rax);
        if (is_signed) {
            const uint32_t done2 = e.jmp8();
            e.bind8(minus);
            rem ? e.zero(Gpr::rdx) : e.neg_r(w, Gpr::rax);
            e.bind8(done2);
        }
        e.bind8(done);
    }
    ra.def_in(i, rem ? Gpr::rdx : Gpr::rax);
}

void Selector::compare_value(Ref i) {
    const Inst& n = inst(i);
    keep_flags();
    const Cc cc = compare_for(n);
    const Gpr d = ra.def_over(i);
    e.setcc(cc, d);
    e.movzx8_rr(d, d);
}

void Selector::select_value(Ref i) {
    const Inst& n = inst(i);
    prepare_condition(n.a);
    if (in_xmm(n.type)) {
        ra.use_x(n.b);
        ra.use_x(n.c);
        const Cc cc = condition(n.a);
        const Xmm b = ra.use_x(n.b);
        const Xmm d = ra.def_from_x(i, n.c);
        const uint32_t skip = e.jcc8(invert(cc));
        e.mov_xx(d, b);
        e.bind8(skip);
        return;
    }
    const bool w = n.type == Type::kI64;
    Cc cc = condition(n.a);
    Ref yes = n.b, no = n.c;
    // Computed over the operand that dies, or that is in the wanted register already.
    const Reg wanted = values_[i].hint;
    if ((ra.dies(yes) && !ra.dies(no)) || (wanted != kNoReg && ra.where(yes) == wanted)) {
        std::swap(yes, no);
        cc = invert(cc);
    }
    Mem m;
    if (ra.mem_operand(yes, &m)) {
        const Gpr d = ra.def_from(i, no);
        e.cmov_m(cc, w, d, m);
    } else {
        const Gpr y = ra.use(yes);
        const Gpr d = ra.def_from(i, no);
        e.cmov(cc, w, d, y);
    }
}

void Selector::carry_less(Ref i) {
    const Inst& n = inst(i);
    if (!host().pclmul) {
        ra.save_for_call(false);
        e.mov_mr(true, vscratch_mem(0), ra.use(n.a));
        e.mov_mr(true, vscratch_mem(1), ra.use(n.b));
        ra.forget_scratch(false);
        hot_soft_call(RtHelper::carry_less, 0);
        const Gpr d = ra.def(i);
        e.mov_rm(true, d, vscratch_mem(0).plus(n.op == Op::kClmulH ? 8 : 0));
        return;
    }
    const Xmm x = ra.temp_x(), y = ra.temp_x();
    e.mov_xg(true, x, ra.use(n.a));
    e.mov_xg(true, y, ra.use(n.b));
    e.vop_i(SseOp::pclmulqdq, x, x, y, 0);
    const Gpr d = ra.def_over(i);
    n.op == Op::kClmulH ? e.pextrq(d, x, 1) : e.mov_gx(true, d, x);
}

void Selector::crc(Ref i) {
    const Inst& n = inst(i);
    if (n.imm == 1) {
        const Gpr b = ra.use(n.b);
        const Gpr d = ra.def_from(i, n.a);
        e.crc32(n.sub, d, b);
        return;
    }
    ra.save_for_call(false);
    e.mov_mr(true, vscratch_mem(0), ra.use(n.a));
    e.mov_mr(true, vscratch_mem(1), ra.use(n.b));
    ra.forget_scratch(false);
    hot_soft_call(RtHelper::crc32_ieee, n.sub);
    e.mov_rm(false, ra.def(i), vscratch_mem(0));
}

}  // namespace myna::x64
