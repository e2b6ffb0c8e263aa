// Builder: how lifters make IR. It folds constants and identities, shares equal pure values and forwards guest
// register values while it emits, so that the passes behind it have little left to do.
//
// Forwarding: get(slot) after set(slot, v) gives v; a second get gives the first one's value. kCallState forgets all.
// Each of these can be switched off (Options), which must never change what the block computes.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <vector>

#include "guest/common/arch.h"
#include "ir/function.h"

namespace myna::ir {

class Builder {
  public:
    struct Options {
        bool fold = true;
        bool share = true;
        bool forward = true;
    };

    Builder(Function& f, const guest::GuestArch& arch, Options opt);

    /// Starts a new block in the same Function object (clears it).
    void begin(uint64_t pc, uint32_t mode);

    Function& function() noexcept { return f_; }
    [[nodiscard]] const Inst& inst(Ref r) const noexcept { return f_.insts[r]; }
    [[nodiscard]] Type type_of(Ref r) const noexcept { return result_type(f_.insts[r]); }
    /// True and the value when `r` is a kConst.
    bool is_const(Ref r, uint64_t* value = nullptr) const noexcept {
        if (r == kNoRef) return false;
        const Inst& i = f_.insts[r];
        if (i.op != Op::kConst) return false;
        if (value) *value = i.imm;
        return true;
    }

    // ---- the general form; folds, shares, then appends
    Ref emit(Op op, Type type, uint8_t sub, Ref a = kNoRef, Ref b = kNoRef, Ref c = kNoRef, uint64_t imm = 0);

    // ---- constants, guest state
    Ref imm(uint64_t v, Type t = Type::kI64);
    Ref imm32(uint32_t v) { return imm(v, Type::kI32); }
    Ref vimm(uint64_t lo, uint64_t hi);
    Ref get(unsigned slot);
    void set(unsigned slot, Ref v);
    void insn(uint64_t pc, unsigned bytes);

    // ---- the common integer operations; the type is the operands'
    Ref add(Ref a, Ref b) { return bin(Op::kAdd, a, b); }
    Ref sub(Ref a, Ref b) { return bin(Op::kSub, a, b); }
    Ref mul(Ref a, Ref b) { return bin(Op::kMul, a, b); }
    Ref and_(Ref a, Ref b) { return bin(Op::kAnd, a, b); }
    Ref or_(Ref a, Ref b) { return bin(Op::kOr, a, b); }
    Ref xor_(Ref a, Ref b) { return bin(Op::kXor, a, b); }
    Ref andn(Ref a, Ref b) { return bin(Op::kAndN, a, b); }
    Ref shl(Ref a, Ref b) { return bin(Op::kShl, a, b); }
    Ref shr(Ref a, Ref b) { return bin(Op::kShr, a, b); }
    Ref sar(Ref a, Ref b) { return bin(Op::kSar, a, b); }
    Ref ror(Ref a, Ref b) { return bin(Op::kRor, a, b); }
    Ref not_(Ref a) { return un(Op::kNot, a); }
    Ref neg(Ref a) { return un(Op::kNeg, a); }
    Ref bin(Op op, Ref a, Ref b, uint8_t sub = 0, uint64_t imm = 0) { return emit(op, type_of(a), sub, a, b, kNoRef, imm); }
    Ref un(Op op, Ref a, uint8_t sub = 0, uint64_t imm = 0) { return emit(op, type_of(a), sub, a, kNoRef, kNoRef, imm); }
    Ref add_imm(Ref a, int64_t v) { return add(a, imm(static_cast<uint64_t>(v), type_of(a))); }
    Ref shl_imm(Ref a, unsigned n) { return shl(a, imm(n, type_of(a))); }
    Ref shr_imm(Ref a, unsigned n) { return shr(a, imm(n, type_of(a))); }
    Ref sar_imm(Ref a, unsigned n) { return sar(a, imm(n, type_of(a))); }
    Ref trunc(Ref a) { return emit(Op::kTrunc, Type::kI32, 0, a); }
    Ref zext(Ref a) { return emit(Op::kZext, Type::kI64, 0, a); }
    Ref sext(Ref a) { return emit(Op::kSext, Type::kI64, 0, a); }
    Ref ubfx(Ref a, unsigned lo, unsigned len) { return un(Op::kUbfx, a, 0, lo | uint64_t{len} << 8); }
    Ref sbfx(Ref a, unsigned lo, unsigned len) { return un(Op::kSbfx, a, 0, lo | uint64_t{len} << 8); }
    Ref bfi(Ref a, Ref b, unsigned lo, unsigned len) { return bin(Op::kBfi, a, b, 0, lo | uint64_t{len} << 8); }
    Ref cmp(Cmp cc, Ref a, Ref b) { return emit(Op::kCmp, type_of(a), static_cast<uint8_t>(cc), a, b); }
    Ref select(Ref c, Ref t, Ref e) { return emit(Op::kSelect, type_of(t), 0, c, t, e); }
    Ref bitcast(Type t, Ref a) { return emit(Op::kBitcast, t, 0, a); }

    // ---- flags
    Ref cond(Cond cc, Ref flags);

    // ---- guest memory; `disp` is added to the address
    Ref load(Type t, uint8_t attr, Ref addr, int64_t disp = 0);
    void store(uint8_t attr, Ref addr, Ref value, int64_t disp = 0);
    Ref rmw(Op op, uint8_t attr, Ref addr, Ref v) { return emit(op, type_of(v), attr, addr, v); }
    void fence() { emit(Op::kFence, Type::kVoid, 0, kNoRef, kNoRef, kNoRef, 1); }

