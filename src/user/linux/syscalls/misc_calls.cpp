// Time, limits, names, prctl, and the calls whose work is in signals.cpp.
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/utsname.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>

#include "user/linux/signals.h"
#include "user/linux/syscalls/calls.h"
#include "user/linux/syscalls/seccomp.h"
#include "user/linux/vdso.h"

namespace myna::user {

// ---- time: the host's vDSO is cheaper than its kernel

namespace {

uint64_t nanoseconds(const timespec& t) { return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec); }

/// The guest asked the kernel for the wall clock: for a second its vDSO can do without.
void renew_vdso_clock(Process& p) {
    timespec mono, real;
    clock_gettime(CLOCK_MONOTONIC, &mono);
    clock_gettime(CLOCK_REALTIME, &real);
    VdsoClock& c = *p.vdso_clock;
    const uint64_t offset = nanoseconds(real) - nanoseconds(mono);
    const std::atomic_ref<uint64_t> wall(c.wall_offset);
    // Unless the clock was set, small differences are those of reading two clocks: time must not jump back by them.
    const auto change = static_cast<int64_t>(offset - wall.load(std::memory_order_relaxed));
    if (change < -20'000 || change > 20'000) wall.store(offset);
    const uint64_t hz = p.abi.vdso.counter_hz;
    std::atomic_ref<uint64_t>(c.valid_until).store(nanoseconds(mono) / (1'000'000'000 / hz) + hz);
}

}  // namespace

int64_t call_clock_gettime(Thread& t, const uint64_t* a) {
    if (static_cast<clockid_t>(a[0]) == CLOCK_REALTIME) renew_vdso_clock(t.process);
    timespec ts;
    if (clock_gettime(static_cast<clockid_t>(a[0]), &ts) != 0) return -errno;
    return t.memory.put(a[1], ts);
}

int64_t call_gettimeofday(Thread& t, const uint64_t* a) {
    renew_vdso_clock(t.process);
    timeval tv;
    struct timezone tz;
    if (gettimeofday(&tv, a[1] != 0 ? &tz : nullptr) != 0) return -errno;
    if (a[0] != 0 && t.memory.put(a[0], tv) != 0) return -EFAULT;
    if (a[1] != 0 && t.memory.put(a[1], tz) != 0) return -EFAULT;
    return 0;
}

// ---- names

int64_t call_uname(Thread& t, const uint64_t* a) {
    utsname u;
    if (const int64_t r = host_syscall(SYS_uname, arg(&u)); r < 0) return r;
    std::snprintf(u.machine, sizeof u.machine, "%s", t.abi.machine.data());
    if (!t.process.options.uname_release.empty())
        std::snprintf(u.release, sizeof u.release, "%s", t.process.options.uname_release.c_str());
    return t.memory.put(a[0], u);
}

// ---- limits. Those of the address space bind the guest, not the emulator with its code cache.

namespace {

void apply_limits(Process& p) {
    p.memory.as_limit = p.limits[0].rlim_cur;
    p.memory.data_limit = p.limits[1].rlim_cur;
}

bool is_address_limit(uint64_t resource) { return resource == RLIMIT_AS || resource == RLIMIT_DATA; }

int64_t own_limit(Thread& t, uint64_t resource, uint64_t wanted, uint64_t old) {
    Process& p = t.process;
    rlimit& mine = p.limits[resource == RLIMIT_AS ? 0 : 1];
    const rlimit was = mine;
    if (wanted != 0) {
        rlimit n;
        if (t.memory.get(wanted, n) != 0) return -EFAULT;
        if (n.rlim_cur > n.rlim_max) return -EINVAL;
        if (n.rlim_max > mine.rlim_max && host_syscall(SYS_geteuid) != 0) return -EPERM;
        mine = n;
        apply_limits(p);
    }
    return old != 0 ? t.memory.put(old, was) : 0;
}

}  // namespace

std::string limits_for_exec(const Process& p) {
    if (std::all_of(std::begin(p.limits), std::end(p.limits), [](const rlimit& l) { return l.rlim_max == RLIM_INFINITY && l.rlim_cur == RLIM_INFINITY; })) return {};
    std::string s;
    for (const rlimit& l : p.limits) s += (s.empty() ? "" : ",") + std::to_string(l.rlim_cur) + "," + std::to_string(l.rlim_max);
    return s;
}

void set_limits(Process& p, const std::string& text) {
    unsigned long long n[4];
    if (std::sscanf(text.c_str(), "%llu,%llu,%llu,%llu", &n[0], &n[1], &n[2], &n[3]) != 4) return;
    p.limits[0] = {n[0], n[1]};
    p.limits[1] = {n[2], n[3]};
    apply_limits(p);
}

int64_t call_prlimit64(Thread& t, const uint64_t* a) {
    if (is_address_limit(a[1]) && (a[0] == 0 || static_cast<int64_t>(a[0]) == host_syscall(SYS_getpid))) return own_limit(t, a[1], a[2], a[3]);
    return host_syscall(SYS_prlimit64, a[0], a[1], t.memory.host_arg(a[2]), t.memory.host_arg(a[3]));
}
int64_t call_getrlimit(Thread& t, const uint64_t* a) {
    const uint64_t args[6] = {0, a[0], 0, a[1]};
    return call_prlimit64(t, args);
}
int64_t call_setrlimit(Thread& t, const uint64_t* a) {
    const uint64_t args[6] = {0, a[0], a[1], 0};
    return call_prlimit64(t, args);
}

int64_t call_prctl(Thread& t, const uint64_t* a) {
    const auto option = static_cast<int>(a[0]);
    uint64_t second = a[1];
    switch (option) {
        case PR_SET_NAME: case PR_GET_NAME: case PR_GET_PDEATHSIG: case PR_GET_CHILD_SUBREAPER: case PR_GET_TID_ADDRESS:
            second = t.memory.host_arg(second);
            break;
        case PR_GET_SECCOMP: return get_seccomp(t);
        case PR_SET_SECCOMP: return set_seccomp(t, a[1], a[2]);
        case PR_SET_VMA: {
            if (a[1] != 0 /* PR_SET_VMA_ANON_NAME */) return -EINVAL;
            return host_syscall(SYS_prctl, PR_SET_VMA, 0, t.memory.host_arg(a[2]), a[3], t.memory.host_arg(a[4]));
        }
        case PR_SET_PDEATHSIG: case PR_GET_DUMPABLE: case PR_SET_DUMPABLE: case PR_GET_KEEPCAPS: case PR_SET_KEEPCAPS:
        case PR_GET_TIMING: case PR_SET_TIMING: case PR_CAPBSET_READ: case PR_CAPBSET_DROP: case PR_GET_SECUREBITS: case PR_SET_SECUREBITS:
        case PR_SET_TIMERSLACK: case PR_GET_TIMERSLACK: case PR_TASK_PERF_EVENTS_DISABLE: case PR_TASK_PERF_EVENTS_ENABLE:
        case PR_MCE_KILL: case PR_MCE_KILL_GET: case PR_SET_CHILD_SUBREAPER: case PR_SET_NO_NEW_PRIVS: case PR_GET_NO_NEW_PRIVS:
        case PR_SET_THP_DISABLE: case PR_GET_THP_DISABLE: case PR_CAP_AMBIENT: case PR_GET_SPECULATION_CTRL: case PR_SET_SPECULATION_CTRL:
        case PR_SET_IO_FLUSHER: case PR_GET_IO_FLUSHER: case PR_SET_PTRACER: case PR_SCHED_CORE:
            break;
        default: return -EINVAL;
    }
    return host_syscall(SYS_prctl, a[0], second, a[2], a[3], a[4]);
}

// ---- signals

int64_t call_rt_sigaction(Thread& t, const uint64_t* a) { return sys_rt_sigaction(t, static_cast<int>(a[0]), a[1], a[2], a[3]); }
int64_t call_rt_sigprocmask(Thread& t, const uint64_t* a) { return sys_rt_sigprocmask(t, static_cast<int>(a[0]), a[1], a[2], a[3]); }
int64_t call_rt_sigreturn(Thread& t, const uint64_t*) { return sys_rt_sigreturn(t); }
int64_t call_sigaltstack(Thread& t, const uint64_t* a) { return sys_sigaltstack(t, a[0], a[1]); }
int64_t call_rt_sigsuspend(Thread& t, const uint64_t* a) { return sys_rt_sigsuspend(t, a[0], a[1]); }
int64_t call_rt_sigpending(Thread& t, const uint64_t* a) { return sys_rt_sigpending(t, a[0], a[1]); }
int64_t call_rt_sigtimedwait(Thread& t, const uint64_t* a) { return sys_rt_sigtimedwait(t, a[0], a[1], a[2], a[3]); }
int64_t call_restart_syscall(Thread&, const uint64_t*) { return -EINTR; }

}  // namespace myna::user
