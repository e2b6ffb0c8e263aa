// The register allocator: greedy, one forward pass, driven by selection.
//
//   backward sweep ──▶ Value{last_use, uses, hint}        what the future holds, per IR value
//   selection      ──▶ use / def / temp / set_slot        asks for registers as it emits; moves, spills and reloads
//                                                         are emitted on the spot
//
// Places a value can be in, at the same time:
//   reg   a scratch register (its only owner), or a pinned register while the guest slot there holds this value
//   mem   a spill slot, or the state struct while the guest slot there holds this value
//   const needs no place
//
// Pinned registers always hold their slot's value. `get` of a pinned slot emits nothing: the value's register *is* the
// pinned one. When the slot is set, a value still needed is first copied away. A value that will be set to a pinned
// slot (its `hint`) is computed straight into the pinned register if nothing between reads the old value or may leave
// the block; the sweep checks what follows, def() what is alive. Likewise a pinned register is free (idle) from the last
// look at its slot's value up to the next set, when nothing in between may fault or leave.
//
// Rules for callers, per IR instruction: ask for fixed registers first, then operands (they are locked until the
// instruction ends), then the result. A register got for an operand must not be written, unless it came from
// def_from, use_copy or temp. None of these functions changes EFLAGS.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "codegen/x64/alloc_log.h"
#include "codegen/x64/compiler.h"
#include "codegen/x64/emitter.h"
#include "ir/function.h"

namespace myna::x64 {

using ir::kNoRef;
using ir::Ref;
using ir::Type;

/// The register file split: what tuning changes. rbp and rsp are neither. rax, rcx, rdx and rbx must be scratch: that
/// is what cmpxchg16b, mul, div and shifts want.
inline constexpr Gpr kPinnedGprs[] = {Gpr::rsi, Gpr::r8,  Gpr::r9,  Gpr::r10, Gpr::r11,
                                      Gpr::r12, Gpr::r13, Gpr::r14, Gpr::r15};
inline constexpr Gpr kScratchGprs[] = {Gpr::rdi, Gpr::rbx, Gpr::rdx, Gpr::rcx, Gpr::rax};  // order of choice
inline constexpr Xmm kPinnedXmms[] = {Xmm::x5,  Xmm::x6,  Xmm::x7,  Xmm::x8,  Xmm::x9, Xmm::x10,
                                      Xmm::x11, Xmm::x12, Xmm::x13, Xmm::x14, Xmm::x15};
inline constexpr Xmm kScratchXmms[] = {Xmm::x1, Xmm::x2, Xmm::x3, Xmm::x4, Xmm::x0};

/// A host register of either file: 0..15 GPRs, 16..31 XMMs.
using Reg = uint8_t;
inline constexpr Reg kNoReg = 0xff;
constexpr Reg reg_of(Gpr r) { return static_cast<Reg>(r); }
constexpr Reg reg_of(Xmm r) { return static_cast<Reg>(16 + static_cast<unsigned>(r)); }

constexpr bool in_xmm(Type t) { return t == Type::kF16 || t == Type::kF32 || t == Type::kF64 || t == Type::kV128; }

/// What is known of an IR value: the future from the sweep, its places from the allocator.
struct Value {
    Ref root;            // itself, or the value it is another name of (trunc, zext that costs nothing, vlow)
    uint32_t last_use;   // index of the last instruction that needs it; 0: none
    Ref user;            // sweep: the user seen last (with uses == 1: the only one)
    Ref pair;            // the flags value this operation leaves in EFLAGS as well (kSub: fl_sub …), kNoRef
    uint32_t want;       // sweep: the set of a pinned slot that takes this value, 0: none
    uint32_t barrier;    // sweep: this or the next instruction that may fault, leave or call with the guest's state
    uint32_t next_set;   // sweep, of a get or set: the next thing that happens to the slot is this set, 0: it is a get, or nothing
    uint16_t uses;       // saturating
    uint16_t fuse_uses;  // uses by instructions that can take it over (compare into branch …)
    int16_t mem;         // kNoMem; >= 0: spill slot (8 bytes each); < kNoMem: guest slot -2 - mem
    Reg reg;             // kNoReg when in no register
    Reg hint;            // pinned register it will be set to, kNoReg
    uint8_t marks;       // kDead …
    Type type;           // of the result (Inst::type is the operands' for comparisons)
    static constexpr int16_t kNoMem = -1;
    static constexpr uint8_t kDead = 1;    // nothing to emit
    static constexpr uint8_t kFused = 2;   // emitted by its users
    static constexpr uint8_t kZext = 4;    // kI32 whose register is known to be zero above bit 31
    static constexpr uint8_t kPaired = 8;  // flags that another instruction leaves in EFLAGS (Value::pair)
    static constexpr uint8_t kBoxed = 4;   // kF32 whose XMM register is known to be all ones in bits 63..32
    // XMM registers known to be zero from this bit up; kZeroFrom16 comes with the others.
    static constexpr uint8_t kZeroFrom64 = 16, kZeroFrom32 = 32, kZeroFrom16 = 64;
    static constexpr uint8_t kNarrow = 128;  // an extension whose upper half nobody looks at: another name of its operand
};

class RegAlloc {
  public:
    RegAlloc(Emitter& e, const guest::GuestArch& arch, const Layout& layout) : e_(e), arch_(arch), layout_(layout) {}

