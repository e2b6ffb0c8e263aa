// The encoder: x86-64 instructions as inline functions that write bytes.
//
//   [legacy prefix] [REX] [0F | 0F 38 | 0F 3A] opcode ModRM [SIB] [disp8 | disp32] [imm]
//   VEX: C5 R'vvvvLpp opcode …   or   C4 R'X'B'mmmmm Wvvvv'Lpp opcode …
//
// All of it is inline and free of tables at run time: a translator of the first tier spends its time here, and general
// assembler libraries (labels by name, operand objects, encoding look-up: 30–60 ns an instruction measured for Xbyak)
// cost several times more than selection and allocation together.
//
// Operand order is Intel's: destination first. `w` true: 64-bit operation. Literals are 16-byte constants placed behind
// the block; Mem::literal refers to one before its place is known (resolve_literals fills the displacement in).
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "base/bits.h"
#include "codegen/x64/compiler.h"
#include "ir/types.h"

namespace myna::x64 {

enum class Gpr : uint8_t { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15 };
enum class Xmm : uint8_t { x0, x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11, x12, x13, x14, x15 };
constexpr unsigned num(Gpr r) { return static_cast<unsigned>(r); }
constexpr unsigned num(Xmm r) { return static_cast<unsigned>(r); }

/// Condition codes as encoded in jcc, setcc and cmovcc.
enum class Cc : uint8_t { o, no, b, ae, e, ne, be, a, s, ns, p, np, l, ge, le, g };
constexpr Cc invert(Cc c) { return static_cast<Cc>(static_cast<uint8_t>(c) ^ 1); }

/// A memory operand.
struct Mem {
    static constexpr uint8_t kNone = 0xff;
    uint8_t base = kNone;
    uint8_t index = kNone;
    uint8_t scale = 0;       // log2
    bool gs = false;         // relative to the GS base (guest memory)
    bool lit = false;        // rip-relative: literal number `disp`
    int32_t disp = 0;

    static constexpr Mem at(Gpr b, int32_t disp = 0) { return {static_cast<uint8_t>(b), kNone, 0, false, false, disp}; }
    static constexpr Mem at(Gpr b, Gpr i, unsigned scale, int32_t disp = 0) {
        return {static_cast<uint8_t>(b), static_cast<uint8_t>(i), static_cast<uint8_t>(scale), false, false, disp};
    }
    static constexpr Mem literal(unsigned n) { return {kNone, kNone, 0, false, true, static_cast<int32_t>(n)}; }
    constexpr Mem plus(int32_t d) const {
        Mem m = *this;
        m.disp += d;
        return m;
    }
};

/// Arithmetic operations in the order of their encodings.
enum class Alu : uint8_t { add, or_, adc, sbb, and_, sub, xor_, cmp };
/// Shifts in the order of their encodings.
enum class Shift : uint8_t { rol, ror, rcl, rcr, shl, shr, sal, sar };

/// An opcode: mandatory prefix (0, 0x66, 0xf2, 0xf3), map (0: none, 1: 0F, 2: 0F 38, 3: 0F 3A), byte.
struct Opc {
    uint8_t prefix, map, code;
};

struct SseRow {
    uint8_t prefix, map, code, w, flags;
    static constexpr uint8_t U = 1, C = 2, V = 4, I = 8, L = 16;
};
enum class SseOp : uint16_t {
#define SSE_OP(name, prefix, map, code, w, flags) name,
#include "codegen/x64/sse_ops.inc"
#undef SSE_OP
    kCount
};
inline constexpr SseRow kSseRows[] = {
#define U SseRow::U
#define C SseRow::C
#define V SseRow::V
#define I SseRow::I
#define L SseRow::L
#define SSE_OP(name, prefix, map, code, w, flags) {prefix, map, code, w, flags},
#include "codegen/x64/sse_ops.inc"
#undef SSE_OP
#undef U
#undef C
#undef V
#undef I
#undef L
};

class Emitter {
  public:
    /// Starts writing at `begin`. `end` must leave room: check room() before each group of instructions.
    void begin(uint8_t* begin, uint8_t* end, bool avx) {
        start_ = p_ = begin;
        end_ = end;
        avx_ = avx;
        literals_.clear();
        fixups_.clear();
    }
    [[nodiscard]] bool room(size_t bytes) const { return static_cast<size_t>(end_ - p_) >= bytes; }
    [[nodiscard]] uint32_t offset() const { return static_cast<uint32_t>(p_ - start_); }
    [[nodiscard]] uint8_t* at(uint32_t off) { return start_ + off; }
    [[nodiscard]] bool avx() const { return avx_; }

    void put8(unsigned v) { *p_++ = static_cast<uint8_t>(v); }
    void put16(unsigned v) { std::memcpy(p_, &v, 2), p_ += 2; }
    void put32(uint32_t v) { std::memcpy(p_, &v, 4), p_ += 4; }
    void put64(uint64_t v) { std::memcpy(p_, &v, 8), p_ += 8; }

