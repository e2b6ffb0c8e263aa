#include "mem/softmmu.h"

#include <bit>
#include <cstring>

#include "base/bits.h"
#include "ir/types.h"

namespace myna::mem {

using guest::VcpuHeader;
using ir::MemAttr;

namespace {

constexpr uint64_t kPage = 4096;

SoftTlb& tlb_of(VcpuHeader& hdr) { return *static_cast<SoftTlb*>(hdr.tlb); }

uint64_t tag_for(const TlbEntry& e, Access a) {
    return a == Access::kRead ? e.read : a == Access::kWrite ? e.write : e.exec;
}

/// One access that lies within a page, wherever it leads. False: fault.
bool access_page(VcpuHeader& hdr, uint64_t va, void* bytes, unsigned n, Access access, unsigned mmu_index) {
    if (uint8_t* p = softmmu_host(hdr, va, n, access, mmu_index)) {
        if (access == Access::kWrite) std::memcpy(p, bytes, n);
        else std::memcpy(bytes, p, n);
        return true;
    }
    if (hdr.exit_reason != 0) return false;
    SoftTlb& tlb = tlb_of(hdr);
    Translation t{};
    if (!tlb.mmu->translate(hdr, va, access, mmu_index, t)) {
        hdr.exit_reason = static_cast<uint32_t>(ir::ExitReason::kException);
        return false;
    }
    const PhysicalMemory::Region* r = tlb.memory->find(t.phys);
    for (unsigned done = 0; done < n;) {  // devices take 1, 2, 4 or 8 bytes
        const unsigned piece = std::bit_floor(std::min(n - done, 8u));
        uint64_t value = 0;
        if (access == Access::kWrite) {
            std::memcpy(&value, static_cast<uint8_t*>(bytes) + done, piece);
            if (r != nullptr) r->device->write(t.phys - r->base + done, value, piece);
        } else {
            if (r != nullptr) value = r->device->read(t.phys - r->base + done, piece);
            std::memcpy(static_cast<uint8_t*>(bytes) + done, &value, piece);
        }
        done += piece;
    }
    return true;
}

/// Any access of up to 16 bytes. A store that crosses into a page that faults writes nothing.
bool access_any(VcpuHeader& hdr, uint64_t va, void* bytes, unsigned n, Access access, unsigned mmu_index) {
    const auto first = static_cast<unsigned>(std::min<uint64_t>(n, kPage - va % kPage));
    if (first == n) return access_page(hdr, va, bytes, n, access, mmu_index);
    Translation t{};
    if (access == Access::kWrite && !tlb_of(hdr).mmu->translate(hdr, va + first, access, mmu_index, t)) {
        hdr.exit_reason = static_cast<uint32_t>(ir::ExitReason::kException);
        return false;
    }
    return access_page(hdr, va, bytes, first, access, mmu_index) &&
           access_page(hdr, va + first, static_cast<uint8_t*>(bytes) + first, n - first, access, mmu_index);
}

unsigned bytes_of(uint32_t arg) { return 1u << (arg & MemAttr::kSizeMask); }

}  // namespace

void SoftTlb::flush() {
    for (auto& t : tables) t.fill(TlbEntry{});
    for (auto& v : victims) v.fill(TlbEntry{});
}

void SoftTlb::flush_page(uint64_t va) {
    const uint64_t page = align_down(va, kPage);
    const auto drop = [&](TlbEntry& e) {
        if (e.read == page || e.write == page || e.exec == page) e = TlbEntry{};
    };
    for (auto& t : tables) drop(t[(va >> 12) % kTlbEntries]);
    for (auto& v : victims)
        for (TlbEntry& e : v) drop(e);
}

uint8_t* softmmu_host(VcpuHeader& hdr, uint64_t va, unsigned bytes, Access access, unsigned mmu_index) {
    if (va % kPage + bytes > kPage) return nullptr;
    SoftTlb& tlb = tlb_of(hdr);
    const uint64_t page = align_down(va, kPage);
    TlbEntry& e = tlb.tables[mmu_index][(va >> 12) % kTlbEntries];
    if (tag_for(e, access) != page) {
        for (TlbEntry& v : tlb.victims[mmu_index]) {
            if (tag_for(v, access) != page) continue;
            std::swap(v, e);
            return reinterpret_cast<uint8_t*>(va + e.addend);
        }
        Translation t{};
        if (!tlb.mmu->translate(hdr, va, access, mmu_index, t)) {
            hdr.exit_reason = static_cast<uint32_t>(ir::ExitReason::kException);
            return nullptr;
        }
        uint8_t* ram = tlb.memory->ram(align_down(t.phys, kPage), kPage);
        if (ram == nullptr) return nullptr;
        uint8_t& next = tlb.next_victim[mmu_index];
        tlb.victims[mmu_index][next] = e;
        next = (next + 1) % kVictims;
        e = TlbEntry{t.read ? page : kNoPage, t.write ? page : kNoPage, t.exec ? page : kNoPage,
                     reinterpret_cast<uint64_t>(ram) - page};
    }
    return reinterpret_cast<uint8_t*>(va + e.addend);
}

uint64_t softmmu_load(VcpuHeader* hdr, uint64_t va, uint64_t, uint64_t, uint32_t arg) {
    uint64_t v = 0;
    const unsigned n = bytes_of(arg);
    if (!access_any(*hdr, va, &v, n, Access::kRead, arg >> 8)) return 0;
    if (arg & MemAttr::kBig) v = __builtin_bswap64(v) >> (64 - 8 * n);
    return arg & MemAttr::kSigned ? static_cast<uint64_t>(sign_extend(v, 8 * n)) : v;
}

uint64_t softmmu_store(VcpuHeader* hdr, uint64_t va, uint64_t value, uint64_t, uint32_t arg) {
    const unsigned n = bytes_of(arg);
    if (arg & MemAttr::kBig) value = __builtin_bswap64(value) >> (64 - 8 * n);
    access_any(*hdr, va, &value, n, Access::kWrite, arg >> 8);
    return 0;
}

uint64_t softmmu_load16(VcpuHeader* hdr, uint64_t va, uint64_t, uint64_t, uint32_t arg) {
    access_any(*hdr, va, &hdr->vscratch[0], 16, Access::kRead, arg >> 8);
    return 0;
}

uint64_t softmmu_store16(VcpuHeader* hdr, uint64_t va, uint64_t, uint64_t, uint32_t arg) {
    access_any(*hdr, va, &hdr->vscratch[0], 16, Access::kWrite, arg >> 8);
    return 0;
}

uint64_t softmmu_atomic(VcpuHeader* hdr, uint64_t va, uint64_t, uint64_t, uint32_t arg) {
    const Access access = (arg & kAtomicReads) != 0 ? Access::kRead : Access::kWrite;
    uint8_t* p = softmmu_host(*hdr, va, bytes_of(arg), access, arg >> 8 & 0xff);
    if (p == nullptr && hdr->exit_reason == 0) hdr->exit_reason = static_cast<uint32_t>(ir::ExitReason::kException);
    return reinterpret_cast<uint64_t>(p);
}

}  // namespace myna::mem
