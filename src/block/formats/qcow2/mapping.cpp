// Guest offset to host offset: looking mappings up, making L2 tables writable, and block status from both.
#include <algorithm>

#include "base/bits.h"
#include "block/formats/qcow2/qcow2.h"

namespace myna::block::qcow2 {

uint32_t Qcow2Node::compressed_size(uint64_t e) const noexcept {
    const unsigned x = 62 - (h_.cluster_bits - 8);
    const uint64_t sectors = ((e & ~(kCompressed | kCopied)) >> x) + 1;
    return static_cast<uint32_t>(sectors * 512 - (compressed_offset(e) & 511));
}

/// The mapping at `offset`: as much of [offset, offset + length) as shares it, within one L2 table. map_ is held.
Task<Result<Mapping>> Qcow2Node::map(uint64_t offset, uint64_t length) {
    const uint64_t l1_index = offset / h_.l2_reach();
    const uint64_t in_table = offset % h_.l2_reach();
    length = std::min(length, h_.l2_reach() - in_table);
    Mapping m;
    m.length = length;
    if (l1_index >= l1_.size() || (l1_[l1_index] & kOffsetMask) == 0) co_return m;
    auto found = co_await table(l2_cache_, l1_[l1_index] & kOffsetMask);
    if (!found) co_return std::unexpected(found.error());
    const L2Ref first{*found, in_table >> h_.cluster_bits};
    const uint64_t cluster = h_.cluster_size();

    // What one piece (a cluster, or with extended L2 a subcluster) at `pos` is.
    const uint64_t piece = cluster / h_.subclusters();
    const auto classify = [&](uint64_t pos, Mapping& out) -> Result<void> {
        const L2Ref r{first.table, (in_table + pos) >> h_.cluster_bits};
        const uint64_t e = entry(r), host = e & kOffsetMask;
        const uint64_t within = (offset + pos) & (cluster - 1);
        out = Mapping{};
        if (e & kCompressed) {
            out.kind = Mapping::Kind::kCompressed;
            out.host = compressed_offset(e);
            out.compressed_bytes = compressed_size(e);
            return {};
        }
        if (host & (cluster - 1))
            return found_damage("Cluster allocation offset " + hex(host) + " unaligned (L2 offset: " + hex(r.table->offset) + ", L2 index: " + hex(r.index) + ")");
        bool zero, present;
        if (h_.extended_l2()) {
            const uint64_t bm = bitmap(r), sub = within / piece;
            zero = bm >> (32 + sub) & 1;
            present = bm >> sub & 1;
            if (zero && present) return found_damage("a subcluster at guest offset " + std::to_string(offset + pos) + " is both zero and allocated");
        } else {
            zero = h_.version >= 3 && (e & kZeroFlag);
            present = host != 0 || (data_file_ && (e & kCopied));
        }
        if (zero) {
            out.kind = Mapping::Kind::kZero;
            out.allocated_zero = host != 0;
            out.host = host != 0 ? host + within : 0;
        } else if (present) {
            if (host == 0 && !data_file_) return found_damage("guest offset " + std::to_string(offset + pos) + " is mapped to the header");
            out.kind = Mapping::Kind::kData;
            out.host = host + within;
        }
        return {};
    };

    if (auto r = classify(0, m); !r) co_return std::unexpected(r.error());
    if (m.kind == Mapping::Kind::kCompressed) {
        m.length = std::min(length, cluster - (offset & (cluster - 1)));
        co_return m;
    }
    uint64_t pos = std::min(length, piece - (offset & (piece - 1)));
    while (pos < length) {
        Mapping next;
        if (auto r = classify(pos, next); !r) break;  // reported when it is asked for itself
        if (next.kind != m.kind || next.allocated_zero != m.allocated_zero) break;
        if ((m.kind == Mapping::Kind::kData || m.allocated_zero) && next.host != m.host + pos) break;
        pos = std::min(length, pos + piece);
    }
    m.length = pos;
    co_return m;
}

Task<Result<Qcow2Node::L2Ref>> Qcow2Node::l2_for_write(uint64_t offset) {
    const uint64_t l1_index = offset / h_.l2_reach();
    if (l1_index >= l1_.size()) co_return corrupt("guest offset " + std::to_string(offset) + " is outside the L1 table");
    const uint64_t e = l1_[l1_index];
    const uint64_t index = (offset % h_.l2_reach()) >> h_.cluster_bits;
    if (e & kCopied) {
        if (auto r = refuse_overlap(e & kOffsetMask, Metadata::kActiveL2); !r) co_return std::unexpected(r.error());
        auto t = co_await table(l2_cache_, e & kOffsetMask);
        if (!t) co_return std::unexpected(t.error());
        co_return L2Ref{*t, index};
    }
    // None yet, or shared with a snapshot: a table of our own.
    std::vector<uint8_t> bytes(h_.cluster_size());
    if ((e & kOffsetMask) != 0) {
        auto old = co_await table(l2_cache_, e & kOffsetMask);
        if (!old) co_return std::unexpected(old.error());
        bytes = (*old)->bytes;
    }
    auto at = co_await allocate(1, true, "L2 table");
    if (!at) co_return std::unexpected(at.error());
    auto t = co_await new_table(l2_cache_, at->first, std::move(bytes));
    if (!t) co_return std::unexpected(t.error());
    if ((e & kOffsetMask) != 0) free_later(e & kOffsetMask, h_.cluster_size());
    l1_[l1_index] = at->first | kCopied;
    l1_dirty_[l1_index / 64] = true;
    co_return L2Ref{*t, index};
}

void Qcow2Node::set_entry(const L2Ref& r, uint64_t e, uint64_t bm) {
    uint8_t* at = r.table->bytes.data() + r.index * h_.l2_entry_bytes();
    put64(at, e);
    if (h_.extended_l2()) put64(at + 8, bm);
    r.table->dirty = true;
}

/// The host clusters that entry `e` names lose a reference.
void Qcow2Node::free_entry(uint64_t e) {
    if (e & kCompressed) free_later(compressed_offset(e), compressed_size(e));
    else if (data_file_ || (e & kOffsetMask) == 0) return;
    else if ((e & kOffsetMask & (h_.cluster_size() - 1)) != 0) note_damage("Cannot free unaligned cluster " + hex(e & kOffsetMask));
    else free_later(e & kOffsetMask, h_.cluster_size());
}

Task<Result<void>> Qcow2Node::free_l2(uint64_t offset) {
    auto t = co_await table(l2_cache_, offset);
    if (!t) co_return std::unexpected(t.error());
    for (uint64_t k = 0; k < h_.l2_entries(); ++k)
        if (const uint64_t e = entry({*t, k}); e != 0) free_entry(e);
    free_later(offset, h_.cluster_size());
    co_return Result<void>{};
}

Task<Result<Extent>> Qcow2Node::do_block_status(uint64_t offset, uint64_t length) {
    const auto shared = co_await map_.lock_shared();
    auto m = co_await map(offset, length);
    if (!m) {
        co_await mark_damage();
        co_return std::unexpected(m.error());
    }
    Extent out;
    out.length = m->length;
    switch (m->kind) {
        case Mapping::Kind::kUnallocated:
            out.zero = !backing_ || offset >= backing_->size();
            if (backing_ && offset < backing_->size()) out.length = std::min(out.length, backing_->size() - offset);
            break;
        case Mapping::Kind::kZero:
            out.zero = out.allocated = true;
            if (m->allocated_zero) {
                out.offset = m->host;
                out.file = &data();
            }
            break;
        case Mapping::Kind::kData:
            out.data = out.allocated = true;
            if (h_.crypt == Crypt::kNone) {
                out.offset = m->host;
                out.file = &data();
            }
            break;
        case Mapping::Kind::kCompressed: out.data = out.allocated = out.compressed = true; break;
    }
    // Runs go on across L2 tables.
    while (out.length < length && offset + out.length < size_) {
        auto next = co_await map(offset + out.length, length - out.length);
        if (!next || next->kind != m->kind || next->allocated_zero != m->allocated_zero) break;
        if (m->kind == Mapping::Kind::kCompressed) {
            out.length += next->length;
            continue;
        }
        if ((m->kind == Mapping::Kind::kData || m->allocated_zero) && next->host != m->host + out.length) break;
        if (m->kind == Mapping::Kind::kUnallocated && backing_) break;
        out.length += next->length;
    }
    co_return out;
}

}  // namespace myna::block::qcow2
