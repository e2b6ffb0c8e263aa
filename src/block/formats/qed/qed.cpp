#include "block/formats/qed/qed.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/bits.h"
#include "block/formats/common/open.h"
#include "block/formats/common/two_level.h"

namespace myna::block {

using namespace formats;

namespace {

constexpr uint32_t kMagic = 0x00444551;  // "QED\0"
struct Feature {
    static constexpr uint64_t kBacking = 1, kNeedCheck = 2, kBackingRaw = 4, kKnown = 7;
};
constexpr uint64_t kMinCluster = 4 << 10, kMaxCluster = 64 << 20, kZeroEntry = 1, kHeaderBytes = 64;

struct Header {
    uint32_t cluster = 64 << 10, table = 4, header = 1;  // bytes, clusters, clusters
    uint64_t features = 0, compatible = 0, autoclear = 0, l1_at = 0, size = 0;
    std::string backing;

    [[nodiscard]] uint64_t entries() const { return uint64_t{cluster} * table / 8; }
    [[nodiscard]] std::vector<uint8_t> encode() const {
        std::vector<uint8_t> b(kHeaderBytes + backing.size());
        put_le32(&b[0], kMagic);
        put_le32(&b[4], cluster);
        put_le32(&b[8], table);
        put_le32(&b[12], header);
        put_le64(&b[16], features);
        put_le64(&b[24], compatible);
        put_le64(&b[32], autoclear);
        put_le64(&b[40], l1_at);
        put_le64(&b[48], size);
        if (!backing.empty()) {
            put_le32(&b[56], kHeaderBytes);
            put_le32(&b[60], static_cast<uint32_t>(backing.size()));
            std::copy(backing.begin(), backing.end(), b.begin() + kHeaderBytes);
        }
        return b;
    }
};

class QedNode final : public TwoLevelNode {
  public:
    QedNode(Graph& graph, NodePtr file) : TwoLevelNode(graph, std::move(file), false) {}
    [[nodiscard]] std::string_view driver() const noexcept override { return "qed"; }
    [[nodiscard]] std::optional<uint32_t> cluster_size() const override { return h_.cluster; }
    [[nodiscard]] bool zero_init() const override { return true; }
    [[nodiscard]] bool dirty() const override { return h_.features & Feature::kNeedCheck; }
    [[nodiscard]] std::optional<std::string> backing_name() const override { return h_.backing.empty() ? std::nullopt : std::optional(h_.backing); }
    [[nodiscard]] std::optional<std::string> backing_format_name() const override {
        return h_.features & Feature::kBackingRaw ? std::optional<std::string>("raw") : std::nullopt;
    }

