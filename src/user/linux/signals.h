// Signals: from the host's to the guest's handlers.
//
//   kernel ─▶ host handler ─▶ fault in guest code? Engine::on_host_fault ─▶ Vcpu::run returns kFault ─▶ force_signal
//                        └─▶ else: into Thread::pending, everything blocked ─▶ deliver_signals at the next safe point:
//                                                                              the kernel's own frame on the guest's stack
//
// The host's state mirrors the guest's: dispositions (SIG_DFL and SIG_IGN are the kernel's business), the signal mask, SA_
// flags. So queues, order, pending sets, sigwait, signalfd, stop and continue, default actions and exit states are the
// kernel's. Only the signals of faults (kFaultSignals) always have our handler and are never blocked on the host.
//
// SA_RESTART is mirrored too: when the kernel decides to restart a system call, it sets the program counter back to the
// `syscall` instruction; the handler sees that and makes the call answer kRestartSys, and the run loop sets the guest's
// program counter back likewise. Whether a call restarts is decided by the kernel alone.
#pragma once

#include "user/linux/thread.h"

namespace myna::user {

/// Signals whose default action ends the process come to our handler all the same (`on`), so that a debugger sees them.
void hook_default_signals(SignalActions& actions, bool on);

/// Installs the handlers of fault signals, reads the inherited mask. `main`: the first thread.
void start_signals(Thread& main);

/// Delivers what is pending to the guest, and makes the host's mask the guest's again.
void deliver_signals(Thread& t);
/// A synchronous signal: delivered at once; when blocked or ignored, the process dies of it.
void force_signal(Thread& t, const siginfo_t& info, uint64_t fault_code = 0);
/// A siginfo as the kernel makes it for a fault.
siginfo_t fault_info(int sig, int code, uint64_t addr) noexcept;

/// Blocks all signals but the fault ones on the host. False: one is pending already, nothing was changed.
bool block_signals(Thread& t) noexcept;
/// Makes the host's mask the guest's.
void unblock_signals(Thread& t) noexcept;
/// The host's form of a guest mask.
constexpr uint64_t host_mask(uint64_t guest) noexcept { return guest & ~kFaultSignals; }

int64_t sys_rt_sigaction(Thread& t, int sig, uint64_t act, uint64_t oldact, uint64_t size);
int64_t sys_rt_sigprocmask(Thread& t, int how, uint64_t set, uint64_t oldset, uint64_t size);
int64_t sys_rt_sigreturn(Thread& t);
int64_t sys_sigaltstack(Thread& t, uint64_t ss, uint64_t old);
int64_t sys_rt_sigsuspend(Thread& t, uint64_t set, uint64_t size);
int64_t sys_rt_sigpending(Thread& t, uint64_t set, uint64_t size);
int64_t sys_rt_sigtimedwait(Thread& t, uint64_t set, uint64_t info, uint64_t timeout, uint64_t size);

/// Before execve: what the kernel hands on to the new program and the host's state does not show.
void signals_before_exec(Thread& t);
void signals_exec_failed(Thread& t);

/// The emulator's libc takes two signals when it first creates a thread (32 and 33, which the guest's libc takes as well):
/// gives them back to the guest.
void give_back_libc_signals(Thread& t);

/// CLONE_CLEAR_SIGHAND: handlers become SIG_DFL.
void clear_handlers(Thread& t);
/// The child's copy of the actions table.
void copy_actions(SignalActions& to, SignalActions& from);

/// Ends the process by `sig`, as the kernel would.
[[noreturn]] void die_by_signal(Thread& t, int sig);

/// While a system call waits with a mask of its own.
class SuspendedMask {
  public:
    SuspendedMask(Thread& t, uint64_t mask) : t_(t) {
        t.suspend_mask = mask;
        t.suspended = true;
    }
    ~SuspendedMask() {
        if (t_.signal_pending == 0) t_.suspended = false;
    }
    SuspendedMask(const SuspendedMask&) = delete;

  private:
    Thread& t_;
};

}  // namespace myna::user