    /// A new block. `values` is the sweep's table, one per instruction; `first_set`: see Selector::first_set_.
    void begin(const ir::Function& f, Value* values, const std::array<uint32_t, 32>& first_set);
    /// The next instruction: locks of the one before are gone.
    void start(Ref i) { cur_ = i, locked_ = 0, note(AllocNote::kInst, kNoReg, i); }
    /// Within one instruction: registers got so far are not used any more (values stay where they are).
    void unlock() { locked_ = 0, note(AllocNote::kUnlock, kNoReg); }
    /// The code noted since the log had `mark` entries was moved by `bytes`.
    [[nodiscard]] size_t log_mark() const { return log_ != nullptr ? log_->size() : 0; }
    void code_moved(size_t mark, unsigned bytes) {
        for (; log_ != nullptr && mark < log_->size(); ++mark) (*log_)[mark].offset += bytes;
    }
    /// The hot code is complete.
    void end_of_hot() { note(AllocNote::kTail, kNoReg); }
    /// Decisions go to `log` from the next block on; nullptr: nowhere.
    void set_log(AllocLog* log) { log_ = log; }
    void lock(Gpr g) { locked_ |= 1u << reg_of(g); }
    [[nodiscard]] Ref current() const { return cur_; }

    // ---- operands
    /// The value in a register of its kind; must not be written.
    Gpr use(Ref r) { return static_cast<Gpr>(use_reg(r)); }
    Xmm use_x(Ref r) { return static_cast<Xmm>(use_reg(r) - 16); }
    /// A scratch register with the value, that the caller may overwrite.
    Gpr use_copy(Ref r);
    Xmm use_copy_x(Ref r);
    /// Copies the value into `d`, which the caller owns (fixed or temp).
    void copy_to(Gpr d, Ref r);
    void copy_to(Xmm d, Ref r);
    /// A memory operand when the value is in memory and in no register, and loading it would serve this use only.
    bool mem_operand(Ref r, Mem* m);
    /// Where the value is in memory, if it is; it may be in a register too.
    bool mem_of_value(Ref r, Mem* m) {
        const Value& v = val_[val_[r].root];
        if (v.mem == Value::kNoMem) return false;
        *m = mem_of(v);
        note(AllocNote::kMem, kNoReg, r, kNoRef, v.mem);
        return true;
    }
    /// The value known to be in an unpinned slot's memory, kNoRef.
    Ref slot_holds(unsigned slot) const { return slot_holds_[slot]; }
    /// The value when `r` is an integer constant (kI32: zero extended).
    bool is_const(Ref r, uint64_t* v = nullptr) const {
        const ir::Inst& i = (*f_)[val_[r].root];
        if (i.op != ir::Op::kConst || in_xmm(i.type)) return false;
        if (v) *v = val_[r].type == Type::kI32 ? static_cast<uint32_t>(i.imm) : i.imm;
        return true;
    }
    /// The last use of the value is in this instruction.
    bool dies(Ref r) const { return val_[val_[r].root].last_use <= cur_; }
    /// The register it is in now, without locking; kNoReg when none.
    Reg where(Ref r) const { return val_[val_[r].root].reg; }

