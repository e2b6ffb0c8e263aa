#include "jit/fetcher.h"

#include <algorithm>
#include <cstring>

#include "base/bits.h"

namespace myna::jit {

bool GuestFetcher::open_page(uint64_t page) {
    if (page == page_) return true;
    if (!memory_.executable(page, kGuestPage)) return false;
    memory_.code_on_page(page);
    page_ = page;
    return true;
}

unsigned GuestFetcher::fetch(uint64_t pc, void* out, unsigned want) {
    // Nearly always: from the page opened last, next to or among what was read first.
    if (stops_.empty() && !ranges.empty() && align_down(pc, kGuestPage) == page_ && align_down(pc + want - 1, kGuestPage) == page_) {
        ir::GuestRange& r = ranges.front();
        if (pc >= r.pc && pc <= r.pc + r.bytes) {
            std::memcpy(out, reinterpret_cast<const void*>(base_ + pc), want);
            r.bytes = std::max(r.bytes, static_cast<uint32_t>(pc + want - r.pc));
            return want;
        }
    }
    if (!stops_.empty() && std::binary_search(stops_.begin(), stops_.end(), pc)) [[unlikely]] return 0;
    unsigned done = 0;
    while (done < want) {
        const uint64_t at = pc + done;
        if (!open_page(align_down(at, kGuestPage))) break;
        const auto n = static_cast<unsigned>(std::min<uint64_t>(want - done, kGuestPage - (at & (kGuestPage - 1))));
        std::memcpy(static_cast<uint8_t*>(out) + done, reinterpret_cast<const void*>(base_ + at), n);
        done += n;
    }
    if (done == 0) return 0;
    for (ir::GuestRange& r : ranges) {
        if (pc < r.pc || pc > r.pc + r.bytes) continue;
        r.bytes = std::max(r.bytes, static_cast<uint32_t>(pc + done - r.pc));
        return done;
    }
    ranges.push_back({pc, done});
    return done;
}

unsigned GuestFetcher::peek(uint64_t pc, void* out, unsigned want) {
    if (align_down(pc, kGuestPage) != page_) return 0;
    const auto n = static_cast<unsigned>(std::min<uint64_t>(want, kGuestPage - (pc & (kGuestPage - 1))));
    std::memcpy(out, reinterpret_cast<const void*>(base_ + pc), n);
    return n;
}

}  // namespace myna::jit
