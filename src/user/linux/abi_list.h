// The ABIs there are, and the system call tables they use.
#pragma once

#include "user/linux/abi.h"

namespace myna::user {

extern const LinuxAbi kAbiAarch64, kAbiRiscv64;
extern const SyscallTable kSyscallsGeneric64;  // asm-generic/unistd.h, LP64

/// asm-generic/ucontext.h as arm64 and riscv64 have it, with the architecture's own sigcontext; and the frame of a signal.
template <typename SigContext>
struct GenericUContext {
    uint64_t flags, link;
    AltStack stack;
    uint64_t mask;
    uint8_t unused[120];  // room for a mask of 1024 signals
    SigContext mcontext;
};
template <typename SigContext>
struct GenericSigFrame {
    uint8_t info[128];
    GenericUContext<SigContext> uc;
};

}  // namespace myna::user
