// Internal snapshots: a table of L1 tables. Taking one copies the L1 table and counts everything it reaches once more;
// the copied flags of the active tables go, so that the next write copies first.
#include <algorithm>
#include <ctime>

#include "base/bits.h"
#include "block/formats/qcow2/qcow2.h"

namespace myna::block::qcow2 {

namespace {

constexpr size_t kFixed = 40;

size_t index_of(const std::vector<SnapshotInfo>& all, std::string_view id_or_name) {
    for (size_t i = 0; i < all.size(); ++i)
        if (all[i].id == id_or_name) return i;
    for (size_t i = 0; i < all.size(); ++i)
        if (all[i].name == id_or_name) return i;
    return all.size();
}

}  // namespace

/// What needs the node's insides and is not a request.
struct Snapshots {
    /// Adds `delta` to the refcounts of all that the L1 table `l1` reaches, and sets or clears the copied flags of `l1`
    /// (when it is the active one) by the counts that result. Tables whose flags change move.
    static Task<Result<void>> count(Qcow2Node& n, std::vector<uint64_t>& l1, int delta, bool active) {
        const Header& h = n.h_;
        const uint64_t clusters = n.clusters_of(n.file_->size());
        const auto outside = [&](uint64_t offset) { return n.corrupt("a table says that data is at offset " + std::to_string(offset) + ", which is behind the end of the file"); };
        for (size_t i = 0; i < l1.size(); ++i) {
            const uint64_t l2_offset = l1[i] & kOffsetMask;
            if (l2_offset == 0) continue;
            auto t = co_await n.table(n.l2_cache_, l2_offset);
            if (!t) co_return std::unexpected(t.error());
            std::vector<uint8_t> bytes = (*t)->bytes;
            bool changed = false;
            for (uint64_t k = 0; k < h.l2_entries(); ++k) {
                uint8_t* at = &bytes[k * h.l2_entry_bytes()];
                const uint64_t e = be64(at);
                if (e & kCompressed) {
                    const uint64_t first = n.compressed_offset(e) >> h.cluster_bits;
                    const uint64_t last = (n.compressed_offset(e) + n.compressed_size(e) - 1) >> h.cluster_bits;
                    if (last >= clusters) co_return outside(n.compressed_offset(e));
                    if (delta != 0)
                        if (auto r = co_await n.change_refcount(first, last - first + 1, delta); !r) co_return r;
                    continue;
                }
                const uint64_t host = e & kOffsetMask;
                if (host == 0) continue;
                if (host >> h.cluster_bits >= clusters) co_return outside(host);
                if (delta != 0)
                    if (auto r = co_await n.change_refcount(host >> h.cluster_bits, 1, delta); !r) co_return r;
                if (!active) continue;
                auto count = co_await n.refcount(host >> h.cluster_bits);
                if (!count) co_return std::unexpected(count.error());
                const uint64_t want = *count == 1 ? e | kCopied : e & ~kCopied;
                if (want != e) {
                    put64(at, want);
                    changed = true;
                }
            }
            uint64_t place = l2_offset;
            if (changed && n.shadow_->fresh.contains(l2_offset)) {
                auto again = co_await n.table(n.l2_cache_, l2_offset);
                if (!again) co_return std::unexpected(again.error());
                (*again)->bytes = std::move(bytes);
                (*again)->dirty = true;
            } else if (changed) {
                // This L1 table names the copy from now on, and with `delta` a snapshot of it does so, too.
                auto copy = co_await n.move_table(n.l2_cache_, l2_offset);
                if (!copy) co_return std::unexpected(copy.error());
                (*copy)->bytes = std::move(bytes);
                place = (*copy)->offset;
                if (auto r = co_await n.change_refcount(place >> h.cluster_bits, 1, 1); !r) co_return r;
                if (auto r = co_await n.change_refcount(l2_offset >> h.cluster_bits, 1, -1); !r) co_return r;
            }
            if (delta != 0)
                if (auto r = co_await n.change_refcount(place >> h.cluster_bits, 1, delta); !r) co_return r;
            if (!active) continue;
            auto count = co_await n.refcount(place >> h.cluster_bits);
            if (!count) co_return std::unexpected(count.error());
            l1[i] = *count == 1 ? place | kCopied : place;
        }
        co_return Result<void>{};
    }

