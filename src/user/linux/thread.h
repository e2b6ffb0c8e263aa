// Process and Thread: the guest's process and its threads, and the run loop.
//
//   Process ── AddressSpace, Engine, ABI, options, signal actions
//      └── Thread (one a host thread) ── Vcpu, signal mask and pending signal, exit and robust-list addresses
//
//   Thread::run:  pending signal? deliver ─▶ Vcpu::run ─▶ system call: table row's handler
//                     ▲                                └▶ fault, trap: a signal
//                     └───────────────────────────────────────┘
#pragma once

#include <sys/resource.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "jit/engine.h"
#include "user/linux/abi.h"
#include "user/linux/memory.h"
#include "user/linux/options.h"
#include "user/linux/sysroot.h"
#include "user/linux/trace.h"

namespace myna::user {

inline constexpr unsigned kSignals = 64;
/// The mask bit of a signal.
constexpr uint64_t sigbit(int sig) noexcept { return uint64_t{1} << (sig - 1); }
/// Signals that the host raises for faults of the guest: the host never blocks them.
inline constexpr uint64_t kFaultSignals = sigbit(SIGSEGV) | sigbit(SIGBUS) | sigbit(SIGILL) | sigbit(SIGFPE) | sigbit(SIGTRAP);

struct SignalAction {
    uint64_t handler = 0;  // guest address, 0: SIG_DFL, 1: SIG_IGN
    uint64_t flags = 0;
    uint64_t restorer = 0;
    uint64_t mask = 0;
};
/// What CLONE_SIGHAND shares. Changed with `lock`, read without by delivery (an action is read field by field, as signal
/// delivery races with sigaction in the kernel too).
struct SignalActions {
    std::mutex lock;
    SignalAction action[kSignals + 1];
    bool hooked = false; // hook_default_signals
    uint64_t known = 0;  // inherited dispositions are read from the host when first asked for
};

class Thread;
class Tracer;
class IoRings;
class StraceLog;
struct SeccompFilter;

/// Descriptors that need attention: of /proc/PID/mem that the guest opened for writing (what is written there may be
/// code), of userfaultfd.
class MemoryFiles {
  public:
    [[nodiscard]] bool any() const noexcept { return any_.load(std::memory_order_relaxed); }
    /// `pid`: 0 is this process.
    void add(int fd, pid_t pid) {
        const std::lock_guard l(lock_);
        files_[fd] = pid;
        any_.store(true);
    }
    /// The process, 0 for this one, -1 when `fd` is no such file.
    [[nodiscard]] pid_t find(int fd) const {
        const std::lock_guard l(lock_);
        const auto it = files_.find(fd);
        return it == files_.end() ? -1 : it->second;
    }

  private:
    mutable std::mutex lock_;
    std::map<int, pid_t> files_;  // closed ones stay: they only cost an invalidation
    std::atomic<bool> any_{false};
};

class Debugger;

/// What the debugger (debug.h) knows of a thread; guarded by its lock but for what only the thread itself uses.
struct ThreadDebug {
    enum Where : uint8_t { kGuest, kCall, kParked, kGone };
    Where where = kGuest;
    bool go = true;          // false: stop before the next guest instruction
    bool wanted = true;      // gdb believes that it runs: only then it takes a stop of it
    bool step = false;       // one instruction, then stop
    bool discard = false;    // the registers were changed during a system call: its result counts for nothing
    bool caught = false;     // the system call stopped at its entry
    bool shadow = false;     // runs as a vfork child that is not debugged
    bool listed = false;     // gdb's actions may name it
    int signal = 0;          // gdb's choice at resuming
    uint64_t pass_once = 0;  // signals that gdb itself sends
    uint64_t number = 0;     // of the system call
    int64_t pid = 0, tid = 0;  // pid 0: the process's
    siginfo_t info{};        // of the last stop
};

struct Process {
    Process(const Options& o, const LinuxAbi& a) : options(o), abi(a) {}

    const Options& options;
    const LinuxAbi& abi;
    AddressSpace memory;
    std::unique_ptr<jit::Engine> engine;
    Sysroot sysroot;
    SignalActions actions;
    guest::CpuConfig cpu;
    std::string exe;                 // the guest program's absolute path, for /proc/self/exe
    std::vector<std::string> args;   // the guest's argv
    uint64_t auxv = 0, auxv_size = 0;    // where they are on the guest's stack
    uint64_t args_start = 0, args_end = 0, env_start = 0, env_end = 0;
    uint64_t vdso_sigreturn = 0;
    struct VdsoClock* vdso_clock = nullptr;  // host address
    uint64_t start_sp = 0;
    int64_t pid = 0;                 // of the process that was started (forked children keep it)
    uint32_t pidfd_scratch = 0;
    uint64_t code_start = 0, code_end = 0, data_start = 0, data_end = 0;
    rlimit limits[2] = {{~rlim_t{0}, ~rlim_t{0}}, {~rlim_t{0}, ~rlim_t{0}}};  // RLIMIT_AS, RLIMIT_DATA as the guest set them
    int log_fd = 2;
    bool strace = false;
    bool libc_signals_given_back = false;  // signals.h; under threads_lock
    bool kernel_knows = false;       // it was told where the guest's arguments and auxiliary vector are
    MemoryFiles memory_files;
    MemoryFiles fault_files;         // of userfaultfd
    uint64_t unknown_reported[8] = {};  // system call numbers that -d unimp has named

