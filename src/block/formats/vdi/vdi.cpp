#include "block/formats/vdi/vdi.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/bits.h"
#include "block/formats/common/block_map.h"
#include "block/formats/common/bytes.h"
#include "block/formats/common/open.h"

namespace myna::block {

using namespace formats;

namespace {

constexpr uint32_t kSignature = 0xbeda107f;
constexpr uint32_t kUnallocated = 0xffffffff, kDiscarded = 0xfffffffe;
constexpr uint32_t kMaxBlocks = 0x3fffffff;
constexpr uint64_t kBlock = 1 << 20, kHeader = 512;
constexpr std::string_view kText = "<<< QEMU VM Virtual Disk Image >>>\n";
enum Type : uint32_t { kDynamic = 1, kStatic = 2, kUndo = 3, kDiff = 4 };

// Offsets of header fields.
constexpr size_t kAtSignature = 0x40, kAtVersion = 0x44, kAtHeaderSize = 0x48, kAtType = 0x4c, kAtBmap = 0x154, kAtData = 0x158,
                 kAtSectorSize = 0x168, kAtDiskSize = 0x170, kAtBlockSize = 0x178, kAtBlockExtra = 0x17c, kAtBlocks = 0x180,
                 kAtAllocated = 0x184, kAtUuid = 0x188, kAtSnapshotUuid = 0x198, kAtLinkUuid = 0x1a8, kAtParentUuid = 0x1b8;

class VdiNode final : public BlockMapNode {
  public:
    VdiNode(Graph& graph, NodePtr file) : BlockMapNode(graph, std::move(file)), table_(graph.reactor()) { table_.attach(*file_); }
    [[nodiscard]] std::string_view driver() const noexcept override { return "vdi"; }
    [[nodiscard]] std::optional<uint32_t> cluster_size() const override { return static_cast<uint32_t>(block_bytes_); }
    [[nodiscard]] bool zero_init() const override { return type_ != kStatic || file_->zero_init(); }

    Task<Result<void>> start() {
        auto head = co_await read_bytes(*file_, 0, kHeader);
        if (!head) co_return std::unexpected(head.error());
        header_ = std::move(*head);
        const auto u32 = [&](size_t at) { return le32(&header_[at]); };
        const auto unsupported = [&](const std::string& what) { return fail(ErrorKind::kUnsupported, filename_ + ": unsupported VDI image (" + what + ")", ENOTSUP); };
        if (u32(kAtSignature) != kSignature) co_return corrupt("Image not in VDI format (bad signature)");
        if (u32(kAtVersion) != 0x00010001) co_return unsupported("version " + std::to_string(u32(kAtVersion) >> 16) + "." + std::to_string(u32(kAtVersion) & 0xffff));
        type_ = u32(kAtType);
        if (type_ == kUndo || type_ == kDiff || std::any_of(&header_[kAtParentUuid], &header_[kAtParentUuid] + 16, [](uint8_t b) { return b != 0; }) ||
            std::any_of(&header_[kAtLinkUuid], &header_[kAtLinkUuid] + 16, [](uint8_t b) { return b != 0; }))
            co_return unsupported("it is a difference to another image, which VDI names only by UUID");
        bmap_at_ = u32(kAtBmap);
        data_at_ = u32(kAtData);
        count_ = u32(kAtBlocks);
        size_ = align_up(le64(&header_[kAtDiskSize]), 512);
        block_bytes_ = u32(kAtBlockSize);
        if (bmap_at_ % 512 != 0) co_return unsupported("unaligned block map offset " + std::to_string(bmap_at_));
        if (data_at_ % 512 != 0) co_return unsupported("unaligned data offset " + std::to_string(data_at_));
        if (u32(kAtSectorSize) != 512) co_return unsupported("sector size " + std::to_string(u32(kAtSectorSize)) + " is not 512");
        if (!std::has_single_bit(block_bytes_) || block_bytes_ < 4096 || block_bytes_ > (1u << 28)) co_return unsupported("block size " + std::to_string(block_bytes_));
        if (u32(kAtBlockExtra) != 0) co_return unsupported("blocks with extra data");
        if (count_ > kMaxBlocks) co_return unsupported("too many blocks " + std::to_string(count_) + ", max is " + std::to_string(kMaxBlocks));
        if (size_ > count_ * block_bytes_) co_return unsupported("disk size " + std::to_string(size_) + ", image bitmap has room for " + std::to_string(count_ * block_bytes_));
        if (bmap_at_ < kHeader || data_at_ < bmap_at_ + count_ * 4) co_return corrupt("the block map overlaps the header or the data; the image is damaged");
        if (bmap_at_ + count_ * 4 > file_->size()) co_return corrupt("the file ends inside the block map; the image is damaged");
        look_below_ = type_ == kStatic;
        co_return Result<void>{};
    }

