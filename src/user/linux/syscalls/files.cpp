// Paths, descriptors, polling and sockets: what the host does not take as the guest gives it.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "user/linux/signals.h"
#include "user/linux/syscalls/calls.h"
#include "user/linux/syscalls/tracer.h"

#ifndef SYS_openat2
#define SYS_openat2 437
#endif

namespace myna::user {

namespace {

/// struct stat of asm-generic (LP64).
struct GenericStat {
    uint64_t dev, ino;
    uint32_t mode, nlink, uid, gid;
    uint64_t rdev, pad1;
    int64_t size;
    int32_t blksize, pad2;
    int64_t blocks, atime;
    uint64_t atime_nsec;
    int64_t mtime;
    uint64_t mtime_nsec;
    int64_t ctime;
    uint64_t ctime_nsec;
    uint32_t unused[2];
};
static_assert(sizeof(GenericStat) == 128);

int64_t put_stat(Thread& t, uint64_t at, const struct stat& h) {
    GenericStat g{};
    g.dev = h.st_dev;
    g.ino = h.st_ino;
    g.mode = h.st_mode;
    g.nlink = static_cast<uint32_t>(h.st_nlink);
    g.uid = h.st_uid;
    g.gid = h.st_gid;
    g.rdev = h.st_rdev;
    g.size = h.st_size;
    g.blksize = static_cast<int32_t>(h.st_blksize);
    g.blocks = h.st_blocks;
    g.atime = h.st_atim.tv_sec;
    g.atime_nsec = static_cast<uint64_t>(h.st_atim.tv_nsec);
    g.mtime = h.st_mtim.tv_sec;
    g.mtime_nsec = static_cast<uint64_t>(h.st_mtim.tv_nsec);
    g.ctime = h.st_ctim.tv_sec;
    g.ctime_nsec = static_cast<uint64_t>(h.st_ctim.tv_nsec);
    return t.memory.put(at, g);
}

/// struct epoll_event: packed on x86-64, naturally aligned elsewhere.
struct GuestEpollEvent {
    uint32_t events, pad;
    uint64_t data;
};
static_assert(sizeof(epoll_event) == 12 && sizeof(GuestEpollEvent) == 16);

int64_t put_events(Thread& t, uint64_t at, const epoll_event* events, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
        const GuestEpollEvent g{events[i].events, 0, events[i].data.u64};
        if (t.memory.put(at + static_cast<uint64_t>(i) * sizeof g, g) != 0) return -EFAULT;
    }
    return count;
}

/// epoll_pwait and epoll_pwait2: `timeout` is milliseconds or a host pointer.
int64_t epoll_wait_with_mask(Thread& t, long nr, const uint64_t* a, uint64_t timeout) {
    const auto max = static_cast<int64_t>(static_cast<int32_t>(a[2]));
    if (max <= 0 || max > 0x0fffffff) return -EINVAL;
    epoll_event small[64];
    std::vector<epoll_event> large;
    epoll_event* events = small;
    if (max > 64) {
        large.resize(static_cast<size_t>(std::min<int64_t>(max, 65536)));
        events = large.data();
    }
    const uint64_t room = static_cast<uint64_t>(max > 64 ? static_cast<int64_t>(large.size()) : max);
    int64_t r;
    if (a[4] != 0) {
        uint64_t mask = 0;
        if (t.memory.get(a[4], mask) != 0) return -EFAULT;
        const SuspendedMask s(t, mask & ~(sigbit(SIGKILL) | sigbit(SIGSTOP)));
        const uint64_t host = host_mask(mask);
        r = t.syscall(nr, a[0], arg(events), room, timeout, arg(&host), 8);
    } else {
        r = t.syscall(nr, a[0], arg(events), room, timeout, 0, 8);
    }
    return r > 0 ? put_events(t, a[1], events, r) : r;
}

/// The I/O vectors of a call, addresses as the host has them.
class HostIov {
  public:
    HostIov(Thread& t, uint64_t at, uint64_t count) {
        if (t.memory.base() == 0) {
            arg_ = at;
            return;
        }
        if (count > 1024) {
            error_ = -EINVAL;
            return;
        }
        v_.resize(count);
        if (count != 0 && t.memory.copy_in(v_.data(), at, count * sizeof(iovec)) != 0) error_ = -EFAULT;
        for (iovec& v : v_) v.iov_base = t.memory.host(reinterpret_cast<uint64_t>(v.iov_base));
        arg_ = reinterpret_cast<uint64_t>(v_.data());
    }
    [[nodiscard]] int64_t error() const noexcept { return error_; }
    [[nodiscard]] uint64_t arg() const noexcept { return arg_; }

