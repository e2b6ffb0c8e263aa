// Changing an existing image as a whole: its options, its emptiness, and the length of its file.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/bits.h"
#include "block/formats/luks/keyslots.h"
#include "block/formats/qcow2/qcow2.h"

namespace myna::block::qcow2 {

Task<Result<void>> Qcow2Node::amend(const nlohmann::json& options) {
    nlohmann::json wanted = options;
    if (std::ranges::any_of(wanted.items(), [](const auto& i) { return i.key().starts_with("encrypt."); })) {
        if (!luks_) co_return fail(ErrorKind::kInvalidArgument, h_.crypt == Crypt::kNone ? "Can't amend encryption options - encryption not present" : "Only LUKS encryption options can be amended for qcow2 with amend");
        auto change = crypto::KeyslotChange::take(wanted, "encrypt.");
        if (!change) co_return std::unexpected(change.error());
        const uint64_t at = be64(h_.extension(Extension::kCryptHeader)->data.data());
        if (auto r = co_await crypto::change_keyslots(graph_, *file_, at, *luks_, std::move(*change)); !r) co_return r;
        if (wanted.empty()) co_return Result<void>{};
    }
    wanted.erase("force");
    wanted.erase("unlock-secret");
    const auto bad = [](std::string m) { return fail(ErrorKind::kInvalidArgument, std::move(m)); };
    std::optional<uint32_t> version, order;
    for (const auto& [key, value] : wanted.items()) {
        const auto text = value.is_string() ? value.get<std::string>() : value.dump();
        if (key == "compat") {
            if (text == "1.1" || text == "v3") version = 3;
            else if (text == "0.10" || text == "v2") version = 2;
            else co_return bad("Unknown compatibility level " + text);
        } else if (key == "refcount_bits") {
            const unsigned long n = std::strtoul(text.c_str(), nullptr, 10);
            if (!std::has_single_bit(n) || n > 64) co_return bad("Refcount width must be a power of two and may not exceed 64 bits");
            order = static_cast<uint32_t>(std::countr_zero(n));
        } else if (key == "backing_file" || key == "backing_fmt") {
            const auto now = key == "backing_file" ? backing_name() : backing_format_name();
            if (text != now.value_or("")) co_return bad("Cannot amend the backing file\nYou can use 'qemu-img rebase' instead.");
        } else if (key == "data_file" || key == "data_file_raw") {
            if (!data_file_) co_return bad("data-file can only be set for images that use an external data file");
            if (key == "data_file") h_.set_extension(Extension::kDataFile, text);
            else if ((text == "on") != raw_data_file()) co_return bad("data-file-raw cannot be set on existing images");
        } else if (key != "lazy_refcounts" && key != "size") {
            co_return fail(ErrorKind::kUnsupported, "Changing the option '" + key + "' of an existing qcow2 image is not implemented");
        }
    }
    // Upwards first: what follows may need version 3.
    if (version == 3 && h_.version == 2) {
        h_.version = 3;
        if (auto r = co_await write_header(); !r) co_return r;
    }
    if (order && *order != h_.refcount_order) {
        if (h_.version < 3 || (version == 2 && *order != 4)) co_return bad("Refcount widths other than 16 bits require compatibility level 1.1 or above (use compat=1.1 or greater)");
        if (auto r = co_await change_refcount_width(*order); !r) co_return r;
    }
    if (const auto it = wanted.find("lazy_refcounts"); it != wanted.end()) {
        if (*it == "on") {
            if (h_.version < 3 || version == 2) co_return bad("Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or greater)");
            h_.compatible |= Compatible::kLazyRefcounts;
        } else {
            h_.compatible &= ~Compatible::kLazyRefcounts;
        }
    }
    if (const auto it = wanted.find("size"); it != wanted.end())
        if (auto r = co_await truncate(align_up(std::stoull(it->get<std::string>()), 512)); !r) co_return r;
    if (version == 2 && h_.version == 3)
        if (auto r = co_await downgrade(); !r) co_return r;
    co_return co_await write_header();
}

/// Version 2 knows no zero clusters, features or bitmaps.
Task<Result<void>> Qcow2Node::downgrade() {
    if (h_.refcount_order != 4) co_return fail(ErrorKind::kInvalidArgument, "compat=0.10 requires refcount_bits=16");
    if (h_.incompatible & ~(Incompatible::kDirty | Incompatible::kCorrupt)) co_return fail(ErrorKind::kUnsupported, "Cannot downgrade an image with incompatible features set", ENOTSUP);
    if (!snapshots_.empty()) {
        for (const SnapshotInfo& s : snapshots_)
            if (s.vm_state_bytes > UINT32_MAX || s.disk_size != size_) co_return fail(ErrorKind::kUnsupported, "Internal snapshots prevent downgrade of image", ENOTSUP);
        for (size_t i = 0; i < snapshot_tables_.size(); ++i) {
            std::vector<uint8_t> l1(uint64_t{snapshot_tables_[i].l1_entries} * 8);
            if (auto r = co_await read_at(snapshot_tables_[i].l1_offset, l1.data(), l1.size()); !r) co_return r;
            for (size_t k = 0; k < l1.size(); k += 8) {
                const uint64_t at = be64(&l1[k]) & kOffsetMask;
                if (at == 0) continue;
                auto t = co_await table(l2_cache_, at);
                if (!t) co_return std::unexpected(t.error());
                for (uint64_t e = 0; e < h_.l2_entries(); ++e)
                    if (const uint64_t v = entry({*t, e}); !(v & kCompressed) && (v & kZeroFlag))
                        co_return fail(ErrorKind::kUnsupported, "Snapshot " + snapshots_[i].id + " has zero clusters, which version 2 cannot express; delete it first", ENOTSUP);
            }
        }
    }
    const uint64_t cluster = h_.cluster_size();
    for (uint64_t at = 0; at < size_; at += cluster) {
        bool zero = false;
        {
            const auto alone = co_await map_.lock();
            if ((l1_[at / h_.l2_reach()] & kOffsetMask) == 0) {
                at = align_up(at + 1, h_.l2_reach()) - cluster;
                continue;
            }
            auto m = co_await map(at, cluster);
            if (!m) co_return co_await failed(std::unexpected(std::move(m.error()).in("Failed to turn zero into data clusters")));
            zero = m->kind == Mapping::Kind::kZero;
            if (zero && !(backing_name() && !(backing_ && at >= backing_->size()))) {
                auto r = co_await l2_for_write(at);
                if (!r) co_return std::unexpected(r.error());
                const uint64_t old = entry(*r);
                set_entry(*r, 0, 0);
                free_entry(old & ~kZeroFlag);
                zero = false;
            }
        }
        if (!zero) continue;
        std::vector<uint8_t> bytes(std::min(cluster, size_ - at));
        const IoVec v(bytes);
        if (auto r = co_await do_write(at, v, {}); !r) co_return r;
    }
    if (auto r = co_await do_flush(); !r) co_return r;
    if (!bitmaps_.empty()) {
        while (!bitmaps_.empty()) {
            const std::string name = bitmaps_.back().name;
            if (auto r = co_await change_bitmap(BitmapAction::kRemove, name, 0); !r) co_return r;
        }
        if (auto r = co_await store_bitmaps(); !r) co_return r;
    }
    h_.version = 2;
    h_.incompatible = h_.compatible = h_.autoclear = 0;
    h_.drop_extension(Extension::kFeatureNames);
    co_return Result<void>{};
}

/// New refcount blocks and a new table behind the end of the file; the header names both, with the new width, at once.
Task<Result<void>> Qcow2Node::change_refcount_width(uint32_t order) {
    const auto alone = co_await map_.lock();
    while (!frees_.empty() || refcount_table_dirty_ || !refcount_cache_.dirty_tables().empty() || !l2_cache_.dirty_tables().empty())
        if (auto r = co_await flush_metadata(); !r) co_return r;
    const uint64_t begin = clusters_of(file_->size());
    const uint64_t most = order == 6 ? UINT64_MAX : (uint64_t{1} << (1u << order)) - 1;
    const uint64_t per_block = h_.cluster_size() * 8 >> order;
    uint64_t table_clusters = 1, blocks = 1;
    for (;;) {
        const uint64_t total = begin + table_clusters + blocks;
        const uint64_t b = (total + per_block - 1) / per_block, t = clusters_of(b * 8);
        if (b <= blocks && t <= table_clusters) break;
        blocks = std::max(blocks, b);
        table_clusters = std::max(table_clusters, t);
    }
    const uint64_t total = begin + table_clusters + blocks;
    std::vector<uint64_t> fresh((table_clusters << h_.cluster_bits) / 8);
    for (uint64_t b = 0; b < blocks; ++b) {
        std::vector<uint8_t> bytes(h_.cluster_size());
        for (uint64_t c = b * per_block; c < std::min((b + 1) * per_block, total); ++c) {
            uint64_t n = 1;
            if (c < begin) {
                auto have = co_await refcount(c);
                if (!have) co_return std::unexpected(have.error());
                n = *have;
            }
            if (n > most) {
                char place[32];
                std::snprintf(place, sizeof place, "%#llx", static_cast<unsigned long long>(c << h_.cluster_bits));
                co_return fail(ErrorKind::kInvalidArgument, "Cannot decrease refcount entry width to " + std::to_string(1u << order) + " bits: Cluster at offset " + place + " has a refcount of " + std::to_string(n), EINVAL);
            }
            if (n != 0) set_refcount(bytes, order, c % per_block, n);
        }
        const uint64_t at = (begin + table_clusters + b) << h_.cluster_bits;
        if (auto r = co_await write_at(at, bytes.data(), bytes.size()); !r) co_return r;
        fresh[b] = at;
    }
    std::vector<uint8_t> raw(fresh.size() * 8);
    for (size_t i = 0; i < fresh.size(); ++i) put64(&raw[i * 8], fresh[i]);
    if (auto r = co_await write_at(begin << h_.cluster_bits, raw.data(), raw.size()); !r) co_return r;
    if (auto r = co_await barrier(); !r) co_return r;
    std::vector<HostRange> old{{h_.refcount_table_offset, uint64_t{h_.refcount_table_clusters} << h_.cluster_bits}};
    for (const uint64_t at : refcount_table_)
        if (at != 0) old.push_back({at, h_.cluster_size()});
    refcount_cache_.clear();
    refcount_table_ = std::move(fresh);
    h_.refcount_order = order;
    h_.refcount_table_offset = begin << h_.cluster_bits;
    h_.refcount_table_clusters = static_cast<uint32_t>(table_clusters);
    if (auto r = co_await write_header(); !r) co_return r;
    next_free_ = 0;
    for (const HostRange& o : old) free_later(o.offset, o.bytes);
    co_return co_await flush_metadata();
}

Task<Result<void>> Qcow2Node::make_empty() {
    if (read_only_) co_return fail(ErrorKind::kPermission, filename_ + ": image is read-only", EPERM);
    if (auto r = co_await mark_dirty(0, size_); !r) co_return r;
    const auto drained = co_await drain();
    const auto alone = co_await map_.lock();
    file_->event("empty_image_prepare");
    if (auto r = co_await flush_metadata(); !r) co_return r;
    const std::vector<uint64_t> old = l1_;
    std::fill(l1_.begin(), l1_.end(), 0);
    l1_dirty_.assign(l1_dirty_.size(), true);
    if (auto r = co_await flush_metadata(); !r) co_return r;
    if (auto r = co_await barrier(); !r) co_return r;
    // Nothing names them any more: what was there may go.
    for (const uint64_t e : old)
        if (const uint64_t at = e & kOffsetMask; at != 0)
            if (auto r = co_await free_l2(at); !r) co_return r;
    last_compressed_at_ = UINT64_MAX;
    compressed_next_ = 0;
    if (auto r = co_await flush_metadata(); !r) co_return r;
    next_free_ = 0;
    co_return co_await shrink_file();
}

Task<Result<void>> Qcow2Node::shrink_file() {
    if (auto r = co_await flush_metadata(); !r) co_return r;
    if (auto r = co_await barrier(); !r) co_return r;
    uint64_t end = clusters_of(file_->size());
    while (end > 1) {
        auto n = co_await refcount(end - 1);
        if (!n) co_return std::unexpected(n.error());
        if (*n != 0) break;
        --end;
    }
    if (end << h_.cluster_bits >= file_->size()) co_return Result<void>{};
    co_return co_await file_->truncate(end << h_.cluster_bits);
}

/// Frees leaks, moves clusters from the end of the file into free ones before them, and cuts the file.
Task<Result<void>> Qcow2Node::compact() {
    if (auto c = co_await check(CheckFix::kLeaks); !c) co_return std::unexpected(c.error());
    else if (c->corruptions != 0) co_return fail(ErrorKind::kCorrupt, filename_ + ": the image is damaged; 'check -r all' repairs it (make a copy first)");
    const auto drained = co_await drain();
    const auto alone = co_await map_.lock();
    if (auto r = co_await flush_metadata(); !r) co_return r;
    uint64_t used = 0;
    for (uint64_t c = 0; c < clusters_of(file_->size()); ++c) {
        auto n = co_await refcount(c);
        if (!n) co_return std::unexpected(n.error());
        used += *n != 0;
    }
    next_free_ = 0;
    std::vector<uint8_t> bytes(h_.cluster_size());
    bool room = true;
    // A free cluster below `used`, or 0 when none is left.
    const auto lower = [&]() -> Task<Result<uint64_t>> {
        auto got = co_await allocate(1, true);
        if (!got) co_return std::unexpected(got.error());
        if (got->first >> h_.cluster_bits < used) co_return got->first;
        if (auto r = co_await change_refcount(got->first >> h_.cluster_bits, 1, -1); !r) co_return std::unexpected(r.error());
        room = false;
        co_return uint64_t{0};
    };
    for (size_t i = 0; i < l1_.size() && room; ++i) {
        if (!(l1_[i] & kCopied)) continue;  // shared with a snapshot: it stays where it is
        auto t = co_await table(l2_cache_, l1_[i] & kOffsetMask);
        if (!t) co_return std::unexpected(t.error());
        if (!data_file_)
            for (uint64_t k = 0; k < h_.l2_entries() && room; ++k) {
                t = co_await table(l2_cache_, l1_[i] & kOffsetMask);
                if (!t) co_return std::unexpected(t.error());
                const L2Ref ref{*t, k};
                const uint64_t e = entry(ref), host = e & kOffsetMask;
                if ((e & kCompressed) || !(e & kCopied) || host >> h_.cluster_bits < used) continue;
                auto to = co_await lower();
                if (!to) co_return std::unexpected(to.error());
                if (*to == 0) break;
                if (auto r = co_await read_at(host, bytes.data(), bytes.size()); !r) co_return r;
                if (auto r = co_await write_at(*to, bytes.data(), bytes.size()); !r) co_return r;
                t = co_await table(l2_cache_, l1_[i] & kOffsetMask);
                if (!t) co_return std::unexpected(t.error());
                set_entry({*t, k}, *to | (e & ~kOffsetMask), bitmap({*t, k}));
                free_later(host, h_.cluster_size());
            }
        if ((l1_[i] & kOffsetMask) >> h_.cluster_bits >= used && room) {
            auto to = co_await lower();
            if (!to) co_return std::unexpected(to.error());
            if (*to == 0) break;
            t = co_await table(l2_cache_, l1_[i] & kOffsetMask);
            if (!t) co_return std::unexpected(t.error());
            std::vector<uint8_t> copy = (*t)->bytes;
            free_later(l1_[i] & kOffsetMask, h_.cluster_size());
            if (auto n = co_await new_table(l2_cache_, *to, std::move(copy)); !n) co_return std::unexpected(n.error());
            l1_[i] = *to | kCopied;
            l1_dirty_[i / 64] = true;
        }
    }
    if (auto r = co_await flush_metadata(); !r) co_return r;
    next_free_ = 0;
    compressed_next_ = 0;
    co_return co_await shrink_file();
}

}  // namespace myna::block::qcow2
