// BlockMap: which blocks there are. (PC, mode) to block without a lock; guest page to blocks; links between blocks.
//
//   find(pc, mode)            any thread, no lock: an open-addressed table of atomic pointers
//   publish, link, remove …   under the engine's lock
//
// A removed block leaves the table, its incoming exits are patched back to their stubs, its own exits forget their
// targets. Its code stays until its region is evicted, so a vCPU that is still inside leaves it at the next exit.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "jit/block.h"
#include "jit/code_cache.h"
#include "jit/fetcher.h"

namespace myna::jit {

/// Memory for blocks' metadata: bump allocation, one arena a region, all freed at once.
class BlockArena {
  public:
    ~BlockArena() { clear(); }
    template <typename T>
    T* make(size_t count) {
        return static_cast<T*>(allocate(sizeof(T) * count, alignof(T)));
    }
    void clear();

  private:
    void* allocate(size_t bytes, size_t align);
    static constexpr size_t kChunk = 32 << 10;
    std::vector<uint8_t*> chunks_;
    size_t left_ = 0;
    uint8_t* next_ = nullptr;
};

class BlockMap {
  public:
    explicit BlockMap(CodeCache& cache);
    ~BlockMap();

    /// The block for (pc, mode), or nullptr. Any thread.
    [[nodiscard]] Block* find(uint64_t pc, uint32_t mode) const noexcept;

    /// Makes `b` findable and notes its pages.
    void publish(Block* b);
    /// Puts `now` in the place of `old`, of the same PC and mode: found instead of it, and linked to from now on. Whoever
    /// is inside the old one leaves it at its next exit.
    void replace(Block* old, Block* now) {
        remove(old);
        publish(now);
    }
    /// Patches `from` to jump to `to`. Both must be valid and of one mode.
    void link(Exit& from, Block& to);

    /// Removes all blocks that depend on [addr, addr+len) and appends them to `removed`.
    void remove_range(uint64_t addr, uint64_t len, std::vector<Block*>& removed);
    /// Removes all blocks of a cache region (before its eviction), appending them to `removed`; then forgets them.
    void remove_region(unsigned region, std::vector<Block*>& removed);
    /// Frees what removed blocks and outgrown tables held. Only when no vCPU can still be reading them.
    void free_region(unsigned region);
    void free_old_tables();
    [[nodiscard]] bool has_old_tables() const noexcept { return tables_.size() > 4; }
    /// Points every exit's jump where the links say (a forked child's copy of the code may hold the parent's patches).
    void repatch_all();

    BlockArena& arena() { return arenas_[cache_.current()]; }
    [[nodiscard]] size_t count() const noexcept { return live_; }

  private:
    struct Table {
        uint64_t mask;
        std::unique_ptr<std::atomic<Block*>[]> slots;
    };
    static uint64_t hash(uint64_t pc, uint32_t mode) noexcept {
        return ((pc >> 1) ^ (uint64_t{mode} << 40)) * 0x9e3779b97f4a7c15ull >> 20;
    }
    void insert(Table& t, Block* b);
    void grow();
    void remove(Block* b);
    void unlink(Exit& e);
    void patch(const Exit& e, uint64_t target) noexcept;
    static Block* tombstone() noexcept;

    CodeCache& cache_;
    std::atomic<Table*> table_;
    std::vector<std::unique_ptr<Table>> tables_;  // the last is in force; older ones may still be read
    size_t filled_ = 0, live_ = 0;                // slots used (with tombstones), blocks
    std::unordered_map<uint64_t, std::vector<Block*>> pages_;
    uint64_t last_page_ = 1;                      // the page of the last publish, and its list
    std::vector<Block*>* last_list_ = nullptr;
    BlockArena arenas_[CodeCache::kRegions];
};

}  // namespace myna::jit