  private:
    std::vector<iovec> v_;
    uint64_t arg_ = 0;
    int64_t error_ = 0;
};

int64_t vector_io(Thread& t, long nr, const uint64_t* a) {
    const HostIov iov(t, a[1], a[2]);
    if (iov.error() != 0) return iov.error();
    int64_t r = t.syscall(nr, a[0], iov.arg(), a[2], a[3], a[4], a[5]);
    if (r == -EFAULT && retry_after_efault(t)) r = t.syscall(nr, a[0], iov.arg(), a[2], a[3], a[4], a[5]);
    return r;
}

/// A message header with host addresses.
struct HostMessage {
    msghdr h{};
    std::vector<iovec> iov;

    int64_t read(Thread& t, uint64_t at) {
        if (t.memory.get(at, h) != 0) return -EFAULT;
        if (h.msg_iovlen > 1024) return -EMSGSIZE;
        iov.resize(h.msg_iovlen);
        if (h.msg_iovlen != 0 && t.memory.copy_in(iov.data(), reinterpret_cast<uint64_t>(h.msg_iov), h.msg_iovlen * sizeof(iovec)) != 0)
            return -EFAULT;
        for (iovec& v : iov) v.iov_base = t.memory.host(reinterpret_cast<uint64_t>(v.iov_base));
        h.msg_iov = iov.data();
        h.msg_name = reinterpret_cast<void*>(t.memory.host_arg(reinterpret_cast<uint64_t>(h.msg_name)));
        h.msg_control = reinterpret_cast<void*>(t.memory.host_arg(reinterpret_cast<uint64_t>(h.msg_control)));
        return 0;
    }
    /// What recvmsg changes.
    int64_t write_back(Thread& t, uint64_t at) {
        msghdr g;
        if (t.memory.get(at, g) != 0) return -EFAULT;
        g.msg_namelen = h.msg_namelen;
        g.msg_controllen = h.msg_controllen;
        g.msg_flags = h.msg_flags;
        return t.memory.put(at, g);
    }
};

int64_t message_call(Thread& t, long nr, const uint64_t* a, bool receive) {
    if (t.memory.base() == 0) {
        int64_t r = myna_safe_syscall(&t.signal_pending, nr, a);
        if (r == -EFAULT && retry_after_efault(t)) r = myna_safe_syscall(&t.signal_pending, nr, a);
        return r;
    }
    HostMessage m;
    if (const int64_t e = m.read(t, a[1]); e != 0) return e;
    const int64_t r = t.syscall(nr, a[0], arg(&m.h), a[2]);
    if (r >= 0 && receive)
        if (const int64_t e = m.write_back(t, a[1]); e != 0) return e;
    return r;
}

int64_t many_messages(Thread& t, long nr, const uint64_t* a, bool receive) {
    if (t.memory.base() == 0) return myna_safe_syscall(&t.signal_pending, nr, a);
    int64_t done = 0;
    for (; done < static_cast<int64_t>(std::min<uint64_t>(a[2], 1024)); ++done) {
        const uint64_t at = a[1] + static_cast<uint64_t>(done) * sizeof(mmsghdr);
        const uint64_t one[6] = {a[0], at, a[3] & ~uint64_t{MSG_WAITFORONE}};
        const int64_t r = message_call(t, receive ? SYS_recvmsg : SYS_sendmsg, one, receive);
        if (r < 0) return done != 0 ? done : r;
        if (t.memory.put(at + offsetof(mmsghdr, msg_len), static_cast<uint32_t>(r)) != 0) return -EFAULT;
        if (receive) return done + 1;
    }
    return done;
}

/// Whether an ioctl's argument is an address (asked only with guest_base in use).
bool ioctl_takes_pointer(uint32_t request) {
    if (_IOC_DIR(request) != _IOC_NONE) return true;
    const uint32_t type = _IOC_TYPE(request);
    if (type == 0x89) return true;  // SIOC*
    if (type != 'T') return false;
    switch (request) {
        case TCSBRK: case TCXONC: case TCFLSH: case TIOCEXCL: case TIOCNXCL: case TIOCSCTTY: case TIOCCONS: case TIOCNOTTY:
        case TCSBRKP: case TIOCSBRK: case TIOCCBRK: case FIOCLEX: case FIONCLEX: case TIOCVHANGUP: return false;
        default: return true;
    }
}

int64_t open_path(Thread& t, uint64_t dirfd, const GuestPath& path, uint64_t host_flags, uint64_t mode) {
    if (const int64_t view = open_proc_view(t, dirfd, path.guest(), host_flags); view != kNoView) return view;
    return t.syscall(SYS_openat, dirfd, path.arg(), host_flags, mode);
}

uint64_t convert_flags(std::span<const FlagPair> pairs, uint64_t flags, bool to_host) {
    uint64_t out = flags;
    for (const FlagPair& p : pairs) out &= ~uint64_t{to_host ? p.guest : p.host};
    for (const FlagPair& p : pairs)
        if ((flags & (to_host ? p.guest : p.host)) != 0) out |= to_host ? p.host : p.guest;
    return out;
}

}  // namespace

