// The system calls that have a function of their own: call_<name>(thread, six arguments). By file: files.cpp (paths,
// descriptors, polling, sockets), memory_calls.cpp, process_calls.cpp (clone, exec, exit, limits), misc_calls.cpp.
#pragma once

#include <linux/limits.h>

#include "user/linux/syscalls/table.h"

namespace myna::user {

#define MYNA_CALLS(C)                                                                                                     \
    C(epoll_ctl) C(epoll_pwait) C(epoll_pwait2) C(dup3) C(fcntl) C(ioctl) C(faccessat) C(faccessat2) C(openat) C(pipe2)   \
    C(readv) C(writev) C(preadv) C(pwritev) C(preadv2) C(pwritev2) C(vmsplice) C(pselect6) C(ppoll) C(signalfd4)          \
    C(readlinkat) C(newfstatat) C(fstat) C(statx) C(openat2) C(open_by_handle_at) C(sendmsg) C(recvmsg) C(sendmmsg)       \
    C(recvmmsg) C(exit) C(exit_group) C(set_tid_address) C(futex) C(set_robust_list) C(get_robust_list)                   \
    C(clock_gettime) C(gettimeofday) C(restart_syscall) C(sigaltstack) C(rt_sigsuspend) C(rt_sigaction)                   \
    C(rt_sigprocmask) C(rt_sigpending) C(rt_sigtimedwait) C(rt_sigreturn) C(uname) C(getrlimit) C(setrlimit)              \
    C(prlimit64) C(prctl) C(semctl) C(shmat) C(shmdt) C(brk) C(munmap) C(mremap) C(mmap) C(mprotect) C(mlockall)          \
    C(madvise) C(clone) C(clone3) C(execve) C(execveat) C(riscv_hwprobe) C(riscv_flush_icache) C(seccomp) C(pkey_mprotect) \
    C(ptrace) C(wait4) C(waitid) C(write) C(pwrite64) \
    C(process_vm_readv) C(process_vm_writev) C(io_uring_setup) C(io_uring_enter) C(io_uring_register) \
    C(read) C(userfaultfd) C(futex_waitv) C(mq_notify)
#define MYNA_DECLARE(name) int64_t call_##name(Thread& t, const uint64_t* a);
MYNA_CALLS(MYNA_DECLARE)
#undef MYNA_DECLARE

/// A guest path made ready for the host: read, looked up under -L, and /proc/self/exe replaced.
class GuestPath {
  public:
    /// `at`: guest address of the path. `follow`: a link at its end is followed.
    GuestPath(Thread& t, uint64_t at, bool follow = true) {
        const int64_t n = t.memory.get_string(at, text_, sizeof text_);
        if (n < 0) error_ = n;
        else path_ = t.process.sysroot.map(text_, buffer_, follow);
    }
    [[nodiscard]] int64_t error() const noexcept { return error_; }
    /// As the guest wrote it.
    [[nodiscard]] const char* guest() const noexcept { return text_; }
    [[nodiscard]] const char* host() const noexcept { return path_; }
    [[nodiscard]] uint64_t arg() const noexcept { return reinterpret_cast<uint64_t>(path_); }

  private:
    char text_[PATH_MAX], buffer_[PATH_MAX];
    const char* path_ = nullptr;
    int64_t error_ = 0;
};

/// pass<> for a call that looks a path up (argument n).
template <int kHostNumber, unsigned kPointers, unsigned n, bool kFollow = true>
int64_t pass_path(Thread& t, const uint64_t* a) {
    if (!t.process.sysroot.active()) return pass<kHostNumber, kPointers>(t, a);
    const GuestPath path(t, a[n], kFollow);
    if (path.error() != 0) return path.error();
    uint64_t args[6];
    for (unsigned i = 0; i < 6; ++i) args[i] = (kPointers >> i & 1) != 0 ? t.memory.host_arg(a[i]) : a[i];
    args[n] = path.arg();
    return myna_safe_syscall(&t.signal_pending, kHostNumber, args);
}

/// open flags of the guest's ABI to the host's, and back.
uint64_t host_open_flags(const LinuxAbi& abi, uint64_t guest) noexcept;
uint64_t guest_open_flags(const LinuxAbi& abi, uint64_t host) noexcept;

/// proc_views.cpp: opens the guest's view of a file under /proc. -1: no view, open the file itself; else fd or -errno.
inline constexpr int64_t kNoView = -0x20000;
int64_t open_proc_view(Thread& t, uint64_t dirfd, const char* path, uint64_t flags);
/// True when the path is /proc/…/exe of a process that runs a guest program: `exe` is that.
bool guest_exe(Thread& t, uint64_t dirfd, const char* path, std::string& exe);
/// The guest's own limits (RLIMIT_AS, RLIMIT_DATA) as text for the program that execve starts, "": none.
std::string limits_for_exec(const Process& p);
/// In the new program.
void set_limits(Process& p, const std::string& text);
/// An ioctl of type 0xaa where guest_base is in use.
int64_t userfault_ioctl(Thread& t, const uint64_t* a);
/// The guest wrote `size` bytes (or an error) to one of Process::memory_files.
void wrote_memory_file(Thread& t, int fd, uint64_t addr, int64_t size);

}  // namespace myna::user
