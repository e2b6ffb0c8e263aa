// ptrace and the wait calls: the tracer's side of trace.h.
#include <fcntl.h>
#include <linux/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <vector>

#include "user/linux/signals.h"
#include "user/linux/syscalls/calls.h"
#include "user/linux/syscalls/tracer.h"

namespace myna::user {

namespace {

constexpr uint64_t kTraceMe = 0, kPeekText = 1, kPeekData = 2, kPokeText = 4, kPokeData = 5, kCont = 7, kKill = 8, kSingleStep = 9,
                   kAttach = 16, kDetach = 17, kSyscall = 24, kSetOptions = 0x4200, kGetEventMsg = 0x4201, kGetSigInfo = 0x4202,
                   kSetSigInfo = 0x4203, kGetRegSet = 0x4204, kSetRegSet = 0x4205, kSeize = 0x4206, kInterrupt = 0x4207, kListen = 0x4208,
                   kGetSigMask = 0x420a, kSetSigMask = 0x420b, kGetSyscallInfo = 0x420e;
constexpr uint64_t kKnownOptions = 0x3000ff;
/// Options that the host acts on; the rest is in TraceState.
constexpr uint64_t kHostOptions = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEVFORKDONE | PTRACE_O_EXITKILL;

int64_t host_ptrace(uint64_t what, pid_t tid, uint64_t addr = 0, uint64_t data = 0) noexcept {
    return host_syscall(SYS_ptrace, what, static_cast<uint64_t>(tid), addr, data);
}

bool remote(long call, pid_t tid, uint64_t at, void* here, size_t n) noexcept {
    const iovec mine{here, n}, theirs{reinterpret_cast<void*>(at), n};
    return host_syscall(call, static_cast<uint64_t>(tid), arg(&mine), 1, arg(&theirs), 1, 0) == static_cast<int64_t>(n);
}
bool read_remote(pid_t tid, uint64_t at, void* to, size_t n) noexcept { return remote(SYS_process_vm_readv, tid, at, to, n); }
bool write_remote(pid_t tid, uint64_t at, const void* from, size_t n) noexcept {
    return remote(SYS_process_vm_writev, tid, at, const_cast<void*>(from), n);
}
template <typename T>
bool get_field(pid_t tid, uint64_t state, size_t offset, T& v) noexcept { return read_remote(tid, state + offset, &v, sizeof v); }
template <typename T>
bool put_field(pid_t tid, uint64_t state, size_t offset, const T& v) noexcept { return write_remote(tid, state + offset, &v, sizeof v); }
#define FIELD(name) offsetof(TraceState, name)

/// Fork, vfork and clone: the new one is traced too.
bool is_birth(int event) { return event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK || event == PTRACE_EVENT_CLONE; }

}  // namespace

Tracer& Tracer::of(Thread& t) {
    Tracer* mine = t.process.tracer.load();
    if (mine != nullptr) return *mine;
    auto* made = new Tracer;
    if (t.process.tracer.compare_exchange_strong(mine, made)) return *made;
    delete made;
    return *mine;
}

Tracer::Tracee* Tracer::find(pid_t tid) {
    const auto it = tracees_.find(tid);
    return it == tracees_.end() ? nullptr : &it->second;
}

/// Both sides must be of one build: TraceState is found at the same distance from the thread pointer.
bool Tracer::same_emulator(pid_t tid) {
    char path[40];
    std::snprintf(path, sizeof path, "/proc/%d/exe", tid);
    struct stat theirs, ours;
    return host_syscall(SYS_stat, arg(path), arg(&theirs)) == 0 && host_syscall(SYS_stat, arg("/proc/self/exe"), arg(&ours)) == 0 &&
           theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino;
}

/// Finds the TraceState of a stopped thread. False: it runs no guest code (yet).
bool Tracer::locate(pid_t tid, Tracee& tracee) {
    tracee.at = 0;
    tracee.emulated = false;
    user_regs_struct regs;
    if (host_ptrace(PTRACE_GETREGS, tid, 0, arg(&regs)) != 0 || regs.fs_base == 0 || !same_emulator(tid)) return false;
    uint64_t at = 0;
    if (!read_remote(tid, regs.fs_base + static_cast<uint64_t>(trace_pointer_offset()), &at, sizeof at) || at == 0) return false;
    uint64_t magic = 0;
    uint32_t bytes = 0;
    if (!get_field(tid, at, FIELD(magic), magic) || magic != TraceState::kMagic) return false;
    if (!get_field(tid, at, FIELD(bytes), bytes) || bytes != sizeof(TraceState)) return false;
    tracee.at = at;
    tracee.emulated = true;
    return true;
}

std::optional<int> Tracer::stopped(Thread&, pid_t tid, int status) {
    user_regs_struct regs;
    if (host_ptrace(PTRACE_GETREGS, tid, 0, arg(&regs)) != 0) return status;  // a stopped child that nobody traces
    const std::lock_guard l(lock_);
    const bool known = tracees_.contains(tid);
    Tracee& tracee = tracees_[tid];
    const int sig = WSTOPSIG(status), event = status >> 16;
    const bool emulated = locate(tid, tracee);
    tracee.vfork_parent = false;
    const auto send_on = [&](uint64_t with) -> std::optional<int> {
        tracee.stop = Stop::kRunning;
        if (!known) hidden_.insert(tid);
        host_ptrace(PTRACE_CONT, tid, 0, with);
        return std::nullopt;
    };
    const auto show = [&](Stop stop, int what) -> std::optional<int> {
        tracee.stop = stop;
        hidden_.erase(tid);
        return what;
    };
    if (event == PTRACE_EVENT_EXEC) {
        if (same_emulator(tid)) return send_on(0);  // it reports the guest's exec itself
        return show(Stop::kHost, status);
    }
    if (is_birth(event) && hide_fork(tid, tracee, event)) return std::nullopt;
    if (is_birth(event) || event == PTRACE_EVENT_VFORK_DONE) {
        tracee.vfork_parent = event == PTRACE_EVENT_VFORK;
        return show(Stop::kHost, status);
    }
    uint32_t seized = 0;
    if (emulated) get_field(tid, tracee.at, FIELD(seized), seized);
    if (event == PTRACE_EVENT_STOP) {
        if (sig == SIGTRAP && !emulated) return send_on(0);  // a new thread before it runs guest code: it reports itself
        // The host's tracing is always by PTRACE_SEIZE when it began with attaching; the guest's need not be.
        if (seized == 0) return show(Stop::kHost, (sig == SIGTRAP ? SIGSTOP : sig) << 8 | 0x7f);
        return show(Stop::kHost, status);
    }
    if (event != 0) return show(Stop::kHost, status);

    siginfo_t info{};
    if (host_ptrace(PTRACE_GETSIGINFO, tid, 0, arg(&info)) != 0) return show(Stop::kHost, status);  // a group stop
    if (sig == SIGTRAP && info.si_code == TraceCode::kStop && emulated) {
        int32_t what = 0;
        if (!get_field(tid, tracee.at, FIELD(status), what)) return send_on(SIGTRAP);
        return show(Stop::kGuest, what);
    }
    if (!emulated) {
        if (!same_emulator(tid)) return show(Stop::kHost, status);       // a program of the host's
        if (sig == SIGTRAP || sig == SIGSTOP) return send_on(0);         // exec's own, or a thread's first stop
        return send_on(static_cast<uint64_t>(sig));
    }
    if (sig == SIGTRAP && info.si_code <= TraceCode::kIncoming && info.si_code >= TraceCode::kInterrupt) return send_on(SIGTRAP);
    if ((sigbit(sig) & kFaultSignals) != 0 && info.si_code > 0) return send_on(static_cast<uint64_t>(sig));  // the emulator's own business
    if (!known && sig == SIGSTOP) return show(Stop::kHost, status);  // a new process
    int32_t pass = 0;
    get_field(tid, tracee.at, FIELD(pass), pass);
    if (pass == sig) {
        put_field(tid, tracee.at, FIELD(pass), int32_t{0});
        return send_on(static_cast<uint64_t>(sig));
    }
    uint32_t interrupt = 0;
    get_field(tid, tracee.at, FIELD(interrupt), interrupt);
    siginfo_t ours{};
    ours.si_signo = SIGTRAP;
    if (interrupt != 0 && sig == SIGTRAP && info.si_code == SI_TKILL) {
        put_field(tid, tracee.at, FIELD(interrupt), uint32_t{0});
        ours.si_code = TraceCode::kInterrupt;
    } else {
        put_field(tid, tracee.at, FIELD(incoming), info);
        ours.si_code = TraceCode::kIncoming;
    }
    host_ptrace(PTRACE_SETSIGINFO, tid, 0, arg(&ours));
    return send_on(SIGTRAP);
}

/// The stopped thread `tid` is within a fork: it goes on, and reports the birth when it has released its locks.
bool Tracer::hide_fork(pid_t tid, Tracee& tracee, int event) {
    uint32_t forking = 0;
    uint64_t message = 0;
    if (!tracee.emulated || !get_field(tid, tracee.at, FIELD(forking), forking) || forking == 0) return false;
    if (host_ptrace(PTRACE_GETEVENTMSG, tid, 0, arg(&message)) != 0) return false;
    put_field(tid, tracee.at, FIELD(born), message);
    put_field(tid, tracee.at, FIELD(born_event), int32_t{event});
    tracee.stop = Stop::kRunning;
    host_ptrace(PTRACE_CONT, tid);
    return true;
}

bool Tracer::let_forks_go_on(pid_t waited_for) {
    const std::lock_guard l(lock_);
    bool others = false;
    for (auto& [tid, tracee] : tracees_) {
        if (tid == waited_for || tracee.stop != Stop::kRunning) continue;
        others = true;
        siginfo_t info{};
        const auto look = [&](int options) {
            return host_syscall(SYS_waitid, P_PID, static_cast<uint64_t>(tid), arg(&info), static_cast<uint64_t>(options | WSTOPPED | WNOHANG | __WALL), 0);
        };
        if (look(WNOWAIT) != 0 || info.si_pid != tid || info.si_code != CLD_TRAPPED) continue;
        const int event = info.si_status >> 8;
        if (!is_birth(event) || !locate(tid, tracee)) continue;
        uint32_t forking = 0;
        if (!get_field(tid, tracee.at, FIELD(forking), forking) || forking == 0) continue;
        look(0);
        hide_fork(tid, tracee, event);
    }
    return others;
}

bool Tracer::ended(pid_t tid) {
    const std::lock_guard l(lock_);
    tracees_.erase(tid);
    return hidden_.erase(tid) == 0;
}

int64_t Tracer::attach(Thread&, pid_t tid, bool seize, uint64_t options) {
    if ((options & ~kKnownOptions) != 0) return -EIO;
    if (const int64_t r = host_ptrace(PTRACE_SEIZE, tid, 0, PTRACE_O_TRACEEXEC | (options & kHostOptions)); r != 0) return r;
    // Wherever it is, it stops; its wishes are noted, and it goes on until the stop that the guest asked for.
    host_ptrace(PTRACE_INTERRUPT, tid);
    const std::lock_guard l(lock_);
    Tracee& tracee = tracees_[tid];
    hidden_.erase(tid);
    for (;;) {
        int status = 0;
        const int64_t r = host_syscall(SYS_wait4, static_cast<uint64_t>(tid), arg(&status), __WALL, 0);
        if (r == -EINTR) continue;
        if (r < 0 || !WIFSTOPPED(status)) {
            tracees_.erase(tid);
            return -ESRCH;
        }
        if (status >> 16 == PTRACE_EVENT_STOP) break;
        host_ptrace(PTRACE_CONT, tid, 0, status >> 16 == 0 ? static_cast<uint64_t>(WSTOPSIG(status)) : 0);
    }
    if (locate(tid, tracee)) {
        put_field(tid, tracee.at, FIELD(seized), uint32_t{seize ? 1u : 0u});
        put_field(tid, tracee.at, FIELD(options), static_cast<uint32_t>(options));
        put_field(tid, tracee.at, FIELD(resume), TraceResume::kCont);
        put_field(tid, tracee.at, FIELD(on), uint32_t{1});
    }
    host_ptrace(PTRACE_CONT, tid, 0, 0);
    if (!seize) host_syscall(SYS_tkill, static_cast<uint64_t>(tid), SIGSTOP);
    return 0;
}

int64_t Tracer::go_on(pid_t tid, Tracee& tracee, TraceResume how, uint64_t sig) {
    if (sig > kSignals) return -EIO;
    if (tracee.emulated && !tracee.vfork_parent) put_field(tid, tracee.at, FIELD(resume), how);
    const Stop was = tracee.stop;
    if (was == Stop::kGuest) {
        put_field(tid, tracee.at, FIELD(inject), static_cast<int32_t>(sig));
        put_field(tid, tracee.at, FIELD(resumed), uint32_t{1});
    }
    tracee.stop = Stop::kRunning;
    const int64_t r = host_ptrace(how == TraceResume::kSyscall && !tracee.emulated ? static_cast<uint64_t>(PTRACE_SYSCALL) : PTRACE_CONT, tid, 0,
                                  tracee.emulated ? 0 : sig);
    if (r != 0) tracee.stop = was;
    return r;
}

int64_t Tracer::registers(Thread& t, pid_t tid, Tracee& tracee, uint32_t type, uint64_t iov_at, bool write) {
    iovec iov;
    if (t.memory.get(iov_at, iov) != 0) return -EFAULT;
    uint32_t machine = 0;
    uint64_t state_at = 0;
    if (!tracee.emulated || !get_field(tid, tracee.at, FIELD(machine), machine) || machine != t.abi.arch->elf_machine ||
        !get_field(tid, tracee.at, FIELD(state_at), state_at))
        return -EIO;
    const size_t size = t.abi.arch->state_size;
    // Aligned as the state struct is.
    std::vector<guest::V128> room((size + sizeof(guest::V128) - 1) / sizeof(guest::V128));
    if (!read_remote(tid, state_at, room.data(), size)) return -ESRCH;
    std::vector<uint8_t> bytes = t.abi.get_regset(room.data(), type);
    if (bytes.empty() || iov.iov_len % t.abi.regset_unit(type) != 0) return -EINVAL;
    const size_t n = std::min<size_t>(bytes.size(), iov.iov_len);
    const auto base = reinterpret_cast<uint64_t>(iov.iov_base);
    if (write) {
        if (t.memory.copy_in(bytes.data(), base, n) != 0) return -EFAULT;
        if (!t.abi.set_regset(room.data(), type, {bytes.data(), n})) return -EINVAL;
        // All but the header's pointers, which are the other process's own.
        const auto& h = *reinterpret_cast<const guest::VcpuHeader*>(room.data());
        if (!write_remote(tid, state_at + sizeof h, reinterpret_cast<const uint8_t*>(room.data()) + sizeof h, size - sizeof h) ||
            !put_field(tid, state_at, offsetof(guest::VcpuHeader, pc), h.pc) || !put_field(tid, state_at, offsetof(guest::VcpuHeader, mxcsr), h.mxcsr))
            return -ESRCH;
    } else if (t.memory.copy_out(base, bytes.data(), n) != 0) {
        return -EFAULT;
    }
    iov.iov_len = n;
    return t.memory.put(iov_at, iov);
}

/// Whichever thread runs next is to drop the translations: all that are stopped are told. In other processes that costs
/// no more than a translation.
void Tracer::note_poke(uint64_t addr, uint64_t size) {
    for (auto& [tid, tracee] : tracees_) {
        uint32_t n = 0;
        if (!tracee.emulated || tracee.stop == Stop::kRunning || !get_field(tid, tracee.at, FIELD(pokes), n)) continue;
        if (n < TraceState::kMaxPokes) {
            const uint64_t range[2] = {addr, size};
            put_field(tid, tracee.at, FIELD(poked) + n * sizeof range, range);
        }
        if (n <= TraceState::kMaxPokes) put_field(tid, tracee.at, FIELD(pokes), n + 1);
    }
}

void Tracer::wrote(uint64_t addr, uint64_t size) {
    const std::lock_guard l(lock_);
    note_poke(addr, size);
}

int64_t Tracer::syscall_info(Thread& t, pid_t tid, Tracee& tracee, uint64_t size, uint64_t to) {
    struct Info {  // struct ptrace_syscall_info
        uint8_t op, pad[3];
        uint32_t arch;
        uint64_t ip, sp, number_or_result, args[6], ret_data;
    } info{};
    static_assert(sizeof(Info) == 88);
    uint64_t state_at = 0;
    if (!tracee.emulated || !get_field(tid, tracee.at, FIELD(state_at), state_at)) return -EIO;
    info.arch = t.abi.audit_arch;
    get_field(tid, state_at, offsetof(guest::VcpuHeader, pc), info.ip);
    get_field(tid, state_at, t.abi.reg.sp, info.sp);
    size_t bytes = 24;
    TraceOp op = TraceOp::kNone;
    if (tracee.stop == Stop::kGuest) get_field(tid, tracee.at, FIELD(op), op);
    info.op = static_cast<uint8_t>(op);
    if (op == TraceOp::kEntry || op == TraceOp::kSeccomp) {
        get_field(tid, tracee.at, FIELD(number), info.number_or_result);
        get_field(tid, tracee.at, FIELD(args), info.args);
        bytes = op == TraceOp::kEntry ? 80 : 84;
        if (op == TraceOp::kSeccomp) get_field(tid, tracee.at, FIELD(message), info.ret_data);
    } else if (op == TraceOp::kExit) {
        int64_t result = 0;
        get_field(tid, tracee.at, FIELD(result), result);
        info.number_or_result = static_cast<uint64_t>(result);
        info.args[0] = result < 0 && result >= -4095 ? 1 : 0;  // is_error
        bytes = 33;
    }
    if (t.memory.copy_out(to, &info, std::min<size_t>(bytes, size)) != 0) return -EFAULT;
    return static_cast<int64_t>(bytes);
}

int64_t Tracer::request(Thread& t, uint64_t what, pid_t tid, uint64_t addr, uint64_t data) {
    const std::lock_guard l(lock_);
    Tracee* found = find(tid);
    if (found == nullptr) return -ESRCH;
    Tracee& tracee = *found;
    if (what == kInterrupt) {
        if (tracee.stop != Stop::kRunning || !tracee.emulated) return host_ptrace(PTRACE_INTERRUPT, tid);
        put_field(tid, tracee.at, FIELD(interrupt), uint32_t{1});
        return host_syscall(SYS_tkill, static_cast<uint64_t>(tid), SIGTRAP);
    }
    if (what == kKill) return host_syscall(SYS_kill, static_cast<uint64_t>(tid), SIGKILL);
    if (tracee.stop == Stop::kRunning) return -ESRCH;
    const bool guest = tracee.stop == Stop::kGuest;
    switch (what) {
        case kPeekText: case kPeekData: {
            uint64_t v = 0, base = 0;
            if (tracee.emulated) get_field(tid, tracee.at, FIELD(guest_base), base);
            if (!read_remote(tid, addr + base, &v, sizeof v)) {
                // Pages that the guest may not read either.
                if (host_ptrace(PTRACE_PEEKDATA, tid, addr + base, arg(&v)) != 0) return -EIO;
            }
            return t.memory.put(data, v);
        }
        case kPokeText: case kPokeData: {
            uint64_t base = 0;
            if (tracee.emulated) get_field(tid, tracee.at, FIELD(guest_base), base);
            const int64_t r = host_ptrace(PTRACE_POKEDATA, tid, addr + base, data);
            if (r == 0) note_poke(addr, 8);
            return r == 0 ? 0 : -EIO;
        }
        case kCont: return go_on(tid, tracee, TraceResume::kCont, data);
        case kSyscall: return go_on(tid, tracee, TraceResume::kSyscall, data);
        case kSingleStep: return go_on(tid, tracee, TraceResume::kStep, data);
        case kDetach: {
            if (data > kSignals) return -EIO;
            if (tracee.emulated && !tracee.vfork_parent) {
                put_field(tid, tracee.at, FIELD(resume), TraceResume::kCont);
                put_field(tid, tracee.at, FIELD(inject), static_cast<int32_t>(data));
                put_field(tid, tracee.at, FIELD(on), uint32_t{0});
                if (guest) put_field(tid, tracee.at, FIELD(resumed), uint32_t{1});
            }
            const int64_t r = host_ptrace(PTRACE_DETACH, tid, 0, guest ? 0 : data);
            tracees_.erase(tid);
            return r;
        }
        case kSetOptions: {
            if ((data & ~kKnownOptions) != 0) return -EINVAL;
            if (tracee.emulated) put_field(tid, tracee.at, FIELD(options), static_cast<uint32_t>(data));
            return host_ptrace(PTRACE_SETOPTIONS, tid, 0, PTRACE_O_TRACEEXEC | (data & kHostOptions));
        }
        case kGetEventMsg: {
            uint64_t message = 0;
            if (guest) get_field(tid, tracee.at, FIELD(message), message);
            else if (const int64_t r = host_ptrace(PTRACE_GETEVENTMSG, tid, 0, arg(&message)); r != 0) return r;
            return t.memory.put(data, message);
        }
        case kGetSigInfo: {
            siginfo_t info{};
            if (guest) {
                uint32_t has = 0;
                get_field(tid, tracee.at, FIELD(has_info), has);
                if (has == 0) return -EINVAL;
                get_field(tid, tracee.at, FIELD(info), info);
            } else if (const int64_t r = host_ptrace(PTRACE_GETSIGINFO, tid, 0, arg(&info)); r != 0) {
                return r;
            }
            return t.memory.put(data, info);
        }
        case kSetSigInfo: {
            siginfo_t info;
            if (t.memory.get(data, info) != 0) return -EFAULT;
            if (!guest) return host_ptrace(PTRACE_SETSIGINFO, tid, 0, arg(&info));
            return put_field(tid, tracee.at, FIELD(info), info) ? 0 : -ESRCH;
        }
        case kGetRegSet: return registers(t, tid, tracee, static_cast<uint32_t>(addr), data, false);
        case kSetRegSet: return registers(t, tid, tracee, static_cast<uint32_t>(addr), data, true);
        case kListen: {
            tracee.stop = Stop::kRunning;
            return host_ptrace(PTRACE_LISTEN, tid);
        }
        case kGetSigMask: case kSetSigMask: {
            if (addr != 8) return -EINVAL;
            uint64_t mask = 0;
            if (!tracee.emulated) return -EIO;
            if (what == kGetSigMask) {
                if (!get_field(tid, tracee.at, FIELD(sigmask), mask)) return -ESRCH;
                return t.memory.put(data, mask);
            }
            if (t.memory.get(data, mask) != 0) return -EFAULT;
            return put_field(tid, tracee.at, FIELD(sigmask), mask) && put_field(tid, tracee.at, FIELD(mask_changed), uint32_t{1}) ? 0 : -ESRCH;
        }
        case kGetSyscallInfo: return syscall_info(t, tid, tracee, addr, data);
        default: return -EIO;
    }
}

int64_t call_ptrace(Thread& t, const uint64_t* a) {
    const auto tid = static_cast<pid_t>(a[1]);
    switch (a[0]) {
        case kTraceMe: {
            const int64_t r = host_ptrace(PTRACE_TRACEME, 0);
            if (r != 0) return r;
            t.trace.seized = 0;
            t.trace.options = 0;
            t.trace.resume = TraceResume::kCont;
            t.trace.on = 1;
            return 0;
        }
        case kAttach: return Tracer::of(t).attach(t, tid, false, 0);
        case kSeize: return a[2] != 0 ? -EIO : Tracer::of(t).attach(t, tid, true, a[3]);
        default: return Tracer::of(t).request(t, a[0], tid, a[2], a[3]);
    }
}

// ---- waiting

/// A wait for one thread of several must not leave another one inside of a fork, whose locks the first may want. The
/// options to wait with; what was added to them is WNOHANG.
int wait_options(Thread& t, bool one, uint64_t tid, uint64_t options) {
    const auto asked = static_cast<int>(options);
    if (!one || t.process.tracer.load() == nullptr || !Tracer::of(t).let_forks_go_on(static_cast<pid_t>(tid))) return asked;
    return asked | WNOHANG;
}

/// Nothing was there with the WNOHANG that wait_options added. Not 0: a signal has come.
int64_t pause_wait(Thread& t) {
    const timespec ms{0, 1'000'000};
    return t.syscall(SYS_nanosleep, arg(&ms), 0);
}

int64_t call_wait4(Thread& t, const uint64_t* a) {
    for (;;) {
        int status = 0;
        rusage usage;
        const int options = wait_options(t, static_cast<pid_t>(a[0]) > 0, a[0], a[2]);
        const int64_t r = t.syscall(SYS_wait4, a[0], arg(&status), static_cast<uint64_t>(options), a[3] != 0 ? arg(&usage) : 0);
        if (r == 0 && options != static_cast<int>(a[2])) {
            if (const int64_t e = pause_wait(t); e != 0) return e;
            continue;
        }
        if (r > 0) {
            const auto tid = static_cast<pid_t>(r);
            if (WIFSTOPPED(status)) {
                const auto shown = Tracer::of(t).stopped(t, tid, status);
                if (!shown) continue;
                status = *shown;
            } else if (!WIFCONTINUED(status) && t.process.tracer.load() != nullptr && !Tracer::of(t).ended(tid)) {
                continue;
            }
            if (a[1] != 0 && t.memory.put(a[1], status) != 0) return -EFAULT;
            if (a[3] != 0 && t.memory.put(a[3], usage) != 0) return -EFAULT;
        }
        return r;
    }
}

int64_t call_waitid(Thread& t, const uint64_t* a) {
    for (;;) {
        siginfo_t info{};
        rusage usage;
        const int options = wait_options(t, a[0] == P_PID, a[1], a[3]);
        const int64_t r = t.syscall(SYS_waitid, a[0], a[1], arg(&info), static_cast<uint64_t>(options), a[4] != 0 ? arg(&usage) : 0);
        if (r != 0) return r;
        if (info.si_signo == 0 && options != static_cast<int>(a[3])) {
            if (const int64_t e = pause_wait(t); e != 0) return e;
            continue;
        }
        if (info.si_signo == SIGCHLD) {
            if (info.si_code == CLD_TRAPPED || info.si_code == CLD_STOPPED) {
                const auto shown = Tracer::of(t).stopped(t, info.si_pid, info.si_status << 8 | 0x7f);
                if (!shown) continue;
                info.si_status = *shown >> 8;
            } else if (info.si_code != CLD_CONTINUED && (a[3] & WNOWAIT) == 0 && t.process.tracer.load() != nullptr &&
                       !Tracer::of(t).ended(info.si_pid)) {
                continue;
            }
        }
        if (a[2] != 0 && t.memory.put(a[2], info) != 0) return -EFAULT;
        if (a[4] != 0 && info.si_signo != 0 && t.memory.put(a[4], usage) != 0) return -EFAULT;
        return 0;
    }
}

}  // namespace myna::user
