// -strace: a system call a line, printed from its table row.
//
//   1234 openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC) = 3
//   1234 close(3)                       = 0
//   1234 connect(4, {sa_family=AF_UNIX, sun_path="/run/x"}, 110) = -1 ENOENT (No such file or directory)
//
// A call during which another thread of the process writes a line is printed in two:
//
//   1234 read(3,  <unfinished ...>
//   1235 write(4, "x", 1)               = 1
//   1234 <... read resumed>"x", 100)    = 1
//
// The format is strace's, so that what reads its output reads this. A letter of the row says how an argument is printed;
// kSpecial knows what a letter cannot tell.
#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <memory>
#include <mutex>
#include <utility>

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
    /// Results stand in one column where the call is short enough.
    void pad() {
        while (size_ < kResultColumn) text_[size_++] = ' ';
    }
    void copy(const Line& from) {
        std::memcpy(text_, from.text_, from.size_);
        size_ = from.size_;
    }
    void write(int fd) {
        text_[size_++] = '\n';
        host_syscall(SYS_write, static_cast<uint64_t>(fd), arg(text_), size_);
        size_ = 0;
    }

  private:
    static constexpr size_t kResultColumn = 39;
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

// ---- arguments that a letter of the table does not tell enough about

constexpr Name kAt[] = {{0x100, "AT_SYMLINK_NOFOLLOW"}, {0x200, "AT_REMOVEDIR"}, {0x400, "AT_SYMLINK_FOLLOW"}, {0x800, "AT_NO_AUTOMOUNT"}, {0x1000, "AT_EMPTY_PATH"}};
constexpr Name kSocketFlags[] = {{SOCK_NONBLOCK, "SOCK_NONBLOCK"}, {SOCK_CLOEXEC, "SOCK_CLOEXEC"}};
constexpr Name kSaFlags[] = {{SA_NOCLDSTOP, "SA_NOCLDSTOP"}, {SA_NOCLDWAIT, "SA_NOCLDWAIT"}, {SA_SIGINFO, "SA_SIGINFO"}, {0x04000000, "SA_RESTORER"},
    {SA_ONSTACK, "SA_ONSTACK"}, {SA_RESTART, "SA_RESTART"}, {SA_NODEFER, "SA_NODEFER"}, {SA_RESETHAND, "SA_RESETHAND"}};
constexpr Name kEvents[] = {{1, "IN"}, {2, "PRI"}, {4, "OUT"}, {8, "ERR"}, {16, "HUP"}, {0x2000, "RDHUP"}, {1u << 30, "ONESHOT"}, {1u << 31, "ET"}};
constexpr Name kWait[] = {{WNOHANG, "WNOHANG"}, {WUNTRACED, "WUNTRACED"}, {WCONTINUED, "WCONTINUED"}, {0x40000000, "__WALL"}};
constexpr Name kRandom[] = {{1, "GRND_NONBLOCK"}, {2, "GRND_RANDOM"}};
constexpr const char* kSocketTypes[] = {"0", "SOCK_STREAM", "SOCK_DGRAM", "SOCK_RAW", "SOCK_RDM", "SOCK_SEQPACKET"};
constexpr const char* kHow[] = {"SIG_BLOCK", "SIG_UNBLOCK", "SIG_SETMASK"};
constexpr const char* kLimits[] = {"RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CORE", "RLIMIT_RSS", "RLIMIT_NPROC", "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK", "RLIMIT_AS", "RLIMIT_LOCKS", "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_RTTIME"};
constexpr const char* kEpollOps[] = {"0", "EPOLL_CTL_ADD", "EPOLL_CTL_DEL", "EPOLL_CTL_MOD"};

template <typename T>
T field(const uint8_t* bytes, size_t at) {
    T v;
    std::memcpy(&v, bytes + at, sizeof v);
    return v;
}

