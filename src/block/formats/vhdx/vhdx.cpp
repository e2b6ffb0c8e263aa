// The vhdx node: headers, regions, metadata, blocks, differencing disks.
#include "block/formats/vhdx/vhdx.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/bits.h"
#include "block/formats/common/crc32c.h"
#include "block/formats/common/open.h"

namespace myna::block::vhdx {

namespace {

Guid guid_at(const std::vector<uint8_t>& v, size_t at) {
    Guid g;
    std::copy_n(v.begin() + static_cast<ptrdiff_t>(at), 16, g.begin());
    return g;
}
bool sealed(std::vector<uint8_t> bytes) {
    const uint32_t said = le32(&bytes[4]);
    put_le32(&bytes[4], 0);
    return crc32c(bytes) == said;
}
/// UTF-16LE as UTF-8; surrogates and what is no character become '?'.
std::string utf8(std::span<const uint8_t> raw) {
    std::string out;
    for (size_t i = 0; i + 1 < raw.size(); i += 2) {
        const unsigned c = load_le<uint16_t>(&raw[i]);
        if (c < 0x80) out += static_cast<char>(c);
        else if (c < 0x800) out += {static_cast<char>(0xc0 | c >> 6), static_cast<char>(0x80 | (c & 63))};
        else if (c >= 0xd800 && c < 0xe000) out += '?';
        else out += {static_cast<char>(0xe0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 63)), static_cast<char>(0x80 | (c & 63))};
    }
    return out;
}

}  // namespace

VhdxNode::VhdxNode(Graph& graph, NodePtr file) : BlockMapNode(graph, std::move(file)), bat_(graph.reactor()), bitmaps_(graph.reactor(), 16) {
    bat_.attach(*file_);
    bitmaps_.attach(*file_);
}

void seal(std::vector<uint8_t>& bytes) {
    put_le32(&bytes[4], 0);
    put_le32(&bytes[4], crc32c(bytes));
}

std::vector<uint8_t> encode(const Header& h) {
    std::vector<uint8_t> b(kHeaderBytes);
    std::copy_n("head", 4, b.begin());
    put_le64(&b[8], h.sequence);
    std::copy(h.file_write.begin(), h.file_write.end(), &b[16]);
    std::copy(h.data_write.begin(), h.data_write.end(), &b[32]);
    std::copy(h.log.begin(), h.log.end(), &b[48]);
    put_le16(&b[64], h.log_version);
    put_le16(&b[66], h.version);
    put_le32(&b[68], h.log_bytes);
    put_le64(&b[72], h.log_at);
    seal(b);
    return b;
}

Task<Result<void>> VhdxNode::read_headers() {
    auto id = co_await read_bytes(*file_, 0, 8);
    if (!id) co_return std::unexpected(id.error());
    if (!std::equal(id->begin(), id->end(), "vhdxfile")) co_return corrupt("Image not in VHDX format");
    bool found = false, twice = false;
    for (int i = 0; i < 2; ++i) {
        auto b = co_await read_bytes(*file_, kHeaderAt[i], kHeaderBytes);
        if (!b) co_return std::unexpected(b.error());
        if (!std::equal(b->begin(), b->begin() + 4, "head") || load_le<uint16_t>(&(*b)[66]) != 1 || !sealed(*b)) continue;
        Header h;
        h.sequence = le64(&(*b)[8]);
        if (found && h.sequence == header_.sequence) twice = true;
        if (found && h.sequence <= header_.sequence) continue;
        h.file_write = guid_at(*b, 16);
        h.data_write = guid_at(*b, 32);
        h.log = guid_at(*b, 48);
        h.log_version = load_le<uint16_t>(&(*b)[64]);
        h.log_bytes = le32(&(*b)[68]);
        h.log_at = le64(&(*b)[72]);
        header_ = h;
        active_ = i;
        found = true;
    }
    if (!found) co_return corrupt("No valid VHDX header found");
    if (twice) {
        // Two headers of one age must be the same.
        auto a = co_await read_bytes(*file_, kHeaderAt[0], kHeaderBytes), b = co_await read_bytes(*file_, kHeaderAt[1], kHeaderBytes);
        if (!a || !b || *a != *b) co_return corrupt("the two VHDX headers have the same sequence number and differ");
    }
    if (header_.log_bytes % kMiB != 0 || header_.log_at % kMiB != 0 || (header_.log_bytes != 0 && header_.log_at < kMiB)) co_return corrupt("the place of the log is damaged");
    co_return Result<void>{};
}