    // ---- general forms
    /// reg, rm both registers. byte_op: operands are 8-bit registers (sil, dil need a REX prefix).
    void op_rr(Opc o, bool w, unsigned reg, unsigned rm, bool byte_op = false) {
        if (o.prefix) put8(o.prefix);
        const unsigned rex = (w ? 8 : 0) | (reg & 8) >> 1 | (rm & 8) >> 3;
        if (rex | (byte_op && (reg >= 4 || rm >= 4))) put8(0x40 | rex);
        opcode(o);
        put8(0xc0 | (reg & 7) << 3 | (rm & 7));
    }
    /// reg, memory. imm_bytes: bytes of immediate that follow (for literals).
    void op_rm(Opc o, bool w, unsigned reg, Mem m, unsigned imm_bytes = 0, bool byte_op = false) {
        if (m.gs) put8(0x65);
        if (o.prefix) put8(o.prefix);
        const unsigned rex = (w ? 8 : 0) | (reg & 8) >> 1 | (m.index != Mem::kNone ? (m.index & 8) >> 2 : 0) |
                             (m.base != Mem::kNone ? (m.base & 8) >> 3 : 0);
        if (rex | (byte_op && reg >= 4)) put8(0x40 | rex);
        opcode(o);
        modrm_mem(reg, m, imm_bytes);
    }
    void vex_rr(Opc o, bool w, unsigned reg, unsigned vvvv, unsigned rm, bool l = false) {
        vex_prefix(o, w, reg, vvvv, 0, rm, l);
        put8(o.code);
        put8(0xc0 | (reg & 7) << 3 | (rm & 7));
    }
    void vex_rm(Opc o, bool w, unsigned reg, unsigned vvvv, Mem m, unsigned imm_bytes = 0, bool l = false) {
        if (m.gs) put8(0x65);
        vex_prefix(o, w, reg, vvvv, m.index != Mem::kNone ? m.index : 0, m.base != Mem::kNone ? m.base : 0, l);
        put8(o.code);
        modrm_mem(reg, m, imm_bytes);
    }

    // ---- moves
    void mov_rr(bool w, Gpr d, Gpr s) { op_rr({0, 0, 0x8b}, w, num(d), num(s)); }
    void mov_rm(bool w, Gpr d, Mem m) { op_rm({0, 0, 0x8b}, w, num(d), m); }
    void mov_mr(bool w, Mem m, Gpr s) { op_rm({0, 0, 0x89}, w, num(s), m); }
    void mov8_mr(Mem m, Gpr s) { op_rm({0, 0, 0x88}, false, num(s), m, 0, true); }
    void mov16_mr(Mem m, Gpr s) { op_rm({0x66, 0, 0x89}, false, num(s), m); }
    void mov8_mi(Mem m, uint8_t v) { op_rm({0, 0, 0xc6}, false, 0, m, 1), put8(v); }
    void mov16_mi(Mem m, uint16_t v) { op_rm({0x66, 0, 0xc7}, false, 0, m, 2), put16(v); }
    /// w: the 32-bit value is sign extended to 64 bits.
    void mov_mi(bool w, Mem m, int32_t v) { op_rm({0, 0, 0xc7}, w, 0, m, 4), put32(static_cast<uint32_t>(v)); }
    /// The shortest mov; EFLAGS stay (see zero() for xor).
    void mov_ri(Gpr d, uint64_t v) {
        if (fits_u32(v)) {
            if (num(d) >= 8) put8(0x41);
            put8(0xb8 | (num(d) & 7));
            put32(static_cast<uint32_t>(v));
        } else if (fits_i32(static_cast<int64_t>(v))) {
            op_rr({0, 0, 0xc7}, true, 0, num(d));
            put32(static_cast<uint32_t>(v));
        } else {
            put8(0x48 | num(d) >> 3);
            put8(0xb8 | (num(d) & 7));
            put64(v);
        }
    }
    void zero(Gpr d) { op_rr({0, 0, 0x33}, false, num(d), num(d)); }  // changes EFLAGS
    void movzx8_rr(Gpr d, Gpr s) { op_rr({0, 1, 0xb6}, false, num(d), num(s), true); }
    void movzx16_rr(Gpr d, Gpr s) { op_rr({0, 1, 0xb7}, false, num(d), num(s)); }
    void movsx8_rr(bool w, Gpr d, Gpr s) { op_rr({0, 1, 0xbe}, w, num(d), num(s), true); }
    void movsx16_rr(bool w, Gpr d, Gpr s) { op_rr({0, 1, 0xbf}, w, num(d), num(s)); }
    void movsxd_rr(Gpr d, Gpr s) { op_rr({0, 0, 0x63}, true, num(d), num(s)); }
    void movzx8_rm(Gpr d, Mem m) { op_rm({0, 1, 0xb6}, false, num(d), m); }
    void movzx16_rm(Gpr d, Mem m) { op_rm({0, 1, 0xb7}, false, num(d), m); }
    void movsx8_rm(bool w, Gpr d, Mem m) { op_rm({0, 1, 0xbe}, w, num(d), m); }
    void movsx16_rm(bool w, Gpr d, Mem m) { op_rm({0, 1, 0xbf}, w, num(d), m); }
    void movsxd_rm(Gpr d, Mem m) { op_rm({0, 0, 0x63}, true, num(d), m); }
    void lea(bool w, Gpr d, Mem m) { op_rm({0, 0, 0x8d}, w, num(d), m); }
    void xchg_rr(bool w, Gpr a, Gpr b) { op_rr({0, 0, 0x87}, w, num(a), num(b)); }
    void push(Gpr r) {
        if (num(r) >= 8) put8(0x41);
        put8(0x50 | (num(r) & 7));
    }
    void pop(Gpr r) {
        if (num(r) >= 8) put8(0x41);
        put8(0x58 | (num(r) & 7));
    }

