// The stage 1 page walk (Arm ARM D8.2, D8.3) with the 4 KiB granule.
#include <cstring>

#include "base/bits.h"
#include "guest/aarch64/system.h"

namespace myna::guest::aarch64 {
namespace {

using mem::Access;

/// Fault status codes without the level (ESR_ELx.ISS, D24.2.40).
enum Fault : uint32_t { kTranslation = 4, kAccessFlag = 8, kPermission = 12 };

bool abort(State& s, uint64_t va, Access access, unsigned mmu_index, Fault fault, unsigned level) {
    const bool lower = mmu_index == 0;
    uint32_t iss = fault + level;
    uint32_t ec = lower ? ExceptionClass::kInsnAbortLower : ExceptionClass::kInsnAbort;
    if (access != Access::kFetch) {
        ec = lower ? ExceptionClass::kDataAbortLower : ExceptionClass::kDataAbort;
        if (access == Access::kWrite) iss |= 1 << 6;  // WnR
    }
    s.sys->far = va;
    s.hdr.trap_arg = syndrome(ec, iss);
    return false;
}

}  // namespace

bool Stage1::translate(VcpuHeader& hdr, uint64_t va, Access access, unsigned mmu_index, mem::Translation& out) {
    State& s = reinterpret_cast<State&>(hdr);
    const SysRegs& sys = *s.sys;
    if ((sys.sctlr & 1) == 0) {
        out = {va, true, true, true};
        return true;
    }
    const bool high = bit(va, 55);
    const auto size = static_cast<unsigned>(bits(sys.tcr, high ? 16 : 0, 6));
    const unsigned width = 64 - size;  // bits of the address that are translated
    const bool disabled = bit(sys.tcr, high ? 23 : 7);
    const bool in_range = size >= 16 && size <= 39 && (high ? ~va >> width == 0 : va >> width == 0);
    if (disabled || !in_range) return abort(s, va, access, mmu_index, kTranslation, 0);

    const auto& memory = *static_cast<mem::SoftTlb*>(hdr.tlb)->memory;
    uint64_t table = sys.ttbr[high] & 0x0000fffffffff000;
    for (unsigned level = 4 - (width - 12 + 8) / 9; level < 4; ++level) {
        const unsigned shift = 12 + 9 * (3 - level);
        const uint64_t index = bits(va & low_mask(width), shift, 9);
        const uint8_t* entry = memory.ram(table + index * 8, 8);
        uint64_t descriptor = 0;
        if (entry != nullptr) std::memcpy(&descriptor, entry, 8);
        const bool table_or_page = bit(descriptor, 1);
        if (!bit(descriptor, 0) || (level == 3 && !table_or_page) || (level == 0 && !table_or_page))
            return abort(s, va, access, mmu_index, kTranslation, level);
        if (level < 3 && table_or_page) {
            table = descriptor & 0x0000fffffffff000;
            continue;
        }
        if (!bit(descriptor, 10)) return abort(s, va, access, mmu_index, kAccessFlag, level);
        const bool el0 = bit(descriptor, 6), read_only = bit(descriptor, 7);
        const bool user = mmu_index == 0;
        const bool execute = user ? el0 && !bit(descriptor, 54) : !bit(descriptor, 53) && !(el0 && !read_only);
        out.phys = (descriptor & 0x0000fffffffff000 & ~low_mask(shift)) | (va & low_mask(shift));
        out.read = !user || el0;
        out.write = out.read && !read_only;
        out.exec = execute;
        const bool allowed = access == Access::kRead ? out.read : access == Access::kWrite ? out.write : out.exec;
        return allowed || abort(s, va, access, mmu_index, kPermission, level);
    }
    return abort(s, va, access, mmu_index, kTranslation, 3);
}

}  // namespace myna::guest::aarch64
