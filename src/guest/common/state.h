// VcpuHeader: what every guest state begins with. Translated code addresses it through the state register, so the
// offsets are part of the contract between code generator, run loop and helpers.
//
// The guest's own registers follow in the architecture's state struct, which derives its layout from
//   struct State { VcpuHeader hdr; ... };   standard layout, GuestArch::slots give the offsets.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ir/types.h"

namespace myna::guest {

using ir::V128;

struct IndirectEntry {
    uint64_t pc;     // guest PC; all ones: empty
    uint64_t host;   // executable address of the block
};

inline constexpr unsigned kIndirectBits = 12;
inline constexpr unsigned kIndirectEntries = 1u << kIndirectBits;
inline constexpr uint64_t kNoExclusive = ~uint64_t{0};

struct VcpuHeader {
    uint32_t poll = 0;            // non-zero: leave at the next backward or indirect branch (signals, flush, stop)
    uint32_t exit_reason = 0;     // ir::ExitReason
    uint64_t pc = 0;              // guest PC, valid when outside translated code and at state helpers
    IndirectEntry* indirect = nullptr;  // the indirect-branch cache in force; an empty one while poll is set
    uint64_t guest_base = 0;      // added to guest addresses (user mode); also in GS when not 0
    const void* const* helpers = nullptr;     // GuestArch::helpers' functions, by index
    const void* const* rt_helpers = nullptr;  // the code generator's own helpers, by index
    uint64_t excl_addr = kNoExclusive;        // exclusive monitor: address, kNoExclusive when open
    uint64_t excl_value[2] = {0, 0};          // and the value loaded
    uint64_t host_rsp = 0;        // stack pointer of the enter stub: where faults unwind to
    uint64_t trap_arg = 0;        // details of exit_reason
    uint64_t trap_arg2 = 0;
    uint32_t mxcsr = 0x1f80;      // MXCSR while guest code runs (rounding mode, sticky flags)
    uint32_t host_mxcsr = 0x1f80; // MXCSR of the emulator's own code
    uint32_t mode = 0;            // block key's mode bits in force
    uint32_t in_code = 0;         // 1 while translated code or its helpers run
    void* runner = nullptr;       // the JIT's per-vCPU object
    void* owner = nullptr;        // user mode: the thread; system mode: the machine's vCPU
    void* tlb = nullptr;          // system mode: the softmmu TLB
    uint64_t reserved[3] = {};
    V128 vscratch[4] = {};        // operands and result of vector helpers
};
static_assert(offsetof(VcpuHeader, pc) == 8);
static_assert(sizeof(VcpuHeader) == 224);

}  // namespace myna::guest
