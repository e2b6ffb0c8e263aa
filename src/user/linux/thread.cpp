#include "user/linux/thread.h"

#include <linux/ptrace.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "ir/eval.h"
#include "user/linux/debug.h"
#include "user/linux/signals.h"
#include "user/linux/syscalls/seccomp.h"
#include "user/linux/syscalls/table.h"

namespace myna::user {

namespace {

thread_local Thread* tls_current = nullptr;

constexpr int kTrapBrkpt = 1, kIllIllopc = 1, kSegvMaperr = 1, kSegvAccerr = 2, kBusAdraln = 1;

/// Notes the last access before the one that faults: its address is one that no page table can hold.
class StrangeAccess final : public ir::EvalMemory {
  public:
    explicit StrangeAccess(uint64_t base) : memory_(base), base_(base) {}
    ir::V128 load(uint64_t addr, unsigned size) override { return note(addr, false), memory_.load(addr, size); }
    void store(uint64_t addr, const ir::V128& value, unsigned size) override { note(addr, true), memory_.store(addr, value, size); }
    ir::V128 cas(uint64_t addr, const ir::V128& expected, const ir::V128& desired, unsigned size) override {
        return note(addr, true), memory_.cas(addr, expected, desired, size);
    }
    uint64_t address = 0;
    bool write = false;