    Task<Result<CheckResult>> check(CheckFix fix) override {
        auto out = co_await check_places(data_at_);
        if (!out) co_return out;
        uint64_t end = 0;
        if (auto r = co_await highest(end); !r) co_return std::unexpected(r.error());
        const uint32_t said = le32(&header_[kAtAllocated]);
        if (said != out->allocated_clusters) {
            // More than the map names: space that a crash left over. Fewer: the next writer would use blocks twice.
            const bool leak = said > out->allocated_clusters;
            (leak ? out->leaks : out->corruptions) += leak ? said - out->allocated_clusters : 1;
            out->messages.push_back("ERROR: block map has " + std::to_string(out->allocated_clusters) + " allocated blocks, header says " + std::to_string(said));
            if (!read_only_ && end >= out->allocated_clusters && (fix == CheckFix::kAll || (fix == CheckFix::kLeaks && leak)) && (!leak || end < said)) {
                put_le32(&header_[kAtAllocated], static_cast<uint32_t>(end));
                if (auto r = co_await write_bytes(*file_, 0, header_.data(), header_.size()); !r) co_return std::unexpected(r.error());
                if (leak) out->leaks_fixed += said - end;
                else ++out->corruptions_fixed;
            }
        }
        co_return out;
    }

  protected:
    std::optional<Place> cached(uint64_t block) override {
        if (block >= count_) return Place{.kind = Place::Kind::kNone, .blocks = UINT64_MAX / block_bytes_ / 2};
        const uint8_t* p = table_.find(bmap_at_ + block * 4);
        if (p == nullptr) return std::nullopt;
        const uint32_t e = le32(p);
        if (e == kUnallocated) return Place{};
        if (e == kDiscarded) return Place{.kind = Place::Kind::kZero};
        const uint64_t host = data_at_ + e * block_bytes_;
        return Place{.kind = e < count_ && host < file_->size() + block_bytes_ ? Place::Kind::kData : Place::Kind::kBad, .host = host};
    }
    Task<Result<void>> load(uint64_t block) override { return table_.load(bmap_at_ + block * 4); }

    Task<Result<void>> before_first_write() override {
        uint64_t end = 0;
        if (auto r = co_await highest(end); !r) co_return r;
        // What the map names is in use, whatever the header says: a count that is higher is of space that a crash left over.
        next_ = data_at_ + end * block_bytes_;
        if (le32(&header_[kAtAllocated]) > end) {
            put_le32(&header_[kAtAllocated], static_cast<uint32_t>(end));
            co_return co_await write_bytes(*file_, 0, header_.data(), header_.size());
        }
        co_return Result<void>{};
    }
    Task<Result<std::pair<uint64_t, uint64_t>>> reserve(uint64_t, uint64_t count) override {
        const uint64_t used = (next_ - data_at_) / block_bytes_;
        if (used >= count_) co_return fail(ErrorKind::kNoSpace, filename_ + ": no free block index is left; 'check -r all' finds those that a crash left over", ENOSPC);
        co_return co_await append(std::min(count, count_ - used));
    }
    Task<Result<void>> point(uint64_t first, uint64_t count, uint64_t host) override {
        for (uint64_t i = 0; i < count; ++i) {
            const uint64_t at = bmap_at_ + (first + i) * 4;
            auto p = co_await table_.get(at);
            if (!p) co_return std::unexpected(p.error());
            put_le32(*p, static_cast<uint32_t>((host - data_at_) / block_bytes_ + i));
            table_.mark(at, 4);
        }
        tables_dirty_ = true;
        if (table_.crowded()) co_return co_await flush_tables();
        co_return Result<void>{};
    }
    Task<Result<void>> write_tables() override {
        // The count first: a map with more blocks than it would have the next writer use them twice.
        put_le32(&header_[kAtAllocated], static_cast<uint32_t>((next_ - data_at_) / block_bytes_));
        if (auto r = co_await write_bytes(*file_, 0, header_.data(), header_.size()); !r) co_return r;
        if (auto r = co_await file_->flush(); !r) co_return r;
        co_return co_await table_.write_back();
    }

  private:
    /// One more than the highest index in the map.
    Task<Result<void>> highest(uint64_t& end) {
        for (uint64_t b = 0; b < count_; ++b) {
            auto p = co_await table_.get(bmap_at_ + b * 4);
            if (!p) co_return std::unexpected(p.error());
            const uint64_t n = std::min((MetaCache::kPage - (bmap_at_ + b * 4) % MetaCache::kPage) / 4, count_ - b);
            for (uint64_t i = 0; i < n; ++i)
                if (const uint32_t e = le32(*p + i * 4); e < count_) end = std::max<uint64_t>(end, e + 1);
            b += n - 1;
        }
        co_return Result<void>{};
    }

