// Creating vhdx images, and the format's row in the registry.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/bits.h"
#include "block/formats/common/open.h"
#include "block/formats/vhdx/vhdx.h"

namespace myna::block {

using namespace vhdx;

namespace {

int probe_vhdx(std::span<const uint8_t> head, std::string_view) { return head.size() >= 8 && std::equal(head.begin(), head.begin() + 8, "vhdxfile") ? 100 : 0; }

Task<Result<NodePtr>> open_vhdx(Graph& graph, const OpenOptions& o) {
    auto file = co_await open_below(graph, o);
    if (!file) co_return std::unexpected(file.error());
    auto node = std::make_shared<VhdxNode>(graph, *file);
    if (auto r = co_await node->start(o); !r) co_return std::unexpected(r.error());
    co_return node;
}

struct Wanted {
    uint64_t block = 0, log = kMiB, size = 0;
    bool fixed = false, zero = true;
};

Result<Wanted> wanted(const CreateOptions& o) {
    const CreateArgs args(o);
    const auto bad = [](std::string m) { return fail(ErrorKind::kInvalidArgument, std::move(m)); };
    Wanted w;
    w.size = align_up(o.size, 512);
    if (w.size > kMaxSize) return bad("Image size too large; max of 64TB");
    const auto kind = args.text("subformat").value_or("dynamic");
    if (kind != "dynamic" && kind != "fixed") return bad("Invalid subformat '" + kind + "' (allowed: dynamic, fixed)");
    w.fixed = kind == "fixed";
    auto zero = args.on("block_state_zero", true);
    if (!zero) return std::unexpected(zero.error());
    w.zero = *zero;
    auto log = args.size("log_size");
    if (!log) return std::unexpected(log.error());
    w.log = align_up(log->value_or(kMiB), kMiB);
    if (w.log == 0 || w.log > (uint64_t{1} << 32) - kMiB) return bad("Log size must be at least 1 MB and smaller than 4 GB");
    auto block = args.size("block_size");
    if (!block) return std::unexpected(block.error());
    w.block = align_up(block->value_or(0), kMiB);
    if (w.block == 0) w.block = w.size > uint64_t{32} << 40 ? 64 * kMiB : w.size > uint64_t{100} << 30 ? 32 * kMiB : w.size > uint64_t{1} << 30 ? 16 * kMiB : 8 * kMiB;
    if (w.block > 256 * kMiB) return bad("Block size must not exceed 268435456");
    if (!std::has_single_bit(w.block)) return bad("Block size must be a power of two");
    return w;
}

Task<Result<void>> create_vhdx(Graph& graph, const CreateOptions& o) {
    auto w = wanted(o);
    if (!w) co_return std::unexpected(w.error());
    const uint64_t count = (w->size + w->block - 1) / w->block, chunk = (uint64_t{1} << 23) * 512 / w->block;
    const uint64_t entries = count + (count == 0 ? 0 : (count - 1) / chunk);
    const uint64_t bat_at = kMiB + w->log, bat_bytes = std::max(kMiB, align_up(entries * 8, kMiB)), metadata_at = bat_at + bat_bytes, data_at = metadata_at + kMiB;
    auto file = co_await create_file(graph, o);
    if (!file) co_return std::unexpected(file.error());
    Node& f = **file;
    if (auto r = co_await f.truncate(data_at); !r) co_return r;

    std::vector<uint8_t> b(512);
    std::copy_n("vhdxfile", 8, b.begin());
    constexpr std::string_view kCreator = "Myna";
    for (size_t i = 0; i < kCreator.size(); ++i) b[8 + i * 2] = static_cast<uint8_t>(kCreator[i]);
    if (auto r = co_await write_bytes(f, 0, b.data(), b.size()); !r) co_return r;

    Header h;
    const auto g1 = random_uuid(), g2 = random_uuid(), g3 = random_uuid();
    std::copy(g1.begin(), g1.end(), h.file_write.begin());
    std::copy(g2.begin(), g2.end(), h.data_write.begin());
    h.log_bytes = static_cast<uint32_t>(w->log);
    h.log_at = kMiB;
    for (const uint64_t at : kHeaderAt) {
        ++h.sequence;
        const auto raw = encode(h);
        if (auto r = co_await write_bytes(f, at, raw.data(), raw.size()); !r) co_return r;
    }

    std::vector<uint8_t> t(kTableBytes);
    std::copy_n("regi", 4, t.begin());
    put_le32(&t[8], 2);
    const auto region = [&](size_t i, const Guid& id, uint64_t at, uint64_t bytes) {
        uint8_t* e = &t[16 + i * 32];
        std::copy(id.begin(), id.end(), e);
        put_le64(e + 16, at);
        put_le32(e + 24, static_cast<uint32_t>(bytes));
        put_le32(e + 28, 1);
    };
    region(0, kBat, bat_at, bat_bytes);
    region(1, kMetadata, metadata_at, kMiB);
    seal(t);
    for (const uint64_t at : kRegionsAt)
        if (auto r = co_await write_bytes(f, at, t.data(), t.size()); !r) co_return r;

    std::vector<uint8_t> m(kTableBytes + 64);
    std::copy_n("metadata", 8, m.begin());
    size_t n = 0, item_at = kTableBytes;
    const auto item = [&](const Guid& id, const void* bytes, size_t length, uint32_t flags) {
        uint8_t* e = &m[32 + n++ * 32];
        std::copy(id.begin(), id.end(), e);
        put_le32(e + 16, static_cast<uint32_t>(item_at));
        put_le32(e + 20, static_cast<uint32_t>(length));
        put_le32(e + 24, flags);
        std::copy_n(static_cast<const uint8_t*>(bytes), length, &m[item_at]);
        item_at += length;
    };
    // Flags: 2 of the disk (not of the file), 4 required. File parameters: block size; bit 0 of a fixed image.
    const uint32_t parameters[2] = {static_cast<uint32_t>(w->block), w->fixed ? 1u : 0u}, sector = 512;
    item(kFileParameters, parameters, 8, 4);
    item(kDiskSize, &w->size, 8, 6);
    item(kPage83, g3.data(), 16, 6);
    item(kLogicalSector, &sector, 4, 6);
    item(kPhysicalSector, &sector, 4, 6);
    put_le16(&m[10], static_cast<uint16_t>(n));
    if (auto r = co_await write_bytes(f, metadata_at, m.data(), m.size()); !r) co_return r;

    if (w->fixed || w->zero) {
        constexpr uint64_t kPiece = 1 << 17;
        for (uint64_t from = 0; from < entries; from += kPiece) {
            std::vector<uint8_t> bat(std::min(kPiece, entries - from) * 8);
            for (uint64_t i = 0; i < bat.size() / 8; ++i) {
                const uint64_t e = from + i;
                if ((e + 1) % (chunk + 1) == 0) continue;  // a sector bitmap's entry
                const uint64_t block = e - e / (chunk + 1);
                put_le64(&bat[i * 8], w->fixed ? (data_at + block * w->block) | kFullyPresent : kZero);
            }
            if (auto r = co_await write_bytes(f, bat_at + from * 8, bat.data(), bat.size()); !r) co_return r;
        }
    }
    if (w->fixed)
        if (auto r = co_await f.truncate(data_at + count * w->block); !r) co_return r;
    co_return co_await f.close();
}

using T = OptionInfo::Type;
constexpr OptionInfo kOptions[] = {
    {"size", T::kSize, "Virtual disk size; max of 64TB.", {}},
    {"log_size", T::kSize, "Log size; min 1MB.", "1048576"},
    {"block_size", T::kSize, "Block Size; min 1MB, max 256MB. 0 means auto-calculate based on image size.", "0"},
    {"subformat", T::kString, "VHDX format type, can be either 'dynamic' or 'fixed'. Default is 'dynamic'.", {}},
    {"block_state_zero", T::kBool, "Force use of payload blocks of type 'ZERO'. Non-standard, but default.  Do not set to 'off' when using 'qemu-img convert' with subformat=dynamic.", {}},
};

}  // namespace

const Driver kVhdxDriver{"vhdx", Driver::Kind::kFormat, kOptions, probe_vhdx, open_vhdx, create_vhdx, nullptr, false, false};

}  // namespace myna::block
