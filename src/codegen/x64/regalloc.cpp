// The register allocator's bodies; regalloc.h tells how it works.
#include "codegen/x64/regalloc.h"

namespace myna::x64 {

namespace {
constexpr uint32_t mask_of(std::span<const Gpr> g) {
    uint32_t m = 0;
    for (Gpr r : g) m |= 1u << reg_of(r);
    return m;
}
constexpr uint32_t mask_of(std::span<const Xmm> x) {
    uint32_t m = 0;
    for (Xmm r : x) m |= 1u << reg_of(r);
    return m;
}
constexpr uint32_t kScratchMask = mask_of(kScratchGprs) | mask_of(kScratchXmms);
}  // namespace

void RegAlloc::begin(const ir::Function& f, Value* values, const std::array<uint32_t, 32>& first_set) {
    pinned_until_ = first_set;
    f_ = &f;
    val_ = values;
    cur_ = 0;
    locked_ = 0;
    failed_ = false;
    if (log_ != nullptr) log_->clear();
    holder_.fill(kNoRef);
    std::fill_n(slot_holds_.begin(), arch_.slots.size(), kNoRef);
    spill_owner_.fill(kNoRef);
}

Mem RegAlloc::mem_of(const Value& v) const {
    return v.mem >= 0 ? Mem::at(Gpr::rsp, v.mem * 8) : slot_mem(static_cast<unsigned>(-2 - v.mem));
}

void RegAlloc::move(Reg d, Reg s) {
    if (d == s) return;
    note(AllocNote::kMove, d);
    if (d < 16)
        e_.mov_rr(true, static_cast<Gpr>(d), static_cast<Gpr>(s));
    else
        e_.mov_xx(static_cast<Xmm>(d - 16), static_cast<Xmm>(s - 16));
}

/// Puts the value, which is in memory or a constant, into `d`; changes no tables.
void RegAlloc::load(Reg d, Ref v) {
    const Value& val = val_[v];
    const ir::Inst& i = (*f_)[v];
    note(AllocNote::kMove, d);
    if (val.mem != Value::kNoMem) {
        const Mem m = mem_of(val);
        if (d < 16) {
            // A kI32 guest slot is 4 bytes; everything else, spills included, is 8.
            e_.mov_rm(val.mem >= 0 || arch_.slots[static_cast<unsigned>(-2 - val.mem)].type == Type::kI64, static_cast<Gpr>(d), m);
        } else {
            const Xmm x = static_cast<Xmm>(d - 16);
            if (val.type == Type::kV128)
                e_.load128a(x, m);
            else if (val.type == Type::kF64 || (val.mem >= 0 && (val.marks & Value::kBoxed)))
                e_.load64(x, m);
            else if (val.type == Type::kF32 || val.mem >= 0)
                e_.load32(x, m);
            else
                failed_ = true;
        }
        return;
    }
    if (i.op == ir::Op::kConst) {
        if (d < 16) {
            e_.mov_ri(static_cast<Gpr>(d), i.type == Type::kI32 ? static_cast<uint32_t>(i.imm) : i.imm);
        } else {
            const Xmm x = static_cast<Xmm>(d - 16);
            const uint64_t bits = i.type == Type::kF64 ? i.imm : i.type == Type::kF32 ? static_cast<uint32_t>(i.imm) : static_cast<uint16_t>(i.imm);
            if (bits == 0)
                e_.vzero(x);
            else
                e_.load128a(x, e_.literal_mem(bits, 0));
        }
        return;
    }
    if (i.op == ir::Op::kVConst) {
        const Xmm x = static_cast<Xmm>(d - 16);
        const ir::V128& c = f_->vconsts[i.imm];
        if ((c.u64[0] | c.u64[1]) == 0)
            e_.vzero(x);
        else if ((c.u64[0] & c.u64[1]) == ~uint64_t{0})
            e_.vop(SseOp::pcmpeqd, x, x, x);
        else
            e_.load128a(x, e_.literal_mem(c.u64[0], c.u64[1]));
        return;
    }
    failed_ = true;  // a value without a place: the sweep and selection disagree
}

/// `g` becomes the value's register (scratch: its owner; pinned: the slot's new value).
void RegAlloc::own(Reg g, Ref v) {
    holder_[g] = v;
    val_[v].reg = g;
    locked_ |= 1u << g;
}

int16_t RegAlloc::alloc_spill(bool wide, Ref v) {
    auto is_free = [&](unsigned s) { return spill_owner_[s] == kNoRef || val_[spill_owner_[s]].last_use < cur_; };
    for (unsigned s = 0; s < kSpillSlots; s += wide ? 2 : 1) {
        if (!is_free(s) || (wide && !is_free(s + 1))) continue;
        spill_owner_[s] = v;
        if (wide) spill_owner_[s + 1] = v;
        return static_cast<int16_t>(s);
    }
    failed_ = true;
    return 0;
}

/// Gives the value in a register a place in memory too, unless it has one or needs none.
void RegAlloc::spill(Ref v) {
    Value& val = val_[v];
    const ir::Inst& i = (*f_)[v];
    if (val.mem != Value::kNoMem || i.op == ir::Op::kConst || i.op == ir::Op::kVConst) return;
    val.mem = alloc_spill(val.type == Type::kV128, v);
    const Mem m = mem_of(val);
    if (val.reg < 16) {
        e_.mov_mr(true, m, static_cast<Gpr>(val.reg));
    } else {
        const Xmm x = static_cast<Xmm>(val.reg - 16);
        if (val.type == Type::kV128)
            e_.store128a(m, x);
        else
            e_.store64(m, x);
    }
}

/// The register's content is of no use any more.
void RegAlloc::forget(Reg g) {
    const Ref v = holder_[g];
    if (v != kNoRef && val_[v].reg == g) val_[v].reg = kNoReg;
    holder_[g] = kNoRef;
}

/// Frees a scratch register.
void RegAlloc::evict(Reg g) {
    const Ref v = holder_[g];
    if (v != kNoRef && val_[v].reg == g && val_[v].last_use >= cur_) spill(v);
    forget(g);
}

Reg RegAlloc::alloc(bool xmm, uint32_t until) {
    Reg best = kNoReg;
    uint32_t best_score = 0;
    auto consider = [&](Reg g) {
        if (locked_ >> g & 1) return false;
        const Ref v = holder_[g];
        if (v == kNoRef || val_[v].last_use < cur_ || val_[v].reg != g) {
            forget(g);
            best = g;
            return true;
        }
        // Values that have another place are cheap to give up.
        const ir::Op op = (*f_)[v].op;
        const bool cheap = val_[v].mem != Value::kNoMem || op == ir::Op::kConst || op == ir::Op::kVConst;
        const uint32_t score = val_[v].last_use + (cheap ? 1u << 20 : 0) + 1;
        if (score > best_score) best = g, best_score = score;
        return false;
    };
    if (xmm) {
        for (Xmm x : kScratchXmms)
            if (consider(reg_of(x))) break;
    } else {
        for (Gpr g : kScratchGprs)
            if (consider(reg_of(g))) break;
    }
    if (best_score != 0 && (best == kNoReg || holder_[best] != kNoRef)) {  // none is free: an idle pinned one may be
        for (uint32_t m = layout_.pinned & (xmm ? 0xffff0000u : 0xffffu) & ~locked_; m; m &= m - 1) {
            const Reg g = static_cast<Reg>(__builtin_ctz(m));
            const Ref v = holder_[g];
            if (!idle(g) || pinned_until_[g] < until || (v != kNoRef && val_[v].reg == g && val_[v].last_use >= cur_)) continue;
            forget(g);
            note(AllocNote::kOwn, g);
            locked_ |= 1u << g;
            return g;
        }
    }
    if (best == kNoReg) {  // an instruction asks for more than there are
        failed_ = true;
        return xmm ? reg_of(kScratchXmms[0]) : reg_of(kScratchGprs[0]);
    }
    note(AllocNote::kOwn, best);
    evict(best);
    locked_ |= 1u << best;
    return best;
}

void RegAlloc::take(Reg g) {
    const Ref v = holder_[g];
    note(AllocNote::kOwn, g);
    locked_ |= 1u << g;
    if (v == kNoRef) return;
    if (val_[v].last_use < cur_ || val_[v].reg != g) {
        forget(g);
        return;
    }
    // To another scratch register when one is free, else to memory.
    auto is_free = [&](Reg t) {
        return !(locked_ >> t & 1) && (holder_[t] == kNoRef || val_[holder_[t]].last_use < cur_);
    };
    const ir::Op op = (*f_)[v].op;
    if (val_[v].mem == Value::kNoMem && op != ir::Op::kConst && op != ir::Op::kVConst) {
        Reg to = kNoReg;
        if (g < 16) {
            for (Gpr t : kScratchGprs)
                if (is_free(reg_of(t))) to = reg_of(t);
        } else {
            for (Xmm t : kScratchXmms)
                if (is_free(reg_of(t))) to = reg_of(t);
        }
        if (to != kNoReg) {
            forget(to);
            move(to, g);
            holder_[to] = v;
            val_[v].reg = to;
            holder_[g] = kNoRef;
            return;
        }
    }
    evict(g);
}

Reg RegAlloc::use_reg(Ref r) {
    const Ref asked = r;
    r = val_[r].root;
    Reg g = val_[r].reg;
    if (g == kNoReg) {
        g = alloc(in_xmm(val_[r].type), val_[r].last_use);
        load(g, r);
        own(g, r);
    }
    locked_ |= 1u << g;
    note(AllocNote::kUse, g, asked);
    return g;
}

Gpr RegAlloc::use_copy(Ref r) {
    r = val_[r].root;
    const Reg g = val_[r].reg;
    if (g != kNoReg && scratch_here(g) && !live(r) && !(locked_ >> g & 1)) {
        holder_[g] = kNoRef;  // the value keeps naming it: see def_from_reg
        locked_ |= 1u << g;
        note(AllocNote::kCopy, g, r);
        return static_cast<Gpr>(g);
    }
    const Gpr t = temp();
    copy_to(t, r);
    return t;
}

Xmm RegAlloc::use_copy_x(Ref r) {
    r = val_[r].root;
    const Reg g = val_[r].reg;
    if (g != kNoReg && scratch_here(g) && !live(r) && !(locked_ >> g & 1)) {
        holder_[g] = kNoRef;
        locked_ |= 1u << g;
        note(AllocNote::kCopy, g, r);
        return static_cast<Xmm>(g - 16);
    }
    const Xmm t = temp_x();
    copy_to(t, r);
    return t;
}

void RegAlloc::copy_to(Gpr d, Ref r) {
    const Ref asked = r;
    r = val_[r].root;
    if (val_[r].reg != kNoReg)
        move(reg_of(d), val_[r].reg);
    else
        load(reg_of(d), r);
    note(AllocNote::kCopy, reg_of(d), asked);
}

void RegAlloc::copy_to(Xmm d, Ref r) {
    const Ref asked = r;
    r = val_[r].root;
    if (val_[r].reg != kNoReg)
        move(reg_of(d), val_[r].reg);
    else
        load(reg_of(d), r);
    note(AllocNote::kCopy, reg_of(d), asked);
}

bool RegAlloc::mem_operand(Ref r, Mem* m) {
    const Value& v = val_[val_[r].root];
    if (v.reg != kNoReg || v.mem == Value::kNoMem || v.last_use > cur_) return false;
    // The zero extension of what a 4-byte slot holds is not in memory.
    if (v.mem < Value::kNoMem && val_[r].type == Type::kI64 && arch_.slots[static_cast<unsigned>(-2 - v.mem)].type == Type::kI32) return false;
    *m = mem_of(v);
    note(AllocNote::kMem, kNoReg, r, kNoRef, v.mem);
    return true;
}

Reg RegAlloc::usable_hint(Ref r) const {
    const Reg h = val_[r].hint;
    if (h == kNoReg) return kNoReg;
    const Ref w = holder_[h];
    if (w != kNoRef && val_[w].reg == h && live(w)) return kNoReg;
    return h;
}

Reg RegAlloc::def_reg(Ref r) {
    const Reg h = usable_hint(r);
    if (h != kNoReg && !(locked_ >> h & 1)) {
        forget(h);
        own(h, r);
        note(AllocNote::kDef, h, r);
        return h;
    }
    const Reg g = alloc(in_xmm(val_[r].type), val_[r].last_use);
    own(g, r);
    note(AllocNote::kDef, g, r);
    return g;
}

/// `a` keeps naming the register when it dies here, so that an instruction whose operands are the same value may still
/// ask for it.
Reg RegAlloc::def_from_reg(Ref r, Ref a) {
    a = val_[a].root;
    const Reg g = val_[a].reg;
    const Reg h = usable_hint(r);
    if (h != kNoReg && (g == h || !(locked_ >> h & 1))) {
        if (g == kNoReg)
            load(h, a);
        else
            move(h, g);
        if (holder_[h] != a) forget(h);
        own(h, r);
        note(AllocNote::kDefFrom, h, r, a);
        return h;
    }
    if (g != kNoReg && scratch_here(g) && !live(a)) {
        own(g, r);
        note(AllocNote::kDefFrom, g, r, a);
        return g;
    }
    const Reg t = alloc(in_xmm(val_[r].type), val_[r].last_use);
    if (g == kNoReg)
        load(t, a);
    else
        move(t, g);
    own(t, r);
    note(AllocNote::kDefFrom, t, r, a);
    return t;
}

void RegAlloc::unlock_dying() {
    for (uint32_t m = locked_; m; m &= m - 1) {
        const Reg g = static_cast<Reg>(__builtin_ctz(m));
        const Ref v = holder_[g];
        if (v == kNoRef || live(v) || val_[v].reg != g) continue;
        locked_ &= ~(1u << g);
        note(AllocNote::kRelease, g);
        if (!pinned(g)) {
            val_[v].reg = kNoReg;
            holder_[g] = kNoRef;
        }
    }
}

void RegAlloc::alias(Ref r, Ref a) {
    note(AllocNote::kAlias, kNoReg, r, a);
    a = val_[a].root;
    val_[r].root = a;
    if (val_[r].last_use > val_[a].last_use) val_[a].last_use = val_[r].last_use;
}

void RegAlloc::relocate(Ref v) {
    const Reg from = val_[v].reg;
    for (uint32_t m = layout_.pinned; m; m &= m - 1) {
        const Reg q = static_cast<Reg>(__builtin_ctz(m));
        if (q != from && holder_[q] == v) {
            val_[v].reg = q;
            return;
        }
    }
    const ir::Op op = (*f_)[v].op;
    if (val_[v].mem != Value::kNoMem || op == ir::Op::kConst || op == ir::Op::kVConst) {
        val_[v].reg = kNoReg;
        return;
    }
    const Reg t = alloc(from >= 16, val_[v].last_use);
    move(t, from);
    own(t, v);
}

void RegAlloc::get_slot(Ref r, unsigned slot) {
    const Reg p = pin_of(slot);
    if (p != kNoReg) pinned_until_[p] = val_[r].next_set;
    const Ref known = p != kNoReg ? holder_[p] : slot_holds_[slot];
    const int16_t here = static_cast<int16_t>(-2 - static_cast<int>(slot));
    if (known != kNoRef && arch_.slots[slot].type == Type::kFlags) {
        // Not another name for it: flags may be made again from operands that only live as long as the sweep saw uses.
        before_store(slot, r);
        slot_holds_[slot] = r;
        val_[r].mem = here;
        return;
    }
    if (known != kNoRef) {  // the same value under another name; when it was dead, only this place of it is sure
        Value& k = val_[known];
        if (!live(known) && p == kNoReg && !fits_slot(known, slot)) {
            slot_holds_[slot] = r;
            val_[r].mem = here;
            return;
        }
        if (!live(known)) {
            if (k.reg != kNoReg && !pinned(k.reg) && holder_[k.reg] == known) holder_[k.reg] = kNoRef;
            k.reg = p;
            k.mem = p != kNoReg ? Value::kNoMem : here;
            alias(r, known);
            return;
        }
        if (k.reg == kNoReg) k.reg = p;
        alias(r, known);
        return;
    }
    if (p != kNoReg) {
        holder_[p] = r;
        val_[r].reg = p;
    } else {
        slot_holds_[slot] = r;
        val_[r].mem = here;
    }
}

void RegAlloc::set_slot(unsigned slot, Ref r) {
    r = val_[r].root;
    if (const Reg p = pin_of(slot); p != kNoReg) {
        const Ref old = holder_[p];
        pinned_until_[p] = 0;  // not idle while what is in it moves away
        if (old == r) {
            if (val_[r].reg == kNoReg) val_[r].reg = p;
            pinned_until_[p] = val_[cur_].next_set;
            return;
        }
        if (old != kNoRef && val_[old].reg == p) {
            if (live(old)) {
                locked_ |= val_[r].reg != kNoReg ? 1u << val_[r].reg : 0;
                holder_[p] = kNoRef;
                relocate(old);
            } else {
                val_[old].reg = kNoReg;
            }
        }
        const Reg g = val_[r].reg;
        if (g == kNoReg)
            load(p, r);
        else
            move(p, g);
        if (g != kNoReg && !pinned(g)) holder_[g] = kNoRef;
        val_[r].reg = p;  // in two pinned registers it counts as in the newer: the older is more likely set again soon
        holder_[p] = r;
        pinned_until_[p] = val_[cur_].next_set;
        return;
    }
    if (slot_holds_[slot] == r) return;
    before_store(slot, r);
    const Type t = arch_.slots[slot].type;
    const Mem m = slot_mem(slot);
    uint64_t c = 0;
    if (is_const(r, &c) && val_[r].reg == kNoReg && (t == Type::kI32 || fits_i32(static_cast<int64_t>(c)))) {
        e_.mov_mi(t == Type::kI64, m, static_cast<int32_t>(c));
    } else if (!in_xmm(t)) {
        e_.mov_mr(t == Type::kI64, m, use(r));
    } else {
        const Xmm x = use_x(r);
        if (t == Type::kV128)
            e_.store128a(m, x);
        else if (t == Type::kF64)
            e_.store64(m, x);
        else
            e_.store32(m, x);
    }
    stored(slot, r);
}

/// All of the value is in the slot's memory once stored there. A kI32 value in a kI64 slot is one known to be zero above.
bool RegAlloc::fits_slot(Ref r, unsigned slot) const {
    const Type t = arch_.slots[slot].type, own_type = val_[r].type;
    return own_type == t || (own_type == Type::kI32 && t == Type::kI64) || t == Type::kFlags;
}

void RegAlloc::before_store(unsigned slot, Ref r) {
    const Ref old = slot_holds_[slot];
    if (old == kNoRef || old == r || val_[old].mem != -2 - static_cast<int>(slot)) return;
    if (live(old) && val_[old].reg == kNoReg) note(AllocNote::kRelease, use_reg(old));  // kept, not an operand
    val_[old].mem = Value::kNoMem;
}

void RegAlloc::stored(unsigned slot, Ref r) {
    slot_holds_[slot] = r;
    if (r == kNoRef) return;
    note(AllocNote::kStored, kNoReg, r, kNoRef, -2 - static_cast<int>(slot));
    if (val_[r].mem == Value::kNoMem && fits_slot(r, slot)) val_[r].mem = static_cast<int16_t>(-2 - static_cast<int>(slot));
}

void RegAlloc::save_for_call(bool state) {
    for (Reg g = 0; g < 32; ++g) {
        const Ref v = holder_[g];
        if (v == kNoRef || val_[v].reg != g || !live(v)) continue;
        if (kScratchMask >> g & 1) spill(v);
        if (state && pinned(g)) {
            if (val_[v].mem < Value::kNoMem) val_[v].mem = Value::kNoMem;
            spill(v);
        }
    }
    note(AllocNote::kForget, kNoReg);
    if (!state) return;
    for (unsigned s = 0; s < arch_.slots.size(); ++s) {
        const Ref v = slot_holds_[s];
        if (v == kNoRef || val_[v].mem != -2 - static_cast<int>(s) || !live(v)) continue;
        use_reg(v);
        val_[v].mem = Value::kNoMem;
        spill(v);
        locked_ &= ~(1u << val_[v].reg);
        note(AllocNote::kRelease, val_[v].reg);
    }
}

void RegAlloc::forget_scratch(bool state) {
    note(AllocNote::kForget, kNoReg);
    for (Reg g = 0; g < 32; ++g) {
        if (!(kScratchMask >> g & 1) && !(state && pinned(g))) continue;
        const Ref v = holder_[g];
        if (v == kNoRef) continue;
        if (val_[v].reg == g) val_[v].reg = kNoReg;
        holder_[g] = kNoRef;
    }
    if (state) {
        for (Ref& v : slot_holds_) v = kNoRef;
    }
}

}  // namespace myna::x64