    // ---- arithmetic
    void alu_rr(Alu op, bool w, Gpr d, Gpr s) { op_rr({0, 0, alu_code(op, 3)}, w, num(d), num(s)); }
    void alu_rm(Alu op, bool w, Gpr d, Mem m) { op_rm({0, 0, alu_code(op, 3)}, w, num(d), m); }
    void alu_mr(Alu op, bool w, Mem m, Gpr s) { op_rm({0, 0, alu_code(op, 1)}, w, num(s), m); }
    void alu_ri(Alu op, bool w, Gpr d, int32_t v) {
        if (fits_i8(v)) {
            op_rr({0, 0, 0x83}, w, static_cast<unsigned>(op), num(d));
            put8(static_cast<uint8_t>(v));
        } else if (d == Gpr::rax) {
            if (w) put8(0x48);
            put8(alu_code(op, 5));
            put32(static_cast<uint32_t>(v));
        } else {
            op_rr({0, 0, 0x81}, w, static_cast<unsigned>(op), num(d));
            put32(static_cast<uint32_t>(v));
        }
    }
    void alu_mi(Alu op, bool w, Mem m, int32_t v) {
        const bool small = fits_i8(v);
        op_rm({0, 0, static_cast<uint8_t>(small ? 0x83 : 0x81)}, w, static_cast<unsigned>(op), m, small ? 1 : 4);
        if (small)
            put8(static_cast<uint8_t>(v));
        else
            put32(static_cast<uint32_t>(v));
    }
    void alu8_ri(Alu op, Gpr d, uint8_t v) {
        if (d == Gpr::rax)
            put8(alu_code(op, 4));
        else
            op_rr({0, 0, 0x80}, false, static_cast<unsigned>(op), num(d), num(d) >= 4);
        put8(v);
    }
    void alu8_rr(Alu op, Gpr d, Gpr s) { op_rr({0, 0, alu_code(op, 2)}, false, num(d), num(s), true); }
    void alu8_mi(Alu op, Mem m, uint8_t v) { op_rm({0, 0, 0x80}, false, static_cast<unsigned>(op), m, 1), put8(v); }
    void test_rr(bool w, Gpr a, Gpr b) { op_rr({0, 0, 0x85}, w, num(a), num(b)); }
    void test8_rr(Gpr a, Gpr b) { op_rr({0, 0, 0x84}, false, num(a), num(b), true); }
    void test_ri(bool w, Gpr a, int32_t v) {
        if (v >= 0 && v < 0x80) {
            test8_ri(a, static_cast<uint8_t>(v));
            return;
        }
        if (a == Gpr::rax) {
            if (w && v < 0) put8(0x48);
            put8(0xa9);
        } else {
            op_rr({0, 0, 0xf7}, w && v < 0, 0, num(a));
        }
        put32(static_cast<uint32_t>(v));
    }
    void test8_ri(Gpr a, uint8_t v) {
        if (a == Gpr::rax)
            put8(0xa8);
        else
            op_rr({0, 0, 0xf6}, false, 0, num(a), num(a) >= 4);
        put8(v);
    }
    void test8_mi(Mem m, uint8_t v) { op_rm({0, 0, 0xf6}, false, 0, m, 1), put8(v); }
    void not_r(bool w, Gpr d) { op_rr({0, 0, 0xf7}, w, 2, num(d)); }
    void neg_r(bool w, Gpr d) { op_rr({0, 0, 0xf7}, w, 3, num(d)); }
    void inc_r(bool w, Gpr d) { op_rr({0, 0, 0xff}, w, 0, num(d)); }
    void dec_r(bool w, Gpr d) { op_rr({0, 0, 0xff}, w, 1, num(d)); }
    void mul_r(bool w, Gpr s) { op_rr({0, 0, 0xf7}, w, 4, num(s)); }   // rdx:rax = rax * s
    void imul_r(bool w, Gpr s) { op_rr({0, 0, 0xf7}, w, 5, num(s)); }
    void div_r(bool w, Gpr s) { op_rr({0, 0, 0xf7}, w, 6, num(s)); }
    void idiv_r(bool w, Gpr s) { op_rr({0, 0, 0xf7}, w, 7, num(s)); }
    void imul_rr(bool w, Gpr d, Gpr s) { op_rr({0, 1, 0xaf}, w, num(d), num(s)); }
    void imul_rm(bool w, Gpr d, Mem m) { op_rm({0, 1, 0xaf}, w, num(d), m); }
    void imul_rri(bool w, Gpr d, Gpr s, int32_t v) {
        const bool small = fits_i8(v);
        op_rr({0, 0, static_cast<uint8_t>(small ? 0x6b : 0x69)}, w, num(d), num(s));
        if (small)
            put8(static_cast<uint8_t>(v));
        else
            put32(static_cast<uint32_t>(v));
    }
    void cdq() { put8(0x99); }
    void cqo() { put8(0x48), put8(0x99); }
    void bswap(bool w, Gpr d) {
        const unsigned rex = (w ? 8 : 0) | num(d) >> 3;
        if (rex) put8(0x40 | rex);
        put8(0x0f), put8(0xc8 | (num(d) & 7));
    }
    void movbe_rm(bool w, Gpr d, Mem m) { op_rm({0, 2, 0xf0}, w, num(d), m); }
    void movbe_mr(bool w, Mem m, Gpr s) { op_rm({0, 2, 0xf1}, w, num(s), m); }
    void movbe16_rm(Gpr d, Mem m) { op_rm({0x66, 2, 0xf0}, false, num(d), m); }
    void movbe16_mr(Mem m, Gpr s) { op_rm({0x66, 2, 0xf1}, false, num(s), m); }
    void lzcnt(bool w, Gpr d, Gpr s) { op_rr({0xf3, 1, 0xbd}, w, num(d), num(s)); }
    void tzcnt(bool w, Gpr d, Gpr s) { op_rr({0xf3, 1, 0xbc}, w, num(d), num(s)); }
    void popcnt(bool w, Gpr d, Gpr s) { op_rr({0xf3, 1, 0xb8}, w, num(d), num(s)); }
    void bsr(bool w, Gpr d, Gpr s) { op_rr({0, 1, 0xbd}, w, num(d), num(s)); }
    void bsf(bool w, Gpr d, Gpr s) { op_rr({0, 1, 0xbc}, w, num(d), num(s)); }
    void bt_ri(bool w, Gpr a, uint8_t n) { op_rr({0, 1, 0xba}, w, 4, num(a)), put8(n); }
    /// crc32 of the low `1 << size` bytes of s into d (Castagnoli).
    void crc32(unsigned size, Gpr d, Gpr s) {
        const Opc o = {0xf2, 2, static_cast<uint8_t>(size == 0 ? 0xf0 : 0xf1)};
        if (size == 1) put8(0x66);
        op_rr(o, size == 3, num(d), num(s), size == 0);
    }

