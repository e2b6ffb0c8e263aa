// Register allocation proven over all code of real libraries of both guests, and proof that the checker can fail.
//
// MYNA_ALLOC_BLOCKS: of each library so many blocks (default 6,000, spread over it; 0: all).
#include <gtest/gtest.h>

#include <elf.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>

#include "codegen/host_run.h"
#include "ir/builder.h"
#include "ir/parser.h"

namespace myna::testing {
namespace {

/// The executable segment of an ELF file.
class Code final : public guest::CodeFetcher {
  public:
    explicit Code(const char* path) {
        std::ifstream in(path, std::ios::binary);
        const std::string file{std::istreambuf_iterator<char>(in), {}};
        Elf64_Ehdr head;
        if (file.size() < sizeof head) return;
        std::memcpy(&head, file.data(), sizeof head);
        for (unsigned n = 0; n < head.e_phnum; ++n) {
            Elf64_Phdr p;
            std::memcpy(&p, file.data() + head.e_phoff + n * sizeof p, sizeof p);
            if (p.p_type == PT_LOAD && (p.p_flags & PF_X)) bytes = file.substr(p.p_offset, p.p_filesz), address = p.p_vaddr;
        }
    }
    unsigned fetch(uint64_t pc, void* out, unsigned want) override {
        if (pc < address || pc >= address + bytes.size()) return 0;
        const auto n = static_cast<unsigned>(std::min<uint64_t>(want, address + bytes.size() - pc));
        std::memcpy(out, bytes.data() + (pc - address), n);
        return n;
    }
    std::string bytes;
    uint64_t address = 0;
};

void check_library(const char* guest, const char* path, const char* masked) {
    Code code(path);
    if (code.bytes.empty()) GTEST_SKIP() << path << " is not there (the cross compiler's C library)";
    const guest::GuestArch& arch = *guest::find_guest(guest);
    const guest::CpuConfig cpu = *arch.parse_cpu("max");
    x64::Options o;
    o.host = host_without(masked);
    HostRunner host(o, arch);
    ir::Function f;
    ir::Builder builder(f, arch, {});
    const char* text = std::getenv("MYNA_ALLOC_BLOCKS");
    const uint64_t most = text != nullptr ? std::strtoull(text, nullptr, 0) : 6000;
    uint64_t insns = 0, skip = 0;
    for (uint64_t pc = code.address; pc < code.address + code.bytes.size();) {
        builder.begin(pc, 0);
        arch.lift_block(builder, code, cpu, {});
        uint64_t end = pc;
        for (const ir::Inst& n : f.insts)
            if (n.op == ir::Op::kInsn) end = n.imm + n.sub;
        if (skip == 0) {
            const std::string wrong = host.check_allocation(f);
            if (!wrong.empty()) FAIL() << path << ", block " << std::hex << pc << "\n" << wrong;
            insns += f.guest_insns;
        }
        pc = std::max(end, pc + (uint64_t{1} << arch.insn_align_log2));
        // About 8 guest instructions a block.
        if (const uint64_t all = code.bytes.size() / 24; most != 0 && all > most) skip = (skip + 1) % (all / most);
    }
    std::printf("  %s: %llu instructions checked, %s masked\n", path, static_cast<unsigned long long>(insns), masked);
    EXPECT_GT(insns, 10000u);
}

TEST(AllocationOfGuests, Riscv64Libc) { check_library("riscv64", "/usr/riscv64-linux-gnu/lib/libc.so.6", ""); }
TEST(AllocationOfGuests, Aarch64Libc) { check_library("aarch64", "/usr/aarch64-linux-gnu/lib/libc.so.6", ""); }
TEST(AllocationOfGuests, Riscv64Libm) { check_library("riscv64", "/usr/riscv64-linux-gnu/lib/libm.so.6", "avx"); }
TEST(AllocationOfGuests, Aarch64Libm) { check_library("aarch64", "/usr/aarch64-linux-gnu/lib/libm.so.6", "avx"); }

// ---- logs and allocations that are wrong

ir::Function parsed(const char* text) {
    auto f = ir::parse(text, toy_guest());
    if (!f) throw std::runtime_error(f.error().message);
    return *f;
}

/// x4 to x7 and w1 live in memory, x0 to x3 in registers.
constexpr const char* kSum = R"(block 0x1000 mode 0x0 nan arm
 insn 0x1000, 4
   %1 = get x4
   %2 = get x5
   %3 = add.i64 %1, %2
   %4 = mul.i64 %1, %3
   %5 = load.i64 [%4] 64
   set x6, %3
   set x0, %5
   set x1, %4
   exit 0x1004
)";

std::string with_change(const std::function<void(x64::AllocLog&)>& change) {
    x64::Options o;
    o.host = host_without("");
    HostRunner host(o);
    return host.check_allocation(parsed(kSum), change);
}
using x64::AllocNote;
x64::AllocEvent& event_of(x64::AllocLog& log, AllocNote note, unsigned n) {
    for (x64::AllocEvent& e : log)
        if (e.note == note && n-- == 0) return e;
    throw std::runtime_error("the log has no such event");
}

TEST(AllocationChecker, AcceptsTheLogAsItIs) { EXPECT_EQ(with_change([](x64::AllocLog&) {}), ""); }
TEST(AllocationChecker, SeesAnOperandInTheWrongRegister) {
    EXPECT_NE(with_change([](x64::AllocLog& log) { event_of(log, AllocNote::kUse, 0).reg ^= 1; }).find("is not in"), std::string::npos);
}
TEST(AllocationChecker, SeesAnOperandThatIsAnotherValue) {
    EXPECT_NE(with_change([](x64::AllocLog& log) { event_of(log, AllocNote::kUse, 0).value = 2; }).find("operand %2 is not in"), std::string::npos);
}
TEST(AllocationChecker, SeesAResultThatIsNotWritten) {
    EXPECT_NE(with_change([](x64::AllocLog& log) { event_of(log, AllocNote::kDef, 0).reg = 0; }), "");
}
TEST(AllocationChecker, SeesARegisterThatNobodyOwns) {
    const std::string wrong = with_change([](x64::AllocLog& log) {
        std::erase_if(log, [](const x64::AllocEvent& e) { return e.note == AllocNote::kOwn || e.note == AllocNote::kDef || e.note == AllocNote::kMove; });
    });
    EXPECT_NE(wrong.find("belongs to nobody"), std::string::npos);
}
TEST(AllocationChecker, SeesGuestStateOutOfPlaceAtAnExit) {
    // The claims say nothing of guest registers: the IR does. x1 and x0 exchanged there, the code is wrong.
    x64::Options o;
    o.host = host_without("");
    HostRunner host(o);
    ir::Function f = parsed(kSum);
    const auto exchange = [&](x64::AllocLog&) {
        for (ir::Inst& n : f.insts)
            if (n.op == ir::Op::kSet && n.imm < 2) n.imm ^= 1;
    };
    EXPECT_NE(host.check_allocation(f, exchange).find("is not in its place at a direct exit"), std::string::npos);
}
TEST(AllocationChecker, SeesAMissingFaultPoint) {
    x64::Options o;
    o.host = host_without("");
    HostRunner host(o);
    EXPECT_NE(host.check_allocation(parsed(kSum), [&](x64::AllocLog&) { host.block.faults.clear(); }).find("fault table"), std::string::npos);
}

}  // namespace
}  // namespace myna::testing