    Task<Result<void>> start(const OpenOptions& o) {
        auto raw = co_await read_bytes(*file_, 0, kHeaderBytes);
        if (!raw) co_return std::unexpected(raw.error());
        const uint8_t* b = raw->data();
        if (le32(b) != kMagic) co_return corrupt("Image not in QED format");
        h_ = {le32(b + 4), le32(b + 8), le32(b + 12), le64(b + 16), le64(b + 24), le64(b + 32), le64(b + 40), le64(b + 48), {}};
        if (h_.features & ~Feature::kKnown) co_return fail(ErrorKind::kUnsupported, filename_ + ": Unsupported QED features: " + std::to_string(h_.features & ~Feature::kKnown), ENOTSUP);
        if (!std::has_single_bit(h_.cluster) || h_.cluster < kMinCluster || h_.cluster > kMaxCluster) co_return corrupt("cluster size " + std::to_string(h_.cluster) + " is impossible");
        if (!std::has_single_bit(h_.table) || h_.table > 16) co_return corrupt("table size " + std::to_string(h_.table) + " is impossible");
        if (h_.header == 0 || uint64_t{h_.header} * h_.cluster > file_->size() + h_.cluster) co_return corrupt("header size is impossible");
        const uint64_t entries = h_.entries(), reach = entries * h_.cluster;
        if (h_.size % 512 != 0 || (reach <= UINT64_MAX / entries && h_.size > reach * entries) || h_.size > (uint64_t{1} << 62)) co_return corrupt("image size " + std::to_string(h_.size) + " is impossible");
        if (h_.l1_at % h_.cluster != 0 || h_.l1_at == 0) co_return corrupt("the L1 table's offset is impossible");
        block_bytes_ = h_.cluster;
        table_alignment_ = h_.cluster;
        l2_entries_ = entries;
        size_ = h_.size;
        limits_.zeroes_alignment = h_.cluster;
        if (h_.features & Feature::kBacking) {
            const uint64_t at = le32(b + 56), n = le32(b + 60);
            if (n > 1023 || at + n > uint64_t{h_.header} * h_.cluster) co_return corrupt("the backing file's name is outside the header");
            auto name = co_await read_bytes(*file_, at, n);
            if (!name) co_return std::unexpected(name.error());
            h_.backing.assign(name->begin(), name->end());
        }
        if (auto r = co_await read_l1(h_.l1_at, std::min<uint64_t>(entries, std::max<uint64_t>((size_ + reach - 1) / reach, 1))); !r) co_return r;
        if (!h_.backing.empty() && !o.no_backing) {
            auto backing = co_await graph_.open_backing(filename_, h_.backing, backing_format_name().value_or(""), o);
            if (!backing) co_return std::unexpected(backing.error());
            backing_ = *backing;
        }
        next_ = align_up(file_->size(), h_.cluster);
        if ((h_.features & Feature::kNeedCheck) && !read_only_ && !o.check) {
            // Somebody was interrupted while it wrote.
            auto r = co_await check(CheckFix::kAll);
            if (!r) co_return std::unexpected(std::move(r.error()).in("Could not repair dirty image"));
        }
        co_return Result<void>{};
    }

    Task<Result<CheckResult>> check(CheckFix fix) override {
        CheckResult out;
        const uint64_t clusters = (file_->size() + h_.cluster - 1) / h_.cluster;
        constexpr uint64_t kMaxClusters = uint64_t{1} << 31;
        if (clusters > kMaxClusters) co_return corrupt("the file is too large to be checked");
        std::vector<bool> used(clusters);
        const bool repair = fix == CheckFix::kAll && !read_only_;
        const auto note = [&](std::string text) {
            if (out.messages.size() < 1000) out.messages.push_back(std::move(text));
        };
        // True: inside the file, aligned and nobody else's.
        const auto take = [&](uint64_t at, uint64_t n) {
            if (at % h_.cluster != 0 || at / h_.cluster + n > clusters) return false;
            for (uint64_t i = 0; i < n; ++i)
                if (used[at / h_.cluster + i]) return false;
            for (uint64_t i = 0; i < n; ++i) used[at / h_.cluster + i] = true;
            return true;
        };
        const auto damaged = [&](const std::string& text) {
            ++out.corruptions;
            if (repair) ++out.corruptions_fixed;
            note("ERROR: " + text);
        };
        if (!take(0, h_.header) || !take(h_.l1_at, h_.table)) co_return corrupt("header and L1 table overlap or are outside the file");
        out.total_clusters = blocks();
        uint64_t previous = 0;
        std::vector<uint64_t> dropped;
        for (uint64_t i = 0; i < l1_.size(); ++i) {
            if (l1_[i] == 0) continue;
            if (!take(l1_[i], h_.table)) {
                damaged("L2 table " + std::to_string(i) + " at offset " + std::to_string(l1_[i]) + " is outside the file or used twice");
                dropped.push_back(i);
                continue;
            }
            for (uint64_t k = 0; k < l2_entries_; ++k) {
                auto p = co_await tables_.get(l1_[i] + k * 8);
                if (!p) co_return std::unexpected(p.error());
                const uint64_t e = le64(*p);
                if (e == 0 || e == kZeroEntry) continue;
                if (take(e, 1)) {
                    ++out.allocated_clusters;
                    if (previous != 0 && e != previous + h_.cluster) ++out.fragmented_clusters;
                    previous = e;
                    continue;
                }
                damaged("cluster " + std::to_string(i * l2_entries_ + k) + " at offset " + std::to_string(e) + " is outside the file or used twice");
                if (repair) {
                    put_le64(*p, 0);
                    tables_.mark(l1_[i] + k * 8, 8);
                    tables_dirty_ = true;
                }
            }
        }
        for (uint64_t c = 0; c < clusters; ++c)
            if (!used[c]) ++out.leaks;
        if (out.leaks != 0) note("Leaked " + std::to_string(out.leaks) + " clusters");
        out.image_end_offset = file_->size();
        if (!read_only_ && fix != CheckFix::kNone && (repair || out.corruptions == 0)) {
            for (const uint64_t i : dropped) {
                l1_[i] = 0;
                const uint64_t zero = 0;
                if (auto r = co_await write_bytes(*file_, l1_at_ + i * 8, &zero, 8); !r) co_return std::unexpected(r.error());
            }
            {
                const auto alone = co_await map_.lock();
                if (auto r = co_await flush_tables(); !r) co_return std::unexpected(r.error());
            }
            if (h_.features & Feature::kNeedCheck) {
                h_.features &= ~Feature::kNeedCheck;
                if (auto r = co_await write_header(); !r) co_return std::unexpected(r.error());
            }
        }
        co_return out;
    }

