// What all filters share: a node in front of `file` that passes everything on, with the drivers' names for the registry.
//
//   node above ─▶ filter (waits, copies, counts, fails …) ──file──▶ node below
#pragma once

#include "block/graph/driver.h"
#include "block/graph/graph.h"

namespace myna::block {

extern const Driver kThrottleDriver, kCopyOnReadDriver, kBlkdebugDriver, kBlkverifyDriver, kQuorumDriver;

/// A copy-on-read filter in front of `below`.
NodePtr copy_on_read(io::Reactor& r, NodePtr below);

namespace filters {

class FilterNode : public Node {
  public:
    FilterNode(io::Reactor& r, NodePtr below);
    [[nodiscard]] int host_fd() const noexcept override { return -1; }
    [[nodiscard]] bool zero_init() const override { return file_->zero_init(); }
    [[nodiscard]] std::optional<uint32_t> cluster_size() const override { return file_->cluster_size(); }
    [[nodiscard]] bool encrypted() const override { return file_->encrypted(); }

  protected:
    Task<Result<void>> do_read(uint64_t offset, const IoVec& into) override { return file_->read(offset, into); }
    Task<Result<void>> do_write(uint64_t offset, const IoVec& from, WriteFlags flags) override { return file_->write(offset, from, flags); }
    Task<Result<void>> do_write_zeroes(uint64_t offset, uint64_t length, WriteFlags flags) override { return file_->write_zeroes(offset, length, flags); }
    Task<Result<void>> do_discard(uint64_t offset, uint64_t length) override { return file_->discard(offset, length); }
    Task<Result<void>> do_flush() override { return file_->flush(); }
    Task<Result<Extent>> do_block_status(uint64_t offset, uint64_t length) override;
    Task<Result<void>> do_truncate(uint64_t size, std::string_view preallocation) override;
};

/// The node of `key`, which must be there.
Task<Result<NodePtr>> open_child(Graph& graph, const OpenOptions& o, const char* key);
/// The options without "driver" and what is known: the first that is left is an error that names it.
Result<void> only(const nlohmann::json& options, std::string_view driver, std::initializer_list<std::string_view> known);

}  // namespace filters
}  // namespace myna::block