Task<Result<void>> VhdxNode::read_regions() {
    std::vector<uint8_t> t;
    bool good = false;
    for (const uint64_t at : kRegionsAt) {
        auto b = co_await read_bytes(*file_, at, kTableBytes);
        if (!b) co_return std::unexpected(b.error());
        if (!std::equal(b->begin(), b->begin() + 4, "regi") || !sealed(*b) || le32(&(*b)[8]) > 2047) continue;
        t = std::move(*b);
        good = true;
        break;
    }
    if (!good) co_return corrupt("both region tables are damaged");
    std::vector<std::pair<uint64_t, uint64_t>> taken{{0, kMiB}, {header_.log_at, header_.log_at + header_.log_bytes}};
    for (uint32_t i = 0; i < le32(&t[8]); ++i) {
        const size_t e = 16 + size_t{i} * 32;
        const Guid id = guid_at(t, e);
        const uint64_t at = le64(&t[e + 16]), bytes = le32(&t[e + 24]);
        if (at % kMiB != 0 || bytes % kMiB != 0 || at < kMiB || at > UINT64_MAX - bytes) co_return corrupt("a region is not aligned");
        for (const auto& [b, end] : taken)
            if (at < end && b < at + bytes) co_return corrupt("regions overlap");
        taken.emplace_back(at, at + bytes);
        if (id == kBat && bat_at_ == 0) bat_at_ = at, bat_bytes_ = bytes;
        else if (id == kMetadata && metadata_at_ == 0) metadata_at_ = at, metadata_bytes_ = bytes;
        else if (id == kBat || id == kMetadata) co_return corrupt("a region is named twice");
        else if (le32(&t[e + 28]) & 1) co_return fail(ErrorKind::kUnsupported, filename_ + ": the image has a required region of unknown kind", ENOTSUP);
    }
    if (bat_at_ == 0 || metadata_at_ == 0) co_return corrupt("the region of the BAT or of the metadata is missing");
    co_return Result<void>{};
}

Task<Result<void>> VhdxNode::read_metadata() {
    auto t = co_await read_bytes(*file_, metadata_at_, kTableBytes);
    if (!t) co_return std::unexpected(t.error());
    if (!std::equal(t->begin(), t->begin() + 8, "metadata")) co_return corrupt("the metadata table is missing");
    const unsigned n = load_le<uint16_t>(&(*t)[10]);
    if (n > 2047) co_return corrupt("the metadata table has too many entries");
    uint64_t block = 0, size = 0, logical = 0;
    bool sized = false;
    for (unsigned i = 0; i < n; ++i) {
        const size_t e = 32 + size_t{i} * 32;
        const Guid id = guid_at(*t, e);
        const uint64_t at = le32(&(*t)[e + 16]), bytes = le32(&(*t)[e + 20]);
        const uint32_t flags = le32(&(*t)[e + 24]);
        const bool known = id == kFileParameters || id == kDiskSize || id == kLogicalSector || id == kParentLocator;
        if (!known) {
            if (id != kPhysicalSector && id != kPage83 && (flags & 4) != 0) co_return fail(ErrorKind::kUnsupported, filename_ + ": the image has required metadata of unknown kind", ENOTSUP);
            continue;
        }
        if (at < kTableBytes || bytes < 4 || bytes > kMiB || at + bytes > metadata_bytes_) co_return corrupt("a metadata item is outside its region");
        auto item = co_await read_bytes(*file_, metadata_at_ + at, std::max<uint64_t>(bytes, 8));
        if (!item) co_return std::unexpected(item.error());
        if (id == kFileParameters) {
            block = le32(item->data());
            has_parent_ = bytes >= 8 && (le32(&(*item)[4]) & 2);
        } else if (id == kDiskSize) {
            size = le64(item->data());
            sized = true;
        } else if (id == kLogicalSector) {
            logical = le32(item->data());
        } else if (auto r = co_await read_parent_locator(*item); !r) {
            co_return r;
        }
    }
    if (!sized || block == 0 || logical == 0) co_return corrupt("required metadata is missing");
    if (!std::has_single_bit(block) || block < kMiB || block > 256 * kMiB) co_return corrupt("block size " + std::to_string(block) + " is impossible");
    if (logical != 512 && logical != 4096) co_return corrupt("logical sector size " + std::to_string(logical) + " is impossible");
    if (size % logical != 0 || size > kMaxSize) co_return corrupt("disk size " + std::to_string(size) + " is impossible");
    sector_ = static_cast<uint32_t>(logical);
    block_bytes_ = block;
    size_ = size;
    chunk_ = (uint64_t{1} << 23) * logical / block;
    const uint64_t n_blocks = blocks(), entries = has_parent_ ? (n_blocks + chunk_ - 1) / chunk_ * (chunk_ + 1) : n_blocks + (n_blocks == 0 ? 0 : (n_blocks - 1) / chunk_);
    if (entries * 8 > bat_bytes_) co_return corrupt("the BAT is too small for the disk");
    if (bat_at_ + entries * 8 > file_->size()) co_return corrupt("the file ends inside the BAT");
    co_return Result<void>{};
}

