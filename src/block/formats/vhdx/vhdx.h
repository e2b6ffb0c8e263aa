// vhdx: Hyper-V virtual disks: two headers, two region tables, a log, metadata, and a table (BAT) of payload blocks.
//
//   64K, 128K: header ─▶ log      192K, 256K: region table ─▶ BAT, metadata
//   block b ─▶ BAT[b + b / chunk] ─▶ state and file offset; every `chunk` blocks a sector bitmap (differencing disks)
//
// The log is replayed when an image is opened for writing. It is not used here: a BAT entry lies within one sector and
// names space that is already on disk, so that writing it in place is atomic.
//
// Source: [MS-VHDX] "Virtual Hard Disk v2 File Format".
#pragma once

#include <array>

#include "block/formats/common/block_map.h"
#include "block/formats/common/bytes.h"
#include "block/graph/driver.h"

namespace myna::block {

extern const Driver kVhdxDriver;

namespace vhdx {

using namespace formats;

using Guid = std::array<uint8_t, 16>;  // as on disk
/// "2DC27766-F623-…" as on disk: the first three fields little-endian.
consteval Guid guid(const char* text) {
    Guid raw{};
    size_t n = 0;
    for (const char* c = text; *c != 0; ++c) {
        if (*c == '-') continue;
        const uint8_t v = static_cast<uint8_t>(*c <= '9' ? *c - '0' : (*c | 0x20) - 'a' + 10);
        raw[n / 2] = static_cast<uint8_t>(raw[n / 2] | (n % 2 == 0 ? v << 4 : v));
        ++n;
    }
    return {raw[3], raw[2], raw[1], raw[0], raw[5], raw[4], raw[7], raw[6], raw[8], raw[9], raw[10], raw[11], raw[12], raw[13], raw[14], raw[15]};
}
inline constexpr Guid kBat = guid("2DC27766-F623-4200-9D64-115E9BFD4A08"), kMetadata = guid("8B7CA206-4790-4B9A-B8FE-575F050F886E"),
                      kFileParameters = guid("CAA16737-FA36-4D43-B3B6-33F0AA44E76B"), kDiskSize = guid("2FA54224-CD1B-4876-B211-5DBED83BF4B8"),
                      kPage83 = guid("BECA12AB-B2E6-4523-93EF-C309E000C746"), kLogicalSector = guid("8141BF1D-A96F-4709-BA47-F233A8FAAB5F"),
                      kPhysicalSector = guid("CDA348C7-445D-4471-9CC9-E9885251C556"), kParentLocator = guid("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C");

inline constexpr uint64_t kMiB = 1 << 20;
inline constexpr uint64_t kHeaderAt[2] = {64 << 10, 128 << 10}, kRegionsAt[2] = {192 << 10, 256 << 10};
inline constexpr size_t kHeaderBytes = 4096, kTableBytes = 64 << 10;
inline constexpr uint64_t kMaxSize = uint64_t{64} << 40;

enum State : uint8_t { kNotPresent = 0, kUndefined = 1, kZero = 2, kUnmapped = 3, kFullyPresent = 6, kPartiallyPresent = 7 };

struct Header {
    uint64_t sequence = 0;
    Guid file_write{}, data_write{}, log{};
    uint16_t log_version = 0, version = 1;
    uint32_t log_bytes = 0;
    uint64_t log_at = 0;
};
std::vector<uint8_t> encode(const Header& h);
/// Puts the CRC-32C of `bytes` at offset 4 of it.
void seal(std::vector<uint8_t>& bytes);

/// Applies what the log has; an error when it is damaged beyond use.
Task<Result<void>> replay_log(Node& file, const Header& h, const std::string& name);

class VhdxNode final : public BlockMapNode {
  public:
    VhdxNode(Graph& graph, NodePtr file);
    [[nodiscard]] std::string_view driver() const noexcept override { return "vhdx"; }
    [[nodiscard]] std::optional<uint32_t> cluster_size() const override { return static_cast<uint32_t>(block_bytes_); }
    [[nodiscard]] bool zero_init() const override { return file_->zero_init(); }
    [[nodiscard]] std::optional<std::string> backing_name() const override { return parent_.empty() ? std::nullopt : std::optional(parent_); }
    [[nodiscard]] std::optional<std::string> backing_format_name() const override { return parent_.empty() ? std::nullopt : std::optional<std::string>("vhdx"); }
    Task<Result<void>> start(const OpenOptions& o);
    Task<Result<CheckResult>> check(CheckFix fix) override;
    [[nodiscard]] const Guid& data_write() const noexcept { return header_.data_write; }

  protected:
    std::optional<Place> cached(uint64_t block) override;
    Task<Result<void>> load(uint64_t block) override { return bat_.load(entry_at(block)); }
    Task<Result<void>> point(uint64_t first, uint64_t count, uint64_t host) override;
    Task<Result<void>> write_tables() override { return bat_.write_back(); }
    Task<Result<void>> before_first_write() override;
    Task<Result<uint64_t>> partial_run(uint64_t block, uint64_t within, uint64_t length, bool& here) override;

  private:
    [[nodiscard]] uint64_t entry_at(uint64_t block) const noexcept { return bat_at_ + (block + block / chunk_) * 8; }
    Task<Result<void>> read_headers();
    Task<Result<void>> read_regions();
    Task<Result<void>> read_metadata();
    Task<Result<void>> read_parent_locator(const std::vector<uint8_t>& item);

    Header header_;
    int active_ = 0;
    MetaCache bat_, bitmaps_;
    uint64_t bat_at_ = 0, bat_bytes_ = 0, metadata_at_ = 0, metadata_bytes_ = 0;
    uint64_t chunk_ = 1;       // payload blocks that one sector bitmap covers
    uint32_t sector_ = 512;
    bool has_parent_ = false;
    std::string parent_;
    Guid parent_linkage_{};
    bool replayed_ = false;
};

}  // namespace vhdx
}  // namespace myna::block
