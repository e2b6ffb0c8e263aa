#include "block/formats/parallels/parallels.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/bits.h"
#include "block/formats/common/block_map.h"
#include "block/formats/common/bytes.h"
#include "block/formats/common/open.h"

namespace myna::block {

using namespace formats;

namespace {

constexpr uint64_t kSector = 512, kHeaderBytes = 64;
constexpr std::string_view kOld = "WithoutFreeSpace", kExt = "WithouFreSpacExt";
constexpr uint32_t kInUse = 0x746f6e59;  // "Ynot"
constexpr uint64_t kMaxEntries = 32 << 20;

class ParallelsNode final : public BlockMapNode {
  public:
    ParallelsNode(Graph& graph, NodePtr file) : BlockMapNode(graph, std::move(file)), bat_(graph.reactor()) { bat_.attach(*file_); }
    [[nodiscard]] std::string_view driver() const noexcept override { return "parallels"; }
    [[nodiscard]] bool zero_init() const override { return true; }
    [[nodiscard]] bool dirty() const override { return le32(&header_[44]) == kInUse; }

    Task<Result<void>> start(const OpenOptions& o) {
        auto h = co_await read_bytes(*file_, 0, kHeaderBytes);
        if (!h) co_return std::unexpected(h.error());
        header_ = std::move(*h);
        const std::string_view magic(reinterpret_cast<const char*>(header_.data()), 16);
        if ((magic != kOld && magic != kExt) || le32(&header_[16]) != 2) co_return corrupt("Image not in Parallels format");
        const uint64_t tracks = le32(&header_[28]);
        if (tracks == 0) co_return corrupt("Invalid image: Zero sectors per track");
        if (tracks > INT32_MAX / kSector) co_return corrupt("Invalid image: Too big cluster");
        block_bytes_ = tracks * kSector;
        unit_ = magic == kExt ? block_bytes_ : kSector;
        entries_ = le32(&header_[32]);
        uint64_t sectors = le64(&header_[36]);
        if (magic == kOld) sectors &= 0xffffffff;
        if (sectors > (uint64_t{1} << 53)) co_return corrupt("disk size is impossible");
        size_ = sectors * kSector;
        if (entries_ > kMaxEntries) co_return corrupt("Catalog too large");
        if (blocks() > entries_) co_return corrupt("the table is too small for the disk");
        if (kHeaderBytes + entries_ * 4 > file_->size()) co_return corrupt("the file ends inside the table");
        data_at_ = uint64_t{le32(&header_[48])} * kSector;
        const uint64_t least = align_up(kHeaderBytes + entries_ * 4, kSector);
        if (data_at_ == 0) data_at_ = least;
        if (data_at_ < kHeaderBytes + entries_ * 4) co_return corrupt("the data would begin inside the table");
        if (le64(&header_[56]) != 0 && !read_only_)
            co_return fail(ErrorKind::kUnsupported, filename_ + ": the image has a format extension (dirty bitmaps); it can only be opened read only", ENOTSUP);
        if (dirty() && !read_only_ && !o.check) co_return co_await settle();
        co_return Result<void>{};
    }

    Task<Result<CheckResult>> check(CheckFix fix) override {
        auto out = co_await check_places(data_at_);
        if (!out) co_return out;
        const uint64_t end = std::max(out->image_end_offset, data_at_);
        if (file_->size() > end) {
            const uint64_t leaks = (file_->size() - end + block_bytes_ - 1) / block_bytes_;
            out->leaks += leaks;
            out->messages.push_back("Repairing space leaked at the end of the image: " + std::to_string(file_->size() - end) + " bytes");
            if (!read_only_ && fix != CheckFix::kNone && out->corruptions == 0) {
                if (auto r = co_await file_->truncate(end); !r) co_return std::unexpected(r.error());
                next_ = std::min(next_, end);
                out->leaks_fixed += leaks;
            }
        }
        if (dirty() && !writing_) {
            // Not closed by the last writer. Our own mark means nothing while we write.
            ++out->corruptions;
            out->messages.push_back("ERROR image was not closed correctly");
            if (!read_only_ && fix == CheckFix::kAll && out->corruptions == 1) {
                if (auto r = co_await mark(0); !r) co_return std::unexpected(r.error());
                ++out->corruptions_fixed;
            }
        }
        co_return out;
    }

    Task<Result<void>> do_close() override {
        if (writing_) {
            if (auto r = co_await flush(); !r) co_return r;
            if (auto r = co_await mark(0); !r) co_return r;
            writing_ = false;
        }
        co_return co_await BlockMapNode::do_close();
    }

