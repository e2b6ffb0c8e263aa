// ptrace between guests: the side of the process that is traced. (The tracer's side is syscalls/ptrace_calls.cpp.)
//
//   guest stop (signal, system call, exec, step) ─▶ trace_stop: TraceState filled ─▶ SIGTRAP to ourselves ─▶ host stop
//        ▲                                                                                                    │ wait4
//        └── what the tracer wrote into TraceState ◀── host PTRACE_CONT ◀── tracer's emulator: what is this stop? ┘
//
// The host's ptrace does attaching, waiting, stopping, SIGCHLD, the tracer's death and auto-attaching of children. What it
// stops at are the emulator's signals and states, so the tracer's emulator looks at each host stop: stops that the guest
// would not have are continued at once; a signal from outside is turned into a SIGTRAP with kIncoming, which every state
// of the emulator takes, and is reported from the next safe point, where all guest registers are in the state struct.
//
// The tracer reads and writes TraceState with process_vm_readv and -writev while the thread is stopped. It finds it through
// the thread pointer: both run the same emulator, which `magic` and `bytes` confirm.
#pragma once

#include <csignal>
#include <cstdint>

namespace myna::user {

class Thread;

/// siginfo codes of the emulator's own SIGTRAPs (a process may send itself any negative code).
struct TraceCode {
    static constexpr int kStop = -0x4d79;       // a guest stop: TraceState says which
    static constexpr int kIncoming = -0x4d7a;   // TraceState::incoming was sent to us
    static constexpr int kInterrupt = -0x4d7b;  // PTRACE_INTERRUPT
};

/// How the tracer let the thread go on.
enum class TraceResume : uint32_t { kCont, kSyscall, kStep };

/// PTRACE_GET_SYSCALL_INFO's kinds.
enum class TraceOp : uint8_t { kNone, kEntry, kExit, kSeccomp };

/// Shared by both sides: plain data, written by one of them at a time.
struct TraceState {
    static constexpr uint64_t kMagic = 0x3165636172546e4d;
    static constexpr unsigned kMaxPokes = 32;

    uint64_t magic = kMagic;
    uint32_t bytes = sizeof(TraceState);
    uint32_t machine = 0;          // ELF machine
    uint64_t state_at = 0;         // address of the architecture's state struct
    uint64_t guest_base = 0;
    // the tracer's wishes
    uint32_t on = 0;               // this thread is traced
    uint32_t seized = 0;           // by PTRACE_SEIZE
    uint32_t options = 0;          // PTRACE_O_*
    TraceResume resume = TraceResume::kCont;
    int32_t inject = 0;            // signal to go on with
    uint32_t resumed = 0;          // 1: the tracer ended the stop
    uint32_t mask_changed = 0;     // `sigmask` is to be taken over
    uint32_t pokes = 0;            // ranges of memory that it wrote to; > kMaxPokes: too many to list
    uint64_t poked[kMaxPokes][2] = {};
    // the stop
    uint32_t stopped = 0;
    int32_t status = 0;            // as wait4 reports it
    uint64_t sigmask = 0;
    uint64_t message = 0;          // PTRACE_GETEVENTMSG
    siginfo_t info{};
    uint32_t has_info = 0;
    TraceOp op = TraceOp::kNone;
    uint64_t number = 0, args[6] = {};
    int64_t result = 0;
    // signals on their way
    siginfo_t incoming{};
    uint32_t interrupt = 0;        // a SIGTRAP that is to be an interruption
    int32_t pass = 0;              // the next of this signal is for the kernel: its default action
    // a fork: locks are held around it, so no stop inside of it is shown
    uint32_t forking = 0;
    int32_t born_event = 0;        // the tracer has continued this event of the host's: to be reported after the fork
    uint64_t born = 0;             // its message
};

/// Where this thread's TraceState is, for the tracer: read through the thread pointer. nullptr: no guest thread.
void set_trace_pointer(TraceState* state) noexcept;
/// The distance from the thread pointer to that variable.
int64_t trace_pointer_offset() noexcept;

/// Reports a stop and waits until the tracer lets go. `info`: the signal of it, nullptr when it has none.
void trace_stop(Thread& t, int status, const siginfo_t* info, TraceOp op = TraceOp::kNone);
/// A signal is about to be delivered: the one to be delivered instead (0: none). `info` is what the tracer made of it.
int trace_signal_delivery(Thread& t, siginfo_t& info);
/// Before and after a system call.
void trace_syscall(Thread& t, TraceOp op, uint64_t number, const uint64_t* args, int64_t result);
/// A filter says that the tracer decides.
void trace_seccomp(Thread& t, int data, uint64_t number, const uint64_t* args);
/// The first stop of a thread that the tracer gets with PTRACE_O_TRACECLONE.
void trace_new_thread(Thread& t);
/// In the new program of a traced process: `how` is what trace_exec_argument made.
void trace_after_exec(Thread& t, const char* how);
/// After a fork with its locks released: reports the birth, if it is to be.
void trace_after_fork(Thread& t);
/// PTRACE_O_TRACEEXIT.
void trace_exit(Thread& t, int code);
/// SIGSTOP or PTRACE_INTERRUPT has come.
void trace_pending_stop(Thread& t, bool sigstop, bool interrupt);
/// After one instruction with PTRACE_SINGLESTEP.
void trace_step_done(Thread& t);

}  // namespace myna::user