    /// -g; never destroyed once made, since threads may be inside.
    std::atomic<Debugger*> debugger{nullptr};

    std::mutex threads_lock;
    std::vector<Thread*> threads;
    std::atomic<Tracer*> tracer{nullptr};  // made when the guest first traces another process; lives as long as this one
    std::atomic<StraceLog*> strace_log{nullptr};  // likewise, of -strace
    std::atomic<IoRings*> rings{nullptr};    // made when the guest first sets up an io_uring; lives as long as this one
};

class Thread {
  public:
    Thread(Process& p, std::unique_ptr<jit::Vcpu> v);

    Process& process;
    const LinuxAbi& abi;
    AddressSpace& memory;
    std::unique_ptr<jit::Vcpu> vcpu;
    uint8_t* const state;
    /// Set by the host signal handler while `pending` holds a signal that was not delivered yet; all asynchronous
    /// signals are then blocked on the host, so that one place is enough and the kernel keeps the order of the rest.
    volatile uint32_t signal_pending = 0;
    siginfo_t pending;
    /// Fault signals (kFaultSignals) that were sent while the guest blocks them.
    uint64_t held = 0;
    siginfo_t held_info[5];

    uint64_t sigmask = 0;                // the guest's
    uint64_t suspend_mask = 0;           // in force while a system call waits with a mask of its own
    bool suspended = false;              // suspend_mask is valid
    AltStack altstack;
    SignalActions* actions;
    siginfo_t fault;                     // of the last host fault in guest code
    bool fault_was_write = false;
    uint64_t clear_child_tid = 0;        // guest address
    uint64_t robust_list = 0, robust_len = 0;
    uint64_t parent_tid_at = 0, child_tid_at = 0;  // where a new thread writes its id
    bool kernel_clears_tid = true;       // the host kernel was given clear_child_tid (main threads)
    bool exited = false;
    int exit_code = 0;
    ThreadDebug debug;
    /// The last system calls, for report_crash.
    struct CallRecord {
        uint64_t number;
        uint64_t args[4];
        int64_t result;
        bool made;
    };
    static constexpr unsigned kRecordedCalls = 8;
    CallRecord calls[kRecordedCalls] = {};
    unsigned next_call = 0;
    unsigned vfork_depth = 0;            // > 0: a vfork child that borrows its parent's Thread
    std::atomic<const SeccompFilter*> filters{nullptr};  // seccomp.h; set by other threads too (TSYNC)
    TraceState trace;                    // ptrace between guests (trace.h)
    siginfo_t stop_info;                 // of a SIGSTOP that a tracer is to be told of
    /// A traced call that a signal cut short: what becomes of it is decided when the tracer has seen the signal.
    enum class Cut : uint8_t { kNone, kRewound, kInterrupted } cut = Cut::kNone;
    bool newborn = false;                // a forked child on its way out of the call that made it: no stop there
    bool kernel_rewound = false;         // by the kernel, for a handler with SA_RESTART
    uint64_t cut_argument = 0;           // its first argument

    template <typename T = uint64_t>
    T& reg(uint16_t offset) noexcept { return *reinterpret_cast<T*>(state + offset); }
    uint64_t& pc() noexcept { return vcpu->header().pc; }
    uint64_t& sp() noexcept { return reg(abi.reg.sp); }
    void set_result(int64_t v) noexcept { reg(abi.reg.arg[0]) = static_cast<uint64_t>(v); }

    /// All registers of `other`, which does not run.
    void copy_registers_from(Thread& other);
    /// Runs guest code until the thread exits.
    void run();
    /// A host system call that a guest signal interrupts as it would on real hardware.
    int64_t syscall(long nr, uint64_t a = 0, uint64_t b = 0, uint64_t c = 0, uint64_t d = 0, uint64_t e = 0, uint64_t f = 0) noexcept {
        const uint64_t args[6] = {a, b, c, d, e, f};
        return myna_safe_syscall(&signal_pending, nr, args);
    }
    /// The thread that runs on this host thread, or nullptr. The one thread-local of the program: signal handlers have
    /// no other way to find it.
    static Thread* current() noexcept;
    static void set_current(Thread* t) noexcept;

  private:
    void system_call();
    void watched_system_call();
    bool pass_filters(uint64_t& number, uint64_t* args, int64_t& result);
    void after_step();
    void memory_fault();
};

}  // namespace myna::user
