// TwoLevelNode: block maps of a table of tables, 64-bit entries, tables made when they are first needed (qcow, qed).
//
//   block ─▶ L1 (in memory) ─▶ L2 table (MetaCache) ─▶ entry ─▶ decode(): Place
//
// Order on disk: data, barrier, L2 tables, barrier, L1 entries.
#pragma once

#include "block/formats/common/block_map.h"
#include "block/formats/common/bytes.h"

namespace myna::block::formats {

class TwoLevelNode : public BlockMapNode {
  public:
    Task<Result<void>> make_empty() override;

  protected:
    TwoLevelNode(Graph& graph, NodePtr file, bool big_endian);
    /// What an L2 entry says.
    [[nodiscard]] virtual Place decode(uint64_t entry) const = 0;

    Task<Result<void>> read_l1(uint64_t at, uint64_t entries);
    [[nodiscard]] uint64_t number(const void* p) const noexcept { return big_endian_ ? be64(p) : le64(p); }
    void put_number(void* p, uint64_t v) const noexcept { big_endian_ ? put_be64(p, v) : put_le64(p, v); }
    /// The L2 entry of `block` becomes `entry`. Called with map_ held alone.
    Task<Result<void>> set_entry(uint64_t block, uint64_t entry);
    /// A damaged L1 entry, of a table outside the file or not aligned.
    [[nodiscard]] bool bad_table(uint64_t at) const noexcept { return at % table_alignment_ != 0 || at >= std::max(file_->size(), next_); }

    std::optional<Place> cached(uint64_t block) override;
    Task<Result<void>> load(uint64_t block) override { return tables_.load(l1_[block / l2_entries_] + block % l2_entries_ * 8); }
    Task<Result<std::pair<uint64_t, uint64_t>>> reserve(uint64_t first, uint64_t count) override;
    Task<Result<void>> point(uint64_t first, uint64_t count, uint64_t host) override;
    Task<Result<void>> write_tables() override;

    uint64_t l1_at_ = 0, l2_entries_ = 0, table_alignment_ = 8;
    uint64_t kept_end_ = 0;  // make_empty() cuts nothing off before it
    std::vector<uint64_t> l1_;
    MetaCache tables_;

  private:
    bool big_endian_;
    std::vector<uint64_t> l1_dirty_;  // indices
};

}  // namespace myna::block::formats