    /// All that `change` does is on disk when this ends, or none of it is.
    template <class Change>
    static Task<Result<void>> at_once(Qcow2Node& n, Change change) {
        if (auto r = co_await n.begin_shadow(); !r) co_return r;
        Result<void> r = co_await change();
        if (r) r = co_await n.commit_shadow();
        if (!r && n.shadow_) n.abort_shadow();
        co_return r;
    }

    static Task<Result<std::vector<uint64_t>>> load_l1(Qcow2Node& n, size_t i) {
        std::vector<uint8_t> raw(uint64_t{n.snapshot_tables_[i].l1_entries} * 8);
        if (auto r = co_await n.read_at(n.snapshot_tables_[i].l1_offset, raw.data(), raw.size()); !r) co_return std::unexpected(r.error());
        std::vector<uint64_t> l1(n.snapshot_tables_[i].l1_entries);
        for (size_t k = 0; k < l1.size(); ++k) l1[k] = be64(&raw[k * 8]);
        co_return l1;
    }

    /// Writes the snapshot table to a new place, which the header will name.
    static Task<Result<void>> write_table(Qcow2Node& n) {
        std::string t;
        for (size_t i = 0; i < n.snapshots_.size(); ++i) {
            const SnapshotInfo& s = n.snapshots_[i];
            const auto& where = n.snapshot_tables_[i];
            std::string extra = where.extra;
            extra.resize(std::max<size_t>(extra.size(), 24));
            put64(extra.data(), s.vm_state_bytes);
            put64(extra.data() + 8, s.disk_size.value_or(n.size_));
            put64(extra.data() + 16, s.icount.value_or(UINT64_MAX));
            std::string row(kFixed, '\0');
            put64(row.data(), where.l1_offset);
            put32(row.data() + 8, where.l1_entries);
            put16(row.data() + 12, static_cast<uint16_t>(s.id.size()));
            put16(row.data() + 14, static_cast<uint16_t>(s.name.size()));
            put32(row.data() + 16, static_cast<uint32_t>(s.date_sec));
            put32(row.data() + 20, s.date_nsec);
            put64(row.data() + 24, s.vm_clock_ns);
            put32(row.data() + 32, s.vm_state_bytes > UINT32_MAX ? 0 : static_cast<uint32_t>(s.vm_state_bytes));
            put32(row.data() + 36, static_cast<uint32_t>(extra.size()));
            row += extra + s.id + s.name;
            row.resize(align_up(row.size(), 8));
            t += row;
        }
        const uint64_t old = n.h_.snapshots_offset, old_bytes = n.h_.snapshot_count != 0 ? n.old_snapshot_bytes_ : 0;
        uint64_t at = 0;
        if (!t.empty()) {
            auto got = co_await n.allocate(n.clusters_of(t.size()), true);
            if (!got) co_return std::unexpected(got.error());
            at = got->first;
            if (auto r = co_await n.write_at(at, t.data(), t.size()); !r) co_return r;
        }
        n.h_.snapshots_offset = at;
        n.h_.snapshot_count = static_cast<uint32_t>(n.snapshots_.size());
        n.old_snapshot_bytes_ = t.size();
        if (old_bytes != 0) co_return co_await n.change_refcount(old >> n.h_.cluster_bits, n.clusters_of(old_bytes), -1);
        co_return Result<void>{};
    }
};

Task<Result<std::vector<SnapshotInfo>>> Qcow2Node::snapshots() {
    if (!snapshots_.empty() || h_.snapshot_count == 0) co_return snapshots_;
    // All of them or none: what is not in the list looks leaked.
    std::vector<SnapshotInfo> found;
    std::vector<SnapshotTable> tables;
    uint64_t at = h_.snapshots_offset;
    for (uint32_t i = 0; i < h_.snapshot_count; ++i) {
        uint8_t fixed[kFixed];
        if (at + kFixed > file_->size()) co_return corrupt("the snapshot table is cut off");
        if (auto r = co_await read_at(at, fixed, sizeof fixed); !r) co_return std::unexpected(r.error());
        const uint32_t id_len = be16(fixed + 12), name_len = be16(fixed + 14), extra_len = be32(fixed + 36);
        if (extra_len > 1024) co_return corrupt("Too much extra metadata in snapshot table entry " + std::to_string(i));
        std::string rest(extra_len + id_len + name_len, '\0');
        if (at + kFixed + rest.size() > file_->size()) co_return corrupt("the snapshot table is cut off");
        if (auto r = co_await read_at(at + kFixed, rest.data(), rest.size()); !r) co_return std::unexpected(r.error());
        SnapshotInfo s;
        s.date_sec = be32(fixed + 16);
        s.date_nsec = be32(fixed + 20);
        s.vm_clock_ns = be64(fixed + 24);
        s.vm_state_bytes = be32(fixed + 32);
        if (extra_len >= 8) s.vm_state_bytes = be64(rest.data());
        if (extra_len >= 16) s.disk_size = be64(rest.data() + 8);
        if (extra_len >= 24 && be64(rest.data() + 16) != UINT64_MAX) s.icount = be64(rest.data() + 16);
        s.id = rest.substr(extra_len, id_len);
        s.name = rest.substr(extra_len + id_len, name_len);
        const uint64_t l1_offset = be64(fixed);
        const uint32_t l1_entries = be32(fixed + 8);
        if ((l1_offset & (h_.cluster_size() - 1)) != 0 || uint64_t{l1_entries} * 8 > kMaxL1Bytes || l1_offset > file_->size()) co_return corrupt("snapshot " + s.id + " has an invalid L1 table");
        found.push_back(std::move(s));
        tables.push_back({l1_offset, l1_entries, rest.substr(0, extra_len)});
        at += align_up(kFixed + rest.size(), 8);
    }
    old_snapshot_bytes_ = at - h_.snapshots_offset;
    snapshots_ = std::move(found);
    snapshot_tables_ = std::move(tables);
    co_return snapshots_;
}

Task<Result<void>> Qcow2Node::snapshot_create(SnapshotInfo s) {
    if (read_only_) co_return fail(ErrorKind::kPermission, filename_ + ": image is read-only", EPERM);
    if (data_file_) co_return fail(ErrorKind::kUnsupported, "Images with external data files have no internal snapshots", ENOTSUP);
    if (snapshots_.size() >= kMaxSnapshots) co_return fail(ErrorKind::kNoSpace, "Too many snapshots", EFBIG);
    const auto drained = co_await drain();
    const auto alone = co_await map_.lock();
    if (s.id.empty()) {
        uint64_t next = 1;
        for (const SnapshotInfo& o : snapshots_) next = std::max<uint64_t>(next, std::strtoull(o.id.c_str(), nullptr, 10) + 1);
        s.id = std::to_string(next);
    }
    if (s.date_sec == 0) s.date_sec = static_cast<uint64_t>(std::time(nullptr));
    s.disk_size = size_;
    co_return co_await Snapshots::at_once(*this, [&]() -> Task<Result<void>> {
        if (auto r = co_await Snapshots::count(*this, l1_, 1, true); !r) co_return r;
        uint64_t at = 0;
        if (!l1_.empty()) {
            std::vector<uint8_t> raw(l1_.size() * 8);
            for (size_t i = 0; i < l1_.size(); ++i) put64(&raw[i * 8], l1_[i]);
            auto got = co_await allocate(clusters_of(raw.size()), true);
            if (!got) co_return std::unexpected(got.error());
            at = got->first;
            if (auto r = co_await write_at(at, raw.data(), raw.size()); !r) co_return r;
        }
        if (s.vm_state_bytes != 0 && vm_state_entry() < l1_.size()) {
            // The snapshot alone keeps it.
            const auto first = l1_.begin() + static_cast<ptrdiff_t>(vm_state_entry());
            std::vector<uint64_t> state(first, l1_.end());
            if (auto r = co_await Snapshots::count(*this, state, -1, false); !r) co_return r;
            std::fill(first, l1_.end(), 0);
        }
        snapshots_.push_back(std::move(s));
        snapshot_tables_.push_back({at, static_cast<uint32_t>(l1_.size()), {}});
        co_return co_await Snapshots::write_table(*this);
    });
}

Task<Result<void>> Qcow2Node::snapshot_apply(std::string_view id_or_name) {
    const std::string key(id_or_name);
    if (const size_t first = index_of(snapshots_, key); first != snapshots_.size() && !bitmaps_.empty())  // they are as long as the disk
        if (const uint64_t size = snapshots_[first].disk_size.value_or(size_); size != size_)
            if (auto r = co_await truncate(size); !r) co_return r;
    const auto drained = co_await drain();
    const auto alone = co_await map_.lock();
    // Looked for only now: while this waited, others may have made and deleted some.
    const size_t i = index_of(snapshots_, key);
    if (i == snapshots_.size()) co_return fail(ErrorKind::kNotFound, "snapshot not found", ENOENT);
    const uint64_t want = snapshots_[i].disk_size.value_or(size_);
    if (want != size_ && !bitmaps_.empty()) co_return fail(ErrorKind::kInUse, filename_ + ": the disk or the snapshot was changed meanwhile", EBUSY);
    auto l1 = co_await Snapshots::load_l1(*this, i);
    if (!l1) co_return std::unexpected(l1.error());
    const uint64_t needed = (want + h_.l2_reach() - 1) / h_.l2_reach();
    if (needed * 8 > kMaxL1Bytes) co_return corrupt("snapshot " + snapshots_[i].id + " is of an impossible size");
    l1->resize(std::max<uint64_t>(l1->size(), needed));
    co_return co_await Snapshots::at_once(*this, [&]() -> Task<Result<void>> {
        if (auto r = co_await Snapshots::count(*this, l1_, -1, false); !r) co_return r;
        if (auto r = co_await Snapshots::count(*this, *l1, 1, false); !r) co_return r;
        l1_ = *l1;
        size_ = want;
        co_return co_await Snapshots::count(*this, l1_, 0, true);
    });
}

Task<Result<void>> Qcow2Node::snapshot_delete(std::string_view id_or_name) {
    const std::string key(id_or_name);
    const auto drained = co_await drain();
    const auto alone = co_await map_.lock();
    // Looked for only now: while this waited, others may have made and deleted some.
    const size_t i = index_of(snapshots_, key);
    if (i == snapshots_.size()) co_return fail(ErrorKind::kNotFound, "snapshot not found", ENOENT);
    auto l1 = co_await Snapshots::load_l1(*this, i);
    if (!l1) co_return std::unexpected(l1.error());
    const auto where = snapshot_tables_[i];
    co_return co_await Snapshots::at_once(*this, [&]() -> Task<Result<void>> {
        snapshots_.erase(snapshots_.begin() + static_cast<ptrdiff_t>(i));
        snapshot_tables_.erase(snapshot_tables_.begin() + static_cast<ptrdiff_t>(i));
        if (auto r = co_await Snapshots::write_table(*this); !r) co_return r;
        if (auto r = co_await Snapshots::count(*this, *l1, -1, false); !r) co_return r;
        if (where.l1_entries != 0)
            if (auto r = co_await change_refcount(where.l1_offset >> h_.cluster_bits, clusters_of(uint64_t{where.l1_entries} * 8), -1); !r) co_return r;
        co_return co_await Snapshots::count(*this, l1_, 0, true);
    });
}

Task<Result<void>> Qcow2Node::snapshot_open(std::string_view id_or_name) {
    const std::string key(id_or_name);
    if (!read_only_) co_return fail(ErrorKind::kInvalidArgument, filename_ + ": a snapshot is shown by an image that is open for reading only");
    const size_t i = index_of(snapshots_, key);
    if (i == snapshots_.size()) co_return fail(ErrorKind::kNotFound, "Can't find snapshot", ENOENT);
    auto l1 = co_await Snapshots::load_l1(*this, i);
    if (!l1) co_return std::unexpected(l1.error());
    const auto alone = co_await map_.lock();
    l1_ = std::move(*l1);
    if (const auto want = snapshots_[i].disk_size) size_ = *want;
    if (l1_.size() * h_.l2_reach() < size_) co_return corrupt("snapshot " + snapshots_[i].id + " has too small an L1 table");
    last_compressed_at_ = UINT64_MAX;
    co_return Result<void>{};
}

}  // namespace myna::block::qcow2