    Task<Result<void>> change_backing(std::optional<std::string> file, std::optional<std::string> format) override {
        h_.backing = file.value_or("");
        if (h_.backing.size() > 1023 || kHeaderBytes + h_.backing.size() > h_.cluster) co_return fail(ErrorKind::kInvalidArgument, "Backing file name too long");
        h_.features &= ~(Feature::kBacking | Feature::kBackingRaw);
        if (!h_.backing.empty()) h_.features |= Feature::kBacking | (format == "raw" ? Feature::kBackingRaw : 0);
        co_return co_await write_header();
    }

  protected:
    [[nodiscard]] Place decode(uint64_t e) const override {
        using K = Place::Kind;
        if (e == 0) return {};
        if (e == kZeroEntry) return {.kind = K::kZero};
        if (e % h_.cluster != 0 || e >= file_->size()) return {.kind = K::kBad, .host = e};
        return {.kind = K::kData, .host = e};
    }
    Task<Result<bool>> zero_blocks(uint64_t first, uint64_t count) override {
        for (uint64_t b = first; b < first + count; ++b)
            if (auto r = co_await set_entry(b, kZeroEntry); !r) co_return std::unexpected(r.error());
        if (tables_.crowded())
            if (auto r = co_await flush_tables(); !r) co_return std::unexpected(r.error());
        co_return true;
    }
    Task<Result<void>> do_truncate(uint64_t size, std::string_view preallocation) override {
        if (preallocation != "off") co_return fail(ErrorKind::kUnsupported, "Unsupported preallocation mode '" + std::string(preallocation) + "'", ENOTSUP);
        if (size < size_) co_return fail(ErrorKind::kUnsupported, "Shrinking images is currently not supported", ENOTSUP);
        const uint64_t reach = l2_entries_ * h_.cluster, needed = (size + reach - 1) / reach;
        if (size % 512 != 0 || needed > l2_entries_) co_return fail(ErrorKind::kInvalidArgument, "Invalid image size for QED");
        {
            const auto alone = co_await map_.lock();
            if (auto r = co_await flush_tables(); !r) co_return r;
            if (auto r = co_await read_l1(h_.l1_at, std::max<uint64_t>(needed, l1_.size())); !r) co_return r;
        }
        // What the backing file has behind the old end does not show: zeroes go first, so that a cut shows nothing of it either.
        const uint64_t old = size_, end = backing_ ? std::min(size, backing_->size()) : 0;
        size_ = size;
        if (old < end)
            if (auto r = co_await do_write_zeroes(old, end - old, {}); !r) {
                size_ = old;
                co_return r;
            }
        const auto alone = co_await map_.lock();
        if (auto r = co_await flush_tables(); !r) co_return r;
        h_.size = size;
        co_return co_await write_header();
    }

