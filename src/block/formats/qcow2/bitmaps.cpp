// Persistent dirty bitmaps: which parts of the disk were written since a backup.
//
//   header extension ─▶ directory: a row a bitmap ─▶ table ─▶ clusters of bits (or "all ones", "all zeroes")
//
// On disk a bitmap is right only while nobody writes. Before the first write the rows of those that record get the
// in-use flag; at close all bitmaps are written to new clusters, and the header then names the new directory. A program
// that dies in between leaves bitmaps that say themselves that they cannot be believed.
#include <algorithm>

#include "base/bits.h"
#include "block/formats/qcow2/qcow2.h"

namespace myna::block::qcow2 {

namespace {

constexpr size_t kRow = 24;
constexpr uint32_t kMaxBitmaps = 65535;
constexpr uint64_t kMaxDirectoryBytes = uint64_t{kMaxBitmaps} * 1024, kMaxTableBytes = 1u << 28;
constexpr uint32_t kDefaultGranularity = 65536, kMinGranularity = 512;

}  // namespace

Qcow2Node::Bitmap* Qcow2Node::find_bitmap(std::string_view name) {
    const auto it = std::find_if(bitmaps_.begin(), bitmaps_.end(), [&](const Bitmap& b) { return b.name == name; });
    return it == bitmaps_.end() ? nullptr : &*it;
}

Task<Result<void>> Qcow2Node::load_bitmap_directory() {
    const Extension* e = h_.extension(Extension::kBitmaps);
    if (e == nullptr) co_return Result<void>{};
    if (!(h_.autoclear & Autoclear::kBitmaps)) {
        // Another program wrote to the image without keeping them: they are gone.
        h_.drop_extension(Extension::kBitmaps);
        co_return Result<void>{};
    }
    if (e->data.size() < 24) co_return corrupt("the bitmaps extension is too short");
    const uint32_t count = be32(e->data.data());
    const uint64_t bytes = be64(e->data.data() + 8), at = be64(e->data.data() + 16);
    if (count == 0 || count > kMaxBitmaps || bytes > kMaxDirectoryBytes || (at & (h_.cluster_size() - 1)) != 0 || at > file_->size() || bytes > align_up(file_->size(), h_.cluster_size()) - at)
        co_return corrupt("the bitmap directory is not inside the file");
    std::vector<uint8_t> d(bytes);
    if (auto r = co_await read_at(at, d.data(), d.size()); !r) co_return r;
    std::list<Bitmap> found;
    for (size_t pos = 0; found.size() < count;) {
        if (pos + kRow > d.size()) co_return corrupt("the bitmap directory is cut off");
        const uint8_t* p = &d[pos];
        const size_t name = be16(p + 18), extra = be32(p + 20);
        const size_t row = align_up(kRow + name + extra, 8);
        if (extra > d.size() || row > d.size() - pos || name == 0 || name > 1023) co_return corrupt("a row of the bitmap directory is invalid");
        Bitmap b;
        b.table_offset = be64(p);
        b.table_entries = be32(p + 8);
        b.flags = be32(p + 12);
        b.granularity_bits = p[17];
        b.extra.assign(p + kRow, p + kRow + extra);
        b.name.assign(p + kRow + extra, p + kRow + extra + name);
        if (p[16] != 1 || b.granularity_bits < 9 || b.granularity_bits > 31 || (b.flags & ~7u) != 0)
            co_return fail(ErrorKind::kUnsupported, filename_ + ": bitmap '" + b.name + "' is of an unknown kind", ENOTSUP);
        if ((b.table_offset & (h_.cluster_size() - 1)) != 0 || b.table_offset > file_->size() || uint64_t{b.table_entries} * 8 > kMaxTableBytes)
            co_return corrupt("the table of bitmap '" + b.name + "' is not inside the file");
        b.bits.granularity = 1u << b.granularity_bits;
        found.push_back(std::move(b));
        pos += row;
    }
    bitmaps_ = std::move(found);
    bitmap_directory_offset_ = at;
    bitmap_directory_bytes_ = bytes;
    co_return Result<void>{};
}

Task<Result<void>> Qcow2Node::load_bits(Bitmap& b) {
    if (b.loaded) co_return Result<void>{};
    const uint64_t count = (size_ + b.bits.granularity - 1) / b.bits.granularity;
    const uint64_t bytes = (count + 7) / 8;
    if (b.table_entries < clusters_of(bytes)) co_return corrupt("the table of bitmap '" + b.name + "' is too short for the disk");
    std::vector<uint8_t> table(uint64_t{b.table_entries} * 8), data(clusters_of(bytes) << h_.cluster_bits);
    if (auto r = co_await read_at(b.table_offset, table.data(), table.size()); !r) co_return r;
    for (uint64_t i = 0; i < clusters_of(bytes); ++i) {
        const uint64_t e = be64(&table[i * 8]), host = e & kOffsetMask;
        uint8_t* to = &data[i << h_.cluster_bits];
        if (host != 0) {
            if (host >= file_->size()) co_return corrupt("bits of bitmap '" + b.name + "' are outside the file");
            if (auto r = co_await read_at(host, to, h_.cluster_size()); !r) co_return r;
        } else if (e & 1) {
            std::fill_n(to, h_.cluster_size(), uint8_t{0xff});
        }
    }
    if (b.loaded) co_return Result<void>{};  // by somebody else meanwhile, and perhaps changed since
    b.bits.count = count;
    b.bits.words.assign((count + 63) / 64, 0);
    for (uint64_t i = 0; i < bytes; ++i) b.bits.words[i / 8] |= uint64_t{data[i]} << (i % 8 * 8);
    if (count % 64 != 0) b.bits.words.back() &= low_bits(static_cast<unsigned>(count % 64));
    b.loaded = true;
    co_return Result<void>{};
}

std::string Qcow2Node::bitmap_row(const Bitmap& b, bool in_use) {
    std::string row(kRow, '\0');
    put64(row.data(), b.table_offset);
    put32(row.data() + 8, b.table_entries);
    put32(row.data() + 12, in_use ? b.flags | Bitmap::kInUse : b.flags);
    row[16] = 1;
    row[17] = static_cast<char>(b.granularity_bits);
    put16(row.data() + 18, static_cast<uint16_t>(b.name.size()));
    put32(row.data() + 20, static_cast<uint32_t>(b.extra.size()));
    row += b.extra + b.name;
    row.resize(align_up(row.size(), 8));
    return row;
}

/// Before the first write: those that record are loaded, and what is on disk of them says so, whether or not it knows yet
/// which were added, removed, enabled or disabled since.
Task<Result<void>> Qcow2Node::mark_bitmaps_in_use(bool all) {
    const auto alone = co_await map_.lock();
    if (bitmaps_marked_ && !all) co_return Result<void>{};
    for (Bitmap& b : bitmaps_) {
        if (!b.records()) continue;
        if (auto r = co_await load_bits(b); !r) co_return r;
        bitmaps_changed_ = true;
    }
    std::vector<uint8_t> directory(bitmap_directory_offset_ == 0 ? 0 : bitmap_directory_bytes_);
    if (auto r = co_await read_at(bitmap_directory_offset_, directory.data(), directory.size()); !r) co_return r;
    bool changed = false;
    for (size_t at = 0; at + kRow <= directory.size();) {
        uint8_t* row = &directory[at];
        const uint32_t flags = be32(row + 12);
        const size_t extra = be32(row + 20), name = be16(row + 18), bytes = align_up(kRow + extra + name, 8);
        if (extra > directory.size() || bytes > directory.size() - at) co_return corrupt("a row of the bitmap directory is invalid");
        const Bitmap* b = find_bitmap({reinterpret_cast<const char*>(row) + kRow + extra, name});
        if (!(flags & Bitmap::kInUse) && (all || (flags & Bitmap::kAuto) || (b != nullptr && b->records()))) {
            put32(row + 12, flags | Bitmap::kInUse);
            changed = true;
        }
        at += bytes;
    }
    if (changed) {
        if (auto r = co_await write_at(bitmap_directory_offset_, directory.data(), directory.size()); !r) co_return r;
        if (auto r = co_await file_->flush(); !r) co_return r;
        bitmaps_changed_ = true;
    }
    bitmaps_marked_ = true;
    co_return Result<void>{};
}

Task<Result<void>> Qcow2Node::store_bitmaps() {
    const auto alone = co_await map_.lock();
    const uint64_t cluster = h_.cluster_size();
    std::vector<HostRange> old = std::exchange(removed_bitmap_clusters_, {});
    std::string directory;
    for (Bitmap& b : bitmaps_) {
        if (b.loaded) {
            // The clusters that held it are free once the new directory is named.
            if (b.table_offset != 0) {
                std::vector<uint8_t> table(uint64_t{b.table_entries} * 8);
                if (auto r = co_await read_at(b.table_offset, table.data(), table.size()); !r) co_return r;
                for (size_t i = 0; i < b.table_entries; ++i)
                    if (const uint64_t host = be64(&table[i * 8]) & kOffsetMask) old.push_back({host, cluster});
                old.push_back({b.table_offset, table.size()});
            }
            const uint64_t bytes = (b.bits.count + 7) / 8, data_clusters = clusters_of(bytes);
            std::vector<uint8_t> table(data_clusters * 8);
            for (uint64_t i = 0; i < data_clusters; ++i) {
                std::vector<uint8_t> bits(cluster);
                for (uint64_t k = i * cluster; k < std::min(bytes, (i + 1) * cluster); ++k) bits[k - i * cluster] = static_cast<uint8_t>(b.bits.words[k / 8] >> (k % 8 * 8));
                if (io::is_zero(bits)) continue;
                auto at = co_await allocate(1, true);
                if (!at) co_return std::unexpected(at.error());
                if (auto r = co_await write_at(at->first, bits.data(), bits.size()); !r) co_return r;
                put64(&table[i * 8], at->first);
            }
            auto at = co_await allocate(std::max<uint64_t>(1, clusters_of(table.size())), true);
            if (!at) co_return std::unexpected(at.error());
            table.resize(std::max<uint64_t>(1, clusters_of(table.size())) << h_.cluster_bits);
            if (auto r = co_await write_at(at->first, table.data(), table.size()); !r) co_return r;
            b.table_offset = at->first;
            b.table_entries = static_cast<uint32_t>(data_clusters);
        }
        directory += bitmap_row(b, false);
    }
    if (bitmap_directory_offset_ != 0) old.push_back({bitmap_directory_offset_, bitmap_directory_bytes_});
    bitmap_directory_offset_ = 0;
    if (!directory.empty()) {
        auto at = co_await allocate(clusters_of(directory.size()), true);
        if (!at) co_return std::unexpected(at.error());
        if (auto r = co_await write_at(at->first, directory.data(), directory.size()); !r) co_return r;
        bitmap_directory_offset_ = at->first;
    }
    bitmap_directory_bytes_ = directory.size();
    if (auto r = co_await flush_metadata(); !r) co_return r;
    if (auto r = co_await barrier(); !r) co_return r;
    h_.drop_extension(Extension::kBitmaps);
    h_.autoclear &= ~Autoclear::kBitmaps;
    if (!bitmaps_.empty()) {
        std::string e(24, '\0');
        put32(e.data(), static_cast<uint32_t>(bitmaps_.size()));
        put64(e.data() + 8, directory.size());
        put64(e.data() + 16, bitmap_directory_offset_);
        h_.set_extension(Extension::kBitmaps, e);
        h_.autoclear |= Autoclear::kBitmaps;
    }
    if (auto r = co_await write_header(); !r) co_return r;
    for (const HostRange& o : old)
        if (o.bytes != 0) free_later(o.offset, o.bytes);
    bitmaps_changed_ = bitmaps_marked_ = false;
    co_return Result<void>{};
}

// ---- what tools ask for

Task<Result<std::vector<BitmapInfo>>> Qcow2Node::bitmaps() {
    std::vector<BitmapInfo> out;
    for (const Bitmap& b : bitmaps_) {
        BitmapInfo i{b.name, 1u << b.granularity_bits, {}};
        if (b.flags & Bitmap::kInUse) i.flags.emplace_back("in-use");
        if (b.flags & Bitmap::kAuto) i.flags.emplace_back("auto");
        out.push_back(std::move(i));
    }
    co_return out;
}

Task<Result<void>> Qcow2Node::change_bitmap(BitmapAction action, std::string name, uint32_t granularity) {
    const auto commands = co_await bitmap_commands_.lock();
    Bitmap* b = find_bitmap(name);
    if (action == BitmapAction::kAdd) {
        if (granularity != 0 && (!std::has_single_bit(granularity) || granularity < kMinGranularity)) co_return fail(ErrorKind::kInvalidArgument, "Granularity must be power of 2 and at least 512");
        if (b != nullptr) co_return fail(ErrorKind::kInvalidArgument, "Bitmap already exists: " + name);
        if (name.empty() || name.size() > 1023) co_return fail(ErrorKind::kInvalidArgument, name.empty() ? "Bitmap name cannot be empty" : "Bitmap name is too long");
        if (h_.version < 3) co_return fail(ErrorKind::kInvalidArgument, "Cannot store dirty bitmaps in qcow2 v2 files");
        if (bitmaps_.size() >= kMaxBitmaps) co_return fail(ErrorKind::kInvalidArgument, "Maximum number of persistent bitmaps is already reached");
        if (granularity == 0) granularity = static_cast<uint32_t>(std::clamp<uint64_t>(h_.cluster_size(), 4096, kDefaultGranularity));
        Bitmap fresh;
        fresh.name = std::move(name);
        fresh.flags = Bitmap::kAuto;
        fresh.granularity_bits = static_cast<unsigned>(std::countr_zero(granularity));
        fresh.loaded = true;
        fresh.bits.granularity = granularity;
        fresh.bits.count = (size_ + granularity - 1) / granularity;
        fresh.bits.words.assign((fresh.bits.count + 63) / 64, 0);
        bitmaps_.push_back(std::move(fresh));
        bitmaps_changed_ = true;
        co_return Result<void>{};
    }
    if (b == nullptr) co_return fail(ErrorKind::kNotFound, "Dirty bitmap '" + name + "' not found");
    if (action == BitmapAction::kRemove) {
        const auto alone = co_await map_.lock();
        if (b->table_offset != 0) {
            std::vector<uint8_t> table(uint64_t{b->table_entries} * 8);
            if (auto r = co_await read_at(b->table_offset, table.data(), table.size()); !r) co_return r;
            for (size_t i = 0; i < b->table_entries; ++i)
                if (const uint64_t host = be64(&table[i * 8]) & kOffsetMask) removed_bitmap_clusters_.push_back({host, h_.cluster_size()});
            if (!table.empty()) removed_bitmap_clusters_.push_back({b->table_offset, table.size()});
        }
        bitmaps_.remove_if([&](const Bitmap& o) { return &o == b; });
        bitmaps_changed_ = true;
        co_return Result<void>{};
    }
    if (b->broken()) co_return fail(ErrorKind::kInvalidArgument, "Bitmap '" + name + "' is inconsistent and cannot be used\nTry 'bitmap --remove' to delete this bitmap from disk");
    if (auto r = co_await load_bits(*b); !r) co_return r;
    switch (action) {
        case BitmapAction::kClear: std::fill(b->bits.words.begin(), b->bits.words.end(), 0); break;
        case BitmapAction::kEnable:
            b->flags |= Bitmap::kAuto;
            bitmaps_marked_ = false;  // its row on disk need not say so yet
            break;
        default: b->flags &= ~Bitmap::kAuto; break;
    }
    bitmaps_changed_ = true;
    co_return Result<void>{};
}

Task<Result<BitmapBits>> Qcow2Node::bitmap_bits(std::string name) {
    const auto commands = co_await bitmap_commands_.lock();
    Bitmap* b = find_bitmap(name);
    if (b == nullptr) co_return fail(ErrorKind::kNotFound, "Dirty bitmap '" + name + "' not found");
    if (b->broken()) co_return fail(ErrorKind::kInvalidArgument, "Bitmap '" + name + "' is inconsistent and cannot be used\nTry 'bitmap --remove' to delete this bitmap from disk");
    if (auto r = co_await load_bits(*b); !r) co_return std::unexpected(r.error());
    co_return b->bits;
}

Task<Result<void>> Qcow2Node::merge_bitmap(std::string name, BitmapBits from) {
    const auto commands = co_await bitmap_commands_.lock();
    Bitmap* b = find_bitmap(name);
    if (b == nullptr) co_return fail(ErrorKind::kNotFound, "Dirty bitmap '" + name + "' not found");
    if (b->broken()) co_return fail(ErrorKind::kInvalidArgument, "Bitmap '" + name + "' is inconsistent and cannot be used\nTry 'bitmap --remove' to delete this bitmap from disk");
    if (auto r = co_await load_bits(*b); !r) co_return r;
    if ((from.count + 0) * from.granularity < size_ || (from.count == 0 ? 0 : from.count - 1) * from.granularity >= std::max<uint64_t>(size_, 1))
        co_return fail(ErrorKind::kInvalidArgument, "Bitmaps are of different sizes (destination size is " + std::to_string(size_) + ") and can't be merged");
    for (uint64_t i = 0; i < from.count; ++i)
        if (from.get(i)) b->bits.set(i * from.granularity, std::min<uint64_t>(from.granularity, size_ - i * from.granularity));
    bitmaps_changed_ = true;
    co_return Result<void>{};
}

}  // namespace myna::block::qcow2
