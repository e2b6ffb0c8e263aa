// The engine: everything between "run this vCPU" and host code. One per process in user mode.
//
//   Vcpu::run ─▶ BlockMap ─▶ (missing) Translator: lift → IR → Compiler → CodeCache ─▶ publish, link ─▶ enter
//        ▲                                                                                        │
//        └────────────── exit reason: system call, fault, breakpoint, poll … ◀────────────────────┘
#pragma once

#include <csignal>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "guest/common/arch.h"
#include "jit/persist/format.h"
#include "jit/region.h"

namespace myna::ir {
class EvalMemory;
}

namespace myna::jit {

enum class Accel : uint8_t { kJit, kInterp };

/// -d items (or-ed).
struct Log {
    static constexpr uint32_t kInAsm = 1, kOp = 2, kOpOpt = 4, kOutAsm = 8, kExec = 16, kCpu = 32, kInt = 64, kPage = 128,
                              kStrace = 256, kUnimp = 512, kGuestErrors = 1024, kMmu = 2048, kNochain = 4096;
};

/// Guest addresses, both ends included.
struct AddressRange {
    uint64_t first, last;
};

struct EngineOptions {
    Accel accel = Accel::kJit;
    uint64_t guest_base = 0;
    size_t cache_bytes = size_t{256} << 20;
    uint32_t log = 0;                       // Log items
    int log_fd = 2;
    std::vector<AddressRange> log_ranges;   // in_asm, op, op_opt, out_asm, exec, cpu: only of blocks that begin in one; none: all
    std::vector<std::string> jit_disable;   // fold, share, forward, if-convert, unroll, dead-sets, fuse, pin, chain, indirect-cache, interpret-once
    std::vector<std::string> host_mask;     // host features to ignore
    bool one_insn_per_block = false;
    bool interpret_once = false;            // a block is translated when it runs for the second time (translated code only)
    bool keep_relocations = false;          // save_block() will be asked for
    bool jit_stats = false;
    bool perf_map = false, jitdump = false;
};

/// What the owner of guest memory tells the engine about it. Called on a vCPU's thread, with the engine's lock held.
class GuestMemory {
  public:
    virtual ~GuestMemory() = default;
    /// True when all of [addr, addr+len) may be fetched as code by the guest.
    virtual bool executable(uint64_t addr, uint64_t len) = 0;
    /// Code was translated from this page: when the guest may write to it, make writes fault (owner then calls
    /// Engine::invalidate and lets the write go on).
    virtual void code_on_page(uint64_t page_addr) = 0;
    /// Sorted addresses of instructions that are not to be translated (breakpoints): a block ends before them, and run()
    /// returns kNoExec there. Called, and the list read, with the engine's lock held: when Engine::invalidate has returned,
    /// nobody reads a list that was given before.
    virtual std::span<const uint64_t> stops() { return {}; }
    /// Raised before an answer of executable(), or what code_on_page() did, may cease to hold: until then it does, and is
    /// not asked for again. Engine::invalidate raises it too. Any thread.
    std::atomic<uint64_t> changes{0};
};

class Vcpu;

class Engine {
  public:
    /// `memory` outlives the engine.
    static Result<std::unique_ptr<Engine>> create(const guest::GuestArch& arch, const guest::CpuConfig& cpu,
                                                  const EngineOptions& opt, GuestMemory& memory);
    virtual ~Engine() = default;

    [[nodiscard]] virtual const guest::GuestArch& arch() const noexcept = 0;
    [[nodiscard]] virtual const guest::CpuConfig& cpu() const noexcept = 0;

    virtual std::unique_ptr<Vcpu> create_vcpu() = 0;

    /// Forgets all translations that depend on [addr, addr+len). Any thread; safe while others run.
    virtual void invalidate(uint64_t addr, uint64_t len) = 0;

    enum class HostFault : uint8_t { kNotOurs, kGuest };
    /// SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP inside translated code or one of its helpers, on the vCPU's own thread
    /// (async-signal-safe). kGuest: registers and pc are in the state, and `ucontext` was changed so that returning from
    /// the signal handler makes Vcpu::run return kFault. kNotOurs: nothing was done.
    virtual HostFault on_host_fault(Vcpu& vcpu, int sig, const siginfo_t* info, void* ucontext) noexcept = 0;

    /// Around fork(): before in the parent (takes the locks), then in the parent and in the child.
    virtual void before_fork() = 0;
    virtual void after_fork_parent() = 0;
    virtual void after_fork_child(Vcpu& survivor) = 0;

    /// --jit-stats, as text.
    virtual std::string stats() const = 0;

    // ---- regions (jit/region.h). Any thread. An engine that does not translate: kUnsupported.
    /// The guest code of blocks that are to become a region. kNotFound: one cannot be fetched.
    virtual Result<RegionSource> snapshot_region(std::span<const uint64_t> blocks, uint32_t mode);
    /// Compiles optimise_region()'s Function and puts it in the place of the block at its head. kInterrupted: guest code
    /// was changed since the snapshot; nothing was done.
    virtual Result<void> install_region(const RegionSource& source, const ir::Function& region);

    // ---- translations on disk (jit/persist/format.h)
    /// What translations of this engine depend on besides guest code.
    [[nodiscard]] virtual persist::Key persist_key() const;
    /// The translation of (pc, mode), as it was before linking. kNotFound: there is none. keep_relocations must be on.
    virtual Result<persist::SavedBlock> save_block(uint64_t pc, uint32_t mode);
    /// Makes a saved translation this engine's. kInvalidArgument: the guest's code differs, or there is a translation.
    virtual Result<void> load_block(const persist::SavedBlock& block);
};

/// One guest CPU: its state and the means to run it. Used by the thread that runs it, but for request_exit.
class Vcpu {
  public:
    virtual ~Vcpu() = default;
    /// The architecture's state struct (begins with VcpuHeader).
    [[nodiscard]] virtual void* state() noexcept = 0;
    guest::VcpuHeader& header() noexcept { return *static_cast<guest::VcpuHeader*>(state()); }

    /// Runs guest code from header().pc until something its owner has to do. Returns kSyscall, kBreakpoint, kIllegal,
    /// kFault, kNoExec, kPoll, kYield, kException or kHelper; all registers and pc are then in the state.
    /// On kPoll header().poll was cleared. kIcache, kMode, kLink and kLookup are handled inside.
    virtual ir::ExitReason run() = 0;
    /// Runs one guest instruction. kNone: it was executed and there is nothing to do; else as run(). Slow: for debuggers.
    /// The accesses go through `memory` where it is given. Stops (GuestMemory::stops) do not count.
    virtual ir::ExitReason step(ir::EvalMemory* memory = nullptr) = 0;

    /// Makes run() return kPoll soon. Any thread, and signal handlers.
    virtual void request_exit() noexcept = 0;

    /// Registers changed from outside (signal frame, debugger): mode bits are computed anew.
    virtual void state_changed() = 0;
};

}  // namespace myna::jit
