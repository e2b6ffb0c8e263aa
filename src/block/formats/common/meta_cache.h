// MetaCache: pages of a file's tables in memory, so that tables of any size cost bounded memory.
//
//   entry at file offset ─▶ find(): in memory   ─▶ bytes
//                      └──▶ load(): from the file, the page used longest ago makes room
//   changed sectors stay here until write_back(); nothing else writes them
//
// Only changed 512-byte sectors are written: a page may overlap data or other tables, whose bytes here mean nothing.
#pragma once

#include <bitset>
#include <cstdint>
#include <list>
#include <memory>
#include <unordered_map>
#include <vector>

#include "block/graph/node.h"
#include "io/sync.h"

namespace myna::block::formats {

class MetaCache {
  public:
    static constexpr uint64_t kPage = 64 << 10;
    static constexpr uint64_t kSector = 512;

    /// Keeps up to `pages` pages, and more only while all of them are changed.
    explicit MetaCache(io::Reactor& r, size_t pages = 64) : capacity_(pages), loading_(r) {}
    void attach(Node& file) { file_ = &file; }

    /// The byte at file offset `at`, up to the end of its page; null: load() it. Valid until the next suspension.
    [[nodiscard]] uint8_t* find(uint64_t at);
    /// Brings the page of `at` in. Behind the end of the file there are zeroes.
    Task<Result<void>> load(uint64_t at);
    /// load() and find().
    Task<Result<uint8_t*>> get(uint64_t at);
    /// The `n` bytes at `at`, within one loaded page, were changed.
    void mark(uint64_t at, size_t n);
    /// [at, at + n) becomes zeroes, changed: a table that is new.
    Task<Result<void>> fresh(uint64_t at, uint64_t n);

    [[nodiscard]] bool dirty() const noexcept { return dirty_pages_ != 0; }
    /// So much is changed that it should be written before more is.
    [[nodiscard]] bool crowded() const noexcept { return dirty_pages_ * 2 >= capacity_; }
    /// Writes all changed sectors, ascending; no barrier. Nothing may change meanwhile.
    Task<Result<void>> write_back();
    /// Forgets all, changed or not.
    void clear();

  private:
    struct Page {
        uint64_t at;
        std::vector<uint8_t> bytes;
        std::bitset<kPage / kSector> dirty;
    };
    size_t capacity_;
    Node* file_ = nullptr;
    io::Mutex loading_;  // one at a time: a page read twice could be put back old
    std::list<Page> order_;  // newest first
    std::unordered_map<uint64_t, std::list<Page>::iterator> index_;
    size_t dirty_pages_ = 0;
};

}  // namespace myna::block::formats
