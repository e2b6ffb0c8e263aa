// A bare-metal program in M, S and U with Sv39 paging (paging.c), through the evaluator and through translated code with
// the inline softmmu TLB. It prints what each access gave and which trap it took; paging.txt is what it prints under
// Debian's qemu-system-riscv64 7.2, which is asked again where it is installed.
//
//   0x00100000  finisher   0x10000000  console   0x80000000  RAM
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>

#include "guest/common/bare_metal.h"
#include "guest/common/process.h"
#include "guest/riscv64/cpu_models.h"
#include "guest/riscv64/riscv64.h"
#include "guest/riscv64/system.h"

namespace myna::guest::riscv64 {
namespace {

constexpr uint64_t kRam = 0x80000000, kRamSize = 32 << 20, kConsole = 0x10000000, kFinisher = 0x100000;

struct Finisher final : mem::MmioDevice {
    uint64_t value = 0;
    uint64_t read(uint64_t, unsigned) override { return 0; }
    void write(uint64_t, uint64_t v, unsigned) override { value = v; }
};

class Board {
  public:
    explicit Board(bool translated) : vcpu_(kArch, *parse_cpu("rv64"), sizeof(State), mmu_, translated) {
        ram_ = *vcpu_.memory().add_ram(kRam, kRamSize);
        (void)vcpu_.memory().add_mmio(kConsole, 4096, console);
        (void)vcpu_.memory().add_mmio(kFinisher, 4096, finisher);
        reset_system(state(), sys);
    }

    State& state() { return *static_cast<State*>(vcpu_.state()); }
    void load(const std::string& image) { std::memcpy(ram_, image.data(), image.size()); }

    /// Runs from RAM's start until the finisher is written; false when something else stops it.
    bool run() {
        State& s = state();
        s.hdr.pc = kRam;
        for (unsigned blocks = 0; blocks < 2'000'000 && finisher.value == 0; ++blocks) {
            test::SoftmmuFetcher fetcher(s.hdr, fetch_index(s));
            const ir::ExitReason reason = vcpu_.step(fetcher);
            if (finisher.value != 0) break;
            if (reason == ir::ExitReason::kNone || reason == ir::ExitReason::kMode || reason == ir::ExitReason::kIcache) continue;
            if (reason == ir::ExitReason::kNoExec) {  // the fetch again, for the fault it gives
                const uint64_t at = s.hdr.pc + s.hdr.trap_arg;
                if (mem::softmmu_host(s.hdr, at, 2, mem::Access::kFetch, fetch_index(s)) != nullptr) return false;
                take_trap(s, Cause::kFetchPage, s.hdr.pc, at);
                continue;
            }
            if (reason != ir::ExitReason::kException) return false;
            const auto cause = static_cast<uint32_t>(s.hdr.trap_arg);
            take_trap(s, cause, s.hdr.pc, tval(cause));
        }
        return finisher.value == 0x5555;
    }

    test::Console console;
    Finisher finisher;
    SysRegs sys;

  private:
    uint64_t tval(uint32_t cause) {
        State& s = state();
        if (cause == Cause::kLoadPage || cause == Cause::kStorePage) return sys.tval;
        if (cause != Cause::kIllegal) return 0;
        uint32_t raw = 0;
        test::SoftmmuFetcher(s.hdr, fetch_index(s)).fetch(s.hdr.pc, &raw, 4);
        return (raw & 3) == 3 ? raw : raw & 0xffff;
    }

    Sv39 mmu_;
    test::BareMetal vcpu_;
    uint8_t* ram_;
};

std::string contents(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}
const std::string kFolder = MYNA_SOURCE_DIR "/tests/guest/riscv64/";

class Riscv64System : public ::testing::TestWithParam<const char*> {
  protected:
    void SetUp() override {
        if (!myna::test::have_program("riscv64-linux-gnu-gcc")) GTEST_SKIP() << "riscv64-linux-gnu-gcc is not installed";
        const auto done = myna::test::run_process(
            {"riscv64-linux-gnu-gcc", "-O1", "-ffreestanding", "-fno-pic", "-fno-stack-protector", "-nostdlib", "-static", "-march=rv64gc",
             "-mabi=lp64d", "-mcmodel=medany", "-Wl,-Ttext=0x80000000", "-Wl,--build-id=none", "-Wl,--no-warn-rwx-segments", "-o", elf_.path(),
             kFolder + "paging.c"});
        ASSERT_EQ(done.status, 0) << done.err;
    }
    myna::test::TempFile elf_{""};
};

TEST_P(Riscv64System, ABareMetalProgramRunsWithPagingOn) {
    const std::string expected = contents(kFolder + "paging.txt"), engine = GetParam();
    std::string got;
    if (engine == "qemu") {
        if (!myna::test::have_program("qemu-system-riscv64")) GTEST_SKIP() << "qemu-system-riscv64 is not installed";
        got = myna::test::run_process({"timeout", "60", "qemu-system-riscv64", "-machine", "virt", "-m", "64M", "-bios", "none", "-kernel", elf_.path(),
                                       "-display", "none", "-serial", "stdio", "-monitor", "none"}).out;
    } else {
        const myna::test::TempFile image{""};
        ASSERT_EQ(myna::test::run_process({"riscv64-linux-gnu-objcopy", "-O", "binary", elf_.path(), image.path()}).status, 0);
        Board board(engine == "translated");
        board.load(contents(image.path()));
        EXPECT_TRUE(board.run()) << "stopped at " << std::hex << board.state().hdr.pc << " mcause " << board.sys.mcause << " mepc "
                                 << board.sys.mepc << " scause " << board.sys.scause << " sepc " << board.sys.sepc;
        got = board.console.text;
    }
    EXPECT_EQ(got, expected);
}

INSTANTIATE_TEST_SUITE_P(Engines, Riscv64System, ::testing::Values("qemu", "evaluated", "translated"), [](const auto& p) { return std::string(p.param); });

}  // namespace
}  // namespace myna::guest::riscv64
