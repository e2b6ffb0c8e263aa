#include "block/formats/cloop/cloop.h"

#include <libdeflate.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "block/formats/common/block_map.h"
#include "block/formats/common/bytes.h"
#include "block/formats/common/open.h"

namespace myna::block {

using namespace formats;

namespace {

constexpr std::string_view kMagic = "#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n";
constexpr uint64_t kTableAt = 136, kMaxBlock = 64 << 20, kMostBlocks = UINT32_MAX / 8;

class CloopNode final : public BlockMapNode {
  public:
    CloopNode(Graph& graph, NodePtr file) : BlockMapNode(graph, std::move(file)), table_(graph.reactor()) {
        table_.attach(*file_);
        read_only_ = true;
    }
    [[nodiscard]] std::string_view driver() const noexcept override { return "cloop"; }

    Task<Result<void>> start() {
        auto h = co_await read_bytes(*file_, 128, 8);
        if (!h) co_return std::unexpected(h.error());
        block_bytes_ = be32(h->data());
        count_ = be32(h->data() + 4);
        if (block_bytes_ == 0) co_return corrupt("block_size cannot be zero");
        if (block_bytes_ % 512 != 0) co_return corrupt("block_size " + std::to_string(block_bytes_) + " must be a multiple of 512");
        if (block_bytes_ > kMaxBlock) co_return corrupt("block_size " + std::to_string(block_bytes_) + " must be 64 MB or less");
        if (count_ > kMostBlocks) co_return corrupt("n_blocks " + std::to_string(count_) + " must be " + std::to_string(kMostBlocks) + " or less");
        if (kTableAt + (count_ + 1) * 8 > file_->size()) co_return corrupt("the file ends inside the table of blocks");
        size_ = count_ * block_bytes_;
        co_return Result<void>{};
    }

  protected:
    std::optional<Place> cached(uint64_t block) override {
        const uint64_t at = kTableAt + block * 8;
        const uint8_t* p = table_.find(at);
        if (p == nullptr) {
            missing_ = at;
            return std::nullopt;
        }
        const uint64_t from = be64(p);
        if ((p = table_.find(at + 8)) == nullptr) {
            missing_ = at + 8;
            return std::nullopt;
        }
        const uint64_t to = be64(p);
        // zlib makes nothing much larger than it was.
        if (to < from || to > file_->size() || to - from > block_bytes_ * 2 + 1024) return Place{.kind = Place::Kind::kBad, .host = from};
        return Place{.kind = Place::Kind::kCompressed, .host = from};
    }
    Task<Result<void>> load(uint64_t) override { return table_.load(missing_); }

    Task<Result<void>> read_compressed(Place p, uint64_t block, uint64_t within, const IoVec& into) override {
        std::shared_ptr<std::vector<uint8_t>> out = last_at_ == block ? last_ : nullptr;
        if (!out) {
            auto next = co_await table_.get(kTableAt + (block + 1) * 8);
            if (!next) co_return std::unexpected(next.error());
            auto in = co_await read_bytes(*file_, p.host, be64(*next) - p.host);
            if (!in) co_return std::unexpected(in.error());
            out = std::make_shared<std::vector<uint8_t>>(block_bytes_);
            bool ok = false;
            const auto work = [&] {
                const std::unique_ptr<libdeflate_decompressor, void (*)(libdeflate_decompressor*)> d(libdeflate_alloc_decompressor(), libdeflate_free_decompressor);
                size_t n = 0;
                ok = libdeflate_zlib_decompress(d.get(), in->data(), in->size(), out->data(), out->size(), &n) == LIBDEFLATE_SUCCESS && n == out->size();
            };
            co_await reactor_.offload(work);
            if (!ok) co_return corrupt("block " + std::to_string(block) + " cannot be decompressed");
            last_ = out;
            last_at_ = block;
        }
        into.copy_from(out->data() + within);
        co_return Result<void>{};
    }

  private:
    MetaCache table_;
    uint64_t count_ = 0, missing_ = kTableAt;
    std::shared_ptr<std::vector<uint8_t>> last_;
    uint64_t last_at_ = UINT64_MAX;
};

int probe_cloop(std::span<const uint8_t> head, std::string_view) {
    return head.size() >= kMagic.size() && std::equal(kMagic.begin(), kMagic.end(), head.begin()) ? 2 : 0;
}

Task<Result<NodePtr>> open_cloop(Graph& graph, const OpenOptions& o) {
    if (!o.read_only) co_return fail(ErrorKind::kPermission, "Block node is read-only: format 'cloop' can only be read", EACCES);
    auto file = co_await open_below(graph, o);
    if (!file) co_return std::unexpected(file.error());
    auto node = std::make_shared<CloopNode>(graph, *file);
    if (auto r = co_await node->start(); !r) co_return std::unexpected(r.error());
    co_return node;
}

}  // namespace

const Driver kCloopDriver{"cloop", Driver::Kind::kFormat, {}, probe_cloop, open_cloop, nullptr, nullptr, false, false};

}  // namespace myna::block
