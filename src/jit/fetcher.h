// GuestFetcher: hands guest bytes to a lifter, and notes what was read.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "guest/common/arch.h"
#include "ir/function.h"
#include "jit/engine.h"

namespace myna::jit {

inline constexpr uint64_t kGuestPage = 4096;

/// Asks the owner for write protection before the first byte of a page is read. One block at a time.
class GuestFetcher final : public guest::CodeFetcher {
  public:
    GuestFetcher(GuestMemory& memory, uint64_t guest_base) : memory_(memory), base_(guest_base) {}
    unsigned fetch(uint64_t pc, void* out, unsigned want) override {
        // Nearly always: next to or among what was read first, on its last page.
        if (pc + want <= first_limit_) {
            ir::GuestRange& r = ranges.front();
            if (const uint64_t at = pc - r.pc; at <= r.bytes) {
                copy(out, base_ + pc, want);
                r.bytes = std::max(r.bytes, static_cast<uint32_t>(at + want));
                return want;
            }
        }
        return fetch_anywhere(pc, out, want);
    }
    /// Only of the page opened last.
    unsigned peek(uint64_t pc, void* out, unsigned want) override;
    void begin() {
        begin_unstopped();
        stops_ = memory_.stops();
    }
    /// The same, but places where the owner wants to stop are read too.
    void begin_unstopped() {
        first_limit_ = 0;
        stops_ = {};
        ranges.clear();
    }
    /// What was read since begin(): the block's own bytes first, then bytes that were only looked at ahead.
    std::vector<ir::GuestRange> ranges;

  private:
    static constexpr uint64_t kNone = 1;
    bool open_page(uint64_t page);
    unsigned fetch_anywhere(uint64_t pc, void* out, unsigned want);
    /// Nearly always four bytes, for which no function is called.
    static void copy(void* out, uint64_t host, unsigned n) noexcept {
        const auto* from = reinterpret_cast<const void*>(host);
        if (n == 4) std::memcpy(out, from, 4);
        else std::memcpy(out, from, n);
    }
    GuestMemory& memory_;
    uint64_t base_;
    uint64_t page_ = kNone;  // the last page found executable, when the owner had made so many changes
    uint64_t page_changes_ = 0;
    std::span<const uint64_t> stops_;
    void set_first_limit();
    uint64_t first_limit_ = 0;  // the end of the page that the first range ends in; 0: none, or instructions may be hidden
};

}  // namespace myna::jit
