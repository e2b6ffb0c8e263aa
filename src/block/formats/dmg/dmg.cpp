#include "block/formats/dmg/dmg.h"

#include <bzlib.h>
#include <fmt/format.h>
#include <libdeflate.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/base64.h"
#include "block/formats/common/bytes.h"
#include "block/formats/common/open.h"

namespace myna::block {

using namespace formats;

namespace {

constexpr uint64_t kSector = 512, kMaxChunk = 64 << 20, kMaxList = 16 << 20;
constexpr size_t kMishHeader = 204, kEntry = 40;
enum Type : uint32_t { kZeroes = 0, kRaw = 1, kIgnored = 2, kAdc = 0x80000004, kZlib = 0x80000005, kBzip2 = 0x80000006, kLzfse = 0x80000007, kLzma = 0x80000008,
                       kComment = 0x7ffffffe, kEnd = 0xffffffff };

struct Chunk {
    uint64_t begin, end;      // bytes of the disk
    uint64_t at, bytes;       // in the file
    uint32_t type;
};

class DmgNode final : public Node {
  public:
    DmgNode(Graph& graph, NodePtr file) : Node(graph.reactor()) {
        file_ = std::move(file);
        filename_ = file_->filename();
        read_only_ = true;
    }
    [[nodiscard]] std::string_view driver() const noexcept override { return "dmg"; }

    Task<Result<void>> start() {
        // The trailer is the last 512 bytes, or a few before where something was appended.
        const uint64_t size = file_->size();
        if (size < kSector) co_return corrupt("the file is too short for a trailer");
        const uint64_t from = size - std::min<uint64_t>(size, kSector + 3);
        auto end = co_await read_bytes(*file_, from, size - from);
        if (!end) co_return std::unexpected(end.error());
        size_t i = 0;
        while (i + kSector <= end->size() && !std::equal(&(*end)[i], &(*end)[i] + 4, "koly")) ++i;
        if (i + kSector > end->size()) co_return corrupt("Could not locate UDIF trailer");
        const uint8_t* koly = &(*end)[i];
        const uint64_t data_at = be64(koly + 0x18), rsrc_at = be64(koly + 0x28), rsrc_bytes = be64(koly + 0x30), xml_at = be64(koly + 0xd8), xml_bytes = be64(koly + 0xe0);
        const uint64_t sectors = be64(koly + 0x1ec);
        if (sectors > (uint64_t{1} << 50)) co_return corrupt("the trailer says an impossible size");
        const auto inside = [&](uint64_t at, uint64_t n) { return at <= size && n <= size - at && n <= kMaxList; };
        if (data_at > size) co_return corrupt("the data fork is outside the file");
        if (rsrc_bytes != 0) {
            if (!inside(rsrc_at, rsrc_bytes) || rsrc_bytes < 0x104) co_return corrupt("the resource fork is outside the file");
            auto r = co_await read_bytes(*file_, rsrc_at, rsrc_bytes);
            if (!r) co_return std::unexpected(r.error());
            // Its data part: blocks with their length before them.
            const uint64_t begin = be32(r->data()), stop = begin + be32(r->data() + 8);
            if (begin < 16 || stop > r->size()) co_return corrupt("the resource fork is damaged");
            for (uint64_t at = begin; at + 4 <= stop;) {
                const uint64_t n = be32(&(*r)[at]);
                at += 4;
                if (n == 0 || n > stop - at) co_return corrupt("the resource fork is damaged");
                if (auto b = blocks({&(*r)[at], n}, data_at); !b) co_return b;
                at += n;
            }
        } else if (xml_bytes != 0) {
            if (!inside(xml_at, xml_bytes)) co_return corrupt("the property list is outside the file");
            auto r = co_await read_bytes(*file_, xml_at, xml_bytes);
            if (!r) co_return std::unexpected(r.error());
            const std::string_view xml(reinterpret_cast<const char*>(r->data()), r->size());
            for (size_t at = 0; (at = xml.find("<data>", at)) != std::string_view::npos;) {
                at += 6;
                const size_t stop = xml.find("</data>", at);
                if (stop == std::string_view::npos) co_return corrupt("the property list is damaged");
                const std::string decoded = from_base64(xml.substr(at, stop - at)).value_or("");
                const std::span mish(reinterpret_cast<const uint8_t*>(decoded.data()), decoded.size());
                if (auto b = blocks(mish, data_at); !b) co_return b;
                at = stop;
            }
        } else {
            co_return corrupt("the trailer names neither a property list nor a resource fork");
        }
        std::sort(chunks_.begin(), chunks_.end(), [](const Chunk& a, const Chunk& b) { return a.begin < b.begin; });
        for (size_t k = 1; k < chunks_.size(); ++k)
            if (chunks_[k].begin < chunks_[k - 1].end) co_return corrupt("two chunks overlap at sector " + std::to_string(chunks_[k].begin / kSector));
        // What no chunk has reads as zeroes.
        size_ = sectors != 0 || chunks_.empty() ? sectors * kSector : chunks_.back().end;
        co_return Result<void>{};
    }

