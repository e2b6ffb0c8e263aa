// One-line cases: a few instructions, registers before, registers after. They state what random comparison cannot ask of
// its oracle: newer extensions, system registers, corners that the Arm ARM names.
//
//   sdiv w0, w1, w2 ; w1=0x80000000 w2=-1 => x0=0x80000000
//
// Instructions are separated by '|'. m0, m1 …: 64-bit words of memory at x28 (which points into it); what is not named is 0.
// A case without assembler (llvm-mc) is skipped with the whole test.
#include <gtest/gtest.h>

#include <cstring>
#include <sstream>

#include "guest/aarch64/cpu_models.h"
#include "guest/aarch64/features.h"
#include "guest/common/llvm_mc.h"
#include "machine.h"

namespace myna::guest::aarch64::test {
namespace {

constexpr const char* kCases[] = {
    // ---- corners of the base set
    "sdiv w0, w1, w2 ; w1=0x80000000 w2=-1 => x0=0x80000000",
    "sdiv x0, x1, x2 ; x1=0x8000000000000000 x2=-1 => x0=0x8000000000000000",
    "udiv x0, x1, xzr ; x0=5 x1=7 => x0=0",
    "add w0, w1, w2 ; x1=0xffffffffffffffff x2=1 => x0=0",
    "subs w0, w1, w2 ; x1=1 x2=2 => x0=0xffffffff nzcv=8",
    "adds x0, x1, x2 ; x1=-1 x2=1 => nzcv=6",
    "adcs w0, w1, w2 ; x1=0x7fffffff x2=0 nzcv=2 => x0=0x80000000 nzcv=9",
    "sbcs x0, x1, x2 ; x1=0 x2=0 nzcv=0 => x0=-1 nzcv=8",
    "ands xzr, x1, #0x8000000000000000 ; x1=-1 nzcv=15 => nzcv=8",
    "lsl w0, w1, w2 ; x1=1 x2=33 => x0=2",
    "asr x0, x1, #63 ; x1=0x8000000000000000 => x0=-1",
    "extr w0, w1, w2, #8 ; x1=0x11 x2=0x22334455 => x0=0x11223344",
    "bfi x0, x1, #60, #4 ; x0=0xf x1=0xa => x0=0xa00000000000000f",
    "bfxil w0, w1, #28, #4 ; x0=0xfffffffffffffff0 x1=0xa0000000 => x0=0xfffffffa",
    "bfc x0, #4, #8 ; x0=-1 => x0=0xfffffffffffff00f",
    "sbfiz x0, x1, #4, #8 ; x1=0x80 => x0=0xfffffffffffff800",
    "ubfiz w0, w1, #24, #8 ; x1=0x1ff => x0=0xff000000",
    "movz x0, #1, lsl #48 | movk x0, #2, lsl #16 => x0=0x0001000000020000",
    "movn w0, #0 => x0=0xffffffff",
    "cls x0, x1 ; x1=-1 => x0=63",
    "clz w0, w1 ; x1=0 => x0=32",
    "rbit w0, w1 ; x1=1 => x0=0x80000000",
    "rev16 x0, x1 ; x1=0x0102030405060708 => x0=0x0201040306050807",
    "rev32 x0, x1 ; x1=0x0102030405060708 => x0=0x0403020108070605",
    "smulh x0, x1, x2 ; x1=-1 x2=2 => x0=-1",
    "umulh x0, x1, x2 ; x1=-1 x2=-1 => x0=0xfffffffffffffffe",
    "smsubl x0, w1, w2, x3 ; x1=-3 x2=5 x3=1 => x0=16",
    "ccmp x1, x2, #5, eq ; x1=1 x2=1 nzcv=0 => nzcv=5",
    "ccmp x1, x2, #5, ne ; x1=1 x2=1 nzcv=0 => nzcv=6",
    "ccmn w1, #1, #0, al ; x1=0xffffffff => nzcv=6",
    "csinv w0, wzr, wzr, ne ; nzcv=4 => x0=0xffffffff",
    "cset x0, hi ; nzcv=2 => x0=1",
    "crc32b w0, w1, w2 ; x1=0xffffffff x2=0x61 => x0=0x174841bc",
    "crc32cx w0, w1, x2 ; x1=0 x2=1 => x0=0x493c7d27",
    "add sp, x1, #16 | mov x0, sp ; x1=0x1000 => x0=0x1010 sp=0x1010",

    // ---- FlagM (C6.2: CFINV, RMIF, SETF8, SETF16, AXFLAG, XAFLAG)
    "cfinv ; nzcv=13 => nzcv=15",
    "rmif x1, #63, #15 ; x1=5 => nzcv=10",
    "rmif x1, #0, #2 ; x1=0 nzcv=15 => nzcv=13",
    "setf8 w1 ; x1=0x80 nzcv=2 => nzcv=11",
    "setf8 w1 ; x1=0x100 => nzcv=5",
    "setf16 w1 ; x1=0x18000 => nzcv=8",
    "axflag ; nzcv=3 => nzcv=4",
    "axflag ; nzcv=2 => nzcv=2",
    "xaflag ; nzcv=4 => nzcv=3",
    "xaflag ; nzcv=0 => nzcv=8",

    // ---- CSSC
    "abs x0, x1 ; x1=-5 => x0=5",
    "abs w0, w1 ; x1=0x80000000 => x0=0x80000000",
    "cnt x0, x1 ; x1=0xf0f0 => x0=8",
    "ctz w0, w1 ; x1=0 => x0=32",
    "smax x0, x1, x2 ; x1=-1 x2=1 => x0=1",
    "umax w0, w1, w2 ; x1=0xffffffff x2=1 => x0=0xffffffff",
    "smin w0, w1, #-3 ; x1=5 => x0=0xfffffffd",
    "umin x0, x1, #200 ; x1=-1 => x0=200",
    "smax x0, x1, #-128 ; x1=-200 => x0=-128",

    // ---- memory
    "ldrsb w0, [x28] ; m0=0x80 => x0=0xffffff80 m0=0x80",
    "ldrsb x0, [x28] ; m0=0x80 => x0=-128 m0=0x80",
    "ldrsw x0, [x28, #4] ; m0=0x8000000000000000 => x0=0xffffffff80000000 m0=0x8000000000000000",
    "ldr x0, [x1, w2, sxtw #3] ; x1=@16 x2=0xffffffff m1=7 => x0=7 m1=7",
    "ldp w0, w1, [x28] ; m0=0xffffffff00000001 => x0=1 x1=0xffffffff m0=0xffffffff00000001",
    "stp x1, xzr, [x28, #8] ; x1=3 m2=9 => m1=3 m2=0",
    "dc zva, x1 ; x1=@20 m0=1 m7=2 m8=3 => m0=0 m7=0 m8=3",
    "str x1, [x2, #8]! ; x1=5 x2=@0 => m1=5 x2=@8",
    "ldr x1, [x2], #-8 ; x2=@8 m1=5 => x1=5 x2=@0 m1=5",

    // ---- atomics and exclusives
    "ldsminb w1, w0, [x28] ; x1=0x80 m0=0xff01 => x0=1 m0=0xff80",
    "ldumaxh w1, w0, [x28] ; x1=0xfff10002 m0=0x70001 => x0=1 m0=0x70002",
    "ldsmax w1, w0, [x28] ; x1=1 m0=0x00000005ffffffff => x0=0xffffffff m0=0x0000000500000001",
    "ldclr x1, x0, [x28] ; x1=0xf0 m0=0xff => x0=0xff m0=0xf",
    "swpb w1, w0, [x28] ; x1=0x1234 m0=0xffff => x0=0xff m0=0xff34",
    "casb w1, w2, [x28] ; x1=0xff05 x2=7 m0=5 => x1=5 m0=7",
    "cas x1, x2, [x28] ; x1=1 x2=2 m0=3 => x1=3 m0=3",
    "caspal x2, x3, x4, x5, [x28] ; x2=1 x3=2 x4=3 x5=4 m0=1 m1=2 => x2=1 x3=2 m0=3 m1=4",
    "casp w2, w3, w4, w5, [x28] ; x2=1 x3=2 x4=3 x5=4 m0=0x200000009 => x2=9 x3=2 m0=0x200000009",
    "ldxr x0, [x28] | add x0, x0, #1 | stxr w1, x0, [x28] ; m0=41 x1=9 => m0=42 x0=42 x1=0",
    "ldxr x0, [x28] | clrex | stxr w1, x0, [x28] ; m0=41 => m0=41 x0=41 x1=1",
    "ldaxp x0, x1, [x28] | stlxp w2, x1, x0, [x28] ; m0=1 m1=2 x2=9 => m0=2 m1=1 x0=1 x1=2 x2=0",
    "ldxp w0, w1, [x28] | stxp w2, w1, w0, [x28] ; m0=0x0000000200000001 x2=9 => m0=0x0000000100000002 x0=1 x1=2 x2=0",
    "ldxr x0, [x28] | str xzr, [x28] | stxr w1, x0, [x28] ; m0=41 => m0=0 x0=41 x1=1",

    // ---- system
    "msr nzcv, x1 | mrs x0, nzcv ; x1=0xffffffff => x0=0xf0000000 nzcv=15",
    "msr tpidr_el0, x1 | mrs x0, tpidr_el0 ; x1=77 => x0=77",
    "mrs x0, dczid_el0 => x0=4",
    "mrs x0, rndr ; nzcv=15 => nzcv=0",
    "ldp x0, x1, [x28] ; m0=1 m1=2 => x0=1 x1=2 m0=1 m1=2",
    "stp x1, x2, [x28, #-16]! | ldp x3, x4, [x28], #16 ; x1=5 x2=6 => x3=5 x4=6 x28=@0",
    "mrs x0, ctr_el0 | ubfx x0, x0, #16, #4 => x0=4",
    "mrs x0, cntfrq_el0 => x0=1000000000",
    "msr fpcr, x1 | mrs x0, fpcr ; x1=0x03c00000 => x0=0x03c00000 fpcr=0x03c00000",
    "msr fpsr, x1 | mrs x0, fpsr ; x1=0x0800009f => x0=0x0800009f fpsr=0x0800009f",
    "msr dit, #1 | mrs x0, dit => x0=0x1000000",
    "msr ssbs, x1 | mrs x0, ssbs ; x1=-1 => x0=0x1000",
    "mrs x0, midr_el1 | lsr x0, x0, #32 => x0=0",
    "mrs x0, id_aa64isar1_el1 | ubfx x0, x0, #8, #4 => x0=3",
    "mrs x0, id_aa64isar0_el1 | ubfx x0, x0, #20, #4 => x0=2",

    // ---- pointer authentication: sign and authenticate is the identity, a wrong modifier leaves a bad pointer
    "pacia x0, x1 | autia x0, x1 ; x0=0x7fffdeadbeef x1=5 => x0=0x7fffdeadbeef",
    "pacdb x0, x1 | autdb x0, x1 ; x0=0x1000 x1=5 => x0=0x1000",
    "paciza x0 | autiza x0 ; x0=0x123450 => x0=0x123450",
    "pacia x0, x1 | xpaci x0 ; x0=0x7fffdeadbeef x1=5 => x0=0x7fffdeadbeef",
    "paciasp | xpaclri ; x30=0x400000 => x30=0x400000",
    "pacibsp | autibsp ; x30=0x400000 => x30=0x400000",
    "pacga x0, x1, x2 | and x0, x0, #0xffffffff ; x1=1 x2=2 => x0=0",
};

uint64_t number(const std::string& text) {
    if (text[0] == '@') return kData + 0x100 + std::strtoull(text.c_str() + 1, nullptr, 0);
    return text[0] == '-' ? static_cast<uint64_t>(std::strtoll(text.c_str(), nullptr, 0)) : std::strtoull(text.c_str(), nullptr, 0);
}

struct World {
    Registers r;
    std::array<uint64_t, 16> memory{};
};

/// Applies "x1=5 nzcv=3 m0=7".
void assign(World& w, const std::string& text) {
    std::istringstream in(text);
    for (std::string item; in >> item;) {
        const size_t eq = item.find('=');
        const std::string name = item.substr(0, eq);
        const uint64_t value = number(item.substr(eq + 1));
        if (name == "sp") w.r.sp = value;
        else if (name == "nzcv") w.r.nzcv = static_cast<uint32_t>(value) << 28;
        else if (name == "fpcr") w.r.fpcr = static_cast<uint32_t>(value);
        else if (name == "fpsr") w.r.fpsr = static_cast<uint32_t>(value);
        else if (name[0] == 'm') w.memory[std::stoul(name.substr(1))] = value;
        else w.r.x[std::stoul(name.substr(1))] = name[0] == 'w' ? static_cast<uint32_t>(value) : value;
    }
}

/// All lines' instructions, by one run of the assembler.
std::vector<std::vector<uint32_t>> assemble(const std::vector<std::string>& lines, std::string* error) {
    std::vector<std::string> source;
    std::vector<size_t> counts;
    for (const std::string& line : lines) {
        std::istringstream in(line);
        size_t count = 0;
        for (std::string part; std::getline(in, part, '|'); ++count) source.push_back(part);
        counts.push_back(count);
    }
    const auto bytes = myna::test::llvm_assemble({"aarch64", "+all", {}}, source, error);
    std::vector<std::vector<uint32_t>> code;
    if (bytes.size() != source.size()) return code;
    size_t at = 0;
    for (const size_t count : counts) {
        auto& words = code.emplace_back(count);
        for (uint32_t& w : words) std::memcpy(&w, bytes[at++].data(), 4);
    }
    return code;
}

TEST(Aarch64Cases, EachLineHolds) {
    if (myna::test::find_llvm_mc().empty()) GTEST_SKIP() << "llvm-mc is not installed";
    const auto cpu = parse_cpu("max");
    auto machine = make_myna(*cpu, {});
    std::vector<std::string> sources;
    for (const std::string line : kCases) sources.push_back(line.substr(0, std::min(line.find(" ; "), line.find(" => "))));
    std::string error;
    const auto assembled = assemble(sources, &error);
    ASSERT_EQ(assembled.size(), sources.size()) << error;
    size_t index = 0;
    for (const char* line : kCases) {
        const std::string text(line);
        const size_t arrow = text.find(" => ");
        const size_t semicolon = std::min(text.find(" ; "), arrow);
        const std::vector<uint32_t>& code = assembled[index++];
        World before;
        before.r.x[28] = kData + 0x100;
        if (semicolon < arrow) assign(before, text.substr(semicolon + 3, arrow - semicolon - 3));
        World after = before;
        assign(after, text.substr(arrow + 4));
        std::memcpy(machine->data().data() + 0x100, before.memory.data(), sizeof before.memory);
        World got = before;
        const Stop stop = machine->run(code, got.r);
        std::memcpy(got.memory.data(), machine->data().data() + 0x100, sizeof got.memory);
        EXPECT_EQ(stop, Stop::kEnd) << text;
        // What the case does not name may change only if the instructions wrote it: registers named as results are compared.
        std::istringstream results(text.substr(arrow + 4));
        for (std::string item; results >> item;) {
            const std::string name = item.substr(0, item.find('='));
            if (name == "sp") EXPECT_EQ(got.r.sp, after.r.sp) << text;
            else if (name == "nzcv") EXPECT_EQ(got.r.nzcv >> 28, after.r.nzcv >> 28) << text;
            else if (name == "fpcr") EXPECT_EQ(got.r.fpcr, after.r.fpcr) << text;
            else if (name == "fpsr") EXPECT_EQ(got.r.fpsr, after.r.fpsr) << text;
            else if (name[0] == 'x') EXPECT_EQ(got.r.x[std::stoul(name.substr(1))], after.r.x[std::stoul(name.substr(1))]) << text;
        }
        EXPECT_EQ(got.memory, after.memory) << text;
    }
}

/// Instructions with the first CPU that has them: undefined on the one before.
constexpr struct { const char* code; const char* with; const char* without; } kGated[] = {
    {"cas x0, x1, [x28]", "neoverse-n1", "cortex-a72"},
    {"ldadd x0, x1, [x28]", "max", "max,lse=off"},
    {"ldapr x0, [x28]", "neoverse-n1", "cortex-a53"},
    {"ldapur x0, [x28, #1]", "max", "neoverse-n1"},
    {"cfinv", "max", "neoverse-n1"},
    {"axflag", "max", "max,flagm2=off"},
    {"crc32b w0, w1, w2", "cortex-a53", "max,crc32=off"},
    {"pacga x0, x1, x2", "max", "neoverse-n1"},
    {"braa x0, x1", "max", "cortex-a72"},
    {"cnt x0, x1", "max", "neoverse-n1"},
    {"msr dit, #1", "max", "neoverse-n1"},
    {"mrs x0, ssbs", "neoverse-n1", "cortex-a72"},
    {"mrs x0, rndr", "max", "neoverse-n1"},
    {"sb", "max", "neoverse-n1"},
    {"dc cvap, x28", "neoverse-n1", "cortex-a72"},
    {"fmov h0, h1", "neoverse-n1", "cortex-a72"},
    {"sdot v0.4s, v1.16b, v2.16b", "neoverse-n1", "cortex-a72"},
    {"aese v0.16b, v1.16b", "cortex-a53", "max,aes=off"},
};

TEST(Aarch64Features, AnInstructionIsUndefinedWithoutItsFeature) {
    if (myna::test::find_llvm_mc().empty()) GTEST_SKIP() << "llvm-mc is not installed";
    std::vector<std::string> sources;
    for (const auto& g : kGated) sources.emplace_back(g.code);
    std::string error;
    const auto assembled = assemble(sources, &error);
    ASSERT_EQ(assembled.size(), sources.size()) << error;
    size_t index = 0;
    for (const auto& g : kGated) {
        const uint32_t raw = assembled[index++][0];
        for (const bool there : {true, false}) {
            const auto cpu = parse_cpu(there ? g.with : g.without);
            ASSERT_TRUE(cpu.has_value()) << cpu.error().message;
            auto machine = make_myna(*cpu, {});
            Registers r;
            r.x[28] = kData + 0x100;
            const Stop stop = machine->run(std::span(&raw, 1), r);
            EXPECT_EQ(stop == Stop::kUndefined, !there) << g.code << " on " << (there ? g.with : g.without);
        }
    }
}

TEST(Aarch64Features, HintsOfPointerAuthenticationDoNothingWithoutIt) {
    auto machine = make_myna(*parse_cpu("neoverse-n1"), {});
    Registers r;
    r.x[30] = 0x400000;
    const uint32_t paciasp = 0xd503233f;
    EXPECT_EQ(machine->run(std::span(&paciasp, 1), r), Stop::kEnd);
    EXPECT_EQ(r.x[30], 0x400000u);
}

TEST(Aarch64Features, AWrongModifierLeavesANonCanonicalPointer) {
    auto machine = make_myna(*parse_cpu("max"), {});
    unsigned corrupted = 0;
    for (uint64_t modifier = 1; modifier <= 64; ++modifier) {
        Registers r;
        r.x[0] = 0x7fff12345678;
        r.x[1] = 0;
        r.x[2] = modifier;
        const uint32_t code[] = {0xdac10020, 0xdac11040};  // pacia x0, x1; autia x0, x2
        ASSERT_EQ(machine->run(code, r), Stop::kEnd);
        corrupted += r.x[0] != 0x7fff12345678;
        EXPECT_EQ(r.x[0] & 0xff80ffffffffffff, 0x7fff12345678u);
    }
    EXPECT_GE(corrupted, 58u);  // 7 bits: one in 128 slips through
}

TEST(Aarch64Features, CpuArgumentsAreReadAndRefusedByName) {
    EXPECT_TRUE(parse_cpu("max,lse=off,pauth-impdef=on").has_value());
    EXPECT_FALSE(parse_cpu("cortex-a99").has_value());
    EXPECT_NE(parse_cpu("max,sve=on").error().message.find("sve"), std::string::npos);
    EXPECT_FALSE(has(*parse_cpu("max,asimd=off"), Feature::aes));
    EXPECT_FALSE(has(*parse_cpu("cortex-a53"), Feature::lse));
}

}  // namespace
}  // namespace myna::guest::aarch64::test
