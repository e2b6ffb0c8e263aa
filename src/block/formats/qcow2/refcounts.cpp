// Host clusters and how often they are used: counts of every width, allocation, the growing table, deferred frees.
#include <algorithm>

#include "base/bits.h"
#include "block/formats/qcow2/qcow2.h"

namespace myna::block::qcow2 {

uint64_t Qcow2Node::get_refcount(const std::vector<uint8_t>& b, unsigned order, uint64_t i) {
    switch (order) {
        case 0: return b[i / 8] >> (i % 8) & 1;
        case 1: return b[i / 4] >> (2 * (i % 4)) & 3;
        case 2: return b[i / 2] >> (4 * (i % 2)) & 15;
        case 3: return b[i];
        case 4: return be16(&b[i * 2]);
        case 5: return be32(&b[i * 4]);
        default: return be64(&b[i * 8]);
    }
}

void Qcow2Node::set_refcount(std::vector<uint8_t>& b, unsigned order, uint64_t i, uint64_t v) {
    const auto narrow = [&](unsigned per_byte, unsigned width) {
        const unsigned shift = width * static_cast<unsigned>(i % per_byte);
        uint8_t& at = b[i / per_byte];
        at = static_cast<uint8_t>((at & ~(low_mask(width) << shift)) | v << shift);
    };
    switch (order) {
        case 0: return narrow(8, 1);
        case 1: return narrow(4, 2);
        case 2: return narrow(2, 4);
        case 3: b[i] = static_cast<uint8_t>(v); return;
        case 4: return put16(&b[i * 2], static_cast<uint16_t>(v));
        case 5: return put32(&b[i * 4], static_cast<uint32_t>(v));
        default: return put64(&b[i * 8], v);
    }
}

Task<Result<uint64_t>> Qcow2Node::refcount(uint64_t cluster) {
    const uint64_t block = cluster / refcounts_per_block();
    if (block >= refcount_table_.size() || refcount_table_[block] == 0) co_return uint64_t{0};
    auto t = co_await table(refcount_cache_, refcount_table_[block]);
    if (!t) co_return std::unexpected(t.error());
    co_return get_refcount((*t)->bytes, h_.refcount_order, cluster % refcounts_per_block());
}

Task<Result<Table*>> Qcow2Node::refcount_block(uint64_t cluster) {
    const uint64_t index = cluster / refcounts_per_block();
    if (index >= refcount_table_.size()) {
        if (index >= kMaxRefcountTableBytes / 8) co_return fail(ErrorKind::kNoSpace, filename_ + ": the refcount table cannot grow further: use larger clusters", EFBIG);
        if (shadow_) refcount_table_.resize(align_up(index + 1, h_.cluster_size() / 8));  // it gets a new place anyway
        else if (auto r = co_await grow_refcount_table(index + 1); !r) co_return std::unexpected(r.error());
    }
    if (refcount_table_[index] != 0) {
        if (!shadow_ || shadow_->fresh.contains(refcount_table_[index])) co_return co_await table(refcount_cache_, refcount_table_[index]);
        const uint64_t old = refcount_table_[index];
        auto t = co_await move_table(refcount_cache_, old);
        if (!t) co_return t;
        refcount_table_[index] = (*t)->offset;
        shadow_->owed.push_back({(*t)->offset >> h_.cluster_bits, 1});
        shadow_->owed.push_back({old >> h_.cluster_bits, -1});
        co_return t;
    }
    // A new block goes into the stretch it counts itself: the first cluster of it that the file does not reach. Where the
    // file reaches over all of it (it grew, and what would have counted it was cut off; a block device), nothing of it is
    // in use: what is in use was counted before anything named it.
    const uint64_t first = index * refcounts_per_block();
    if (clusters_of(file_->size()) > first)
        if (auto r = co_await refuse_uncounted(index); !r) co_return std::unexpected(r.error());
    uint64_t at = std::max(first, clusters_of(file_->size()));
    if (at / refcounts_per_block() != index) at = first;
    if (cluster == at) ++at;  // the caller is about to take that one
    if (at / refcounts_per_block() != index) at = first;
    if (auto r = refuse_tables(at, 1, "refcount block"); !r) co_return std::unexpected(r.error());
    file_->event("refblock_alloc");
    std::vector<uint8_t> bytes(h_.cluster_size());
    set_refcount(bytes, h_.refcount_order, at % refcounts_per_block(), 1);
    auto t = co_await new_table(refcount_cache_, at << h_.cluster_bits, std::move(bytes));
    if (!t) co_return t;
    refcount_table_[index] = at << h_.cluster_bits;
    if (shadow_) shadow_->fresh.insert(at << h_.cluster_bits);
    else refcount_table_dirty_ = true;
    fresh_from_ = std::max(fresh_from_, at + 1);
    if (((at + 1) << h_.cluster_bits) > file_->size())
        if (auto r = co_await reach((at + 1) << h_.cluster_bits); !r) co_return std::unexpected(r.error());
    co_return t;
}

/// Moves the refcount table to a larger place behind the end of the file, counted by blocks of its own.
Task<Result<void>> Qcow2Node::grow_refcount_table(uint64_t blocks_needed) {
    const uint64_t per_block = refcounts_per_block();
    const uint64_t entries_per_cluster = h_.cluster_size() / 8;
    uint64_t begin = std::max<uint64_t>(clusters_of(file_->size()), refcount_table_.size() * per_block);
    begin = align_up(begin, per_block);
    uint64_t table_clusters = (std::max(blocks_needed, refcount_table_.size() * 3 / 2) + entries_per_cluster) / entries_per_cluster;
    // The new area holds the table and the blocks that count the area; both grow with each other.
    uint64_t blocks = 1;
    for (;;) {
        const uint64_t end_block = (begin + table_clusters + blocks) / per_block + 1;
        const uint64_t need_clusters = (std::max(end_block, blocks_needed) + entries_per_cluster - 1) / entries_per_cluster;
        const uint64_t need_blocks = (table_clusters + blocks + per_block - 1) / per_block;
        if (need_clusters <= table_clusters && need_blocks <= blocks) break;
        table_clusters = std::max(table_clusters, need_clusters);
        blocks = std::max(blocks, need_blocks);
    }
    if (table_clusters << h_.cluster_bits > kMaxRefcountTableBytes)
        co_return fail(ErrorKind::kNoSpace, filename_ + ": the refcount table cannot grow further: use larger clusters", EFBIG);
    std::vector<uint64_t> fresh = refcount_table_;
    fresh.resize(table_clusters * entries_per_cluster);
    const uint64_t used = table_clusters + blocks;
    for (uint64_t b = 0; b < blocks; ++b) {
        std::vector<uint8_t> bytes(h_.cluster_size());
        for (uint64_t i = b * per_block; i < std::min((b + 1) * per_block, used); ++i) set_refcount(bytes, h_.refcount_order, i % per_block, 1);
        const uint64_t at = (begin + table_clusters + b) << h_.cluster_bits;
        if (auto r = co_await write_at(at, bytes.data(), bytes.size()); !r) co_return r;
        fresh[begin / per_block + b] = at;
    }
    std::vector<uint8_t> t(fresh.size() * 8);
    for (size_t i = 0; i < fresh.size(); ++i) put64(t.data() + i * 8, fresh[i]);
    if (auto r = co_await write_at(begin << h_.cluster_bits, t.data(), t.size()); !r) co_return r;
    // Blocks that the old table names must be on disk before the header names the new one.
    if (auto r = co_await write_tables(refcount_cache_); !r) co_return r;
    if (auto r = co_await barrier(); !r) co_return r;
    const uint64_t old_offset = h_.refcount_table_offset, old_clusters = h_.refcount_table_clusters;
    refcount_table_ = std::move(fresh);
    refcount_table_dirty_ = false;
    fresh_from_ = std::max(fresh_from_, begin + used);
    h_.refcount_table_offset = begin << h_.cluster_bits;
    h_.refcount_table_clusters = static_cast<uint32_t>(table_clusters);
    note_tables(h_.refcount_table_offset, table_clusters << h_.cluster_bits, Metadata::kRefcountTable);
    if (auto r = co_await write_header(); !r) co_return r;
    free_later(old_offset, old_clusters << h_.cluster_bits);
    co_return Result<void>{};
}

Task<Result<void>> Qcow2Node::change_refcount(uint64_t cluster, uint64_t count, int delta) {
    for (uint64_t c = cluster; c < cluster + count; ++c) {
        auto t = co_await refcount_block(c);
        if (!t) co_return std::unexpected(t.error());
        const uint64_t i = c % refcounts_per_block();
        const uint64_t now = get_refcount((*t)->bytes, h_.refcount_order, i);
        if (delta < 0 && now == 0)
            co_return found_damage("host cluster " + std::to_string(c) + " is in use but its refcount is 0");
        if (delta > 0 && now == max_refcount())
            co_return fail(ErrorKind::kInvalidArgument, filename_ + ": a cluster would have more references than the image's refcount width can count", EINVAL);
        set_refcount((*t)->bytes, h_.refcount_order, i, now + static_cast<uint64_t>(static_cast<int64_t>(delta)));
        (*t)->dirty = true;
        if (delta < 0 && now == 1) {
            if (shadow_) shadow_->hold(c);
            else next_free_ = std::min(next_free_, c);
            table_clusters_.erase(c);
            l2_cache_.drop(c << h_.cluster_bits);  // a freed table must not be found again
        }
    }
    co_return Result<void>{};
}

Task<Result<std::pair<uint64_t, uint64_t>>> Qcow2Node::allocate(uint64_t count, bool exact, const char* what) {
    file_->event("cluster_alloc");
    if (auto r = co_await mark_writing(); !r) co_return std::unexpected(r.error());
    if (auto r = find_tables(); !r) co_return std::unexpected(r.error());
    uint64_t begin = next_free_, found = 0;
    bool seen_gap = false, ended = false;
    const auto kept = [&](uint64_t c) { return owed(c) || (shadow_ && shadow_->holds(c)); };
    /// `c` is taken: the search goes on behind it, unless what was found before it is enough.
    const auto pass = [&](uint64_t c) {
        ended = found > 0 && !exact;
        if (ended) return;
        seen_gap |= found > 0;
        begin = c + 1;
        found = 0;
    };
    while (found < count && !ended) {
        const uint64_t c = begin + found, block = c / refcounts_per_block();
        if (block < refcount_table_.size() && refcount_table_[block] != 0) {
            auto t = co_await table(refcount_cache_, refcount_table_[block]);
            if (!t) co_return std::unexpected(t.error());
            const uint64_t first = block * refcounts_per_block(), end = first + refcounts_per_block();
            for (uint64_t k = c; k < end && found < count && !ended; ++k) {
                if (get_refcount((*t)->bytes, h_.refcount_order, k - first) != 0 || kept(k)) pass(k);
                else ++found;
            }
            continue;
        }
        if (kept(c)) {
            pass(c);
            continue;
        }
        // A block that does not exist yet will take a cluster of its stretch: it must exist before the clusters are chosen.
        if (clusters_of(file_->size()) < block * refcounts_per_block())
            if (auto r = co_await reach(block * refcounts_per_block() << h_.cluster_bits); !r) co_return std::unexpected(r.error());
        auto t = co_await refcount_block(c);
        if (!t) co_return std::unexpected(t.error());
        if (found > 0 && !exact) break;
        begin = found > 0 ? begin : c;
        found = 0;
    }
    if (auto r = refuse_tables(begin, found, what); !r) co_return std::unexpected(r.error());
    if (shadow_)
        for (uint64_t c = begin; c < begin + found; ++c) shadow_->hold(c);  // a table that moves must not go there
    if (auto r = co_await change_refcount(begin, found, 1); !r) co_return std::unexpected(r.error());
    if (!seen_gap) next_free_ = begin + found;
    allocated_fresh_ = begin >= fresh_from_;
    fresh_from_ = std::max(fresh_from_, begin + found);
    co_return std::pair{begin << h_.cluster_bits, found};
}

/// Where a refcount block is missing although a table names clusters that it should count, their counts are lost: they
/// must not be given away. Looked at once: from then on what is named is counted.
Task<Result<void>> Qcow2Node::refuse_uncounted(uint64_t index) {
    if (!uncounted_) {
        std::unordered_set<uint64_t> found;
        const auto name = [&](uint64_t host, uint64_t bytes) {
            for (uint64_t c = host >> h_.cluster_bits; bytes != 0 && c <= (host + bytes - 1) >> h_.cluster_bits; ++c)
                if (const uint64_t i = c / refcounts_per_block(); i >= refcount_table_.size() || refcount_table_[i] == 0) found.insert(i);
        };
        std::vector<std::vector<uint64_t>> all{l1_};
        for (const auto& s : snapshot_tables_) {
            name(s.l1_offset, uint64_t{s.l1_entries} * 8);
            std::vector<uint8_t> raw(uint64_t{s.l1_entries} * 8);
            if (auto r = co_await read_at(s.l1_offset, raw.data(), raw.size()); !r) co_return r;
            all.emplace_back(s.l1_entries);
            for (size_t k = 0; k < s.l1_entries; ++k) all.back()[k] = be64(&raw[k * 8]);
        }
        std::vector<uint8_t> bytes(h_.cluster_size());
        for (const auto& l1 : all)
            for (const uint64_t e : l1) {
                const uint64_t at = e & kOffsetMask;
                if (at == 0) continue;
                name(at, h_.cluster_size());
                const Table* cached = l2_cache_.find(at);  // it may not be on disk yet
                if (cached == nullptr)
                    if (auto r = co_await read_at(at, bytes.data(), bytes.size()); !r) co_return r;
                const uint8_t* raw = cached != nullptr ? cached->bytes.data() : bytes.data();
                for (uint64_t k = 0; k < h_.l2_entries(); ++k) {
                    const uint64_t entry = be64(raw + k * h_.l2_entry_bytes());
                    if (entry & kCompressed) name(compressed_offset(entry), compressed_size(entry));
                    else if ((entry & kOffsetMask) != 0 && !data_file_) name(entry & kOffsetMask, h_.cluster_size());
                }
            }
        uncounted_ = std::move(found);
    }
    if (uncounted_->contains(index))
        co_return found_damage("host clusters from " + std::to_string(index * refcounts_per_block() << h_.cluster_bits) + " on are in use but have no refcounts");
    co_return Result<void>{};
}

void Qcow2Node::free_later(uint64_t host, uint64_t bytes) {
    if (bytes == 0) return;
    const uint64_t first = host >> h_.cluster_bits, last = (host + bytes - 1) >> h_.cluster_bits;
    for (uint64_t c = first; c <= last; ++c) ++frees_[c];
}

bool Qcow2Node::owed(uint64_t cluster) const {
    return frees_.contains(cluster) || std::any_of(frees_waiting_.begin(), frees_waiting_.end(), [&](const Frees& f) { return f.references.contains(cluster); });
}

Task<Result<void>> Qcow2Node::give_back(uint64_t offset, uint64_t bytes) {
    if (!settings_.pass_discards) co_return Result<void>{};
    co_return co_await file_->discard(offset, bytes);
}

Task<Result<void>> Qcow2Node::apply_frees(std::map<uint64_t, uint64_t> frees) {
    file_->event("cluster_free");
    uint64_t run_begin = 0, run_length = 0;
    for (const auto& [cluster, references] : frees) {
        for (uint64_t i = 0; i < references; ++i)
            if (auto r = co_await change_refcount(cluster, 1, -1); !r) co_return r;
        auto left = co_await refcount(cluster);
        if (!left) co_return std::unexpected(left.error());
        if (*left != 0) continue;
        if (compressed_next_ != 0 && (compressed_next_ - 1) >> h_.cluster_bits == cluster) compressed_next_ = 0;
        if (run_length != 0 && run_begin + run_length == cluster) {
            ++run_length;
            continue;
        }
        if (run_length != 0)
            if (auto r = co_await give_back(run_begin << h_.cluster_bits, run_length << h_.cluster_bits); !r) co_return r;
        run_begin = cluster;
        run_length = 1;
    }
    if (run_length != 0 && (run_begin + run_length) << h_.cluster_bits <= file_->size()) {
        // The counts that free them must be on disk first: a cut must not leave a used cluster without its bytes.
        if (auto r = co_await write_tables(refcount_cache_); !r) co_return r;
        if (auto r = co_await give_back(run_begin << h_.cluster_bits, run_length << h_.cluster_bits); !r) co_return r;
    }
    co_return Result<void>{};
}

}  // namespace myna::block::qcow2
