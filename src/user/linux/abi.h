// LinuxAbi: what differs between the Linux ABIs of guest architectures, as data and a few functions.
//
//   LinuxAbi ──▶ registers (offsets into the state struct)   run loop, clone, strace
//           ├──▶ syscall table, flag values, struct layouts   syscalls/
//           ├──▶ signal frames                                signals.cpp
//           └──▶ HWCAP, platform, vDSO code                   loader.cpp
//
// aarch64 and riscv64 share the asm-generic system call numbers and LP64 layouts. A 32-bit or differently numbered ABI
// adds a table of its own (syscalls/table.h) and rows whose handlers convert.
#pragma once

#include <csignal>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "guest/common/arch.h"

namespace myna::user {

class Thread;
struct SyscallTable;

/// The kernel's stack_t.
struct AltStack {
    uint64_t sp = 0;
    int32_t flags = 2;  // SS_DISABLE
    int32_t pad = 0;
    uint64_t size = 0;
};

/// One signal to be delivered to a handler.
struct SignalDelivery {
    const siginfo_t* info;
    uint64_t handler;
    uint64_t restorer;      // 0: the vDSO's
    uint64_t sp;            // the frame goes below
    uint64_t saved_mask;    // to be restored by sigreturn
    AltStack saved_stack;
    uint64_t fault_address; // of a synchronous fault, else 0
    uint64_t fault_code;    // the architecture's syndrome of it, 0: none
};
/// What sigreturn found in the frame besides the registers.
struct SignalReturn {
    uint64_t mask;
    AltStack stack;
};

/// A bit that has another value in the guest's ABI than in the host's.
struct FlagPair {
    uint32_t guest, host;
};

/// The guest's vDSO: code to be put behind the generated ELF headers.
struct VdsoSymbol {
    const char* name;
    uint32_t offset, size;  // in the code
};
struct VdsoCode {
    std::span<const uint32_t> words;
    std::span<const VdsoSymbol> symbols;
    const char* version;      // "LINUX_2.6.39"
    uint32_t sigreturn;       // offset of rt_sigreturn in the code
    uint64_t counter_hz;      // of the guest's counter, which is the host's CLOCK_MONOTONIC
};

struct LinuxAbi {
    const guest::GuestArch* arch;
    std::string_view machine;   // uname -m
    const char* platform;       // AT_PLATFORM, or nullptr
    const char* triplet;        // Debian's multiarch name: where cross libraries are
    struct Registers {
        uint16_t number;        // of the system call; byte offsets into the state struct
        uint16_t arg[6];        // arg[0] takes the result
        uint16_t sp, tls;
    } reg;
    uint8_t syscall_bytes;      // length of the system call instruction
    bool sa_restorer;           // struct sigaction has the field
    bool clone_backwards;       // clone(flags, stack, ptid, tls, ctid)
    std::span<const FlagPair> open_flags;  // empty: as on the host
    const SyscallTable* syscalls;
    VdsoCode vdso;
    uint32_t min_sigstack;      // AT_MINSIGSTKSZ, 0: not given
    uint32_t frame_bytes;       // of a signal frame

    /// AT_HWCAP (1), AT_HWCAP2 (2).
    uint64_t (*hwcap)(const guest::CpuConfig& cpu, int which);
    /// Writes the kernel's rt_sigframe and sets the registers for the handler. 0 or -EFAULT.
    int (*push_frame)(Thread& t, const SignalDelivery& d);
    /// Reads the frame at the stack pointer back into the registers. 0 or -EFAULT.
    int (*pop_frame)(Thread& t, SignalReturn& r);
    /// Registers of a new thread or process start that are not general (entry point, stack pointer are set already).
    void (*start_thread)(Thread& t, uint64_t entry, uint64_t sp);
    /// The syndrome that a signal frame carries for a data access (translation or permission fault) or a fetch; 0: none.
    uint64_t (*fault_code)(bool unmapped, bool write);
    uint64_t (*fetch_fault_code)(bool unmapped);
    /// After an access to an address the host cannot have at all: true when the state was changed so that the instruction
    /// is to be tried again (aarch64: tagged pointers); nullptr: never.
    bool (*retry_strange_address)(void* state);
    /// Where a branch to `pc`, at which there is no code, leads (aarch64: without the tag); nullptr: to `pc`.
    uint64_t (*branch_target)(uint64_t pc);
    /// riscv_hwprobe: the value of a key, false when it is unknown; nullptr: the ABI has no such call.
    bool (*hwprobe)(const guest::CpuConfig& cpu, int64_t key, uint64_t& value);
    /// The bytes of a ptrace register set (NT_*), read from a state struct; empty: no such set.
    std::vector<uint8_t> (*get_regset)(const void* state, uint32_t type);
    /// What the length that a tracer gives must be a multiple of (Linux: user_regset.size); gdb measures registers by it.
    unsigned (*regset_unit)(uint32_t type);
    /// Changes `state` as PTRACE_SETREGSET would; false: no such set. (`state` may be a copy from another process.)
    bool (*set_regset)(void* state, uint32_t type, std::span<const uint8_t> bytes);
    /// The architecture's name in audit records and seccomp filters (AUDIT_ARCH_*).
    uint32_t audit_arch;
    /// The text of /proc/cpuinfo.
    std::string (*cpuinfo)(const guest::CpuConfig& cpu, unsigned cpus);
};

/// The ABI of a guest, or nullptr when it has none.
const LinuxAbi* find_abi(const guest::GuestArch& arch) noexcept;

}  // namespace myna::user
