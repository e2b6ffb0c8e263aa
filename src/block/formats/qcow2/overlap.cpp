// Damage that shows while an image is in use: writes that would go where a table of the image lies, places that cannot be.
// What is found stops writing, is told once, and gets the image the bit by which every program refuses to write to it.
//
//   the tables' places (find_tables(), once; note_tables() from then on) ─▶ cluster ─▶ Metadata ◀─ each write of data and tables
#include <algorithm>
#include <cerrno>

#include "block/formats/qcow2/qcow2.h"

namespace myna::block::qcow2 {

namespace {

constexpr const char* kNames[] = {"qcow2_header", "active L1 table", "refcount table", "snapshot table", "inactive L1 table", "bitmap directory", "refcount block", "active L2 table", "inactive L2 table"};

constexpr uint64_t kIncompatibleAt = 72;  // in the header

}  // namespace

std::unexpected<Error> Qcow2Node::corrupt(const std::string& what) {
    damaged_ = true;
    return fail(ErrorKind::kCorrupt,
                filename_ + ": " + what + "\nThe image is damaged. 'check -r all' can repair what it describes; make a copy first.", EIO);
}

std::unexpected<Error> Qcow2Node::found_damage(const std::string& what) {
    if (!checking_) {
        tell_damage(what, !read_only_);
        if (!read_only_) {
            h_.incompatible |= Incompatible::kCorrupt;
            mark_due_ = true;
        }
    }
    return corrupt(what);
}

void Qcow2Node::note_damage(const std::string& what) {
    if (!checking_) tell_damage(what, false);
}

void Qcow2Node::tell_damage(const std::string& what, bool fatal) {
    if (damage_told_ && (!fatal || (h_.incompatible & Incompatible::kCorrupt))) return;
    damage_told_ = true;
    graph_.tell_corruption(fatal ? "qcow2: Marking image as corrupt: " + what + "; further corruption events will be suppressed"
                                 : "qcow2: Image is corrupt: " + what + "; further non-fatal corruption events will be suppressed");
}

Task<void> Qcow2Node::mark_damage() {
    if (!std::exchange(mark_due_, false) || h_.version < 3) co_return;
    // Nothing but the bit: the rest of the header may be what is damaged.
    uint8_t bits[8];
    put64(bits, h_.incompatible);
    if (auto r = co_await file_->write(kIncompatibleAt, IoVec(bits, sizeof bits)); r) (void)co_await file_->flush();
}

Task<Result<void>> Qcow2Node::failed(Result<void> r) {
    co_await mark_damage();
    co_return r;
}

std::unexpected<Error> Qcow2Node::no_more_writing() const {
    return fail(ErrorKind::kCorrupt, filename_ + ": the image was found to be damaged; writing is refused", ENOMEDIUM);
}

Result<void> Qcow2Node::find_tables() {
    if (!table_clusters_.empty()) return {};
    const auto add = [&](uint64_t offset, uint64_t bytes, Metadata kind) {
        for (uint64_t c = offset >> h_.cluster_bits; bytes != 0 && c <= (offset + bytes - 1) >> h_.cluster_bits; ++c) table_clusters_.try_emplace(c, kind);
    };
    add(0, h_.cluster_size(), Metadata::kHeader);
    add(h_.l1_offset, l1_.size() * 8, Metadata::kActiveL1);
    add(h_.refcount_table_offset, uint64_t{h_.refcount_table_clusters} << h_.cluster_bits, Metadata::kRefcountTable);
    add(h_.snapshots_offset, old_snapshot_bytes_, Metadata::kSnapshotTable);
    uint64_t l1_bytes = 0;  // each has its own bytes of the file, so together they are not larger than it
    for (const SnapshotTable& s : snapshot_tables_)
        if ((l1_bytes += uint64_t{s.l1_entries} * 8) <= file_->size()) add(s.l1_offset, uint64_t{s.l1_entries} * 8, Metadata::kInactiveL1);
    add(bitmap_directory_offset_, bitmap_directory_bytes_, Metadata::kBitmapDirectory);
    // Blocks of their own: so the search for free clusters never takes longer than the file is large.
    for (const uint64_t at : refcount_table_) {
        if (at == 0) continue;
        const auto [there, fresh] = table_clusters_.try_emplace(at >> h_.cluster_bits, Metadata::kRefcountBlock);
        if (fresh || there->second != Metadata::kRefcountBlock) continue;
        table_clusters_.clear();
        return found_damage("two entries of the refcount table name the block at offset " + hex(at));
    }
    for (const uint64_t e : l1_)
        if (const uint64_t at = e & kOffsetMask; at != 0) add(at, h_.cluster_size(), Metadata::kActiveL2);
    for (const uint64_t at : inactive_l2_) add(at, h_.cluster_size(), Metadata::kInactiveL2);
    return {};
}

void Qcow2Node::note_tables(uint64_t offset, uint64_t bytes, Metadata kind) {
    if (table_clusters_.empty()) return;  // find_tables() will see them
    for (uint64_t c = offset >> h_.cluster_bits; bytes != 0 && c <= (offset + bytes - 1) >> h_.cluster_bits; ++c) table_clusters_.try_emplace(c, kind);
}

Task<Result<void>> Qcow2Node::find_inactive() {
    inactive_l2_.clear();
    if (!(settings_.overlap_check >> static_cast<unsigned>(Metadata::kInactiveL2) & 1) || read_only_) co_return Result<void>{};
    uint64_t l1_bytes = 0;
    for (const SnapshotTable& s : snapshot_tables_) {
        if ((l1_bytes += uint64_t{s.l1_entries} * 8) > file_->size()) break;
        std::vector<uint8_t> raw(uint64_t{s.l1_entries} * 8);
        if (auto r = co_await read_at(s.l1_offset, raw.data(), raw.size()); !r) co_return r;
        for (size_t i = 0; i < raw.size(); i += 8)
            if (const uint64_t at = be64(&raw[i]) & kOffsetMask; at != 0) inactive_l2_.push_back(at);
    }
    co_return Result<void>{};
}

Result<void> Qcow2Node::refuse_overlap(uint64_t host, std::optional<Metadata> own) {
    if (auto r = find_tables(); !r) return r;
    const auto it = table_clusters_.find(host >> h_.cluster_bits);
    if (it == table_clusters_.end() || it->second == own || !(settings_.overlap_check >> static_cast<unsigned>(it->second) & 1)) return {};
    if (own == Metadata::kActiveL2 && it->second == Metadata::kInactiveL2) return {};
    return found_damage(std::string("Preventing invalid write on metadata (overlaps with ") + kNames[static_cast<unsigned>(it->second)] + ")");
}

Result<void> Qcow2Node::refuse_tables(uint64_t cluster, uint64_t count, const char* what) {
    if (auto r = find_tables(); !r) return r;
    for (uint64_t c = cluster; c < cluster + count; ++c) {
        const auto it = table_clusters_.find(c);
        if (it == table_clusters_.end()) continue;
        if (c == 0 && what != nullptr) return found_damage(std::string("Preventing invalid allocation of ") + what + " at offset 0");
        return found_damage(std::string("Preventing invalid write on metadata (overlaps with ") + kNames[static_cast<unsigned>(it->second)] + ")");
    }
    return {};
}

}  // namespace myna::block::qcow2
