// The evaluator's main loop, guest registers, flags and helpers.
#include "ir/eval.h"

#include <cstring>
#include <span>
#include <string_view>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "ir/eval_internal.h"
#include "ir/scalar.h"

namespace myna::ir {
namespace {

using guest::VcpuHeader;

/// The operations' operand counts, close together.
constexpr uint8_t kArgs[] = {
#define IR_OP(name, text, result, args, props, doc) static_cast<uint8_t>(std::string_view(args).size()),
#include "ir/ops.inc"
#undef IR_OP
};

unsigned slot_bytes(const guest::Slot& s) noexcept { return s.type == Type::kFlags ? 4 : width_of(s.type) / 8; }

/// Nearly always eight bytes, for which no function is called.
V128 read_slot(const guest::Slot& s, const void* state) noexcept {
    V128 v{};
    const char* from = static_cast<const char*>(state) + s.offset;
    if (s.type == Type::kI64) [[likely]] std::memcpy(&v, from, 8);
    else std::memcpy(&v, from, slot_bytes(s));
    return v;
}
void write_slot(const guest::Slot& s, void* state, const V128& v) noexcept {
    char* to = static_cast<char*>(state) + s.offset;
    if (s.type == Type::kI64) [[likely]] std::memcpy(to, &v, 8);
    else std::memcpy(to, &v, slot_bytes(s));
}

uint32_t eval_flags(const Inst& i, const V128& a, const V128& b, const V128& c) noexcept {
    const uint64_t va = a.u64[0], vb = b.u64[0], vc = c.u64[0];
    switch (i.op) {
        case Op::kFlSub: return flags_of_difference(va, vb, i.type);
        case Op::kFlAdd: return flags_of_sum(va, vb, false, i.type);
        case Op::kFlAdc: return flags_of_sum(va, vb, vc & 1, i.type);
        case Op::kFlLogic: return flags_of_logic(va, i.type);
        case Op::kFlCcmp:
            if (!holds(static_cast<Cond>(i.sub), static_cast<uint32_t>(va))) return static_cast<uint32_t>(i.imm & 15) << 28;
            return i.imm & 16 ? flags_of_sum(vb, vc, false, i.type) : flags_of_difference(vb, vc, i.type);
        case Op::kFlSel: return static_cast<uint32_t>(static_cast<uint32_t>(va) ? vb : vc);
        default: return static_cast<uint32_t>(va) & 0xf0000000;  // kFlPack, kFlUnpack
    }
}

/// Helpers find the guest's MXCSR in the register, as under translated code; what they leave there is the guest's.
class GuestMxcsr {
  public:
    explicit GuestMxcsr(VcpuHeader& hdr) : hdr_(hdr), before_(hdr.mxcsr) {
#if defined(__x86_64__)
        own_ = _mm_getcsr();
        _mm_setcsr(before_);
#endif
    }
    ~GuestMxcsr() {
#if defined(__x86_64__)
        const uint32_t now = _mm_getcsr();
        if (now != before_) hdr_.mxcsr = now;
        _mm_setcsr(own_);
#endif
    }
    GuestMxcsr(const GuestMxcsr&) = delete;
    GuestMxcsr& operator=(const GuestMxcsr&) = delete;