  private:
    void note(uint64_t addr, bool is_write) {
        if ((addr + base_) >> 47 == 0) return;
        address = addr;
        write = is_write;
    }
    ir::DirectMemory memory_;
    uint64_t base_;
};

}  // namespace

Thread* Thread::current() noexcept { return tls_current; }
void Thread::set_current(Thread* t) noexcept {
    tls_current = t;
    set_trace_pointer(t != nullptr ? &t->trace : nullptr);
}

Thread::Thread(Process& p, std::unique_ptr<jit::Vcpu> v)
    : process(p), abi(p.abi), memory(p.memory), vcpu(std::move(v)), state(static_cast<uint8_t*>(vcpu->state())), actions(&p.actions) {
    vcpu->header().owner = this;
    trace.machine = abi.arch->elf_machine;
    trace.state_at = reinterpret_cast<uint64_t>(state);
    trace.guest_base = memory.base();
}

void Thread::system_call() {
    if (trace.on != 0 || filters.load(std::memory_order_relaxed) != nullptr) [[unlikely]]
        return watched_system_call();
    if (Debugger* d = process.debugger) [[unlikely]] d->before_call(*this);
    const SyscallTable& table = *abi.syscalls;
    const uint64_t number = reg(abi.reg.number);
    const uint64_t args[6] = {reg(abi.reg.arg[0]), reg(abi.reg.arg[1]), reg(abi.reg.arg[2]),
                              reg(abi.reg.arg[3]), reg(abi.reg.arg[4]), reg(abi.reg.arg[5])};
    int64_t r;
    if (number < table.count && table.rows[number].handler != nullptr) [[likely]] {
        const SyscallRow& row = table.rows[number];
        r = process.strace ? traced_call(*this, row, args) : row.handler(*this, args);
    } else {
        r = unknown_call(*this, number, number < table.count ? table.rows[number].name : nullptr);
    }
    if (process.debugger != nullptr) [[unlikely]] {
        // Another thread may have protected the watched pages again before the kernel came to them.
        for (int tries = 0; tries < 64 && r == -EFAULT && number < table.count && memory.open_watches(); ++tries) r = table.rows[number].handler(*this, args);
        memory.map_changed();
        if (Debugger* d = process.debugger) r = d->after_call(*this, r);
    }
    calls[next_call] = {number, {args[0], args[1], args[2], args[3]}, r, true};
    next_call = (next_call + 1) % kRecordedCalls;
    if (r == kNoReturnValue) return;
    if (r == kRestartSys) pc() -= abi.syscall_bytes;
    else set_result(r);
}

/// True: the call is made (a tracer may have changed it); false: `result` is the answer.
bool Thread::pass_filters(uint64_t& number, uint64_t* args, int64_t& result) {
    const uint32_t answer = run_filters(*this, number, args);
    if (answer == kStrictDeath) die_by_signal(*this, SIGKILL);
    const auto value = static_cast<int>(answer & SECCOMP_RET_DATA);
    switch (answer & SECCOMP_RET_ACTION_FULL) {
        case SECCOMP_RET_ALLOW: case SECCOMP_RET_LOG: return true;
        case SECCOMP_RET_ERRNO: result = -std::min(value, 4095); return false;
        case SECCOMP_RET_TRACE:
            if (trace.on == 0 || (trace.options & PTRACE_O_TRACESECCOMP) == 0) {
                result = -ENOSYS;
                return false;
            }
            trace_seccomp(*this, value, number, args);
            for (unsigned i = 0; i < 6; ++i) args[i] = reg(abi.reg.arg[i]);
            number = reg(abi.reg.number);
            result = static_cast<int64_t>(reg(abi.reg.arg[0]));
            return static_cast<int32_t>(number) != -1;
        case SECCOMP_RET_TRAP: {
            siginfo_t info{};
            info.si_signo = SIGSYS;
            info.si_code = 1;  // SYS_SECCOMP
            info.si_errno = value;
            info.si_call_addr = reinterpret_cast<void*>(pc());
            info.si_syscall = static_cast<int>(number);
            info.si_arch = abi.audit_arch;
            force_signal(*this, info);
            result = kNoReturnValue;
            return false;
        }
        case SECCOMP_RET_KILL_THREAD: {
            const std::unique_lock l(process.threads_lock);
            if (process.threads.size() > 1) {
                exited = true;
                exit_code = SIGSYS;
                result = kNoReturnValue;
                return false;
            }
            break;
        }
        default: break;
    }
    die_by_signal(*this, SIGSYS);
}

void Thread::watched_system_call() {
    const SyscallTable& table = *abi.syscalls;
    uint64_t args[6];
    const auto read = [&] {
        for (unsigned i = 0; i < 6; ++i) args[i] = reg(abi.reg.arg[i]);
        return reg(abi.reg.number);
    };
    uint64_t number = read();
    if (trace.on != 0 && trace.resume == TraceResume::kSyscall) {
        trace_syscall(*this, TraceOp::kEntry, number, args, 0);
        number = read();  // the tracer may have changed them
    }
    int64_t r;
    if (number == ~uint64_t{0} || static_cast<int32_t>(number) == -1) {
        r = static_cast<int64_t>(reg(abi.reg.arg[0]));
    } else if (!pass_filters(number, args, r)) {
        // r is the answer
    } else if (number < table.count && table.rows[number].handler != nullptr) {
        const SyscallRow& row = table.rows[number];
        r = process.strace ? traced_call(*this, row, args) : row.handler(*this, args);
    } else {
        r = unknown_call(*this, number, number < table.count ? table.rows[number].name : nullptr);
    }
    if (r != kNoReturnValue) set_result(r);
    const bool born_here = std::exchange(newborn, false);
    if (trace.on != 0 && trace.resume == TraceResume::kSyscall && !exited && !born_here)
        trace_syscall(*this, TraceOp::kExit, number, args, r == kNoReturnValue ? static_cast<int64_t>(reg(abi.reg.arg[0])) : r);
    if (r == kRestartSys) {
        pc() -= abi.syscall_bytes;
        set_result(static_cast<int64_t>(args[0]));
        if (kernel_rewound) cut = Cut::kRewound;
    } else if (r == -EINTR && signal_pending != 0) {
        cut = Cut::kInterrupted;
        cut_argument = args[0];
    }
    kernel_rewound = false;
}

void Thread::after_step() {
    if (trace.on != 0 && trace.resume == TraceResume::kStep && !exited) trace_step_done(*this);
}

void Thread::memory_fault() {
    const int sig = fault.si_signo;
    auto addr = reinterpret_cast<uint64_t>(fault.si_addr);
    if (sig == SIGSEGV && fault.si_code == SI_KERNEL) {
        if (abi.retry_strange_address != nullptr && abi.retry_strange_address(state)) {
            vcpu->state_changed();
            return;
        }
        // A non-canonical address: the host does not tell which. An access that is fine now was made, then.
        StrangeAccess access(memory.base());
        while (vcpu->step(&access) == ir::ExitReason::kPoll) {}
        if (access.address != 0) force_signal(*this, fault_info(SIGSEGV, kSegvMaperr, access.address), abi.fault_code(true, access.write));
        return;
    }
    addr -= memory.base();
    if (Debugger* d = process.debugger; d != nullptr && memory.watched(addr)) [[unlikely]] {
        if (d->on_fault(*this, addr)) return;
        addr = reinterpret_cast<uint64_t>(fault.si_addr) - memory.base();
    }
    if (sig == SIGSEGV) {
        const int prot = memory.prot_at(addr);
        if (prot > 0 && fault_was_write && memory.write_fault(addr)) return;
        // A watchpoint that the debugger has removed since the fault.
        if (process.debugger != nullptr && prot > 0 && (prot & (fault_was_write ? PROT_WRITE : PROT_READ)) != 0) return;
        if (prot < 0 && memory.grow_down(addr)) return;
        force_signal(*this, fault_info(SIGSEGV, prot < 0 ? kSegvMaperr : kSegvAccerr, addr), abi.fault_code(prot < 0, fault_was_write));
        return;
    }
    force_signal(*this, fault_info(sig, fault.si_code, sig == SIGBUS ? addr : pc()), 0);
}

void Thread::run() {
    using ir::ExitReason;
    while (!exited) {
        if (signal_pending != 0) [[unlikely]]
            deliver_signals(*this);
        const bool step = trace.on != 0 && trace.resume == TraceResume::kStep;
        Debugger* const debugger = process.debugger;
        switch (debugger != nullptr && trace.on == 0 ? debugger->run(*this) : step ? vcpu->step() : vcpu->run()) {
            case ExitReason::kNone:
                after_step();
                break;
            case ExitReason::kSyscall:
                system_call();
                if (step) after_step();
                break;
            case ExitReason::kPoll:
                break;
            case ExitReason::kYield:
                sched_yield();
                break;
            case ExitReason::kFault:
                memory_fault();
                break;
            case ExitReason::kBreakpoint:
                force_signal(*this, fault_info(SIGTRAP, kTrapBrkpt, pc()));
                break;
            case ExitReason::kNoExec: {
                const uint64_t at = pc();
                if (abi.branch_target != nullptr && abi.branch_target(at) != at) {
                    vcpu->header().pc = abi.branch_target(at);
                } else if ((at & ((uint64_t{1} << abi.arch->insn_align_log2) - 1)) != 0) {
                    force_signal(*this, fault_info(SIGBUS, kBusAdraln, at));
                } else {
                    const int prot = memory.prot_at(at);
                    // A block that runs into a page that cannot be fetched from stops short of it.
                    force_signal(*this, fault_info(SIGSEGV, prot < 0 ? kSegvMaperr : kSegvAccerr, at), abi.fetch_fault_code(prot < 0));
                }
                break;
            }
            default:
                force_signal(*this, fault_info(SIGILL, kIllIllopc, pc()));
                break;
        }
    }
}

}  // namespace myna::user