Task<Result<void>> VhdxNode::read_parent_locator(const std::vector<uint8_t>& item) {
    if (item.size() < 20) co_return corrupt("the parent locator is too short");
    const unsigned n = load_le<uint16_t>(&item[18]);
    std::string relative, absolute, linkage;
    for (unsigned i = 0; i < n; ++i) {
        const size_t e = 20 + size_t{i} * 12;
        if (e + 12 > item.size()) co_return corrupt("the parent locator is cut");
        const uint64_t key_at = le32(&item[e]), value_at = le32(&item[e + 4]), key_bytes = load_le<uint16_t>(&item[e + 8]), value_bytes = load_le<uint16_t>(&item[e + 10]);
        if (key_at + key_bytes > item.size() || value_at + value_bytes > item.size()) co_return corrupt("the parent locator is cut");
        const std::string key = utf8({&item[key_at], key_bytes});
        std::string value = utf8({&item[value_at], value_bytes});
        if (key == "relative_path") relative = value;
        else if (key == "absolute_win32_path" || key == "volume_path") absolute = value;
        else if (key == "parent_linkage") linkage = value;
    }
    parent_ = !relative.empty() ? relative : absolute;
    std::replace(parent_.begin(), parent_.end(), '\\', '/');
    if (parent_.starts_with("./")) parent_.erase(0, 2);
    // "{83ed3c8e-…}" with the fields in printed order.
    std::string digits;
    for (const char c : linkage)
        if (std::isxdigit(static_cast<unsigned char>(c))) digits += c;
    if (digits.size() == 32) {
        static constexpr size_t kOrder[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
        for (size_t i = 0; i < 16; ++i) parent_linkage_[kOrder[i]] = static_cast<uint8_t>(std::stoul(digits.substr(i * 2, 2), nullptr, 16));
    }
    co_return Result<void>{};
}

Task<Result<void>> VhdxNode::start(const OpenOptions& o) {
    if (auto r = co_await read_headers(); !r) co_return r;
    if (header_.log != Guid{} && header_.log_bytes != 0) {
        if (read_only_)
            co_return fail(ErrorKind::kPermission, "VHDX image file '" + filename_ + "' opened read-only, but contains a log that needs to be replayed\nTo replay the log, run:\nmyna-img check -r all '" + filename_ + "'", EPERM);
        if (auto r = co_await replay_log(*file_, header_, filename_); !r) co_return r;
        // The log counts no more; then everything is read as it is now.
        header_.log = Guid{};
        ++header_.sequence;
        const auto b = encode(header_);
        active_ ^= 1;
        if (auto r = co_await write_bytes(*file_, kHeaderAt[active_], b.data(), b.size()); !r) co_return r;
        if (auto r = co_await file_->flush(); !r) co_return r;
        replayed_ = true;
    }
    if (auto r = co_await read_regions(); !r) co_return r;
    if (auto r = co_await read_metadata(); !r) co_return r;
    if (has_parent_ && !o.no_backing) {
        if (parent_.empty() && !o.options.contains("backing")) co_return corrupt("the image has a parent, but does not say where");
        auto b = co_await graph_.open_backing(filename_, parent_, "vhdx", o);
        if (!b) co_return std::unexpected(b.error());
        if (const auto* v = dynamic_cast<const VhdxNode*>(b->get()); v != nullptr && parent_linkage_ != Guid{} && v->data_write() != parent_linkage_)
            co_return corrupt("the parent '" + parent_ + "' was changed since this image was made; what would be read is not what was written");
        backing_ = *b;
    }
    co_return Result<void>{};
}

std::optional<Place> VhdxNode::cached(uint64_t block) {
    using K = Place::Kind;
    if (block >= blocks()) return Place{.blocks = uint64_t{1} << 40};
    const uint8_t* p = bat_.find(entry_at(block));
    if (p == nullptr) return std::nullopt;
    const uint64_t e = le64(p), host = e & ~(kMiB - 1);
    switch (e & 7) {
        case kNotPresent: return Place{};
        case kUndefined:
        case kZero:
        case kUnmapped: return Place{.kind = K::kZero};
        case kFullyPresent:
        case kPartiallyPresent:
            if (host < kMiB || host >= file_->size()) return Place{.kind = K::kBad, .host = host};
            return Place{.kind = (e & 7) == kFullyPresent ? K::kData : K::kPartial, .host = host};
        default: return Place{.kind = K::kBad, .host = host};
    }
}

Task<Result<uint64_t>> VhdxNode::partial_run(uint64_t block, uint64_t within, uint64_t length, bool& here) {
    // The bitmap of this chunk: one bit a sector, 1 MiB for all of the chunk's blocks.
    auto entry = co_await bat_.get(bat_at_ + ((block / chunk_ + 1) * (chunk_ + 1) - 1) * 8);
    if (!entry) co_return std::unexpected(entry.error());
    const uint64_t e = le64(*entry), at = e & ~(kMiB - 1);
    if ((e & 7) != kFullyPresent || at < kMiB || at >= file_->size()) co_return corrupt("block " + std::to_string(block) + " has no sector bitmap");
    const uint64_t base = block % chunk_ * (block_bytes_ / sector_);
    uint64_t s = within / sector_, done = 0;
    for (bool first = true; done < length; first = false, ++s) {
        auto b = co_await bitmaps_.get(at + (base + s) / 8);
        if (!b) co_return std::unexpected(b.error());
        const bool set = **b >> ((base + s) % 8) & 1;
        if (first) here = set;
        else if (set != here) break;
        done = std::min(length, (s + 1) * sector_ - within);
    }
    co_return done;
}

Task<Result<void>> VhdxNode::before_first_write() {
    if (has_parent_) co_return fail(ErrorKind::kUnsupported, filename_ + ": writing to differencing VHDX images is not implemented", ENOTSUP);
    next_ = align_up(std::max<uint64_t>(file_->size(), kMiB), kMiB);
    // Whoever remembers this image by its content must see that it changes. One header after the other: one is always good.
    const auto a = random_uuid(), b = random_uuid();
    std::copy(a.begin(), a.end(), header_.file_write.begin());
    std::copy(b.begin(), b.end(), header_.data_write.begin());
    for (int i = 0; i < 2; ++i) {
        ++header_.sequence;
        active_ ^= 1;
        const auto raw = encode(header_);
        if (auto r = co_await write_bytes(*file_, kHeaderAt[active_], raw.data(), raw.size()); !r) co_return r;
        if (auto r = co_await file_->flush(); !r) co_return r;
    }
    co_return Result<void>{};
}

Task<Result<void>> VhdxNode::point(uint64_t first, uint64_t count, uint64_t host) {
    for (uint64_t i = 0; i < count; ++i) {
        auto p = co_await bat_.get(entry_at(first + i));
        if (!p) co_return std::unexpected(p.error());
        put_le64(*p, (host + i * block_bytes_) | kFullyPresent);
        bat_.mark(entry_at(first + i), 8);
    }
    tables_dirty_ = true;
    if (bat_.crowded()) co_return co_await flush_tables();
    co_return Result<void>{};
}

Task<Result<CheckResult>> VhdxNode::check(CheckFix fix) {
    auto r = co_await check_places(kMiB);
    if (r && replayed_ && fix != CheckFix::kNone) {
        ++r->corruptions;
        ++r->corruptions_fixed;
        r->messages.push_back("The log was replayed.");
    }
    co_return r;
}

}  // namespace myna::block::vhdx
