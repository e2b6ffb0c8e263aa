#include "block/formats/vpc/vpc.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/bits.h"
#include "block/formats/common/block_map.h"
#include "block/formats/common/bytes.h"
#include "block/formats/common/open.h"

namespace myna::block {

using namespace formats;

namespace {

constexpr uint64_t kSector = 512, kFooter = 512, kHeader = 1024, kBlock = 2 << 20;
constexpr uint64_t kMaxGeometry = uint64_t{65535} * 16 * 255, kMaxSectors = 0xff000000;  // 2040 GiB
constexpr uint32_t kUnused = 0xffffffff;
constexpr uint64_t kMaxEntries = 16 << 20;
constexpr int64_t kEpoch = 946684800;  // 2000-01-01
enum Type : uint32_t { kFixed = 2, kDynamic = 3, kDifferencing = 4 };

struct Geometry {
    uint64_t cylinders, heads, sectors;
    [[nodiscard]] uint64_t total() const { return cylinders * heads * sectors; }
};

/// The geometry the specification's appendix gives a disk of `total` sectors (rounded down).
Geometry geometry_of(uint64_t total) {
    total = std::min(total, kMaxGeometry);
    uint64_t heads = 16, sectors = 255, tracks = total / 255;
    if (total < uint64_t{65535} * 16 * 63) {
        sectors = 17;
        tracks = total / 17;
        heads = std::max<uint64_t>((tracks + 1023) / 1024, 4);
        if (tracks >= heads * 1024 || heads > 16) {
            sectors = 31;
            heads = 16;
            tracks = total / 31;
        }
        if (tracks >= heads * 1024) {
            sectors = 63;
            heads = 16;
            tracks = total / 63;
        }
    }
    return {tracks / heads, heads, sectors};
}

/// The one's complement of the sum of all bytes but the checksum's own.
uint32_t checksum(std::span<const uint8_t> bytes, size_t at) {
    uint32_t sum = 0;
    for (size_t i = 0; i < bytes.size(); ++i)
        if (i < at || i >= at + 4) sum += bytes[i];
    return ~sum;
}

std::string utf16(std::span<const uint8_t> raw, bool big) {
    std::string out;
    for (size_t i = 0; i + 1 < raw.size(); i += 2) {
        const unsigned c = big ? be16(&raw[i]) : load_le<uint16_t>(&raw[i]);
        if (c == 0) break;
        if (c < 0x80) out += static_cast<char>(c);
        else if (c < 0x800) out += {static_cast<char>(0xc0 | c >> 6), static_cast<char>(0x80 | (c & 63))};
        else out += {static_cast<char>(0xe0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 63)), static_cast<char>(0x80 | (c & 63))};
    }
    return out;
}

class VpcNode final : public BlockMapNode {
  public:
    VpcNode(Graph& graph, NodePtr file) : BlockMapNode(graph, std::move(file)), bat_(graph.reactor()), bitmaps_(graph.reactor(), 16) {
        bat_.attach(*file_);
        bitmaps_.attach(*file_);
    }
    [[nodiscard]] std::string_view driver() const noexcept override { return "vpc"; }
    [[nodiscard]] std::optional<uint32_t> cluster_size() const override { return type_ == kFixed ? std::nullopt : std::optional(static_cast<uint32_t>(block_bytes_)); }
    [[nodiscard]] bool zero_init() const override { return type_ != kFixed || file_->zero_init(); }
    [[nodiscard]] std::optional<std::string> backing_name() const override { return parent_.empty() ? std::nullopt : std::optional(parent_); }
    [[nodiscard]] std::optional<std::string> backing_format_name() const override { return parent_.empty() ? std::nullopt : std::optional<std::string>("vpc"); }

