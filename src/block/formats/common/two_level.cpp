#include "block/formats/common/two_level.h"

#include <algorithm>

#include "base/bits.h"
#include "block/formats/common/open.h"

namespace myna::block::formats {

TwoLevelNode::TwoLevelNode(Graph& graph, NodePtr file, bool big_endian) : BlockMapNode(graph, std::move(file)), tables_(graph.reactor()), big_endian_(big_endian) {
    tables_.attach(*file_);
}

Task<Result<void>> TwoLevelNode::read_l1(uint64_t at, uint64_t entries) {
    constexpr uint64_t kMaxEntries = 8 << 20;
    if (entries > kMaxEntries) co_return corrupt("Image too large: the L1 table would have " + std::to_string(entries) + " entries");
    if (at > file_->size() || entries * 8 > file_->size() - at) co_return corrupt("the L1 table is outside the file");
    auto raw = co_await read_bytes(*file_, at, entries * 8);
    if (!raw) co_return std::unexpected(raw.error());
    l1_at_ = at;
    l1_.resize(entries);
    for (uint64_t i = 0; i < entries; ++i) l1_[i] = number(&(*raw)[i * 8]);
    co_return Result<void>{};
}

std::optional<Place> TwoLevelNode::cached(uint64_t block) {
    const uint64_t i = block / l2_entries_, k = block % l2_entries_;
    if (i >= l1_.size()) return Place{.blocks = uint64_t{1} << 40};
    if (l1_[i] == 0) return Place{.blocks = l2_entries_ - k};
    if (bad_table(l1_[i])) return Place{.kind = Place::Kind::kBad, .host = l1_[i]};
    const uint8_t* p = tables_.find(l1_[i] + k * 8);
    if (p == nullptr) return std::nullopt;
    return decode(number(p));
}

Task<Result<std::pair<uint64_t, uint64_t>>> TwoLevelNode::reserve(uint64_t, uint64_t count) {
    next_ = align_up(next_, block_bytes_);
    return append(count);
}

Task<Result<void>> TwoLevelNode::set_entry(uint64_t block, uint64_t entry) {
    const uint64_t i = block / l2_entries_;
    if (i >= l1_.size() || (l1_[i] != 0 && bad_table(l1_[i]))) co_return corrupt("the table of block " + std::to_string(block) + " is outside the image");
    if (l1_[i] == 0) {
        const uint64_t at = align_up(next_, block_bytes_);
        next_ = at + l2_entries_ * 8;
        if (next_ > file_->size())
            if (auto r = co_await file_->grow_to(next_); !r) co_return r;
        if (auto r = co_await tables_.fresh(at, l2_entries_ * 8); !r) co_return r;
        l1_[i] = at;
        l1_dirty_.push_back(i);
    }
    const uint64_t at = l1_[i] + block % l2_entries_ * 8;
    auto p = co_await tables_.get(at);
    if (!p) co_return std::unexpected(p.error());
    put_number(*p, entry);
    tables_.mark(at, 8);
    tables_dirty_ = true;
    co_return Result<void>{};
}

Task<Result<void>> TwoLevelNode::point(uint64_t first, uint64_t count, uint64_t host) {
    for (uint64_t b = 0; b < count; ++b)
        if (auto r = co_await set_entry(first + b, host + b * block_bytes_); !r) co_return r;
    if (tables_.crowded()) co_return co_await flush_tables();
    co_return Result<void>{};
}

Task<Result<void>> TwoLevelNode::write_tables() {
    if (auto r = co_await tables_.write_back(); !r) co_return r;
    if (l1_dirty_.empty()) co_return Result<void>{};
    if (auto r = co_await file_->flush(); !r) co_return r;
    for (const uint64_t i : l1_dirty_) {
        uint8_t e[8];
        put_number(e, l1_[i]);
        if (auto r = co_await write_bytes(*file_, l1_at_ + i * 8, e, 8); !r) co_return r;
    }
    l1_dirty_.clear();
    co_return Result<void>{};
}

Task<Result<void>> TwoLevelNode::make_empty() {
    if (read_only_) co_return fail(ErrorKind::kPermission, filename_ + ": image is read-only", EPERM);
    if (auto r = co_await begin_writing(); !r) co_return r;
    const auto drained = co_await drain();
    const auto alone = co_await map_.lock();
    if (auto r = co_await flush_tables(); !r) co_return r;
    std::ranges::fill(l1_, 0);
    const std::vector<uint8_t> none(l1_.size() * 8);
    if (auto r = co_await write_bytes(*file_, l1_at_, none.data(), none.size()); !r) co_return r;
    if (auto r = co_await file_->flush(); !r) co_return r;
    // Nothing names the tables and the data any more: what is behind the L1 table may go.
    tables_.clear();
    next_ = align_up(std::max(l1_at_ + none.size(), kept_end_), block_bytes_);
    if (next_ >= file_->size()) co_return Result<void>{};
    co_return co_await file_->truncate(next_);
}

}  // namespace myna::block::formats