  private:
    VcpuHeader& hdr_;
    uint32_t before_;
    uint32_t own_ = 0;
};

V128 call_vector(const Inst& i, const V128& a, const V128& b, const V128& c, EvalContext& ctx) {
    using Fn = void(VcpuHeader*, V128*, uint32_t);
    V128* io = ctx.hdr.vscratch;
    io[0] = a;
    io[1] = b;
    io[2] = c;
    const GuestMxcsr mxcsr(ctx.hdr);
    reinterpret_cast<Fn*>(const_cast<void*>(ctx.arch.helpers[i.imm & 0xffff].fn))(&ctx.hdr, io, static_cast<uint32_t>(i.imm >> 16));
    return io[0];
}

uint64_t call_state(const Inst& i, uint64_t a, uint64_t b, uint64_t c, EvalContext& ctx) {
    using Fn = uint64_t(VcpuHeader*, uint64_t, uint64_t, uint64_t, uint32_t);
    ctx.hdr.exit_reason = 0;
    const GuestMxcsr mxcsr(ctx.hdr);
    return reinterpret_cast<Fn*>(const_cast<void*>(ctx.arch.helpers[i.imm & 0xffff].fn))(&ctx.hdr, a, b, c,
                                                                                        static_cast<uint32_t>(i.imm >> 16));
}

uint64_t call_pure(const Inst& i, uint64_t a, uint64_t b, uint64_t c, const EvalContext& ctx) {
    using Fn = uint64_t(uint64_t, uint64_t, uint64_t);
    return reinterpret_cast<Fn*>(const_cast<void*>(ctx.arch.helpers[i.imm].fn))(a, b, c);
}

V128 select(const Inst& i, const V128& a, const V128& b, const V128& c) noexcept {
    return static_cast<uint32_t>(a.u64[0]) ? b : c;
}

/// Integer results of calls are cut to their type.
V128 result_of_call(uint64_t v, Type t) noexcept { return scalar(cut(v, t)); }

}  // namespace

EvalResult Evaluator::run(const Function& f, void* state, EvalMemory& mem) {
    EvalContext ctx{f, arch_, *static_cast<VcpuHeader*>(state), mem};
    VcpuHeader& hdr = ctx.hdr;
    if (values_.size() < f.insts.size()) values_.resize(f.insts.size());
    const auto leave = [&hdr](uint64_t pc, ExitReason reason = ExitReason::kNone) {
        hdr.pc = pc;
        hdr.exit_reason = static_cast<uint32_t>(reason);
        return EvalResult{reason, pc};
    };
    static constexpr V128 kZero{};
    hdr.pc = f.pc;
    const std::span<const Inst> insts(f.insts);
    V128* const values = values_.data();
    for (size_t n = 0; n < insts.size(); ++n) {
        const Inst& i = insts[n];
        const unsigned args = kArgs[static_cast<unsigned>(i.op)];
        const V128& a = args > 0 && i.a != kNoRef ? values[i.a] : kZero;
        const V128& b = args > 1 && i.b != kNoRef ? values[i.b] : kZero;
        const V128& c = args > 2 && i.c != kNoRef ? values[i.c] : kZero;
        V128& r = values[n];
        switch (i.op) {
            case Op::kConst: r = scalar(i.imm & low_mask(width_of(i.type))); break;
            case Op::kVConst: r = f.vconsts[i.imm]; break;
            case Op::kGet: r = read_slot(arch_.slots[i.imm], state); break;
            case Op::kSet: write_slot(arch_.slots[i.imm], state, a); break;
            case Op::kInsn: hdr.pc = i.imm; break;
            case Op::kSelect: r = select(i, a, b, c); break;
            case Op::kFlSub:
            case Op::kFlAdd:
            case Op::kFlAdc:
            case Op::kFlLogic:
            case Op::kFlPack:
            case Op::kFlUnpack:
            case Op::kFlCcmp:
            case Op::kFlSel: r = scalar(eval_flags(i, a, b, c)); break;
            case Op::kCond: r = scalar(holds(static_cast<Cond>(i.sub), static_cast<uint32_t>(a.u64[0]))); break;
            case Op::kFence: __atomic_thread_fence(__ATOMIC_SEQ_CST); break;
            case Op::kCall: r = result_of_call(call_pure(i, a.u64[0], b.u64[0], c.u64[0], ctx), i.type); break;
            case Op::kVCall: r = call_vector(i, a, b, c, ctx); break;
            case Op::kCallState:
                r = result_of_call(call_state(i, a.u64[0], b.u64[0], c.u64[0], ctx), i.type);
                if (hdr.exit_reason) return {static_cast<ExitReason>(hdr.exit_reason), hdr.pc};
                break;
            case Op::kExit: return leave(i.imm);
            case Op::kExitIf:
                if (static_cast<uint32_t>(a.u64[0])) return leave(i.imm);
                break;
            case Op::kExitInd: return leave(a.u64[0]);
            case Op::kExitTrap:
                if (i.b != kNoRef) hdr.trap_arg = i.b;
                return leave(i.imm, static_cast<ExitReason>(i.sub));
            default:
                if (is_memory(i.op)) {
                    r = eval_memory(i, a, b, c, ctx);
                } else if (is_int_op(i.op)) {
                    r = scalar(eval_int(i.op, i.type, i.sub, a.u64[0], b.u64[0], c.u64[0], i.imm));
                } else if (i.op >= Op::kVAnd) {
                    r = eval_vector(i, a, b, c, ctx);
                } else {
                    r = eval_fp(i, a, b, c, ctx);
                }
        }
    }
    return leave(hdr.pc);  // a Function without terminator is malformed; the verifier says so
}

}  // namespace myna::ir
