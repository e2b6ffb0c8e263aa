#include "user/linux/signals.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "user/linux/crash.h"
#include "user/linux/debug.h"
#include "user/linux/syscalls/table.h"
#include "user/linux/trace.h"

namespace myna::user {

namespace {

constexpr uint64_t kSaRestorer = 0x04000000;
constexpr uint64_t kUnblockable = sigbit(SIGKILL) | sigbit(SIGSTOP);
constexpr uint64_t kSigDfl = 0, kSigIgn = 1;
constexpr int32_t kSsOnstack = 1, kSsDisable = 2;
constexpr int32_t kSsAutodisarm = static_cast<int32_t>(0x80000000u);
constexpr uint32_t kSlot = 1, kHeld = 2, kStop = 4, kInterrupt = 8;  // Thread::signal_pending

/// The x86-64 kernel's struct sigaction.
struct HostAction {
    uint64_t handler, flags, restorer, mask;
};

constexpr int kFaultSignalList[5] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
unsigned held_index(int sig) noexcept {
    for (unsigned i = 0; i < 5; ++i)
        if (kFaultSignalList[i] == sig) return i;
    return 0;
}
bool is_fault_signal(int sig) noexcept { return (sigbit(sig) & kFaultSignals) != 0; }

void set_host_mask(uint64_t mask) noexcept { host_syscall(SYS_rt_sigprocmask, SIG_SETMASK, arg(&mask), 0, 8); }

int64_t host_sigaction(int sig, const HostAction* act, HostAction* old) noexcept {
    return host_syscall(SYS_rt_sigaction, static_cast<uint64_t>(sig), arg(act), arg(old), 8);
}

uint64_t label(const char* l) noexcept { return reinterpret_cast<uint64_t>(l); }

/// The host's mask after t.sigmask has changed; `before`: what it was. Fault signals are never in it, so handling one of
/// those costs no call. With a signal in the slot all is blocked anyway, until deliver_signals sets the mask.
void change_host_mask(Thread& t, uint64_t before) noexcept {
    const uint64_t mask = host_mask(t.sigmask);
    if (mask != before) t.syscall(SYS_rt_sigprocmask, SIG_SETMASK, arg(&mask), 0, 8);
}

/// A fault outside of guest code that nothing expects: our own bug. Says so and lets it be fatal.
void report_own_fault(int sig, uint64_t rip, const siginfo_t* info) {
    char text[160];
    const int n = std::snprintf(text, sizeof text,
                                "myna-user: internal error: signal %d at host address 0x%llx (accessing %p).\n"
                                "  This is a bug in the emulator, not in the program.\n",
                                sig, static_cast<unsigned long long>(rip), info->si_addr);
    host_syscall(SYS_write, 2, arg(text), static_cast<uint64_t>(n));
    const HostAction dfl{};
    host_sigaction(sig, &dfl, nullptr);
}

/// The thread goes to its next safe point.
void leave_guest_code(Thread& t, gregset_t& gregs) {
    const auto rip = static_cast<uint64_t>(gregs[REG_RIP]);
    if (rip >= label(myna_safe_syscall_check) && rip <= label(myna_safe_syscall_insn))
        gregs[REG_RIP] = static_cast<greg_t>(label(myna_safe_syscall_interrupted));
    t.vcpu->request_exit();
}

/// Runs on the interrupted thread's host stack. Everything it does is async-signal-safe.
void host_handler(int sig, siginfo_t* info, void* context) {
    auto* uc = static_cast<ucontext_t*>(context);
    auto& gregs = uc->uc_mcontext.gregs;
    const auto rip = static_cast<uint64_t>(gregs[REG_RIP]);
    Thread* t = Thread::current();

    if (is_fault_signal(sig) && info->si_code > 0) {
        if (rip >= reinterpret_cast<uint64_t>(&myna_user_copy) && rip < label(myna_user_access_end)) {
            gregs[REG_RIP] = static_cast<greg_t>(label(myna_user_access_fault));
            return;
        }
        if (t != nullptr && t->process.engine->on_host_fault(*t->vcpu, sig, info, context) == jit::Engine::HostFault::kGuest) {
            t->fault = *info;
            t->fault_was_write = (gregs[REG_ERR] & 2) != 0;
            return;
        }
        report_own_fault(sig, rip, info);
        return;
    }
    if (t == nullptr) return;
    if (sig == SIGTRAP && info->si_code <= TraceCode::kStop && info->si_code >= TraceCode::kInterrupt) {
        if (info->si_code == TraceCode::kStop) {  // there is no tracer (any more)
            t->trace.on = 0;
            if (WIFSTOPPED(t->trace.status)) t->trace.inject = t->trace.op == TraceOp::kNone && t->trace.status >> 16 == 0 ? WSTOPSIG(t->trace.status) : 0;
            t->trace.resumed = 1;
            return;
        }
        if (rip == label(myna_safe_syscall_insn) && static_cast<uint64_t>(gregs[REG_RCX]) == rip + 2) t->kernel_rewound = true;
        if (info->si_code == TraceCode::kInterrupt) {
            t->signal_pending = t->signal_pending | kInterrupt;
            return leave_guest_code(*t, gregs);
        }
        info = &t->trace.incoming;
        sig = info->si_signo;
        if (sig == SIGSTOP) {
            t->stop_info = *info;
            t->signal_pending = t->signal_pending | kStop;
            return leave_guest_code(*t, gregs);
        }
    }
    const bool broken_off = sig == SIGTRAP && info->si_code == SI_QUEUE && info->si_value.sival_ptr == &t->process;
    if (broken_off) {  // Debugger::break_off_call
    } else if (is_fault_signal(sig)) {
        t->held |= sigbit(sig);
        t->held_info[held_index(sig)] = *info;
        if ((t->sigmask & sigbit(sig)) != 0) return;
        t->signal_pending = t->signal_pending | kHeld;
    } else {
        t->pending = *info;
        t->signal_pending = t->signal_pending | kSlot;
        // Nothing further until this one is delivered.
        const uint64_t all = ~kFaultSignals;
        std::memcpy(&uc->uc_sigmask, &all, 8);
    }
    leave_guest_code(*t, gregs);
}

HostAction our_action(uint64_t guest_flags) noexcept {
    return {reinterpret_cast<uint64_t>(&host_handler),
            SA_SIGINFO | kSaRestorer | (guest_flags & (SA_RESTART | SA_NOCLDSTOP | SA_NOCLDWAIT)),
            reinterpret_cast<uint64_t>(&myna_host_sigreturn), ~kFaultSignals};
}

/// The action of `sig`, asking the host for what was inherited.
SignalAction& action_of(SignalActions& actions, int sig) {
    SignalAction& a = actions.action[sig];
    if ((actions.known & sigbit(sig)) == 0) {
        HostAction host{};
        host_sigaction(sig, nullptr, &host);
        a.handler = host.handler == kSigIgn ? kSigIgn : kSigDfl;
        actions.known |= sigbit(sig);
    }
    return a;
}

bool ignored_by_default(int sig) noexcept { return sig == SIGCHLD || sig == SIGURG || sig == SIGWINCH || sig == SIGCONT; }
bool ends_by_default(int sig) noexcept {
    return !ignored_by_default(sig) && sig != SIGTSTP && sig != SIGTTIN && sig != SIGTTOU && (kUnblockable & sigbit(sig)) == 0;
}

void install(int sig, const SignalAction& a, bool hooked) {
    if (is_fault_signal(sig)) return;  // always ours
    if (hooked && a.handler == kSigDfl && ends_by_default(sig)) {
        const HostAction ours = our_action(a.flags);
        host_sigaction(sig, &ours, nullptr);
        return;
    }
    HostAction host = our_action(a.flags);
    if (a.handler == kSigDfl || a.handler == kSigIgn) {
        host.handler = a.handler;
        host.flags &= ~uint64_t{SA_SIGINFO};
    }
    host_sigaction(sig, &host, nullptr);
}

bool on_stack(const AltStack& s, uint64_t sp) noexcept {
    return (s.flags & kSsDisable) == 0 && (s.flags & kSsAutodisarm) == 0 && sp > s.sp && sp - s.sp <= s.size;
}

/// The default action of a signal that reached us although the guest's action is SIG_DFL (it changed meanwhile).
void default_action(Thread& t, int sig, const siginfo_t& info) {
    if (ignored_by_default(sig)) return;
    if (is_fault_signal(sig) || (t.actions->hooked && ends_by_default(sig))) die_by_signal(t, sig);
    // The host's disposition is SIG_DFL by now: send it again, the kernel acts when the mask opens.
    siginfo_t copy = info;
    t.trace.pass = sig;
    if (host_syscall(SYS_rt_tgsigqueueinfo, static_cast<uint64_t>(host_syscall(SYS_getpid)),
                     static_cast<uint64_t>(host_syscall(SYS_gettid)), static_cast<uint64_t>(sig), arg(&copy)) < 0)
        host_syscall(SYS_tgkill, static_cast<uint64_t>(host_syscall(SYS_getpid)), static_cast<uint64_t>(host_syscall(SYS_gettid)),
                     static_cast<uint64_t>(sig));
}

/// Builds the frame. `mask`: in force until now; `saved`: what sigreturn restores.
void call_handler(Thread& t, const siginfo_t& info, SignalAction& slot, uint64_t mask, uint64_t saved, uint64_t fault_code) {
    const int sig = info.si_signo;
    const SignalAction a = slot;
    uint64_t sp = t.sp();
    const bool on_alt = on_stack(t.altstack, sp);
    if ((a.flags & SA_ONSTACK) != 0 && !on_alt && (t.altstack.flags & kSsDisable) == 0) sp = t.altstack.sp + t.altstack.size;
    SignalDelivery d{.info = &info, .handler = a.handler, .restorer = (a.flags & kSaRestorer) != 0 ? a.restorer : 0, .sp = sp,
                     .saved_mask = saved, .saved_stack = t.altstack,
                     .fault_address = is_fault_signal(sig) && info.si_code > 0 ? reinterpret_cast<uint64_t>(info.si_addr) : 0,
                     .fault_code = fault_code};
    int r = -EFAULT;
    // A frame that would leave the alternate stack is not written.
    if (t.cut == Thread::Cut::kRewound && (a.flags & SA_RESTART) == 0) {
        t.pc() += t.abi.syscall_bytes;
        t.set_result(-EINTR);
    }
    t.cut = Thread::Cut::kNone;
    if (!on_alt || sp - t.altstack.sp > t.abi.frame_bytes) r = t.abi.push_frame(t, d);
    if (r != 0) {
        if (sig == SIGSEGV || (t.sigmask & sigbit(SIGSEGV)) != 0) die_by_signal(t, SIGSEGV);
        siginfo_t segv{};
        segv.si_signo = SIGSEGV;
        segv.si_code = SI_KERNEL;
        force_signal(t, segv);
        return;
    }
    if ((t.altstack.flags & kSsAutodisarm) != 0) t.altstack = AltStack{};
    if ((a.flags & SA_RESETHAND) != 0) {
        const std::lock_guard l(t.actions->lock);
        slot.handler = kSigDfl;
        install(sig, slot, t.actions->hooked);
    }
    t.sigmask = (mask | a.mask | ((a.flags & SA_NODEFER) != 0 ? 0 : sigbit(sig))) & ~kUnblockable;
    t.vcpu->state_changed();
}

/// Lets the debugger see a signal. False: it is dropped; `info` may be another's after it.
bool debugged(Thread& t, siginfo_t& info) {
    Debugger* const d = t.process.debugger;
    if (d == nullptr || t.actions->action[info.si_signo].handler == kSigIgn) return true;
    const int chosen = d->on_signal(t, info);
    if (chosen == 0) return false;
    if (chosen != info.si_signo) {
        info = {};
        info.si_signo = chosen;
    }
    return true;
}

/// What the guest's action for the signal says is done.
void act_on(Thread& t, const siginfo_t& info) {
    const int sig = info.si_signo;
    const uint64_t mask = t.suspended ? t.suspend_mask : t.sigmask;
    const uint64_t saved = t.sigmask;
    t.suspended = false;
    SignalAction& a = t.actions->action[sig];
    if (a.handler == kSigIgn) return;
    if (t.process.strace) trace_signal(t, info);
    if (a.handler == kSigDfl) return default_action(t, sig, info);
    call_handler(t, info, a, mask, saved, 0);
    if (t.trace.on != 0 && t.trace.resume == TraceResume::kStep) trace_step_done(t);
}

void deliver_one(Thread& t, siginfo_t info) {
    if (t.trace.on != 0) {
        t.trace.pass = 0;
        if (trace_signal_delivery(t, info) == 0) return;
    } else if (!debugged(t, info)) {
        return;
    }
    act_on(t, info);
}

}  // namespace

siginfo_t fault_info(int sig, int code, uint64_t addr) noexcept {
    siginfo_t info{};
    info.si_signo = sig;
    info.si_code = code;
    info.si_addr = reinterpret_cast<void*>(addr);
    return info;
}

void start_signals(Thread& main) {
    uint64_t mask = 0;
    host_syscall(SYS_rt_sigprocmask, SIG_SETMASK, 0, arg(&mask), 8);
    main.sigmask = mask;
    const HostAction ours = our_action(0);
    for (const int sig : kFaultSignalList) {
        HostAction old{};
        // SIGTRAP also carries what a tracer sends (trace.h), which is to cut calls short as gently as can be.
        const HostAction action = sig == SIGTRAP ? our_action(SA_RESTART) : ours;
        host_sigaction(sig, &action, &old);
        main.actions->action[sig].handler = old.handler == kSigIgn ? kSigIgn : kSigDfl;
        main.actions->known |= sigbit(sig);
    }
    if (host_mask(mask) != mask) set_host_mask(host_mask(mask));
}

void deliver_signals(Thread& t) {
    do {
        if ((t.signal_pending & kSlot) != 0) {
            const siginfo_t info = t.pending;
            t.signal_pending = t.signal_pending & ~kSlot;
            deliver_one(t, info);
        }
        if ((t.signal_pending & kHeld) != 0) {
            t.signal_pending = t.signal_pending & ~kHeld;
            for (const int sig : kFaultSignalList) {
                if ((t.held & ~t.sigmask & sigbit(sig)) == 0) continue;
                t.held &= ~sigbit(sig);
                const siginfo_t info = t.held_info[held_index(sig)];
                deliver_one(t, info);
            }
        }
        if ((t.signal_pending & (kStop | kInterrupt)) != 0) {
            const uint32_t which = t.signal_pending;
            t.signal_pending = which & ~(kStop | kInterrupt);
            trace_pending_stop(t, (which & kStop) != 0, (which & kInterrupt) != 0);
        }
        set_host_mask(host_mask(t.sigmask));
    } while (t.signal_pending != 0);
    t.suspended = false;
    if (t.cut == Thread::Cut::kInterrupted) {
        // No handler ran: the kernel would have made the call again.
        t.pc() -= t.abi.syscall_bytes;
        t.set_result(static_cast<int64_t>(t.cut_argument));
        t.vcpu->state_changed();
    }
    t.cut = Thread::Cut::kNone;
}

void force_signal(Thread& t, const siginfo_t& fault, uint64_t fault_code) {
    siginfo_t info = fault;
    if (t.trace.on != 0 && trace_signal_delivery(t, info) == 0) return;
    if (!debugged(t, info)) return;
    const int sig = info.si_signo;
    const uint64_t before = host_mask(t.sigmask);
    if (t.process.strace) trace_signal(t, info);
    if (is_fault_signal(sig) || sig == SIGSYS) {
        SignalAction& a = t.actions->action[sig];
        if (a.handler == kSigDfl || a.handler == kSigIgn || (t.sigmask & sigbit(sig)) != 0) {
            report_crash(t, info);
            die_by_signal(t, sig);
        }
        call_handler(t, info, a, t.sigmask, t.sigmask, fault_code);
    } else {
        act_on(t, info);  // the tracer chose another
    }
    // With a signal in the slot everything stays blocked until it is delivered; the safe call sees to that.
    change_host_mask(t, before);
}

bool block_signals(Thread& t) noexcept {
    const uint64_t all = ~kFaultSignals;
    return t.syscall(SYS_rt_sigprocmask, SIG_SETMASK, arg(&all), 0, 8) == 0;
}

void unblock_signals(Thread& t) noexcept { set_host_mask(host_mask(t.sigmask)); }

void die_by_signal(Thread& t, int sig) {
    if (Debugger* d = t.process.debugger) d->on_kill(t, sig);
    t.trace.pass = sig;
    const HostAction dfl{};
    host_sigaction(sig, &dfl, nullptr);
    set_host_mask(~sigbit(sig));
    host_syscall(SYS_tgkill, static_cast<uint64_t>(host_syscall(SYS_getpid)), static_cast<uint64_t>(host_syscall(SYS_gettid)),
                 static_cast<uint64_t>(sig));
    host_syscall(SYS_exit_group, static_cast<uint64_t>(128 + sig));
    __builtin_unreachable();
}

// ---- system calls

namespace {

/// struct sigaction of the guest: handler, flags, restorer (when the ABI has it), mask.
int read_action(Thread& t, uint64_t at, SignalAction& a) {
    uint64_t words[4] = {};
    const bool restorer = t.abi.sa_restorer;
    if (t.memory.copy_in(words, at, restorer ? 32 : 24) != 0) return -EFAULT;
    a = {words[0], words[1], restorer ? words[2] : 0, restorer ? words[3] : words[2]};
    return 0;
}
int write_action(Thread& t, uint64_t at, const SignalAction& a) {
    const uint64_t with[4] = {a.handler, a.flags, a.restorer, a.mask};
    const uint64_t without[3] = {a.handler, a.flags, a.mask};
    return t.abi.sa_restorer ? t.memory.put(at, with) : t.memory.put(at, without);
}

}  // namespace

int64_t sys_rt_sigaction(Thread& t, int sig, uint64_t act, uint64_t oldact, uint64_t size) {
    if (size != 8 || sig < 1 || sig > static_cast<int>(kSignals)) return -EINVAL;
    if (act != 0 && (sigbit(sig) & kUnblockable) != 0) return -EINVAL;
    SignalAction wanted;
    if (act != 0 && read_action(t, act, wanted) != 0) return -EFAULT;
    SignalAction old;
    {
        const std::lock_guard l(t.actions->lock);
        SignalAction& a = action_of(*t.actions, sig);
        old = a;
        if (act != 0) {
            wanted.mask &= ~kUnblockable;
            wanted.flags &= 0xdc000807 | kSaRestorer | 0x400 | 0x800;
            a = wanted;
            install(sig, a, t.actions->hooked);
        }
    }
    if (oldact != 0 && write_action(t, oldact, old) != 0) return -EFAULT;
    return 0;
}

int64_t sys_rt_sigprocmask(Thread& t, int how, uint64_t set, uint64_t oldset, uint64_t size) {
    if (size != 8) return -EINVAL;
    const uint64_t old = t.sigmask;
    if (set != 0) {
        uint64_t s = 0;
        if (t.memory.get(set, s) != 0) return -EFAULT;
        uint64_t wanted = old;
        if (how == SIG_BLOCK) wanted |= s;
        else if (how == SIG_UNBLOCK) wanted &= ~s;
        else if (how == SIG_SETMASK) wanted = s;
        else return -EINVAL;
        wanted &= ~kUnblockable;
        if (host_mask(wanted) != host_mask(old)) {
            const uint64_t mask = host_mask(wanted);
            if (t.syscall(SYS_rt_sigprocmask, SIG_SETMASK, arg(&mask), 0, 8) != 0) return kRestartSys;
        }
        t.sigmask = wanted;
        if ((t.held & ~wanted) != 0) t.signal_pending = t.signal_pending | kHeld;
    }
    if (oldset != 0 && t.memory.put(oldset, old) != 0) return -EFAULT;
    return 0;
}

int64_t sys_rt_sigreturn(Thread& t) {
    SignalReturn r{};
    if (t.abi.pop_frame(t, r) != 0) {
        siginfo_t info{};
        info.si_signo = SIGSEGV;
        info.si_code = SI_KERNEL;
        force_signal(t, info);
        return kNoReturnValue;
    }
    const uint64_t before = host_mask(t.sigmask);
    t.sigmask = r.mask & ~kUnblockable;
    if ((r.stack.flags & ~(kSsOnstack | kSsDisable | kSsAutodisarm)) == 0 && !on_stack(t.altstack, t.sp())) {
        t.altstack = r.stack;
        t.altstack.flags &= ~kSsOnstack;
        if ((t.altstack.flags & kSsDisable) != 0) t.altstack = AltStack{};
    }
    t.vcpu->state_changed();
    if ((t.held & ~t.sigmask) != 0) t.signal_pending = t.signal_pending | kHeld;
    change_host_mask(t, before);  // interrupted: deliver_signals sets it
    return kNoReturnValue;
}

int64_t sys_sigaltstack(Thread& t, uint64_t ss, uint64_t old) {
    AltStack wanted;
    if (ss != 0 && t.memory.get(ss, wanted) != 0) return -EFAULT;
    AltStack was = t.altstack;
    const bool in_use = on_stack(t.altstack, t.sp());
    if ((was.flags & kSsDisable) == 0 && in_use) was.flags |= kSsOnstack;
    if (ss != 0) {
        if (in_use) return -EPERM;
        const int32_t mode = wanted.flags & ~kSsAutodisarm;
        if (mode != 0 && mode != kSsOnstack && mode != kSsDisable) return -EINVAL;
        if (mode == kSsDisable) {
            t.altstack = AltStack{};
        } else {
            const uint64_t least = t.abi.min_sigstack != 0 ? t.abi.min_sigstack : 2048;
            if (wanted.size < least) return -ENOMEM;
            wanted.flags &= kSsAutodisarm;
            t.altstack = wanted;
        }
    }
    if (old != 0) {
        was.pad = 0;
        if (t.memory.put(old, was) != 0) return -EFAULT;
    }
    return 0;
}

int64_t sys_rt_sigsuspend(Thread& t, uint64_t set, uint64_t size) {
    if (size != 8) return -EINVAL;
    uint64_t mask = 0;
    if (t.memory.get(set, mask) != 0) return -EFAULT;
    mask &= ~kUnblockable;
    if ((t.held & ~mask) != 0) {
        t.suspend_mask = mask;
        t.suspended = true;
        t.signal_pending = t.signal_pending | kHeld;
        return -EINTR;
    }
    const SuspendedMask s(t, mask);
    const uint64_t host = host_mask(mask);
    return t.syscall(SYS_rt_sigsuspend, arg(&host), 8);
}

int64_t sys_rt_sigpending(Thread& t, uint64_t set, uint64_t size) {
    if (size > 8) return -EINVAL;
    uint64_t pending = 0;
    if (const int64_t r = host_syscall(SYS_rt_sigpending, arg(&pending), 8); r < 0) return r;
    pending = (pending & t.sigmask) | (t.held & t.sigmask);
    return t.memory.copy_out(set, &pending, size);
}

int64_t sys_rt_sigtimedwait(Thread& t, uint64_t set, uint64_t info, uint64_t timeout, uint64_t size) {
    if (size != 8) return -EINVAL;
    uint64_t mask = 0;
    if (t.memory.get(set, mask) != 0) return -EFAULT;
    for (const int sig : kFaultSignalList) {
        if ((t.held & mask & sigbit(sig)) == 0) continue;
        t.held &= ~sigbit(sig);
        if (info != 0 && t.memory.put(info, t.held_info[held_index(sig)]) != 0) return -EFAULT;
        return sig;
    }
    siginfo_t got;
    const uint64_t host = host_mask(mask);
    const int64_t r = t.syscall(SYS_rt_sigtimedwait, arg(&host), arg(&got), t.memory.host_arg(timeout), 8);
    if (r > 0 && info != 0 && t.memory.copy_out(info, &got, 128) != 0) return -EFAULT;
    return r;
}

void give_back_libc_signals(Thread& t) {
    const std::lock_guard l(t.actions->lock);
    for (const int sig : {32, 33}) install(sig, t.actions->action[sig], t.actions->hooked);
}

void clear_handlers(Thread& t) {
    const std::lock_guard l(t.actions->lock);
    for (int sig = 1; sig <= static_cast<int>(kSignals); ++sig) {
        SignalAction& a = t.actions->action[sig];
        if (a.handler == kSigDfl || a.handler == kSigIgn) continue;
        a = SignalAction{};
        install(sig, a, t.actions->hooked);
    }
}

void copy_actions(SignalActions& to, SignalActions& from) {
    const std::lock_guard l(from.lock);
    std::memcpy(to.action, from.action, sizeof to.action);
    to.known = from.known;
    to.hooked = from.hooked;
}

void hook_default_signals(SignalActions& actions, bool on) {
    const std::lock_guard l(actions.lock);
    actions.hooked = on;
    for (int sig = 1; sig <= static_cast<int>(kSignals); ++sig) {
        if (!ends_by_default(sig) || is_fault_signal(sig)) continue;
        const SignalAction& a = action_of(actions, sig);
        if (a.handler == kSigDfl) install(sig, a, on);
    }
}

void signals_before_exec(Thread& t) {
    for (const int sig : kFaultSignalList) {
        if (t.actions->action[sig].handler != kSigIgn) continue;
        HostAction ignore{};
        ignore.handler = kSigIgn;
        host_sigaction(sig, &ignore, nullptr);
    }
    if (host_mask(t.sigmask) != t.sigmask) set_host_mask(t.sigmask);
}

void signals_exec_failed(Thread& t) {
    const HostAction ours = our_action(0);
    for (const int sig : kFaultSignalList)
        if (t.actions->action[sig].handler == kSigIgn) host_sigaction(sig, &ours, nullptr);
    if (host_mask(t.sigmask) != t.sigmask) unblock_signals(t);
}

}  // namespace myna::user
