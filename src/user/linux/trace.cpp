#include "user/linux/trace.h"

#include <linux/ptrace.h>

#include <cstdio>
#include <cstring>
#include <utility>

#include "user/linux/signals.h"
#include "user/linux/thread.h"

namespace myna::user {

namespace {

thread_local TraceState* tls_trace = nullptr;

constexpr int stopped_by(int sig, int event = 0) { return event << 16 | sig << 8 | 0x7f; }

/// Memory that the tracer wrote to may hold breakpoints.
void take_over_pokes(Thread& t) {
    TraceState& s = t.trace;
    if (s.pokes == 0) return;
    if (s.pokes > TraceState::kMaxPokes) {
        t.process.engine->invalidate(0, ~uint64_t{0});
    } else {
        for (unsigned i = 0; i < s.pokes; ++i) t.process.engine->invalidate(s.poked[i][0], s.poked[i][1]);
    }
    s.pokes = 0;
}

}  // namespace

void set_trace_pointer(TraceState* state) noexcept { tls_trace = state; }

int64_t trace_pointer_offset() noexcept {
    uint64_t pointer;
    asm("mov %%fs:0, %0" : "=r"(pointer));
    return static_cast<int64_t>(reinterpret_cast<uint64_t>(&tls_trace) - pointer);
}

void trace_stop(Thread& t, int status, const siginfo_t* info, TraceOp op) {
    TraceState& s = t.trace;
    s.status = status;
    s.op = op;
    s.has_info = info != nullptr ? 1 : 0;
    if (info != nullptr) s.info = *info;
    s.sigmask = t.sigmask;
    s.inject = 0;
    s.resumed = 0;
    s.mask_changed = 0;
    s.stopped = 1;
    const uint64_t pid = static_cast<uint64_t>(host_syscall(SYS_getpid)), tid = static_cast<uint64_t>(host_syscall(SYS_gettid));
    siginfo_t stop{};
    stop.si_signo = SIGTRAP;
    stop.si_code = TraceCode::kStop;
    // Once is enough unless another SIGTRAP was on its way; without a tracer the handler ends the stop.
    while (__atomic_load_n(&s.resumed, __ATOMIC_ACQUIRE) == 0) host_syscall(SYS_rt_tgsigqueueinfo, pid, tid, SIGTRAP, arg(&stop));
    s.stopped = 0;
    s.op = TraceOp::kNone;
    take_over_pokes(t);
    if (s.mask_changed != 0) t.sigmask = s.sigmask & ~(sigbit(SIGKILL) | sigbit(SIGSTOP));
    t.vcpu->state_changed();
}

int trace_signal_delivery(Thread& t, siginfo_t& info) {
    const int sig = info.si_signo;
    trace_stop(t, stopped_by(sig), &info);
    const int wanted = t.trace.inject;
    if (wanted <= 0 || wanted > static_cast<int>(kSignals)) return 0;
    info = t.trace.info;
    if (wanted != info.si_signo) {
        info = siginfo_t{};
        info.si_signo = wanted;
        info.si_code = SI_USER;
        info.si_pid = static_cast<pid_t>(host_syscall(SYS_getppid));
        info.si_uid = static_cast<uid_t>(host_syscall(SYS_getuid));
    }
    return wanted;
}

void trace_syscall(Thread& t, TraceOp op, uint64_t number, const uint64_t* args, int64_t result) {
    TraceState& s = t.trace;
    s.number = number;
    std::memcpy(s.args, args, sizeof s.args);
    s.result = result;
    const bool good = (s.options & PTRACE_O_TRACESYSGOOD) != 0;
    s.message = op == TraceOp::kEntry ? 1 : 2;  // PTRACE_EVENTMSG_SYSCALL_*
    siginfo_t info{};
    info.si_signo = SIGTRAP;
    info.si_code = good ? SIGTRAP | 0x80 : SIGTRAP;
    info.si_pid = static_cast<pid_t>(host_syscall(SYS_gettid));
    trace_stop(t, stopped_by(good ? SIGTRAP | 0x80 : SIGTRAP), &info, op);
    // A tracer may end the stop with a signal: the kernel sends it.
    if (s.inject > 0)
        host_syscall(SYS_tgkill, static_cast<uint64_t>(host_syscall(SYS_getpid)), static_cast<uint64_t>(host_syscall(SYS_gettid)),
                     static_cast<uint64_t>(s.inject));
}

void trace_seccomp(Thread& t, int data, uint64_t number, const uint64_t* args) {
    TraceState& s = t.trace;
    s.number = number;
    std::memcpy(s.args, args, sizeof s.args);
    s.message = static_cast<uint64_t>(data);
    siginfo_t info{};
    info.si_signo = SIGTRAP;
    info.si_code = SIGTRAP | PTRACE_EVENT_SECCOMP << 8;
    trace_stop(t, stopped_by(SIGTRAP, PTRACE_EVENT_SECCOMP), &info, TraceOp::kSeccomp);
}

void trace_new_thread(Thread& t) {
    if (t.trace.seized != 0) {
        siginfo_t info{};
        info.si_signo = SIGTRAP;
        info.si_code = SIGTRAP | PTRACE_EVENT_STOP << 8;
        trace_stop(t, stopped_by(SIGTRAP, PTRACE_EVENT_STOP), &info);
    } else {
        siginfo_t info{};
        info.si_signo = SIGSTOP;
        trace_stop(t, stopped_by(SIGSTOP), &info);
    }
}

void trace_after_exec(Thread& t, const char* how) {
    TraceState& s = t.trace;
    unsigned options = 0, seized = 0, resume = 0;
    std::sscanf(how, "%x,%u,%u", &options, &seized, &resume);
    s.on = 1;
    s.options = options;
    s.seized = seized;
    s.resume = static_cast<TraceResume>(resume);
    siginfo_t info{};
    info.si_signo = SIGTRAP;
    if ((options & PTRACE_O_TRACEEXEC) != 0) {
        s.message = static_cast<uint64_t>(host_syscall(SYS_gettid));
        info.si_code = SIGTRAP | PTRACE_EVENT_EXEC << 8;
        trace_stop(t, stopped_by(SIGTRAP, PTRACE_EVENT_EXEC), &info);
    }
    if (s.on != 0 && s.resume == TraceResume::kSyscall) {
        constexpr uint64_t kExecve = 221;
        const uint64_t args[6] = {};
        trace_syscall(t, TraceOp::kExit, kExecve, args, 0);
    }
    if ((options & PTRACE_O_TRACEEXEC) == 0 && seized == 0 && s.on != 0) {
        info.si_code = SI_USER;
        info.si_pid = static_cast<pid_t>(host_syscall(SYS_getpid));
        trace_stop(t, stopped_by(SIGTRAP), &info);
    }
}

void trace_after_fork(Thread& t) {
    TraceState& s = t.trace;
    s.forking = 0;
    const int event = std::exchange(s.born_event, 0);
    if (event == 0 || s.on == 0) return;
    s.message = s.born;
    siginfo_t info{};
    info.si_signo = SIGTRAP;
    info.si_code = SIGTRAP | event << 8;
    trace_stop(t, stopped_by(SIGTRAP, event), &info);
}

void trace_exit(Thread& t, int code) {
    if ((t.trace.options & PTRACE_O_TRACEEXIT) == 0) return;
    t.trace.message = static_cast<uint64_t>(code & 0xff) << 8;
    siginfo_t info{};
    info.si_signo = SIGTRAP;
    info.si_code = SIGTRAP | PTRACE_EVENT_EXIT << 8;
    trace_stop(t, stopped_by(SIGTRAP, PTRACE_EVENT_EXIT), &info);
}

void trace_pending_stop(Thread& t, bool sigstop, bool interrupt) {
    TraceState& s = t.trace;
    if (interrupt && s.on != 0) {
        siginfo_t info{};
        info.si_signo = SIGTRAP;
        info.si_code = SIGTRAP | PTRACE_EVENT_STOP << 8;
        trace_stop(t, stopped_by(SIGTRAP, PTRACE_EVENT_STOP), &info);
    }
    if (sigstop) {
        siginfo_t info = t.stop_info;
        const int sig = s.on != 0 ? trace_signal_delivery(t, info) : SIGSTOP;
        if (sig == 0) return;
        // The kernel does the stopping; the tracer's emulator lets this one through.
        s.pass = sig;
        host_syscall(SYS_tgkill, static_cast<uint64_t>(host_syscall(SYS_getpid)), static_cast<uint64_t>(host_syscall(SYS_gettid)),
                     static_cast<uint64_t>(sig));
    }
}

void trace_step_done(Thread& t) {
    siginfo_t info{};
    info.si_signo = SIGTRAP;
    info.si_code = 2;  // TRAP_TRACE
    info.si_addr = reinterpret_cast<void*>(t.pc());
    force_signal(t, info);
}

}  // namespace myna::user
