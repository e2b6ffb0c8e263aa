// The backward sweep: what each value's future is, before the forward pass places and emits.
//
//   last instruction                                             first
//   ◀───────────────────────────────────────────────────────────────
//   dead sets (a later one wins before anybody looks), unused pure values, uses and last uses,
//   what its only users can take over (fusing), flags that an arithmetic instruction leaves anyway (pairing),
//   and which values may be computed straight into a pinned register (hints)
//
// A fused value is emitted by its users, so its operands must live as long as the last of them.
#include <algorithm>
#include <array>
#include <string_view>

#include "codegen/x64/selector.h"

namespace myna::x64 {

bool Selector::produces_zext(const Inst& i) {
    switch (i.op) {
        case Op::kCmp: case Op::kCond: case Op::kSc: case Op::kCrc32: case Op::kFlUnpack: return true;
        case Op::kAdd: case Op::kSub: case Op::kMul: case Op::kMulHS: case Op::kMulHU: case Op::kDivS: case Op::kDivU:
        case Op::kRemS: case Op::kRemU: case Op::kAnd: case Op::kOr: case Op::kXor: case Op::kAndN: case Op::kNot:
        case Op::kNeg: case Op::kShl: case Op::kShr: case Op::kSar: case Op::kRor: case Op::kExtr: case Op::kClz:
        case Op::kCtz: case Op::kCls: case Op::kPopcnt: case Op::kBswap: case Op::kBswap16: case Op::kBitrev:
        case Op::kSext8: case Op::kSext16: case Op::kZext8: case Op::kZext16: case Op::kUbfx: case Op::kSbfx:
        case Op::kBfi: case Op::kAdc: case Op::kSelect: case Op::kLoad: case Op::kConst: return i.type == Type::kI32;
        default: return false;
    }
}

namespace {

/// How an operand position can take over the computation of its operand.
enum class Takes : uint8_t { kNothing, kCondition, kAddress, kShiftedIndex, kTest };

constexpr unsigned kPairWindow = 8;

// What the sweep asks of each operation, one byte: the number of operands, and
enum : uint8_t { kOperands = 3, kRemovable = 4, kLeaves = 8, kSeesGuest = 16, kSlot = 32 };

constexpr uint8_t traits(Op op, std::string_view args, std::string_view props) {
    const auto has = [&](char p) { return props.find(p) != std::string_view::npos; };
    auto t = static_cast<uint8_t>(args.size());
    if (has('P') && !has('f')) t |= kRemovable;
    if (has('E')) t |= kLeaves;
    if (has('X') || has('E') || op == Op::kCallState) t |= kSeesGuest;
    if (op == Op::kGet || op == Op::kSet || op == Op::kInsn) t |= kSlot;
    return t;
}
constexpr uint8_t kTraits[] = {
#define IR_OP(name, text, result, args, props, doc) traits(Op::name, args, props),
#include "ir/ops.inc"
#undef IR_OP
};

}  // namespace

class Sweep {
  public:
    explicit Sweep(Selector& s)
        : f_(*s.f_), layout_(s.layout_), slots_(s.arch_.slots.data()), val_(s.values_.data()), fuse_(s.opt_.fuse), dead_sets_(s.opt_.dead_sets) {
        std::fill_n(slot_.begin(), s.arch_.slots.size(), Slot{});
    }

    void run() {
        for (Ref i = static_cast<Ref>(f_.insts.size()); i-- > 0;) visit(i);
    }
    /// The first thing that happens to the slot is that it is set, by this instruction; 0: it is not.
    uint32_t first_set(unsigned slot) const { return slot_[slot].next_get == 0 ? slot_[slot].next_set : 0; }

  private:
    /// What the instructions seen so far, later ones that is, do to a slot.
    struct Slot {
        uint64_t dead;  // the epoch in which it is set
        Ref next_set, next_get;
    };

