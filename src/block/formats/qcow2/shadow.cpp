// Changes of many tables at once, of which a power cut leaves all or nothing: every refcount block and L2 table that changes
// is copied to a cluster that is free, so are the L1 table and the refcount table; then one write of the header, which is
// less than a sector, names the new ones.
//
//   old header ─▶ L1, refcount table ─▶ L2 tables, refcount blocks      as they were, until
//   new header ─▶ L1', refcount table' ─▶ copies where something changed, the old ones elsewhere
//
// Clusters that the new state does not count are not given away before the header is on disk.
#include <algorithm>

#include "base/bits.h"
#include "block/formats/qcow2/qcow2.h"

namespace myna::block::qcow2 {

Task<Result<void>> Qcow2Node::begin_shadow() {
    if (auto r = co_await mark_writing(); !r) co_return r;
    if (auto r = co_await flush_metadata(); !r) co_return r;
    if (auto r = co_await barrier(); !r) co_return r;
    if (!frees_.empty() || !frees_waiting_.empty()) co_return fail(ErrorKind::kInternal, filename_ + ": clusters are still to be freed");
    compressed_next_ = 0;
    shadow_ = std::make_unique<Shadow>(Shadow{h_, l1_, refcount_table_, snapshots_, snapshot_tables_, old_snapshot_bytes_, size_, next_free_, {}, {}, {}});
    co_return Result<void>{};
}

void Qcow2Node::abort_shadow() {
    h_ = std::move(shadow_->header);
    l1_ = std::move(shadow_->l1);
    l1_dirty_.assign((l1_.size() + 63) / 64, false);
    refcount_table_ = std::move(shadow_->refcount_table);
    refcount_table_dirty_ = false;
    snapshots_ = std::move(shadow_->snapshots);
    snapshot_tables_ = std::move(shadow_->snapshot_tables);
    old_snapshot_bytes_ = shadow_->old_snapshot_bytes;
    size_ = shadow_->size;
    next_free_ = shadow_->next_free;
    l2_cache_.clear();
    refcount_cache_.clear();
    table_clusters_.clear();
    shadow_.reset();
}

Task<Result<uint64_t>> Qcow2Node::unused_cluster() {
    for (uint64_t c = next_free_;; ++c) {
        const uint64_t index = c / refcounts_per_block();
        if (index >= refcount_table_.size() || refcount_table_[index] == 0)
            if (auto t = co_await refcount_block(c); !t) co_return std::unexpected(t.error());
        auto n = co_await refcount(c);
        if (!n) co_return std::unexpected(n.error());
        if (*n != 0 || shadow_->holds(c)) continue;
        if (auto r = refuse_tables(c, 1); !r) co_return std::unexpected(r.error());
        shadow_->hold(c);
        fresh_from_ = std::max(fresh_from_, c + 1);
        next_free_ = c + 1;
        co_return c;
    }
}

Task<Result<Table*>> Qcow2Node::move_table(TableCache& cache, uint64_t offset) {
    auto cluster = co_await unused_cluster();
    if (!cluster) co_return std::unexpected(cluster.error());
    auto old = co_await table(cache, offset);
    if (!old) co_return old;
    std::vector<uint8_t> bytes = (*old)->bytes;
    auto t = co_await new_table(cache, *cluster << h_.cluster_bits, std::move(bytes));
    if (!t) co_return t;
    cache.drop(offset);
    shadow_->fresh.insert((*t)->offset);
    co_return t;
}

Task<Result<void>> Qcow2Node::commit_shadow() {
    // Places for the tables of tables; the old ones are given up.
    const uint64_t l1_bytes = l1_.size() * 8, old_l1 = clusters_of(uint64_t{h_.l1_entries} * 8);
    uint64_t l1_at = 0;
    if (l1_bytes != 0) {
        auto got = co_await allocate(clusters_of(l1_bytes), true);
        if (!got) co_return std::unexpected(got.error());
        l1_at = got->first;
    }
    if (old_l1 != 0)
        if (auto r = co_await change_refcount(h_.l1_offset >> h_.cluster_bits, old_l1, -1); !r) co_return r;
    if (auto r = co_await change_refcount(h_.refcount_table_offset >> h_.cluster_bits, h_.refcount_table_clusters, -1); !r) co_return r;
    // What is counted may need another block, and that a larger table: until it fits.
    uint64_t table_at = 0, table_clusters = 0;
    for (;;) {
        while (!shadow_->owed.empty()) {
            const auto [cluster, delta] = shadow_->owed.back();
            shadow_->owed.pop_back();
            if (auto r = co_await change_refcount(cluster, 1, delta); !r) co_return r;
        }
        if (table_clusters << h_.cluster_bits >= refcount_table_.size() * 8) break;
        if (table_clusters != 0)
            if (auto r = co_await change_refcount(table_at >> h_.cluster_bits, table_clusters, -1); !r) co_return r;
        table_clusters = clusters_of(refcount_table_.size() * 8);
        if (table_clusters << h_.cluster_bits > kMaxRefcountTableBytes) co_return fail(ErrorKind::kNoSpace, filename_ + ": the refcount table cannot grow further: use larger clusters", EFBIG);
        auto got = co_await allocate(table_clusters, true);
        if (!got) co_return std::unexpected(got.error());
        table_at = got->first;
    }
    refcount_table_.resize((table_clusters << h_.cluster_bits) / 8);

    if (auto r = co_await write_tables(refcount_cache_); !r) co_return r;
    if (auto r = co_await write_tables(l2_cache_); !r) co_return r;
    const auto write_words = [this](uint64_t at, const std::vector<uint64_t>& words) -> Task<Result<void>> {
        std::vector<uint8_t> raw(align_up(words.size() * 8, h_.cluster_size()));
        for (size_t i = 0; i < words.size(); ++i) put64(&raw[i * 8], words[i]);
        co_return co_await write_at(at, raw.data(), raw.size());
    };
    if (l1_bytes != 0)
        if (auto r = co_await write_words(l1_at, l1_); !r) co_return r;
    if (auto r = co_await write_words(table_at, refcount_table_); !r) co_return r;
    if (auto r = co_await barrier(); !r) co_return r;
    h_.l1_offset = l1_at;
    h_.l1_entries = static_cast<uint32_t>(l1_.size());
    h_.refcount_table_offset = table_at;
    h_.refcount_table_clusters = static_cast<uint32_t>(table_clusters);
    h_.size = size_;
    // Which of both is on disk when this fails, nobody knows: nothing more may be written then.
    if (auto r = co_await write_header(); !r) {
        damaged_ = true;
        co_return r;
    }

    const auto shadow = std::move(shadow_);
    l1_dirty_.assign((l1_.size() + 63) / 64, false);
    table_clusters_.clear();
    next_free_ = shadow->next_free;
    last_compressed_at_ = UINT64_MAX;
    ++compressed_changes_;
    if (auto r = co_await find_inactive(); !r) co_return r;
    // The host gets back what only the old state used.
    for (uint64_t c = 0; c < shadow->held.size();) {
        uint64_t n = 0;
        for (; c + n < shadow->held.size() && shadow->held[c + n]; ++n) {
            auto left = co_await refcount(c + n);
            if (!left) co_return std::unexpected(left.error());
            if (*left != 0) break;
        }
        if (n != 0) {
            next_free_ = std::min(next_free_, c);
            const uint64_t begin = c << h_.cluster_bits, end = std::min((c + n) << h_.cluster_bits, file_->size());
            if (begin < end)
                if (auto r = co_await file_->discard(begin, end - begin); !r) co_return r;
        }
        c += n + 1;
    }
    co_return Result<void>{};
}

}  // namespace myna::block::qcow2