    Task<Result<void>> start(const OpenOptions& o) {
        auto head = co_await read_bytes(*file_, 0, kFooter);
        if (!head) co_return std::unexpected(head.error());
        footer_ = std::move(*head);
        if (!is_footer()) {
            // Fixed, or a dynamic one whose front was damaged.
            if (file_->size() < kFooter) co_return corrupt("invalid VPC image");
            auto end = co_await read_bytes(*file_, file_->size() - kFooter, kFooter);
            if (!end) co_return std::unexpected(end.error());
            footer_ = std::move(*end);
            if (!is_footer()) co_return corrupt("invalid VPC image");
            if (be32(&footer_[60]) != kFixed) co_return corrupt("invalid VPC image: the copy of the footer at the front is missing");
        }
        if (be32(&footer_[64]) != checksum(footer_, 64)) co_return corrupt("the checksum of the footer is incorrect");
        type_ = be32(&footer_[60]);
        if (type_ != kFixed && type_ != kDynamic && type_ != kDifferencing) co_return fail(ErrorKind::kUnsupported, filename_ + ": VHD type " + std::to_string(type_) + " is unknown", ENOTSUP);
        // Which size counts depends on who made it: some keep to the geometry, for others it is rounded.
        const Geometry g{be16(&footer_[56]), footer_[58], footer_[59]};
        static constexpr std::string_view kExact[] = {"win ", "qem2", "d2v ", {"tap\0", 4}, "CTXS", {"wa\0\0", 4}};
        const std::string_view creator(reinterpret_cast<const char*>(&footer_[28]), 4);
        bool by_geometry = std::find(std::begin(kExact), std::end(kExact), creator) == std::end(kExact);
        if (const auto it = o.options.find("force_size_calc"); it != o.options.end() && it->is_string()) {
            if (*it == "chs") by_geometry = true;
            else if (*it == "current_size") by_geometry = false;
            else if (*it != "auto") co_return fail(ErrorKind::kInvalidArgument, "force_size_calc is one of chs, current_size, auto");
        }
        const uint64_t current = be64(&footer_[48]);
        size_ = by_geometry && g.total() != kMaxGeometry ? g.total() * kSector : align_down(current, kSector);
        if (size_ > kMaxSectors * kSector) co_return corrupt("disk size " + std::to_string(size_) + " is impossible");
        if (type_ == kFixed) {
            block_bytes_ = kBlock;
            look_below_ = true;
            if (size_ > file_->size() - std::min(file_->size(), kFooter)) co_return corrupt("the file is shorter than the disk it should hold");
            co_return Result<void>{};
        }
        co_return co_await start_dynamic(o);
    }

  protected:
    std::optional<Place> cached(uint64_t block) override {
        using K = Place::Kind;
        if (type_ == kFixed) return Place{.kind = K::kData, .host = block * block_bytes_};
        if (block >= entries_) return Place{.blocks = uint64_t{1} << 40};
        const uint8_t* p = bat_.find(bat_at_ + block * 4);
        if (p == nullptr) return std::nullopt;
        const uint32_t e = be32(p);
        if (e == kUnused) return Place{};
        const uint64_t host = e * kSector;
        if (host < bat_at_ + entries_ * 4 || host >= file_->size()) return Place{.kind = K::kBad, .host = host};
        return Place{.kind = type_ == kDifferencing ? K::kPartial : K::kData, .host = host + bitmap_bytes_};
    }
    Task<Result<void>> load(uint64_t block) override { return bat_.load(bat_at_ + block * 4); }

    // Where there is no parent, nothing is behind: an unused block of the image itself is zero.
    Task<Result<Extent>> do_block_status(uint64_t offset, uint64_t length) override {
        auto e = co_await BlockMapNode::do_block_status(offset, length);
        if (e && e->zero && type_ != kDifferencing) e->allocated = true;
        co_return e;
    }

    Task<Result<uint64_t>> partial_run(uint64_t block, uint64_t within, uint64_t length, bool& here) override {
        auto p = co_await place(block);
        if (!p) co_return std::unexpected(p.error());
        const uint64_t bitmap = p->host - bitmap_bytes_;
        uint64_t done = 0;
        for (uint64_t s = within / kSector; done < length; ++s) {
            auto b = co_await bitmaps_.get(bitmap + s / 8);
            if (!b) co_return std::unexpected(b.error());
            const bool set = **b >> (7 - s % 8) & 1;
            if (done == 0) here = set;
            else if (set != here) break;
            done = std::min(length, (s + 1) * kSector - within);
        }
        co_return done;
    }

