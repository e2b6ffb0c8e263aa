#include "jit/fetcher.h"

#include <algorithm>
#include <cstring>

#include "base/bits.h"

namespace myna::jit {

namespace {
/// Nearly always four bytes, for which no function is called.
void copy(void* out, uint64_t host, unsigned n) noexcept {
    const auto* from = reinterpret_cast<const void*>(host);
    if (n == 4) std::memcpy(out, from, 4);
    else std::memcpy(out, from, n);
}
}  // namespace

bool GuestFetcher::open_page(uint64_t page) {
    if (page == page_) return true;
    if (!memory_.executable(page, kGuestPage)) return false;
    memory_.code_on_page(page);
    page_ = page;
    return true;
}

unsigned GuestFetcher::fetch(uint64_t pc, void* out, unsigned want) {
    // Nearly always: next to or among what was read first, on its last page.
    if (pc + want <= first_limit_) {
        ir::GuestRange& r = ranges.front();
        if (const uint64_t at = pc - r.pc; at <= r.bytes) {
            copy(out, base_ + pc, want);
            r.bytes = std::max(r.bytes, static_cast<uint32_t>(at + want));
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
        set_first_limit();
        return done;
    }
    ranges.push_back({pc, done});
    set_first_limit();
    return done;
}

void GuestFetcher::set_first_limit() {
    const ir::GuestRange& r = ranges.front();
    first_limit_ = stops_.empty() ? align_down(r.pc + r.bytes - 1, kGuestPage) + kGuestPage : 0;
}

unsigned GuestFetcher::peek(uint64_t pc, void* out, unsigned want) {
    if (align_down(pc, kGuestPage) != page_) return 0;
    const auto n = static_cast<unsigned>(std::min<uint64_t>(want, kGuestPage - (pc & (kGuestPage - 1))));
    copy(out, base_ + pc, n);
    return n;
}

}  // namespace myna::jit