    // ---- shifts
    void shift_ri(Shift op, bool w, Gpr d, uint8_t n) {
        if (n == 1) {
            op_rr({0, 0, 0xd1}, w, static_cast<unsigned>(op), num(d));
        } else {
            op_rr({0, 0, 0xc1}, w, static_cast<unsigned>(op), num(d));
            put8(n);
        }
    }
    void shift_cl(Shift op, bool w, Gpr d) { op_rr({0, 0, 0xd3}, w, static_cast<unsigned>(op), num(d)); }
    void shld_rri(bool w, Gpr d, Gpr s, uint8_t n) { op_rr({0, 1, 0xa4}, w, num(s), num(d)), put8(n); }
    void shrd_rri(bool w, Gpr d, Gpr s, uint8_t n) { op_rr({0, 1, 0xac}, w, num(s), num(d)), put8(n); }
    void shlx(bool w, Gpr d, Gpr s, Gpr n) { vex_rr({0x66, 2, 0xf7}, w, num(d), num(n), num(s)); }
    void shrx(bool w, Gpr d, Gpr s, Gpr n) { vex_rr({0xf2, 2, 0xf7}, w, num(d), num(n), num(s)); }
    void sarx(bool w, Gpr d, Gpr s, Gpr n) { vex_rr({0xf3, 2, 0xf7}, w, num(d), num(n), num(s)); }
    void rorx(bool w, Gpr d, Gpr s, uint8_t n) { vex_rr({0xf2, 3, 0xf0}, w, num(d), 0, num(s)), put8(n); }
    void mulx(bool w, Gpr hi, Gpr lo, Gpr s) { vex_rr({0xf2, 2, 0xf6}, w, num(hi), num(lo), num(s)); }  // rdx * s
    void andn(bool w, Gpr d, Gpr inverted, Gpr s) { vex_rr({0, 2, 0xf2}, w, num(d), num(inverted), num(s)); }
    void bextr(bool w, Gpr d, Gpr s, Gpr ctl) { vex_rr({0, 2, 0xf7}, w, num(d), num(ctl), num(s)); }
    void bzhi(bool w, Gpr d, Gpr s, Gpr n) { vex_rr({0, 2, 0xf5}, w, num(d), num(n), num(s)); }
    void pext(bool w, Gpr d, Gpr s, Gpr mask) { vex_rr({0xf3, 2, 0xf5}, w, num(d), num(s), num(mask)); }
    void pext_m(bool w, Gpr d, Gpr s, Mem mask) { vex_rm({0xf3, 2, 0xf5}, w, num(d), num(s), mask); }
    void pdep(bool w, Gpr d, Gpr s, Gpr mask) { vex_rr({0xf2, 2, 0xf5}, w, num(d), num(s), num(mask)); }