  protected:
    std::optional<Place> cached(uint64_t block) override {
        using K = Place::Kind;
        if (block >= entries_) return Place{.blocks = uint64_t{1} << 40};
        const uint8_t* p = bat_.find(kHeaderBytes + block * 4);
        if (p == nullptr) return std::nullopt;
        const uint64_t host = le32(p) * unit_;
        if (host == 0) return Place{};
        if (host < data_at_ || host >= file_->size()) return Place{.kind = K::kBad, .host = host};
        return Place{.kind = K::kData, .host = host};
    }
    Task<Result<void>> load(uint64_t block) override { return bat_.load(kHeaderBytes + block * 4); }
    Task<Result<void>> before_first_write() override {
        next_ = data_at_;
        for (uint64_t b = 0; b < entries_; ++b) {
            auto e = co_await bat_.get(kHeaderBytes + b * 4);
            if (!e) co_return std::unexpected(e.error());
            const uint64_t host = le32(*e) * unit_;
            // Space behind such a block would make the file as long as the damaged entry says.
            if (host >= file_->size()) co_return corrupt("the table entry of block " + std::to_string(b) + " points outside the image (offset " + std::to_string(host) + "); the image is damaged");
            if (host != 0) next_ = std::max(next_, host + block_bytes_);
        }
        if (next_ % unit_ != 0) next_ += unit_ - next_ % unit_;
        co_return co_await mark(kInUse);
    }
    Task<Result<std::pair<uint64_t, uint64_t>>> reserve(uint64_t, uint64_t count) override {
        if ((next_ + count * block_bytes_) / unit_ > UINT32_MAX) co_return fail(ErrorKind::kNoSpace, filename_ + ": the image's table has no numbers for a file that large", ENOSPC);
        co_return co_await append(count);
    }
    Task<Result<void>> point(uint64_t first, uint64_t count, uint64_t host) override {
        for (uint64_t i = 0; i < count; ++i) {
            const uint64_t at = kHeaderBytes + (first + i) * 4;
            auto p = co_await bat_.get(at);
            if (!p) co_return std::unexpected(p.error());
            put_le32(*p, static_cast<uint32_t>((host + i * block_bytes_) / unit_));
            bat_.mark(at, 4);
        }
        tables_dirty_ = true;
        if (bat_.crowded()) co_return co_await flush_tables();
        co_return Result<void>{};
    }
    Task<Result<void>> write_tables() override { return bat_.write_back(); }

  private:
    /// The last writer did not close the image. What it left is sound unless blocks lie outside or share bytes: then the mark
    /// goes, and the space that nobody uses.
    Task<Result<void>> settle() {
        auto found = co_await check(CheckFix::kAll);
        if (!found) co_return std::unexpected(found.error());
        if (dirty()) co_return corrupt("the image was not closed correctly, and is damaged: " + found->messages.front() + "\nIt can be opened read only; 'check' describes the damage.");
        co_return Result<void>{};
    }
    /// The header's word that says whether somebody writes. It shares a sector with the table, so it goes the same way.
    Task<Result<void>> mark(uint32_t in_use) {
        auto p = co_await bat_.get(44);
        if (!p) co_return std::unexpected(p.error());
        put_le32(*p, in_use);
        put_le32(&header_[44], in_use);
        bat_.mark(44, 4);
        if (auto r = co_await bat_.write_back(); !r) co_return r;
        co_return co_await file_->flush();
    }
    std::vector<uint8_t> header_;
    MetaCache bat_;
    uint64_t entries_ = 0, unit_ = kSector, data_at_ = 0;
};

int probe_parallels(std::span<const uint8_t> head, std::string_view) {
    if (head.size() < kHeaderBytes) return 0;
    const std::string_view magic(reinterpret_cast<const char*>(head.data()), 16);
    return (magic == kOld || magic == kExt) && le32(&head[16]) == 2 ? 100 : 0;
}

Task<Result<NodePtr>> open_parallels(Graph& graph, const OpenOptions& o) {
    auto file = co_await open_below(graph, o);
    if (!file) co_return std::unexpected(file.error());
    auto node = std::make_shared<ParallelsNode>(graph, *file);
    if (auto r = co_await node->start(o); !r) co_return std::unexpected(r.error());
    co_return node;
}

Task<Result<void>> create_parallels(Graph& graph, const CreateOptions& o) {
    const CreateArgs args(o);
    auto cluster = args.size("cluster_size");
    if (!cluster) co_return std::unexpected(cluster.error());
    const uint64_t bytes = cluster->value_or(1 << 20);
    if (bytes == 0 || bytes % kSector != 0 || bytes > INT32_MAX) co_return fail(ErrorKind::kInvalidArgument, "Cluster size must be a multiple of 512 and below 2 GiB");
    const uint64_t sectors = (o.size + kSector - 1) / kSector, entries = (sectors * kSector + bytes - 1) / bytes;
    if (entries > kMaxEntries) co_return fail(ErrorKind::kInvalidArgument, "Image size is too large for this cluster size");
    const uint64_t data_at = (kHeaderBytes + entries * 4 + bytes - 1) / bytes * bytes;
    std::vector<uint8_t> h(kHeaderBytes);
    std::copy(kExt.begin(), kExt.end(), h.begin());
    put_le32(&h[16], 2);
    put_le32(&h[20], 16);
    put_le32(&h[24], static_cast<uint32_t>(std::min<uint64_t>(sectors / 16 / 32, UINT32_MAX)));
    put_le32(&h[28], static_cast<uint32_t>(bytes / kSector));
    put_le32(&h[32], static_cast<uint32_t>(entries));
    put_le64(&h[36], sectors);
    put_le32(&h[48], static_cast<uint32_t>(data_at / kSector));
    auto file = co_await create_file(graph, o);
    if (!file) co_return std::unexpected(file.error());
    if (auto r = co_await (*file)->truncate(data_at); !r) co_return r;
    if (auto r = co_await write_bytes(**file, 0, h.data(), h.size()); !r) co_return r;
    co_return co_await (*file)->close();
}

using T = OptionInfo::Type;
constexpr OptionInfo kOptions[] = {
    {"size", T::kSize, "Virtual disk size", {}},
    {"cluster_size", T::kSize, "Parallels image cluster size", "1048576"},
};

}  // namespace

const Driver kParallelsDriver{"parallels", Driver::Kind::kFormat, kOptions, probe_parallels, open_parallels, create_parallels, nullptr, false, false};

}  // namespace myna::block