    std::vector<uint8_t> header_;
    MetaCache table_;
    uint64_t bmap_at_ = 0, data_at_ = 0, count_ = 0;
    uint32_t type_ = kDynamic;
};

int probe_vdi(std::span<const uint8_t> head, std::string_view) { return head.size() >= kHeader && le32(&head[kAtSignature]) == kSignature ? 100 : 0; }

Task<Result<NodePtr>> open_vdi(Graph& graph, const OpenOptions& o) {
    auto file = co_await open_below(graph, o);
    if (!file) co_return std::unexpected(file.error());
    auto node = std::make_shared<VdiNode>(graph, *file);
    if (auto r = co_await node->start(); !r) co_return std::unexpected(r.error());
    co_return node;
}

Task<Result<void>> create_vdi(Graph& graph, const CreateOptions& o) {
    const CreateArgs args(o);
    auto is_static = args.on("static");
    if (!is_static) co_return std::unexpected(is_static.error());
    const auto prealloc = args.text("preallocation").value_or("off");
    if (prealloc == "metadata") *is_static = true;
    else if (prealloc != "off") co_return fail(ErrorKind::kInvalidArgument, "Preallocation mode '" + prealloc + "' is not supported by vdi (allowed values: off, metadata)");
    auto block = args.size("cluster_size");
    if (!block) co_return std::unexpected(block.error());
    const uint64_t block_bytes = block->value_or(kBlock);
    if (!std::has_single_bit(block_bytes) || block_bytes < kBlock || block_bytes > (1u << 28)) co_return fail(ErrorKind::kInvalidArgument, "Invalid cluster size: vdi blocks are a power of two between 1M and 256M");
    if (o.size > kMaxBlocks * block_bytes)
        co_return fail(ErrorKind::kInvalidArgument, "Unsupported VDI image size (size is " + std::to_string(o.size) + ", max supported is " + std::to_string(kMaxBlocks * block_bytes) + ")");
    const uint64_t count = (o.size + block_bytes - 1) / block_bytes;
    std::vector<uint8_t> h(kHeader);
    std::copy(kText.begin(), kText.end(), h.begin());
    put_le32(&h[kAtSignature], kSignature);
    put_le32(&h[kAtVersion], 0x00010001);
    put_le32(&h[kAtHeaderSize], 0x180);
    put_le32(&h[kAtType], *is_static ? kStatic : kDynamic);
    put_le32(&h[kAtBmap], kHeader);
    const uint64_t data_at = kHeader + align_up(count * 4, 512);
    put_le32(&h[kAtData], static_cast<uint32_t>(data_at));
    put_le32(&h[kAtSectorSize], 512);
    put_le64(&h[kAtDiskSize], o.size);
    put_le32(&h[kAtBlockSize], static_cast<uint32_t>(block_bytes));
    put_le32(&h[kAtBlocks], static_cast<uint32_t>(count));
    if (*is_static) put_le32(&h[kAtAllocated], static_cast<uint32_t>(count));
    for (const size_t at : {kAtUuid, kAtSnapshotUuid}) {
        const auto u = random_uuid();
        std::copy(u.begin(), u.end(), h.begin() + static_cast<ptrdiff_t>(at));
    }
    auto file = co_await create_file(graph, o);
    if (!file) co_return std::unexpected(file.error());
    if (auto r = co_await write_bytes(**file, 0, h.data(), h.size()); !r) co_return r;
    constexpr uint64_t kPiece = 1 << 18;  // entries
    for (uint64_t b = 0; b < count; b += kPiece) {
        std::vector<uint8_t> map(align_up(std::min(kPiece, count - b) * 4, 512));
        for (uint64_t i = 0; i < std::min(kPiece, count - b); ++i) put_le32(&map[i * 4], *is_static ? static_cast<uint32_t>(b + i) : kUnallocated);
        if (auto r = co_await write_bytes(**file, kHeader + b * 4, map.data(), map.size()); !r) co_return r;
    }
    if (*is_static)
        if (auto r = co_await (*file)->truncate(data_at + count * block_bytes); !r) co_return r;
    co_return co_await (*file)->close();
}

using T = OptionInfo::Type;
constexpr OptionInfo kOptions[] = {
    {"size", T::kSize, "Virtual disk size", {}},
    {"static", T::kBool, "VDI static (pre-allocated) image", "off"},
    {"preallocation", T::kString, "Preallocation mode (allowed values: off, metadata)", {}},
};

}  // namespace

const Driver kVdiDriver{"vdi", Driver::Kind::kFormat, kOptions, probe_vdi, open_vdi, create_vdi, nullptr, false, false};

}  // namespace myna::block