    // ---- EFLAGS
    void setcc(Cc c, Gpr d) { op_rr({0, 1, static_cast<uint8_t>(0x90 | static_cast<unsigned>(c))}, false, 0, num(d), num(d) >= 4); }
    void setcc_m(Cc c, Mem m) { op_rm({0, 1, static_cast<uint8_t>(0x90 | static_cast<unsigned>(c))}, false, 0, m); }
    void cmov(Cc c, bool w, Gpr d, Gpr s) { op_rr({0, 1, static_cast<uint8_t>(0x40 | static_cast<unsigned>(c))}, w, num(d), num(s)); }
    void cmov_m(Cc c, bool w, Gpr d, Mem m) { op_rm({0, 1, static_cast<uint8_t>(0x40 | static_cast<unsigned>(c))}, w, num(d), m); }
    void cmc() { put8(0xf5); }
    void clc() { put8(0xf8); }
    void stc() { put8(0xf9); }
    void lahf() { put8(0x9f); }
    void sahf() { put8(0x9e); }

    // ---- jumps. The short and near forms give the offset of the displacement field to bind later.
    uint32_t jcc8(Cc c) { return put8(0x70 | static_cast<unsigned>(c)), put8(0), offset() - 1; }
    uint32_t jmp8() { return put8(0xeb), put8(0), offset() - 1; }
    uint32_t jcc32(Cc c) { return put8(0x0f), put8(0x80 | static_cast<unsigned>(c)), put32(0), offset() - 4; }
    uint32_t jmp32() { return put8(0xe9), put32(0), offset() - 4; }
    uint32_t call32() { return put8(0xe8), put32(0), offset() - 4; }
    void bind8(uint32_t field) {
        if (offset() - field - 1 > 127) std::abort();  // a short jump over too much: a bug of the caller
        *at(field) = static_cast<uint8_t>(offset() - field - 1);
    }
    void bind32(uint32_t field) { set_rel32(field, offset()); }
    /// A backward jump to `target` (an offset in this block).
    void jmp_to(uint32_t target) { set_rel32(jmp32(), target); }
    void jcc8_to(Cc c, uint32_t target) {
        const uint32_t f = jcc8(c);
        *at(f) = static_cast<uint8_t>(target - f - 1);
    }
    void set_rel32(uint32_t field, uint32_t target) {
        const uint32_t rel = target - field - 4;
        std::memcpy(at(field), &rel, 4);
    }
    void jmp_r(Gpr r) { op_rr({0, 0, 0xff}, false, 4, num(r)); }
    void jmp_m(Mem m) { op_rm({0, 0, 0xff}, false, 4, m); }
    void call_r(Gpr r) { op_rr({0, 0, 0xff}, false, 2, num(r)); }
    void call_m(Mem m) { op_rm({0, 0, 0xff}, false, 2, m); }
    void ret() { put8(0xc3); }
    void ud2() { put8(0x0f), put8(0x0b); }
    /// The recommended no-ops, 0..9 bytes.
    void nop(unsigned n) {
        static constexpr uint8_t kNops[9][9] = {{0x90},
                                                {0x66, 0x90},
                                                {0x0f, 0x1f, 0x00},
                                                {0x0f, 0x1f, 0x40, 0},
                                                {0x0f, 0x1f, 0x44, 0, 0},
                                                {0x66, 0x0f, 0x1f, 0x44, 0, 0},
                                                {0x0f, 0x1f, 0x80, 0, 0, 0, 0},
                                                {0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0},
                                                {0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0}};
        if (n) std::memcpy(p_, kNops[n - 1], n), p_ += n;
    }
    /// No-ops before the code from offset `from` on, in which nothing is relative to its place.
    void nop_at(uint32_t from, unsigned n) {
        if (n == 0) return;
        uint8_t* const end = p_ + n;
        std::memmove(at(from) + n, at(from), offset() - from);
        p_ = at(from);
        nop(n);
        p_ = end;
    }
    /// The `n` bytes at `from` once more; nothing in them may depend on where it is.
    void repeat(uint32_t from, unsigned n) {
        std::memcpy(p_, at(from), n);
        p_ += n;
    }
    void align(unsigned a) {
        while (offset() % a) {
            const unsigned n = a - offset() % a;
            nop(n > 9 ? 9 : n);
        }
    }

    // ---- atomics and system
    void lock() { put8(0xf0); }
    void xadd(unsigned size, Mem m, Gpr s) { sized_mr(1, 0xc0, size, m, s); }
    void cmpxchg(unsigned size, Mem m, Gpr s) { sized_mr(1, 0xb0, size, m, s); }
    void xchg_mr(unsigned size, Mem m, Gpr s) { sized_mr(0, 0x86, size, m, s); }
    void alu_sized(Alu op, unsigned size, Mem m, Gpr s) { sized_mr(0, alu_code(op, 0), size, m, s); }
    void cmpxchg16b(Mem m) { op_rm({0, 1, 0xc7}, true, 1, m); }
    void mfence() { put8(0x0f), put8(0xae), put8(0xf0); }
    void ldmxcsr(Mem m) { op_rm({0, 1, 0xae}, false, 2, m); }
    void stmxcsr(Mem m) { op_rm({0, 1, 0xae}, false, 3, m); }
    void wrgsbase(Gpr r) { op_rr({0xf3, 1, 0xae}, true, 3, num(r)); }
    void cld() { put8(0xfc); }

