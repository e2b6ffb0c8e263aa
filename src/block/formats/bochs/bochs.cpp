#include "block/formats/bochs/bochs.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/bits.h"
#include "block/formats/common/block_map.h"
#include "block/formats/common/bytes.h"
#include "block/formats/common/open.h"

namespace myna::block {

using namespace formats;

namespace {

constexpr uint64_t kSector = 512;
constexpr uint32_t kNone = 0xffffffff;

std::string_view field(std::span<const uint8_t> h, size_t at, size_t n) {
    const std::string_view s(reinterpret_cast<const char*>(h.data()) + at, n);
    return s.substr(0, s.find('\0'));
}
bool is_bochs(std::span<const uint8_t> h) {
    return h.size() >= 512 && field(h, 0, 32) == "Bochs Virtual HD Image" && field(h, 32, 16) == "Redolog" && field(h, 48, 16) == "Growing" &&
           (le32(&h[64]) == 0x00020000 || le32(&h[64]) == 0x00010000);
}

class BochsNode final : public BlockMapNode {
  public:
    BochsNode(Graph& graph, NodePtr file) : BlockMapNode(graph, std::move(file)), tables_(graph.reactor()) {
        tables_.attach(*file_);
        read_only_ = true;
    }
    [[nodiscard]] std::string_view driver() const noexcept override { return "bochs"; }

    Task<Result<void>> start() {
        auto h = co_await read_bytes(*file_, 0, 512);
        if (!h) co_return std::unexpected(h.error());
        if (!is_bochs(*h)) co_return corrupt("Image not in Bochs format");
        const bool second = le32(&(*h)[64]) == 0x00020000;
        size_ = align_down(le64(&(*h)[second ? 88 : 84]), kSector);
        catalog_at_ = le32(&(*h)[68]);
        catalog_ = le32(&(*h)[72]);
        const uint64_t bitmap = le32(&(*h)[76]), extent = le32(&(*h)[80]);
        if (catalog_ > 0x100000) co_return corrupt("Catalog size is too large");
        if (extent < kSector) co_return corrupt("Extent size must be at least 512");
        if (extent > 0x800000) co_return corrupt("Extent size " + std::to_string(extent) + " is too large");
        if (!std::has_single_bit(extent)) co_return corrupt("Extent size " + std::to_string(extent) + " is not a power of two");
        if (bitmap == 0 || bitmap > 0x100000 || bitmap * 8 < extent / kSector) co_return corrupt("Bitmap size " + std::to_string(bitmap) + " is impossible");
        if (size_ > catalog_ * extent) co_return corrupt("Catalog size is too small for this disk size");
        if (catalog_at_ % 4 != 0 || catalog_at_ < 512 || catalog_at_ + catalog_ * 4 > file_->size()) co_return corrupt("the catalog is outside the file");
        block_bytes_ = extent;
        bitmap_bytes_ = align_up(bitmap, kSector);
        data_at_ = catalog_at_ + catalog_ * 4;
        co_return Result<void>{};
    }

  protected:
    std::optional<Place> cached(uint64_t block) override {
        if (block >= catalog_) return Place{.blocks = uint64_t{1} << 40};
        const uint8_t* p = tables_.find(catalog_at_ + block * 4);
        if (p == nullptr) return std::nullopt;
        const uint32_t e = le32(p);
        if (e == kNone) return Place{};
        const uint64_t host = data_at_ + e * (bitmap_bytes_ + block_bytes_) + bitmap_bytes_;
        return Place{.kind = host < file_->size() ? Place::Kind::kPartial : Place::Kind::kBad, .host = host};
    }
    Task<Result<void>> load(uint64_t block) override { return tables_.load(catalog_at_ + block * 4); }
    Task<Result<uint64_t>> partial_run(uint64_t block, uint64_t within, uint64_t length, bool& here) override {
        auto p = co_await place(block);
        if (!p) co_return std::unexpected(p.error());
        uint64_t done = 0;
        for (uint64_t s = within / kSector; done < length; ++s) {
            auto b = co_await tables_.get(p->host - bitmap_bytes_ + s / 8);
            if (!b) co_return std::unexpected(b.error());
            const bool set = **b >> (s % 8) & 1;
            if (done == 0) here = set;
            else if (set != here) break;
            done = std::min(length, (s + 1) * kSector - within);
        }
        co_return done;
    }

  private:
    MetaCache tables_;
    uint64_t catalog_at_ = 0, catalog_ = 0, bitmap_bytes_ = 0, data_at_ = 0;
};

int probe_bochs(std::span<const uint8_t> head, std::string_view) { return is_bochs(head) ? 100 : 0; }

Task<Result<NodePtr>> open_bochs(Graph& graph, const OpenOptions& o) {
    if (!o.read_only) co_return fail(ErrorKind::kPermission, "Block node is read-only: format 'bochs' can only be read", EACCES);
    auto file = co_await open_below(graph, o);
    if (!file) co_return std::unexpected(file.error());
    auto node = std::make_shared<BochsNode>(graph, *file);
    if (auto r = co_await node->start(); !r) co_return std::unexpected(r.error());
    co_return node;
}

}  // namespace

const Driver kBochsDriver{"bochs", Driver::Kind::kFormat, {}, probe_bochs, open_bochs, nullptr, nullptr, false, false};

}  // namespace myna::block
