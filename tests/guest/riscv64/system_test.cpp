// A bare-metal program in M, S and U with Sv39 paging (paging.c), through the evaluator and through translated code with
// the inline softmmu TLB. It prints what each access gave and which trap it took; paging.txt is what it prints under
// Debian's qemu-system-riscv64 7.2, which is asked again where it is installed.
//
//   0x00100000  finisher   0x10000000  console   0x80000000  RAM
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "codegen/x64/compiler.h"
#include "guest/common/process.h"
#include "guest/riscv64/cpu_models.h"
#include "guest/riscv64/riscv64.h"
#include "guest/riscv64/system.h"
#include "ir/builder.h"
#include "ir/eval.h"
#include "mem/softmmu.h"

namespace myna::guest::riscv64 {
namespace {

constexpr uint64_t kRam = 0x80000000, kRamSize = 32 << 20, kConsole = 0x10000000, kFinisher = 0x100000;

struct Console final : mem::MmioDevice {
    std::string text;
    uint64_t read(uint64_t, unsigned) override { return 0; }
    void write(uint64_t, uint64_t value, unsigned) override { text += static_cast<char>(value); }
};
struct Finisher final : mem::MmioDevice {
    uint64_t value = 0;
    uint64_t read(uint64_t, unsigned) override { return 0; }
    void write(uint64_t, uint64_t v, unsigned) override { value = v; }
};

/// Guest memory of the evaluator in system mode; a fault leaves it by an exception.
class SoftmmuMemory final : public ir::EvalMemory {
  public:
    struct Fault {};
    SoftmmuMemory(VcpuHeader& hdr, uint32_t index) : hdr_(hdr), index_(index << 8) {}
    V128 load(uint64_t addr, unsigned size) override {
        hdr_.exit_reason = 0;
        V128 v{};
        v.u64[0] = mem::softmmu_load(&hdr_, addr, 0, 0, size | index_);
        check();
        return v;
    }
    void store(uint64_t addr, const V128& value, unsigned size) override {
        hdr_.exit_reason = 0;
        mem::softmmu_store(&hdr_, addr, value.u64[0], 0, size | index_);
        check();
    }
    V128 cas(uint64_t addr, const V128& expected, const V128& desired, unsigned size) override {
        hdr_.exit_reason = 0;
        const uint64_t host = mem::softmmu_atomic(&hdr_, addr, 0, 0, size | index_);
        check();
        V128 old{};
        std::memcpy(&old, reinterpret_cast<const void*>(host), size_t{1} << size);
        if (std::memcmp(&old, &expected, size_t{1} << size) == 0) std::memcpy(reinterpret_cast<void*>(host), &desired, size_t{1} << size);
        return old;
    }

  private:
    void check() const {
        if (hdr_.exit_reason != 0) throw Fault{};
    }
    VcpuHeader& hdr_;
    uint32_t index_;
};

class Fetcher final : public CodeFetcher {
  public:
    explicit Fetcher(State& s) : s_(s) {}
    unsigned fetch(uint64_t pc, void* out, unsigned want) override {
        want = static_cast<unsigned>(std::min<uint64_t>(want, 4096 - (pc & 4095)));
        const uint8_t* p = mem::softmmu_host(s_.hdr, pc, want, mem::Access::kFetch, fetch_index(s_));
        if (p == nullptr) return 0;
        std::memcpy(out, p, want);
        return want;
    }

