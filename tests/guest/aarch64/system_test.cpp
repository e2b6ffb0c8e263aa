// A bare-metal program at EL1 and EL0 with paging on: the stage 1 walk, exceptions both ways, a device, demand mapping,
// through the evaluator and through translated code with the inline softmmu TLB.
//
//   0x09000000  console (device)            VA = PA, EL1 only
//   0x40000000  boot code, +0x1000 vectors   VA = PA, a 2 MiB block, EL1 only
//   0x40080000  tables
//   0x40090000  EL0 code   VA 0x40200000 (read-only)    0x40091000  EL0 data  VA 0x40201000, read-only again at 0x40203000
//   0x40092000  EL0 data, mapped to VA 0x40202000 by the abort handler
#include <gtest/gtest.h>

#include <cstring>

#include "guest/aarch64/aarch64.h"
#include "guest/aarch64/cpu_models.h"
#include "guest/aarch64/system.h"
#include "guest/common/bare_metal.h"
#include "guest/common/llvm_mc.h"

namespace myna::guest::aarch64 {
namespace {

constexpr uint64_t kRam = 0x40000000, kRamSize = 0x200000, kConsole = 0x09000000;

const std::vector<std::string> kBoot = {
    "movz x0, #0xff", "msr mair_el1, x0",
    "movz x0, #25", "movk x0, #0x80, lsl #16", "msr tcr_el1, x0",  // T0SZ: 39 bits; EPD1
    "movz x0, #0x4008, lsl #16", "msr ttbr0_el1, x0",
    "movz x0, #0x4000, lsl #16", "movk x0, #0x1000", "msr vbar_el1, x0", "isb",
    "mrs x0, sctlr_el1", "orr x0, x0, #1", "msr sctlr_el1, x0", "isb",
    "movz x0, #0x4007, lsl #16", "mov sp, x0",
    "movz x0, #0x4020, lsl #16", "movk x0, #0x1800", "msr sp_el0, x0",
    "movz x0, #0x4020, lsl #16", "msr elr_el1, x0",
    "movz x0, #0x6000, lsl #16", "msr spsr_el1, x0",  // EL0t, Z and C set
    "eret",
};
const std::vector<std::string> kVectorLower = {
    "mrs x9, esr_el1", "lsr x10, x9, #26",
    "cmp x10, #0x15", "b.eq #16",          // SVC
    "cmp x10, #0x24", "b.eq #32",          // data abort
    "wfi",
    // SVC: x8 = 0 writes x0 to the console, else the end
    "cbnz x8, #16", "movz x11, #0x0900, lsl #16", "strb w0, [x11]", "eret", "mov x20, #1", "wfi",
    // data abort: a permission fault is skipped, a translation fault gets its page
    "and w16, w9, #0x3c", "cmp w16, #12", "b.ne #24",
    "mrs x10, elr_el1", "add x10, x10, #4", "msr elr_el1, x10", "add x22, x22, #1", "eret",
    "mrs x12, far_el1", "ubfx x13, x12, #12, #9",
    "movz x14, #0x4008, lsl #16", "movk x14, #0x3000", "movz x15, #0x4009, lsl #16", "movk x15, #0x2743",
    "str x15, [x14, x13, lsl #3]", "dsb ishst", "tlbi vmalle1", "dsb ish", "isb", "add x21, x21, #1", "eret",
};
const std::vector<std::string> kUser = {
    "cset x23, eq",                         // flags came through ERET
    "movz x1, #0x4020, lsl #16", "movk x1, #0x1000",
    "mov x2, #72", "str x2, [x1]",
    "mov x3, #100", "mov x4, #0",
    "add x4, x4, x3", "str x4, [x1, #8]", "ldr x4, [x1, #8]", "subs x3, x3, #1", "b.ne #-16",
    "ldrb w0, [x1]", "mov x8, #0", "svc #0",
    "mov w0, #105", "svc #1",
    "add x5, x1, #1, lsl #12", "ldr x6, [x5]",   // not mapped yet
    "add x7, x1, #2, lsl #12", "ldr x17, [x7]",
    "str xzr, [x7]",                              // read-only
    "add x24, x1, #0xffc", "str x6, [x24]", "ldr x19, [x24]",  // crosses into the next page
    "mov x18, sp", "str x18, [sp, #-16]!",
    "mov x8, #1", "svc #0",
};

/// Fetches within the block's first page.
class PageFetcher final : public CodeFetcher {
  public:
    PageFetcher(VcpuHeader& hdr, unsigned mmu_index) : page_(hdr.pc >> 12), code_(hdr, mmu_index) {}
    unsigned fetch(uint64_t pc, void* out, unsigned want) override { return pc >> 12 == page_ ? code_.fetch(pc, out, want) : 0; }

  private:
    uint64_t page_;
    test::SoftmmuFetcher code_;
};

class Board {
  public:
    explicit Board(bool translated) : vcpu_(kArch, *parse_cpu("max"), sizeof(State), mmu_, translated) {
        ram_ = *vcpu_.memory().add_ram(kRam, kRamSize);
        (void)vcpu_.memory().add_mmio(kConsole, 4096, console);
        reset_system(state(), sys);
    }

