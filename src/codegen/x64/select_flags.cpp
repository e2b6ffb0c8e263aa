// NZCV and conditions.
//
// A guest flags value is in EFLAGS (eflags_, with the form its operation left), in raw form (flags_form.h) in a register
// or in the nzcv slot, or nowhere yet: fl_sub, fl_add and fl_logic are emitted when first needed, and again when EFLAGS
// were lost meanwhile, which is cheaper than keeping them.
//
//   cmp x0, x1 ; b.lo      fl_sub, cond, exit_if       ▶ cmp, jb
//   subs x0, x0, 1 ; b.ne  sub, fl_sub, cond, exit_if  ▶ sub, jne          (paired: the sub leaves the flags)
//   set nzcv                                           ▶ lahf, seto al, mov [slot], ax
#include <bit>
#include <utility>

#include "codegen/x64/flags_form.h"
#include "codegen/x64/select_fp.h"
#include "codegen/x64/selector.h"
#include "ir/lanes.h"

namespace myna::x64 {

namespace {

constexpr Cc kCmpCc[] = {Cc::e, Cc::ne, Cc::l, Cc::le, Cc::g, Cc::ge, Cc::b, Cc::be, Cc::a, Cc::ae};
constexpr Cc kMirrored[] = {Cc::e, Cc::ne, Cc::g, Cc::ge, Cc::l, Cc::le, Cc::a, Cc::ae, Cc::b, Cc::be};
constexpr Cc kAlways = Cc::e;  // after comparing a register with itself

//                           eq     ne      cs      cc     mi     pl      vs     vc      hi     ls      ge      lt     gt     le
constexpr Cc kSubCc[] = {Cc::e, Cc::ne, Cc::ae, Cc::b, Cc::s, Cc::ns, Cc::o, Cc::no, Cc::a, Cc::be, Cc::ge, Cc::l, Cc::g, Cc::le};
constexpr Cc kOrderedCc[] = {Cc::e, Cc::ne, Cc::ae, Cc::b, Cc::b, Cc::ae, Cc::o, Cc::no, Cc::a, Cc::be};

constexpr uint32_t kCondMask[] = {kRawZ, kRawZ, kRawBorrow, kRawBorrow, kRawN, kRawN, kRawV, kRawV, kRawBorrow | kRawZ, kRawBorrow | kRawZ};
/// The Cc after testing raw flags with kCondMask.
constexpr Cc kCondTest[] = {Cc::ne, Cc::e, Cc::e, Cc::ne, Cc::ne, Cc::e, Cc::ne, Cc::e, Cc::e, Cc::ne};

}  // namespace

bool Selector::lazy(Ref flags) const {
    const Op op = inst(flags).op;
    return (op == Op::kFlSub || op == Op::kFlAdd || op == Op::kFlLogic) && !(values_[flags].marks & Value::kPaired);
}

/// EFLAGS as raw flags in ax; EFLAGS stay. The caller owns rax.
void Selector::save_raw() {
    to_sub_form();
    e.lahf();
    e.setcc(Cc::o, Gpr::rax);
}

void Selector::keep_flags() {
    const Ref f = eflags_;
    if (!flags_wanted() || lazy(f)) return;
    const Value& v = values_[f];
    if (v.reg != kNoReg || v.mem != Value::kNoMem) return;
    ra.fixed(Gpr::rax);
    save_raw();
    ra.def_in(f, Gpr::rax);
    ra.release(Gpr::rax);
}

void Selector::clobber_flags() {
    keep_flags();
    flags_changed();
}

void Selector::result_flags(Ref i, Form form) {
    eflags_ = values_[i].pair;
    eflags_form_ = form;
    eflags_of_ = i;
    eflags_logic_ = false;
}

/// Turns EFLAGS into the form a subtraction leaves. FP forms use al.
void Selector::to_sub_form() {
    switch (eflags_form_) {
        case Form::kSub: return;
        case Form::kAdd:
            e.cmc();
            eflags_logic_ = false;  // CF is set now where it was clear
            break;
        case Form::kFcmp:
        case Form::kFcmpSwapped: {
            // al = 0 less, 1 equal, 2 greater, 0x80 unordered; comparing it with 1 sets N, Z, !C and V.
            Cold& c = cold_if(Cc::p, [](Selector& s, const Cold& k) {
                s.e.mov_ri(Gpr::rax, 0x80);
                s.e.jmp_to(k.back);
            });
            if (eflags_form_ == Form::kFcmp) {
                e.setcc(Cc::a, Gpr::rax);
                e.alu8_ri(Alu::sbb, Gpr::rax, 0xff);
            } else {
                e.setcc(Cc::be, Gpr::rax);
                e.alu8_ri(Alu::adc, Gpr::rax, 0);
            }
            c.back = e.offset();
            e.alu8_ri(Alu::cmp, Gpr::rax, 1);
            break;
        }
        case Form::kFcmpOrdered: break;  // made for one condition only
    }
    eflags_form_ = Form::kSub;
}

/// After ucomis: unordered becomes CF = ZF = 0, OF = 1, which all conditions but the signed ones read right.
void Selector::ordered_form() {
    Cold& c = cold_if(Cc::p, [](Selector& s, const Cold& k) {
        s.e.push(Gpr::rax);
        s.e.mov_ri(Gpr::rax, 0x80);
        s.e.alu8_ri(Alu::cmp, Gpr::rax, 1);
        s.e.pop(Gpr::rax);
        s.e.jmp_to(k.back);
    });
    c.back = e.offset();
    eflags_form_ = Form::kFcmpOrdered;
}

/// test of `a`, or of the operands of a fused and. zero_only: nobody looks at the sign.
void Selector::test_operand(bool w, Ref a, bool zero_only) {
    const Inst& n = inst(a);
    if ((values_[a].marks & Value::kFused) && n.op == Op::kAnd) {
        int32_t k = 0;
        const bool w2 = n.type == Type::kI64;
        uint64_t v = 0;
        const Gpr ra_ = ra.use(n.a);
        if (imm32_of(n.b, w2, &k))
            e.test_ri(w2, ra_, k);
        else if (zero_only && ra.is_const(n.b, &v) && fits_u32(v))
            e.test_ri(false, ra_, static_cast<int32_t>(v));
        else
            e.test_rr(w2, ra_, ra.use(n.b));
        return;
    }
    const Gpr r = ra.use(a);
    e.test_rr(w, r, r);
}

/// cmp a, b.
void Selector::compare_operands(bool w, Ref a, Ref b) {
    int32_t k = 0;
    Mem m;
    if (imm32_of(b, w, &k)) {
        if (ra.mem_operand(a, &m)) {
            e.alu_mi(Alu::cmp, w, m, k);
            return;
        }
        const Gpr r = ra.use(a);
        if (k == 0)
            e.test_rr(w, r, r);
        else
            e.alu_ri(Alu::cmp, w, r, k);
        return;
    }
    const Gpr r = ra.use(a);
    alu_with(Alu::cmp, w, r, b);
}

/// A cmp whose result is a condition.
Cc Selector::compare_for(const Inst& n) {
    const bool w = n.type == Type::kI64;
    if (eflags_ != kNoRef && eflags_form_ == Form::kSub) {  // the guest's own comparison of the same operands
        const Inst& f = inst(eflags_);
        if (f.op == Op::kFlSub && f.type == n.type && values_[f.a].root == values_[n.a].root && values_[f.b].root == values_[n.b].root)
            return kCmpCc[n.sub];
    }
    uint64_t v = 0;
    const bool zero = ra.is_const(n.b, &v) && v == 0;
    if (zero) {
        const Ref a = values_[n.a].root;
        const Cmp c = static_cast<Cmp>(n.sub);
        if (eflags_of_ == a && inst(a).type == n.type && (values_[a].marks & Value::kFused) == 0) {
            if (c == Cmp::kEq || c == Cmp::kNe || eflags_logic_) return kCmpCc[n.sub];
            if (c == Cmp::kSlt) return Cc::s;
            if (c == Cmp::kSge) return Cc::ns;
        }
        flags_changed();
        const Inst& d = inst(n.a);
        if ((values_[n.a].marks & Value::kFused) && d.op == Op::kUbfx) {
            e.bt_ri(d.type == Type::kI64, ra.use(d.a), static_cast<uint8_t>(d.imm & 0xff));
            return c == Cmp::kEq ? Cc::ae : Cc::b;
        }
        if (values_[n.a].marks & Value::kFused) {
            test_operand(w, n.a, true);
            return kCmpCc[n.sub];
        }
    }
    flags_changed();
    Mem m;
    if (!ra.is_const(n.b) && (ra.is_const(n.a) || (ra.where(n.b) != kNoReg && ra.mem_operand(n.a, &m)))) {
        compare_operands(w, n.b, n.a);
        return kMirrored[n.sub];
    }
    compare_operands(w, n.a, n.b);
    return kCmpCc[n.sub];
}

/// Computes flags that are emitted where they are needed.
void Selector::emit_flags(Ref f) {
    const Inst& n = inst(f);
    const bool w = n.type == Type::kI64;
    // What EFLAGS said of an earlier result is gone (flags_changed), unless it is just what is wanted.
    if (n.op == Op::kFlSub) {
        flags_changed();
        compare_operands(w, n.a, n.b);
        set_eflags(f, Form::kSub);
    } else if (n.op == Op::kFlAdd) {
        flags_changed();
        const Gpr t = ra.temp();  // not use_copy: the instruction that needs the flags may need the operand too
        ra.copy_to(t, n.a);
        alu_with(Alu::add, w, t, n.b);
        set_eflags(f, Form::kAdd);
    } else {
        const Ref a = values_[n.a].root;
        if (eflags_of_ != a || !eflags_logic_ || inst(a).type != n.type) {
            flags_changed();
            test_operand(w, n.a, false);
        }
        set_eflags(f, Form::kAdd);
    }
}

/// ax = raw flags of a value that is not in EFLAGS; then EFLAGS.
void Selector::raw_to_rax() {
    e.alu8_ri(Alu::add, Gpr::rax, 0x7f);
    e.sahf();
}

void Selector::ensure_eflags(Ref f) {
    if (eflags_ == f) return;
    if (lazy(f)) {
        emit_flags(f);
        return;
    }
    ra.copy_to(Gpr::rax, f);
    raw_to_rax();
    flags_changed();
    set_eflags(f, Form::kSub);
}

/// Keeps what EFLAGS hold, when making `f` available there changes them; frees rax when that is needed.
void Selector::prepare_flags(Ref f) {
    f = values_[f].root;
    if (eflags_ == f) {
        if (eflags_form_ != Form::kSub && eflags_form_ != Form::kAdd) ra.fixed(Gpr::rax);
        return;
    }
    keep_flags();
    if (!lazy(f)) ra.fixed(Gpr::rax);
}

void Selector::prepare_condition(Ref c) {
    if ((values_[c].marks & Value::kFused) && inst(c).op == Op::kCond && inst(c).sub != static_cast<uint8_t>(Cond::kAl))
        prepare_flags(inst(c).a);
    else
        keep_flags();
}

/// The condition can be read from what EFLAGS hold now.
bool Selector::uses_eflags(Ref c) const {
    if (!(values_[c].marks & Value::kFused)) return false;
    const Inst& n = inst(c);
    if (n.op == Op::kCond) return eflags_ == values_[n.a].root || !lazy(values_[n.a].root);
    return eflags_of_ != kNoRef && eflags_of_ == values_[n.a].root && ra.is_const(n.b);
}

Cc Selector::condition(Ref c) {
    const Inst& n = inst(c);
    if (values_[c].marks & Value::kFused) return n.op == Op::kCmp ? compare_for(n) : cond_of(values_[n.a].root, static_cast<Cond>(n.sub));
    flags_changed();
    Mem m;
    if (ra.mem_operand(c, &m)) {
        e.alu_mi(Alu::cmp, false, m, 0);
    } else {
        const Gpr r = ra.use(c);
        e.test_rr(false, r, r);
    }
    return Cc::ne;
}

Cc Selector::cond_of(Ref f, Cond cc) {
    const unsigned k = static_cast<unsigned>(cc);
    if (cc == Cond::kAl) {
        e.alu_rr(Alu::cmp, false, Gpr::rbp, Gpr::rbp);
        flags_changed();
        return kAlways;
    }
    if (eflags_ != f && !lazy(f) && cc < Cond::kGe) {  // one or two bits of the raw form say it
        flags_changed();
        Mem m;
        if (ra.mem_of_value(f, &m) && ra.where(f) == kNoReg) {
            const bool high = kCondMask[k] != kRawV;
            e.test8_mi(m.plus(high ? 1 : 0), static_cast<uint8_t>(high ? kCondMask[k] >> 8 : kCondMask[k]));
        } else {
            e.test_ri(false, ra.use(f), static_cast<int32_t>(kCondMask[k]));
        }
        return kCondTest[k];
    }
    ensure_eflags(f);
    switch (eflags_form_) {
        case Form::kFcmp:
            if (cc == Cond::kVs || cc == Cond::kVc) return cc == Cond::kVs ? Cc::p : Cc::np;
            if (cc >= Cond::kGe) {
                constexpr Cc kSigned[] = {Cc::ae, Cc::b, Cc::a, Cc::be};
                return kSigned[k - static_cast<unsigned>(Cond::kGe)];
            }
            if (values_[f].uses == 1) {
                ordered_form();
                return kOrderedCc[k];
            }
            to_sub_form();
            break;
        case Form::kFcmpSwapped:
            if (cc == Cond::kMi) return Cc::a;
            if (cc == Cond::kPl) return Cc::be;
            if (cc == Cond::kLs) return Cc::ae;
            if (cc == Cond::kHi) return Cc::b;
            to_sub_form();
            break;
        case Form::kAdd:
            if (cc == Cond::kCs) return Cc::b;
            if (cc == Cond::kCc) return Cc::ae;
            if (cc == Cond::kHi || cc == Cond::kLs) to_sub_form();
            break;
        case Form::kSub:
        case Form::kFcmpOrdered: break;
    }
    return kSubCc[k];
}

/// The raw form in a register.
Gpr Selector::raw_gpr(Ref f) {
    f = values_[f].root;
    if (values_[f].reg != kNoReg || values_[f].mem != Value::kNoMem) return ra.use(f);
    ra.fixed(Gpr::rax);
    ensure_eflags(f);
    save_raw();
    ra.def_in(f, Gpr::rax);
    return Gpr::rax;
}

void Selector::set_flags_slot(unsigned slot, Ref f) {
    f = values_[f].root;
    if (ra.slot_holds(slot) == f) return;
    const Mem m = ra.slot_mem(slot);
    const Inst& n = inst(f);
    uint64_t k = 0;
    ra.before_store(slot, f);
    if (n.op == Op::kFlPack && ra.is_const(n.a, &k) && values_[f].reg == kNoReg) {
        e.mov16_mi(m, static_cast<uint16_t>(raw_from_nzcv(static_cast<uint32_t>(k))));
    } else if (eflags_ == f || (lazy(f) && values_[f].reg == kNoReg)) {
        if (eflags_ != f) keep_flags();
        ra.fixed(Gpr::rax);
        if (eflags_ != f) emit_flags(f);
        save_raw();
        e.mov16_mr(m, Gpr::rax);
    } else {
        e.mov16_mr(m, ra.use(f));
    }
    ra.stored(slot, f);
}

void Selector::select_flags(Ref i) {
    const Inst& n = inst(i);
    switch (n.op) {
        case Op::kFlSub:
        case Op::kFlAdd:
        case Op::kFlLogic: return;  // where they are needed
        case Op::kFlAdc: {
            if (values_[i].marks & Value::kPaired) return;
            const bool w = n.type == Type::kI64;
            clobber_flags();
            const Gpr t = ra.use_copy(n.a);
            e.bt_ri(false, ra.use(n.c), 0);
            alu_with(Alu::adc, w, t, n.b);
            set_eflags(i, Form::kAdd);
            return;
        }
        case Op::kFlFcmp: fcmp_flags(i); return;
        case Op::kFlPack: pack_nzcv(i); return;
        case Op::kFlUnpack: unpack_nzcv(i); return;
        case Op::kFlCcmp: ccmp(i); return;
        case Op::kFlSel: flag_select(i); return;
        case Op::kCond: {
            if (n.sub == static_cast<uint8_t>(Cond::kAl)) {
                e.mov_ri(ra.def(i), 1);
                return;
            }
            prepare_flags(n.a);
            const Cc cc = cond_of(values_[n.a].root, static_cast<Cond>(n.sub));
            const Gpr d = ra.def_over(i);
            e.setcc(cc, d);
            e.movzx8_rr(d, d);
            return;
        }
        default: return;
    }
}

/// The comparison is done only when the condition on the earlier flags holds; else the flags are a constant.
void Selector::ccmp(Ref i) {
    const Inst& n = inst(i);
    const bool w = n.type == Type::kI64;
    const bool add = n.imm & 0x10;
    prepare_flags(n.a);
    keep_flags();
    ra.fixed(Gpr::rax);
    const Gpr b = add ? ra.use_copy(n.b) : ra.use(n.b);
    int32_t k = 0;
    const bool is_imm = imm32_of(n.c, w, &k);
    const Gpr c = is_imm ? Gpr::rax : ra.use(n.c);
    const Alu op = add ? Alu::add : Alu::cmp;
    if (n.sub == static_cast<uint8_t>(Cond::kAl)) {
        is_imm ? e.alu_ri(op, w, b, k) : e.alu_rr(op, w, b, c);
        flags_changed();
        set_eflags(i, add ? Form::kAdd : Form::kSub);
        return;
    }
    const Cc cc = cond_of(values_[n.a].root, static_cast<Cond>(n.sub));
    Cold& cold = cold_if(invert(cc), [](Selector& s, const Cold& self) {
        s.e.mov_ri(Gpr::rax, self.data[0]);
        s.e.alu8_ri(Alu::add, Gpr::rax, 0x7f);
        s.e.sahf();
        s.e.jmp_to(self.back);
    });
    const uint32_t raw = raw_from_nzcv(static_cast<uint32_t>(n.imm & 15) << 28);
    cold.data[0] = add ? raw ^ kRawBorrow : raw;
    is_imm ? e.alu_ri(op, w, b, k) : e.alu_rr(op, w, b, c);
    cold.back = e.offset();
    flags_changed();
    set_eflags(i, add ? Form::kAdd : Form::kSub);
}

void Selector::fcmp_flags(Ref i) {
    const Inst& n = inst(i);
    clobber_flags();
    const bool signal = n.sub & ir::kFcmpSignal;
    if (f_->fp_exact || (n.type == Type::kF16 && !host().f16c)) {
        ra.save_for_call(false);
        e.store128a(vscratch_mem(0), ra.use_x(n.a));
        e.store128a(vscratch_mem(1), ra.use_x(n.b));
        const auto op = std::bit_cast<ir::V128>(ir::lane_op(*f_, n, n.type));
        const Xmm t = ra.temp_x();
        e.load128a(t, e.literal_mem(op.u64[0], op.u64[1]));
        e.store128a(vscratch_mem(2), t);
        ra.forget_scratch(false);
        hot_soft_call(RtHelper::lane_flags, 0);
        const Gpr d = ra.fixed(Gpr::rax);
        e.mov_rm(false, d, vscratch_mem(0));
        ra.def_in(i, d);
        return;
    }
    Xmm a = ra.use_x(n.a);
    Xmm b = ra.use_x(n.b);
    if (n.type == Type::kF16) {
        const Xmm ta = ra.temp_x(), tb = ra.temp_x();
        widen_half(*this, ta, a);
        widen_half(*this, tb, b);
        a = ta, b = tb;
    }
    // Conditions that are true or false for "unordered" the other way round read the swapped comparison directly.
    const Value& v = values_[i];
    bool swap = false;
    if (v.uses == 1 && v.user != kNoRef && inst(v.user).op == Op::kCond) {
        const Cond cc = static_cast<Cond>(inst(v.user).sub);
        swap = cc == Cond::kMi || cc == Cond::kPl || cc == Cond::kLs || cc == Cond::kHi;
    }
    if (swap) std::swap(a, b);
    if (n.type == Type::kF64)
        e.vop(signal ? SseOp::comisd : SseOp::ucomisd, a, b);
    else
        e.vop(signal ? SseOp::comiss : SseOp::ucomiss, a, b);
    if (v.uses != 0) set_eflags(i, swap ? Form::kFcmpSwapped : Form::kFcmp);
}

void Selector::flag_select(Ref i) {
    const Inst& n = inst(i);
    // What EFLAGS hold first: the other may have to be made there.
    const bool c_first = eflags_ == values_[n.c].root;
    if (!c_first && eflags_ != values_[n.b].root) keep_flags();
    raw_gpr(c_first ? n.c : n.b);
    keep_flags();
    ra.unlock();
    raw_gpr(c_first ? n.b : n.c);
    flags_changed();
    ra.unlock();
    const Gpr t = ra.temp();
    ra.copy_to(t, n.c);
    const Gpr on = ra.use(n.a);
    e.test_rr(false, on, on);
    e.cmov(Cc::ne, false, t, ra.use(n.b));
    ra.def_in(i, t);
}

/// NZCV in bits 31..28 to the raw form.
void Selector::pack_nzcv(Ref i) {
    const Inst& n = inst(i);
    uint64_t k = 0;
    if (ra.is_const(n.a, &k)) {
        e.mov_ri(ra.def(i), raw_from_nzcv(static_cast<uint32_t>(k)));
        return;
    }
    clobber_flags();
    const Gpr a = ra.use(n.a);
    const Gpr t = ra.temp();
    const Gpr d = ra.def(i);
    e.mov_rr(false, d, a);
    e.shift_ri(Shift::shr, false, d, 16);
    e.alu_ri(Alu::and_, false, d, kRawN | kRawZ);
    e.mov_rr(false, t, a);
    e.shift_ri(Shift::shr, false, t, 28);
    e.alu_ri(Alu::and_, false, t, kRawV);
    e.alu_rr(Alu::or_, false, d, t);
    e.mov_rr(false, t, a);
    e.not_r(false, t);
    e.shift_ri(Shift::shr, false, t, 21);
    e.alu_ri(Alu::and_, false, t, kRawBorrow);
    e.alu_rr(Alu::or_, false, d, t);
}

void Selector::unpack_nzcv(Ref i) {
    const Inst& n = inst(i);
    const Ref f = values_[n.a].root;
    if (eflags_ != f) keep_flags();
    const Gpr a = raw_gpr(f);
    flags_changed();
    const Gpr t = ra.temp();
    const Gpr d = ra.def(i);
    e.mov_rr(false, d, a);
    e.alu_ri(Alu::and_, false, d, kRawN | kRawZ);
    e.shift_ri(Shift::shl, false, d, 16);
    e.mov_rr(false, t, a);
    e.alu_ri(Alu::and_, false, t, kRawV);
    e.shift_ri(Shift::shl, false, t, 28);
    e.alu_rr(Alu::or_, false, d, t);
    e.mov_rr(false, t, a);
    e.not_r(false, t);
    e.alu_ri(Alu::and_, false, t, kRawBorrow);
    e.shift_ri(Shift::shl, false, t, 21);
    e.alu_rr(Alu::or_, false, d, t);
}

}  // namespace myna::x64