    // ---- results
    /// A register for the result, different from all operands' and temporaries in use.
    Gpr def(Ref r) { return static_cast<Gpr>(def_reg(r)); }
    Xmm def_x(Ref r) { return static_cast<Xmm>(def_reg(r) - 16); }
    /// The same, but it may be the register of an operand that dies here: for results written by one last instruction.
    Gpr def_over(Ref r) { return unlock_dying(), def(r); }
    Xmm def_over_x(Ref r) { return unlock_dying(), def_x(r); }
    /// The result's register, already holding operand `a`: for two-address forms.
    Gpr def_from(Ref r, Ref a) { return static_cast<Gpr>(def_from_reg(r, a)); }
    Xmm def_from_x(Ref r, Ref a) { return static_cast<Xmm>(def_from_reg(r, a) - 16); }
    /// The result is in `g` (a fixed or temp register of the caller), which becomes the value's.
    void def_in(Ref r, Gpr g) { own(reg_of(g), r), note(AllocNote::kDefIn, reg_of(g), r); }
    void def_in(Ref r, Xmm x) { own(reg_of(x), r), note(AllocNote::kDefIn, reg_of(x), r); }
    /// `r` is another name for `a`.
    void alias(Ref r, Ref a);
    /// The result's bits above 31 are zero.
    void mark_zext(Ref r) { val_[r].marks |= Value::kZext; }
    bool is_zext(Ref r) const { return val_[val_[r].root].marks & Value::kZext; }
    /// The XMM register of `r` is zero from bit `n` (16, 32, 64) up; greater: nothing is said.
    void mark_zero_from(Ref r, unsigned n) {
        val_[val_[r].root].marks |= n == 16 ? Value::kZeroFrom16 | Value::kZeroFrom32 | Value::kZeroFrom64
                         : n == 32 ? Value::kZeroFrom32 | Value::kZeroFrom64
                         : n == 64 ? Value::kZeroFrom64 : 0;
    }
    bool is_zero_from(Ref r, unsigned n) const {
        const Value& v = val_[val_[r].root];
        // A constant may be seen by a narrower name (vlow).
        if (const auto& i = (*f_)[val_[r].root]; i.op == ir::Op::kConst) return n >= 64 || static_cast<uint64_t>(i.imm) >> n == 0;
        return v.marks & (n == 16 ? Value::kZeroFrom16 : n == 32 ? Value::kZeroFrom32 : Value::kZeroFrom64);
    }
    /// Bits 63..32 of the register of kF32 value `r` are ones: it is NaN boxed as it is.
    void mark_boxed(Ref r) { val_[val_[r].root].marks |= Value::kBoxed; }
    bool is_boxed(Ref r) const { return in_xmm(val_[val_[r].root].type) && (val_[val_[r].root].marks & Value::kBoxed); }
    /// The type the register of `r` was made with: that of the value it is another name of.
    Type root_type(Ref r) const { return val_[val_[r].root].type; }
    /// `r` is scalar FP value `a` with the bits above it made definite, and may be made so in a's own register: nobody
    /// looks there. No when that register is not the one `r` is wanted in.
    bool may_widen(Ref r, Ref a) const {
        const Value& v = val_[val_[a].root];
        // The instruction says what it made; the value may have been widened for another user already.
        if (v.reg == kNoReg || v.type != (*f_)[a].type || v.type == Type::kV128 || (*f_)[val_[a].root].op == ir::Op::kConst) return false;
        const Reg h = usable_hint(r);
        return h == kNoReg || h == v.reg;
    }
    /// `r`, of type kF64 or kV128, is what now is in the register of scalar `a`; `a` is its low part from here on.
    void widen(Ref r, Ref a) {
        Value& v = val_[val_[a].root];
        v.type = val_[r].type;
        v.mem = Value::kNoMem;
        v.marks &= static_cast<uint8_t>(~(Value::kZeroFrom64 | Value::kZeroFrom32 | Value::kZeroFrom16 | Value::kBoxed));
        note(AllocNote::kWiden, v.reg, r, a);
        alias(r, a);
    }
    /// def_from_x(r, a) would give the register `a` is in, and `a` be lost.
    bool in_place(Ref r, Ref a) const {
        const Reg g = where(a), h = usable_hint(r);
        if (h != kNoReg && (g == h || !(locked_ >> h & 1))) return g == h;
        return g != kNoReg && scratch_here(g) && dies(a);
    }

