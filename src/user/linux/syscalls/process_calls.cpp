// Processes and threads: clone in its forms, exit, futexes and what is tied to a thread's end.
//
//   CLONE_THREAD            a host thread with a Vcpu of its own
//   CLONE_VM|CLONE_VFORK    the host's own vfork: the child runs on a stack of its own, in the parent's memory, with the
//                           parent's Thread (whose host thread waits); the parent's state is put back when it returns
//   CLONE_VM alone          a process beside us in the same memory; a sleeping host thread lends it its thread pointer
//   neither                 the host's fork; translations and everything else are copied
#include <linux/futex.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <utility>

#include "user/linux/debug.h"
#include "user/linux/process.h"
#include "user/linux/signals.h"
#include "user/linux/syscalls/calls.h"

namespace myna::user {

namespace {

struct CloneArgs {
    uint64_t flags = 0, pidfd = 0, child_tid = 0, parent_tid = 0, exit_signal = 0, stack = 0, stack_size = 0, tls = 0;
    uint64_t set_tid = 0, set_tid_size = 0, cgroup = 0;
};
static_assert(sizeof(CloneArgs) == 88);

constexpr size_t kHostStack = 256 << 10;

void futex_wake(uint32_t* at, int count) { host_syscall(SYS_futex, arg(at), FUTEX_WAKE, static_cast<uint64_t>(count)); }

// ---- the end of a thread

/// The kernel's walk over a robust list (kernel/futex/core.c), for heads that the host kernel does not know.
void release_robust_futex(Thread& t, uint64_t futex, uint32_t tid, bool pending) {
    uint32_t value = 0;
    if ((futex & 3) != 0) return;
    for (;;) {
        if (t.memory.get(futex, value) != 0) return;
        if (pending && value == 0) break;
        if ((value & FUTEX_TID_MASK) != tid) return;
        uint32_t seen = 0;
        const uint32_t dead = (value & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
        if (myna_user_cmpxchg32(t.memory.host<uint32_t>(futex), value, dead, &seen) != 0) return;
        if (seen == value) break;
    }
    if (pending || (value & FUTEX_WAITERS) != 0) futex_wake(t.memory.host<uint32_t>(futex), 1);
}

void walk_robust_list(Thread& t) {
    struct Head {
        uint64_t next, offset, pending;
    } h{};
    if (t.robust_list == 0 || t.memory.get(t.robust_list, h) != 0) return;
    const auto tid = static_cast<uint32_t>(host_syscall(SYS_gettid));
    uint64_t entry = h.next & ~uint64_t{1};
    for (int limit = 2048; entry != t.robust_list && limit > 0; --limit) {
        uint64_t next = 0;
        const bool more = t.memory.get(entry, next) == 0;
        if (entry != (h.pending & ~uint64_t{1})) release_robust_futex(t, entry + h.offset, tid, false);
        if (!more) break;
        entry = next & ~uint64_t{1};
    }
    if (h.pending != 0) release_robust_futex(t, (h.pending & ~uint64_t{1}) + h.offset, tid, true);
}

void leave_thread_list(Thread& t) {
    const std::lock_guard l(t.process.threads_lock);
    std::erase(t.process.threads, &t);
}

// ---- CLONE_THREAD

struct ThreadStart {
    Thread* thread;
    std::atomic<uint32_t> tid{0};
};

void* thread_main(void* p) {
    auto* start = static_cast<ThreadStart*>(p);
    Thread* t = start->thread;
    Thread::set_current(t);
    const auto tid = static_cast<uint32_t>(host_syscall(SYS_gettid));
    if (t->parent_tid_at != 0) t->memory.put(t->parent_tid_at, tid);
    if (t->child_tid_at != 0) t->memory.put(t->child_tid_at, tid);
    start->tid.store(tid);
    futex_wake(reinterpret_cast<uint32_t*>(&start->tid), 1);  // `start` is gone from here on
    unblock_signals(*t);
    if (t->trace.on != 0) trace_new_thread(*t);
    t->run();

    // No signal may find a thread that is being taken down.
    const uint64_t all = ~uint64_t{0};
    host_syscall(SYS_rt_sigprocmask, SIG_SETMASK, arg(&all), 0, 8);
    walk_robust_list(*t);
    if (t->robust_list != 0) host_syscall(SYS_set_robust_list, 0, 24);
    if (Debugger* d = t->process.debugger) d->on_thread_end(*t);
    leave_thread_list(*t);
    Thread::set_current(nullptr);
    AddressSpace& memory = t->memory;
    const uint64_t clear = t->clear_child_tid;
    delete t;
    if (clear != 0 && memory.put(clear, uint32_t{0}) == 0) futex_wake(memory.host<uint32_t>(clear), INT_MAX);
    return nullptr;
}

/// A Thread with a Vcpu of its own that goes on where `t` is.
std::unique_ptr<Thread> child_of(Thread& t, const CloneArgs& c) {
    auto child = std::make_unique<Thread>(t.process, t.process.engine->create_vcpu());
    child->copy_registers_from(t);
    child->set_result(0);
    if (c.stack != 0) child->sp() = c.stack;
    if ((c.flags & CLONE_SETTLS) != 0) child->reg(t.abi.reg.tls) = c.tls;
    child->vcpu->state_changed();
    child->sigmask = t.sigmask;
    child->filters.store(t.filters.load());
    child->actions = t.actions;
    child->kernel_clears_tid = false;
    if ((c.flags & CLONE_CHILD_CLEARTID) != 0) child->clear_child_tid = c.child_tid;
    if ((c.flags & CLONE_CHILD_SETTID) != 0) child->child_tid_at = c.child_tid;
    if ((c.flags & CLONE_PARENT_SETTID) != 0) child->parent_tid_at = c.parent_tid;
    if ((t.trace.options & PTRACE_O_TRACECLONE) != 0 && (c.flags & CLONE_UNTRACED) == 0) {
        child->trace.on = t.trace.on;
        child->trace.options = t.trace.options;
        child->trace.seized = t.trace.seized;
    }
    return child;
}

bool start_host_thread(Thread& t, void* (*main)(void*), void* arg) {
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, kHostStack);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_t handle;
    const int e = pthread_create(&handle, &attr, main, arg);
    pthread_attr_destroy(&attr);
    const std::lock_guard l(t.process.threads_lock);
    if (!std::exchange(t.process.libc_signals_given_back, true)) give_back_libc_signals(t);
    return e == 0;
}

int64_t new_thread(Thread& t, const CloneArgs& c) {
    if ((c.flags & (CLONE_VM | CLONE_SIGHAND)) != (CLONE_VM | CLONE_SIGHAND)) return -EINVAL;
    if (!block_signals(t)) return kRestartSys;
    auto child = child_of(t, c);
    ThreadStart start{child.get()};
    {
        const std::lock_guard l(t.process.threads_lock);
        t.process.threads.push_back(child.get());
    }
    if (!start_host_thread(t, thread_main, &start)) {
        leave_thread_list(*child);
        unblock_signals(t);
        return -EAGAIN;
    }
    child.release();
    while (start.tid.load() == 0) host_syscall(SYS_futex, arg(reinterpret_cast<uint32_t*>(&start.tid)), FUTEX_WAIT, 0, 0);
    const uint32_t tid = start.tid.load();
    unblock_signals(t);
    return tid;
}

// ---- vfork

struct VforkChild {
    Thread* t;
    CloneArgs args;
    SignalActions actions;  // the child has its own: the host does not share them either
};

void vfork_child_main(void* p) {
    auto& c = *static_cast<VforkChild*>(p);
    Thread& t = *c.t;
    t.actions = &c.actions;
    if ((t.trace.options & PTRACE_O_TRACEVFORK) == 0 || (c.args.flags & CLONE_UNTRACED) != 0) t.trace.on = 0;
    if ((c.args.flags & CLONE_CLEAR_SIGHAND) != 0) clear_handlers(t);
    t.set_result(0);
    if (c.args.stack != 0) t.sp() = c.args.stack;
    if ((c.args.flags & CLONE_SETTLS) != 0) t.reg(t.abi.reg.tls) = c.args.tls;
    t.vcpu->state_changed();
    t.held = 0;
    t.robust_list = 0;
    t.clear_child_tid = 0;
    ++t.vfork_depth;
    if (Debugger* d = t.process.debugger) d->vfork_child_starts(t);
    unblock_signals(t);
    t.run();
    if (Debugger* d = t.process.debugger) d->on_exit(t, t.exit_code);
    host_syscall(SYS_exit_group, static_cast<uint64_t>(t.exit_code));
}

int64_t vfork_process(Thread& t, const CloneArgs& c) {
    if (!block_signals(t)) return kRestartSys;
    void* stack = mmap(nullptr, kHostStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED) {
        unblock_signals(t);
        return -ENOMEM;
    }
    const SavedThread saved(t);
    auto child = std::make_unique<VforkChild>();
    child->t = &t;
    child->args = c;
    copy_actions(child->actions, *t.actions);
    // The tid fields are written by the host kernel; SETTLS and the stack are the guest's business.
    const uint64_t flags = (c.flags & ~uint64_t{CLONE_SETTLS | CLONE_CLEAR_SIGHAND | CLONE_CHILD_CLEARTID}) | c.exit_signal;
    const int64_t r = myna_vfork_clone(flags, static_cast<char*>(stack) + kHostStack, t.memory.host<int>(c.flags & CLONE_PIDFD ? c.pidfd : c.parent_tid),
                                       t.memory.host<int>(c.child_tid), vfork_child_main, child.get());
    saved.restore(t);
    if (Debugger* d = t.process.debugger) d->vfork_done(t);
    munmap(stack, kHostStack);
    unblock_signals(t);
    return r;
}

// ---- CLONE_VM alone

struct VmChild {
    std::unique_ptr<Thread> thread;
    CloneArgs args;
    SignalActions actions;
    void* stack = nullptr;
    int host_tid = -1;                 // the host kernel clears it when the child leaves the memory
    std::atomic<uint32_t> started{0};
    int64_t result = 0;
};

void vm_child_main(void* p) {
    auto& c = *static_cast<VmChild*>(p);
    Thread& t = *c.thread;
    if ((c.args.flags & CLONE_CLEAR_SIGHAND) != 0) clear_handlers(t);
    if (t.child_tid_at != 0) t.memory.put(t.child_tid_at, static_cast<uint32_t>(host_syscall(SYS_gettid)));
    unblock_signals(t);
    t.run();
    host_syscall(SYS_exit_group, static_cast<uint64_t>(t.exit_code));
}

/// Starts the child and sleeps while it lives: both have one thread pointer, so nothing of libc may be used meanwhile.
void* vm_lender_main(void* p) {
    auto* c = static_cast<VmChild*>(p);
    Thread::set_current(c->thread.get());
    AddressSpace& memory = c->thread->memory;
    const uint64_t clear = c->thread->clear_child_tid;
    constexpr uint64_t kOwnWork = CLONE_SETTLS | CLONE_CLEAR_SIGHAND | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
    const uint64_t flags = (c->args.flags & ~kOwnWork) | CLONE_CHILD_CLEARTID | c->args.exit_signal;
    const uint64_t out = (c->args.flags & CLONE_PIDFD) != 0 ? c->args.pidfd : c->args.parent_tid;
    const int64_t r = myna_vfork_clone(flags, static_cast<char*>(c->stack) + kHostStack, memory.host<int>(out), &c->host_tid, vm_child_main, c);
    c->result = r;
    c->started.store(1);
    futex_wake(reinterpret_cast<uint32_t*>(&c->started), 1);
    if (r > 0) {
        while (__atomic_load_n(&c->host_tid, __ATOMIC_ACQUIRE) != 0)
            host_syscall(SYS_futex, arg(&c->host_tid), FUTEX_WAIT, static_cast<uint64_t>(static_cast<uint32_t>(-1)), 0);
        if (clear != 0 && memory.put(clear, uint32_t{0}) == 0) futex_wake(memory.host<uint32_t>(clear), INT_MAX);
    }
    Thread::set_current(nullptr);
    while (c->started.load() != 2) host_syscall(SYS_futex, arg(reinterpret_cast<uint32_t*>(&c->started)), FUTEX_WAIT, 1, 0);
    munmap(c->stack, kHostStack);
    delete c;
    return nullptr;
}

int64_t new_vm_process(Thread& t, const CloneArgs& c) {
    if (!block_signals(t)) return kRestartSys;
    auto child = std::make_unique<VmChild>();
    child->stack = mmap(nullptr, kHostStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    child->thread = child_of(t, c);
    child->thread->vfork_depth = 1;
    child->args = c;
    if ((c.flags & CLONE_SIGHAND) == 0) {
        copy_actions(child->actions, *t.actions);
        child->thread->actions = &child->actions;
    }
    int64_t r = -EAGAIN;
    if (child->stack == MAP_FAILED) {
        r = -ENOMEM;
    } else if (start_host_thread(t, vm_lender_main, child.get())) {
        VmChild* started = child.release();
        auto* word = reinterpret_cast<uint32_t*>(&started->started);
        while (started->started.load() == 0) host_syscall(SYS_futex, arg(word), FUTEX_WAIT, 0, 0);
        r = started->result;
        started->started.store(2);
        futex_wake(word, 1);
    }
    unblock_signals(t);
    return r;
}

// ---- fork

int64_t fork_process(Thread& t, const CloneArgs& c) {
    if (!block_signals(t)) return kRestartSys;
    Process& p = t.process;
    ForkNotice notice;
    if (Debugger* d = p.debugger) d->before_fork(notice);
    t.trace.forking = 1;
    p.engine->before_fork();
    p.memory.lock().lock();
    p.threads_lock.lock();
    t.actions->lock.lock();
    // libc's fork puts its own locks in order too; it knows no flags.
    constexpr uint64_t kOwnWork = CLONE_SETTLS | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID | CLONE_CLEAR_SIGHAND;
    int64_t pid;
    if ((c.flags & ~kOwnWork) == 0 && c.exit_signal == SIGCHLD) {
        pid = fork();
        if (pid < 0) pid = -errno;
    } else {
        uint32_t pidfd = 0;
        pid = host_syscall(SYS_clone, (c.flags & ~kOwnWork) | c.exit_signal, 0, arg(&pidfd), 0, 0);
        if (pid > 0 && (c.flags & CLONE_PIDFD) != 0) p.pidfd_scratch = pidfd;
    }
    t.actions->lock.unlock();
    p.threads_lock.unlock();
    p.memory.lock().unlock();
    if (pid != 0) {
        p.engine->after_fork_parent();
        if (Debugger* d = p.debugger) d->after_fork_parent(t, notice, pid);
        if (pid > 0 && (c.flags & CLONE_PARENT_SETTID) != 0) p.memory.put(c.parent_tid, static_cast<uint32_t>(pid));
        if (pid > 0 && (c.flags & CLONE_PIDFD) != 0) p.memory.put(c.pidfd, p.pidfd_scratch);
        unblock_signals(t);
        trace_after_fork(t);
        return pid;
    }
    p.engine->after_fork_child(*t.vcpu);
    p.threads.assign(1, &t);
    p.tracer.store(nullptr);
    p.rings.store(nullptr);
    p.strace_log.store(nullptr);  // its lock may be another thread's
    t.newborn = true;
    t.trace.forking = 0;
    const uint32_t follow = c.exit_signal == SIGCHLD ? PTRACE_O_TRACEFORK : PTRACE_O_TRACECLONE;
    if ((t.trace.options & follow) == 0 || (c.flags & CLONE_UNTRACED) != 0) t.trace.on = 0;
    t.held = 0;
    t.robust_list = 0;
    t.vfork_depth = 0;
    t.kernel_clears_tid = true;
    t.clear_child_tid = 0;
    if ((c.flags & CLONE_CLEAR_SIGHAND) != 0) clear_handlers(t);
    const auto tid = static_cast<uint32_t>(host_syscall(SYS_gettid));
    if ((c.flags & CLONE_CHILD_SETTID) != 0) p.memory.put(c.child_tid, tid);
    if ((c.flags & CLONE_CHILD_CLEARTID) != 0) host_syscall(SYS_set_tid_address, p.memory.host_arg(c.child_tid));
    if (c.stack != 0) t.sp() = c.stack;
    if ((c.flags & CLONE_SETTLS) != 0) t.reg(t.abi.reg.tls) = c.tls;
    t.vcpu->state_changed();
    t.set_result(0);
    Debugger::after_fork_child(t, notice);
    unblock_signals(t);
    return 0;
}

int64_t clone_any(Thread& t, CloneArgs c) {
    c.flags &= ~uint64_t{CLONE_DETACHED};
    if ((c.flags & CLONE_THREAD) != 0) return new_thread(t, c);
    if ((c.flags & CLONE_VM) != 0) {
        if ((c.flags & CLONE_VFORK) != 0) return vfork_process(t, c);
        return new_vm_process(t, c);
    }
    return fork_process(t, c);
}

}  // namespace

void Thread::copy_registers_from(Thread& other) {
    // All but the header's pointers, which belong to the Vcpu.
    guest::VcpuHeader& h = vcpu->header();
    const guest::VcpuHeader& from = other.vcpu->header();
    std::memcpy(state + sizeof(guest::VcpuHeader), other.state + sizeof(guest::VcpuHeader), abi.arch->state_size - sizeof(guest::VcpuHeader));
    h.pc = from.pc;
    h.mxcsr = from.mxcsr;
}

SavedThread::SavedThread(Thread& t)
    : registers_(t.state + sizeof(guest::VcpuHeader), t.state + t.abi.arch->state_size), pc_(t.pc()), mxcsr_(t.vcpu->header().mxcsr),
      sigmask_(t.sigmask), held_(t.held), altstack_(t.altstack), actions_(t.actions), clear_child_tid_(t.clear_child_tid),
      robust_list_(t.robust_list), robust_len_(t.robust_len), vfork_depth_(t.vfork_depth), trace_(t.trace),
      filters_(t.filters.load()) {}

void SavedThread::restore(Thread& t) const {
    std::memcpy(t.state + sizeof(guest::VcpuHeader), registers_.data(), registers_.size());
    t.pc() = pc_;
    t.vcpu->header().mxcsr = mxcsr_;
    t.vcpu->header().excl_addr = guest::kNoExclusive;
    t.sigmask = sigmask_;
    t.held = held_;
    t.altstack = altstack_;
    t.actions = actions_;
    t.clear_child_tid = clear_child_tid_;
    t.robust_list = robust_list_;
    t.robust_len = robust_len_;
    t.vfork_depth = vfork_depth_;
    t.trace = trace_;
    t.filters.store(filters_);
    t.exited = false;
    t.suspended = false;
    t.signal_pending = 0;  // was the child's
    t.vcpu->state_changed();
}

int64_t call_clone(Thread& t, const uint64_t* a) {
    CloneArgs c;
    c.flags = a[0] & ~uint64_t{0xff} & 0xffffffff;
    c.exit_signal = a[0] & 0xff;
    c.stack = a[1];
    c.parent_tid = a[2];
    c.pidfd = a[2];
    c.tls = t.abi.clone_backwards ? a[3] : a[4];
    c.child_tid = t.abi.clone_backwards ? a[4] : a[3];
    return clone_any(t, c);
}

int64_t call_clone3(Thread& t, const uint64_t* a) {
    if (a[1] < 64) return -EINVAL;
    if (a[1] > 4096) return -E2BIG;
    CloneArgs c;
    if (t.memory.copy_in(&c, a[0], std::min<uint64_t>(a[1], sizeof c)) != 0) return -EFAULT;
    if ((c.flags & 0xff) != 0 || c.exit_signal > 64) return -EINVAL;
    if (((c.stack == 0) != (c.stack_size == 0)) || ((c.flags & CLONE_THREAD) != 0 && c.exit_signal != 0)) return -EINVAL;
    if (c.set_tid_size != 0 || (c.flags & CLONE_INTO_CGROUP) != 0) return -EINVAL;
    if (c.stack != 0) c.stack += c.stack_size;
    return clone_any(t, c);
}

// ---- exit

int64_t call_exit(Thread& t, const uint64_t* a) {
    if (t.trace.on != 0) trace_exit(t, static_cast<int>(a[0]));
    t.exit_code = static_cast<int>(a[0]);
    t.exited = true;
    return kNoReturnValue;
}

int64_t call_exit_group(Thread& t, const uint64_t* a) {
    if (t.trace.on != 0) trace_exit(t, static_cast<int>(a[0]));
    exit_process(t, static_cast<int>(a[0]));
}

void exit_process(Thread& t, int code) {
    // Children that fork made of us are not what was asked about.
    if (t.process.options.engine.jit_stats && host_syscall(SYS_getpid) == t.process.pid) {
        const std::string text = t.process.engine->stats();
        host_syscall(SYS_write, static_cast<uint64_t>(t.process.log_fd), arg(text.data()), text.size());
    }
    if (Debugger* d = t.process.debugger) d->on_exit(t, code);
    host_syscall(SYS_exit_group, static_cast<uint64_t>(code));
    __builtin_unreachable();
}

int64_t call_set_tid_address(Thread& t, const uint64_t* a) {
    t.clear_child_tid = a[0];
    if (t.kernel_clears_tid) return host_syscall(SYS_set_tid_address, t.memory.host_arg(a[0]));
    return host_syscall(SYS_gettid);
}

// ---- futexes

int64_t call_futex(Thread& t, const uint64_t* a) {
    if (t.memory.base() == 0) return myna_safe_syscall(&t.signal_pending, SYS_futex, a);
    const auto op = static_cast<int>(a[1]) & FUTEX_CMD_MASK;
    const bool timeout = op == FUTEX_WAIT || op == FUTEX_WAIT_BITSET || op == FUTEX_LOCK_PI || op == FUTEX_LOCK_PI2 || op == FUTEX_WAIT_REQUEUE_PI;
    return t.syscall(SYS_futex, t.memory.host_arg(a[0]), a[1], a[2], timeout ? t.memory.host_arg(a[3]) : a[3], t.memory.host_arg(a[4]), a[5]);
}

int64_t call_futex_waitv(Thread& t, const uint64_t* a) {
    struct Waiter {
        uint64_t value, address;
        uint32_t flags, reserved;
    } waiters[128];
    constexpr long kFutexWaitv = 449;
    if (t.memory.base() == 0 || a[1] > std::size(waiters)) return myna_safe_syscall(&t.signal_pending, kFutexWaitv, a);
    if (t.memory.copy_in(waiters, a[0], a[1] * sizeof(Waiter)) != 0) return -EFAULT;
    for (uint64_t i = 0; i < a[1]; ++i) waiters[i].address += t.memory.base();
    return t.syscall(kFutexWaitv, arg(waiters), a[1], a[2], t.memory.host_arg(a[3]), a[4]);
}

int64_t call_set_robust_list(Thread& t, const uint64_t* a) {
    if (a[1] != 24) return -EINVAL;
    t.robust_list = a[0];
    t.robust_len = a[1];
    // The host kernel can walk it itself where addresses are the same: also when the process is killed.
    if (t.memory.base() == 0) return host_syscall(SYS_set_robust_list, a[0], a[1]);
    return 0;
}

int64_t call_get_robust_list(Thread& t, const uint64_t* a) {
    if (a[0] != 0 && static_cast<int64_t>(a[0]) != host_syscall(SYS_gettid)) {
        if (t.memory.base() != 0) return -EPERM;
        return host_syscall(SYS_get_robust_list, a[0], a[1], a[2]);
    }
    if (t.memory.put(a[1], t.robust_list) != 0 || t.memory.put(a[2], uint64_t{24}) != 0) return -EFAULT;
    return 0;
}

}  // namespace myna::user