    Task<Result<void>> before_first_write() override {
        if (type_ == kDifferencing) co_return fail(ErrorKind::kUnsupported, filename_ + ": writing to differencing VHD images is not implemented", ENOTSUP);
        if (type_ == kFixed) co_return Result<void>{};
        next_ = align_up(bat_at_ + entries_ * 4, kSector);
        for (uint64_t b = 0; b < entries_; ++b) {
            auto e = co_await bat_.get(bat_at_ + b * 4);
            if (!e) co_return std::unexpected(e.error());
            if (const uint32_t s = be32(*e); s != kUnused) next_ = std::max(next_, s * kSector + bitmap_bytes_ + block_bytes_);
        }
        co_return Result<void>{};
    }
    Task<Result<std::pair<uint64_t, uint64_t>>> reserve(uint64_t, uint64_t) override {
        const uint64_t at = next_;
        next_ += bitmap_bytes_;
        if ((next_ + block_bytes_) / kSector >= kUnused) co_return fail(ErrorKind::kNoSpace, filename_ + ": the file cannot be larger than 2 TiB", ENOSPC);
        // Every sector of a new block counts. The footer that may have been here has its copy at the front.
        const std::vector<uint8_t> ones(bitmap_bytes_, 0xff);
        if (auto r = co_await write_bytes(*file_, at, ones.data(), ones.size()); !r) co_return std::unexpected(r.error());
        co_return co_await append(1);
    }
    Task<Result<void>> point(uint64_t first, uint64_t, uint64_t host) override {
        auto p = co_await bat_.get(bat_at_ + first * 4);
        if (!p) co_return std::unexpected(p.error());
        put_be32(*p, static_cast<uint32_t>((host - bitmap_bytes_) / kSector));
        bat_.mark(bat_at_ + first * 4, 4);
        tables_dirty_ = true;
        if (bat_.crowded()) co_return co_await flush_tables();
        co_return Result<void>{};
    }
    Task<Result<void>> write_tables() override {
        if (auto r = co_await write_bytes(*file_, next_, footer_.data(), footer_.size()); !r) co_return r;
        co_return co_await bat_.write_back();
    }

  private:
    [[nodiscard]] bool is_footer() const { return std::equal(footer_.begin(), footer_.begin() + 8, "conectix"); }

    Task<Result<void>> start_dynamic(const OpenOptions& o) {
        const uint64_t at = be64(&footer_[16]);
        if (at > file_->size() || file_->size() - at < kHeader) co_return corrupt("the dynamic disk header is outside the file");
        auto h = co_await read_bytes(*file_, at, kHeader);
        if (!h) co_return std::unexpected(h.error());
        if (!std::equal(h->begin(), h->begin() + 8, "cxsparse")) co_return corrupt("the dynamic disk header is missing");
        bat_at_ = be64(&(*h)[16]);
        entries_ = be32(&(*h)[28]);
        block_bytes_ = be32(&(*h)[32]);
        if (!std::has_single_bit(block_bytes_) || block_bytes_ < kSector) co_return corrupt("Invalid block size " + std::to_string(block_bytes_));
        bitmap_bytes_ = align_up(block_bytes_ / (8 * kSector), kSector);
        if (entries_ > kMaxEntries) co_return corrupt("Too many blocks");
        if (size_ > entries_ * block_bytes_) co_return corrupt("Page table too small");
        if (bat_at_ % kSector != 0 || bat_at_ < kFooter || bat_at_ > file_->size() || entries_ * 4 > file_->size() - bat_at_) co_return corrupt("the block table is outside the file");
        if (!read_only_ && be32(&(*h)[36]) != checksum(*h, 36)) co_return corrupt("the checksum of the dynamic disk header is incorrect: the image can only be read");
        if (type_ == kDifferencing && !o.no_backing) co_return co_await open_parent(*h, o);
        co_return Result<void>{};
    }
    Task<Result<void>> open_parent(const std::vector<uint8_t>& h, const OpenOptions& o) {
        for (size_t i = 0; i < 8; ++i) {
            const uint8_t* l = &h[576 + i * 24];
            const std::string_view code(reinterpret_cast<const char*>(l), 4);
            const uint64_t bytes = be32(l + 8), at = be64(l + 16);
            if (code != "W2ru" || bytes > 4096 || at > file_->size()) continue;  // the relative path, as Windows writes it
            auto raw = co_await read_bytes(*file_, at, bytes);
            if (!raw) co_return std::unexpected(raw.error());
            parent_ = utf16(*raw, false);
        }
        if (parent_.empty()) parent_ = utf16(std::span(h).subspan(64, 512), true);
        std::replace(parent_.begin(), parent_.end(), '\\', '/');
        if (parent_.starts_with("./")) parent_.erase(0, 2);
        if (parent_.empty() && !o.options.contains("backing")) co_return corrupt("the image has a parent, but does not say where");
        auto b = co_await graph_.open_backing(filename_, parent_, "vpc", o);
        if (!b) co_return std::unexpected(b.error());
        if (const auto* v = dynamic_cast<const VpcNode*>(b->get()); v != nullptr && !std::equal(&h[40], &h[56], &v->footer_[68]))
            co_return corrupt("the parent '" + parent_ + "' is not the one this image was made for (its unique ID differs)");
        backing_ = *b;
        co_return Result<void>{};
    }

