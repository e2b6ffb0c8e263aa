#include "jit/block_map.h"

#include <algorithm>
#include <cstring>
#include <cstdlib>

#include "base/bits.h"

namespace myna::jit {

// ---- BlockArena

void* BlockArena::allocate(size_t bytes, size_t align) {
    size_t skip = -reinterpret_cast<uintptr_t>(next_) & (align - 1);
    if (next_ == nullptr || skip + bytes > left_) {
        const size_t chunk = std::max(kChunk, bytes + align);
        chunks_.push_back(static_cast<uint8_t*>(std::malloc(chunk)));
        next_ = chunks_.back();
        if (next_ == nullptr) std::abort();
        left_ = chunk;
        skip = -reinterpret_cast<uintptr_t>(next_) & (align - 1);
    }
    uint8_t* p = next_ + skip;
    next_ = p + bytes;
    left_ -= skip + bytes;
    return p;
}

void BlockArena::clear() {
    for (uint8_t* c : chunks_) std::free(c);
    chunks_.clear();
    next_ = nullptr;
    left_ = 0;
}

// ---- the table

namespace {
constexpr uint64_t kFirstTable = 1024;
}

Block* BlockMap::tombstone() noexcept {
    static Block none{};  // an address that is no block; never read or written through
    return &none;
}

BlockMap::BlockMap(CodeCache& cache) : cache_(cache) {
    tables_.push_back(std::make_unique<Table>(kFirstTable - 1, std::make_unique<std::atomic<Block*>[]>(kFirstTable)));
    table_.store(tables_.back().get());
}
BlockMap::~BlockMap() = default;

Block* BlockMap::find(uint64_t pc, uint32_t mode) const noexcept {
    const Table* t = table_.load(std::memory_order_acquire);
    for (uint64_t i = hash(pc, mode);; ++i) {
        Block* b = t->slots[i & t->mask].load(std::memory_order_acquire);
        if (b == nullptr) return nullptr;
        if (b->pc == pc && b->mode == mode && b != tombstone() && b->valid) return b;
    }
}

void BlockMap::insert(Table& t, Block* b) {
    for (uint64_t i = hash(b->pc, b->mode);; ++i) {
        std::atomic<Block*>& slot = t.slots[i & t.mask];
        if (slot.load(std::memory_order_relaxed) != nullptr) continue;
        slot.store(b, std::memory_order_release);
        return;
    }
}

void BlockMap::grow() {
    const Table& old = *tables_.back();
    const uint64_t size = live_ * 4 > old.mask ? (old.mask + 1) * 2 : old.mask + 1;
    auto fresh = std::make_unique<Table>(size - 1, std::make_unique<std::atomic<Block*>[]>(size));
    for (uint64_t i = 0; i <= old.mask; ++i) {
        Block* b = old.slots[i].load(std::memory_order_relaxed);
        if (b != nullptr && b != tombstone()) insert(*fresh, b);
    }
    filled_ = live_;
    tables_.push_back(std::move(fresh));
    table_.store(tables_.back().get(), std::memory_order_release);
}

void BlockMap::publish(Block* b) {
    if ((filled_ + 1) * 2 > tables_.back()->mask) grow();
    insert(*tables_.back(), b);
    ++filled_;
    ++live_;
    for (unsigned r = 0; r < b->range_count; ++r) {
        const uint64_t first = align_down(b->ranges[r].pc, kGuestPage);
        const uint64_t pages = (b->ranges[r].pc - first + std::max(b->ranges[r].bytes, 1u) - 1) / kGuestPage + 1;
        for (uint64_t page = first, n = 0; n < pages; ++n, page += kGuestPage) {  // counted: the last page has no end
            if (page != last_page_) {
                last_list_ = &pages_[page];
                last_page_ = page;
            }
            auto& list = *last_list_;
            if (list.empty() || list.back() != b) list.push_back(b);
        }
    }
}

// ---- links

void BlockMap::patch(const Exit& e, uint64_t target) noexcept {
    const uint64_t at = e.source->host + e.disp_offset;
    const auto disp = static_cast<int32_t>(target - (at + 4));
    // The displacement lies within eight aligned bytes, which are written at once; nobody else writes to them meanwhile.
    std::atomic_ref<uint64_t> word(*reinterpret_cast<uint64_t*>(cache_.writable(at & ~uint64_t{7})));
    uint64_t bytes = word.load(std::memory_order_relaxed);
    std::memcpy(reinterpret_cast<uint8_t*>(&bytes) + (at & 7), &disp, sizeof disp);
    word.store(bytes, std::memory_order_release);
}

void BlockMap::link(Exit& from, Block& to) {
    if (from.target != nullptr || !from.source->valid || !to.valid) return;
    from.target = &to;
    from.prev_incoming = nullptr;
    from.next_incoming = to.incoming;
    if (to.incoming != nullptr) to.incoming->prev_incoming = &from;
    to.incoming = &from;
    patch(from, to.host);
}

void BlockMap::unlink(Exit& e) {
    if (e.target == nullptr) return;
    if (e.prev_incoming != nullptr) e.prev_incoming->next_incoming = e.next_incoming;
    else e.target->incoming = e.next_incoming;
    if (e.next_incoming != nullptr) e.next_incoming->prev_incoming = e.prev_incoming;
    e.target = nullptr;
    patch(e, e.source->host + e.stub_offset);
}

void BlockMap::repatch_all() {
    const Table& t = *tables_.back();
    for (uint64_t i = 0; i <= t.mask; ++i) {
        const Block* b = t.slots[i].load(std::memory_order_relaxed);
        if (b == nullptr || b == tombstone()) continue;
        for (unsigned k = 0; k < b->exit_count; ++k) {
            const Exit& e = b->exits[k];
            patch(e, e.target != nullptr ? e.target->host : b->host + e.stub_offset);
        }
    }
}

// ---- removal

void BlockMap::remove(Block* b) {
    const Table& t = *tables_.back();
    for (uint64_t i = hash(b->pc, b->mode);; ++i) {
        std::atomic<Block*>& slot = t.slots[i & t.mask];
        Block* at = slot.load(std::memory_order_relaxed);
        if (at == nullptr) break;
        if (at == b) {
            slot.store(tombstone(), std::memory_order_release);
            --live_;
            break;
        }
    }
    std::atomic_ref<bool>(b->valid).store(false);
    while (b->incoming != nullptr) unlink(*b->incoming);
    for (unsigned k = 0; k < b->exit_count; ++k) unlink(b->exits[k]);
    for (unsigned r = 0; r < b->range_count; ++r) {
        const uint64_t first = align_down(b->ranges[r].pc, kGuestPage);
        const uint64_t pages = (b->ranges[r].pc - first + std::max(b->ranges[r].bytes, 1u) - 1) / kGuestPage + 1;
        for (uint64_t page = first, n = 0; n < pages; ++n, page += kGuestPage) {
            const auto it = pages_.find(page);
            if (it == pages_.end()) continue;
            std::erase(it->second, b);
            if (it->second.empty()) {
                pages_.erase(it);
                last_page_ = 1;
            }
        }
    }
}

void BlockMap::remove_range(uint64_t addr, uint64_t len, std::vector<Block*>& removed) {
    if (len == 0 || pages_.empty()) return;
    const size_t before = removed.size();
    const auto overlaps = [&](const Block* b) {
        for (unsigned r = 0; r < b->range_count; ++r)
            if (b->ranges[r].pc < addr + len && addr < b->ranges[r].pc + std::max(b->ranges[r].bytes, 1u)) return true;
        return false;
    };
    const auto take = [&](const std::vector<Block*>& list) {
        for (Block* b : list)
            if (overlaps(b)) removed.push_back(b);
    };
    const uint64_t first = align_down(addr, kGuestPage);
    const uint64_t page_count = (addr + len - 1 - first) / kGuestPage + 1;
    if (page_count <= pages_.size()) {
        for (uint64_t n = 0; n < page_count; ++n)
            if (const auto it = pages_.find(first + n * kGuestPage); it != pages_.end()) take(it->second);
    } else {
        for (const auto& [page, list] : pages_)
            if (page + kGuestPage > addr && page < addr + len) take(list);
    }
    std::sort(removed.begin() + static_cast<ptrdiff_t>(before), removed.end());
    removed.erase(std::unique(removed.begin() + static_cast<ptrdiff_t>(before), removed.end()), removed.end());
    for (size_t i = before; i < removed.size(); ++i) remove(removed[i]);
}

void BlockMap::remove_region(unsigned region, std::vector<Block*>& removed) {
    for (Block* b : cache_.blocks(region)) {
        if (b->valid) remove(b);
        removed.push_back(b);
    }
}

void BlockMap::free_region(unsigned region) { arenas_[region].clear(); }

void BlockMap::free_old_tables() { tables_.erase(tables_.begin(), tables_.end() - 1); }

}  // namespace myna::jit
