#include "user/linux/region_map.h"

#include <algorithm>

namespace myna::user {

size_t RegionMap::index_above(uint64_t addr) const noexcept {
    auto it = std::upper_bound(regions_.begin(), regions_.end(), addr, [](uint64_t a, const Region& r) { return a < r.end; });
    return static_cast<size_t>(it - regions_.begin());
}

void RegionMap::split(uint64_t addr) {
    const size_t i = index_above(addr);
    if (i == regions_.size() || regions_[i].start >= addr) return;
    Region upper = regions_[i];
    upper.start = addr;
    regions_[i].end = addr;
    regions_.insert(regions_.begin() + static_cast<ptrdiff_t>(i) + 1, upper);
}

void RegionMap::merge_around(size_t from, size_t to) {
    if (from > 0) --from;
    to = std::min(to + 1, regions_.size());
    for (size_t i = from; i + 1 < to;) {
        Region& a = regions_[i];
        const Region& b = regions_[i + 1];
        // Attached shared memory keeps its borders: shmdt gives the start only.
        if (a.end == b.start && a.same_kind(b) && (a.flags & Region::kShm) == 0) {
            a.end = b.end;
            regions_.erase(regions_.begin() + static_cast<ptrdiff_t>(i) + 1);
            --to;
        } else {
            ++i;
        }
    }
}

void RegionMap::set(uint64_t start, uint64_t end, uint8_t prot, uint8_t flags) {
    if (start >= end) return;
    erase(start, end);
    const size_t i = index_above(start);
    regions_.insert(regions_.begin() + static_cast<ptrdiff_t>(i), Region{start, end, prot, flags});
    merge_around(i, i + 1);
}

void RegionMap::erase(uint64_t start, uint64_t end) {
    if (start >= end) return;
    split(start);
    split(end);
    const size_t from = index_above(start);
    size_t to = from;
    while (to < regions_.size() && regions_[to].start < end) ++to;
    regions_.erase(regions_.begin() + static_cast<ptrdiff_t>(from), regions_.begin() + static_cast<ptrdiff_t>(to));
}

void RegionMap::protect(uint64_t start, uint64_t end, uint8_t prot) {
    if (start >= end) return;
    split(start);
    split(end);
    const size_t from = index_above(start);
    size_t to = from;
    for (; to < regions_.size() && regions_[to].start < end; ++to) regions_[to].prot = prot;
    merge_around(from, to);
}

const Region* RegionMap::find(uint64_t addr) const noexcept {
    const size_t i = index_above(addr);
    return i < regions_.size() && regions_[i].start <= addr ? &regions_[i] : nullptr;
}

const Region* RegionMap::at_or_above(uint64_t addr) const noexcept {
    const size_t i = index_above(addr);
    return i < regions_.size() ? &regions_[i] : nullptr;
}

bool RegionMap::free(uint64_t start, uint64_t end) const noexcept {
    const size_t i = index_above(start);
    return i == regions_.size() || regions_[i].start >= end;
}

bool RegionMap::covered(uint64_t start, uint64_t end, uint8_t prot) const noexcept {
    if (end < start) return false;  // beyond the last address
    uint64_t at = start;
    for (size_t i = index_above(start); at < end; ++i) {
        if (i == regions_.size() || regions_[i].start > at || (regions_[i].prot & prot) != prot) return false;
        if ((regions_[i].flags & Region::kReserved) != 0) return false;
        at = regions_[i].end;
    }
    return true;
}

bool RegionMap::any(uint64_t start, uint64_t end, uint8_t prot) const noexcept {
    for (size_t i = index_above(start); i < regions_.size() && regions_[i].start < end; ++i)
        if ((regions_[i].prot & prot) != 0) return true;
    return false;
}

bool RegionMap::any_flag(uint64_t start, uint64_t end, uint8_t flags) const noexcept {
    for (size_t i = index_above(start); i < regions_.size() && regions_[i].start < end; ++i)
        if ((regions_[i].flags & flags) != 0) return true;
    return false;
}

std::optional<uint64_t> RegionMap::find_gap(uint64_t size, uint64_t lo, uint64_t hi, uint64_t align) const noexcept {
    if (size == 0 || hi < size) return std::nullopt;
    // The gap below `top`, going down.
    uint64_t top = hi;
    size_t i = index_above(hi);
    if (i < regions_.size() && regions_[i].start < hi) top = regions_[i].start;
    for (;;) {
        const uint64_t bottom = i > 0 ? std::max(regions_[i - 1].end, lo) : lo;
        if (top > bottom && top - bottom >= size) {
            const uint64_t start = (top - size) & ~(align - 1);
            if (start >= bottom) return start;
        }
        if (i == 0 || regions_[i - 1].start <= lo) return std::nullopt;
        top = regions_[i - 1].start;
        --i;
    }
}

uint64_t RegionMap::bytes() const noexcept {
    uint64_t sum = 0;
    for (const Region& r : regions_)
        if ((r.flags & Region::kReserved) == 0) sum += r.end - r.start;
    return sum;
}

uint64_t RegionMap::private_bytes(uint64_t start, uint64_t end, uint8_t prot) const noexcept {
    uint64_t sum = 0;
    for (const Region& r : regions_) {
        if ((r.flags & (Region::kReserved | Region::kShared | Region::kGrowsDown)) != 0 || (r.prot & prot) != prot) continue;
        const uint64_t from = std::max(r.start, start), to = std::min(r.end, end);
        if (from < to) sum += to - from;
    }
    return sum;
}

}  // namespace myna::user