  private:
    State& s_;
};

class Board {
  public:
    explicit Board(bool translated) : translated_(translated), cpu_(*parse_cpu("rv64")), builder_(function_, kArch, {}) {
        block_ = mmap(nullptr, kCodeBytes, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        state_memory_ = mmap(nullptr, sizeof(State) + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        kArch.init_state(state_memory_, cpu_);
        ram_ = *memory_.add_ram(kRam, kRamSize);
        (void)memory_.add_mmio(kConsole, 4096, console);
        (void)memory_.add_mmio(kFinisher, 4096, finisher);
        tlb_->mmu = &mmu_;
        tlb_->memory = &memory_;
        for (const Helper& h : kArch.helpers) helpers_.push_back(h.fn);
        State& s = state();
        s.hdr.tlb = tlb_.get();
        s.hdr.helpers = helpers_.data();
        s.hdr.rt_helpers = x64::runtime_helpers().data();
        indirect_.resize(kIndirectEntries, IndirectEntry{~uint64_t{0}, 0});
        s.hdr.indirect = indirect_.data();
        reset_system(s, sys);
        if (!translated_) return;
        x64::Options options;
        options.host = *x64::HostFeatures::detect();
        options.system_mode = true;
        compiler_ = std::make_unique<x64::Compiler>(kArch, options);
        stubs_ = *compiler_->emit_stubs({static_cast<uint8_t*>(block_), kCodeBytes}, reinterpret_cast<uint64_t>(block_));
        compiler_->use_stubs(stubs_);
    }
    ~Board() {
        munmap(block_, kCodeBytes);
        munmap(state_memory_, sizeof(State) + 4096);
    }

    State& state() { return *static_cast<State*>(state_memory_); }
    void load(const std::string& image) { std::memcpy(ram_, image.data(), image.size()); }

    /// Runs from RAM's start until the finisher is written; false when something else stops it.
    bool run() {
        State& s = state();
        s.hdr.pc = kRam;
        for (unsigned blocks = 0; blocks < 2'000'000 && finisher.value == 0; ++blocks) {
            const ir::ExitReason reason = step();
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

    Console console;
    Finisher finisher;
    SysRegs sys;

  private:
    static constexpr size_t kCodeBytes = 1 << 20;

    uint64_t tval(uint32_t cause) {
        State& s = state();
        if (cause == Cause::kLoadPage || cause == Cause::kStorePage) return sys.tval;
        if (cause != Cause::kIllegal) return 0;
        uint32_t raw = 0;
        Fetcher(s).fetch(s.hdr.pc, &raw, 4);
        return (raw & 3) == 3 ? raw : raw & 0xffff;
    }

    /// One block; pc is the next one's afterwards.
    ir::ExitReason step() {
        State& s = state();
        LiftLimits limits;
        limits.system_mode = true;
        Fetcher fetcher(s);
        builder_.begin(s.hdr.pc, s.hdr.mode);
        kArch.lift_block(builder_, fetcher, cpu_, limits);
        s.hdr.exit_reason = 0;
        if (!translated_) {
            SoftmmuMemory memory(s.hdr, function_.mmu_index);
            try {
                const ir::EvalResult r = evaluator_.run(function_, &s, memory);
                s.hdr.pc = r.next_pc;
                return r.reason;
            } catch (const SoftmmuMemory::Fault&) {
                return ir::ExitReason::kException;
            }
        }
        const uint64_t at = (stubs_.end + 63) / 64 * 64;
        const size_t offset = at - reinterpret_cast<uint64_t>(block_);
        if (!compiler_->compile(function_, {static_cast<uint8_t*>(block_) + offset, kCodeBytes - offset}, at, out_))
            throw std::runtime_error("a block does not compile");
        s.hdr.in_code = 1;
        const auto reason = static_cast<ir::ExitReason>(stubs_.enter(&s.hdr, reinterpret_cast<const void*>(at)));
        s.hdr.in_code = 0;
        if (reason == ir::ExitReason::kLink) {
            std::memcpy(&s.hdr.pc, reinterpret_cast<const void*>(s.hdr.trap_arg), 8);
            return ir::ExitReason::kNone;
        }
        return reason == ir::ExitReason::kLookup ? ir::ExitReason::kNone : reason;
    }

    bool translated_;
    CpuConfig cpu_;
    void* block_;
    void* state_memory_;
    mem::PhysicalMemory memory_;
    uint8_t* ram_ = nullptr;
    std::unique_ptr<mem::SoftTlb> tlb_ = std::make_unique<mem::SoftTlb>();
    Sv39 mmu_;
    std::vector<const void*> helpers_;
    std::vector<IndirectEntry> indirect_;
    ir::Function function_;
    ir::Builder builder_;
    ir::Evaluator evaluator_{kArch};
    std::unique_ptr<x64::Compiler> compiler_;
    x64::Stubs stubs_;
    x64::CompiledBlock out_;
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
