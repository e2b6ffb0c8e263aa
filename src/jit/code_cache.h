// The code cache: one memfd mapped twice, writable here and executable there, cut into regions that are filled in turn.
//
//   write view  [stubs|region 0 ......|region 1 ......| … |region n]    read-write, never executed
//   exec view   [stubs|region 0 ......|region 1 ......| … |region n]    read-execute, never written
//
// Allocation bumps a pointer in the current region. When all regions are full the oldest is evicted as a whole; its
// owner (the BlockMap) must first make sure that nobody runs in it. Each region keeps its blocks in address order, so
// that a host PC can be taken back to its block without a lock, from a signal handler too.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"

namespace myna::jit {

struct Block;

class CodeCache {
  public:
    static constexpr unsigned kRegions = 8;

    /// Reserves address space for `bytes` (rounded up to a multiple of kRegions MiB); memory is taken as it is used.
    static Result<std::unique_ptr<CodeCache>> create(size_t bytes);
    ~CodeCache();
    CodeCache(const CodeCache&) = delete;
    CodeCache& operator=(const CodeCache&) = delete;

    /// The writable bytes that are free in the current region.
    [[nodiscard]] std::span<uint8_t> free_space() noexcept;
    /// Where the first of them will run.
    [[nodiscard]] uint64_t exec_address() const noexcept { return reinterpret_cast<uint64_t>(exec_) + next_; }
    /// Takes `bytes` of the free space, rounded up to 16, for `owner` (null: the stubs).
    void commit(size_t bytes, Block* owner);

    /// The region allocation is in.
    [[nodiscard]] unsigned current() const noexcept { return current_; }
    /// The region that follows; its blocks must be gone before advance().
    [[nodiscard]] unsigned following() const noexcept { return (current_ + 1) % kRegions; }
    /// Blocks in `region`, in address order; the count may grow while read.
    [[nodiscard]] std::span<Block* const> blocks(unsigned region) const noexcept;
    /// Empties the following region and goes on there.
    void advance();

    /// The block whose code holds the executable address `host_pc`, or nullptr. Async-signal-safe, lock-free.
    [[nodiscard]] Block* block_at(uint64_t host_pc) const noexcept;
    [[nodiscard]] bool contains(uint64_t host_pc) const noexcept {
        return host_pc - reinterpret_cast<uint64_t>(exec_) < bytes_;
    }
    [[nodiscard]] uint8_t* writable(uint64_t exec_address) const noexcept {
        return write_ + (exec_address - reinterpret_cast<uint64_t>(exec_));
    }
    /// Bytes in use, all regions.
    [[nodiscard]] size_t used() const noexcept;

    /// In the child of a fork: gives it memory of its own with the same contents at the same addresses.
    Result<void> unshare();

  private:
    struct Region {
        size_t begin, end;              // offsets in the views
        size_t used;                    // offset of the first free byte
        Block** index = nullptr;        // reserved address space for the most blocks a region can hold
        std::atomic<uint32_t> count{0};
    };
    CodeCache() = default;
    Result<void> map_views(int fd, int extra_flags);
    static constexpr size_t kMinBlockBytes = 16;

    uint8_t* write_ = nullptr;
    uint8_t* exec_ = nullptr;
    size_t bytes_ = 0;
    static constexpr size_t kPieceBytes = 64 << 10;
    size_t populated_ = 0;  // how far memory was asked for ahead of use
    size_t next_ = 0;  // offset of the next free byte in the current region
    unsigned current_ = 0;
    Region regions_[kRegions];
};

}  // namespace myna::jit