    void use(Ref r, uint32_t at, Ref user) {
        Value& v = val_[r];
        v.last_use = std::max(v.last_use, at);
        v.user = user;
        if (v.uses != 0xffff) ++v.uses;
    }
    void use(Ref r, uint32_t at, Ref user, Takes t) {
        if (takes(f_[r], t)) ++val_[r].fuse_uses;
        use(r, at, user);
    }
    /// A use that looks at no more than the low 32 bits: an extension that has only such uses need not be made.
    void narrow_use(Ref r, uint32_t at, Ref user) {
        if (f_[r].op == Op::kSext || f_[r].op == Op::kZext) ++val_[r].fuse_uses;
        use(r, at, user);
    }
    bool is_const(Ref r, uint64_t v) const { return f_[r].op == Op::kConst && f_[r].imm == v; }
    bool takes(const Inst& d, Takes t) const {
        switch (t) {
            case Takes::kNothing: return false;
            case Takes::kCondition: return d.op == Op::kCmp || d.op == Op::kCond;
            case Takes::kAddress: return d.op == Op::kAdd && d.type == Type::kI64;
            case Takes::kShiftedIndex: return d.op == Op::kShl && d.type == Type::kI64 && f_[d.b].op == Op::kConst && f_[d.b].imm <= 3;
            case Takes::kTest: return d.op == Op::kAnd || (d.op == Op::kUbfx && d.imm >> 8 == 1);
        }
        return false;
    }

    void visit(Ref i) {
        const Inst& n = f_[i];
        Value& v = val_[i];
        const uint8_t t = kTraits[static_cast<size_t>(n.op)];
        v.barrier = t & kSeesGuest ? i : barrier_;
        if (t & kSlot) {
            if (n.op == Op::kSet) set(i, n, v);
            if (n.op == Op::kGet) get(i, n, v);
            return;
        }
        if ((t & kRemovable) && v.uses == 0 && fuse_) {
            v.marks |= Value::kDead;
            unpair(n, v);
            return;
        }
        hint(i, v);
        if (t & kSeesGuest) {
            barrier_ = i;
            ++(t & kLeaves ? epoch_ : fault_epoch_);
        }
        if (n.op == Op::kLl || n.op == Op::kSc) ++epoch_;
        fuse(n, v);
        operands(i, n, v);
        pass_hint(n, v);
    }

    void get(Ref i, const Inst& n, Value& v) {
        Slot& slot = slot_[n.imm];
        v.next_set = slot.next_get == 0 ? slot.next_set : 0;
        slot.dead = 0;
        slot.next_get = i;
        if (v.uses == 0) v.marks |= Value::kDead;
    }

    /// Sets that a later one makes invisible go; the value of the others may be wanted in the pinned register.
    void set(Ref i, const Inst& n, Value& v) {
        Slot& slot = slot_[n.imm];
        // Flags that are overwritten unread are not kept at faults (docs/jit.md, invariant 2).
        const bool flags = slots_[n.imm].type == Type::kFlags;
        const uint64_t now = (uint64_t{epoch_} << 32 | (flags ? 0 : fault_epoch_)) + 1;
        if (slot.dead == now && dead_sets_) {
            v.marks |= Value::kDead;
            return;
        }
        slot.dead = now;
        v.next_set = slot.next_get == 0 ? slot.next_set : 0;
        slot.next_set = i;
        slot.next_get = 0;
        use(n.a, i, i);
        if (layout_.gpr[n.imm] != kNotPinned || layout_.xmm[n.imm] != kNotPinned) val_[n.a].want = i;
    }

    /// Computing `i` into the register of the slot it is set to is right when nothing in between looks at the slot.
    void hint(Ref i, Value& v) {
        if (v.want == 0) return;
        const Inst& n = f_[i];
        const unsigned slot = static_cast<unsigned>(f_[v.want].imm);
        // What comes out of these is, or can be, the same register.
        const bool same = n.op == Op::kVZext || n.op == Op::kBox32 || (n.op == Op::kZext && Selector::produces_zext(f_[n.a]));
        if (same && val_[n.a].want == 0) val_[n.a].want = v.want;
        if (slot_[slot].next_set != v.want || slot_[slot].next_get != 0) return;
        if (barrier_ != 0 && barrier_ < v.want) return;
        const Type t = v.type;
        if (layout_.gpr[slot] != kNotPinned && !in_xmm(t))
            v.hint = layout_.gpr[slot];
        else if (layout_.xmm[slot] != kNotPinned && in_xmm(t))
            v.hint = static_cast<Reg>(16 + layout_.xmm[slot]);
    }