bool retry_after_efault(Thread& t) { return t.memory.release_code_pages(); }

uint64_t host_open_flags(const LinuxAbi& abi, uint64_t guest) noexcept {
    return abi.open_flags.empty() ? guest : convert_flags(abi.open_flags, guest, true);
}
uint64_t guest_open_flags(const LinuxAbi& abi, uint64_t host) noexcept {
    return abi.open_flags.empty() ? host : convert_flags(abi.open_flags, host, false);
}

// ---- paths

int64_t call_openat(Thread& t, const uint64_t* a) {
    const uint64_t flags = host_open_flags(t.abi, a[2]);
    const GuestPath path(t, a[1], (flags & O_NOFOLLOW) == 0);
    if (path.error() != 0) return path.error();
    return open_path(t, a[0], path, flags, a[3]);
}

int64_t call_openat2(Thread& t, const uint64_t* a) {
    struct How {
        uint64_t flags, mode, resolve;
    } how{};
    if (a[3] < sizeof how || a[3] > 4096) return a[3] < sizeof how ? -EINVAL : -E2BIG;
    uint8_t rest[4096] = {};
    if (t.memory.copy_in(rest, a[2], a[3]) != 0) return -EFAULT;
    std::memcpy(&how, rest, sizeof how);
    how.flags = host_open_flags(t.abi, how.flags);
    std::memcpy(rest, &how, sizeof how);
    const GuestPath path(t, a[1]);
    if (path.error() != 0) return path.error();
    return t.syscall(SYS_openat2, a[0], path.arg(), arg(rest), a[3]);
}

int64_t call_open_by_handle_at(Thread& t, const uint64_t* a) {
    return t.syscall(SYS_open_by_handle_at, a[0], t.memory.host_arg(a[1]), host_open_flags(t.abi, a[2]));
}

int64_t call_faccessat(Thread& t, const uint64_t* a) { return pass_path<SYS_faccessat, 2, 1>(t, a); }
int64_t call_faccessat2(Thread& t, const uint64_t* a) { return pass_path<SYS_faccessat2, 2, 1>(t, a); }

int64_t call_readlinkat(Thread& t, const uint64_t* a) {
    const GuestPath path(t, a[1], false);
    if (path.error() != 0) return path.error();
    if (std::string exe; guest_exe(t, a[0], path.guest(), exe)) {
        const auto size = static_cast<int32_t>(a[3]);
        if (size <= 0) return -EINVAL;
        const size_t n = std::min<size_t>(static_cast<size_t>(size), exe.size());
        return t.memory.copy_out(a[2], exe.data(), n) != 0 ? -EFAULT : static_cast<int64_t>(n);
    }
    return t.syscall(SYS_readlinkat, a[0], path.arg(), t.memory.host_arg(a[2]), a[3]);
}

int64_t call_newfstatat(Thread& t, const uint64_t* a) {
    struct stat st;
    int64_t r;
    if (a[1] == 0 && (a[3] & AT_EMPTY_PATH) != 0) {
        r = host_syscall(SYS_newfstatat, a[0], arg(""), arg(&st), a[3]);
    } else {
        const GuestPath path(t, a[1], (a[3] & AT_SYMLINK_NOFOLLOW) == 0);
        if (path.error() != 0) return path.error();
        uint64_t host = path.arg();
        std::string exe;
        if ((a[3] & AT_SYMLINK_NOFOLLOW) == 0 && guest_exe(t, a[0], path.guest(), exe)) host = arg(exe.c_str());
        r = t.syscall(SYS_newfstatat, a[0], host, arg(&st), a[3]);
    }
    return r < 0 ? r : put_stat(t, a[2], st);
}

int64_t call_fstat(Thread& t, const uint64_t* a) {
    struct stat st;
    const int64_t r = host_syscall(SYS_fstat, a[0], arg(&st));
    return r < 0 ? r : put_stat(t, a[1], st);
}

