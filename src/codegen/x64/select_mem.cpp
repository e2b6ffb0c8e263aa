// Selection of guest memory accesses and atomics.
//
// User mode: a guest address is a host address, relative to GS when guest_base is not 0. A fault is the guest's; the
// fault table says which instruction. System mode: see select_softmmu.cpp.
//
//   ll        load, then excl_addr = address, excl_value = value
//   sc        address == excl_addr && lock cmpxchg(excl_value → new) ? 0 : 1
//   rmw       xadd and xchg where there is one, else a cmpxchg loop around rax
//   16 bytes  cmpxchg16b: rdx:rax against rcx:rbx
#include "codegen/x64/selector.h"

namespace myna::x64 {

using ir::MemAttr;

namespace {
constexpr unsigned size_of(uint8_t attr) { return attr & MemAttr::kSizeMask; }
}  // namespace

void Selector::fault_point() {
    out_->faults.push_back({e.offset(), static_cast<uint32_t>(out_->guest_pcs.size() - 1), FlagForm::kState});
}

Mem Selector::address(Ref a, uint64_t disp) {
    Mem m;
    m.gs = opt_.guest_base != 0;
    int64_t d = static_cast<int64_t>(disp);
    Ref base = a;
    if ((values_[a].marks & Value::kFused) && inst(a).op == Op::kAdd) {
        const Inst& n = inst(a);
        base = n.a;
        uint64_t k = 0;
        if (ra.is_const(n.b, &k)) {
            d = static_cast<int64_t>(static_cast<uint64_t>(d) + k);
        } else if ((values_[n.b].marks & Value::kFused) && inst(n.b).op == Op::kShl) {
            m.index = static_cast<uint8_t>(ra.use(inst(n.b).a));
            ra.is_const(inst(n.b).b, &k);
            m.scale = static_cast<uint8_t>(k);
        } else {
            m.index = static_cast<uint8_t>(ra.use(n.b));
        }
    }
    uint64_t k = 0;
    if (ra.is_const(base, &k)) {
        const uint64_t sum = k + static_cast<uint64_t>(d);
        if (fits_i32(static_cast<int64_t>(sum))) {
            m.disp = static_cast<int32_t>(sum);
            return m;
        }
        const Gpr t = ra.temp();
        e.mov_ri(t, sum);
        m.base = static_cast<uint8_t>(t);
        return m;
    }
    const Gpr b = ra.use(base);
    m.base = static_cast<uint8_t>(b);
    if (fits_i32(d)) {
        m.disp = static_cast<int32_t>(d);
        return m;
    }
    const Gpr t = ra.temp();
    e.mov_ri(t, static_cast<uint64_t>(d));
    e.lea(true, t, Mem::at(t, b, 0));
    m.base = static_cast<uint8_t>(t);
    return m;
}

Mem Selector::atomic_address(const Inst& n) {
    const Mem m = address(n.a, n.imm);
    if (!opt_.system_mode) return m;
    size_t cold = 0;
    return probe(m, n, n.op != Op::kLl, &cold);
}

/// The operand with base and index added up in one scratch register, which the caller owns. The registers it was made
/// of may be taken for other values then.
Mem Selector::one_register(Mem m) {
    Mem plain = m;
    plain.gs = false;
    const Gpr t = ra.temp();
    e.lea(true, t, plain);
    if (m.base != Mem::kNone) ra.release(static_cast<Gpr>(m.base));
    if (m.index != Mem::kNone) ra.release(static_cast<Gpr>(m.index));
    Mem r = Mem::at(t);
    r.gs = m.gs;
    return r;
}

/// The result from `s`, of 1 << size bytes, extended to the instruction's type into `d`.
void Selector::extend_loaded(Ref i, Gpr d, Gpr s, unsigned size, bool sign) {
    const bool w = inst(i).type == Type::kI64;
    switch (size) {
        case 0: sign ? e.movsx8_rr(w, d, s) : e.movzx8_rr(d, s); return;
        case 1: sign ? e.movsx16_rr(w, d, s) : e.movzx16_rr(d, s); return;
        case 2: sign && w ? e.movsxd_rr(d, s) : e.mov_rr(false, d, s); return;
        default:
            if (d != s) e.mov_rr(true, d, s);
            return;
    }
}

/// The low 1 << size bytes of `r` in reverse order, zero above.
void Selector::swap_bytes(Gpr r, unsigned size) {
    if (size == 0) return;
    e.bswap(size == 3, r);
    if (size == 1) e.shift_ri(Shift::shr, false, r, 16);
}

void Selector::swap_bytes(Xmm d, Xmm s) {
    e.vop(SseOp::pshufb, d, s, e.literal_mem(0x08090a0b0c0d0e0f, 0x0001020304050607));
}

void Selector::select_mem(Ref i) {
    if (opt_.system_mode) clobber_flags();  // the probe compares
    switch (inst(i).op) {
        case Op::kLoad: opt_.system_mode ? softmmu_load(i) : load(i); return;
        case Op::kStore: opt_.system_mode ? softmmu_store(i) : store(i); return;
        case Op::kLl: clobber_flags(); load_link(i); return;
        case Op::kSc: clobber_flags(); store_conditional(i); return;
        case Op::kCas: clobber_flags(); cas(i); return;
        case Op::kFence:
            if (inst(i).imm != 1) return;
            clobber_flags();
            e.lock();
            e.alu_mi(Alu::or_, false, Mem::at(Gpr::rsp, kFrameBytes), 0);  // the frame's padding; cheaper than mfence
            return;
        default: clobber_flags(); rmw(i); return;
    }
}

void Selector::load(Ref i) {
    const Inst& n = inst(i);
    // Two bytes are swapped by a shift; flags that are wanted leave before an operand is in a register.
    if ((n.sub & MemAttr::kBig) && (n.sub & MemAttr::kSizeMask) == 1) clobber_flags();
    const Mem m = address(n.a, n.imm);
    load_from(i, m);
}

/// The load itself: host memory to the result.
void Selector::load_from(Ref i, Mem m) {
    const Inst& n = inst(i);
    const unsigned size = size_of(n.sub);
    const bool big = n.sub & MemAttr::kBig;
    const bool sign = n.sub & MemAttr::kSigned;
    const bool w = n.type == Type::kI64;
    if (!in_xmm(n.type)) {
        const Gpr d = ra.def_over(i);
        fault_point();
        if (big && size != 0) {
            if (host().movbe && size >= 2) {
                e.movbe_rm(size == 3, d, m);
            } else {
                size == 1 ? e.movzx16_rm(d, m) : e.mov_rm(size == 3, d, m);
                if (size == 1) {
                    e.bswap(false, d);
                    e.shift_ri(Shift::shr, false, d, 16);
                } else {
                    e.bswap(size == 3, d);
                }
            }
            if (sign && size < 3) extend_loaded(i, d, d, size, true);
            return;
        }
        switch (size) {
            case 0: sign ? e.movsx8_rm(w, d, m) : e.movzx8_rm(d, m); return;
            case 1: sign ? e.movsx16_rm(w, d, m) : e.movzx16_rm(d, m); return;
            case 2: sign && w ? e.movsxd_rm(d, m) : e.mov_rm(false, d, m); return;
            default: e.mov_rm(w, d, m); return;
        }
    }
    if (big && n.type != Type::kV128) {
        const Gpr t = ra.temp();
        const Xmm d = ra.def_over_x(i);
        fault_point();
        if (n.type == Type::kF16) {
            e.movzx16_rm(t, m);
            e.bswap(false, t);
            e.shift_ri(Shift::shr, false, t, 16);
        } else {
            e.mov_rm(n.type == Type::kF64, t, m);
            e.bswap(n.type == Type::kF64, t);
        }
        e.mov_xg(n.type == Type::kF64, d, t);
        return;
    }
    switch (n.type) {
        case Type::kF16: {
            const Gpr t = ra.temp();
            const Xmm d = ra.def_over_x(i);
            fault_point();
            e.movzx16_rm(t, m);
            e.mov_xg(false, d, t);
            return;
        }
        case Type::kF32: {
            const Xmm d = ra.def_over_x(i);
            fault_point();
            e.load32(d, m);
            return;
        }
        case Type::kF64: {
            const Xmm d = ra.def_over_x(i);
            fault_point();
            e.load64(d, m);
            return;
        }
        default: {
            const Xmm d = ra.def_over_x(i);
            fault_point();
            e.load128(d, m);
            if (big) e.vop(SseOp::pshufb, d, d, e.literal_mem(0x08090a0b0c0d0e0f, 0x0001020304050607));
            return;
        }
    }
}

void Selector::store(Ref i) {
    const Inst& n = inst(i);
    if (n.sub & MemAttr::kBig) clobber_flags();
    if (n.sub & MemAttr::kSeqCst) clobber_flags();
    const Mem m = address(n.a, n.imm);
    store_to(i, m);
}

void Selector::store_to(Ref i, Mem m) {
    const Inst& n = inst(i);
    const unsigned size = size_of(n.sub);
    const bool big = (n.sub & MemAttr::kBig) && size != 0;
    const bool ordered = n.sub & MemAttr::kSeqCst;
    const Ref v = values_[n.b].root;
    const Type t = values_[v].type;
    if (!in_xmm(t)) {
        uint64_t k = 0;
        if (!big && !ordered && ra.is_const(v, &k) && values_[v].reg == kNoReg && (size < 3 || fits_i32(static_cast<int64_t>(k)))) {
            fault_point();
            switch (size) {
                case 0: e.mov8_mi(m, static_cast<uint8_t>(k)); return;
                case 1: e.mov16_mi(m, static_cast<uint16_t>(k)); return;
                default: e.mov_mi(size == 3, m, static_cast<int32_t>(k)); return;
            }
        }
        Gpr s = big || ordered ? ra.use_copy(v) : ra.use(v);
        if (big) {
            e.bswap(size == 3, s);
            if (size == 1) e.shift_ri(Shift::shr, false, s, 16);
        }
        fault_point();
        if (ordered) {
            e.xchg_mr(size, m, s);
            return;
        }
        switch (size) {
            case 0: e.mov8_mr(m, s); return;
            case 1: e.mov16_mr(m, s); return;
            default: e.mov_mr(size == 3, m, s); return;
        }
    }
    const Xmm x = ra.use_x(v);
    if ((big && size != 4) || size == 1 || (ordered && size != 4)) {
        const Gpr g = ra.temp();
        e.mov_gx(size == 3, g, x);
        if (big) {
            e.bswap(size == 3, g);
            if (size == 1) e.shift_ri(Shift::shr, false, g, 16);
        }
        fault_point();
        if (ordered)
            e.xchg_mr(size, m, g);
        else if (size == 1)
            e.mov16_mr(m, g);
        else
            e.mov_mr(size == 3, m, g);
        return;
    }
    Xmm s = x;
    if (big) {
        s = ra.temp_x();
        e.vop(SseOp::pshufb, s, x, e.literal_mem(0x08090a0b0c0d0e0f, 0x0001020304050607));
    }
    fault_point();
    if (size == 2)
        e.store32(m, s);
    else if (size == 3)
        e.store64(m, s);
    else
        e.store128(m, s);
    if (ordered) {
        e.lock();
        e.alu_mi(Alu::or_, false, Mem::at(Gpr::rsp, kFrameBytes), 0);
    }
}

void Selector::load_link(Ref i) {
    const Inst& n = inst(i);
    const Mem m = one_register(atomic_address(n));
    const Gpr addr = static_cast<Gpr>(m.base);
    const unsigned size = size_of(n.sub);
    const bool big = n.sub & MemAttr::kBig;
    if (n.type == Type::kV128) {
        const Xmm d = ra.def_x(i);
        fault_point();
        e.load128(d, m);
        e.mov_mr(true, MYNA_HDR(excl_addr), addr);
        e.store128(MYNA_HDR(excl_value), d);
        if (big) swap_bytes(d, d);
        return;
    }
    const Gpr d = ra.def(i);
    fault_point();
    size == 0 ? e.movzx8_rm(d, m) : size == 1 ? e.movzx16_rm(d, m) : e.mov_rm(size == 3, d, m);
    e.mov_mr(true, MYNA_HDR(excl_addr), addr);
    e.mov_mr(true, MYNA_HDR(excl_value), d);
    if (big) swap_bytes(d, size);
    if (n.sub & MemAttr::kSigned) extend_loaded(i, d, d, size, true);
}

void Selector::store_conditional(Ref i) {
    const Inst& n = inst(i);
    const unsigned size = size_of(n.sub);
    const bool wide = size == 4;
    const bool big = n.sub & MemAttr::kBig;
    Mem m;
    if (wide) {
        m = address_beside_quads(n);
    } else {
        ra.fixed(Gpr::rax);
        m = one_register(atomic_address(n));
    }
    const Gpr addr = static_cast<Gpr>(m.base);
    Gpr v = Gpr::rbx;
    if (wide) {
        const Xmm x = big ? ra.use_copy_x(n.b) : ra.use_x(n.b);
        if (big) swap_bytes(x, x);
        e.mov_gx(true, Gpr::rbx, x);
        e.pextrq(Gpr::rcx, x, 1);
    } else if (in_xmm(values_[values_[n.b].root].type)) {
        v = ra.temp();
        e.mov_gx(size == 3, v, ra.use_x(n.b));
        if (big) swap_bytes(v, size);
    } else {
        v = big ? ra.use_copy(n.b) : ra.use(n.b);
        if (big) swap_bytes(v, size);
    }
    e.alu_rm(Alu::cmp, true, addr, MYNA_HDR(excl_addr));
    const uint32_t other = e.jcc8(Cc::ne);
    e.mov_rm(true, Gpr::rax, MYNA_HDR(excl_value));
    if (wide) e.mov_rm(true, Gpr::rdx, MYNA_HDR(excl_value).plus(8));
    fault_point();
    e.lock();
    wide ? e.cmpxchg16b(m) : e.cmpxchg(size, m, v);
    e.bind8(other);
    e.mov_mi(true, MYNA_HDR(excl_addr), -1);
    e.setcc(Cc::ne, Gpr::rax);
    e.movzx8_rr(Gpr::rax, Gpr::rax);
    ra.def_in(i, Gpr::rax);
}

void Selector::cas(Ref i) {
    const Inst& n = inst(i);
    const unsigned size = size_of(n.sub);
    if (size == 4) {
        cas16(i);
        return;
    }
    ra.fixed(Gpr::rax);
    const Mem m = atomic_address(n);
    const bool big = n.sub & MemAttr::kBig;
    const Gpr c = big ? ra.use_copy(n.c) : ra.use(n.c);
    ra.copy_to(Gpr::rax, n.b);
    if (big) swap_bytes(c, size), swap_bytes(Gpr::rax, size);
    fault_point();
    e.lock();
    e.cmpxchg(size, m, c);
    if (big) swap_bytes(Gpr::rax, size);
    if (size < 3) extend_loaded(i, Gpr::rax, Gpr::rax, size, n.sub & MemAttr::kSigned);
    ra.def_in(i, Gpr::rax);
}

/// For cmpxchg16b: the address in rdi, the four registers it works on free.
Mem Selector::address_beside_quads(const Inst& n) {
    ra.fixed(Gpr::rdi);
    Mem m = atomic_address(n);
    const bool gs = m.gs;
    m.gs = false;
    e.lea(true, Gpr::rdi, m);
    ra.unlock();
    ra.lock(Gpr::rdi);
    ra.fixed(Gpr::rax), ra.fixed(Gpr::rdx), ra.fixed(Gpr::rcx), ra.fixed(Gpr::rbx);
    m = Mem::at(Gpr::rdi);
    m.gs = gs;
    return m;
}

void Selector::cas16(Ref i) {
    const Inst& n = inst(i);
    const Mem m = address_beside_quads(n);
    const bool big = n.sub & MemAttr::kBig;
    const Xmm old = big ? ra.use_copy_x(n.b) : ra.use_x(n.b);
    const Xmm wanted = big ? ra.use_copy_x(n.c) : ra.use_x(n.c);
    if (big) swap_bytes(old, old), swap_bytes(wanted, wanted);
    e.mov_gx(true, Gpr::rax, old);
    e.pextrq(Gpr::rdx, old, 1);
    e.mov_gx(true, Gpr::rbx, wanted);
    e.pextrq(Gpr::rcx, wanted, 1);
    fault_point();
    e.lock();
    e.cmpxchg16b(m);
    const Xmm d = ra.def_over_x(i);
    e.mov_xg(true, d, Gpr::rax);
    e.pinsrq(d, d, Gpr::rdx, 1);
    if (big) swap_bytes(d, d);
}

void Selector::rmw(Ref i) {
    const Inst& n = inst(i);
    const unsigned size = size_of(n.sub);
    const bool sign = n.sub & MemAttr::kSigned;
    const bool unused = values_[i].uses == 0;
    const bool big = (n.sub & MemAttr::kBig) && size != 0;
    if ((n.op == Op::kRmwAdd && !big) || n.op == Op::kRmwXchg) {
        const Mem m = atomic_address(n);
        const Gpr t = ra.use_copy(n.b);
        if (big) swap_bytes(t, size);
        fault_point();
        if (n.op == Op::kRmwAdd) {
            e.lock();
            e.xadd(size, m, t);
        } else {
            e.xchg_mr(size, m, t);
        }
        if (big) swap_bytes(t, size);
        if (size < 3) extend_loaded(i, t, t, size, sign);
        ra.def_in(i, t);
        return;
    }
    const bool arithmetic = n.op == Op::kRmwAnd || n.op == Op::kRmwOr || n.op == Op::kRmwXor || n.op == Op::kRmwAdd;
    const Alu op = n.op == Op::kRmwAnd ? Alu::and_ : n.op == Op::kRmwOr ? Alu::or_ : n.op == Op::kRmwXor ? Alu::xor_ : Alu::add;
    if (arithmetic && unused && !big) {
        const Mem m = atomic_address(n);
        const Gpr b = ra.use(n.b);
        fault_point();
        e.lock();
        e.alu_sized(op, size, m, b);
        return;
    }
    ra.fixed(Gpr::rax);
    Mem m = atomic_address(n);
    if (m.index != Mem::kNone) m = one_register(m);
    const Gpr t = ra.temp();
    Gpr b;
    const bool compare_signed = n.op == Op::kRmwSmin || n.op == Op::kRmwSmax;
    if (arithmetic) {
        b = ra.use(n.b);
    } else {
        b = ra.use_copy(n.b);
        widen(b, b, size, compare_signed);
    }
    fault_point();
    size == 0 ? e.movzx8_rm(Gpr::rax, m) : size == 1 ? e.movzx16_rm(Gpr::rax, m) : e.mov_rm(size == 3, Gpr::rax, m);
    const uint32_t again = e.offset();
    if (arithmetic || big) e.mov_rr(true, t, Gpr::rax);
    if (big) swap_bytes(t, size);
    if (arithmetic) {
        e.alu_rr(op, size == 3, t, b);
    } else {
        widen(t, big ? t : Gpr::rax, size, compare_signed);
        e.alu_rr(Alu::cmp, size == 3, t, b);
        const Cc take = n.op == Op::kRmwSmin ? Cc::g : n.op == Op::kRmwSmax ? Cc::l : n.op == Op::kRmwUmin ? Cc::a : Cc::b;
        e.cmov(take, size == 3, t, b);
    }
    if (big) {
        if (size == 1) e.movzx16_rr(t, t);
        swap_bytes(t, size);
    }
    fault_point();
    e.lock();
    e.cmpxchg(size, m, t);
    e.jcc8_to(Cc::ne, again);
    if (big) swap_bytes(Gpr::rax, size);
    if (size < 3) extend_loaded(i, Gpr::rax, Gpr::rax, size, sign);
    ra.def_in(i, Gpr::rax);
}

/// d = the low 1 << size bytes of s, extended so that whole registers compare right.
void Selector::widen(Gpr d, Gpr s, unsigned size, bool sign) {
    switch (size) {
        case 0: sign ? e.movsx8_rr(false, d, s) : e.movzx8_rr(d, s); return;
        case 1: sign ? e.movsx16_rr(false, d, s) : e.movzx16_rr(d, s); return;
        default:
            if (d != s) e.mov_rr(true, d, s);
    }
}

}  // namespace myna::x64
