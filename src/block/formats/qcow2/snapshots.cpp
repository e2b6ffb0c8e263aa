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
    /// (when it is the active one) by the counts that result.
    static Task<Result<void>> count(Qcow2Node& n, std::vector<uint64_t>& l1, int delta, bool active) {
        const Header& h = n.h_;
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
                    if (delta != 0)
                        if (auto r = co_await n.change_refcount(first, last - first + 1, delta); !r) co_return r;
                    continue;
                }
                const uint64_t host = e & kOffsetMask;
                if (host == 0) continue;
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
            if (delta != 0)
                if (auto r = co_await n.change_refcount(l2_offset >> h.cluster_bits, 1, delta); !r) co_return r;
            if (!active) continue;
            if (changed) {
                auto again = co_await n.table(n.l2_cache_, l2_offset);
                if (!again) co_return std::unexpected(again.error());
                (*again)->bytes = std::move(bytes);
                (*again)->dirty = true;
            }
            auto count = co_await n.refcount(l2_offset >> h.cluster_bits);
            if (!count) co_return std::unexpected(count.error());
            const uint64_t want = *count == 1 ? l2_offset | kCopied : l2_offset;
            if (want != l1[i]) {
                l1[i] = want;
                n.l1_dirty_[i / 64] = true;
            }
        }
        co_return Result<void>{};
    }

    /// Counts and copied flags lie in different clusters: while both change, the image says that it needs a repair, so
    /// that a cut in between is put right by whoever opens it next.
    static Task<Result<void>> begin(Qcow2Node& n) {
        if (n.h_.version < 3) co_return Result<void>{};
        if (auto r = co_await n.flush_metadata(); !r) co_return r;
        n.h_.incompatible |= Incompatible::kDirty;
        co_return co_await n.write_header();
    }
    static Task<Result<void>> end(Qcow2Node& n) {
        if (auto r = co_await n.flush_metadata(); !r) co_return r;
        if (n.h_.version < 3) co_return Result<void>{};
        if (auto r = co_await n.barrier(); !r) co_return r;
        n.h_.incompatible &= ~Incompatible::kDirty;
        co_return co_await n.write_header();
    }

    static Task<Result<std::vector<uint64_t>>> load_l1(Qcow2Node& n, size_t i) {
        std::vector<uint8_t> raw(uint64_t{n.snapshot_tables_[i].l1_entries} * 8);
        if (auto r = co_await n.read_at(n.snapshot_tables_[i].l1_offset, raw.data(), raw.size()); !r) co_return std::unexpected(r.error());
        std::vector<uint64_t> l1(n.snapshot_tables_[i].l1_entries);
        for (size_t k = 0; k < l1.size(); ++k) l1[k] = be64(&raw[k * 8]);
        co_return l1;
    }

    /// Writes the snapshot table to a new place and lets the header name it.
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
        if (auto r = co_await n.flush_metadata(); !r) co_return r;
        if (auto r = co_await n.barrier(); !r) co_return r;
        n.h_.snapshots_offset = at;
        n.h_.snapshot_count = static_cast<uint32_t>(n.snapshots_.size());
        n.old_snapshot_bytes_ = t.size();
        if (auto r = co_await n.write_header(); !r) co_return r;
        if (old != 0 && old_bytes != 0) n.free_later(old, old_bytes);
        co_return Result<void>{};
    }
};