    // ---- SSE and AVX
    /// dst = a op b. With AVX the VEX form, else a move and the two-operand form; right for any overlap of registers.
    void vop(SseOp op, Xmm d, Xmm a, Xmm b) {
        const SseRow& r = row(op);
        if (avx_ && !(r.flags & SseRow::L)) {
            // VEX.B costs a byte, VEX.R does not: commutative operands are ordered for the short form.
            if ((r.flags & SseRow::C) && num(b) >= 8 && num(a) < 8) std::swap(a, b);
            vex_rr(opc(r), r.w, num(d), num(a), num(b));
            return;
        }
        if (d != a && d == b) {
            if (r.flags & SseRow::C) {
                b = a;
            } else {
                const Mem scratch = scratch128();
                op_rm({0x66, 1, 0x7f}, false, num(b), scratch);  // movdqa
                mov_xx(d, a);
                op_rm(opc(r), r.w, num(d), scratch);
                return;
            }
        } else {
            mov_xx(d, a);
        }
        op_rr(opc(r), r.w, num(d), num(b));
    }
    /// dst = a op [m]; without AVX a 16-byte operand must be aligned.
    void vop(SseOp op, Xmm d, Xmm a, Mem m) {
        const SseRow& r = row(op);
        if (avx_ && !(r.flags & SseRow::L)) {
            vex_rm(opc(r), r.w, num(d), num(a), m);
            return;
        }
        mov_xx(d, a);
        op_rm(opc(r), r.w, num(d), m);
    }
    void vop_i(SseOp op, Xmm d, Xmm a, Xmm b, uint8_t imm) {
        const SseRow& r = row(op);
        if (avx_ && !(r.flags & SseRow::L)) {
            vex_rr(opc(r), r.w, num(d), num(a), num(b));
        } else if (d != a && d == b) {
            const Mem scratch = scratch128();
            op_rm({0x66, 1, 0x7f}, false, num(b), scratch);
            mov_xx(d, a);
            op_rm(opc(r), r.w, num(d), scratch, 1);
        } else {
            mov_xx(d, a);
            op_rr(opc(r), r.w, num(d), num(b));
        }
        put8(imm);
    }
    void vop_i(SseOp op, Xmm d, Xmm a, Mem m, uint8_t imm) {
        const SseRow& r = row(op);
        if (avx_ && !(r.flags & SseRow::L)) {
            vex_rm(opc(r), r.w, num(d), num(a), m, 1);
        } else {
            mov_xx(d, a);
            op_rm(opc(r), r.w, num(d), m, 1);
        }
        put8(imm);
    }
    /// One-source forms (flag U): dst = op b. Scalar forms without U take `a` for the upper lanes: use vop.
    void vop(SseOp op, Xmm d, Xmm s) {
        const SseRow& r = row(op);
        if (avx_)
            vex_rr(opc(r), r.w, num(d), 0, num(s));
        else
            op_rr(opc(r), r.w, num(d), num(s));
    }
    void vop(SseOp op, Xmm d, Mem m) {
        const SseRow& r = row(op);
        if (avx_)
            vex_rm(opc(r), r.w, num(d), 0, m);
        else
            op_rm(opc(r), r.w, num(d), m);
    }
    void vop_i(SseOp op, Xmm d, Xmm s, uint8_t imm) { vop(op, d, s), put8(imm); }
    void vop_i(SseOp op, Xmm d, Mem m, uint8_t imm) {
        const SseRow& r = row(op);
        if (avx_)
            vex_rm(opc(r), r.w, num(d), 0, m, 1);
        else
            op_rm(opc(r), r.w, num(d), m, 1);
        put8(imm);
    }
    /// pblendvb, blendvps, blendvpd: dst = mask lane's top bit ? b : a. code: 0x4c, 0x4a, 0x4b (VEX); SSE wants xmm0.
    void vblendv(uint8_t code, Xmm d, Xmm a, Xmm b, Xmm mask) {
        vex_rr({0x66, 3, code}, false, num(d), num(a), num(b));
        put8(num(mask) << 4);
    }
    /// SSE4.1 blends by the implicit mask xmm0: code 0x10 pblendvb, 0x14 blendvps, 0x15 blendvpd; dst = mask ? b : dst.
    void blendv_sse(uint8_t code, Xmm d, Xmm b) { op_rr({0x66, 2, code}, false, num(d), num(b)); }
    /// Shifts by an immediate. lane: 1 words, 2 dwords, 3 qwords; kind: 2 srl, 4 sra, 6 sll (3 and 7 with lane 3: bytes).
    void vshift_i(unsigned lane, unsigned kind, Xmm d, Xmm s, uint8_t n) {
        const Opc o = {0x66, 1, static_cast<uint8_t>(0x70 + lane)};
        if (avx_) {
            vex_rr(o, false, kind, num(d), num(s));
        } else {
            mov_xx(d, s);
            op_rr(o, false, kind, num(d));
        }
        put8(n);
    }
    /// Moves 128 bits between registers; nothing when they are the same.
    void mov_xx(Xmm d, Xmm s) {
        if (d == s) return;
        if (!avx_)
            op_rr({0, 1, 0x28}, false, num(d), num(s));
        else if (num(s) >= 8 && num(d) < 8)
            vex_rr({0, 1, 0x29}, false, num(s), 0, num(d));  // the store form is a byte shorter here
        else
            vex_rr({0, 1, 0x28}, false, num(d), 0, num(s));
    }
    void sse_rm(Opc o, bool w, unsigned reg, Mem m) { avx_ ? vex_rm(o, w, reg, 0, m) : op_rm(o, w, reg, m); }
    void sse_rr(Opc o, bool w, unsigned reg, unsigned rm) { avx_ ? vex_rr(o, w, reg, 0, rm) : op_rr(o, w, reg, rm); }
    void load128(Xmm d, Mem m) { sse_rm({0, 1, 0x10}, false, num(d), m); }        // movups
    void store128(Mem m, Xmm s) { sse_rm({0, 1, 0x11}, false, num(s), m); }
    void load128a(Xmm d, Mem m) { sse_rm({0, 1, 0x28}, false, num(d), m); }       // movaps
    void store128a(Mem m, Xmm s) { sse_rm({0, 1, 0x29}, false, num(s), m); }
    void load64(Xmm d, Mem m) { sse_rm({0xf3, 1, 0x7e}, false, num(d), m); }      // movq, zeroes above
    void store64(Mem m, Xmm s) { sse_rm({0x66, 1, 0xd6}, false, num(s), m); }
    void load32(Xmm d, Mem m) { sse_rm({0x66, 1, 0x6e}, false, num(d), m); }      // movd, zeroes above
    void store32(Mem m, Xmm s) { sse_rm({0x66, 1, 0x7e}, false, num(s), m); }
    /// movd, movq between register files; the upper part is zeroed.
    void mov_xg(bool w, Xmm d, Gpr s) { sse_rr({0x66, 1, 0x6e}, w, num(d), num(s)); }
    void mov_gx(bool w, Gpr d, Xmm s) { sse_rr({0x66, 1, 0x7e}, w, num(s), num(d)); }
    void pinsrb(Xmm d, Xmm a, Gpr s, uint8_t i) { insert({0x66, 3, 0x20}, false, d, a, s, i); }
    void pinsrw(Xmm d, Xmm a, Gpr s, uint8_t i) { insert({0x66, 1, 0xc4}, false, d, a, s, i); }
    void pinsrd(Xmm d, Xmm a, Gpr s, uint8_t i) { insert({0x66, 3, 0x22}, false, d, a, s, i); }
    void pinsrq(Xmm d, Xmm a, Gpr s, uint8_t i) { insert({0x66, 3, 0x22}, true, d, a, s, i); }
    void pextrb(Gpr d, Xmm s, uint8_t i) { sse_rr({0x66, 3, 0x14}, false, num(s), num(d)), put8(i); }
    void pextrw(Gpr d, Xmm s, uint8_t i) { sse_rr({0x66, 1, 0xc5}, false, num(d), num(s)), put8(i); }
    void pextrd(Gpr d, Xmm s, uint8_t i) { sse_rr({0x66, 3, 0x16}, false, num(s), num(d)), put8(i); }
    void pextrq(Gpr d, Xmm s, uint8_t i) { sse_rr({0x66, 3, 0x16}, true, num(s), num(d)), put8(i); }
    void pmovmskb(Gpr d, Xmm s) { sse_rr({0x66, 1, 0xd7}, false, num(d), num(s)); }
    void movmskps(Gpr d, Xmm s) { sse_rr({0, 1, 0x50}, false, num(d), num(s)); }
    void movmskpd(Gpr d, Xmm s) { sse_rr({0x66, 1, 0x50}, false, num(d), num(s)); }
    void cvttsd2si(bool w, Gpr d, Xmm s) { sse_rr({0xf2, 1, 0x2c}, w, num(d), num(s)); }
    void cvttss2si(bool w, Gpr d, Xmm s) { sse_rr({0xf3, 1, 0x2c}, w, num(d), num(s)); }
    void cvtsd2si(bool w, Gpr d, Xmm s) { sse_rr({0xf2, 1, 0x2d}, w, num(d), num(s)); }
    void cvtss2si(bool w, Gpr d, Xmm s) { sse_rr({0xf3, 1, 0x2d}, w, num(d), num(s)); }
    /// dst = a with the low lane converted from the integer s.
    void cvtsi2sd(bool w, Xmm d, Xmm a, Gpr s) { merge_rr({0xf2, 1, 0x2a}, w, d, a, num(s)); }
    void cvtsi2ss(bool w, Xmm d, Xmm a, Gpr s) { merge_rr({0xf3, 1, 0x2a}, w, d, a, num(s)); }
    void vcvtps2ph(Xmm d, Xmm s, uint8_t imm) { vex_rr({0x66, 3, 0x1d}, false, num(s), 0, num(d)), put8(imm); }
    void vzero(Xmm d) { vop(SseOp::pxor, d, d, d); }

