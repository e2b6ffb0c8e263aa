// The checker of register allocation: abstract execution of one block's host code (alloc_check.h tells what it proves).
#include "codegen/alloc_check.h"

#include <Zydis/Zydis.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <map>
#include <set>
#include <vector>

#include "codegen/x64/regalloc.h"
#include "codegen/x64/selector.h"
#include "guest/common/state.h"

namespace myna::testing {
namespace {

using ir::kNoRef;
using ir::Op;
using ir::Ref;
using ir::Type;
using x64::AllocEvent;
using x64::AllocNote;

constexpr unsigned kSlots = 128, kCells = x64::kFrameBytes / 8, kMostErrors = 6;
constexpr unsigned kRsp = 4, kRbp = 5;

unsigned bytes_of(Type t) {
    switch (t) {
        case Type::kF16:
        case Type::kFlags: return 2;  // flags: what the raw form needs
        case Type::kI32:
        case Type::kF32: return 4;
        case Type::kV128: return 16;
        default: return 8;
    }
}

/// What a place holds.
struct Content {
    enum Kind : uint8_t { kNothing, kTemp, kValue, kConst } kind = kNothing;
    uint8_t bytes = 0;        // so many of the value's low bytes are there
    uint8_t part = 0;         // memory cells: 1 for the upper half of 16 bytes
    bool zero_above = false;  // a general register: bits 63..32 are zero
    uint32_t value = 0;       // kValue: IR value, or what a guest slot held at some point (Checker::held)
    uint64_t lo = 0, hi = 0;  // kConst
    friend bool operator==(const Content&, const Content&) = default;
};

struct State {
    std::array<Content, 32> reg{};
    std::array<Content, kCells> cell{};
    std::array<Content, kSlots> slot{};
    uint32_t written = 0;  // registers written by the current IR instruction
    int rsp = 0;           // bytes pushed
};

struct Insn {
    ZydisDecodedInstruction i;
    ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
};

/// Zydis' register as ours, and how many of its low bytes are meant; -1: none of the two files.
int number(ZydisRegister r, unsigned* bytes) {
    const ZydisRegister big = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, r);
    *bytes = ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, r) / 8;
    if (big >= ZYDIS_REGISTER_RAX && big <= ZYDIS_REGISTER_R15) return big - ZYDIS_REGISTER_RAX;
    if (big >= ZYDIS_REGISTER_ZMM0 && big <= ZYDIS_REGISTER_ZMM15) return 16 + big - ZYDIS_REGISTER_ZMM0;
    if (big >= ZYDIS_REGISTER_YMM0 && big <= ZYDIS_REGISTER_YMM15) return 16 + big - ZYDIS_REGISTER_YMM0;
    return -1;
}

