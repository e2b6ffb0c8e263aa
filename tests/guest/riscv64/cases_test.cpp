// One-line cases: code="…" registers before => registers after. Each runs in the evaluator and as translated code.
//
// Registers are named as in assembly (x10, a0, f10, fa0) or pc, fcsr; values are numbers; mem[n] is the doubleword n bytes
// into a scratch page whose address a register gets by `@n`. The code is assembled by llvm-mc. A case ends where control
// leaves the given code, or at a trap, which `=> trap=` names.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <map>
#include <sstream>

#include "guest/riscv64/disasm.h"
#include "guest/riscv64/riscv64.h"
#include "guest/riscv64/riscv64_test.h"
#include "guest/riscv64/state.h"
#include "jit/engine.h"

namespace myna::test {
namespace {

using guest::riscv64::State;

// What random streams cannot hit often, or not at all: corners of division, indirect jumps, traps, CSRs, LR/SC.
constexpr const char* kCases[] = {
    R"~(code="add x10, x11, x12" x11=1 x12=2 => x10=3)~",
    R"~(code="addw a0, a1, a2" a1=0x7fffffff a2=1 => a0=0xffffffff80000000)~",
    R"~(code="div a0, a1, a2" a1=7 a2=0 => a0=-1)~",
    R"~(code="div a0, a1, a2" a1=0x8000000000000000 a2=-1 => a0=0x8000000000000000)~",
    R"~(code="divw a0, a1, a2" a1=0x80000000 a2=-1 => a0=0xffffffff80000000)~",
    R"~(code="divuw a0, a1, a2" a1=0xfffffffe a2=0 => a0=-1)~",
    R"~(code="divuw a0, a1, a2" a1=0xfffffffe a2=1 => a0=-2)~",
    R"~(code="rem a0, a1, a2" a1=7 a2=0 => a0=7)~",
    R"~(code="rem a0, a1, a2" a1=0x8000000000000000 a2=-1 => a0=0)~",
    R"~(code="remuw a0, a1, a2" a1=0xffffffff a2=0 => a0=-1)~",
    R"~(code="mulhsu a0, a1, a2" a1=-1 a2=-1 => a0=-1)~",
    R"~(code="jalr ra, 5(a0)" a0=0x40000100 => pc=0x40000104 ra=0x40000004)~",
    R"~(code="jalr a0, 0(a0)" a0=0x40000201 => pc=0x40000200 a0=0x40000004)~",
    R"~(code="jal t0, 256" => pc=0x40000100 t0=0x40000004)~",
    R"~(code="c.jalr a5" a5=0x40000300 => pc=0x40000300 ra=0x40000002)~",
    R"~(code="bltu a0, a1, 64" a0=1 a1=-1 => pc=0x40000040)~",
    R"~(code="blt a0, a1, 64" a0=1 a1=-1 => pc=0x40000004)~",
    R"~(code="ecall" => pc=0x40000004 trap=syscall)~",
    R"~(code="ebreak" => pc=0x40000000 trap=breakpoint)~",
    R"~(code="c.ebreak" => pc=0x40000000 trap=breakpoint)~",
    R"~(code="addi a0, a0, 100; .word 0" a0=1 => a0=101 pc=0x40000004 trap=illegal)~",
    R"~(code="mret" => pc=0x40000000 trap=illegal)~",
    R"~(code="csrrw a0, cycle, a1" => pc=0x40000000 trap=illegal)~",
    R"~(code="csrrwi zero, frm, 5; fadd.d fa0, fa0, fa0" => pc=0x40000004 trap=illegal)~",
    R"~(code="csrrw a0, fcsr, a1" a1=0xff fcsr=0x21 => a0=0x21 fcsr=0xff)~",
    R"~(code="csrrsi a0, fflags, 0x11" fcsr=0x42 => a0=2 fcsr=0x53)~",
    R"~(code="csrrw a1, frm, a1; csrrs a2, fcsr, zero" a1=3 fcsr=0x05 => a1=0 a2=0x65 fcsr=0x65)~",
    R"~(code="csrrwi zero, frm, 2; fadd.d fa0, fa1, fa2" fa1=0x3ff0000000000000 fa2=0xbff0000000000000 => fa0=0x8000000000000000)~",
    R"~(code="csrrwi zero, frm, 4; fcvt.l.d a0, fa0, dyn" fa0=0x4004000000000000 => a0=3 fcsr=0x81)~",
    R"~(code="lr.w a0, (a1); sc.w a2, a3, (a1)" a1=@8 a3=7 mem[8]=0x1122334480000000 => a0=0xffffffff80000000 a2=0 mem[8]=0x1122334400000007)~",
    R"~(code="sc.d a2, a3, (a1)" a1=@8 a3=7 mem[8]=5 => a2=1 mem[8]=5)~",
    R"~(code="lr.d a0, (a1); sd a3, 0(a1); sc.d a2, a4, (a1)" a1=@8 a3=7 a4=9 mem[8]=5 => a0=5 a2=1 mem[8]=7)~",
    R"~(code="amomaxu.w a0, a2, (a1)" a1=@0 a2=1 mem[0]=0x80000000 => a0=0xffffffff80000000 mem[0]=0x80000000)~",
    R"~(code="amocas.d a0, a2, (a1)" a0=5 a1=@0 a2=6 mem[0]=5 => a0=5 mem[0]=6)~",
    R"~(code="amocas.w zero, a2, (a1)" a1=@0 a2=6 mem[0]=5 => mem[0]=5)~",
    R"~(code="cbo.zero (a1)" a1=@70 mem[56]=1 mem[64]=2 mem[120]=3 mem[128]=4 => mem[56]=1 mem[64]=0 mem[120]=0 mem[128]=4)~",
    R"~(code="c.addi4spn a0, sp, 16" sp=@0 => a0=@16)~",
    R"~(code="fmv.x.w a0, fa0" fa0=0x12345678f0000000 => a0=0xfffffffff0000000)~",
    R"~(code="fadd.s fa0, fa1, fa2" fa1=0x3f800000 fa2=0xffffffff3f800000 => fa0=0xffffffff7fc00000)~",
    R"~(code="fsw fa0, 0(a0)" a0=@0 fa0=0x123456789abcdef0 mem[0]=0 => mem[0]=0x9abcdef0)~",
    R"~(code="fmin.d fa0, fa1, fa2" fa1=0x7ff0000000000001 fa2=0x3ff0000000000000 => fa0=0x3ff0000000000000 fcsr=0x10)~",
    R"~(code="fcvt.w.d a0, fa0, rtz" fa0=0x7ff8000000000000 => a0=0x7fffffff fcsr=0x10)~",
    R"~(code="fcvt.wu.d a0, fa0, rtz" fa0=0xbff0000000000000 => a0=0 fcsr=0x10)~",
    R"~(code="fcvt.lu.s a0, fa0, rtz" fa0=0xffffffffbf000000 => a0=0 fcsr=1)~",
    R"~(code="fcvtmod.w.d a0, fa0, rtz" fa0=0x41f0000000100000 => a0=1 fcsr=0x10)~",
    R"~(code="fli.h fa0, min" => fa0=0xffffffffffff0400)~",
    R"~(code="fli.d fa0, 0.3125" => fa0=0x3fd4000000000000)~",
    R"~(code="add x0, a0, a1; addi a2, x0, 5" a0=1 a1=2 => a2=5)~",
    R"~(code="lb zero, 0(a0); addi a0, a0, 1" a0=@0 => a0=@1)~",
};

constexpr uint64_t kCode = 0x40000000, kScratch = 0x50000000, kBytes = 0x10000;

class Memory final : public jit::GuestMemory {
  public:
    bool executable(uint64_t addr, uint64_t len) override { return addr >= kCode && addr + len <= kCode + kBytes; }
    void code_on_page(uint64_t) override {}
};

uint64_t value_of(const std::string& text) {
    if (text[0] == '@') return kScratch + std::strtoull(text.c_str() + 1, nullptr, 0);
    return text[0] == '-' ? 0 - std::strtoull(text.c_str() + 1, nullptr, 0) : std::strtoull(text.c_str(), nullptr, 0);
}

/// The register or memory named `name`; fcsr is handled apart.
uint64_t* place(State& s, const std::string& name) {
    if (name == "pc") return &s.hdr.pc;
    if (name.starts_with("mem[")) return reinterpret_cast<uint64_t*>(kScratch + std::strtoull(name.c_str() + 4, nullptr, 0));
    for (unsigned n = 0; n < 32; ++n) {
        if (name == guest::riscv64::int_register_name(n) || name == "x" + std::to_string(n)) return &s.x[n];
        if (name == guest::riscv64::fp_register_name(n) || name == "f" + std::to_string(n)) return &s.f[n];
    }
    return nullptr;
}

struct Case {
    std::string text;
    std::vector<std::string> code;
    std::vector<std::pair<std::string, std::string>> before, after;
};

Case parse(const std::string& text) {
    Case c{text, {}, {}, {}};
    const size_t open = text.find('"'), close = text.rfind('"');
    std::istringstream code(text.substr(open + 1, close - open - 1));
    for (std::string insn; std::getline(code, insn, ';');) c.code.push_back(insn);
    std::istringstream rest(text.substr(close + 1));
    bool after = false;
    for (std::string word; rest >> word;) {
        if (word == "=>") {
            after = true;
            continue;
        }
        const size_t eq = word.find('=');
        (after ? c.after : c.before).emplace_back(word.substr(0, eq), word.substr(eq + 1));
    }
    return c;
}

class Riscv64Cases : public ::testing::TestWithParam<jit::Accel> {
  protected:
    void SetUp() override {
        if (find_llvm_mc().empty()) GTEST_SKIP() << "llvm-mc is not installed";
        for (uint64_t at : {kCode, kScratch})
            ASSERT_EQ(mmap(reinterpret_cast<void*>(at), kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
                      reinterpret_cast<void*>(at));
    }
    void TearDown() override {
        munmap(reinterpret_cast<void*>(kCode), kBytes);
        munmap(reinterpret_cast<void*>(kScratch), kBytes);
    }
    void run(const Case& c, const std::vector<uint8_t>& code) {
        const auto cpu = guest::riscv64::kArch.parse_cpu("max");
        jit::EngineOptions options;
        options.accel = GetParam();
        Memory memory;
        // All but the code is ebreak: where control goes shows as a breakpoint there.
        auto* words = reinterpret_cast<uint32_t*>(kCode);
        std::fill(words, words + kBytes / 4, 0x90029002u);
        std::memcpy(words, code.data(), code.size());
        auto engine = jit::Engine::create(guest::riscv64::kArch, *cpu, options, memory);
        ASSERT_TRUE(engine);
        const auto vcpu = (*engine)->create_vcpu();
        auto& s = *static_cast<State*>(vcpu->state());
        s.hdr.pc = kCode;
        for (const auto& [name, value] : c.before) {
            if (name == "fcsr") set_fcsr(s, static_cast<uint32_t>(value_of(value)));
            else *place(s, name) = value_of(value);
        }
        vcpu->state_changed();
        const ir::ExitReason reason = vcpu->run();
        for (const auto& [name, value] : c.after) {
            if (name == "trap") {
                const std::map<ir::ExitReason, std::string> names{{ir::ExitReason::kSyscall, "syscall"},
                                                                  {ir::ExitReason::kBreakpoint, "breakpoint"},
                                                                  {ir::ExitReason::kIllegal, "illegal"}};
                const auto it = names.find(reason);
                EXPECT_EQ(it == names.end() ? std::to_string(static_cast<int>(reason)) : it->second, value) << c.text;
            } else {
                const uint64_t got = name == "fcsr" ? fcsr(s) : *place(s, name);
                EXPECT_EQ(got, value_of(value)) << c.text << "\n  " << name << " = 0x" << std::hex << got;
            }
        }
    }
};

TEST_P(Riscv64Cases, GiveWhatTheyShould) {
    std::vector<Case> cases;
    std::vector<std::string> lines;
    for (const char* text : kCases) {
        cases.push_back(parse(text));
        for (const std::string& insn : cases.back().code) lines.push_back(insn.find(".word") == std::string::npos ? insn : "nop");
    }
    std::string error;
    const auto encodings = llvm_assemble(riscv64_llvm(), lines, &error);
    size_t n = 0;
    for (const Case& c : cases) {
        std::vector<uint8_t> code;
        for (const std::string& insn : c.code) {
            if (insn.find(".word") != std::string::npos) code.insert(code.end(), 4, 0);
            else ASSERT_FALSE(encodings[n].empty()) << insn << "\n" << error;
            if (insn.find(".word") == std::string::npos) code.insert(code.end(), encodings[n].begin(), encodings[n].end());
            ++n;
        }
        run(c, code);
    }
}

INSTANTIATE_TEST_SUITE_P(Engines, Riscv64Cases, ::testing::Values(jit::Accel::kInterp, jit::Accel::kJit),
                         [](const auto& i) { return i.param == jit::Accel::kJit ? "Jit" : "Interp"; });

}  // namespace
}  // namespace myna::test