    /// Of an operation that is made in its first operand's register, that operand may as well be made where the result
    /// is wanted, if nobody else uses it (so far seen: uses before this one are of no concern).
    void pass_hint(const Inst& n, const Value& v) {
        if (v.hint == kNoReg || (v.marks & (Value::kFused | Value::kNarrow)) || !in_first_operand(n.op)) return;
        Value& a = val_[n.a];
        if (a.uses == 1 && a.want == 0 && f_[n.a].op != Op::kGet) a.want = v.want;
    }
    static bool in_first_operand(Op op) {
        switch (op) {
            case Op::kAdd: case Op::kSub: case Op::kMul: case Op::kAnd: case Op::kOr: case Op::kXor: case Op::kNot: case Op::kNeg:
            case Op::kShl: case Op::kShr: case Op::kSar: case Op::kSext: case Op::kSext8: case Op::kSext16: case Op::kZext8: case Op::kZext16:
                return true;
            default: return false;
        }
    }

    void fuse(const Inst& n, Value& v) {
        // An add that leaves its flags too must be an add, not part of an address.
        if (!fuse_ || v.uses == 0 || v.fuse_uses != v.uses || v.pair != kNoRef) return;
        switch (n.op) {
            case Op::kCmp:
            case Op::kCond:
            case Op::kAdd: v.marks |= Value::kFused; break;
            case Op::kSext:
            case Op::kZext: v.marks |= Value::kNarrow; break;
            case Op::kAnd:
            case Op::kUbfx:
            case Op::kShl:
                if (v.uses == 1) v.marks |= Value::kFused;
                break;
            default: break;
        }
    }

    void operands(Ref i, const Inst& n, Value& v) {
        const bool fused = v.marks & (Value::kFused | Value::kNarrow);
        const uint32_t at = fused ? v.last_use : i;
        switch (n.op) {
            case Op::kTrunc: narrow_use(n.a, std::max(i, v.last_use), i); return;
            case Op::kSext8: case Op::kSext16: case Op::kZext8: case Op::kZext16: narrow_use(n.a, i, i); return;
            case Op::kShl:
                use(n.b, at, i);
                if (!fused && n.type == Type::kI64 && f_[n.b].op == Op::kConst && f_[n.b].imm >= 32 && f_[n.b].imm < 64) narrow_use(n.a, i, i);
                else use(n.a, at, i);
                return;
            case Op::kLoad: case Op::kLl: address(n.a, i); return;
            case Op::kStore:
                if (!in_xmm(val_[n.b].type) && (n.sub & ir::MemAttr::kSizeMask) <= 2) narrow_use(n.b, i, i);
                else use(n.b, i, i);
                address(n.a, i);
                return;
            case Op::kSc: case Op::kRmwAdd: case Op::kRmwAnd: case Op::kRmwOr: case Op::kRmwXor:
            case Op::kRmwXchg: case Op::kRmwSmin: case Op::kRmwSmax: case Op::kRmwUmin: case Op::kRmwUmax:
                use(n.b, i, i);
                address(n.a, i);
                return;
            case Op::kCas:
                use(n.c, i, i);
                use(n.b, i, i);
                address(n.a, i);
                return;
            case Op::kAdd:
                use(n.b, at, i, fused ? Takes::kShiftedIndex : Takes::kNothing);
                use(n.a, at, i);
                return;
            case Op::kCmp:
                use(n.b, at, i);
                use(n.a, at, i, is_const(n.b, 0) && n.sub <= static_cast<uint8_t>(Cmp::kNe) ? Takes::kTest : Takes::kNothing);
                return;
            case Op::kSelect:
                use(n.c, i, i);
                use(n.b, i, i);
                use(n.a, i, i, Takes::kCondition);
                return;
            case Op::kExitIf: use(n.a, i, i, Takes::kCondition); return;
            case Op::kFlSub: case Op::kFlAdd: case Op::kFlAdc: case Op::kFlLogic: flags(i, n, v); return;
            case Op::kExitTrap: return;
            default: break;
        }
        const unsigned count = kTraits[static_cast<size_t>(n.op)] & kOperands;
        const Ref args[3] = {n.a, n.b, n.c};
        for (unsigned k = count; k-- > 0;)
            if (args[k] != kNoRef) use(args[k], at, i);
    }