  protected:
    Task<Result<void>> do_read(uint64_t offset, const IoVec& into) override {
        for (uint64_t done = 0; done < into.size();) {
            const uint64_t at = offset + done;
            const auto it = std::upper_bound(chunks_.begin(), chunks_.end(), at, [](uint64_t v, const Chunk& c) { return v < c.end; });
            const bool here = it != chunks_.end() && it->begin <= at;
            const uint64_t stop = std::min(size_, here ? it->end : it == chunks_.end() ? size_ : it->begin), n = std::min<uint64_t>(into.size() - done, stop - at);
            const IoVec part = into.slice(done, n);
            if (!here || it->type == kZeroes || it->type == kIgnored) {
                part.fill(0);
            } else if (it->type == kRaw) {
                const uint64_t within = at - it->begin, there = within < it->bytes ? std::min(n, it->bytes - within) : 0;
                if (there < n) part.slice(there, n - there).fill(0);
                const IoVec stored = part.slice(0, there);
                if (there != 0)
                    if (auto r = co_await file_->read(it->at + within, stored); !r) co_return r;
            } else {
                auto plain = co_await decompressed(*it);
                if (!plain) co_return std::unexpected(plain.error());
                part.copy_from((*plain)->data() + (at - it->begin));
            }
            done += n;
        }
        co_return Result<void>{};
    }
    Task<Result<Extent>> do_block_status(uint64_t offset, uint64_t length) override {
        const auto it = std::upper_bound(chunks_.begin(), chunks_.end(), offset, [](uint64_t v, const Chunk& c) { return v < c.end; });
        if (it == chunks_.end() || it->begin > offset) {
            const uint64_t stop = it == chunks_.end() ? size_ : std::min(size_, it->begin);
            co_return Extent{.length = std::min(length, stop - offset), .zero = true, .allocated = true};
        }
        Extent e{.length = std::min(length, it->end - offset), .allocated = true};
        if (it->type == kZeroes || it->type == kIgnored) {
            e.zero = true;
        } else {
            e.data = true;
            e.compressed = it->type != kRaw;
            if (it->type == kRaw && offset - it->begin < it->bytes) {
                e.length = std::min(e.length, it->bytes - (offset - it->begin));
                e.offset = it->at + (offset - it->begin);
                e.file = file_.get();
            }
        }
        co_return e;
    }

  private:
    [[nodiscard]] std::unexpected<Error> corrupt(const std::string& what) const { return fail(ErrorKind::kCorrupt, filename_ + ": " + what, EINVAL); }