    State& state() { return *static_cast<State*>(vcpu_.state()); }
    uint8_t* ram(uint64_t pa) { return ram_ + (pa - kRam); }
    void put(uint64_t pa, uint64_t value) { std::memcpy(ram(pa), &value, 8); }

    /// Runs from `pc` to the first WFI; false when that takes too long or something else stops it.
    bool run(uint64_t pc) {
        State& s = state();
        s.hdr.pc = pc;
        for (unsigned blocks = 0; blocks < 5000; ++blocks) {
            const uint32_t index = (s.hdr.mode & Mode::kEl1) != 0 ? 1 : 0;
            s.hdr.exit_reason = 0;
            if (mem::softmmu_host(s.hdr, s.hdr.pc, 4, mem::Access::kFetch, index) == nullptr) {
                take_exception(s, static_cast<uint32_t>(s.hdr.trap_arg), s.hdr.pc);
                continue;
            }
            PageFetcher fetcher(s.hdr, index);
            switch (vcpu_.step(fetcher)) {
                case ir::ExitReason::kNone: case ir::ExitReason::kMode: case ir::ExitReason::kIcache: break;
                case ir::ExitReason::kException: take_exception(s, static_cast<uint32_t>(s.hdr.trap_arg), s.hdr.pc); break;
                case ir::ExitReason::kYield: return true;
                default: return false;
            }
        }
        return false;
    }

    test::Console console;
    SysRegs sys;

  private:
    Stage1 mmu_;
    test::BareMetal vcpu_;
    uint8_t* ram_;
};

void load(Board& board, uint64_t pa, const std::vector<std::string>& source) {
    std::string error;
    const auto bytes = myna::test::llvm_assemble({"aarch64", "+all", {}}, source, &error);
    ASSERT_EQ(bytes.size(), source.size()) << error;
    for (const auto& insn : bytes) {
        ASSERT_EQ(insn.size(), 4u);
        std::memcpy(board.ram(pa), insn.data(), 4);
        pa += 4;
    }
}

class Aarch64System : public ::testing::TestWithParam<bool> {};

TEST_P(Aarch64System, ABareMetalProgramRunsWithPagingOn) {
    if (myna::test::find_llvm_mc().empty()) GTEST_SKIP() << "llvm-mc is not installed";
    Board board(GetParam());
    load(board, 0x40000000, kBoot);
    load(board, 0x40001400, kVectorLower);
    load(board, 0x40090000, kUser);
    constexpr uint64_t kTable = 3, kBlock = 1, kAf = 1 << 10, kPxn = uint64_t{1} << 53, kUxn = uint64_t{1} << 54;
    constexpr uint64_t kEl0 = 1 << 6, kReadOnly = 1 << 7;
    board.put(0x40080000, 0x40081000 | kTable);
    board.put(0x40080008, 0x40082000 | kTable);
    board.put(0x40081000 + 72 * 8, 0x09000000 | kBlock | kAf | kPxn | kUxn);
    board.put(0x40082000, 0x40000000 | kBlock | kAf | kUxn);
    board.put(0x40082008, 0x40083000 | kTable);
    board.put(0x40083000, 0x40090000 | kTable | kAf | kEl0 | kReadOnly | kPxn);
    board.put(0x40083008, 0x40091000 | kTable | kAf | kEl0 | kPxn | kUxn);
    board.put(0x40083018, 0x40091000 | kTable | kAf | kEl0 | kReadOnly | kPxn | kUxn);
    board.put(0x40092000, 0x1234);
    ASSERT_TRUE(board.run(0x40000000)) << "stopped at " << std::hex << board.state().hdr.pc << " esr " << board.sys.esr
                                       << " far " << board.sys.far << " elr " << board.sys.elr;
    const State& s = board.state();
    EXPECT_EQ(board.console.text, "Hi");
    EXPECT_EQ(s.x[20], 1u) << "the end was not reached by its SVC";
    EXPECT_EQ(s.x[4], 5050u);
    EXPECT_EQ(s.x[6], 0x1234u);
    EXPECT_EQ(s.x[21], 1u) << "translation faults";
    EXPECT_EQ(s.x[22], 1u) << "permission faults";
    EXPECT_EQ(s.x[17], 72u);
    EXPECT_EQ(s.x[19], 0x1234u) << "an access across two pages";
    EXPECT_EQ(s.x[18], 0x40201800u) << "SP_EL0";
    EXPECT_EQ(s.x[23], 1u) << "NZCV through SPSR and ERET";
    EXPECT_EQ(s.sp, 0x40070000u);
    EXPECT_EQ(s.el, 1u);
}

INSTANTIATE_TEST_SUITE_P(BothEngines, Aarch64System, ::testing::Values(false, true),
                         [](const auto& p) { return p.param ? "translated" : "evaluated"; });

}  // namespace
}  // namespace myna::guest::aarch64