/// struct stat of the asm-generic ABIs.
void file_status(Thread& t, Line& l, const uint64_t* a, unsigned n) {
    uint8_t s[128];
    if (t.memory.copy_in(s, a[n], sizeof s) != 0) return address(l, a[n]);
    const auto mode = field<uint32_t>(s, 16);
    static constexpr const char* kTypes[] = {"0", "S_IFIFO", "S_IFCHR", "3", "S_IFDIR", "5", "S_IFBLK", "7", "S_IFREG", "9", "S_IFLNK", "11", "S_IFSOCK", "13", "14", "15"};
    l.add("{st_mode=%s%s%s%s|%#o, ", kTypes[mode >> 12], (mode & 04000) != 0 ? "|S_ISUID" : "", (mode & 02000) != 0 ? "|S_ISGID" : "", (mode & 01000) != 0 ? "|S_ISVTX" : "", mode & 0777);
    if ((mode >> 12) == 2 || (mode >> 12) == 6) {
        const auto device = field<uint64_t>(s, 32);
        l.add("st_rdev=makedev(%#x, %#x), ...}", major(device), minor(device));
    } else {
        l.add("st_size=%llu, ...}", static_cast<unsigned long long>(field<uint64_t>(s, 48)));
    }
}
void at_flags(Thread&, Line& l, const uint64_t* a, unsigned n) { flags(l, a[n], kAt, "0"); }
void descriptors(Thread& t, Line& l, const uint64_t* a, unsigned n) {
    int32_t fd[2];
    if (t.memory.get(a[n], fd) != 0) return address(l, a[n]);
    l.add("[%d, %d]", fd[0], fd[1]);
}
void vector(Thread& t, Line& l, const uint64_t* a, unsigned n) {
    l.add("[");
    for (uint64_t i = 0; i < std::min<uint64_t>(a[n + 1], 16); ++i) {
        uint64_t v[2];
        if (t.memory.get(a[n] + i * 16, v) != 0) break;
        l.add(i != 0 ? ", {iov_base=" : "{iov_base=");
        bytes(t, l, v[0], v[1]);
        l.add(", iov_len=%llu}", static_cast<unsigned long long>(v[1]));
    }
    l.add(a[n + 1] > 16 ? ", ...]" : "]");
}
void poll_set(Thread& t, Line& l, const uint64_t* a, unsigned n) {
    l.add("[");
    for (uint64_t i = 0; i < std::min<uint64_t>(a[n + 1], 32); ++i) {
        uint8_t p[8];
        if (t.memory.copy_in(p, a[n] + i * 8, 8) != 0) break;
        l.add("%s{fd=%d, events=", i != 0 ? ", " : "", field<int32_t>(p, 0));
        const auto events = field<uint16_t>(p, 4);
        bool any = false;
        for (const Name& e : kEvents)
            if (e.value < 0x10000 && (events & e.value) != 0) l.add("%sPOLL%s", std::exchange(any, true) ? "|" : "", e.name);
        l.add(any ? "}" : "0}");
    }
    l.add("]");
}
void epoll_events(Thread& t, Line& l, uint64_t at) {
    uint8_t e[16];
    if (t.memory.copy_in(e, at, 16) != 0) return address(l, at);
    const auto events = field<uint32_t>(e, 0);
    l.add("{events=");
    bool any = false;
    for (const Name& k : kEvents)
        if ((events & k.value) != 0) l.add("%sEPOLL%s", std::exchange(any, true) ? "|" : "", k.name);
    l.add("%s, data={u32=%u, u64=%llu}}", any ? "" : "0", field<uint32_t>(e, 8), static_cast<unsigned long long>(field<uint64_t>(e, 8)));
}
void epoll_event_in(Thread& t, Line& l, const uint64_t* a, unsigned n) {
    if (a[n] == 0) l.add("NULL");
    else epoll_events(t, l, a[n]);
}
void socket_type(Thread&, Line& l, const uint64_t* a, unsigned n) {
    one_of(l, a[n] & 0xf, kSocketTypes);
    if ((a[n] & ~uint64_t{0xf}) != 0) {
        l.add("|");
        flags(l, a[n] & ~uint64_t{0xf}, kSocketFlags, "0");
    }
}
void socket_address(Thread& t, Line& l, const uint64_t* a, unsigned n) {
    sockaddr_storage s{};
    const auto size = std::min<uint64_t>(a[n + 1], sizeof s);
    if (a[n] == 0 || size < 2 || t.memory.copy_in(&s, a[n], size) != 0) return address(l, a[n]);
    char text[INET6_ADDRSTRLEN];
    if (s.ss_family == AF_INET) {
        const auto& in = reinterpret_cast<const sockaddr_in&>(s);
        l.add("{sa_family=AF_INET, sin_port=htons(%u), sin_addr=inet_addr(\"%s\")}", ntohs(in.sin_port), inet_ntop(AF_INET, &in.sin_addr, text, sizeof text));
    } else if (s.ss_family == AF_INET6) {
        const auto& in = reinterpret_cast<const sockaddr_in6&>(s);
        l.add("{sa_family=AF_INET6, sin6_port=htons(%u), sin6_flowinfo=htonl(%u), inet_pton(AF_INET6, \"%s\", &sin6_addr), sin6_scope_id=%u}", ntohs(in.sin6_port),
              ntohl(in.sin6_flowinfo), inet_ntop(AF_INET6, &in.sin6_addr, text, sizeof text), in.sin6_scope_id);
    } else if (s.ss_family == AF_UNIX) {
        const auto& un = reinterpret_cast<const sockaddr_un&>(s);
        l.add("{sa_family=AF_UNIX");
        if (size > 2) {
            l.add(un.sun_path[0] == '\0' ? ", sun_path=@" : ", sun_path=");
            const size_t skip = un.sun_path[0] == '\0' ? 1 : 0;
            quoted(l, un.sun_path + skip, skip != 0 ? size - 3 : strnlen(un.sun_path, size - 2), false);
        }
        l.add("}");
    } else {
        l.add("{sa_family=%u, ...}", s.ss_family);
    }
}
void action(Thread& t, Line& l, const uint64_t* a, unsigned n) {
    uint64_t w[4] = {};
    const bool restorer = t.abi.sa_restorer;
    if (a[n] == 0 || t.memory.copy_in(w, a[n], restorer ? 32 : 24) != 0) return address(l, a[n]);
    if (w[0] < 2) l.add("{sa_handler=%s, sa_mask=", w[0] == 0 ? "SIG_DFL" : "SIG_IGN");
    else l.add("{%s=0x%llx, sa_mask=", (w[1] & SA_SIGINFO) != 0 ? "sa_sigaction" : "sa_handler", static_cast<unsigned long long>(w[0]));
    mask(t, l, a[n] + (restorer ? 24 : 16));
    l.add(", sa_flags=");
    flags(l, w[1], kSaFlags, "0");
    if ((w[1] & 0x04000000) != 0) l.add(", sa_restorer=0x%llx", static_cast<unsigned long long>(w[2]));
    l.add("}");
}
void how(Thread&, Line& l, const uint64_t* a, unsigned n) { one_of(l, a[n], kHow); }
void mask_out(Thread& t, Line& l, const uint64_t* a, unsigned n) { mask(t, l, a[n]); }
void limit_name(Thread&, Line& l, const uint64_t* a, unsigned n) { one_of(l, a[n], kLimits); }
void limit(Thread& t, Line& l, const uint64_t* a, unsigned n) {
    uint64_t v[2];
    if (a[n] == 0 || t.memory.get(a[n], v) != 0) return address(l, a[n]);
    for (unsigned i = 0; i < 2; ++i) {
        l.add(i == 0 ? "{rlim_cur=" : ", rlim_max=");
        if (v[i] == ~uint64_t{0}) l.add("RLIM64_INFINITY");
        else if (v[i] > 1024 && v[i] % 1024 == 0) l.add("%llu*1024", static_cast<unsigned long long>(v[i] / 1024));
        else l.add("%llu", static_cast<unsigned long long>(v[i]));
    }
    l.add("}");
}
void ioctl_name(Thread&, Line& l, const uint64_t* a, unsigned n) {
    static constexpr Name kIoctls[] = {{0x5401, "TCGETS"}, {0x5402, "TCSETS"}, {0x5403, "TCSETSW"}, {0x5404, "TCSETSF"}, {0x540e, "TIOCSCTTY"}, {0x540f, "TIOCGPGRP"},
        {0x5410, "TIOCSPGRP"}, {0x5413, "TIOCGWINSZ"}, {0x5414, "TIOCSWINSZ"}, {0x541b, "FIONREAD"}, {0x5421, "FIONBIO"}, {0x5450, "FIONCLEX"}, {0x5451, "FIOCLEX"},
        {0x8912, "SIOCGIFCONF"}, {0x8913, "SIOCGIFFLAGS"}, {0x40049409, "FICLONE"}, {0x80045430, "TIOCGPTN"}, {0x40045431, "TIOCSPTLCK"}};
    for (const Name& i : kIoctls)
        if (i.value == a[n]) return l.add("%s", i.name);
    l.add("0x%llx", static_cast<unsigned long long>(a[n]));
}
void system_name(Thread& t, Line& l, const uint64_t* a, unsigned n) {
    char names[2][65];
    if (t.memory.get(a[n], names) != 0) return address(l, a[n]);
    l.add("{sysname=\"%.64s\", nodename=\"%.64s\", ...}", names[0], names[1]);
}
void wait_status(Thread& t, Line& l, const uint64_t* a, unsigned n) {
    int32_t s = 0;
    if (a[n] == 0 || t.memory.get(a[n], s) != 0) return address(l, a[n]);
    if (WIFEXITED(s)) {
        l.add("[{WIFEXITED(s) && WEXITSTATUS(s) == %d}]", WEXITSTATUS(s));
    } else {
        l.add(WIFSIGNALED(s) ? "[{WIFSIGNALED(s) && WTERMSIG(s) == " : "[{WIFSTOPPED(s) && WSTOPSIG(s) == ");
        signal_name(l, WIFSIGNALED(s) ? WTERMSIG(s) : WSTOPSIG(s));
        l.add(WIFSIGNALED(s) && WCOREDUMP(s) ? " && WCOREDUMP(s)}]" : "}]");
    }
}
void wait_options(Thread&, Line& l, const uint64_t* a, unsigned n) { flags(l, a[n], kWait, "0"); }
void epoll_flags(Thread&, Line& l, const uint64_t* a, unsigned n) { l.add(a[n] == O_CLOEXEC ? "EPOLL_CLOEXEC" : "%llu", static_cast<unsigned long long>(a[n])); }
void epoll_op(Thread&, Line& l, const uint64_t* a, unsigned n) { one_of(l, a[n], kEpollOps); }
void random_flags(Thread&, Line& l, const uint64_t* a, unsigned n) { flags(l, a[n], kRandom, "0"); }
void fcntl_argument(Thread& t, Line& l, const uint64_t* a, unsigned n) {
    if (a[1] == F_SETFD) l.add((a[n] & FD_CLOEXEC) != 0 ? "FD_CLOEXEC" : "0");
    else if (a[1] == F_SETFL) flags(l, host_open_flags(t.abi, a[n]), kOpen, "O_RDONLY");
    else if (a[1] == F_DUPFD || a[1] == 1030) l.add("%lld", static_cast<long long>(a[n]));
    else address(l, a[n]);
}