    // ---- scratch registers of an instruction
    Gpr temp() { return static_cast<Gpr>(alloc(false, cur_)); }
    Xmm temp_x() { return static_cast<Xmm>(alloc(true, cur_) - 16); }
    /// This very register; what is in it moves away.
    Gpr fixed(Gpr g) { return take(reg_of(g)), g; }
    Xmm fixed(Xmm x) { return take(reg_of(x)), x; }
    /// Gives a temp or fixed register back before the instruction ends.
    void release(Gpr g) { locked_ &= ~(1u << reg_of(g)), note(AllocNote::kRelease, reg_of(g)); }
    void release(Xmm x) { locked_ &= ~(1u << reg_of(x)), note(AllocNote::kRelease, reg_of(x)); }

    // ---- guest slots
    void get_slot(Ref r, unsigned slot);
    void set_slot(unsigned slot, Ref v);
    /// Around a store to an unpinned slot made by the caller: the value there before is fetched if needed; after it the
    /// slot holds `v` (kNoRef: something unknown).
    void before_store(unsigned slot, Ref v);
    void stored(unsigned slot, Ref v);
    /// The state struct's memory of a slot.
    Mem slot_mem(unsigned slot) const { return Mem::at(Gpr::rbp, static_cast<int32_t>(arch_.slots[slot].offset) - kStateBias); }

    // ---- calls
    /// Every value needed after this instruction gets a place that a call leaves alone (memory, pinned registers).
    /// Registers keep what they hold until forget_scratch(). state: pinned registers and the state struct do not count.
    void save_for_call(bool state);
    /// Nothing is in scratch registers any more (after the arguments were moved). state: nor in guest slots.
    void forget_scratch(bool state);

    /// True when there were not enough spill slots or an instruction asked for the impossible.
    [[nodiscard]] bool failed() const { return failed_; }

  private:
    static constexpr unsigned kSpillSlots = kFrameBytes / 8;

    Reg use_reg(Ref r);
    Reg def_reg(Ref r);
    Reg def_from_reg(Ref r, Ref a);
    /// `until`: the last instruction that needs it.
    Reg alloc(bool xmm, uint32_t until);
    /// What the pinned register holds is not looked at before the slot is set, and nothing before that may fault or leave:
    /// until then it serves as a scratch register.
    bool idle(Reg g) const {
        const uint32_t set = pinned_until_[g];
        return set > cur_ && val_[cur_].barrier > set;
    }
    bool scratch_here(Reg g) const { return !pinned(g) || idle(g); }
    void take(Reg g);
    void evict(Reg g);
    void forget(Reg g);
    void spill(Ref v);
    void load(Reg d, Ref v);
    void move(Reg d, Reg s);
    void own(Reg g, Ref v);
    void relocate(Ref v);   // out of a pinned register that gets a new value
    void unlock_dying();
    bool fits_slot(Ref r, unsigned slot) const;
    Reg usable_hint(Ref r) const;
    Mem mem_of(const Value& v) const;
    int16_t alloc_spill(bool wide, Ref v);
    void note(AllocNote what, Reg reg, Ref value = kNoRef, Ref other = kNoRef, int mem = Value::kNoMem) {
        if (log_ != nullptr) [[unlikely]] log_->push_back({what, reg, static_cast<int16_t>(mem), e_.offset(), value, other});
    }
    bool live(Ref v) const { return val_[v].last_use > cur_; }
    bool pinned(Reg g) const { return layout_.pinned >> g & 1; }
    Reg pin_of(unsigned slot) const {
        if (layout_.gpr[slot] != kNotPinned) return layout_.gpr[slot];
        return layout_.xmm[slot] != kNotPinned ? static_cast<Reg>(16 + layout_.xmm[slot]) : kNoReg;
    }

    Emitter& e_;
    const guest::GuestArch& arch_;
    const Layout& layout_;
    const ir::Function* f_ = nullptr;
    Value* val_ = nullptr;
    Ref cur_ = 0;
    uint32_t locked_ = 0;       // registers of the current instruction
    std::array<Ref, 32> holder_{};      // the value in each register (pinned and not idle: known to equal the slot), kNoRef
    std::array<uint32_t, 32> pinned_until_{};  // the set that gives a pinned register its next value, 0: not known, or read before
    std::array<Ref, 128> slot_holds_{};  // the value known to be in each slot's memory, kNoRef
    std::array<Ref, kSpillSlots> spill_owner_{};
    AllocLog* log_ = nullptr;
    bool failed_ = false;
};

}  // namespace myna::x64