    void address(Ref a, Ref i) { use(a, i, i, Takes::kAddress); }

    /// Flags are emitted where they are first needed, so their operands live on; unless an arithmetic instruction near
    /// by computes from the same operands: then that one's EFLAGS are taken.
    void flags(Ref i, const Inst& n, Value& v) {
        const Op op = n.op == Op::kFlSub ? Op::kSub : n.op == Op::kFlAdd ? Op::kAdd : n.op == Op::kFlAdc ? Op::kAdc : Op::kCount;
        if (op != Op::kCount && fuse_) {
            const Ref first = i > kPairWindow ? i - kPairWindow : 0;
            for (Ref j = i; j-- > first;) {
                const Inst& m = f_[j];
                if (m.op == op && m.type == n.type && m.a == n.a && m.b == n.b && m.c == n.c) {
                    v.marks |= Value::kPaired;
                    val_[j].pair = i;
                    break;
                }
                if (ir::info(m.op).leaves) break;
            }
        }
        const bool lazy = n.op != Op::kFlAdc && !(v.marks & Value::kPaired);
        const uint32_t at = (v.marks & Value::kPaired) ? 0 : lazy ? std::max(i, v.last_use) : i;
        const Ref args[3] = {n.a, n.b, n.c};
        for (unsigned k = ir::info(n.op).arg_count; k-- > 0;) {
            if (n.op == Op::kFlLogic && f_[args[k]].op == Op::kAnd)
                use(args[k], at, i, Takes::kTest);
            else
                use(args[k], at, i);
        }
    }

    /// The arithmetic is not needed after all: its flags stand for themselves.
    void unpair(const Inst& n, Value& v) {
        if (v.pair == kNoRef) return;
        Value& fl = val_[v.pair];
        fl.marks &= static_cast<uint8_t>(~Value::kPaired);
        const uint32_t at = f_[v.pair].op == Op::kFlAdc ? v.pair : std::max(v.pair, fl.last_use);
        for (const Ref r : {n.a, n.b, n.c})
            if (r != kNoRef) val_[r].last_use = std::max(val_[r].last_use, at);
        v.pair = kNoRef;
    }

    const ir::Function& f_;
    const Layout& layout_;
    const guest::Slot* slots_;
    Value* val_;
    const bool fuse_, dead_sets_;
    std::array<Slot, 128> slot_;
    Ref barrier_ = 0;                     // next instruction that may fault or leave
    uint32_t epoch_ = 0, fault_epoch_ = 0;
};

void Selector::sweep() {
    const size_t n = f_->insts.size();
    if (values_.size() < n) values_.resize(n + n / 2);
    Value blank{};
    blank.user = blank.pair = kNoRef;
    blank.mem = Value::kNoMem;
    blank.reg = blank.hint = kNoReg;
    const Inst* insts = f_->insts.data();
    Value* values = values_.data();
    for (size_t i = 0; i < n; ++i) {
        values[i] = blank;
        values[i].root = static_cast<Ref>(i);
        values[i].type = ir::result_type(insts[i]);
    }
    Sweep sweep(*this);
    sweep.run();
    for (uint32_t m = layout_.pinned; m != 0; m &= m - 1) {
        const auto g = static_cast<unsigned>(__builtin_ctz(m));
        first_set_[g] = sweep.first_set(layout_.slot[g]);
    }
}

}  // namespace myna::x64
