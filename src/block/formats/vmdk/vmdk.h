// vmdk: VMware disk images: a descriptor names extents, which lie one behind the other.
//
//   VmdkNode ─▶ extent 0: SparseExtent ─▶ file (with the descriptor inside: monolithicSparse, streamOptimized)
//            ├▶ extent 1: a file, flat from an offset on
//            └▶ backing: the parent, whose content ID must be the one the descriptor remembers
//
// A sparse extent maps grains (64 KiB mostly) by a directory of tables:
//   grain ─▶ grain directory (in memory) ─▶ grain table (MetaCache) ─▶ sector in the file
// Three layouts of it: hosted ("KDMV", with a redundant second directory), ESX ("COWD") and seSparse (64-bit entries).
//
// Source: VMware's "Virtual Disk Format 5.0"; seSparse has no public specification, its fields are as images show them.
#pragma once

#include "block/formats/common/block_map.h"
#include "block/formats/common/bytes.h"
#include "block/formats/vmdk/descriptor.h"
#include "block/graph/driver.h"

namespace myna::block {

extern const Driver kVmdkDriver;

namespace vmdk {

using namespace formats;

inline constexpr uint64_t kSector = 512;
inline constexpr uint32_t kHostedMagic = 0x564d444b;  // "KDMV"
inline constexpr uint32_t kEsxMagic = 0x44574f43;     // "COWD"
inline constexpr uint64_t kSeSparseMagic = 0xcafebabe;
struct Flag {
    static constexpr uint32_t kNewlineTest = 1, kRedundant = 2, kZeroGrain = 4, kCompressed = 1 << 16, kMarkers = 1 << 17;
};
inline constexpr uint32_t kGrainSectors = 128, kTableEntries = 512;

class SparseExtent final : public BlockMapNode {
  public:
    SparseExtent(Graph& graph, NodePtr file);
    [[nodiscard]] std::string_view driver() const noexcept override { return "vmdk"; }
    /// Reads the header. `sectors`: what the descriptor says of its size; 0: believe the header.
    Task<Result<void>> start(uint64_t sectors);
    void set_backing(NodePtr parent, uint64_t offset) { backing_ = std::move(parent), backing_offset_ = offset; }
    [[nodiscard]] std::optional<uint32_t> cluster_size() const override { return static_cast<uint32_t>(block_bytes_); }
    [[nodiscard]] bool compressed() const override { return compressed_; }
    Task<Result<CheckResult>> check(CheckFix fix) override;

    // Where the embedded descriptor is; 0 bytes: there is none.
    uint64_t descriptor_at = 0, descriptor_bytes = 0;

  protected:
    std::optional<Place> cached(uint64_t block) override;
    Task<Result<void>> load(uint64_t block) override;
    Task<Result<std::pair<uint64_t, uint64_t>>> reserve(uint64_t first, uint64_t count) override;
    Task<Result<void>> point(uint64_t first, uint64_t count, uint64_t host) override;
    Task<Result<void>> write_tables() override;
    Task<Result<void>> before_first_write() override;
    Task<Result<void>> read_compressed(Place p, uint64_t block, uint64_t within, const IoVec& into) override;
    Task<Result<void>> write_compressed(uint64_t offset, const IoVec& from) override;
    Task<Result<bool>> zero_blocks(uint64_t first, uint64_t count) override;
    Task<Result<void>> do_write(uint64_t offset, const IoVec& from, WriteFlags flags) override;

  private:
    enum class Layout : uint8_t { kHosted, kEsx, kSeSparse };
    Task<Result<void>> start_hosted(std::vector<uint8_t> head);
    Task<Result<void>> start_esx(std::vector<uint8_t> head);
    Task<Result<void>> start_sesparse(std::vector<uint8_t> head);
    Task<Result<std::vector<uint32_t>>> directory(uint64_t sector);
    Task<Result<void>> set_entries(uint64_t first, uint64_t count, uint64_t sector, uint64_t step);
    Task<Result<void>> write_grain(uint64_t block, uint64_t within, const IoVec& from);
    /// File offset of the table for directory entry `i`; 0: there is none.
    [[nodiscard]] uint64_t table_at(uint64_t i) const;

    Layout layout_ = Layout::kHosted;
    MetaCache tables_;
    std::vector<uint32_t> directory_, redundant_;   // sectors of grain tables
    std::vector<uint64_t> wide_directory_;          // seSparse
    uint64_t directory_at_ = 0;                     // file offset
    uint64_t entries_ = 0;                          // of a table
    uint64_t wide_tables_at_ = 0, wide_grains_at_ = 0, wide_table_bytes_ = 0;
    std::vector<size_t> directory_dirty_;
    bool compressed_ = false, markers_ = false, zero_grain_ = false, footer_ = false;
};

/// The header of a hosted sparse extent.
std::vector<uint8_t> hosted_header(uint64_t capacity, bool compressed, bool zero_grain);
/// Where its parts are, in sectors.
struct HostedPlan {
    uint64_t tables, directory_sectors, redundant_at, directory_at, grains_at;
};
HostedPlan hosted_plan(uint64_t capacity);
inline constexpr uint64_t kDescriptorAt = 1, kDescriptorSectors = 20;

}  // namespace vmdk
}  // namespace myna::block
