// Calls of the exact implementation from translated code, and the runtime helpers behind them.
#include "codegen/x64/lane_call.h"

#include <xmmintrin.h>

#include "codegen/x64/runtime.h"

namespace myna::x64 {

namespace {

using ir::FpMode;
using ir::Function;
using ir::LaneOp;
using ir::NanRule;

// The helper's 32-bit argument: op:9 type:3 src:3 sub:5 imm:12. imm of vector conversions is Round in bits 4..0 and
// fraction bits from bit 8 on; the latter move down to bit 5 (others with fraction bits only, and all else, fit as is).

constexpr bool split_imm(Op op) {
    return op == Op::kVFToS || op == Op::kVFToU || op == Op::kVSToF || op == Op::kVUToF || op == Op::kVFRound;
}
uint32_t packed(const LaneOp& o) {
    const Op op = static_cast<Op>(o.op);
    const uint32_t imm = static_cast<uint32_t>(split_imm(op) ? (o.imm & 31) | (o.imm >> 8 & 127) << 5 : o.imm & 0xfff);
    return o.op | static_cast<uint32_t>(o.type) << 9 | static_cast<uint32_t>(o.src) << 12 | static_cast<uint32_t>(o.sub & 31) << 15 | imm << 20;
}
LaneOp unpacked(uint32_t arg, NanRule rule, uint8_t mode) {
    const Op op = static_cast<Op>(arg & 0x1ff);
    const uint32_t imm = arg >> 20;
    return {.op = static_cast<uint16_t>(op), .type = static_cast<Type>(arg >> 9 & 7), .src = static_cast<Type>(arg >> 12 & 7),
            .sub = static_cast<uint8_t>(arg >> 15 & 31), .nan_rule = static_cast<uint8_t>(rule), .fp_mode = mode, .reserved = 0,
            .imm = split_imm(op) ? (imm & 31) | uint64_t{imm >> 5} << 8 : imm};
}
static_assert(static_cast<unsigned>(Op::kCount) < 512);

void run(ir::V128* io, const LaneOp& op) {
    const uint32_t before = _mm_getcsr();
    uint32_t mxcsr = before;
    io[0] = ir::evaluate_lanes(op, io[0], io[1], io[2], mxcsr);
    if (mxcsr != before) _mm_setcsr(mxcsr);
}

struct Packed {
    RtHelper helper;
    uint32_t arg;
    uint32_t mode;  // for lanes_mode: NanRule | FpMode << 8, goes to vscratch[3]
};
Packed pack(const Selector& s, Ref i) {
    const Inst& in = s.inst(i);
    const LaneOp o = ir::lane_op(s.function(), in, in.a == kNoRef ? Type::kVoid : operand_type(s, in.a));
    constexpr RtHelper kByRule[] = {RtHelper::lanes_arm, RtHelper::lanes_riscv, RtHelper::lanes_arm_default};
    return {o.fp_mode ? RtHelper::lanes_mode : kByRule[o.nan_rule], packed(o), o.nan_rule | static_cast<uint32_t>(o.fp_mode) << 8};
}

void emit_call(Selector& s, const Packed& p) {
    if (p.helper == RtHelper::lanes_mode) s.e.mov_mi(false, Selector::vscratch_mem(3), static_cast<int32_t>(p.mode));
    s.soft_call(p.helper, p.arg);
}
void store_operand(Selector& s, unsigned n, Reg r) {
    if (r < 16) s.e.mov_mr(true, Selector::vscratch_mem(n), static_cast<Gpr>(r));
    else s.e.store128(Selector::vscratch_mem(n), static_cast<Xmm>(r - 16));
}
void load_result(Selector& s, Reg r) {
    if (r < 16) s.e.mov_rm(true, static_cast<Gpr>(r), Selector::vscratch_mem(0));
    else s.e.load128(static_cast<Xmm>(r - 16), Selector::vscratch_mem(0));
}

// Cold::data: [0] operand registers and the result's, a byte each (operands end with kNoReg), and in bit 32 whether the
// result is to be NaN boxed as the hot path leaves it; [1], [2] the rest of Packed.
void cold_exact(Selector& s, const Cold& c) {
    for (unsigned n = 0; n < 3; ++n) {
        const Reg r = static_cast<Reg>(c.data[0] >> 8 * n);
        if (r != kNoReg) store_operand(s, n, r);
    }
    emit_call(s, {static_cast<RtHelper>(c.data[1] >> 32), static_cast<uint32_t>(c.data[1]), static_cast<uint32_t>(c.data[2])});
    const Reg result = static_cast<Reg>(c.data[0] >> 24);
    load_result(s, result);
    if (c.data[0] >> 32 & 1) {
        const Xmm x = static_cast<Xmm>(result - 16);
        s.e.vop(SseOp::orps, x, x, s.e.literal_mem(~uint64_t{0xffffffff}, 0));
    }
    s.e.jmp_to(c.back);
}
void cold_literal(Selector& s, const Cold& c) {
    s.e.load128a(static_cast<Xmm>(c.data[0]), s.e.literal_mem(c.data[1], c.data[2]));
    s.e.jmp_to(c.back);
}

Cold& fill(Selector& s, Cold& c, const LaneCall& call) {
    const Packed p = pack(s, call.inst);
    uint64_t regs = 0xffffff;
    unsigned n = 0;
    for (Reg r : call.operands) regs = (regs & ~(uint64_t{0xff} << 8 * n)) | uint64_t{r} << 8 * n, ++n;
    const bool boxed = s.inst(call.inst).type == Type::kF32 && s.ra.is_boxed(call.inst);
    c.data[0] = regs | uint64_t{call.result} << 24 | uint64_t{boxed} << 32;
    c.data[1] = uint64_t{static_cast<uint16_t>(p.helper)} << 32 | p.arg;
    c.data[2] = p.mode;
    c.back = s.e.offset();
    return c;
}

}  // namespace

Cold& exact_if(Selector& s, Cc cc, const LaneCall& call) { return fill(s, s.cold_if(cc, cold_exact), call); }
Cold& exact_at(Selector& s, uint32_t field, const LaneCall& call) { return fill(s, s.add_cold(cold_exact, field), call); }

Cold& literal_if(Selector& s, Cc cc, Xmm result, uint64_t lo, uint64_t hi) {
    Cold& c = s.cold_if(cc, cold_literal);
    c.data[0] = num(result), c.data[1] = lo, c.data[2] = hi;
    c.back = s.e.offset();
    return c;
}

void exact_inline(Selector& s, Ref i) {
    const Inst& in = s.inst(i);
    const Ref refs[] = {in.a, in.b, in.c};
    const unsigned count = ir::info(in.op).arg_count;
    for (unsigned n = 0; n < count; ++n) {
        if (refs[n] == kNoRef) continue;
        const bool xmm = in_xmm(operand_type(s, refs[n]));
        store_operand(s, n, xmm ? reg_of(s.ra.use_x(refs[n])) : reg_of(s.ra.use(refs[n])));
    }
    const Reg d = in_xmm(ir::result_type(in)) ? reg_of(s.ra.def_over_x(i)) : reg_of(s.ra.def_over(i));
    emit_call(s, pack(s, i));
    load_result(s, d);
}

namespace rt {

void lanes_arm(guest::VcpuHeader*, ir::V128* io, uint32_t arg) { run(io, unpacked(arg, NanRule::kArm, 0)); }
void lanes_riscv(guest::VcpuHeader*, ir::V128* io, uint32_t arg) { run(io, unpacked(arg, NanRule::kRiscv, 0)); }
void lanes_arm_default(guest::VcpuHeader*, ir::V128* io, uint32_t arg) { run(io, unpacked(arg, NanRule::kArmDefault, 0)); }
void lanes_mode(guest::VcpuHeader*, ir::V128* io, uint32_t arg) {
    const uint64_t mode = io[3].u64[0];
    run(io, unpacked(arg, static_cast<NanRule>(mode & 0xff), static_cast<uint8_t>(mode >> 8)));
}

}  // namespace rt

}  // namespace myna::x64
