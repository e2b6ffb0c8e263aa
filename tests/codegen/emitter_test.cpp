// The encoder against Zydis: every form with registers and memory operands that need each kind of prefix and SIB byte.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "codegen/x64/emitter.h"

namespace myna::x64 {
namespace {

constexpr Gpr kGprs[] = {Gpr::rax, Gpr::rbx, Gpr::rsp, Gpr::rbp, Gpr::rsi, Gpr::rdi, Gpr::r8, Gpr::r12, Gpr::r13, Gpr::r15};
constexpr const char* kNames64[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                    "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
constexpr const char* kNames32[] = {"eax", "ecx", "edx",  "ebx",  "esp",  "ebp",  "esi",  "edi",
                                    "r8d", "r9d", "r10d", "r11d", "r12d", "r13d", "r14d", "r15d"};
constexpr const char* kNames8[] = {"al",  "cl",  "dl",   "bl",   "spl",  "bpl",  "sil",  "dil",
                                   "r8b", "r9b", "r10b", "r11b", "r12b", "r13b", "r14b", "r15b"};

class EmitterTest : public ::testing::Test {
  protected:
    void SetUp() override {
        unsigned length = 0;
        const uint8_t nop = 0x90;
        if (disassemble_host({&nop, 1}, 0, &length).empty()) GTEST_SKIP() << "built without Zydis";
    }
    /// What `emit` writes, as text; it must be one instruction.
    template <class F>
    std::string one(F emit, bool avx = false) {
        uint8_t bytes[64] = {};
        Emitter e;
        e.begin(bytes, bytes + sizeof bytes, avx);
        emit(e);
        unsigned length = 0;
        std::string text = disassemble_host({bytes, e.offset()}, 0x1000, &length);
        if (length != e.offset()) text += " (and more)";
        return text;
    }
};

std::string hex(int64_t v) {
    char t[24];
    std::snprintf(t, sizeof t, "0x%02llX", static_cast<unsigned long long>(v));
    return t;
}
std::string text_of(const Mem& m) {
    std::string s = m.gs ? "gs:[" : "[";
    if (m.base != Mem::kNone) s += kNames64[m.base];
    if (m.index != Mem::kNone) s += (m.base != Mem::kNone ? "+" : "") + std::string(kNames64[m.index]) + "*" + std::to_string(1 << m.scale);
    if (m.base == Mem::kNone && m.index == Mem::kNone) return s + hex(m.disp) + "]";
    if (m.disp > 0) s += "+" + hex(m.disp);
    if (m.disp < 0) s += "-" + hex(-int64_t{m.disp});
    return s + "]";
}
std::vector<Mem> memory_forms() {
    std::vector<Mem> all;
    for (const Gpr b : kGprs)
        for (const int32_t d : {0, 8, -128, 127, 128, -129, 0x12345678}) {
            all.push_back(Mem::at(b, d));
            for (const Gpr i : kGprs)
                if (i != Gpr::rsp) all.push_back(Mem::at(b, i, num(i) & 3, d));
        }
    for (const Gpr i : kGprs)
        if (i != Gpr::rsp) all.push_back({Mem::kNone, static_cast<uint8_t>(i), 3, false, false, 0x40});
    Mem gs = Mem::at(Gpr::r9, Gpr::r10, 2, 4);
    gs.gs = true;
    all.push_back(gs);
    return all;
}

TEST_F(EmitterTest, IntegerRegisterForms) {
    for (const Gpr d : kGprs) {
        for (const Gpr s : kGprs) {
            const std::string d64 = kNames64[num(d)], s64 = kNames64[num(s)], d32 = kNames32[num(d)], s32 = kNames32[num(s)];
            const std::string s8 = kNames8[num(s)], d8 = kNames8[num(d)];
            EXPECT_EQ(one([&](Emitter& e) { e.mov_rr(true, d, s); }), "mov " + d64 + ", " + s64);
            EXPECT_EQ(one([&](Emitter& e) { e.mov_rr(false, d, s); }), "mov " + d32 + ", " + s32);
            EXPECT_EQ(one([&](Emitter& e) { e.alu_rr(Alu::sbb, true, d, s); }), "sbb " + d64 + ", " + s64);
            EXPECT_EQ(one([&](Emitter& e) { e.alu_rr(Alu::xor_, false, d, s); }), "xor " + d32 + ", " + s32);
            EXPECT_EQ(one([&](Emitter& e) { e.movzx8_rr(d, s); }), "movzx " + d32 + ", " + s8);
            EXPECT_EQ(one([&](Emitter& e) { e.movsx8_rr(true, d, s); }), "movsx " + d64 + ", " + s8);
            EXPECT_EQ(one([&](Emitter& e) { e.movsxd_rr(d, s); }), "movsxd " + d64 + ", " + s32);
            EXPECT_EQ(one([&](Emitter& e) { e.imul_rr(true, d, s); }), "imul " + d64 + ", " + s64);
            EXPECT_EQ(one([&](Emitter& e) { e.imul_rri(false, d, s, 0x1234); }), "imul " + d32 + ", " + s32 + ", 0x1234");
            EXPECT_EQ(one([&](Emitter& e) { e.shld_rri(true, d, s, 5); }), "shld " + d64 + ", " + s64 + ", 0x05");
            EXPECT_EQ(one([&](Emitter& e) { e.cmov(Cc::le, true, d, s); }), "cmovle " + d64 + ", " + s64);
            EXPECT_EQ(one([&](Emitter& e) { e.lzcnt(true, d, s); }), "lzcnt " + d64 + ", " + s64);
            EXPECT_EQ(one([&](Emitter& e) { e.shlx(true, d, s, Gpr::r9); }), "shlx " + d64 + ", " + s64 + ", r9");
            EXPECT_EQ(one([&](Emitter& e) { e.rorx(false, d, s, 7); }), "rorx " + d32 + ", " + s32 + ", 0x07");
            EXPECT_EQ(one([&](Emitter& e) { e.andn(true, d, Gpr::r10, s); }), "andn " + d64 + ", r10, " + s64);
            EXPECT_EQ(one([&](Emitter& e) { e.mulx(true, d, Gpr::rcx, s); }), "mulx " + d64 + ", rcx, " + s64);
            EXPECT_EQ(one([&](Emitter& e) { e.test8_rr(d, s); }), "test " + s8 + ", " + d8);
            EXPECT_EQ(one([&](Emitter& e) { e.crc32(0, d, s); }), "crc32 " + d32 + ", " + s8);
            EXPECT_EQ(one([&](Emitter& e) { e.crc32(3, d, s); }), "crc32 " + d64 + ", " + s64);
        }
        const std::string d64 = kNames64[num(d)], d32 = kNames32[num(d)], d8 = kNames8[num(d)];
        for (const int32_t v : {0, 1, -1, 127, 128, -128, -129, 0x7fffffff, INT32_MIN}) {
            const std::string imm64 = hex(v), imm32 = hex(static_cast<uint32_t>(v));
            EXPECT_EQ(one([&](Emitter& e) { e.alu_ri(Alu::cmp, true, d, v); }), "cmp " + d64 + ", " + imm64);
            EXPECT_EQ(one([&](Emitter& e) { e.alu_ri(Alu::and_, false, d, v); }), "and " + d32 + ", " + imm32);
        }
        EXPECT_EQ(one([&](Emitter& e) { e.mov_ri(d, 0x80000000); }), "mov " + d32 + ", 0x80000000");
        EXPECT_EQ(one([&](Emitter& e) { e.mov_ri(d, ~uint64_t{0}); }), "mov " + d64 + ", 0xFFFFFFFFFFFFFFFF");
        EXPECT_EQ(one([&](Emitter& e) { e.mov_ri(d, 0x123456789abc); }), "mov " + d64 + ", 0x123456789ABC");
        EXPECT_EQ(one([&](Emitter& e) { e.setcc(Cc::a, d); }), "setnbe " + d8);
        EXPECT_EQ(one([&](Emitter& e) { e.bswap(true, d); }), "bswap " + d64);
        EXPECT_EQ(one([&](Emitter& e) { e.push(d); }), "push " + d64);
        EXPECT_EQ(one([&](Emitter& e) { e.shift_ri(Shift::sar, true, d, 9); }), "sar " + d64 + ", 0x09");
        EXPECT_EQ(one([&](Emitter& e) { e.idiv_r(true, d); }), "idiv " + d64);
        EXPECT_EQ(one([&](Emitter& e) { e.wrgsbase(d); }), "wrgsbase " + d64);
    }
}

TEST_F(EmitterTest, MemoryForms) {
    for (const Mem& m : memory_forms()) {
        const std::string t = text_of(m);
        EXPECT_EQ(one([&](Emitter& e) { e.mov_rm(true, Gpr::r11, m); }), "mov r11, " + t);
        EXPECT_EQ(one([&](Emitter& e) { e.mov_mr(false, m, Gpr::rdx); }), "mov " + t + ", edx");
        EXPECT_EQ(one([&](Emitter& e) { e.mov8_mr(m, Gpr::rsi); }), "mov " + t + ", sil");
        EXPECT_EQ(one([&](Emitter& e) { e.mov16_mr(m, Gpr::r8); }), "mov " + t + ", r8w");
        EXPECT_EQ(one([&](Emitter& e) { e.movzx8_rm(Gpr::rdi, m); }), "movzx edi, byte ptr " + t);
        EXPECT_EQ(one([&](Emitter& e) { e.movsxd_rm(Gpr::r9, m); }), "movsxd r9, dword ptr " + t);
        EXPECT_EQ(one([&](Emitter& e) { e.alu_rm(Alu::add, true, Gpr::rax, m); }), "add rax, " + t);
        EXPECT_EQ(one([&](Emitter& e) { e.alu_mi(Alu::cmp, false, m, 5); }), "cmp dword ptr " + t + ", 0x05");
        EXPECT_EQ(one([&](Emitter& e) { e.mov_mi(true, m, 77); }), "mov qword ptr " + t + ", 0x4D");
        EXPECT_EQ(one([&](Emitter& e) { e.lock(), e.cmpxchg(3, m, Gpr::rcx); }), "lock cmpxchg " + t + ", rcx");
        EXPECT_EQ(one([&](Emitter& e) { e.lock(), e.xadd(1, m, Gpr::rdi); }), "lock xadd " + t + ", di");
        EXPECT_EQ(one([&](Emitter& e) { e.store128(m, Xmm::x9); }), "movups " + t + ", xmm9");
        EXPECT_EQ(one([&](Emitter& e) { e.store128(m, Xmm::x9); }, true), "vmovups " + t + ", xmm9");
        EXPECT_EQ(one([&](Emitter& e) { e.load64(Xmm::x3, m); }, true), "vmovq xmm3, qword ptr " + t);
        EXPECT_EQ(one([&](Emitter& e) { e.vop(SseOp::addsd, Xmm::x12, Xmm::x1, m); }, true), "vaddsd xmm12, xmm1, qword ptr " + t);
    }
}

/// Every row of the table decodes to its own name, as SSE and as AVX, with low and high registers.
TEST_F(EmitterTest, SseTable) {
    constexpr const char* kNames[] = {
#define SSE_OP(name, prefix, map, code, w, flags) #name,
#include "codegen/x64/sse_ops.inc"
#undef SSE_OP
    };
    for (unsigned k = 0; k < static_cast<unsigned>(SseOp::kCount); ++k) {
        const SseRow& r = kSseRows[k];
        const auto op = static_cast<SseOp>(k);
        const std::string name = kNames[k];
        for (const Xmm x : {Xmm::x1, Xmm::x9}) {
            for (const bool avx : {false, true}) {
                if (!avx && (r.flags & SseRow::V)) continue;
                std::string text;
                if (r.flags & SseRow::U)
                    text = one([&](Emitter& e) { r.flags & SseRow::I ? e.vop_i(op, x, Xmm::x2, 1) : e.vop(op, x, Xmm::x2); }, avx);
                else
                    text = one([&](Emitter& e) { r.flags & SseRow::I ? e.vop_i(op, x, x, Xmm::x2, 1) : e.vop(op, x, x, Xmm::x2); }, avx);
                // Rows that exist with VEX only bear the v in their name, but for the one whose name SSE style has no use for.
                const bool vex = avx && !(r.flags & SseRow::L) && (!(r.flags & SseRow::V) || name[0] != 'v');
                // Comparisons by an immediate have a name for each predicate.
                const std::string expected = (vex ? "v" : "") + name;
                EXPECT_EQ(text.substr(0, text.find(' ')), expected) << text;
                EXPECT_NE(text.find(x == Xmm::x1 ? "xmm1" : "xmm9"), std::string::npos) << text;
                EXPECT_EQ(text.find("(and more)"), std::string::npos) << name;
            }
        }
    }
}

/// Without AVX dst = a - b is right for any overlap: at most a move in front.
TEST_F(EmitterTest, TwoOperandFormsAreNeverEmittedOverTheirSecondOperand) {
    const auto both = [&](Xmm d, Xmm a, Xmm b) {
        uint8_t bytes[64] = {};
        Emitter e;
        e.begin(bytes, bytes + sizeof bytes, false);
        e.vop(SseOp::subpd, d, a, b);
        std::string text;
        for (unsigned at = 0; at < e.offset();) {
            unsigned length = 0;
            text += disassemble_host({bytes + at, e.offset() - at}, 0, &length) + "; ";
            at += length;
        }
        return text;
    };
    EXPECT_EQ(both(Xmm::x1, Xmm::x1, Xmm::x2), "subpd xmm1, xmm2; ");
    EXPECT_EQ(both(Xmm::x3, Xmm::x1, Xmm::x2), "movaps xmm3, xmm1; subpd xmm3, xmm2; ");
    EXPECT_EQ(both(Xmm::x2, Xmm::x1, Xmm::x2), "movdqa [rbp+0x50], xmm2; movaps xmm2, xmm1; subpd xmm2, [rbp+0x50]; ");
}

TEST_F(EmitterTest, LiteralsAreSharedAndReachedRelativeToTheCode) {
    alignas(16) uint8_t bytes[256] = {};
    Emitter e;
    e.begin(bytes, bytes + sizeof bytes, true);
    e.vop(SseOp::pxor, Xmm::x1, Xmm::x1, e.literal_mem(1, 2));
    e.vop_i(SseOp::pshufd, Xmm::x1, e.literal_mem(1, 2), 3);
    const uint32_t end = e.offset();
    e.resolve_literals();
    EXPECT_EQ(e.offset(), align_up(end, 16) + 16);
    unsigned length = 0;
    EXPECT_EQ(disassemble_host(bytes, 0, &length), "vpxor xmm1, xmm1, [0x0000000000000020]");
    EXPECT_EQ(disassemble_host({bytes + length, 32}, length, &length), "vpshufd xmm1, [0x0000000000000020], 0x03");
}

}  // namespace
}  // namespace myna::x64
