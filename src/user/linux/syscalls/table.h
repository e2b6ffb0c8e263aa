// The system call table: a row a call. From the rows follow dispatch, -strace and what is unknown.
//
//   row: number · name · argument kinds · handler
//
// Argument kinds, a letter each (strace.cpp prints them; capitals of pointers are filled by the kernel):
//   d int   u unsigned   x hex   l long   f fd   F dirfd   o file mode   c clone flags   C clock   S signal   w whence
//   O open flags   P protection   M mmap flags   k futex operation   q fcntl command   Q ioctl request   A address family
//   s path   z string   p pointer   b bytes, length in the next argument   B bytes, length is the result   i iovec
//   T timespec   t timespec filled   g signal set   a socket address   v string array   e wait options   n access mode
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "user/linux/thread.h"

namespace myna::user {

/// Takes the six argument registers; gives the result or -errno, kRestartSys or kNoReturnValue.
using SyscallHandler = int64_t (*)(Thread& t, const uint64_t* a);

struct SyscallRow {
    uint16_t number;
    const char* name;
    const char* args;
    SyscallHandler handler;  // nullptr: known by name, ENOSYS
};

struct SyscallTable {
    /// By number; a row with handler nullptr and name nullptr: unknown.
    const SyscallRow* rows;
    uint32_t count;
};

/// True for the kinds that are addresses.
constexpr bool is_pointer_kind(char c) { return std::string_view("szpbBiITtgav").find(c) != std::string_view::npos; }
/// Bit n: argument n is an address.
constexpr unsigned pointer_mask(const char* args) {
    unsigned mask = 0;
    for (unsigned n = 0; args[n] != 0; ++n)
        if (is_pointer_kind(args[n])) mask |= 1u << n;
    return mask;
}

/// The host refused an address: it may lie on a write-protected code page. True: try once more.
[[gnu::cold]] bool retry_after_efault(Thread& t);

/// A call whose arguments mean the same to the host: pointers are moved by guest_base, nothing else.
template <int kHostNumber, unsigned kPointers>
int64_t pass(Thread& t, const uint64_t* a) {
    const uint64_t* args = a;
    uint64_t moved[6];
    if (kPointers != 0 && t.memory.base() != 0) [[unlikely]] {
        for (unsigned n = 0; n < 6; ++n) moved[n] = (kPointers >> n & 1) != 0 ? t.memory.host_arg(a[n]) : a[n];
        args = moved;
    }
    int64_t r = myna_safe_syscall(&t.signal_pending, kHostNumber, args);
    if (kPointers != 0 && r == -14) [[unlikely]]
        if (retry_after_efault(t)) r = myna_safe_syscall(&t.signal_pending, kHostNumber, args);
    return r;
}

/// Runs the call in the guest's registers, with -strace output.
int64_t traced_call(Thread& t, const SyscallRow& row, const uint64_t* a);
/// -strace: a signal is about to be delivered.
void trace_signal(Thread& t, const siginfo_t& info);
/// An unknown call: ENOSYS, reported once under -d unimp.
int64_t unknown_call(Thread& t, uint64_t number, const char* name);

}  // namespace myna::user