/// How an argument is printed; `after`: the kernel fills it, so only once the call was made.
struct Special {
    std::string_view call;
    unsigned argument;
    bool after;
    void (*print)(Thread& t, Line& l, const uint64_t* a, unsigned n);
};
constexpr Special kSpecial[] = {
    {"newfstatat", 2, true, file_status}, {"newfstatat", 3, true, at_flags}, {"fstat", 1, true, file_status}, {"unlinkat", 2, false, at_flags},
    {"faccessat2", 3, false, at_flags}, {"linkat", 4, false, at_flags}, {"fchownat", 4, false, at_flags}, {"pipe2", 0, true, descriptors}, {"socketpair", 3, true, descriptors},
    {"writev", 1, false, vector}, {"readv", 1, true, vector}, {"ppoll", 0, false, poll_set}, {"socket", 1, false, socket_type},
    {"socketpair", 1, false, socket_type}, {"connect", 1, false, socket_address}, {"bind", 1, false, socket_address}, {"sendto", 4, false, socket_address},
    {"rt_sigaction", 1, false, action}, {"rt_sigaction", 2, true, action}, {"rt_sigprocmask", 0, false, how}, {"rt_sigprocmask", 2, true, mask_out},
    {"prlimit64", 1, false, limit_name}, {"prlimit64", 2, false, limit}, {"prlimit64", 3, true, limit}, {"ioctl", 1, false, ioctl_name},
    {"uname", 0, true, system_name}, {"wait4", 1, true, wait_status}, {"wait4", 2, true, wait_options}, {"epoll_create1", 0, false, epoll_flags},
    {"epoll_ctl", 1, false, epoll_op}, {"epoll_ctl", 3, false, epoll_event_in}, {"getrandom", 2, true, random_flags}, {"fcntl", 2, false, fcntl_argument},
};
const Special* special(const SyscallRow& row, unsigned n) {
    for (const Special& s : kSpecial)
        if (s.argument == n && s.call == row.name) return &s;
    return nullptr;
}