int64_t call_statx(Thread& t, const uint64_t* a) {
    if (a[1] == 0) return t.syscall(SYS_statx, a[0], 0, a[2], a[3], t.memory.host_arg(a[4]));
    const GuestPath path(t, a[1], (a[2] & AT_SYMLINK_NOFOLLOW) == 0);
    if (path.error() != 0) return path.error();
    uint64_t host = path.arg();
    std::string exe;
    if ((a[2] & AT_SYMLINK_NOFOLLOW) == 0 && guest_exe(t, a[0], path.guest(), exe)) host = arg(exe.c_str());
    return t.syscall(SYS_statx, a[0], host, a[2], a[3], t.memory.host_arg(a[4]));
}

// ---- descriptors

int64_t call_dup3(Thread&, const uint64_t* a) { return host_syscall(SYS_dup3, a[0], a[1], a[2]); }

int64_t call_pipe2(Thread& t, const uint64_t* a) {
    return t.syscall(SYS_pipe2, t.memory.host_arg(a[0]), host_open_flags(t.abi, a[1]));
}

int64_t call_fcntl(Thread& t, const uint64_t* a) {
    uint64_t third = a[2];
    switch (static_cast<int>(a[1])) {
        case F_GETFL: {
            const int64_t r = host_syscall(SYS_fcntl, a[0], F_GETFL);
            return r < 0 ? r : static_cast<int64_t>(guest_open_flags(t.abi, static_cast<uint64_t>(r)));
        }
        case F_SETFL:
            third = host_open_flags(t.abi, third);
            break;
        case F_GETLK: case F_SETLK: case F_SETLKW: case F_OFD_GETLK: case F_OFD_SETLK: case F_OFD_SETLKW:
        case F_GETOWN_EX: case F_SETOWN_EX: case 17 /* F_GETOWNER_UIDS */:
        case F_GET_RW_HINT: case F_SET_RW_HINT: case F_GET_FILE_RW_HINT: case F_SET_FILE_RW_HINT:
            third = t.memory.host_arg(third);
            break;
        default: break;
    }
    return t.syscall(SYS_fcntl, a[0], a[1], third);
}

int64_t call_ioctl(Thread& t, const uint64_t* a) {
    uint64_t third = a[2];
    if (t.memory.base() != 0 && _IOC_TYPE(a[1]) == 0xaa) return userfault_ioctl(t, a);
    if (t.memory.base() != 0 && ioctl_takes_pointer(static_cast<uint32_t>(a[1]))) third = t.memory.host_arg(third);
    int64_t r = t.syscall(SYS_ioctl, a[0], a[1], third);
    if (r == -EFAULT && retry_after_efault(t)) r = t.syscall(SYS_ioctl, a[0], a[1], third);
    return r;
}

int64_t call_write(Thread& t, const uint64_t* a) {
    const MemoryFiles& files = t.process.memory_files;
    if (!files.any() || files.find(static_cast<int>(a[0])) < 0) [[likely]] return pass<SYS_write, 2>(t, a);
    const int64_t at = host_syscall(SYS_lseek, a[0], 0, SEEK_CUR);
    const int64_t r = pass<SYS_write, 2>(t, a);
    wrote_memory_file(t, static_cast<int>(a[0]), static_cast<uint64_t>(at), r);
    return r;
}
int64_t call_pwrite64(Thread& t, const uint64_t* a) {
    const int64_t r = pass<SYS_pwrite64, 2>(t, a);
    if (t.process.memory_files.any()) [[unlikely]] wrote_memory_file(t, static_cast<int>(a[0]), a[3], r);
    return r;
}

int64_t call_readv(Thread& t, const uint64_t* a) { return vector_io(t, SYS_readv, a); }
int64_t call_writev(Thread& t, const uint64_t* a) { return vector_io(t, SYS_writev, a); }
int64_t call_preadv(Thread& t, const uint64_t* a) { return vector_io(t, SYS_preadv, a); }
int64_t call_pwritev(Thread& t, const uint64_t* a) { return vector_io(t, SYS_pwritev, a); }
int64_t call_preadv2(Thread& t, const uint64_t* a) { return vector_io(t, SYS_preadv2, a); }
int64_t call_pwritev2(Thread& t, const uint64_t* a) { return vector_io(t, SYS_pwritev2, a); }
int64_t call_vmsplice(Thread& t, const uint64_t* a) { return vector_io(t, SYS_vmsplice, a); }

