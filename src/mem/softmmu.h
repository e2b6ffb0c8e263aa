// The softmmu TLB: guest virtual to host addresses, probed inline by translated code in system mode.
//
//   translated code: entry = tables[mmu index][(va >> 12) & 255]; (va & (page mask | alignment)) == entry.tag ?
//        ├ hit:  host = va + entry.addend                    RAM, no call
//        └ miss: softmmu_load / softmmu_store (state helpers)
//                  ├ victim entries: swap and go on
//                  ├ Mmu::translate: page walk ─▶ RAM: fill; device: read or write it
//                  └ fault: header.exit_reason = kException, the guest's Mmu has noted what
//
// A tag is a page address; all ones never matches. Accesses that cross a page take the slow path since the compared
// bits include the low bits below the access size.
#pragma once

#include <array>
#include <cstdint>

#include "guest/common/state.h"
#include "mem/physical.h"

namespace myna::mem {

enum class Access : uint8_t { kRead, kWrite, kFetch };

inline constexpr unsigned kTlbBits = 8;
inline constexpr unsigned kTlbEntries = 1u << kTlbBits;
inline constexpr unsigned kVictims = 8;
inline constexpr unsigned kMmuIndexes = 4;  // privilege and mode combinations a guest may use (Function::mmu_index)
inline constexpr uint64_t kNoPage = ~uint64_t{0};

struct TlbEntry {
    uint64_t read = kNoPage;   // page address when loads may go straight to RAM
    uint64_t write = kNoPage;  // … stores
    uint64_t exec = kNoPage;   // … fetches
    uint64_t addend = 0;       // host address - guest virtual address
};
static_assert(sizeof(TlbEntry) == 32);

/// What a guest's page walk gives.
struct Translation {
    uint64_t phys;
    bool read, write, exec;
};

/// The guest's MMU: walks page tables.
class Mmu {
  public:
    virtual ~Mmu() = default;
    /// Translates `va`. False: the access faults; the MMU has put the exception into the guest state and header.trap_arg.
    virtual bool translate(guest::VcpuHeader& hdr, uint64_t va, Access access, unsigned mmu_index, Translation& out) = 0;
};

/// One vCPU's TLB; VcpuHeader::tlb points to it. Translated code knows the offset of `tables` (0).
struct SoftTlb {
    std::array<std::array<TlbEntry, kTlbEntries>, kMmuIndexes> tables;
    std::array<std::array<TlbEntry, kVictims>, kMmuIndexes> victims;
    std::array<uint8_t, kMmuIndexes> next_victim{};
    Mmu* mmu = nullptr;
    PhysicalMemory* memory = nullptr;

    void flush();
    void flush_page(uint64_t va);
};

/// The host address for an access that lies within one page of RAM; fills the TLB. nullptr: a device or a fault
/// (header.exit_reason tells them apart), or the access crosses a page.
uint8_t* softmmu_host(guest::VcpuHeader& hdr, uint64_t va, unsigned bytes, Access access, unsigned mmu_index);

/// Slow paths of translated code, in the form of state helpers: a = address, arg = ir::MemAttr | mmu index << 8.
/// A load gives the value extended by the attributes; when it faulted header.exit_reason is kException.
uint64_t softmmu_load(guest::VcpuHeader* hdr, uint64_t va, uint64_t, uint64_t, uint32_t arg);
uint64_t softmmu_store(guest::VcpuHeader* hdr, uint64_t va, uint64_t value, uint64_t, uint32_t arg);
/// 16-byte forms: the value travels in header.vscratch[0].
uint64_t softmmu_load16(guest::VcpuHeader* hdr, uint64_t va, uint64_t, uint64_t, uint32_t arg);
uint64_t softmmu_store16(guest::VcpuHeader* hdr, uint64_t va, uint64_t, uint64_t, uint32_t arg);
/// arg bit for softmmu_atomic: the operation only reads (a load-exclusive, which may be from a read-only page).
inline constexpr uint32_t kAtomicReads = 1 << 16;
/// For atomics: the host address as a number, 0 after a fault (a device is a fault too: atomics need RAM).
uint64_t softmmu_atomic(guest::VcpuHeader* hdr, uint64_t va, uint64_t, uint64_t, uint32_t arg);

}  // namespace myna::mem