/// Arguments that the kernel fills are printed after the call.
void arguments(Thread& t, Line& l, const SyscallRow& row, const uint64_t* a, unsigned from, unsigned to, int64_t result, bool resumed = false) {
    for (unsigned n = from; n < to; ++n) {
        if (n != 0 && !(resumed && n == from)) l.add(", ");
        if (const Special* s = special(row, n); s != nullptr && (!s->after || result >= 0)) s->print(t, l, a, n);
        else if (row.args[n] == 'B' && result > 0) bytes(t, l, a[n], static_cast<uint64_t>(result));
        else if (row.args[n] == 't' && result == 0) time_spec(t, l, a[n]);
        else argument(t, l, row, n, a);
    }
}

unsigned first_filled(const SyscallRow& row) {
    unsigned n = 0;
    while (row.args[n] != '\0' && row.args[n] != 'B' && row.args[n] != 't') {
        if (const Special* s = special(row, n); s != nullptr && s->after) break;
        ++n;
    }
    return n;
}

long long thread_number() { return static_cast<long long>(host_syscall(SYS_gettid)); }

}  // namespace

/// The line whose call is under way: it is written when the call is done, or cut when another thread writes before that.
class StraceLog {
  public:
    static StraceLog& of(Process& p) {
        StraceLog* l = p.strace_log.load();
        if (l == nullptr) {
            auto fresh = std::make_unique<StraceLog>(p.log_fd);
            if (p.strace_log.compare_exchange_strong(l, fresh.get())) l = fresh.release();
        }
        return *l;
    }
    explicit StraceLog(int fd) : fd_(fd) {}

