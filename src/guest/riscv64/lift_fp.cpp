// F, D, Zfh(min), Zfbfmin, Zfa: floating point.
#include "guest/riscv64/lifter.h"
#include "softfp/softfp.h"

namespace myna::guest::riscv64 {

using ir::FCmp;
using ir::kFcmpSignal;
using ir::MinMax;

namespace {
constexpr unsigned kS = 0, kD = 1, kH = 2, kBf16 = 3;
constexpr uint8_t size_of_fmt(unsigned fmt) noexcept { return fmt == kS ? 2 : fmt == kD ? 3 : 1; }
constexpr uint8_t condition(FCmp c, bool signal) noexcept { return static_cast<uint8_t>(static_cast<uint8_t>(c) | (signal ? kFcmpSignal : 0)); }
}  // namespace

// ---- registers

Ref Lifter::f(unsigned n, unsigned fmt) {
    const Ref whole = ir.get(kF0 + n);
    return fmt == kD ? whole : ir.emit(Op::kUnbox32, type_of_fmt(fmt), 0, whole);
}

Ref Lifter::f_raw(unsigned n, unsigned fmt) {
    const Ref whole = ir.get(kF0 + n);
    if (fmt == kD) return whole;
    const ir::Inst& def = ir.inst(whole);
    if (def.op == Op::kBox32 && ir.type_of(def.a) == type_of_fmt(fmt)) return def.a;
    return ir.emit(Op::kVLow, type_of_fmt(fmt), 0, ir.emit(Op::kVZext, Type::kV128, 0, whole));
}

bool Lifter::wr_f(unsigned rd, unsigned fmt, Ref v) {
    ir.set(kF0 + rd, fmt == kD ? v : ir.emit(Op::kBox32, Type::kF64, 0, v));
    return true;
}

ir::Round Lifter::round_of(unsigned rm) noexcept {
    constexpr ir::Round kModes[5] = {ir::Round::kNearestEven, ir::Round::kZero, ir::Round::kDown, ir::Round::kUp,
                                     ir::Round::kNearestAway};
    return kModes[rm];
}

Ref Lifter::fp_call(FpCall c, Ref a, Ref b, Ref d) {
    const Ref v = ir.vcall(kHelper_fp_static, c.pack(), a, b, d);
    const Type t = c.op == FpCall::kCvtmod ? Type::kF64 : type_of_fmt(c.fmt);
    return ir.emit(Op::kVLow, t, 0, v);
}

// ---- loads, stores, moves

bool Lifter::fload(const Fload& i) {
    return wr_f(i.rd, i.fmt, ir.load(type_of_fmt(i.fmt), size_of_fmt(i.fmt), x(i.rs1), i.imm));
}
bool Lifter::fstore(const Fstore& i) {
    ir.store(size_of_fmt(i.fmt), x(i.rs1), f_raw(i.rs2, i.fmt), i.imm);
    return true;
}
bool Lifter::fmv_x(const FmvX& i) {
    const Ref v = f_raw(i.rs1, i.fmt);
    if (i.fmt == kD) return wr(i.rd, ir.bitcast(Type::kI64, v));
    const Ref low = ir.bitcast(Type::kI32, v);
    return wr_w(i.rd, i.fmt == kH ? ir.un(Op::kSext16, low) : low);
}
bool Lifter::fmv_f(const FmvF& i) {
    return wr_f(i.rd, i.fmt, i.fmt == kD ? ir.bitcast(Type::kF64, x(i.rs1)) : ir.bitcast(type_of_fmt(i.fmt), w(i.rs1)));
}
bool Lifter::fli(const Fli& i) {
    // As S; all but the smallest normal number and the NaN convert exactly to D and (with denormals and infinity) to H.
    static constexpr uint32_t kValues[32] = {
        0xbf800000, 0x00800000, 0x37800000, 0x38000000, 0x3b800000, 0x3c000000, 0x3d800000, 0x3e000000,
        0x3e800000, 0x3ea00000, 0x3ec00000, 0x3ee00000, 0x3f000000, 0x3f200000, 0x3f400000, 0x3f600000,
        0x3f800000, 0x3fa00000, 0x3fc00000, 0x3fe00000, 0x40000000, 0x40200000, 0x40400000, 0x40800000,
        0x41000000, 0x41800000, 0x43000000, 0x43800000, 0x47000000, 0x47800000, 0x7f800000, 0x7fc00000};
    constexpr unsigned kSmallest = 1;
    softfp::Context c{.nan_rule = ir::NanRule::kRiscv, .tiny_before = false};
    uint64_t v = kValues[i.rs1];
    if (i.fmt == kD) v = i.rs1 == kSmallest ? softfp::kMinNormal<softfp::F64> : softfp::convert<softfp::F64, softfp::F32>(kValues[i.rs1], c);
    if (i.fmt == kH) v = i.rs1 == kSmallest ? softfp::kMinNormal<softfp::F16> : softfp::convert<softfp::F16, softfp::F32>(kValues[i.rs1], c);
    return wr_f(i.rd, i.fmt, ir.imm(v, type_of_fmt(i.fmt)));
}

// ---- arithmetic

bool Lifter::fp_binary(Op op, FpCall::Op call, unsigned fmt, unsigned rd, unsigned rs1, unsigned rs2, unsigned rm) {
    unsigned mode;
    if (!rounding(rm, mode)) return false;
    const Ref a = f(rs1, fmt), b = op == Op::kFSqrt ? kNoRef : f(rs2, fmt);
    if (mode == frm_) return wr_f(rd, fmt, ir.emit(op, type_of_fmt(fmt), 0, a, b));
    return wr_f(rd, fmt, fp_call({call, static_cast<uint8_t>(fmt), static_cast<uint8_t>(mode)}, a, b));
}
bool Lifter::fadd(const Fadd& i) { return fp_binary(Op::kFAdd, FpCall::kAdd, i.fmt, i.rd, i.rs1, i.rs2, i.rm); }
bool Lifter::fsub(const Fsub& i) { return fp_binary(Op::kFSub, FpCall::kSub, i.fmt, i.rd, i.rs1, i.rs2, i.rm); }
bool Lifter::fmul(const Fmul& i) { return fp_binary(Op::kFMul, FpCall::kMul, i.fmt, i.rd, i.rs1, i.rs2, i.rm); }
bool Lifter::fdiv(const Fdiv& i) { return fp_binary(Op::kFDiv, FpCall::kDiv, i.fmt, i.rd, i.rs1, i.rs2, i.rm); }
bool Lifter::fsqrt(const Fsqrt& i) { return fp_binary(Op::kFSqrt, FpCall::kSqrt, i.fmt, i.rd, i.rs1, 0, i.rm); }

bool Lifter::fp_fma(unsigned negate, unsigned fmt, unsigned rd, unsigned rs1, unsigned rs2, unsigned rs3, unsigned rm) {
    unsigned mode;
    if (!rounding(rm, mode)) return false;
    const Ref a = f(rs1, fmt), b = f(rs2, fmt), c = f(rs3, fmt);
    const auto n = static_cast<uint8_t>(negate);
    if (mode == frm_) return wr_f(rd, fmt, ir.emit(Op::kFMa, type_of_fmt(fmt), n, a, b, c));
    return wr_f(rd, fmt, fp_call({FpCall::kFma, static_cast<uint8_t>(fmt), static_cast<uint8_t>(mode), n}, a, b, c));
}
bool Lifter::fmadd(const Fmadd& i) { return fp_fma(0, i.fmt, i.rd, i.rs1, i.rs2, i.rs3, i.rm); }
bool Lifter::fnmsub(const Fnmsub& i) { return fp_fma(1, i.fmt, i.rd, i.rs1, i.rs2, i.rs3, i.rm); }
bool Lifter::fmsub(const Fmsub& i) { return fp_fma(2, i.fmt, i.rd, i.rs1, i.rs2, i.rs3, i.rm); }
bool Lifter::fnmadd(const Fnmadd& i) { return fp_fma(3, i.fmt, i.rd, i.rs1, i.rs2, i.rs3, i.rm); }

bool Lifter::fp_minmax(Op op, MinMax kind, unsigned fmt, unsigned rd, unsigned rs1, unsigned rs2) {
    return wr_f(rd, fmt, ir.emit(op, type_of_fmt(fmt), static_cast<uint8_t>(kind), f(rs1, fmt), f(rs2, fmt)));
}
bool Lifter::fmin(const Fmin& i) { return fp_minmax(Op::kFMin, MinMax::kNumber19, i.fmt, i.rd, i.rs1, i.rs2); }
bool Lifter::fmax(const Fmax& i) { return fp_minmax(Op::kFMax, MinMax::kNumber19, i.fmt, i.rd, i.rs1, i.rs2); }
bool Lifter::fminm(const Fminm& i) { return fp_minmax(Op::kFMin, MinMax::kArm, i.fmt, i.rd, i.rs1, i.rs2); }
bool Lifter::fmaxm(const Fmaxm& i) { return fp_minmax(Op::kFMax, MinMax::kArm, i.fmt, i.rd, i.rs1, i.rs2); }

// ---- signs

bool Lifter::fp_sign(unsigned kind, unsigned fmt, unsigned rd, unsigned rs1, unsigned rs2) {
    const Ref a = f(rs1, fmt);
    if (rs1 == rs2) {  // the assembler's FMV, FNEG and FABS
        if (kind == 0) return wr_f(rd, fmt, a);
        return wr_f(rd, fmt, ir.un(kind == 1 ? Op::kFNeg : Op::kFAbs, a));
    }
    return wr_f(rd, fmt, ir.emit(Op::kFSgnj, type_of_fmt(fmt), static_cast<uint8_t>(kind), a, f(rs2, fmt)));
}
bool Lifter::fsgnj(const Fsgnj& i) { return fp_sign(0, i.fmt, i.rd, i.rs1, i.rs2); }
bool Lifter::fsgnjn(const Fsgnjn& i) { return fp_sign(1, i.fmt, i.rd, i.rs1, i.rs2); }
bool Lifter::fsgnjx(const Fsgnjx& i) { return fp_sign(2, i.fmt, i.rd, i.rs1, i.rs2); }

// ---- comparison and classification

bool Lifter::fp_compare(uint8_t cmp, unsigned fmt, unsigned rd, unsigned rs1, unsigned rs2) {
    return wr(rd, flag(ir.emit(Op::kFCmp, type_of_fmt(fmt), cmp, f(rs1, fmt), f(rs2, fmt))));
}
bool Lifter::feq(const Feq& i) { return fp_compare(condition(FCmp::kEq, false), i.fmt, i.rd, i.rs1, i.rs2); }
bool Lifter::flt(const Flt& i) { return fp_compare(condition(FCmp::kLt, true), i.fmt, i.rd, i.rs1, i.rs2); }
bool Lifter::fle(const Fle& i) { return fp_compare(condition(FCmp::kLe, true), i.fmt, i.rd, i.rs1, i.rs2); }
bool Lifter::fltq(const Fltq& i) { return fp_compare(condition(FCmp::kLt, false), i.fmt, i.rd, i.rs1, i.rs2); }
bool Lifter::fleq(const Fleq& i) { return fp_compare(condition(FCmp::kLe, false), i.fmt, i.rd, i.rs1, i.rs2); }

bool Lifter::fclass(const Fclass& i) {
    const Ref v = f(i.rs1, i.fmt);
    const Ref bits = i.fmt == kD ? ir.bitcast(Type::kI64, v) : ir.zext(ir.bitcast(Type::kI32, v));
    return wr(i.rd, ir.call(kHelper_fclass, Type::kI64, bits, imm(i.fmt)));
}

// ---- conversions

bool Lifter::fcvt_int(const FcvtInt& i) {
    unsigned mode;
    if (!rounding(i.rm, mode)) return false;
    const ir::Round r = mode == frm_ && mode != kRmm ? ir::Round::kCur : round_of(mode);
    const Ref v = ir.emit(i.uns ? Op::kFToU : Op::kFToS, i.wide ? Type::kI64 : Type::kI32, static_cast<uint8_t>(r), f(i.rs1, i.fmt));
    return i.wide ? wr(i.rd, v) : wr_w(i.rd, v);
}

bool Lifter::fcvt_from_int(const FcvtFromInt& i) {
    unsigned mode;
    if (!rounding(i.rm, mode)) return false;
    const Ref v = i.wide ? x(i.rs1) : w(i.rs1);
    const bool exact = i.fmt == kD && !i.wide;
    if (mode == frm_ || exact) return wr_f(i.rd, i.fmt, ir.emit(i.uns ? Op::kUToF : Op::kSToF, type_of_fmt(i.fmt), 0, v));
    const Ref wide = i.wide ? v : i.uns ? ir.zext(v) : ir.sext(v);
    return wr_f(i.rd, i.fmt, fp_call({i.uns ? FpCall::kFromU : FpCall::kFromS, i.fmt, static_cast<uint8_t>(mode)},
                                     ir.bitcast(Type::kF64, wide)));
}

bool Lifter::fcvt_fp(const FcvtFp& i) {
    unsigned mode;
    if (!rounding(i.rm, mode)) return false;
    if (i.from != kBf16 && i.fmt != kBf16) {
        const bool widens = i.fmt == kD || (i.fmt == kS && i.from == kH);
        const Ref v = f(i.rs1, i.from);
        if (mode == frm_ || widens) return wr_f(i.rd, i.fmt, ir.emit(Op::kFCvt, type_of_fmt(i.fmt), 0, v));
        return wr_f(i.rd, i.fmt, fp_call({FpCall::kCvt, i.fmt, static_cast<uint8_t>(mode), i.from}, v));
    }
    // A BF16 value has the box and the bits of an H, but another canonical NaN: the helper looks at the box itself.
    const FpCall call{FpCall::kCvt, i.fmt, static_cast<uint8_t>(mode), i.from};
    const Ref r = ir.vcall(kHelper_fp_static, call.pack(), i.from == kBf16 ? ir.get(kF0 + i.rs1) : f(i.rs1, i.from));
    const unsigned to = i.fmt == kBf16 ? kH : i.fmt;
    return wr_f(i.rd, to, ir.emit(Op::kVLow, type_of_fmt(to), 0, r));
}

bool Lifter::fround(const Fround& i) {
    unsigned mode;
    if (!rounding(i.rm, mode)) return false;
    const ir::Round r = mode == frm_ && mode != kRmm ? ir::Round::kCur : round_of(mode);
    const auto sub = static_cast<uint8_t>(static_cast<uint8_t>(r) | (i.inexact ? ir::kRoundInexact : 0));
    return wr_f(i.rd, i.fmt, ir.emit(Op::kFRound, type_of_fmt(i.fmt), sub, f(i.rs1, i.fmt)));
}

bool Lifter::fcvtmod_w_d(const FcvtmodWD& i) {
    const Ref v = fp_call({FpCall::kCvtmod, kD, kRtz}, f(i.rs1, kD));
    return wr_w(i.rd, ir.trunc(ir.bitcast(Type::kI64, v)));
}

}  // namespace myna::guest::riscv64
