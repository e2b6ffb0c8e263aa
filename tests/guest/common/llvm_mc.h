// llvm-mc as assembler and as the disassembler ours is compared with.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace myna::test {

struct LlvmTarget {
    std::string triple;  // "riscv64"
    std::string attrs;   // "+m,+a,+zba"
    std::vector<std::string> options;
};

/// An instruction as raw bits and its width in bits (16 or 32; little-endian).
struct RawInsn {
    uint32_t raw;
    unsigned width;
};

/// The program's name, or "" when none is installed.
std::string find_llvm_mc();

/// Text of each instruction, blanks made single; nothing where llvm-mc finds the encoding invalid.
std::vector<std::optional<std::string>> llvm_disassemble(const LlvmTarget& target, const std::vector<RawInsn>& insns);

/// Bytes of each assembled line; an empty vector where the line does not assemble (`error` says why).
std::vector<std::vector<uint8_t>> llvm_assemble(const LlvmTarget& target, const std::vector<std::string>& lines, std::string* error);

/// Numbers rewritten to one notation (decimal, unsigned 64 bits) and blanks made single, so that texts can be compared.
std::string normalized(const std::string& text);

}  // namespace myna::test