    void begin(const Thread& t, const Line& l) {
        const std::lock_guard g(lock_);
        cut();
        line_.copy(l);
        owner_ = &t;
    }
    /// The call is done. False: its line was cut, the rest needs a beginning of its own.
    bool done(const Thread& t) {
        const std::lock_guard g(lock_);
        if (owner_ != &t) return false;
        owner_ = nullptr;
        return true;
    }
    void write(Line& l) {
        const std::lock_guard g(lock_);
        cut();
        l.write(fd_);
    }

  private:
    void cut() {
        if (std::exchange(owner_, nullptr) == nullptr) return;
        line_.add(" <unfinished ...>");
        line_.write(fd_);
    }
    const int fd_;
    std::mutex lock_;
    const Thread* owner_ = nullptr;
    Line line_;
};

int64_t traced_call(Thread& t, const SyscallRow& row, const uint64_t* a) {
    Line l;
    auto count = static_cast<unsigned>(std::strlen(row.args));
    // open's mode counts only for files it makes.
    if (row.handler == call_openat && (host_open_flags(t.abi, a[2]) & (O_CREAT | 020000000)) == 0) count = 3;
    StraceLog& log = StraceLog::of(t.process);
    l.add("%lld %s(", thread_number(), row.name);
    const unsigned before = std::min(first_filled(row), count);
    arguments(t, l, row, a, 0, before, 0);
    // What may not come back, or comes back twice, is printed first.
    const std::string_view name = row.name;
    const bool leaves = name == "execve" || name == "execveat" || name.starts_with("clone") || name == "rt_sigreturn";
    if (name.starts_with("exit")) {
        l.add(")");
        l.pad();
        l.add(" = ?");
        log.write(l);
        return row.handler(t, a);
    }
    if (leaves) {
        l.add(" <unfinished ...>");
        log.write(l);
    } else {
        Line beginning;
        beginning.copy(l);
        if (before != 0 && before < count) beginning.add(", ");
        log.begin(t, beginning);
    }
    const int64_t r = row.handler(t, a);
    const bool whole = !leaves && log.done(t);
    if (r == kNoReturnValue) return r;
    if (!whole) {
        Line rest;
        rest.add("%lld <... %s resumed>", thread_number(), row.name);  // a child prints its own
        l.copy(rest);
    }
    if (!leaves) arguments(t, l, row, a, before, count, r, !whole);
    l.add(")");
    l.pad();
    if (r == kRestartSys) l.add(" = ? ERESTARTSYS (To be restarted)");
    else if (r < 0 && r >= -4095) l.add(" = -1 %s (%s)", strerrorname_np(static_cast<int>(-r)) != nullptr ? strerrorname_np(static_cast<int>(-r)) : "?", strerrordesc_np(static_cast<int>(-r)));
    else if (static_cast<uint64_t>(r) > 0xffffffff || name == "brk" || name == "mmap") l.add(" = 0x%llx", static_cast<unsigned long long>(r));
    else l.add(" = %lld", static_cast<long long>(r));
    StraceLog::of(t.process).write(l);  // a forked child has one of its own
    return r;
}

