// The vocabulary of the IR: value types, element types, conditions, memory attributes and the instruction itself.
//
// A Function is a flat array of fixed-size instructions. A value is the index of the instruction that made it (Ref);
// there are no pointers. In tier 1 a Function is one superblock: straight-line code with side exits (exit_if) and one
// terminator at the end. ops.inc is the one table of operations; everything else about them follows from it.
#pragma once

#include <array>
#include <cstdint>

#include "softfp/modes.h"

namespace myna::ir {

/// The type of a value. Booleans are kI32 holding 0 or 1. Scalars of FP type live in vector registers.
/// Integer values of kI32 have no defined bits above 31; kF32/kF64/kF16 none above their width.
enum class Type : uint8_t { kVoid, kI32, kI64, kF16, kF32, kF64, kV128, kFlags };

/// Element type of a vector operation (Inst::sub).
enum class Elem : uint8_t { k8, k16, k32, k64, kF16, kF32, kF64 };

/// Integer comparison (Inst::sub of cmp).
enum class Cmp : uint8_t { kEq, kNe, kSlt, kSle, kSgt, kSge, kUlt, kUle, kUgt, kUge };

/// A condition over NZCV in A64 encoding order (Inst::sub of cond and fl_ccmp). C is Arm's: set = no borrow.
enum class Cond : uint8_t { kEq, kNe, kCs, kCc, kMi, kPl, kVs, kVc, kHi, kLs, kGe, kLt, kGt, kLe, kAl };

/// FP comparison (Inst::sub of fcmp and vfcmp, or-ed with kFcmpSignal when a quiet NaN raises invalid too).
enum class FCmp : uint8_t { kEq, kLt, kLe, kUnord };
inline constexpr uint8_t kFcmpSignal = 0x10;

/// Rounding modes, minimum and maximum, NaN rules: softfp/modes.h.
using softfp::FpMode;
using softfp::MinMax;
using softfp::NanRule;
using softfp::Round;
inline constexpr uint8_t kRoundInexact = 0x10;  // fround: raise inexact when the value changes

/// Memory access attributes (Inst::sub of load, store, rmw, cas, ll, sc).
struct MemAttr {
    static constexpr uint8_t kSizeMask = 0x07;  // log2 of the bytes: 0..4
    static constexpr uint8_t kSigned = 0x08;    // load: sign extend from the size to Inst::type (else zero extend)
    static constexpr uint8_t kBig = 0x10;       // the bytes are in big-endian order
    static constexpr uint8_t kAcquire = 0x20;   // free on a TSO host
    static constexpr uint8_t kRelease = 0x40;   // free on a TSO host
    static constexpr uint8_t kSeqCst = 0x80;    // store: nothing later may pass it (STLR, before a later LDAR)
};

/// A value: index of the defining instruction. kNoRef: no operand.
using Ref = uint32_t;
inline constexpr Ref kNoRef = ~Ref{0};

enum class Op : uint16_t {
#define IR_OP(name, text, result, args, props, doc) name,
#include "ir/ops.inc"
#undef IR_OP
    kCount
};

/// One instruction. 24 bytes; the meaning of sub and imm is the operation's (ops.inc).
struct Inst {
    Op op;
    Type type;    // result type; for cmp, exit_if… see ops.inc
    uint8_t sub;  // Elem, Cmp, Cond, FCmp, Round, MemAttr…
    Ref a = kNoRef;
    Ref b = kNoRef;
    Ref c = kNoRef;
    uint64_t imm = 0;
};
static_assert(sizeof(Inst) == 24);

/// 128 bits in memory order, little-endian lanes.
struct alignas(16) V128 {
    std::array<uint64_t, 2> u64;
    friend bool operator==(const V128&, const V128&) = default;
};

/// Why translated code returned to the run loop (Inst::sub of exit_trap; VcpuHeader::exit_reason).
enum class ExitReason : uint8_t {
    kNone,
    kLink,       // a direct exit that is not linked yet
    kLookup,     // an indirect branch that missed the cache; pc is set
    kPoll,       // an exit request was seen; pc is set
    kSyscall,    // SVC, ECALL: pc is the next instruction
    kBreakpoint, // BRK, EBREAK: pc is the instruction; imm in trap_arg
    kIllegal,    // undefined or disabled instruction at pc
    kMode,       // the block key changed (FPCR, frm …): look up again at pc
    kIcache,     // instruction cache maintenance: pc is the next instruction, trap_arg/trap_arg2 the range
    kFault,      // memory fault; details in the vCPU
    kYield,      // WFE, WFI, YIELD, PAUSE: pc is the next instruction
    kHelper,     // a helper asked to leave (VcpuHeader::pc and trap fields say the rest)
    kException,  // system mode: take the exception in trap_arg at pc
    kNoExec,     // instruction fetch failed at pc
    kSingleStep, //
};

}  // namespace myna::ir
