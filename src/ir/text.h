// The words of the text form, shared by printer and parser.
//
//   block 0x1000 mode 0x0 nan arm
//     insn 0x1000, 4
//     %1 = get x0
//     %2 = const.i64 0x10
//     %3 = add.i64 %1, %2
//     set x1, %3
//     %5 = load.i64 [%3-8] sext32 acq
//     %6 = cmp.i64 ult %5, %2
//     exit_if %6, 0x2000
//     exit 0x1004
//
// A value is named by its index; types and vector elements are suffixes; the rest of sub and imm are words behind the
// operands. What has no word of its own is written as sub=N imm=N, so every instruction can be written and read back.
#pragma once

#include <array>
#include <string_view>

#include "ir/function.h"

namespace myna::ir::text {

inline constexpr std::array<std::string_view, 8> kTypes{"void", "i32", "i64", "f16", "f32", "f64", "v128", "flags"};
inline constexpr std::array<std::string_view, 7> kElems{"8", "16", "32", "64", "h", "s", "d"};
inline constexpr std::array<std::string_view, 10> kCmps{"eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge"};
inline constexpr std::array<std::string_view, 15> kConds{"eq", "ne", "cs", "cc", "mi", "pl", "vs", "vc",
                                                         "hi", "ls", "ge", "lt", "gt", "le", "al"};
inline constexpr std::array<std::string_view, 4> kFCmps{"eq", "lt", "le", "unord"};
inline constexpr std::array<std::string_view, 3> kBranches{"jump", "call", "return"};
inline constexpr std::array<std::string_view, 15> kReasons{"none",    "link", "lookup", "poll",  "syscall",
                                                           "breakpoint", "illegal", "mode", "icache", "fault",
                                                           "yield",   "helper", "exception", "noexec", "singlestep"};
inline constexpr std::array<std::string_view, 3> kNanRules{"arm", "riscv", "arm_default"};

/// What Inst::sub says, and so how it is written.
enum class Sub : uint8_t { kNumber, kElem, kCmp, kCond, kFCmp, kMem, kBranch, kReason };
Sub sub_of(Op op) noexcept;

/// The type that is understood when none is written.
Type default_type(Op op) noexcept;

constexpr bool is_call(Op op) noexcept { return op == Op::kCall || op == Op::kVCall || op == Op::kCallState; }

}  // namespace myna::ir::text
