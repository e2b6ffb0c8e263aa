// RegionMap: which parts of the guest's address space are mapped and how, as a sorted array of disjoint regions.
//
//   lo ──[region]──gap──[region][region]──gap──▶ hi        neighbours with equal attributes are one region
//
// Pure data: it makes no host calls, so it is tested against a page-by-page model.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace myna::user {

/// A mapped range. `prot` is the guest's view (PROT_*), whatever the host's page tables hold.
struct Region {
    static constexpr uint8_t kShared = 1, kGrowsDown = 2, kReserved = 4 /* the emulator's own: never the guest's */, kShm = 8,
                             kHostPlace = 16 /* where the host wanted it, maybe above the guest's limit */;
    uint64_t start = 0, end = 0;
    uint8_t prot = 0;
    uint8_t flags = 0;
    [[nodiscard]] bool same_kind(const Region& o) const noexcept { return prot == o.prot && flags == o.flags; }
};

class RegionMap {
  public:
    /// Replaces whatever was in [start, end).
    void set(uint64_t start, uint64_t end, uint8_t prot, uint8_t flags);
    void erase(uint64_t start, uint64_t end);
    /// Changes the protection of all mapped parts of [start, end).
    void protect(uint64_t start, uint64_t end, uint8_t prot);

    /// The region that holds `addr`, or nullptr. Valid until the next change.
    [[nodiscard]] const Region* find(uint64_t addr) const noexcept;
    /// The first region that ends above `addr`, or nullptr.
    [[nodiscard]] const Region* at_or_above(uint64_t addr) const noexcept;
    /// True when nothing is mapped in [start, end).
    [[nodiscard]] bool free(uint64_t start, uint64_t end) const noexcept;
    /// True when every byte of [start, end) is mapped with all of `prot` (0: mapped at all).
    [[nodiscard]] bool covered(uint64_t start, uint64_t end, uint8_t prot = 0) const noexcept;
    /// True when some part of [start, end) has one of the bits of `prot`.
    [[nodiscard]] bool any(uint64_t start, uint64_t end, uint8_t prot) const noexcept;
    [[nodiscard]] bool any_flag(uint64_t start, uint64_t end, uint8_t flags) const noexcept;
    /// The highest free range of `size` bytes in [lo, hi), its start a multiple of `align`.
    [[nodiscard]] std::optional<uint64_t> find_gap(uint64_t size, uint64_t lo, uint64_t hi, uint64_t align = 4096) const noexcept;

    [[nodiscard]] const std::vector<Region>& regions() const noexcept { return regions_; }
    /// Bytes mapped (RLIMIT_AS), without the emulator's own.
    [[nodiscard]] uint64_t bytes() const noexcept;
    /// Bytes in [start, end) that are private and have all of `prot` (RLIMIT_DATA: writable), without stacks and the emulator's own.
    [[nodiscard]] uint64_t private_bytes(uint64_t start, uint64_t end, uint8_t prot) const noexcept;

  private:
    [[nodiscard]] size_t index_above(uint64_t addr) const noexcept;  // of the first region with end > addr
    /// Makes `addr` a border between regions.
    void split(uint64_t addr);
    void merge_around(size_t from, size_t to);

    std::vector<Region> regions_;
};

}  // namespace myna::user
