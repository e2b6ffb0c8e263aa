// One-line cases for SIMD and FP: corners that the Arm ARM names, signs of the fused operations, and what the oracles of the
// random tests get wrong. Written as in tests/guest/aarch64/cases_test.cpp; v1=high:low or v1=low. FPSR is always compared.
#include <gtest/gtest.h>

#include <cstring>
#include <sstream>

#include "guest/aarch64/cpu_models.h"
#include "guest/common/llvm_mc.h"
#include "machine.h"

namespace myna::guest::aarch64::test {
namespace {

constexpr const char* kCases[] = {
    // ---- NaNs (Arm ARM A1.5.4): signalling first, then the first operand; the addend before the factors
    "fadd d0, d1, d2 ; v1=0x7ff8000000000123 v2=0xfff0000000000001 => v0=0xfff8000000000001 fpsr=1",
    "fadd d0, d1, d2 ; v1=0x7ff8000000000123 v2=0xfff8000000000001 => v0=0x7ff8000000000123",
    "fadd d0, d1, d2 ; v1=0x7ff8000000000123 fpcr=0x02000000 => v0=0x7ff8000000000000",
    "fmadd s0, s1, s2, s3 ; v1=0x7f800000 v3=0x7f800001 => v0=0x7fc00001 fpsr=1",
    "fmadd s0, s1, s2, s3 ; v1=0x7f800000 v3=0x7fc12345 => v0=0x7fc00000 fpsr=1",
    "fsub d0, d1, d2 ; v1=0x7ff0000000000000 v2=0x7ff0000000000000 => v0=0x7ff8000000000000 fpsr=1",
    "fnmul s0, s1, s2 ; v1=0x7fc00001 v2=0x3f800000 => v0=0xffc00001",
    "fmaxnm s0, s1, s2 ; v1=0x7fc00000 v2=0x3f800000 => v0=0x3f800000",
    "fmax s0, s1, s2 ; v1=0x80000000 => v0=0",
    "fmin v0.4s, v1.4s, v2.4s ; v2=0x8000000080000000 => v0=0x8000000080000000",

    // ---- 2 * 3 and 10
    "fmadd s0, s1, s2, s3 ; v1=0x40000000 v2=0x40400000 v3=0x41200000 => v0=0x41800000",
    "fmsub s0, s1, s2, s3 ; v1=0x40000000 v2=0x40400000 v3=0x41200000 => v0=0x40800000",
    "fnmadd s0, s1, s2, s3 ; v1=0x40000000 v2=0x40400000 v3=0x41200000 => v0=0xc1800000",
    "fnmsub s0, s1, s2, s3 ; v1=0x40000000 v2=0x40400000 v3=0x41200000 => v0=0xc0800000",
    "fmls v0.2s, v1.2s, v2.s[1] ; v0=0x4120000041200000 v1=0x4000000040000000 v2=0x4040000000000000 => v0=0x4080000040800000",

    // ---- conversions
    "fcvtzs w0, s1, #4 ; v1=0x3fc00000 => x0=24",
    "fcvtzs w0, s1, #4 ; v1=0x7f7fffff => x0=0x7fffffff fpsr=1",
    "fcvtzs w0, s1, #4 ; v1=0x3dcccccd => x0=1 fpsr=16",
    "fcvtzu x0, d1, #64 ; v1=0x7fefffffffffffff => x0=-1 fpsr=1",
    "fcvtzs h0, h1, #15 ; v1=0xfc00 => v0=0x8000 fpsr=1",
    "fcvtas v0.4s, v1.4s ; v1=0xc020000040200000 => v0=0xfffffffd00000003 fpsr=16",
    "frinta v0.4s, v1.4s ; v1=0xbe99999a3f000000 => v0=0x800000003f800000",
    "frintx s0, s1 ; v1=0x3fc00000 => v0=0x40000000 fpsr=16",
    "scvtf s0, x1 ; x1=0x1000001 fpcr=0x00800000 => v0=0x4b800000 fpsr=16",
    "scvtf s0, x1 ; x1=0x1000001 fpcr=0x00400000 => v0=0x4b800001 fpsr=16",
    "fjcvtzs w0, d1 ; v1=0x41f0000000100000 => x0=1 nzcv=0 fpsr=1",
    "fjcvtzs w0, d1 ; v1=0x4014000000000000 => x0=5 nzcv=4",
    "fjcvtzs w0, d1 ; v1=0x8000000000000000 => x0=0 nzcv=0",
    "fjcvtzs w0, d1 ; v1=1 fpcr=0x01000000 => x0=0 nzcv=0 fpsr=0x80",

    // ---- modes, conditions
    "fadd s0, s1, s2 ; v1=1 fpcr=0x01000000 => v0=0 fpsr=0x80",
    "fccmp s1, s2, #3, ne ; v1=0x7f800001 nzcv=4 => nzcv=3",
    "fcmp d1, d2 ; v1=0x7ff8000000000000 => nzcv=3",
    "fcmpe d1, d2 ; v1=0x7ff8000000000000 => nzcv=3 fpsr=1",
    "fdiv v0.2s, v1.2s, v2.2s ; v1=0x3f8000003f800000 v2=0x4000000040000000 => v0=0x3f0000003f000000",
    "fcmla v0.4h, v1.4h, v2.h[0], #90 ; v1=0x7c01000000000000:0 => v0=0",

    // ---- integers
    "sqadd b0, b1, b2 ; v1=0xff7f v2=0x0101 => v0=0x7f fpsr=0x08000000",
    "sqadd v0.8b, v1.8b, v2.8b ; v1=0x7f:0 v2=1:0 => v0=0",
    "sqabs v0.16b, v1.16b ; v1=0x80:0x81 => v0=0x7f:0x7f fpsr=0x08000000",
    "cnt v0.8b, v1.8b | addv b0, v0.8b ; v1=0xff00ff01 => v0=17",
    "tbl v0.8b, {v1.16b, v2.16b}, v3.8b ; v1=0x10 v2=0x20 v3=0xff201000 => v0=0x1010101000002010",
    "tbx v0.8b, {v1.16b}, v2.8b ; v0=0xaabbccdd v1=0x11 v2=0x10001000 => v0=0x11111111aa11cc11",
    "sri v0.4s, v1.4s, #32 ; v0=5 v1=-1 => v0=5",
    "uqshl d0, d1, d2 ; v1=1 v2=64 => v0=-1 fpsr=0x08000000",
    "srshl v0.2d, v1.2d, v2.2d ; v1=3:5 v2=0xff:0xff => v0=2:3",

    // ---- BFloat16 and the matrix multiplies
    "bfdot v0.2s, v1.4h, v2.4h ; v1=0x3f803f80 v2=0x3f803f80 => v0=0x40000000",
    "smmla v0.4s, v1.16b, v2.16b ; v1=0x0101010101010101 v2=0x0101010101010101 => v0=8",
    "usdot v0.2s, v1.8b, v2.8b ; v1=0xffffffff v2=0xffffffff => v0=0xfffffc04",
};

uint64_t number(const std::string& text) {
    return text[0] == '-' ? static_cast<uint64_t>(std::strtoll(text.c_str(), nullptr, 0)) : std::strtoull(text.c_str(), nullptr, 0);
}

void assign(Registers& r, const std::string& text) {
    std::istringstream in(text);
    for (std::string item; in >> item;) {
        const size_t eq = item.find('='), colon = item.find(':');
        const std::string name = item.substr(0, eq), value = item.substr(eq + 1);
        if (name == "nzcv") r.nzcv = static_cast<uint32_t>(number(value)) << 28;
        else if (name == "fpcr") r.fpcr = static_cast<uint32_t>(number(value));
        else if (name == "fpsr") r.fpsr = static_cast<uint32_t>(number(value));
        else if (name[0] == 'x') r.x[std::stoul(name.substr(1))] = number(value);
        else if (colon == std::string::npos) r.v[std::stoul(name.substr(1))] = {{number(value), 0}};
        else r.v[std::stoul(name.substr(1))] = {{number(item.substr(colon + 1)), number(value.substr(0, value.find(':')))}};
    }
}

void check_all(const jit::EngineOptions& options) {
    const auto cpu = parse_cpu("max");
    const auto machine = make_myna(*cpu, options);
    std::vector<std::string> source;
    for (const std::string line : kCases) {
        std::istringstream in(line.substr(0, std::min(line.find(" ; "), line.find(" => "))));
        for (std::string part; std::getline(in, part, '|');) source.push_back(part);
    }
    std::string error;
    const auto bytes = myna::test::llvm_assemble({"aarch64", "+all", {}}, source, &error);
    ASSERT_EQ(bytes.size(), source.size()) << error;
    size_t at = 0;
    for (const std::string line : kCases) {
        const size_t arrow = line.find(" => "), semicolon = std::min(line.find(" ; "), arrow);
        std::vector<uint32_t> code;
        std::istringstream in(line.substr(0, semicolon));
        for (std::string part; std::getline(in, part, '|');) {
            ASSERT_EQ(bytes[at].size(), 4u) << line << error;
            std::memcpy(&code.emplace_back(), bytes[at++].data(), 4);
        }
        Registers before;
        if (semicolon < arrow) assign(before, line.substr(semicolon + 3, arrow - semicolon - 3));
        Registers got = before, expected = before;
        assign(expected, line.substr(arrow + 4));
        EXPECT_EQ(machine->run(code, got), Stop::kEnd) << line;
        expected.pc = got.pc;
        EXPECT_EQ(difference(got, expected), "") << line;
    }
}

TEST(Aarch64SimdCases, EachLineHolds) {
    if (myna::test::find_llvm_mc().empty()) GTEST_SKIP() << "llvm-mc is not installed";
    check_all({});
    jit::EngineOptions interp;
    interp.accel = jit::Accel::kInterp;
    check_all(interp);
}

}  // namespace
}  // namespace myna::guest::aarch64::test
