// A64 as text: objdump's syntax without aliases, from the tables' last column.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "guest/aarch64/decode.inc.h"

namespace myna::guest::aarch64 {

/// GuestArch::disassemble.
std::string disassemble(uint64_t pc, std::span<const uint8_t> bytes, unsigned* length);

/// Styles of insn_simd.decode (disasm_simd.cpp); format_field hands on those that are not of insn_base.decode.
std::string format_simd_field(Style style, int64_t value, const RowMatch& match);

/// "x3", "wzr" …; `sp31`: register 31 is the stack pointer.
std::string register_name(bool is_x, int64_t n, bool sp31 = false);

}  // namespace myna::guest::aarch64
