// Builder: emission, sharing of pure values, forwarding of guest register values. Folding is in fold.cpp.
#include "ir/builder.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "ir/scalar.h"

namespace myna::ir {
namespace {

// What emit needs to know of an operation, one byte each.
enum : uint8_t { kPure = 1, kFoldable = 2, kCommutes = 4, kFp = 8, kSpecial = 16 };

constexpr uint8_t traits(Op op, std::string_view props) {
    uint8_t t = 0;
    if (props.find('P') != std::string_view::npos) t |= kPure | kFoldable;
    if (props.find('C') != std::string_view::npos) t |= kCommutes;
    if (props.find('f') != std::string_view::npos) t |= kFp;
    if (op == Op::kGet || op == Op::kSet || op == Op::kInsn || op == Op::kCallState || op == Op::kExitIf || op == Op::kExitInd)
        t |= kSpecial;
    if (props.find('R') != std::string_view::npos || props.find('W') != std::string_view::npos) t |= kFoldable;
    return t;
}
constexpr uint8_t kTraits[] = {
#define IR_OP(name, text, result, args, props, doc) traits(Op::name, props),
#include "ir/ops.inc"
#undef IR_OP
};

inline unsigned hash(uint64_t head, uint64_t operands, uint64_t imm) noexcept {
    const uint64_t h = (head ^ std::rotl(operands, 23)) * 0x9e3779b97f4a7c15 ^ imm * 0xbf58476d1ce4e5b9;
    return static_cast<unsigned>((h ^ h >> 32) * 0x94d049bb133111eb >> 56);
}

}  // namespace

Builder::Builder(Function& f, const guest::GuestArch& arch, Options opt) : f_(f), arch_(arch), opt_(opt) {
    f_.clear();
    f_.nan_rule = arch.nan_rule;
    forget_slots();
}

void Builder::begin(uint64_t pc, uint32_t mode) {
    f_.clear();
    f_.pc = pc;
    f_.mode = mode;
    f_.nan_rule = arch_.nan_rule;
    next_ = call_floor_ = 0;
    forget_slots();
}

void Builder::forget_slots() {
    std::fill_n(slot_value_.begin(), std::min<size_t>(arch_.slots.size(), kMaxSlots), kNoRef);
}

Ref Builder::emit(Op op, Type type, uint8_t sub, Ref a, Ref b, Ref c, uint64_t imm) {
    const uint8_t t = kTraits[static_cast<unsigned>(op)];
    if ((t & kCommutes) && is_const(a) && opt_.fold) std::swap(a, b);
    const Words w = words(op, type, sub, a, b, c, imm);
    if (t & kSpecial) [[unlikely]] return slow_emit(std::bit_cast<Inst>(w));
    if (!opt_.fold || !(t & kFoldable)) return t & kPure ? share(w) : append(w);
    auto i = std::bit_cast<Inst>(w);
    if (const Ref r = fold(i); r != kNoRef) return r;
    return kTraits[static_cast<unsigned>(i.op)] & kPure ? share(std::bit_cast<Words>(i)) : append(i);
}

Ref Builder::slow_emit(const Inst& i) {
    uint64_t k = 0;
    switch (i.op) {
        case Op::kGet: return get(static_cast<unsigned>(i.imm));
        case Op::kSet: set(static_cast<unsigned>(i.imm), i.a); return kNoRef;
        case Op::kInsn: insn(i.imm, i.sub); return kNoRef;
        case Op::kCallState: {
            forget_slots();
            const Ref r = append(i);
            call_floor_ = r;
            return r;
        }
        case Op::kExitIf:
            // One that is always taken stays: what follows is dead, but a block has one terminator, at its end.
            if (opt_.fold && is_const(i.a, &k) && k == 0) return kNoRef;
            // Two comparisons or-ed (a ccmp): two exits to one place, each a fused compare and branch.
            if (opt_.fold && f_.insts[i.a].op == Op::kOr && is_comparison(f_.insts[i.a].a) && is_comparison(f_.insts[i.a].b)) {
                const Inst either = f_.insts[i.a];
                append(words(Op::kExitIf, Type::kVoid, 0, either.a, kNoRef, kNoRef, i.imm));
                return append(words(Op::kExitIf, Type::kVoid, 0, either.b, kNoRef, kNoRef, i.imm));
            }
            return append(i);
        case Op::kExitInd:
            if (opt_.fold && is_const(i.a, &k)) return append(Inst{Op::kExit, Type::kVoid, 0, kNoRef, kNoRef, kNoRef, k});
            return append(i);
        default: return append(i);
    }
}

Ref Builder::find(const Inst& i) const noexcept {
    if (!opt_.share) return kNoRef;
    const auto w = std::bit_cast<Words>(i);
    const Ref old = shared_[hash(w.head, w.operands, w.imm)];
    return old < next_ && std::bit_cast<Words>(f_.insts[old]) == w ? old : kNoRef;
}

Ref Builder::share(const Words& w) {
    if (!opt_.share) return append(w);
    Ref& entry = shared_[hash(w.head, w.operands, w.imm)];
    if (entry < next_ && std::bit_cast<Words>(f_.insts[entry]) == w) {
        // Exception flags that a state call may have read or cleared must be raised again.
        if (entry >= call_floor_ || !(kTraits[w.head & 0xffff] & kFp)) return entry;
    }
    return entry = append(w);
}

Ref Builder::imm(uint64_t v, Type t) {
    if (const unsigned w = width_of(t); w < 64) v &= low_mask(w);
    return share(words(Op::kConst, t, 0, kNoRef, kNoRef, kNoRef, v));
}

Ref Builder::vimm(uint64_t lo, uint64_t hi) {
    const V128 v{{lo, hi}};
    size_t index = f_.vconsts.size();
    if (opt_.share) {
        for (index = 0; index < f_.vconsts.size() && !(f_.vconsts[index] == v);) ++index;
    }
    if (index == f_.vconsts.size()) f_.vconsts.push_back(v);
    return share(words(Op::kVConst, Type::kV128, 0, kNoRef, kNoRef, kNoRef, index));
}

Ref Builder::get(unsigned slot) {
    if (const Ref known = slot_value_[slot]; known != kNoRef) return known;
    const Ref r = append(words(Op::kGet, arch_.slots[slot].type, 0, kNoRef, kNoRef, kNoRef, slot));
    if (opt_.forward) hold(slot, r);
    return r;
}

void Builder::set(unsigned slot, Ref v) {
    if (slot_value_[slot] == v) return;
    append(words(Op::kSet, Type::kVoid, 0, v, kNoRef, kNoRef, slot));
    if (opt_.forward) hold(slot, v);
}

void Builder::insn(uint64_t pc, unsigned bytes) {
    append(words(Op::kInsn, Type::kVoid, static_cast<uint8_t>(bytes), kNoRef, kNoRef, kNoRef, pc));
    ++f_.guest_insns;
    if (GuestRange* r = f_.ranges.empty() ? nullptr : &f_.ranges.back(); r != nullptr && r->pc + r->bytes == pc) r->bytes += bytes;
    else f_.ranges.push_back({pc, bytes});
}

Ref Builder::cond(Cond cc, Ref flags) {
    if (cc == Cond::kAl) return imm32(1);
    return emit(Op::kCond, Type::kI32, static_cast<uint8_t>(cc), flags);
}

Ref Builder::load(Type t, uint8_t attr, Ref addr, int64_t disp) {
    return emit(Op::kLoad, t, attr, addr, kNoRef, kNoRef, static_cast<uint64_t>(disp));
}

void Builder::store(uint8_t attr, Ref addr, Ref value, int64_t disp) {
    emit(Op::kStore, Type::kVoid, attr, addr, value, kNoRef, static_cast<uint64_t>(disp));
}

Ref Builder::call(unsigned helper, Type t, Ref a, Ref b, Ref c) { return emit(Op::kCall, t, 0, a, b, c, helper); }

Ref Builder::vcall(unsigned helper, uint32_t arg, Ref a, Ref b, Ref c) {
    return emit(Op::kVCall, Type::kV128, 0, a, b, c, helper | uint64_t{arg} << 16);
}

Ref Builder::call_state(unsigned helper, Type t, uint32_t arg, Ref a, Ref b, Ref c) {
    return emit(Op::kCallState, t, 0, a, b, c, helper | uint64_t{arg} << 16);
}

}  // namespace myna::ir
