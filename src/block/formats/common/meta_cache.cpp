#include "block/formats/common/meta_cache.h"

#include <algorithm>

#include "base/bits.h"

namespace myna::block::formats {

uint8_t* MetaCache::find(uint64_t at) {
    const uint64_t page = align_down(at, kPage);
    if (order_.empty()) return nullptr;
    if (order_.front().at != page) {
        const auto it = index_.find(page);
        if (it == index_.end()) return nullptr;
        order_.splice(order_.begin(), order_, it->second);
    }
    return order_.front().bytes.data() + (at - page);
}

Task<Result<void>> MetaCache::load(uint64_t at) {
    const uint64_t page = align_down(at, kPage);
    const auto alone = co_await loading_.lock();
    if (index_.contains(page)) co_return Result<void>{};
    Page p{page, std::vector<uint8_t>(kPage), {}};
    if (page < file_->size()) {
        const IoVec part(p.bytes.data(), std::min(kPage, file_->size() - page));
        if (auto r = co_await file_->read(page, part); !r) co_return r;
    }
    while (order_.size() >= capacity_) {
        const auto old = std::find_if(order_.rbegin(), order_.rend(), [](const Page& q) { return q.dirty.none(); });
        if (old == order_.rend()) break;
        index_.erase(old->at);
        order_.erase(std::next(old).base());
    }
    order_.push_front(std::move(p));
    index_[page] = order_.begin();
    co_return Result<void>{};
}

Task<Result<uint8_t*>> MetaCache::get(uint64_t at) {
    uint8_t* p;
    while ((p = find(at)) == nullptr)
        if (auto r = co_await load(at); !r) co_return std::unexpected(r.error());
    co_return p;
}

void MetaCache::mark(uint64_t at, size_t n) {
    const uint64_t page = align_down(at, kPage);
    Page& p = *index_.at(page);
    if (p.dirty.none()) ++dirty_pages_;
    for (uint64_t s = (at - page) / kSector; s <= (at - page + n - 1) / kSector; ++s) p.dirty.set(s);
}

Task<Result<void>> MetaCache::fresh(uint64_t at, uint64_t n) {
    for (uint64_t done = 0; done < n;) {
        const uint64_t take = std::min(n - done, kPage - (at + done) % kPage);
        auto p = co_await get(at + done);
        if (!p) co_return std::unexpected(p.error());
        std::fill_n(*p, take, uint8_t{0});
        mark(at + done, take);
        done += take;
    }
    co_return Result<void>{};
}

Task<Result<void>> MetaCache::write_back() {
    std::vector<uint64_t> pages;
    for (const Page& p : order_)
        if (p.dirty.any()) pages.push_back(p.at);
    std::sort(pages.begin(), pages.end());
    for (const uint64_t at : pages) {
        Page& p = *index_.at(at);
        for (size_t s = 0; s < p.dirty.size(); ++s) {
            if (!p.dirty[s]) continue;
            size_t e = s;
            while (e < p.dirty.size() && p.dirty[e]) ++e;
            const uint64_t from = at + s * kSector, to = at + e * kSector;
            if (to > file_->size())
                if (auto r = co_await file_->grow_to(to); !r) co_return r;
            const IoVec part(p.bytes.data() + s * kSector, (e - s) * kSector);
            if (auto r = co_await file_->write(from, part); !r) co_return r;
            s = e;
        }
        p.dirty.reset();
        --dirty_pages_;
    }
    co_return Result<void>{};
}

void MetaCache::clear() {
    order_.clear();
    index_.clear();
    dirty_pages_ = 0;
}

}  // namespace myna::block::formats
