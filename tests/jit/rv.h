// A few RISC-V instructions by name, so that the engine's tests can write guest programs inline.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

namespace rv {

enum Reg : uint32_t { zero, ra, sp, gp, tp, t0, t1, t2, s0, s1, a0, a1, a2, a3, a4, a5, a6, a7 };

constexpr uint32_t i_type(uint32_t op, uint32_t f3, Reg rd, Reg rs1, int32_t imm) {
    return static_cast<uint32_t>(imm) << 20 | rs1 << 15 | f3 << 12 | rd << 7 | op;
}
constexpr uint32_t addi(Reg rd, Reg rs1, int32_t imm) { return i_type(0x13, 0, rd, rs1, imm); }
constexpr uint32_t slli(Reg rd, Reg rs1, int32_t n) { return i_type(0x13, 1, rd, rs1, n); }
constexpr uint32_t ld(Reg rd, int32_t imm, Reg rs1) { return i_type(0x03, 3, rd, rs1, imm); }
constexpr uint32_t lw(Reg rd, int32_t imm, Reg rs1) { return i_type(0x03, 2, rd, rs1, imm); }
constexpr uint32_t jalr(Reg rd, Reg rs1, int32_t imm) { return i_type(0x67, 0, rd, rs1, imm); }
constexpr uint32_t ret() { return jalr(zero, ra, 0); }
constexpr uint32_t add(Reg rd, Reg rs1, Reg rs2) { return rs2 << 20 | rs1 << 15 | rd << 7 | 0x33; }
constexpr uint32_t lui(Reg rd, uint32_t imm20) { return imm20 << 12 | rd << 7 | 0x37; }
constexpr uint32_t s_type(uint32_t f3, Reg rs2, int32_t imm, Reg rs1) {
    const auto u = static_cast<uint32_t>(imm);
    return (u >> 5 & 0x7f) << 25 | rs2 << 20 | rs1 << 15 | f3 << 12 | (u & 0x1f) << 7 | 0x23;
}
constexpr uint32_t sd(Reg rs2, int32_t imm, Reg rs1) { return s_type(3, rs2, imm, rs1); }
constexpr uint32_t sw(Reg rs2, int32_t imm, Reg rs1) { return s_type(2, rs2, imm, rs1); }
constexpr uint32_t b_type(uint32_t f3, Reg rs1, Reg rs2, int32_t d) {
    const auto u = static_cast<uint32_t>(d);
    return (u >> 12 & 1) << 31 | (u >> 5 & 0x3f) << 25 | rs2 << 20 | rs1 << 15 | f3 << 12 | (u >> 1 & 0xf) << 8 |
           (u >> 11 & 1) << 7 | 0x63;
}
constexpr uint32_t beq(Reg a, Reg b, int32_t d) { return b_type(0, a, b, d); }
constexpr uint32_t bne(Reg a, Reg b, int32_t d) { return b_type(1, a, b, d); }
constexpr uint32_t jal(Reg rd, int32_t d) {
    const auto u = static_cast<uint32_t>(d);
    return (u >> 20 & 1) << 31 | (u >> 1 & 0x3ff) << 21 | (u >> 11 & 1) << 20 | (u >> 12 & 0xff) << 12 | rd << 7 | 0x6f;
}
constexpr uint32_t ecall() { return 0x73; }
constexpr uint32_t fence_i() { return 0x100f; }

}  // namespace rv