    std::vector<uint8_t> footer_;
    MetaCache bat_, bitmaps_;
    uint64_t bat_at_ = 0, entries_ = 0, bitmap_bytes_ = 0;
    uint32_t type_ = kFixed;
    std::string parent_;
};

int probe_vpc(std::span<const uint8_t> head, std::string_view) { return head.size() >= 8 && std::equal(head.begin(), head.begin() + 8, "conectix") ? 100 : 0; }

Task<Result<NodePtr>> open_vpc(Graph& graph, const OpenOptions& o) {
    auto file = co_await open_below(graph, o);
    if (!file) co_return std::unexpected(file.error());
    auto node = std::make_shared<VpcNode>(graph, *file);
    if (auto r = co_await node->start(o); !r) co_return std::unexpected(r.error());
    co_return node;
}

Task<Result<void>> create_vpc(Graph& graph, const CreateOptions& o) {
    const CreateArgs args(o);
    const auto kind = args.text("subformat").value_or("dynamic");
    if (kind != "dynamic" && kind != "fixed") co_return fail(ErrorKind::kInvalidArgument, "Invalid subformat '" + kind + "' (allowed: dynamic, fixed)");
    const bool fixed = kind == "fixed";
    auto force = args.on("force_size");
    if (!force) co_return std::unexpected(force.error());
    // Rounded up to a size that has a geometry, so that nothing is cut off; where none has, the size itself counts.
    uint64_t total = (o.size + kSector - 1) / kSector;
    Geometry g{65535, 16, 255};
    if (!*force) {
        g = geometry_of(total);
        for (uint64_t more = 1; total > g.total() && g.total() != kMaxGeometry; ++more) g = geometry_of(total + more);
    }
    if (g.total() != kMaxGeometry) total = g.total();
    if (total > kMaxSectors) co_return fail(ErrorKind::kInvalidArgument, "Disk size is too large, max size is 2040 GiB");
    std::vector<uint8_t> f(kFooter);
    std::copy_n("conectix", 8, f.begin());
    put_be32(&f[8], 2);
    put_be32(&f[12], 0x00010000);
    put_be64(&f[16], fixed ? UINT64_MAX : kFooter);
    const auto now = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
    put_be32(&f[24], static_cast<uint32_t>(now - kEpoch));
    std::copy_n(*force ? "qem2" : "qemu", 4, &f[28]);  // readers take the size's meaning from the creator's name
    put_be32(&f[32], 0x00050003);
    std::copy_n("Wi2k", 4, &f[36]);
    put_be64(&f[40], total * kSector);
    put_be64(&f[48], total * kSector);
    put_be16(&f[56], static_cast<uint16_t>(g.cylinders));
    f[58] = static_cast<uint8_t>(g.heads);
    f[59] = static_cast<uint8_t>(g.sectors);
    put_be32(&f[60], fixed ? kFixed : kDynamic);
    const auto id = random_uuid();
    std::copy(id.begin(), id.end(), &f[68]);
    put_be32(&f[64], checksum(f, 64));

    auto file = co_await create_file(graph, o);
    if (!file) co_return std::unexpected(file.error());
    if (fixed) {
        if (auto r = co_await write_bytes(**file, total * kSector, f.data(), f.size()); !r) co_return r;
        co_return co_await (*file)->close();
    }
    const uint64_t entries = (total * kSector + kBlock - 1) / kBlock;
    std::vector<uint8_t> h(kHeader);
    std::copy_n("cxsparse", 8, h.begin());
    put_be64(&h[8], UINT64_MAX);
    put_be64(&h[16], kFooter + kHeader);
    put_be32(&h[24], 0x00010000);
    put_be32(&h[28], static_cast<uint32_t>(entries));
    put_be32(&h[32], kBlock);
    put_be32(&h[36], checksum(h, 36));
    const std::vector<uint8_t> bat(align_up(entries * 4, kSector), 0xff);
    uint64_t at = 0;
    for (const std::span<const uint8_t> part : {std::span<const uint8_t>(f), std::span<const uint8_t>(h), std::span<const uint8_t>(bat), std::span<const uint8_t>(f)}) {
        if (part.empty()) continue;
        if (auto r = co_await write_bytes(**file, at, part.data(), part.size()); !r) co_return r;
        at += part.size();
    }
    co_return co_await (*file)->close();
}

using T = OptionInfo::Type;
constexpr OptionInfo kOptions[] = {
    {"size", T::kSize, "Virtual disk size", {}},
    {"subformat", T::kString, "Type of virtual hard disk format. Supported formats are {dynamic (default) | fixed} ", {}},
    {"force_size", T::kBool, "Force disk size calculation to use the actual size specified, rather than using the nearest CHS-based calculation", {}},
};

}  // namespace

const Driver kVpcDriver{"vpc", Driver::Kind::kFormat, kOptions, probe_vpc, open_vpc, create_vpc, nullptr, false, false};

}  // namespace myna::block
