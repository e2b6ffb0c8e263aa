// What host_calls.S offers: system calls that signals cannot be lost around, and copies that survive bad addresses.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

extern "C" {
int64_t myna_safe_syscall(const volatile uint32_t* pending, long nr, const uint64_t* args);
int myna_user_copy(void* to, const void* from, size_t n);
int64_t myna_user_strncpy(char* to, const char* from, size_t n);
int myna_user_cmpxchg32(uint32_t* at, uint32_t expected, uint32_t desired, uint32_t* seen);
int64_t myna_vfork_clone(uint64_t flags, void* stack_top, int* ptid, int* ctid, void (*child)(void*), void* arg);
void myna_host_sigreturn();
extern const char myna_safe_syscall_check[], myna_safe_syscall_insn[], myna_safe_syscall_interrupted[];
extern const char myna_user_access_end[], myna_user_access_fault[];
}

namespace myna::user {

/// The kernel's own "make the call again after the signal handler": never seen by guests.
inline constexpr int64_t kRestartSys = -512;
/// A handler's answer when the guest's registers are already as they must be (sigreturn).
inline constexpr int64_t kNoReturnValue = -0x10000;

/// A host system call as the kernel sees it: -errno on failure, errno untouched.
inline int64_t host_syscall(long nr, uint64_t a = 0, uint64_t b = 0, uint64_t c = 0, uint64_t d = 0, uint64_t e = 0,
                            uint64_t f = 0) noexcept {
    int64_t ret;
    register uint64_t r10 asm("r10") = d;
    register uint64_t r8 asm("r8") = e;
    register uint64_t r9 asm("r9") = f;
    asm volatile("syscall" : "=a"(ret) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                 : "rcx", "r11", "memory");
    return ret;
}
template <typename T>
inline uint64_t arg(T* p) noexcept { return reinterpret_cast<uint64_t>(p); }
inline uint64_t arg(int64_t v) noexcept { return static_cast<uint64_t>(v); }

}  // namespace myna::user