Task<Result<std::vector<SnapshotInfo>>> Qcow2Node::snapshots() {
    if (!snapshots_.empty() || h_.snapshot_count == 0) co_return snapshots_;
    uint64_t at = h_.snapshots_offset;
    for (uint32_t i = 0; i < h_.snapshot_count; ++i) {
        uint8_t fixed[kFixed];
        if (at + kFixed > file_->size()) co_return corrupt("the snapshot table is cut off");
        if (auto r = co_await read_at(at, fixed, sizeof fixed); !r) co_return std::unexpected(r.error());
        const uint32_t id_len = be16(fixed + 12), name_len = be16(fixed + 14), extra_len = be32(fixed + 36);
        if (extra_len > 1024) co_return corrupt("a snapshot has too much extra data");
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
        snapshots_.push_back(std::move(s));
        snapshot_tables_.push_back({l1_offset, l1_entries, rest.substr(0, extra_len)});
        at += align_up(kFixed + rest.size(), 8);
    }
    old_snapshot_bytes_ = at - h_.snapshots_offset;
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
    uint64_t at = 0;
    if (!l1_.empty()) {
        auto got = co_await allocate(clusters_of(l1_.size() * 8), true);
        if (!got) co_return std::unexpected(got.error());
        at = got->first;
    }
    // Counts first: a cut from here on leaks, and never frees what is in use.
    if (auto r = co_await Snapshots::begin(*this); !r) co_return r;
    if (auto r = co_await Snapshots::count(*this, l1_, 1, true); !r) co_return r;
    std::vector<uint8_t> raw(l1_.size() * 8);
    for (size_t i = 0; i < l1_.size(); ++i) put64(&raw[i * 8], l1_[i]);
    if (!raw.empty())
        if (auto r = co_await write_at(at, raw.data(), raw.size()); !r) co_return r;
    snapshots_.push_back(std::move(s));
    snapshot_tables_.push_back({at, static_cast<uint32_t>(l1_.size()), {}});
    if (auto r = co_await Snapshots::write_table(*this); !r) co_return r;
    co_return co_await Snapshots::end(*this);
}

Task<Result<void>> Qcow2Node::snapshot_apply(std::string_view id_or_name) {
    const std::string key(id_or_name);
    const size_t i = index_of(snapshots_, key);
    if (i == snapshots_.size()) co_return fail(ErrorKind::kNotFound, "snapshot not found", ENOENT);
    const uint64_t want = snapshots_[i].disk_size.value_or(size_);
    if (want != size_)
        if (auto r = co_await truncate(want); !r) co_return r;
    const auto drained = co_await drain();
    const auto alone = co_await map_.lock();
    auto l1 = co_await Snapshots::load_l1(*this, i);
    if (!l1) co_return std::unexpected(l1.error());
    if (l1->size() > l1_.size()) co_return corrupt("snapshot " + snapshots_[i].id + " is larger than the image");
    l1->resize(l1_.size());
    std::vector<uint64_t> old = l1_;
    if (auto r = co_await Snapshots::begin(*this); !r) co_return r;
    if (auto r = co_await Snapshots::count(*this, *l1, 1, false); !r) co_return r;
    if (auto r = co_await flush_metadata(); !r) co_return r;
    l1_ = *l1;
    for (uint64_t& e : l1_) e &= ~kCopied;
    l1_dirty_.assign(l1_dirty_.size(), true);
    if (auto r = co_await flush_metadata(); !r) co_return r;
    if (auto r = co_await barrier(); !r) co_return r;
    if (auto r = co_await Snapshots::count(*this, old, -1, false); !r) co_return r;
    if (auto r = co_await Snapshots::count(*this, l1_, 0, true); !r) co_return r;
    last_compressed_at_ = UINT64_MAX;
    co_return co_await Snapshots::end(*this);
}

Task<Result<void>> Qcow2Node::snapshot_delete(std::string_view id_or_name) {
    const std::string key(id_or_name);
    const size_t i = index_of(snapshots_, key);
    if (i == snapshots_.size()) co_return fail(ErrorKind::kNotFound, "snapshot not found", ENOENT);
    const auto drained = co_await drain();
    const auto alone = co_await map_.lock();
    auto l1 = co_await Snapshots::load_l1(*this, i);
    if (!l1) co_return std::unexpected(l1.error());
    const auto where = snapshot_tables_[i];
    if (auto r = co_await Snapshots::begin(*this); !r) co_return r;
    snapshots_.erase(snapshots_.begin() + static_cast<ptrdiff_t>(i));
    snapshot_tables_.erase(snapshot_tables_.begin() + static_cast<ptrdiff_t>(i));
    if (auto r = co_await Snapshots::write_table(*this); !r) co_return r;  // nobody names it any more: counts may go
    if (auto r = co_await Snapshots::count(*this, *l1, -1, false); !r) co_return r;
    if (where.l1_entries != 0) free_later(where.l1_offset, uint64_t{where.l1_entries} * 8);
    if (auto r = co_await Snapshots::count(*this, l1_, 0, true); !r) co_return r;
    co_return co_await Snapshots::end(*this);
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
