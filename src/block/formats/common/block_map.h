// BlockMapNode: what formats that map fixed-size blocks of the disk to places in a file have in common.
//
//   guest block ─▶ cached() / load(): Place ─▶ kData: read and write there
//                                          └─▶ else: backing, zeroes, decompress; a write takes new space (reserve),
//                                              writes the data, and only then lets the table point there (point)
//
// Order on disk: data and new space, barrier, write_tables(), barrier; only flush() and a crowded cache write tables. A
// place that the tables name is never given to another block, so a cut at any write loses nothing that was flushed, and
// at worst leaves space that nobody uses.
//
// Writes that take new space keep their blocks in in_flight_ until the table knows; overlapping writes wait for them.
// Reads wait for nothing: an entry changes in one step, when what it points at is there.
#pragma once

#include <list>
#include <optional>

#include "block/formats/common/meta_cache.h"
#include "block/graph/graph.h"

namespace myna::block::formats {

/// Where a block is.
struct Place {
    enum class Kind : uint8_t {
        kNone,        // the backing file has it, or zeroes
        kZero,        // zeroes, whatever is behind
        kData,        // at `host`
        kCompressed,  // read_compressed() gives it
        kPartial,     // some of it is at `host`: partial_run() says what
        kBad,         // the table has nonsense
    } kind = Kind::kNone;
    uint64_t host = 0;     // file offset of the block's first byte
    uint64_t blocks = 1;   // kNone, kZero: so many blocks from here on are the same
    Node* file = nullptr;  // null: file()
};

class BlockMapNode : public Node {
  protected:
    BlockMapNode(Graph& graph, NodePtr file);

    // ---- what a format says
    /// From memory; nullopt: load() first.
    virtual std::optional<Place> cached(uint64_t block) = 0;
    virtual Task<Result<void>> load(uint64_t block) = 0;
    /// New space in the file for blocks [first, first + up to count), one behind the other: its offset, and for how many.
    /// Called with map_ held alone.
    virtual Task<Result<std::pair<uint64_t, uint64_t>>> reserve(uint64_t first, uint64_t count);
    /// The table (in memory) points at what reserve() gave. Called with map_ held alone.
    virtual Task<Result<void>> point(uint64_t first, uint64_t count, uint64_t host);
    /// Writes what point() changed, in a safe order; there was a barrier before and will be one behind.
    virtual Task<Result<void>> write_tables();
    /// Before the first change after opening: marks in headers.
    virtual Task<Result<void>> before_first_write();
    virtual Task<Result<void>> read_compressed(Place p, uint64_t block, uint64_t within, const IoVec& into);
    virtual Task<Result<void>> write_compressed(uint64_t offset, const IoVec& from);
    /// kPartial: how many bytes from `within` on, up to `length`, are all here (`here`) or all behind.
    virtual Task<Result<uint64_t>> partial_run(uint64_t block, uint64_t within, uint64_t length, bool& here);
    /// Whole blocks become kZero; false: the format cannot say so.
    virtual Task<Result<bool>> zero_blocks(uint64_t first, uint64_t count);
    /// Whether a write may replace a place of this kind (append-only kinds of images say no).
    virtual Result<void> writable(const Place&) const { return {}; }

    Task<Result<void>> do_read(uint64_t offset, const IoVec& into) override;
    Task<Result<void>> do_write(uint64_t offset, const IoVec& from, WriteFlags flags) override;
    Task<Result<void>> do_write_zeroes(uint64_t offset, uint64_t length, WriteFlags flags) override;
    Task<Result<void>> do_discard(uint64_t offset, uint64_t length) override;
    Task<Result<void>> do_flush() override;
    Task<Result<Extent>> do_block_status(uint64_t offset, uint64_t length) override;

    Task<Result<Place>> place(uint64_t block);
    Task<Result<void>> begin_writing();
    Task<Result<void>> flush_tables();  // map_ held alone
    Task<Result<void>> read_backing(uint64_t offset, const IoVec& into);
    [[nodiscard]] uint64_t blocks() const noexcept { return (size_ + block_bytes_ - 1) / block_bytes_; }
    [[nodiscard]] bool backed(uint64_t offset) const noexcept { return backing_ && offset + backing_offset_ < backing_->size(); }
    [[nodiscard]] std::unexpected<Error> corrupt(const std::string& what) const;
    /// The usual reserve(): at the end of the file, which grows.
    Task<Result<std::pair<uint64_t, uint64_t>>> append(uint64_t count);
    /// For check(): every block's place is inside the file from `data_start` on, and no two share bytes.
    Task<Result<CheckResult>> check_places(uint64_t data_start);

    struct InFlight {
        uint64_t begin, end;
        std::vector<std::coroutine_handle<>> waiters;
    };
    /// Keeps other writes out of blocks [begin, end) while it lives; wait_for() first.
    class Range {
      public:
        Range(BlockMapNode& n, uint64_t begin, uint64_t end) : node_(n) {
            n.in_flight_.push_front({begin, end, {}});
            at_ = n.in_flight_.begin();
        }
        Range(const Range&) = delete;
        Range& operator=(const Range&) = delete;
        ~Range() {
            for (auto h : at_->waiters) node_.reactor_.post(h);
            node_.in_flight_.erase(at_);
        }

      private:
        BlockMapNode& node_;
        std::list<InFlight>::iterator at_;
    };
    Task<void> wait_for(uint64_t first, uint64_t end);

    Graph& graph_;
    uint64_t block_bytes_ = 0;    // of any size
    io::SharedMutex map_;
    bool tables_dirty_ = false;   // write_tables() has something to do
    bool writing_ = false;        // before_first_write() is done
    bool look_below_ = false;     // block_status asks the file where its holes are
    uint64_t next_ = 0;           // append(): where free space begins
    uint64_t backing_offset_ = 0; // of this node's first byte in backing_ (a node that is a part of a disk)

  private:
    Task<Result<void>> write_new(uint64_t offset, const IoVec& from);
    [[nodiscard]] uint64_t run(uint64_t offset, uint64_t length, const Place& p);
    std::list<InFlight> in_flight_;
};

}  // namespace myna::block::formats