    // ---- calls (helper: index into GuestArch::helpers)
    Ref call(unsigned helper, Type t, Ref a = kNoRef, Ref b = kNoRef, Ref c = kNoRef);
    Ref vcall(unsigned helper, uint32_t arg, Ref a = kNoRef, Ref b = kNoRef, Ref c = kNoRef);
    Ref call_state(unsigned helper, Type t, uint32_t arg = 0, Ref a = kNoRef, Ref b = kNoRef, Ref c = kNoRef);

    // ---- leaving
    void exit(uint64_t pc) { emit(Op::kExit, Type::kVoid, 0, kNoRef, kNoRef, kNoRef, pc); }
    void exit_if(Ref cond, uint64_t pc) { emit(Op::kExitIf, Type::kVoid, 0, cond, kNoRef, kNoRef, pc); }
    enum class Branch : uint8_t { kJump, kCall, kReturn };
    void exit_ind(Ref pc, Branch kind, uint64_t return_pc = 0) {
        emit(Op::kExitInd, Type::kVoid, static_cast<uint8_t>(kind), pc, kNoRef, kNoRef, return_pc);
    }
    void exit_trap(ExitReason r, uint64_t pc, uint32_t arg = 0) {
        emit(Op::kExitTrap, Type::kVoid, static_cast<uint8_t>(r), kNoRef, arg, kNoRef, pc);
    }

  private:
    static constexpr unsigned kMaxSlots = 128;
    static constexpr unsigned kShareSize = 256;  // direct-mapped table of recent pure values
    static constexpr unsigned kHomeSize = 256;

    // An instruction as three words: what sharing compares and hashes. On the fast path instructions are made of words
    // and not of fields: a wide load behind narrow stores would wait for them.
    struct Words {
        uint64_t head, operands, imm;
        friend bool operator==(const Words&, const Words&) = default;
    };
    static Words words(Op op, Type type, uint8_t sub, Ref a, Ref b, Ref c, uint64_t imm) noexcept {
        return {static_cast<uint64_t>(op) | static_cast<uint64_t>(type) << 16 | uint64_t{sub} << 24 | uint64_t{a} << 32,
                uint64_t{b} | uint64_t{c} << 32, imm};
    }
    Ref append(const Words& w) {
        f_.insts.push_back(std::bit_cast<Inst>(w));
        return next_++;
    }
    Ref append(const Inst& i) { return append(std::bit_cast<Words>(i)); }
    Ref share(const Words& w);
    Ref slow_emit(const Inst& i);
    void forget_slots();
    void hold(unsigned slot, Ref v) {
        slot_value_[slot] = v;
        home_[v % kHomeSize] = static_cast<uint8_t>(slot);
    }
    /// True while a guest register is known to hold `r`: it has a home then, so using it costs nothing.
    [[nodiscard]] bool in_slot(Ref r) const noexcept { return slot_value_[home_[r % kHomeSize]] == r; }
    /// The value `i` would give if it was made before (and is shared), else kNoRef.
    [[nodiscard]] Ref find(const Inst& i) const noexcept;

    // fold.cpp: a Ref when `i` is an existing or constant value, kNoRef otherwise (`i` may be another form then)
    Ref fold(Inst& i);
    Ref fold_add(Inst& i);
    Ref fold_sub(Inst& i);
    Ref fold_mul(Inst& i);
    Ref fold_logic(Inst& i);
    Ref fold_shift(Inst& i);
    Ref fold_extend(Inst& i);
    Ref fold_field(Inst& i);
    Ref fold_cmp(Inst& i);
    Ref fold_select(Inst& i);
    Ref fold_move(Inst& i);
    Ref fold_cond(Inst& i);
    Ref cond_of_sub(Cond cc, const Inst& fl);
    Ref cond_of_add(Cond cc, const Inst& fl);
    Ref cond_of_logic(Cond cc, const Inst& fl);
    Ref cond_of_ccmp(Cond cc, const Inst& fl);
    void fold_address(Inst& i);
    Ref truth(bool v) { return imm(v, Type::kI32); }
    Ref not_bool(Ref c);
    [[nodiscard]] bool is_bool(Ref r) const noexcept;
    [[nodiscard]] bool is_comparison(Ref r) const noexcept { return f_.insts[r].op == Op::kCmp || f_.insts[r].op == Op::kCond; }
    [[nodiscard]] bool is_zero_vector(Ref r) const noexcept {
        return f_.insts[r].op == Op::kVConst && f_.vconsts[f_.insts[r].imm] == V128{};
    }
    /// Bits of `r` that may be other than zero (count from bit 0).
    [[nodiscard]] unsigned unsigned_bits(Ref r, unsigned depth = 3) const noexcept;
    /// `r` is the sign extension of its low so many bits.
    [[nodiscard]] unsigned signed_bits(Ref r, unsigned depth = 3) const noexcept;
    Ref widened_arithmetic(Ref r);

    Function& f_;
    const guest::GuestArch& arch_;
    Options opt_;
    Ref next_ = 0;        // insts.size()
    Ref call_floor_ = 0;  // values made before the last state call; FP operations do not cross it
    // slot_value_[s]: the value slot s holds, kNoRef: unknown. home_ and shared_ are hints that are checked when used
    // (a shared Ref by comparing the instruction), so they need no clearing and cannot make the output differ.
    std::array<Ref, kMaxSlots> slot_value_{};
    std::array<uint8_t, kHomeSize> home_{};
    std::array<Ref, kShareSize> shared_{};
};

}  // namespace myna::ir
