// -strace: a system call a line, printed from its table row.
//
//   1234 openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC) = 3
//   1234 read(3, "root:x:0:0:"..., 4096) = 1204
//   1234 connect(4, {sa_family=AF_UNIX…}, 110) = -1 ENOENT (No such file or directory)
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <ctime>

#include "user/linux/syscalls/calls.h"
#include "user/linux/syscalls/table.h"

namespace myna::user {

namespace {

/// One line, written at once.
class Line {
  public:
    [[gnu::format(printf, 2, 3)]] void add(const char* format, ...) {
        va_list v;
        va_start(v, format);
        const int n = std::vsnprintf(text_ + size_, sizeof text_ - size_, format, v);
        va_end(v);
        if (n > 0) size_ = std::min(size_ + static_cast<size_t>(n), sizeof text_ - 2);
    }
    void write(int fd) {
        text_[size_++] = '\n';
        host_syscall(SYS_write, static_cast<uint64_t>(fd), arg(text_), size_);
        size_ = 0;
    }

  private:
    char text_[4096];
    size_t size_ = 0;
};

struct Name {
    uint64_t value;
    const char* name;
};

constexpr Name kOpen[] = {{O_WRONLY, "O_WRONLY"}, {O_RDWR, "O_RDWR"}, {O_CREAT, "O_CREAT"}, {O_EXCL, "O_EXCL"}, {O_NOCTTY, "O_NOCTTY"},
    {O_TRUNC, "O_TRUNC"}, {O_APPEND, "O_APPEND"}, {O_NONBLOCK, "O_NONBLOCK"}, {O_DIRECT, "O_DIRECT"}, {0100000, "O_LARGEFILE"},
    {020000000 | O_DIRECTORY, "O_TMPFILE"}, {O_DIRECTORY, "O_DIRECTORY"}, {O_NOFOLLOW, "O_NOFOLLOW"}, {O_CLOEXEC, "O_CLOEXEC"}, {O_PATH, "O_PATH"},
    {O_NOATIME, "O_NOATIME"}, {04010000, "O_SYNC"}, {O_DSYNC, "O_DSYNC"}};
constexpr Name kProt[] = {{PROT_READ, "PROT_READ"}, {PROT_WRITE, "PROT_WRITE"}, {PROT_EXEC, "PROT_EXEC"}};
constexpr Name kMap[] = {{MAP_SHARED_VALIDATE, "MAP_SHARED_VALIDATE"}, {MAP_SHARED, "MAP_SHARED"}, {MAP_PRIVATE, "MAP_PRIVATE"}, {MAP_FIXED, "MAP_FIXED"}, {MAP_ANONYMOUS, "MAP_ANONYMOUS"},
    {MAP_GROWSDOWN, "MAP_GROWSDOWN"}, {MAP_DENYWRITE, "MAP_DENYWRITE"}, {MAP_LOCKED, "MAP_LOCKED"}, {MAP_NORESERVE, "MAP_NORESERVE"}, {MAP_POPULATE, "MAP_POPULATE"},
    {MAP_NONBLOCK, "MAP_NONBLOCK"}, {MAP_STACK, "MAP_STACK"}, {MAP_HUGETLB, "MAP_HUGETLB"}, {0x100000, "MAP_FIXED_NOREPLACE"}};
constexpr Name kClone[] = {{CLONE_VM, "CLONE_VM"}, {CLONE_FS, "CLONE_FS"}, {CLONE_FILES, "CLONE_FILES"}, {CLONE_SIGHAND, "CLONE_SIGHAND"}, {CLONE_VFORK, "CLONE_VFORK"},
    {CLONE_PARENT, "CLONE_PARENT"}, {CLONE_THREAD, "CLONE_THREAD"}, {CLONE_NEWNS, "CLONE_NEWNS"}, {CLONE_SYSVSEM, "CLONE_SYSVSEM"}, {CLONE_SETTLS, "CLONE_SETTLS"},
    {CLONE_PARENT_SETTID, "CLONE_PARENT_SETTID"}, {CLONE_CHILD_CLEARTID, "CLONE_CHILD_CLEARTID"}, {CLONE_CHILD_SETTID, "CLONE_CHILD_SETTID"},
    {CLONE_NEWUSER, "CLONE_NEWUSER"}, {CLONE_NEWPID, "CLONE_NEWPID"}, {CLONE_NEWNET, "CLONE_NEWNET"}, {CLONE_NEWIPC, "CLONE_NEWIPC"}, {CLONE_NEWUTS, "CLONE_NEWUTS"}};
constexpr Name kAccess[] = {{4, "R_OK"}, {2, "W_OK"}, {1, "X_OK"}};
constexpr const char* kFutex[] = {"FUTEX_WAIT", "FUTEX_WAKE", "FUTEX_FD", "FUTEX_REQUEUE", "FUTEX_CMP_REQUEUE", "FUTEX_WAKE_OP", "FUTEX_LOCK_PI", "FUTEX_UNLOCK_PI",
    "FUTEX_TRYLOCK_PI", "FUTEX_WAIT_BITSET", "FUTEX_WAKE_BITSET", "FUTEX_WAIT_REQUEUE_PI", "FUTEX_CMP_REQUEUE_PI", "FUTEX_LOCK_PI2"};
constexpr const char* kClocks[] = {"CLOCK_REALTIME", "CLOCK_MONOTONIC", "CLOCK_PROCESS_CPUTIME_ID", "CLOCK_THREAD_CPUTIME_ID", "CLOCK_MONOTONIC_RAW",
    "CLOCK_REALTIME_COARSE", "CLOCK_MONOTONIC_COARSE", "CLOCK_BOOTTIME"};
constexpr const char* kFcntl[] = {"F_DUPFD", "F_GETFD", "F_SETFD", "F_GETFL", "F_SETFL", "F_GETLK", "F_SETLK", "F_SETLKW"};
constexpr const char* kWhence[] = {"SEEK_SET", "SEEK_CUR", "SEEK_END", "SEEK_DATA", "SEEK_HOLE"};

template <size_t N>
void flags(Line& l, uint64_t v, const Name (&names)[N], const char* none) {
    bool any = false;
    for (const Name& n : names) {
        if (n.value == 0 || (v & n.value) != n.value) continue;
        l.add("%s%s", any ? "|" : "", n.name);
        v &= ~n.value;
        any = true;
    }
    if (v != 0) l.add("%s0x%llx", any ? "|" : "", static_cast<unsigned long long>(v));
    else if (!any) l.add("%s", none);
}
template <size_t N>
void one_of(Line& l, uint64_t v, const char* const (&names)[N]) {
    if (v < N) l.add("%s", names[v]);
    else l.add("%llu", static_cast<unsigned long long>(v));
}

void quoted(Line& l, const char* s, size_t n, bool cut) {
    l.add("\"");
    for (size_t i = 0; i < n; ++i) {
        const auto c = static_cast<unsigned char>(s[i]);
        if (c == '"' || c == '\\') l.add("\\%c", c);
        else if (c == '\n') l.add("\\n");
        else if (c == '\t') l.add("\\t");
        else if (c == '\r') l.add("\\r");
        else if (c >= 32 && c < 127) l.add("%c", c);
        else l.add("\\%o", c);
    }
    l.add(cut ? "\"..." : "\"");
}

void address(Line& l, uint64_t v) {
    if (v == 0) l.add("NULL");
    else l.add("0x%llx", static_cast<unsigned long long>(v));
}

void bytes(Thread& t, Line& l, uint64_t at, uint64_t size) {
    char text[32];
    const size_t n = std::min<uint64_t>(size, sizeof text);
    if (at == 0 || t.memory.copy_in(text, at, n) != 0) address(l, at);
    else quoted(l, text, n, size > n);
}

void string(Thread& t, Line& l, uint64_t at) {
    char text[1024];
    const int64_t n = at != 0 ? t.memory.get_string(at, text, sizeof text) : -EFAULT;
    if (n == -ENAMETOOLONG) quoted(l, text, sizeof text, true);
    else if (n < 0) address(l, at);
    else quoted(l, text, static_cast<size_t>(n), false);
}

void string_vector(Thread& t, Line& l, uint64_t at) {
    l.add("[");
    for (int i = 0; i < 32; ++i, at += 8) {
        uint64_t p = 0;
        if (t.memory.get(at, p) != 0 || p == 0) break;
        if (i != 0) l.add(", ");
        string(t, l, p);
    }
    l.add("]");
}

void signal_name(Line& l, int sig) {
    const char* name = sigabbrev_np(sig);
    if (name != nullptr) l.add("SIG%s", name);
    else if (sig >= 32 && sig <= 64) l.add("SIGRT_%d", sig - 32);
    else l.add("%d", sig);
}

void mask(Thread& t, Line& l, uint64_t at) {
    uint64_t m = 0;
    if (at == 0 || t.memory.get(at, m) != 0) return address(l, at);
    const bool inverse = m != 0 && __builtin_popcountll(m) > 32;
    if (inverse) m = ~m;
    l.add(inverse ? "~[" : "[");
    bool any = false;
    for (int sig = 1; sig <= 64; ++sig) {
        if ((m >> (sig - 1) & 1) == 0) continue;
        if (any) l.add(" ");
        const char* name = sigabbrev_np(sig);
        if (name != nullptr) l.add("%s", name);
        else l.add("RT_%d", sig - 32);
        any = true;
    }
    l.add("]");
}

void time_spec(Thread& t, Line& l, uint64_t at) {
    timespec ts;
    if (at == 0 || t.memory.get(at, ts) != 0) return address(l, at);
    l.add("{tv_sec=%lld, tv_nsec=%ld}", static_cast<long long>(ts.tv_sec), ts.tv_nsec);
}

void argument(Thread& t, Line& l, const SyscallRow& row, unsigned n, const uint64_t* a) {
    const uint64_t v = a[n];
    const auto signed32 = static_cast<int32_t>(v);
    switch (row.args[n]) {
        case 'd': case 'f': l.add("%d", signed32); break;
        case 'F': if (signed32 == AT_FDCWD) l.add("AT_FDCWD"); else l.add("%d", signed32); break;
        case 'u': l.add("%llu", static_cast<unsigned long long>(v)); break;
        case 'l': l.add("%lld", static_cast<long long>(v)); break;
        case 'o': l.add("%#o", static_cast<unsigned>(v)); break;
        case 's': case 'z': string(t, l, v); break;
        case 'b': bytes(t, l, v, a[n + 1]); break;
        case 'O':
            if ((v & O_ACCMODE) == O_RDONLY && (row.number == 56 || row.number == 437)) {
                l.add("O_RDONLY");
                if ((v & ~uint64_t{0x8000}) == 0) break;
                l.add("|");
            }
            flags(l, host_open_flags(t.abi, v), kOpen, "0");
            break;
        case 'P': flags(l, v, kProt, "PROT_NONE"); break;
        case 'M': flags(l, v, kMap, "0"); break;
        case 'c': {
            flags(l, v & ~uint64_t{0xff}, kClone, "0");
            if ((v & 0xff) != 0) {
                l.add("|");
                signal_name(l, static_cast<int>(v & 0xff));
            }
            break;
        }
        case 'n': flags(l, v, kAccess, "F_OK"); break;
        case 'k': one_of(l, v & 0x7f, kFutex); if ((v & 128) != 0) l.add("_PRIVATE"); break;
        case 'C': one_of(l, v, kClocks); break;
        case 'q': one_of(l, v, kFcntl); break;
        case 'w': one_of(l, v, kWhence); break;
        case 'S': signal_name(l, signed32); break;
        case 'g': mask(t, l, v); break;
        case 'T': time_spec(t, l, v); break;
        case 'v': string_vector(t, l, v); break;
        case 'A': l.add(v == AF_UNIX ? "AF_UNIX" : v == AF_INET ? "AF_INET" : v == AF_INET6 ? "AF_INET6" : v == AF_NETLINK ? "AF_NETLINK" : "%llu", static_cast<unsigned long long>(v)); break;
        case 'p': case 'i': case 'I': case 'a': case 't': case 'B': address(l, v); break;
        default: l.add(v < 10 ? "%llu" : "0x%llx", static_cast<unsigned long long>(v)); break;
    }
}

/// Arguments that the kernel fills are printed after the call.
void arguments(Thread& t, Line& l, const SyscallRow& row, const uint64_t* a, unsigned from, unsigned to, int64_t result) {
    for (unsigned n = from; n < to; ++n) {
        if (n != 0) l.add(", ");
        if (row.args[n] == 'B' && result > 0) bytes(t, l, a[n], static_cast<uint64_t>(result));
        else if (row.args[n] == 't' && result == 0) time_spec(t, l, a[n]);
        else argument(t, l, row, n, a);
    }
}

unsigned first_filled(const SyscallRow& row) {
    unsigned n = 0;
    while (row.args[n] != '\0' && row.args[n] != 'B' && row.args[n] != 't') ++n;
    return n;
}

}  // namespace

int64_t traced_call(Thread& t, const SyscallRow& row, const uint64_t* a) {
    Line l;
    auto count = static_cast<unsigned>(std::strlen(row.args));
    // open's mode counts only for files it makes.
    if (row.handler == call_openat && (host_open_flags(t.abi, a[2]) & (O_CREAT | 020000000)) == 0) count = 3;
    l.add("%lld %s(", static_cast<long long>(host_syscall(SYS_gettid)), row.name);
    const unsigned before = std::min(first_filled(row), count);
    arguments(t, l, row, a, 0, before, 0);
    // What may not come back, or comes back twice, is printed first.
    const std::string_view name = row.name;
    const bool leaves = name.starts_with("exit") || name == "execve" || name == "execveat" || name.starts_with("clone") || name == "rt_sigreturn";
    if (leaves) {
        l.add(")");
        l.write(t.process.log_fd);
        l.add("%lld <... %s resumed>", static_cast<long long>(host_syscall(SYS_gettid)), row.name);
    }
    const int64_t r = row.handler(t, a);
    if (r == kNoReturnValue) return r;
    if (!leaves) {
        arguments(t, l, row, a, before, count, r);
        l.add(")");
    }
    if (r == kRestartSys) l.add(" = ? ERESTARTSYS (To be restarted)");
    else if (r < 0 && r >= -4095) l.add(" = -1 %s (%s)", strerrorname_np(static_cast<int>(-r)) != nullptr ? strerrorname_np(static_cast<int>(-r)) : "?", strerrordesc_np(static_cast<int>(-r)));
    else if (static_cast<uint64_t>(r) > 0xffffffff || name == "brk" || name == "mmap") l.add(" = 0x%llx", static_cast<unsigned long long>(r));
    else l.add(" = %lld", static_cast<long long>(r));
    l.write(t.process.log_fd);
    return r;
}

void trace_signal(Thread& t, const siginfo_t& info) {
    Line l;
    l.add("%lld --- ", static_cast<long long>(host_syscall(SYS_gettid)));
    signal_name(l, info.si_signo);
    l.add(" {si_code=%d", info.si_code);
    if (info.si_code > 0 && (sigbit(info.si_signo) & kFaultSignals) != 0) l.add(", si_addr=%p", info.si_addr);
    else l.add(", si_pid=%d, si_uid=%d", info.si_pid, static_cast<int>(info.si_uid));
    l.add("} ---");
    l.write(t.process.log_fd);
}

int64_t unknown_call(Thread& t, uint64_t number, const char* name) {
    Process& p = t.process;
    if (p.strace) {
        Line l;
        l.add("%lld %s(", static_cast<long long>(host_syscall(SYS_gettid)), name != nullptr ? name : "?");
        if (name == nullptr) l.add("system call %llu", static_cast<unsigned long long>(number));
        l.add(") = -1 ENOSYS (Function not implemented)");
        l.write(p.log_fd);
    }
    if ((p.options.engine.log & jit::Log::kUnimp) != 0 && number < 512) {
        uint64_t& word = p.unknown_reported[number / 64];
        if ((word >> (number % 64) & 1) == 0) {
            word |= uint64_t{1} << (number % 64);
            Line l;
            l.add("%s: system call %llu (%s) is not implemented", p.options.called.c_str(), static_cast<unsigned long long>(number), name != nullptr ? name : "unknown");
            l.write(p.log_fd);
        }
    }
    return -ENOSYS;
}

}  // namespace myna::user
