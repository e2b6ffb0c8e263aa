#include "jit/fetcher.h"

#include "base/bits.h"

namespace myna::jit {

bool GuestFetcher::open_page(uint64_t page) {
    const uint64_t changes = memory_.changes.load();
    if (page == page_ && changes == page_changes_) return true;
    if (!memory_.executable(page, kGuestPage)) return false;
    memory_.code_on_page(page);
    page_ = page;
    page_changes_ = changes;
    return true;
}

unsigned GuestFetcher::fetch_anywhere(uint64_t pc, void* out, unsigned want) {
    // A block's first instruction, mostly in the page of the block before.
    if (const uint64_t end = align_down(pc, kGuestPage) + kGuestPage; ranges.empty() && stops_.empty() && pc + want <= end && open_page(end - kGuestPage)) {
        copy(out, base_ + pc, want);
        ranges.push_back({pc, want});
        first_limit_ = end;
        return want;
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
    if (align_down(pc, kGuestPage) != page_ || memory_.changes.load() != page_changes_) return 0;
    const auto n = static_cast<unsigned>(std::min<uint64_t>(want, kGuestPage - (pc & (kGuestPage - 1))));
    copy(out, base_ + pc, n);
    return n;
}

}  // namespace myna::jit