/// The other process's guest_base is taken to be ours: it is so for all that one program starts.
static int64_t process_memory(Thread& t, long nr, const uint64_t* a) {
    const HostIov mine(t, a[1], a[2]), theirs(t, a[3], a[4]);
    if (mine.error() != 0 || theirs.error() != 0) return mine.error() != 0 ? mine.error() : theirs.error();
    return t.syscall(nr, a[0], mine.arg(), a[2], theirs.arg(), a[4], a[5]);
}
int64_t call_process_vm_readv(Thread& t, const uint64_t* a) { return process_memory(t, SYS_process_vm_readv, a); }
int64_t call_process_vm_writev(Thread& t, const uint64_t* a) {
    const int64_t r = process_memory(t, SYS_process_vm_writev, a);
    if (r > 0 && t.process.tracer.load() != nullptr)
        for (uint64_t i = 0; i < std::min<uint64_t>(a[4], 1024); ++i)
            if (iovec v; t.memory.get(a[3] + i * sizeof v, v) == 0) Tracer::of(t).wrote(reinterpret_cast<uint64_t>(v.iov_base), v.iov_len);
    return r;
}

// ---- polling

int64_t call_epoll_ctl(Thread& t, const uint64_t* a) {
    epoll_event e{};
    if (a[1] != EPOLL_CTL_DEL) {
        GuestEpollEvent g;
        if (t.memory.get(a[3], g) != 0) return -EFAULT;
        e.events = g.events;
        e.data.u64 = g.data;
    }
    return host_syscall(SYS_epoll_ctl, a[0], a[1], a[2], arg(&e));
}

int64_t call_epoll_pwait(Thread& t, const uint64_t* a) { return epoll_wait_with_mask(t, SYS_epoll_pwait, a, a[3]); }
int64_t call_epoll_pwait2(Thread& t, const uint64_t* a) { return epoll_wait_with_mask(t, 441, a, t.memory.host_arg(a[3])); }

int64_t call_ppoll(Thread& t, const uint64_t* a) {
    const uint64_t fds = t.memory.host_arg(a[0]), timeout = t.memory.host_arg(a[2]);
    if (a[3] == 0) return t.syscall(SYS_ppoll, fds, a[1], timeout, 0, 8);
    if (a[4] != 8) return -EINVAL;
    uint64_t mask = 0;
    if (t.memory.get(a[3], mask) != 0) return -EFAULT;
    const SuspendedMask s(t, mask & ~(sigbit(SIGKILL) | sigbit(SIGSTOP)));
    const uint64_t host = host_mask(mask);
    return t.syscall(SYS_ppoll, fds, a[1], timeout, arg(&host), 8);
}

int64_t call_pselect6(Thread& t, const uint64_t* a) {
    const uint64_t in = t.memory.host_arg(a[1]), out = t.memory.host_arg(a[2]), except = t.memory.host_arg(a[3]);
    const uint64_t timeout = t.memory.host_arg(a[4]);
    struct MaskArg {
        uint64_t mask, size;
    } m{};
    if (a[5] != 0 && t.memory.get(a[5], m) != 0) return -EFAULT;
    if (m.mask == 0) return t.syscall(SYS_pselect6, a[0], in, out, except, timeout, 0);
    if (m.size != 8) return -EINVAL;
    uint64_t mask = 0;
    if (t.memory.get(m.mask, mask) != 0) return -EFAULT;
    const SuspendedMask s(t, mask & ~(sigbit(SIGKILL) | sigbit(SIGSTOP)));
    const uint64_t host = host_mask(mask);
    const MaskArg host_arg{arg(&host), 8};
    return t.syscall(SYS_pselect6, a[0], in, out, except, timeout, arg(&host_arg));
}

int64_t call_signalfd4(Thread& t, const uint64_t* a) {
    if (a[2] != 8) return -EINVAL;
    uint64_t mask = 0;
    if (t.memory.get(a[1], mask) != 0) return -EFAULT;
    return host_syscall(SYS_signalfd4, a[0], arg(&mask), 8, a[3]);
}

// ---- sockets

int64_t call_sendmsg(Thread& t, const uint64_t* a) { return message_call(t, SYS_sendmsg, a, false); }
int64_t call_recvmsg(Thread& t, const uint64_t* a) { return message_call(t, SYS_recvmsg, a, true); }
int64_t call_sendmmsg(Thread& t, const uint64_t* a) { return many_messages(t, SYS_sendmmsg, a, false); }
int64_t call_recvmmsg(Thread& t, const uint64_t* a) { return many_messages(t, SYS_recvmmsg, a, true); }

}  // namespace myna::user