    // ---- literals
    /// The number of a 16-byte constant (equal ones share a place).
    unsigned literal(uint64_t lo, uint64_t hi) {
        for (unsigned i = 0; i < literals_.size(); ++i)
            if (literals_[i].u64[0] == lo && literals_[i].u64[1] == hi) return i;
        literals_.push_back({{lo, hi}});
        return static_cast<unsigned>(literals_.size() - 1);
    }
    Mem literal_mem(uint64_t lo, uint64_t hi) { return Mem::literal(literal(lo, hi)); }
    [[nodiscard]] size_t literal_bytes() const { return literals_.empty() ? 0 : literals_.size() * 16 + 15; }
    /// Writes the literals here (16-byte aligned in the block) and fills in the displacements.
    void resolve_literals() {
        if (literals_.empty()) return;
        while (offset() % 16) put8(0xcc);
        const uint32_t pool = offset();
        for (const ir::V128& v : literals_) put64(v.u64[0]), put64(v.u64[1]);
        for (const Fixup& f : fixups_) {
            const uint32_t rel = pool + f.literal * 16 - f.next;
            std::memcpy(at(f.field), &rel, 4);
        }
    }

  private:
    struct Fixup {
        uint32_t field, next, literal;
    };
    static constexpr uint8_t alu_code(Alu op, unsigned form) { return static_cast<uint8_t>(static_cast<unsigned>(op) * 8 + form); }
    static constexpr const SseRow& row(SseOp op) { return kSseRows[static_cast<unsigned>(op)]; }
    static constexpr Opc opc(const SseRow& r) { return {r.prefix, r.map, r.code}; }
    /// Memory that SSE-only sequences may use as a register: the header's last vector scratch.
    static constexpr Mem scratch128() {
        return Mem::at(Gpr::rbp, static_cast<int32_t>(offsetof(guest::VcpuHeader, vscratch)) + 48 - kStateBias);
    }