std::string name(unsigned reg) {
    static constexpr const char* kGprs[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                            "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    return reg < 16 ? kGprs[reg] : "xmm" + std::to_string(reg - 16);
}

class Checker {
  public:
    explicit Checker(const AllocUnderTest& t) : t_(t), f_(t.function), count_(static_cast<uint32_t>(t.function.insts.size())) {
        ZydisDecoderInit(&decoder_, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
        narrow_.resize(count_);
        origin_.assign(count_, kNoRef);
        alias_.assign(count_, kNoRef);
        widened_.assign(count_, kNoRef);
        find_narrow();
        for (const AllocEvent& e : t.log)
            if (e.note == AllocNote::kTail) tail_ = e.offset;
        for (const x64::FaultPoint& p : t.block.faults) faults_.insert({p.host_offset, &p});
        for (unsigned s = 0; s < slots(); ++s) {
            now_[s] = held(s, 0);
            const Content c = value_of(now_[s], 16);
            state_.slot[s] = c;
            if (t.layout.gpr[s] != x64::kNotPinned) state_.reg[t.layout.gpr[s]] = c;
            if (t.layout.xmm[s] != x64::kNotPinned) state_.reg[16 + t.layout.xmm[s]] = c;
        }
        for (unsigned s = 0; s < slots(); ++s)
            if (t.layout.gpr[s] != x64::kNotPinned && slot_type(s) == Type::kI32) state_.reg[t.layout.gpr[s]].zero_above = true;
        for (unsigned s = 0; s < slots(); ++s) {
            if (t.layout.gpr[s] != x64::kNotPinned) pinned_ |= 1u << t.layout.gpr[s];
            if (t.layout.xmm[s] != x64::kNotPinned) pinned_ |= 1u << (16 + t.layout.xmm[s]);
        }
    }

    std::string run() {
        if (tail_ == 0 && t_.log.empty()) return "there is no log";
        size_t next = 0;
        for (uint32_t at = 0; at < tail_ && errors_ < kMostErrors;) {
            merge(at);
            for (; next < t_.log.size() && t_.log[next].offset <= at; ++next) event(t_.log[next]);
            at = step(at, true);
        }
        merge(tail_);
        for (; next < t_.log.size(); ++next) event(t_.log[next]);
        finish_inst();
        if (live_) error(tail_, "the hot code runs into what is behind it");
        return text_;
    }

  private:
    // ---- values
    size_t slots() const { return t_.arch.slots.size(); }
    Type slot_type(unsigned s) const { return t_.arch.slots[s].type; }
    /// What slot `s` held after `calls` state helpers, before any set.
    uint32_t held(unsigned s, uint32_t calls) const { return count_ + calls * kSlots + s; }
    Type type_of(uint32_t v) const {
        if (v >= count_) return slot_type((v - count_) % kSlots);
        return f_[v].op == Op::kStore ? Type::kVoid : ir::result_type(f_[v]);
    }
    static Content value_of(uint32_t v, unsigned bytes) { return {Content::kValue, static_cast<uint8_t>(bytes), 0, false, v, 0, 0}; }
    /// A `get` is what the slot held then.
    uint32_t resolve(uint32_t v) const {
        while (v < count_ && f_[v].op == Op::kGet && origin_[v] != kNoRef) v = origin_[v];
        return v;
    }
    /// Values whose upper 32 bits nobody looks at: extensions that need not be made.
    void find_narrow() {
        // What was not selected is dead, or is emitted by the instructions that use it.
        std::vector<bool> wide(count_), live(count_);
        for (const AllocEvent& e : t_.log)
            if (e.note == AllocNote::kInst) live[e.value] = true;
        for (Ref u = count_; u-- > 0;) {
            const ir::Inst& n = f_[u];
            if (!live[u]) continue;
            for (const Ref a : {n.a, n.b, n.c})
                if (a < count_ && n.op != Op::kExitTrap) live[a] = true;
        }
        for (Ref u = 0; u < count_; ++u) {
            const ir::Inst& n = f_[u];
            if (!live[u]) continue;
            const Ref args[] = {n.a, n.b, n.c};
            for (unsigned k = 0; k < ir::info(n.op).arg_count; ++k) {
                if (args[k] == kNoRef) continue;
                bool low = n.op == Op::kTrunc || n.op == Op::kSext8 || n.op == Op::kSext16 || n.op == Op::kZext8 || n.op == Op::kZext16;
                low |= n.op == Op::kStore && k == 1 && (n.sub & ir::MemAttr::kSizeMask) <= 2;
                low |= n.op == Op::kShl && k == 0 && n.type == Type::kI64 && f_[n.b].op == Op::kConst && f_[n.b].imm >= 32 && f_[n.b].imm < 64;
                if (!low) wide[args[k]] = true;
            }
        }
        for (Ref r = 0; r < count_; ++r) narrow_[r] = !wide[r];
    }
    bool constant(uint32_t v, uint64_t* lo, uint64_t* hi) const {
        if (v >= count_) return false;
        const ir::Inst& n = f_[v];
        *hi = 0;
        if (n.op == Op::kConst) {
            *lo = n.imm;
            return true;
        }
        if (n.op != Op::kVConst) return false;
        *lo = f_.vconsts[n.imm].u64[0], *hi = f_.vconsts[n.imm].u64[1];
        return true;
    }
    /// `c` is a value that can stand for `v` in all the bits that v's type has.
    bool stands_for(const Content& c, uint32_t v, unsigned need, unsigned depth = 0) const {
        if (depth > 40 || c.part != 0) return false;
        v = resolve(v);
        if (c.kind == Content::kNothing || c.kind == Content::kTemp) return false;
        if (c.kind == Content::kConst) {
            uint64_t lo, hi;
            if (constant(v, &lo, &hi)) {
                uint8_t a[16], b[16];
                std::memcpy(a, &c.lo, 8), std::memcpy(a + 8, &c.hi, 8), std::memcpy(b, &lo, 8), std::memcpy(b + 8, &hi, 8);
                return c.bytes >= need && std::memcmp(a, b, need) == 0;
            }
        } else if (resolve(c.value) == v) {
            return c.bytes >= need;
        }
        if (v < count_) {
            const ir::Inst& n = f_[v];
            if (n.op == Op::kTrunc && stands_for(c, n.a, 4, depth + 1)) return true;
            if ((n.op == Op::kZext || n.op == Op::kSext) && need <= 4 && stands_for(c, n.a, need, depth + 1)) return true;
            if (alias_[v] != kNoRef) {
                if (n.op == Op::kZext) {
                    const bool zero = c.kind == Content::kConst ? c.lo >> 32 == 0 : c.zero_above || zero_by_type(c);
                    if ((zero || narrow_[v]) && stands_for(c, n.a, 4, depth + 1)) return true;
                } else if (n.op == Op::kSext) {
                    if (narrow_[v] && stands_for(c, n.a, 4, depth + 1)) return true;
                } else if (n.op != Op::kTrunc && stands_for(c, alias_[v], need, depth + 1)) {
                    return true;
                }
            }
        }
        const uint32_t held_value = resolve(c.value);
        if (c.kind != Content::kValue || held_value >= count_) return false;
        // What the register was widened from is its low part still.
        if (const Ref low = widened_[held_value]; low != kNoRef) {
            Content part = value_of(low, bytes_of(type_of(low)));
            return stands_for(part, v, need, depth + 1);
        }
        if (const Ref same = alias_[held_value]; same != kNoRef && f_[held_value].op != Op::kTrunc) {
            Content other = c;
            other.value = same;
            return stands_for(other, v, need, depth + 1);
        }
        return false;
    }
    /// A guest slot of 4 bytes is loaded with a 32-bit move.
    bool zero_by_type(const Content& c) const { return c.kind == Content::kValue && c.value >= count_ && type_of(c.value) == Type::kI32; }
    bool holds(const Content& c, uint32_t v) const { return stands_for(c, v, bytes_of(type_of(v))); }

    // ---- the log
    void event(const AllocEvent& e) {
        if (e.note == AllocNote::kInst) {
            if (e.value == inst_) {
                operand_.fill(kNoRef);
                return;
            }
            finish_inst();
            begin_inst(e.value);
            return;
        }
        if (e.note == AllocNote::kAlias) {
            alias(e.value, e.other, e.offset);
            return;
        }
        if (!live_) return;
        const unsigned g = e.reg;
        const auto must_hold = [&](uint32_t v, const char* what) {
            const bool made_now = result_[g] != kNoRef && resolve(result_[g]) == resolve(v) && (state_.written >> g & 1);
            if (!made_now && !holds(state_.reg[g], v)) error(e.offset, std::string(what) + " %" + std::to_string(v) + " is not in " + name(g));
        };
        const auto take = [&] {
            if (operand_[g] != kNoRef) error(e.offset, name(g) + " is given away, but is operand %" + std::to_string(operand_[g]));
            owned_ |= 1u << g;
        };
        switch (e.note) {
            case AllocNote::kUse:
                must_hold(e.value, "operand");
                // In a register that is the instruction's own copy, the operand may be overwritten by what reads it last.
                if (!(copied_ >> g & 1)) operand_[g] = e.value;
                return;
            case AllocNote::kCopy:
                must_hold(e.value, "copied operand");
                take();
                copied_ |= 1u << g;
                return;
            case AllocNote::kOwn:
                result_[g] = kNoRef;
                copied_ &= ~(1u << g);
                take();
                return;
            case AllocNote::kMove: take(); return;
            case AllocNote::kRelease: operand_[g] = kNoRef; return;
            case AllocNote::kUnlock: operand_.fill(kNoRef); return;
            case AllocNote::kDefFrom:
                must_hold(e.other, "two-address operand");
                operand_[g] = kNoRef;
                state_.written |= 1u << g;  // an operation may leave it as it is
                copied_ |= 1u << g;
                [[fallthrough]];
            case AllocNote::kDef:
                take();
                result_[g] = e.value;
                return;
            case AllocNote::kDefIn: {
                take();
                if (!(state_.written >> g & 1)) error(e.offset, "result %" + std::to_string(e.value) + " was never written to " + name(g));
                const bool zero = state_.reg[g].zero_above;
                state_.reg[g] = value_of(resolve(e.value), 16);
                state_.reg[g].zero_above = zero;
                result_[g] = kNoRef;
                return;
            }
            case AllocNote::kWiden:
                widened_[e.value] = e.other;
                overwritten_ &= ~(1u << g);
                state_.reg[g] = value_of(e.value, 16);
                return;
            case AllocNote::kMem: {
                const Content& c = e.mem >= 0 ? state_.cell[static_cast<unsigned>(e.mem)] : state_.slot[static_cast<unsigned>(-2 - e.mem)];
                if (!holds(c, e.value)) error(e.offset, "operand %" + std::to_string(e.value) + " is not in " + place(e.mem));
                return;
            }
            case AllocNote::kStored: {
                const auto s = static_cast<unsigned>(-2 - e.mem);
                if (slot_type(s) == Type::kFlags) state_.slot[s] = value_of(resolve(e.value), 2);
                return;
            }
            case AllocNote::kForget:
                owned_ |= scratch();
                operand_.fill(kNoRef);
                return;
            default: return;
        }
    }
    void alias(Ref r, Ref a, uint32_t offset) {
        const ir::Inst& n = f_[r];
        bool right = false;
        switch (n.op) {
            case Op::kGet: return;  // follows from the IR: resolve()
            case Op::kTrunc: case Op::kZext: case Op::kSext: case Op::kVLow: case Op::kBitcast: case Op::kVZext:
            case Op::kBox32: case Op::kVAesMc: case Op::kVAesImc: right = n.a == a; break;
            case Op::kFSgnj: right = n.a == a && n.b == a && n.sub == 0; break;
            case Op::kFCvt: right = n.a == a && n.type == type_of(a); break;
            case Op::kVShlI: case Op::kVShrI: case Op::kVSarI: case Op::kVExt: case Op::kVGet: right = n.a == a && (n.imm & 0xff) == 0; break;
            case Op::kVRev: right = n.a == a; break;
            default: break;
        }
        if (right) alias_[r] = a;
        else error(offset, "%" + std::to_string(r) + " cannot be another name for %" + std::to_string(a));
    }
    void begin_inst(Ref i) {
        // Instructions without code of their own were passed over; what they do to the guest state counts.
        for (Ref k = inst_ == kNoRef ? 0 : inst_ + 1; k <= i; ++k) {
            const ir::Inst& n = f_[k];
            if (n.op == Op::kGet) origin_[k] = now_[n.imm];
            if (n.op == Op::kSet) now_[n.imm] = n.a;
        }
        inst_ = i;
        owned_ = copied_ = overwritten_ = 0;
        operand_.fill(kNoRef);
        result_.fill(kNoRef);
        state_.written = 0;
        faults_here_ = 0;
        if (ir::info(f_[i].op).leaves && f_[i].op != Op::kCallState && f_[i].op != Op::kExitIf) owned_ = scratch();
    }
    void finish_inst() {
        if (inst_ == kNoRef || !live_) return;
        for (unsigned g = 0; g < 32; ++g) {
            if (overwritten_ >> g & 1) error(at_, "operand register " + name(g) + " was overwritten");
            if (result_[g] == kNoRef) continue;
            if (!(state_.written >> g & 1)) {
                // The operand's own register, when the result is the same bits.
                const Ref a = f_[result_[g]].a;
                if (a < count_ && holds(state_.reg[g], a)) alias(result_[g], a, at_);
                else error(at_, "result %" + std::to_string(result_[g]) + " was never written to " + name(g));
            }
            const bool zero = state_.reg[g].zero_above;
            state_.reg[g] = value_of(result_[g], 16);
            state_.reg[g].zero_above = zero;
        }
        const ir::Inst& n = f_[inst_];
        if (ir::info(n.op).may_fault && n.op != Op::kCallState && !t_.system_mode && faults_here_ == 0)
            error(at_, "nothing in it is in the fault table");
        if (n.op == Op::kCallState) {
            ++calls_;
            for (unsigned s = 0; s < slots(); ++s) now_[s] = held(s, calls_);
        }
    }

    // ---- the code
    void error(uint32_t at, const std::string& what) {
        if (errors_++ >= kMostErrors) return;
        char head[48];
        std::snprintf(head, sizeof head, "%%%d, code +%x: ", static_cast<int>(inst_), at);
        text_ += head + what + "\n";
    }
    static std::string place(int mem) { return mem >= 0 ? "spill slot " + std::to_string(mem) : "the memory of guest slot " + std::to_string(-2 - mem); }
    uint32_t scratch() const { return ~(pinned_ | 1u << kRsp | 1u << kRbp); }

    void merge(uint32_t at) {
        const auto it = pending_.find(at);
        if (it == pending_.end()) return;
        for (const State& s : it->second) {
            if (!live_) {
                state_ = s;
                live_ = true;
                continue;
            }
            const uint32_t written = state_.written | s.written;
            for (unsigned g = 0; g < 32; ++g) {
                if (state_.reg[g] == s.reg[g]) continue;
                Content& c = state_.reg[g];
                const Content& o = s.reg[g];
                if (written >> g & 1) c = {Content::kTemp, 0, 0, c.zero_above && o.zero_above, 0, 0, 0};
                else if (c.kind == Content::kValue && o.kind == Content::kValue && c.value == o.value && c.part == o.part)
                    c.bytes = std::min(c.bytes, o.bytes), c.zero_above &= o.zero_above;
                else c = {};
            }
            for (unsigned k = 0; k < kCells; ++k)
                if (state_.cell[k] != s.cell[k]) state_.cell[k] = {};
            for (unsigned k = 0; k < slots(); ++k)
                if (state_.slot[k] != s.slot[k]) state_.slot[k] = {};
            state_.written = written;
        }
        pending_.erase(it);
    }

    bool decode(uint32_t at, Insn& x) {
        return at < t_.code.size() && ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder_, t_.code.data() + at, t_.code.size() - at, &x.i, x.op));
    }

    /// Executes the instruction at `at`; where the next one is. hot: part of the block's straight line.
    uint32_t step(uint32_t at, bool hot) {
        Insn x;
        at_ = at;
        if (!decode(at, x)) {
            error(at, "not an instruction");
            live_ = false;
            return static_cast<uint32_t>(t_.code.size());
        }
        const uint32_t next = at + x.i.length;
        if (!live_) return next;
        if (const auto p = faults_.find(at); p != faults_.end()) {
            ++faults_here_;
            precise(at, p->second);
        }
        if (x.i.mnemonic == ZYDIS_MNEMONIC_NOP) return next;
        reads(x, at);
        if (!branch(x, at, next, hot)) effect(x, at, next, hot);
        return next;
    }

    void reads(const Insn& x, uint32_t at) {
        if (x.i.operand_count_visible >= 2 && same_register(x)) return;
        for (unsigned k = 0; k < x.i.operand_count; ++k) {
            const ZydisDecodedOperand& o = x.op[k];
            unsigned bytes;
            const auto check = [&](ZydisRegister r) {
                const int g = number(r, &bytes);
                if (g >= 0 && g < 16 && state_.reg[static_cast<unsigned>(g)].kind == Content::kNothing && g != kRsp && g != kRbp)
                    error(at, name(static_cast<unsigned>(g)) + " is read, and holds nothing of use");
            };
            if (o.type == ZYDIS_OPERAND_TYPE_REGISTER && (o.actions & ZYDIS_OPERAND_ACTION_MASK_READ) && x.i.mnemonic != ZYDIS_MNEMONIC_PUSH) check(o.reg.value);
            if (o.type == ZYDIS_OPERAND_TYPE_MEMORY) {
                if (o.mem.base != ZYDIS_REGISTER_NONE && o.mem.base != ZYDIS_REGISTER_RIP) check(o.mem.base);
                if (o.mem.index != ZYDIS_REGISTER_NONE) check(o.mem.index);
            }
        }
    }
    /// xor r, r and the like: what is in it does not matter.
    static bool same_register(const Insn& x) {
        const ZydisDecodedOperand& a = x.op[x.i.operand_count_visible - 1];
        const ZydisDecodedOperand& b = x.op[x.i.operand_count_visible - 2];
        if (a.type != ZYDIS_OPERAND_TYPE_REGISTER || b.type != ZYDIS_OPERAND_TYPE_REGISTER || a.reg.value != b.reg.value) return false;
        switch (x.i.mnemonic) {
            case ZYDIS_MNEMONIC_XOR: case ZYDIS_MNEMONIC_PXOR: case ZYDIS_MNEMONIC_VPXOR: case ZYDIS_MNEMONIC_XORPS: case ZYDIS_MNEMONIC_VXORPS:
            case ZYDIS_MNEMONIC_PCMPEQD: case ZYDIS_MNEMONIC_VPCMPEQD: case ZYDIS_MNEMONIC_CMP: return true;
            default: return false;
        }
    }

    /// Jumps and calls. True: that was it.
    bool branch(const Insn& x, uint32_t at, uint32_t next, bool hot) {
        const auto category = x.i.meta.category;
        if (category != ZYDIS_CATEGORY_COND_BR && category != ZYDIS_CATEGORY_UNCOND_BR && category != ZYDIS_CATEGORY_CALL) return false;
        const bool always = category == ZYDIS_CATEGORY_UNCOND_BR;
        const ZydisDecodedOperand& o = x.op[0];
        if (o.type != ZYDIS_OPERAND_TYPE_IMMEDIATE) {  // through the indirect-branch cache
            edge(at, "an indirect exit", state_);
            live_ = false;
            return true;
        }
        const int64_t target = static_cast<int64_t>(next) + o.imm.value.s;
        const uint64_t address = t_.exec + static_cast<uint64_t>(target);
        if (category == ZYDIS_CATEGORY_CALL) {
            call(address, at, next);
            return true;
        }
        if (target >= 0 && target < static_cast<int64_t>(t_.code.size())) {
            const auto to = static_cast<uint32_t>(target);
            if (to > at) {
                if (hot && to >= tail_) cold(to);
                else pending_[to].push_back(state_);
            }
        } else if (address == t_.stubs.lookup || address == t_.stubs.exit) {
            edge(at, "an exit", state_);
        } else {
            error(at, "a jump to an unknown place");
        }
        if (always) live_ = false;
        return true;
    }
    /// The cold path at `to`, reached from here.
    void cold(uint32_t to) {
        const State here = state_;
        const bool was = live_;
        const uint32_t at = at_;
        live_ = true;
        std::set<uint32_t> seen;
        for (uint32_t k = to; k < t_.code.size() && errors_ < kMostErrors;) {
            if (k != to) merge(k);
            if (!live_) {  // on to a label within this cold path, if there is one
                const auto label = pending_.lower_bound(tail_);
                if (label == pending_.end()) break;
                k = label->first;
                continue;
            }
            if (!seen.insert(k).second) break;
            k = step(k, false);
        }
        state_ = here;
        live_ = was;
        at_ = at;
    }

    void call(uint64_t address, uint32_t at, uint32_t next) {
        if (address == t_.stubs.link || address == t_.stubs.poll) {
            edge(at, address == t_.stubs.link ? "a direct exit" : "a poll", state_);
            live_ = false;
        } else if (address == t_.stubs.soft) {
            // All registers are kept.
        } else if (address == t_.stubs.mmu) {
            edge(at, "a slow memory access", state_);
        } else if (address == t_.stubs.call_pure || address == t_.stubs.call_vector) {
            if (address == t_.stubs.call_pure) arguments(at, {7, 3, 2});
            clobber_scratch();
        } else if (address == t_.stubs.call_state) {
            arguments(at, {3, 2, 1});
            edge(at, "a state helper", state_);
            // The return address stands in the fault table; the state was checked here.
            const auto p = faults_.find(next);
            if (p == faults_.end()) error(at, "the return address is not in the fault table");
            else faults_.erase(p);
            clobber_scratch();
            for (unsigned s = 0; s < slots(); ++s) {
                const Content c = value_of(held(s, calls_ + 1), 16);
                state_.slot[s] = c;
                if (t_.layout.gpr[s] != x64::kNotPinned) {
                    state_.reg[t_.layout.gpr[s]] = c;
                    state_.reg[t_.layout.gpr[s]].zero_above = slot_type(s) == Type::kI32;
                }
                if (t_.layout.xmm[s] != x64::kNotPinned) state_.reg[16 + t_.layout.xmm[s]] = c;
            }
        } else {
            error(at, "a call to an unknown place");
        }
    }
    void arguments(uint32_t at, std::array<unsigned, 3> regs) {
        const ir::Inst& n = f_[inst_];
        const Ref args[] = {n.a, n.b, n.c};
        for (unsigned k = 0; k < 3; ++k)
            if (args[k] != kNoRef && !holds(state_.reg[regs[k]], args[k]))
                error(at, "argument %" + std::to_string(args[k]) + " is not in " + name(regs[k]));
    }
    void clobber_scratch() {
        for (unsigned g = 0; g < 32; ++g)
            if (scratch() >> g & 1) state_.reg[g] = {};
        state_.reg[0].kind = Content::kTemp;
        state_.written |= 1;
    }

    /// The guest state as the IR has it now, in registers and memory.
    void edge(uint32_t at, const char* what, const State& s, bool flags = true) {
        for (unsigned k = 0; k < slots(); ++k) {
            if (!flags && slot_type(k) == Type::kFlags) continue;
            const Content& c = t_.layout.gpr[k] != x64::kNotPinned   ? s.reg[t_.layout.gpr[k]]
                               : t_.layout.xmm[k] != x64::kNotPinned ? s.reg[16 + t_.layout.xmm[k]]
                                                                     : s.slot[k];
            if (!stands_for(c, now_[k], bytes_of(slot_type(k))))
                error(at, std::string("guest register ") + std::string(t_.arch.slots[k].name) + " is not in its place at " + what);
        }
    }
    void precise(uint32_t at, const x64::FaultPoint* p) {
        // Flags that are overwritten unread are not kept at faults (docs/jit.md, invariant 2).
        bool flags = p->flags == x64::FlagForm::kState;
        for (Ref k = inst_; flags && k < count_; ++k) {
            const ir::Inst& n = f_[k];
            if (n.op == Op::kSet && slot_type(static_cast<unsigned>(n.imm)) == Type::kFlags) flags = false;
            if ((n.op == Op::kGet && slot_type(static_cast<unsigned>(n.imm)) == Type::kFlags) || ir::info(n.op).leaves) break;
        }
        edge(at, "a possible fault", state_, flags);
    }

    // ---- what instructions do
    struct Place {
        enum { kReg, kCell, kSlot, kLiteral, kImm, kOther } what = kOther;
        unsigned index = 0, bytes = 0;
        uint64_t lo = 0, hi = 0;
    };
    Place place_of(const Insn& x, unsigned k, uint32_t next) const {
        const ZydisDecodedOperand& o = x.op[k];
        Place p;
        p.bytes = o.size / 8;
        if (o.type == ZYDIS_OPERAND_TYPE_REGISTER) {
            const int g = number(o.reg.value, &p.bytes);
            if (g >= 0) p.what = Place::kReg, p.index = static_cast<unsigned>(g);
        } else if (o.type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
            p.what = Place::kImm;
            p.lo = o.imm.is_signed ? static_cast<uint64_t>(o.imm.value.s) : o.imm.value.u;
        } else if (o.type == ZYDIS_OPERAND_TYPE_MEMORY && o.mem.index == ZYDIS_REGISTER_NONE && o.mem.segment != ZYDIS_REGISTER_GS) {
            const int64_t d = o.mem.disp.value;
            if (o.mem.base == ZYDIS_REGISTER_RSP && d - state_.rsp >= 0 && d - state_.rsp < x64::kFrameBytes) {
                p.what = Place::kCell, p.index = static_cast<unsigned>(d - state_.rsp) / 8;
            } else if (o.mem.base == ZYDIS_REGISTER_RBP) {
                for (unsigned s = 0; s < slots(); ++s)
                    if (t_.arch.slots[s].offset == d + x64::kStateBias) p.what = Place::kSlot, p.index = s;
            } else if (o.mem.base == ZYDIS_REGISTER_RIP) {
                const auto from = static_cast<uint64_t>(static_cast<int64_t>(next) + d);
                if (from + 16 <= t_.code.size()) {
                    p.what = Place::kLiteral;
                    std::memcpy(&p.lo, &t_.code[from], 8), std::memcpy(&p.hi, &t_.code[from + 8], 8);
                }
            }
        }
        return p;
    }
    Content read(const Place& p) const {
        Content c;
        switch (p.what) {
            case Place::kReg: c = state_.reg[p.index]; break;
            case Place::kCell:
                c = state_.cell[p.index];
                if (p.bytes == 16) {
                    const Content& up = state_.cell[p.index + 1];
                    if (up.part != 1 || up.kind != c.kind || up.value != c.value || up.lo != c.lo || up.hi != c.hi) c.bytes = std::min<uint8_t>(c.bytes, 8);
                }
                break;
            case Place::kSlot: c = state_.slot[p.index]; break;
            case Place::kLiteral:
            case Place::kImm: return {Content::kConst, 16, 0, false, 0, p.lo, p.hi};
            default: return {Content::kTemp, 0, 0, false, 0, 0, 0};
        }
        c.bytes = static_cast<uint8_t>(std::min<unsigned>(c.bytes, p.bytes));
        return c;
    }
    void write(const Place& p, Content c, uint32_t at, bool hot) {
        if (p.what == Place::kReg) {
            const unsigned g = p.index;
            if (g == kRsp || g == kRbp) return;
            if (hot && !(owned_ >> g & 1)) {
                if (operand_[g] == kNoRef) error(at, name(g) + " is written, but belongs to nobody here");
                else overwritten_ |= 1u << g;
            } else if (hot && operand_[g] != kNoRef) {
                overwritten_ |= 1u << g;
            }
            state_.written |= 1u << g;
            if (g < 16 && p.bytes == 4) {
                if (c.kind == Content::kConst) c.lo = static_cast<uint32_t>(c.lo);
                else c.bytes = std::min<uint8_t>(c.bytes, 4);
                c.zero_above = true;
            }
            if (g < 16 && p.bytes < 4) c = {Content::kTemp, 0, 0, state_.reg[g].zero_above, 0, 0, 0};
            state_.reg[g] = c;
            return;
        }
        c.bytes = static_cast<uint8_t>(std::min<unsigned>(c.bytes, p.bytes));
        if (p.bytes < 8) c.zero_above = false;
        if (p.what == Place::kCell) {
            // Sixteen bytes that lose their upper half keep the lower one.
            Content& cell = state_.cell[p.index];
            if (cell.part == 1 && p.index > 0 && state_.cell[p.index - 1].bytes > 8) state_.cell[p.index - 1].bytes = 8;
            cell = c;
            if (p.bytes == 16) {
                state_.cell[p.index + 1] = c;
                state_.cell[p.index + 1].part = 1;
            }
        } else if (p.what == Place::kSlot) {
            state_.slot[p.index] = c;
        }
    }

    /// Instructions that write 64 bits of which the upper half is zero, here.
    bool zero_extends(const Insn& x) const {
        switch (x.i.mnemonic) {
            case ZYDIS_MNEMONIC_CRC32: return true;
            case ZYDIS_MNEMONIC_CVTTSS2SI: case ZYDIS_MNEMONIC_CVTTSD2SI: case ZYDIS_MNEMONIC_VCVTTSS2SI: case ZYDIS_MNEMONIC_VCVTTSD2SI:
                return f_[inst_].op == Op::kFToU && f_[inst_].type == Type::kI32;  // in range, or not used
            default: return false;
        }
    }
    void effect(const Insn& x, uint32_t at, uint32_t next, bool hot) {
        const unsigned visible = x.i.operand_count_visible;
        switch (x.i.mnemonic) {
            case ZYDIS_MNEMONIC_PUSH: state_.rsp += 8; return;
            case ZYDIS_MNEMONIC_LEA:
                if (x.op[0].reg.value == ZYDIS_REGISTER_RSP) {
                    state_.rsp -= static_cast<int>(x.op[1].mem.disp.value);
                    return;
                }
                break;
            case ZYDIS_MNEMONIC_MOV: case ZYDIS_MNEMONIC_MOVAPS: case ZYDIS_MNEMONIC_VMOVAPS: case ZYDIS_MNEMONIC_MOVUPS:
            case ZYDIS_MNEMONIC_VMOVUPS: case ZYDIS_MNEMONIC_MOVDQA: case ZYDIS_MNEMONIC_VMOVDQA: case ZYDIS_MNEMONIC_MOVAPD:
            case ZYDIS_MNEMONIC_VMOVAPD: case ZYDIS_MNEMONIC_MOVDQU: case ZYDIS_MNEMONIC_VMOVDQU: case ZYDIS_MNEMONIC_MOVQ:
            case ZYDIS_MNEMONIC_VMOVQ: case ZYDIS_MNEMONIC_MOVD: case ZYDIS_MNEMONIC_VMOVD: {
                const Place to = place_of(x, 0, next), from = place_of(x, 1, next);
                Content c = read(from);
                // A soft implementation's 32-bit result comes zero extended, in eight bytes.
                if (!hot && from.what == Place::kOther && x.op[1].mem.base == ZYDIS_REGISTER_RBP && type_of(inst_) == Type::kI32) c.zero_above = true;
                // Between the files: a new value (bitcast), not a move of the allocator.
                if (to.what == Place::kReg && from.what == Place::kReg && (to.index < 16) != (from.index < 16)) c = {Content::kTemp, 0, 0, false, 0, 0, 0};
                if (to.what == Place::kReg && to.index >= 16 && from.what == Place::kReg && (x.i.mnemonic == ZYDIS_MNEMONIC_MOVQ || x.i.mnemonic == ZYDIS_MNEMONIC_VMOVQ))
                    c.bytes = std::min<uint8_t>(c.bytes, 8);
                write(to, c, at, hot);
                return;
            }
            case ZYDIS_MNEMONIC_XCHG: {
                const Place a = place_of(x, 0, next), b = place_of(x, 1, next);
                const Content ca = read(a), cb = read(b);
                write(a, cb, at, hot);
                write(b, ca, at, hot);
                return;
            }
            case ZYDIS_MNEMONIC_XOR: case ZYDIS_MNEMONIC_PXOR: case ZYDIS_MNEMONIC_VPXOR: case ZYDIS_MNEMONIC_XORPS: case ZYDIS_MNEMONIC_VXORPS:
                if (same_register(x)) {
                    write(place_of(x, 0, next), {Content::kConst, 16, 0, true, 0, 0, 0}, at, hot);
                    return;
                }
                break;
            case ZYDIS_MNEMONIC_PCMPEQD: case ZYDIS_MNEMONIC_VPCMPEQD:
                if (same_register(x)) {
                    write(place_of(x, 0, next), {Content::kConst, 16, 0, false, 0, ~uint64_t{0}, ~uint64_t{0}}, at, hot);
                    return;
                }
                break;
            default: break;
        }
        // Anything else makes temporaries of all it writes.
        for (unsigned k = 0; k < x.i.operand_count; ++k) {
            if (!(x.op[k].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)) continue;
            if (k >= visible && x.op[k].type != ZYDIS_OPERAND_TYPE_REGISTER) continue;
            write(place_of(x, k, next), {Content::kTemp, 0, 0, zero_extends(x), 0, 0, 0}, at, hot);
        }
    }

    const AllocUnderTest& t_;
    const ir::Function& f_;
    const uint32_t count_;
    ZydisDecoder decoder_;
    std::vector<bool> narrow_;
    std::vector<uint32_t> origin_;   // of a get: what the slot held
    std::vector<Ref> alias_;         // claimed and checked
    std::vector<Ref> widened_;       // the value whose register became this one's
    std::array<uint32_t, kSlots> now_{};  // what each guest slot holds, as the IR says
    std::multimap<uint32_t, const x64::FaultPoint*> faults_;
    std::map<uint32_t, std::vector<State>> pending_;  // states of jumps to a place ahead
    State state_;
    bool live_ = true;
    uint32_t tail_ = 0, at_ = 0, calls_ = 0, pinned_ = 0;
    // of the current IR instruction
    Ref inst_ = kNoRef;
    uint32_t owned_ = 0, copied_ = 0, overwritten_ = 0;
    unsigned faults_here_ = 0;
    std::array<Ref, 32> operand_{}, result_{};
    std::string text_;
    unsigned errors_ = 0;
};

}  // namespace

std::string check_allocation(const AllocUnderTest& t) { return Checker(t).run(); }

}  // namespace myna::testing