    Result<void> blocks(std::span<const uint8_t> mish, uint64_t data_at) {
        if (mish.size() < kMishHeader || !std::equal(mish.begin(), mish.begin() + 4, "mish")) return {};  // another resource
        const uint64_t first = be64(&mish[8]), base = be64(&mish[24]) + data_at, count = be32(&mish[200]);
        if (count > (mish.size() - kMishHeader) / kEntry) return corrupt("a block table is cut");
        for (uint64_t i = 0; i < count; ++i) {
            const uint8_t* e = &mish[kMishHeader + i * kEntry];
            const uint32_t type = be32(e);
            if (type == kComment || type == kEnd) continue;
            const uint64_t sector = be64(e + 8), sectors = be64(e + 16), at = be64(e + 24), bytes = be64(e + 32);
            const uint64_t begin = first + sector;
            if (begin < first || begin > (uint64_t{1} << 50) || sectors > (uint64_t{1} << 50)) return corrupt(fmt::format("chunk {} has an impossible place", i));
            if (sectors == 0) continue;
            const bool empty = type == kZeroes || type == kIgnored;
            if (!empty && (base > file_->size() || at > file_->size() - base || bytes > file_->size() - base - at)) return corrupt(fmt::format("chunk {} is outside the file", i));
            if (!empty && type != kRaw && (sectors > kMaxChunk / kSector || bytes > kMaxChunk)) return corrupt(fmt::format("chunk {} is larger than the maximum of 64 MiB", i));
            if (!empty && type != kRaw && type != kZlib && type != kBzip2) {
                const char* name = type == kAdc ? "ADC" : type == kLzfse ? "LZFSE" : type == kLzma ? "LZMA" : nullptr;
                const std::string kind = name != nullptr ? std::string(name) + " compression" : fmt::format("chunk type {:#x}", type);
                return fail(ErrorKind::kUnsupported, filename_ + ": " + kind + " is not supported", ENOTSUP);
            }
            chunks_.push_back({begin * kSector, (begin + sectors) * kSector, base + at, bytes, type});
        }
        return {};
    }

    Task<Result<std::shared_ptr<std::vector<uint8_t>>>> decompressed(const Chunk& c) {
        if (last_at_ == c.begin) co_return last_;
        auto in = co_await read_bytes(*file_, c.at, c.bytes);
        if (!in) co_return std::unexpected(in.error());
        auto out = std::make_shared<std::vector<uint8_t>>(c.end - c.begin);
        bool ok = false;
        const auto work = [&] {
            if (c.type == kZlib) {
                const std::unique_ptr<libdeflate_decompressor, void (*)(libdeflate_decompressor*)> d(libdeflate_alloc_decompressor(), libdeflate_free_decompressor);
                size_t n = 0;
                ok = libdeflate_zlib_decompress(d.get(), in->data(), in->size(), out->data(), out->size(), &n) == LIBDEFLATE_SUCCESS && n == out->size();
            } else {
                auto n = static_cast<unsigned>(out->size());
                ok = BZ2_bzBuffToBuffDecompress(reinterpret_cast<char*>(out->data()), &n, reinterpret_cast<char*>(in->data()), static_cast<unsigned>(in->size()), 0, 0) == BZ_OK && n == out->size();
            }
        };
        co_await reactor_.offload(work);
        if (!ok) co_return corrupt("the chunk at sector " + std::to_string(c.begin / kSector) + " cannot be decompressed");
        last_ = out;
        last_at_ = c.begin;
        co_return out;
    }

    std::vector<Chunk> chunks_;
    std::shared_ptr<std::vector<uint8_t>> last_;
    uint64_t last_at_ = UINT64_MAX;
};

/// The trailer is at the end, so only the name says it.
int probe_dmg(std::span<const uint8_t>, std::string_view filename) { return filename.ends_with(".dmg") ? 2 : 0; }

Task<Result<NodePtr>> open_dmg(Graph& graph, const OpenOptions& o) {
    if (!o.read_only) co_return fail(ErrorKind::kPermission, "Block node is read-only: format 'dmg' can only be read", EACCES);
    auto file = co_await open_below(graph, o);
    if (!file) co_return std::unexpected(file.error());
    auto node = std::make_shared<DmgNode>(graph, *file);
    if (auto r = co_await node->start(); !r) co_return std::unexpected(r.error());
    co_return node;
}

}  // namespace

const Driver kDmgDriver{"dmg", Driver::Kind::kFormat, {}, probe_dmg, open_dmg, nullptr, nullptr, false, false};

}  // namespace myna::block
