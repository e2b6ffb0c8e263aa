#include "mem/physical.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

namespace myna::mem {

PhysicalMemory::~PhysicalMemory() {
    for (const Region& r : regions_)
        if (r.ram != nullptr) munmap(r.ram, r.bytes);
}

Result<void> PhysicalMemory::add(Region r) {
    if ((r.base | r.bytes) % 4096 != 0 || r.bytes == 0 || r.base + r.bytes < r.base)
        return fail(ErrorKind::kInvalidArgument, "memory region is not made of whole pages");
    for (const Region& o : regions_)
        if (r.base < o.base + o.bytes && o.base < r.base + r.bytes)
            return fail(ErrorKind::kInUse, "memory region overlaps another");
    regions_.insert(std::upper_bound(regions_.begin(), regions_.end(), r, [](auto& a, auto& b) { return a.base < b.base; }), r);
    return {};
}

Result<uint8_t*> PhysicalMemory::add_ram(uint64_t base, uint64_t bytes) {
    void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return fail_errno(errno, "guest RAM");
    auto* ram = static_cast<uint8_t*>(p);
    if (auto r = add({base, bytes, ram, nullptr}); !r) {
        munmap(p, bytes);
        return std::unexpected(r.error());
    }
    return ram;
}

Result<void> PhysicalMemory::add_mmio(uint64_t base, uint64_t bytes, MmioDevice& device) {
    return add({base, bytes, nullptr, &device});
}

const PhysicalMemory::Region* PhysicalMemory::find(uint64_t addr) const noexcept {
    for (const Region& r : regions_)
        if (addr - r.base < r.bytes) return &r;
    return nullptr;
}

uint8_t* PhysicalMemory::ram(uint64_t addr, uint64_t len) const noexcept {
    const Region* r = find(addr);
    if (r == nullptr || r->ram == nullptr || len > r->bytes - (addr - r->base)) return nullptr;
    return r->ram + (addr - r->base);
}

}  // namespace myna::mem
