// The guest's vDSO: a tiny shared object, generated from the ABI's code words and symbols.
//
//   ELF header │ program headers │ .dynsym │ .dynstr │ .hash │ .gnu.version, _d │ dynamic │ 0x800: code │ 0x1000: VdsoClock
//
// C libraries find its functions by symbol and version; unwinders recognise the code of rt_sigreturn.
#pragma once

#include <cstdint>
#include <vector>

#include "user/linux/abi.h"

namespace myna::user {

inline constexpr uint64_t kVdsoCode = 0x800, kVdsoClock = 0x1000, kVdsoSize = 0x2000;

/// What the vDSO's code needs for CLOCK_REALTIME. The wall clock is the monotonic one plus an offset that changes only
/// when somebody sets the clock; code that finds it expired makes the system call, whose handler renews it.
struct VdsoClock {
    uint64_t valid_until;  // counter value; 0: never valid
    uint64_t wall_offset;  // nanoseconds
};

/// The first page: headers, tables and code.
std::vector<uint8_t> build_vdso(const LinuxAbi& abi);

}  // namespace myna::user