  private:
    Task<Result<void>> write_header() {
        const auto b = h_.encode();
        if (auto r = co_await write_bytes(*file_, 0, b.data(), b.size()); !r) co_return r;
        co_return co_await file_->flush();
    }
    Header h_;
};

int probe_qed(std::span<const uint8_t> head, std::string_view) { return head.size() >= kHeaderBytes && le32(head.data()) == kMagic ? 100 : 0; }

Task<Result<NodePtr>> open_qed(Graph& graph, const OpenOptions& o) {
    auto file = co_await open_below(graph, o);
    if (!file) co_return std::unexpected(file.error());
    auto node = std::make_shared<QedNode>(graph, *file);
    if (auto r = co_await node->start(o); !r) co_return std::unexpected(r.error());
    co_return node;
}

Task<Result<void>> create_qed(Graph& graph, const CreateOptions& o) {
    const CreateArgs args(o);
    Header h;
    auto cluster = args.size("cluster_size"), table = args.size("table_size");
    if (!cluster) co_return std::unexpected(cluster.error());
    if (!table) co_return std::unexpected(table.error());
    const uint64_t cluster_bytes = cluster->value_or(h.cluster), table_clusters = table->value_or(h.table);
    if (!std::has_single_bit(cluster_bytes) || cluster_bytes < kMinCluster || cluster_bytes > kMaxCluster)
        co_return fail(ErrorKind::kInvalidArgument, "QED cluster size must be within range [4096, 67108864] and power of 2");
    if (!std::has_single_bit(table_clusters) || table_clusters > 16) co_return fail(ErrorKind::kInvalidArgument, "QED table size must be within range [1, 16] and power of 2");
    h.cluster = static_cast<uint32_t>(cluster_bytes);
    h.table = static_cast<uint32_t>(table_clusters);
    h.l1_at = h.cluster;
    h.size = align_up(o.size, 512);
    const uint64_t reach = h.entries() * h.cluster;
    if ((h.size + reach - 1) / reach > h.entries()) co_return fail(ErrorKind::kInvalidArgument, "QED image size must be a non-zero multiple of cluster size and less than " + std::to_string(reach * h.entries()) + " bytes");
    if (o.backing_file) {
        h.backing = *o.backing_file;
        if (h.backing.size() > 1023) co_return fail(ErrorKind::kInvalidArgument, "Backing file name too long");
        h.features = Feature::kBacking | (o.backing_format == "raw" ? Feature::kBackingRaw : 0);
    }
    auto file = co_await create_file(graph, o);
    if (!file) co_return std::unexpected(file.error());
    if (auto r = co_await (*file)->truncate(h.l1_at + uint64_t{h.table} * h.cluster); !r) co_return r;
    const auto b = h.encode();
    if (auto r = co_await write_bytes(**file, 0, b.data(), b.size()); !r) co_return r;
    co_return co_await (*file)->close();
}

using T = OptionInfo::Type;
constexpr OptionInfo kOptions[] = {
    {"size", T::kSize, "Virtual disk size", {}},
    {"backing_file", T::kString, "File name of a base image", {}},
    {"backing_fmt", T::kString, "Image format of the base image", {}},
    {"cluster_size", T::kSize, "Cluster size (in bytes)", "65536"},
    {"table_size", T::kSize, "L1/L2 table size (in clusters)", {}},
};

}  // namespace

const Driver kQedDriver{"qed", Driver::Kind::kFormat, kOptions, probe_qed, open_qed, create_qed, nullptr, true, false};

}  // namespace myna::block