void trace_signal(Thread& t, const siginfo_t& info) {
    Line l;
    l.add("%lld --- ", thread_number());
    signal_name(l, info.si_signo);
    l.add(" {si_signo=");
    signal_name(l, info.si_signo);
    static constexpr const char* kChild[] = {"0", "CLD_EXITED", "CLD_KILLED", "CLD_DUMPED", "CLD_TRAPPED", "CLD_STOPPED", "CLD_CONTINUED"};
    static constexpr const char* kSegv[] = {"0", "SEGV_MAPERR", "SEGV_ACCERR"};
    const int code = info.si_code;
    if (code == SI_USER) l.add(", si_code=SI_USER");
    else if (code == SI_TKILL) l.add(", si_code=SI_TKILL");
    else if (code == SI_QUEUE) l.add(", si_code=SI_QUEUE");
    else if (code == SI_KERNEL) l.add(", si_code=SI_KERNEL");
    else if (info.si_signo == SIGCHLD && code > 0 && code <= 6) l.add(", si_code=%s", kChild[code]);
    else if (info.si_signo == SIGSEGV && code > 0 && code <= 2) l.add(", si_code=%s", kSegv[code]);
    else l.add(", si_code=%d", code);
    if (code > 0 && (sigbit(info.si_signo) & kFaultSignals) != 0) l.add(", si_addr=%p", info.si_addr);
    else l.add(", si_pid=%d, si_uid=%d", info.si_pid, static_cast<int>(info.si_uid));
    if (info.si_signo == SIGCHLD) l.add(", si_status=%d", info.si_status);
    l.add("} ---");
    StraceLog::of(t.process).write(l);
}

int64_t unknown_call(Thread& t, uint64_t number, const char* name) {
    Process& p = t.process;
    if (p.strace) {
        Line l;
        l.add("%lld %s(", thread_number(), name != nullptr ? name : "?");
        if (name == nullptr) l.add("system call %llu", static_cast<unsigned long long>(number));
        l.add(") = -1 ENOSYS (Function not implemented)");
        StraceLog::of(p).write(l);
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