    void opcode(Opc o) {
        if (o.map) {
            put8(0x0f);
            if (o.map == 2) put8(0x38);
            if (o.map == 3) put8(0x3a);
        }
        put8(o.code);
    }
    void vex_prefix(Opc o, bool w, unsigned reg, unsigned vvvv, unsigned index, unsigned base, bool l) {
        const unsigned pp = o.prefix == 0 ? 0 : o.prefix == 0x66 ? 1 : o.prefix == 0xf3 ? 2 : 3;
        const unsigned tail = (~vvvv & 15) << 3 | (l ? 4 : 0) | pp;
        if (o.map == 1 && !w && !(index & 8) && !(base & 8)) {
            put8(0xc5);
            put8((reg & 8 ? 0 : 0x80) | tail);
        } else {
            put8(0xc4);
            put8((reg & 8 ? 0 : 0x80) | (index & 8 ? 0 : 0x40) | (base & 8 ? 0 : 0x20) | o.map);
            put8((w ? 0x80 : 0) | tail);
        }
    }
    void modrm_mem(unsigned reg, Mem m, unsigned imm_bytes) {
        const unsigned r = (reg & 7) << 3;
        if (m.lit) {
            put8(r | 5);
            fixups_.push_back({offset(), offset() + 4 + imm_bytes, static_cast<uint32_t>(m.disp)});
            put32(0);
            return;
        }
        if (m.base == Mem::kNone) {  // [index * scale + disp32] or [disp32]
            put8(r | 4);
            put8(m.scale << 6 | (m.index != Mem::kNone ? m.index & 7 : 4) << 3 | 5);
            put32(static_cast<uint32_t>(m.disp));
            return;
        }
        const unsigned mod = m.disp == 0 && (m.base & 7) != 5 ? 0 : fits_i8(m.disp) ? 1 : 2;
        if (m.index != Mem::kNone || (m.base & 7) == 4) {
            put8(mod << 6 | r | 4);
            put8(m.scale << 6 | (m.index != Mem::kNone ? m.index & 7 : 4) << 3 | (m.base & 7));
        } else {
            put8(mod << 6 | r | (m.base & 7));
        }
        if (mod == 1) put8(static_cast<uint8_t>(m.disp));
        if (mod == 2) put32(static_cast<uint32_t>(m.disp));
    }
    void sized_mr(uint8_t map, uint8_t code, unsigned size, Mem m, Gpr s) {
        const Opc o = {static_cast<uint8_t>(size == 1 ? 0x66 : 0), map, static_cast<uint8_t>(code | (size ? 1 : 0))};
        op_rm(o, size == 3, num(s), m, 0, size == 0);
    }
    void insert(Opc o, bool w, Xmm d, Xmm a, Gpr s, uint8_t i) {
        merge_rr(o, w, d, a, num(s));
        put8(i);
    }
    void merge_rr(Opc o, bool w, Xmm d, Xmm a, unsigned rm) {
        if (avx_) {
            vex_rr(o, w, num(d), num(a), rm);
        } else {
            mov_xx(d, a);
            op_rr(o, w, num(d), rm);
        }
    }

    uint8_t* start_ = nullptr;
    uint8_t* p_ = nullptr;
    uint8_t* end_ = nullptr;
    bool avx_ = false;
    std::vector<ir::V128> literals_;
    std::vector<Fixup> fixups_;
};

}  // namespace myna::x64
