// Register names and instructions as text.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace myna::guest::riscv64 {

/// ABI names: "a0", "fa0"; n < 32.
const char* int_register_name(unsigned n) noexcept;
const char* fp_register_name(unsigned n) noexcept;

/// GuestArch::disassemble.
std::string disassemble_insn(uint64_t pc, std::span<const uint8_t> bytes, unsigned* length);

}  // namespace myna::guest::riscv64
