// The ABIs there are, and the system call tables they use.
#pragma once

#include "user/linux/abi.h"

namespace myna::user {

extern const LinuxAbi kAbiAarch64, kAbiRiscv64;
extern const SyscallTable kSyscallsGeneric64;  // asm-generic/unistd.h, LP64

}  // namespace myna::user
