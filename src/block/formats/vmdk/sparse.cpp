// Sparse extents: headers of the three layouts, the way from a grain to its sector, grains that are compressed.
#include <libdeflate.h>

#include <algorithm>
#include <memory>

#include "base/bits.h"
#include "block/formats/common/open.h"
#include "block/formats/vmdk/vmdk.h"

namespace myna::block::vmdk {

namespace {

constexpr uint64_t kMaxDirectory = 16 << 20;          // entries
constexpr uint64_t kMaxSectors = uint64_t{1} << 53;   // of a disk
constexpr uint64_t kAtEnd = UINT64_MAX;               // gdOffset: look at the footer
constexpr size_t kMarkerBytes = 12;

// Offsets in the hosted header.
constexpr size_t kVersion = 4, kFlags = 8, kCapacity = 12, kGrain = 20, kDescOffset = 28, kDescSize = 36, kEntries = 44, kRgd = 48, kGd = 56,
                 kOverhead = 64, kNewlines = 73, kCompression = 77;

bool is_power(uint64_t v) { return std::has_single_bit(v); }

}  // namespace

SparseExtent::SparseExtent(Graph& graph, NodePtr file) : BlockMapNode(graph, std::move(file)), tables_(graph.reactor()) { tables_.attach(*file_); }

Task<Result<void>> SparseExtent::start(uint64_t sectors) {
    auto head = co_await read_bytes(*file_, 0, 512);
    if (!head) co_return std::unexpected(head.error());
    Result<void> r;
    if (le32(head->data()) == kHostedMagic) r = co_await start_hosted(std::move(*head));
    else if (le32(head->data()) == kEsxMagic) r = co_await start_esx(std::move(*head));
    else if (le64(head->data()) == kSeSparseMagic) r = co_await start_sesparse(std::move(*head));
    else co_return corrupt("Image not in VMDK format");
    if (!r) co_return r;
    if (sectors != 0) {
        if (sectors > size_ / kSector) co_return corrupt("the extent has " + std::to_string(size_ / kSector) + " sectors, the descriptor says " + std::to_string(sectors));
        size_ = sectors * kSector;
    }
    limits_.zeroes_alignment = zero_grain_ ? static_cast<uint32_t>(block_bytes_) : 1;
    co_return Result<void>{};
}

Task<Result<std::vector<uint32_t>>> SparseExtent::directory(uint64_t sector) {
    const uint64_t reach = block_bytes_ * entries_, n = (size_ + reach - 1) / reach;
    if (n > kMaxDirectory) co_return corrupt("L1 size too big: the grain directory would have " + std::to_string(n) + " entries");
    if (sector > file_->size() / kSector || n * 4 > file_->size() - sector * kSector) co_return corrupt("the grain directory is outside the file; the file is truncated or damaged");
    auto raw = co_await read_bytes(*file_, sector * kSector, n * 4);
    if (!raw) co_return std::unexpected(raw.error());
    std::vector<uint32_t> out(n);
    for (uint64_t i = 0; i < n; ++i) out[i] = le32(&(*raw)[i * 4]);
    co_return out;
}

Task<Result<void>> SparseExtent::start_hosted(std::vector<uint8_t> h) {
    if (le64(&h[kGd]) == kAtEnd) {
        // The directory was written last: a footer, a copy of the header that knows where, is before the end marker.
        if (file_->size() < 1536 + 512) co_return corrupt("the file ends before its footer");
        auto end = co_await read_bytes(*file_, file_->size() - 1536, 1536);
        if (!end) co_return std::unexpected(end.error());
        const uint8_t* footer = &(*end)[512];
        if (le32(footer) != kHostedMagic || le32(&(*end)[8]) != 0 || le32(&(*end)[12]) != 3 || le32(&(*end)[1024 + 8]) != 0 || le32(&(*end)[1024 + 12]) != 0)
            co_return corrupt("the footer of the stream is missing or damaged; was the transfer cut?");
        h.assign(footer, footer + 512);
        footer_ = true;
    }
    const uint32_t version = le32(&h[kVersion]), flags = le32(&h[kFlags]);
    if (version < 1 || version > 3) co_return fail(ErrorKind::kUnsupported, filename_ + ": Unsupported VMDK version " + std::to_string(version), ENOTSUP);
    compressed_ = flags & Flag::kCompressed;
    markers_ = flags & Flag::kMarkers;
    zero_grain_ = flags & Flag::kZeroGrain;
    if (version == 3 && !compressed_ && !read_only_)
        co_return fail(ErrorKind::kUnsupported, filename_ + ": VMDK version 3 must be read only (it has changed-block tracking)", ENOTSUP);
    if (compressed_ && load_le<uint16_t>(&h[kCompression]) != 1) co_return fail(ErrorKind::kUnsupported, filename_ + ": unknown compression method " + std::to_string(load_le<uint16_t>(&h[kCompression])), ENOTSUP);
    const uint64_t capacity = le64(&h[kCapacity]), grain = le64(&h[kGrain]);
    entries_ = le32(&h[kEntries]);
    if (capacity > kMaxSectors) co_return corrupt("capacity of " + std::to_string(capacity) + " sectors is too large");
    if (!is_power(grain) || grain < 8 || grain > 0x20000) co_return corrupt("Invalid granularity, image may be corrupt");
    if (entries_ == 0 || entries_ > 512) co_return corrupt("L2 table size too big: " + std::to_string(entries_) + " entries");
    if (const uint64_t overhead = le64(&h[kOverhead]); overhead > file_->size() / kSector)
        co_return corrupt("File truncated, expecting at least " + std::to_string(overhead > kMaxSectors ? overhead : overhead * kSector) + (overhead > kMaxSectors ? " sectors" : " bytes"));
    block_bytes_ = grain * kSector;
    size_ = capacity * kSector;
    descriptor_at = le64(&h[kDescOffset]) * kSector;
    descriptor_bytes = le64(&h[kDescOffset]) == 0 ? 0 : le64(&h[kDescSize]) * kSector;
    if (le64(&h[kDescOffset]) > kMaxSectors || le64(&h[kDescSize]) > 2048) co_return corrupt("the embedded descriptor is outside the file or too large");
    if (le64(&h[kGd]) > kMaxSectors || le64(&h[kRgd]) > kMaxSectors) co_return corrupt("the grain directory is outside the file");
    directory_at_ = le64(&h[kGd]) * kSector;
    auto d = co_await directory(le64(&h[kGd]));
    if (!d) co_return std::unexpected(d.error());
    directory_ = std::move(*d);
    if ((flags & Flag::kRedundant) && le64(&h[kRgd]) != 0 && !footer_ && !read_only_) {
        auto r = co_await directory(le64(&h[kRgd]));
        if (!r) co_return std::unexpected(r.error());
        redundant_ = std::move(*r);
    }
    co_return Result<void>{};
}

Task<Result<void>> SparseExtent::start_esx(std::vector<uint8_t> h) {
    layout_ = Layout::kEsx;
    const uint64_t capacity = le32(&h[12]), grain = le32(&h[16]);
    if (!is_power(grain) || grain > 0x20000) co_return corrupt("Invalid granularity, image may be corrupt");
    entries_ = 4096;
    block_bytes_ = grain * kSector;
    size_ = capacity * kSector;
    directory_at_ = uint64_t{le32(&h[20])} * kSector;
    auto d = co_await directory(le32(&h[20]));
    if (!d) co_return std::unexpected(d.error());
    directory_ = std::move(*d);
    co_return Result<void>{};
}

Task<Result<void>> SparseExtent::start_sesparse(std::vector<uint8_t> h) {
    layout_ = Layout::kSeSparse;
    const auto field = [&](size_t i) { return le64(&h[i * 8]); };
    const auto unsupported = [&](const std::string& what) { return fail(ErrorKind::kUnsupported, filename_ + ": unsupported seSparse image: " + what, ENOTSUP); };
    // magic, version, capacity, grain, table, flags, 4 reserved, then offset and size of: volatile header, journal header,
    // journal, directory, tables, free bitmap, back map, grains. All in sectors.
    if (field(1) != 0x0000000200000001) co_return unsupported("version " + std::to_string(field(1)));
    if (field(3) != 8) co_return unsupported("grain size " + std::to_string(field(3)));
    if (field(4) != 64) co_return unsupported("grain table size " + std::to_string(field(4)));
    if (field(5) != 0) co_return unsupported("flags " + std::to_string(field(5)));
    if (field(2) > kMaxSectors) co_return corrupt("capacity is too large");
    for (size_t i = 10; i < 26; ++i)
        if (field(i) > kMaxSectors) co_return corrupt("a part of the image is outside the file");
    auto v = co_await read_bytes(*file_, field(10) * kSector, 512);
    if (!v) co_return std::unexpected(v.error());
    if (le64(v->data()) != 0xcafecafe) co_return corrupt("the volatile header is missing");
    if (le64(&(*v)[24]) != 0) co_return unsupported("its journal has to be replayed first; open and close it where it was made");
    block_bytes_ = 8 * kSector;
    entries_ = 4096;
    size_ = field(2) * kSector;
    const uint64_t reach = block_bytes_ * entries_, n = (size_ + reach - 1) / reach;
    if (n > kMaxDirectory || n * 8 > field(17) * kSector) co_return corrupt("the grain directory is too small for the capacity");
    if (field(16) * kSector > file_->size() || n * 8 > file_->size() - field(16) * kSector) co_return corrupt("the grain directory is outside the file");
    auto raw = co_await read_bytes(*file_, field(16) * kSector, n * 8);
    if (!raw) co_return std::unexpected(raw.error());
    wide_directory_.resize(n);
    for (uint64_t i = 0; i < n; ++i) {
        wide_directory_[i] = le64(&(*raw)[i * 8]);
        if (wide_directory_[i] != 0 && wide_directory_[i] >> 32 != 0x10000000) co_return corrupt("grain directory entry " + std::to_string(i) + " is damaged");
    }
    wide_tables_at_ = field(18) * kSector;
    wide_table_bytes_ = field(19) * kSector;
    wide_grains_at_ = field(24) * kSector;
    co_return Result<void>{};
}

uint64_t SparseExtent::table_at(uint64_t i) const {
    if (layout_ != Layout::kSeSparse) return i < directory_.size() ? uint64_t{directory_[i]} * kSector : 0;
    if (i >= wide_directory_.size() || wide_directory_[i] == 0) return 0;
    return wide_tables_at_ + (wide_directory_[i] & 0xffffffff) * entries_ * 8;
}

std::optional<Place> SparseExtent::cached(uint64_t block) {
    using K = Place::Kind;
    const uint64_t i = block / entries_, k = block % entries_, table = table_at(i);
    if (table == 0) return Place{.kind = K::kNone, .blocks = entries_ - k};
    const bool wide = layout_ == Layout::kSeSparse;
    if (table >= file_->size() && table + entries_ * 4 > next_) return Place{.kind = K::kBad, .host = table};
    const uint8_t* p = tables_.find(table + k * (wide ? 8 : 4));
    if (p == nullptr) return std::nullopt;
    if (wide) {
        const uint64_t e = le64(p), value = e & 0x0fffffffffffffff;
        switch (e >> 60) {
            case 0: return value == 0 ? Place{} : Place{.kind = K::kBad, .host = e};
            case 1:
            case 2: return Place{.kind = K::kZero};
            case 3: break;
            default: return Place{.kind = K::kBad, .host = e};
        }
        const uint64_t grain = value >> 48 | (value & 0x0000ffffffffffff) << 12;
        if (grain > file_->size() / block_bytes_) return Place{.kind = K::kBad, .host = e};
        return Place{.kind = K::kData, .host = wide_grains_at_ + grain * block_bytes_};
    }
    const uint32_t e = le32(p);
    if (e == 0) return Place{};
    if (e == 1 && zero_grain_) return Place{.kind = K::kZero};
    const uint64_t host = uint64_t{e} * kSector;
    if (host >= file_->size()) return Place{.kind = K::kBad, .host = host};
    return Place{.kind = compressed_ ? K::kCompressed : K::kData, .host = host};
}

Task<Result<void>> SparseExtent::load(uint64_t block) {
    return tables_.load(table_at(block / entries_) + block % entries_ * (layout_ == Layout::kSeSparse ? 8 : 4));
}

// ---- writing

Task<Result<void>> SparseExtent::before_first_write() {
    if (layout_ != Layout::kHosted)
        co_return fail(ErrorKind::kUnsupported, filename_ + ": ESX sparse extents can only be read", ENOTSUP);
    if (footer_) co_return fail(ErrorKind::kUnsupported, filename_ + ": a finished stream (streamOptimized with a footer) can only be read; convert it to write to it", ENOTSUP);
    next_ = align_up(file_->size(), compressed_ ? kSector : block_bytes_);
    co_return Result<void>{};
}

Task<Result<std::pair<uint64_t, uint64_t>>> SparseExtent::reserve(uint64_t, uint64_t count) {
    if ((next_ + count * block_bytes_) / kSector > UINT32_MAX)
        co_return fail(ErrorKind::kNoSpace, filename_ + ": a sparse extent cannot be larger than 2 TiB", ENOSPC);
    co_return co_await append(count);
}

/// Grains [first, first + count) are at `sector`, each `step` further; in both directories.
Task<Result<void>> SparseExtent::set_entries(uint64_t first, uint64_t count, uint64_t sector, uint64_t step) {
    for (uint64_t b = first; b < first + count; ++b, sector += step) {
        const uint64_t i = b / entries_, k = b % entries_;
        if (directory_[i] == 0) {
            // A table of its own, behind everything; the directory names it after it is on disk.
            const uint64_t at = next_;
            next_ = align_up(at + entries_ * 4, compressed_ ? kSector : block_bytes_);
            if (next_ > file_->size())
                if (auto r = co_await file_->grow_to(next_); !r) co_return r;
            if (auto r = co_await tables_.fresh(at, align_up(entries_ * 4, kSector)); !r) co_return r;
            directory_[i] = static_cast<uint32_t>(at / kSector);
            directory_dirty_.push_back(i);
        }
        for (const auto* d : {&directory_, &redundant_}) {
            if (d->empty() || (*d)[i] == 0) continue;
            const uint64_t at = uint64_t{(*d)[i]} * kSector + k * 4;
            auto p = co_await tables_.get(at);
            if (!p) co_return std::unexpected(p.error());
            put_le32(*p, static_cast<uint32_t>(sector));
            tables_.mark(at, 4);
        }
    }
    tables_dirty_ = true;
    if (tables_.crowded()) co_return co_await flush_tables();
    co_return Result<void>{};
}

Task<Result<void>> SparseExtent::point(uint64_t first, uint64_t count, uint64_t host) {
    return set_entries(first, count, host / kSector, block_bytes_ / kSector);
}

Task<Result<bool>> SparseExtent::zero_blocks(uint64_t first, uint64_t count) {
    if (!zero_grain_) co_return false;
    if (auto r = co_await set_entries(first, count, 1, 0); !r) co_return std::unexpected(r.error());
    co_return true;
}

Task<Result<void>> SparseExtent::write_tables() {
    if (auto r = co_await tables_.write_back(); !r) co_return r;
    if (directory_dirty_.empty()) co_return Result<void>{};
    if (auto r = co_await file_->flush(); !r) co_return r;
    for (const size_t i : directory_dirty_) {
        uint8_t e[4];
        put_le32(e, directory_[i]);
        if (auto r = co_await write_bytes(*file_, directory_at_ + i * 4, e, 4); !r) co_return r;
    }
    directory_dirty_.clear();
    co_return Result<void>{};
}

// ---- compressed grains

Task<Result<void>> SparseExtent::read_compressed(Place p, uint64_t block, uint64_t within, const IoVec& into) {
    const uint64_t left = file_->size() - p.host;
    uint64_t bytes = std::min(left, 2 * block_bytes_), skip = 0;
    if (markers_) {
        auto m = co_await read_bytes(*file_, p.host, kMarkerBytes);
        if (!m) co_return std::unexpected(m.error());
        skip = kMarkerBytes;
        bytes = le32(&(*m)[8]);
        if (bytes == 0 || bytes > left - std::min(left, skip) || bytes > 2 * block_bytes_ + 4096)
            co_return corrupt("the marker of grain " + std::to_string(block) + " at offset " + std::to_string(p.host) + " has an impossible size (" + std::to_string(bytes) + ")");
    }
    auto in = co_await read_bytes(*file_, p.host + skip, bytes);
    if (!in) co_return std::unexpected(in.error());
    std::vector<uint8_t> out(block_bytes_);
    bool ok = false;
    const auto work = [&] {
        const std::unique_ptr<libdeflate_decompressor, void (*)(libdeflate_decompressor*)> d(libdeflate_alloc_decompressor(), libdeflate_free_decompressor);
        size_t read = 0, written = 0;
        ok = libdeflate_zlib_decompress_ex(d.get(), in->data(), in->size(), out.data(), out.size(), &read, &written) == LIBDEFLATE_SUCCESS;
    };
    co_await reactor_.offload(work);
    if (!ok) co_return corrupt("grain " + std::to_string(block) + " at offset " + std::to_string(p.host) + " cannot be decompressed");
    into.copy_from(out.data() + within);
    co_return Result<void>{};
}

Task<Result<void>> SparseExtent::do_write(uint64_t offset, const IoVec& from, WriteFlags flags) {
    if (!compressed_) co_return co_await BlockMapNode::do_write(offset, from, flags);
    if (auto r = co_await begin_writing(); !r) co_return r;
    if (auto r = co_await write_compressed(offset, from); !r) co_return r;
    if (flags.fua) co_return co_await do_flush();
    co_return Result<void>{};
}

Task<Result<void>> SparseExtent::write_compressed(uint64_t offset, const IoVec& from) {
    if (!compressed_) co_return co_await BlockMapNode::do_write(offset, from, {});
    for (uint64_t done = 0; done < from.size();) {
        const uint64_t at = offset + done, within = at % block_bytes_, n = std::min<uint64_t>(from.size() - done, block_bytes_ - within);
        const IoVec part = from.slice(done, n);
        if (auto r = co_await write_grain(at / block_bytes_, within, part); !r) co_return r;
        done += n;
    }
    co_return Result<void>{};
}

/// A grain, compressed, behind everything that is there; what it replaces is lost space.
Task<Result<void>> SparseExtent::write_grain(uint64_t block, uint64_t within, const IoVec& from) {
    co_await wait_for(block, block + 1);
    const Range range(*this, block, block + 1);
    const uint64_t begin = block * block_bytes_, bytes = std::min(block_bytes_, size_ - begin);
    std::vector<uint8_t> in(bytes);
    if (from.size() < bytes) {
        const IoVec whole(in.data(), in.size());
        if (auto r = co_await do_read(begin, whole); !r) co_return r;
    }
    from.copy_to(in.data() + within);
    std::vector<uint8_t> out;
    const auto work = [&] {
        const std::unique_ptr<libdeflate_compressor, void (*)(libdeflate_compressor*)> c(libdeflate_alloc_compressor(6), libdeflate_free_compressor);
        out.resize(kMarkerBytes + libdeflate_zlib_compress_bound(c.get(), in.size()));
        const size_t n = libdeflate_zlib_compress(c.get(), in.data(), in.size(), out.data() + kMarkerBytes, out.size() - kMarkerBytes);
        put_le64(out.data(), begin / kSector);
        put_le32(out.data() + 8, static_cast<uint32_t>(n));
        out.resize(align_up(kMarkerBytes + n, kSector));
        std::fill(out.begin() + static_cast<ptrdiff_t>(kMarkerBytes + n), out.end(), uint8_t{0});
    };
    co_await reactor_.offload(work);
    const size_t skip = markers_ ? 0 : kMarkerBytes;
    uint64_t host;
    {
        const auto alone = co_await map_.lock();
        host = next_;
        if ((host + out.size()) / kSector > UINT32_MAX) co_return fail(ErrorKind::kNoSpace, filename_ + ": a sparse extent cannot be larger than 2 TiB", ENOSPC);
        next_ = host + out.size();
        if (next_ > file_->size())
            if (auto r = co_await file_->grow_to(next_); !r) co_return r;
    }
    const IoVec part(out.data() + skip, out.size() - skip);
    if (auto r = co_await file_->write(host, part); !r) co_return r;
    const auto alone = co_await map_.lock();
    co_return co_await set_entries(block, 1, host / kSector, 0);
}

Task<Result<CheckResult>> SparseExtent::check(CheckFix) {
    std::vector<uint64_t> tables;
    for (uint64_t i = 0; i < std::max(directory_.size(), wide_directory_.size()); ++i)
        if (const uint64_t at = table_at(i); at != 0) tables.push_back(at);
    std::sort(tables.begin(), tables.end());
    const uint64_t bytes = entries_ * (layout_ == Layout::kSeSparse ? 8 : 4);
    for (size_t i = 1; i < tables.size(); ++i)
        if (tables[i] - tables[i - 1] < bytes) {
            CheckResult out;
            out.corruptions = 1;
            out.messages.push_back("ERROR: two grain tables share the bytes at offset " + std::to_string(tables[i]));
            co_return out;
        }
    co_return co_await check_places(kSector);
}

// ---- creating

HostedPlan hosted_plan(uint64_t capacity) {
    HostedPlan p{};
    const uint64_t reach = uint64_t{kGrainSectors} * kTableEntries, table = kTableEntries * 4 / kSector;
    p.tables = (capacity + reach - 1) / reach;
    p.directory_sectors = (p.tables * 4 + kSector - 1) / kSector;
    p.redundant_at = kDescriptorAt + kDescriptorSectors;
    p.directory_at = p.redundant_at + p.directory_sectors + p.tables * table;
    p.grains_at = align_up(p.directory_at + p.directory_sectors + p.tables * table, kGrainSectors);
    return p;
}

std::vector<uint8_t> hosted_header(uint64_t capacity, bool compressed, bool zero_grain) {
    const HostedPlan p = hosted_plan(capacity);
    std::vector<uint8_t> h(512);
    put_le32(&h[0], kHostedMagic);
    put_le32(&h[kVersion], compressed ? 3 : zero_grain ? 2 : 1);
    put_le32(&h[kFlags], Flag::kNewlineTest | Flag::kRedundant | (compressed ? Flag::kCompressed | Flag::kMarkers : 0) | (zero_grain ? Flag::kZeroGrain : 0));
    put_le64(&h[kCapacity], capacity);
    put_le64(&h[kGrain], kGrainSectors);
    put_le64(&h[kDescOffset], kDescriptorAt);
    put_le64(&h[kDescSize], kDescriptorSectors);
    put_le32(&h[kEntries], kTableEntries);
    put_le64(&h[kRgd], p.redundant_at);
    put_le64(&h[kGd], p.directory_at);
    put_le64(&h[kOverhead], p.grains_at);
    constexpr uint8_t newlines[] = {'\n', ' ', '\r', '\n'};
    std::copy(std::begin(newlines), std::end(newlines), &h[kNewlines]);
    h[kCompression] = compressed ? 1 : 0;
    return h;
}

}  // namespace myna::block::vmdk
