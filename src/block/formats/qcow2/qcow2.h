// qcow2: a node over a file that maps guest clusters to host clusters by two levels of tables.
//
//   guest offset ─▶ L1 (in memory) ─▶ L2 table (TableCache) ─▶ host cluster ─▶ file
//   host cluster ─▶ refcount table (in memory) ─▶ refcount block (TableCache)
//
// Order on disk, so that a cut at any write leaves a good image with leaks at worst:
//   1. refcount blocks that count more   2. barrier   3. L2 tables   4. barrier   5. L1 entries, header
//   6. barrier   7. refcounts of what was freed (and only now it may be allocated again)
// Before any of it a mark in the header says that somebody writes; close() takes it out, so whoever opens an image with it
// knows that there may be leaks to repair (settle()).
// Internal snapshots change counts, copied flags and tables together: in copies, which one write of the header makes
// the state that counts (shadow.cpp).
// Nothing of 1-7 is written before flush() or before a table has to leave the cache.
//
// Locks: map_ is taken shared to look up, alone to change tables; data moves with neither. Every write holds a
// Range of guest bytes from before it looks up until its data is there and the tables say so: writes in place share
// theirs, what changes the mapping (whole clusters) has it alone. Never two Ranges at once, nor a wait for one with map_.
#pragma once

#include <deque>
#include <list>
#include <map>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "block/formats/crypto/luks_header.h"
#include "block/formats/qcow2/layout.h"
#include "block/graph/driver.h"
#include "block/graph/graph.h"

namespace myna::block {

extern const Driver kQcow2Driver;

namespace qcow2 {

/// A cluster of metadata in memory.
struct Table {
    uint64_t offset = 0;
    std::vector<uint8_t> bytes;
    bool dirty = false;
};

/// Clusters of one kind (L2 tables or refcount blocks), the least recently used leave first.
class TableCache {
  public:
    explicit TableCache(size_t capacity) : capacity_(capacity) {}
    [[nodiscard]] Table* find(uint64_t offset);
    /// A new entry; the caller has made room (victim()).
    Table& insert(uint64_t offset, std::vector<uint8_t> bytes);
    [[nodiscard]] bool full() const noexcept { return order_.size() >= capacity_; }
    /// The table to drop when full: the oldest clean one, else the oldest.
    [[nodiscard]] Table* victim();
    void drop(uint64_t offset);
    void clear();
    [[nodiscard]] std::vector<Table*> dirty_tables();  // ascending offset

  private:
    size_t capacity_;
    std::list<Table> order_;  // newest first
    std::unordered_map<uint64_t, std::list<Table>::iterator> index_;
};

/// What of the image lies in a host cluster that no data may be written to. In the order in which a place that is two of them is
/// called the first; the option of each is overlap-check.NAME.
enum class Metadata : uint8_t { kHeader, kActiveL1, kRefcountTable, kSnapshotTable, kInactiveL1, kBitmapDirectory, kRefcountBlock, kActiveL2, kInactiveL2 };

/// Options that an image is opened with.
struct Settings {
    uint32_t overlap_check = 0;      // bit (1 << Metadata)
    bool pass_discards = true;       // clusters that are freed go back to the host
    size_t l2_cache_bytes = 0, refcount_cache_bytes = 0;
};
/// Reads them and refuses what is no option of this format.
Result<Settings> take_settings(const nlohmann::json& options, const Header& h);

/// Where a stretch of guest bytes is.
struct Mapping {
    enum class Kind : uint8_t { kUnallocated, kZero, kData, kCompressed } kind = Kind::kUnallocated;
    bool allocated_zero = false;   // kZero with a host cluster behind it
    uint64_t host = 0;             // host offset of the first guest byte (kData), of the compressed bytes
    uint64_t length = 0;           // guest bytes that share this mapping contiguously
    uint32_t compressed_bytes = 0; // upper bound: whole sectors
};

class Qcow2Node final : public Node {
  public:
    Qcow2Node(Graph& graph, NodePtr file);
    [[nodiscard]] std::string_view driver() const noexcept override { return "qcow2"; }

    Task<Result<void>> start(const OpenOptions& options);
    /// Maps every cluster from guest offset `from` on that has none yet; mode: metadata, falloc, full. They read as zeroes, or
    /// (extended L2, `behind_shows`) as the backing file.
    Task<Result<void>> preallocate(std::string mode, uint64_t from, bool behind_shows);

    Task<Result<CheckResult>> check(CheckFix fix) override;
    Task<Result<void>> amend(const nlohmann::json& options) override;
    Task<Result<std::vector<SnapshotInfo>>> snapshots() override;
    Task<Result<void>> snapshot_create(SnapshotInfo info) override;
    Task<Result<void>> snapshot_apply(std::string_view id_or_name) override;
    Task<Result<void>> snapshot_delete(std::string_view id_or_name) override;
    Task<Result<void>> change_backing(std::optional<std::string> file, std::optional<std::string> format) override;
    Task<Result<std::vector<BitmapInfo>>> bitmaps() override;
    Task<Result<void>> change_bitmap(BitmapAction action, std::string name, uint32_t granularity) override;
    Task<Result<BitmapBits>> bitmap_bits(std::string name) override;
    Task<Result<void>> merge_bitmap(std::string name, BitmapBits from) override;
    Task<Result<void>> make_empty() override;
    Task<Result<void>> compact() override;
    Task<Result<void>> snapshot_open(std::string_view id_or_name) override;
    Task<Result<void>> do_close() override;

    [[nodiscard]] nlohmann::json specific_info() const override;
    [[nodiscard]] std::optional<uint32_t> cluster_size() const override { return static_cast<uint32_t>(h_.cluster_size()); }
    [[nodiscard]] bool dirty() const override { return h_.incompatible & Incompatible::kDirty; }
    [[nodiscard]] bool zero_init() const override { return h_.crypt == Crypt::kNone; }
    [[nodiscard]] bool encrypted() const override { return h_.crypt != Crypt::kNone; }
    [[nodiscard]] std::optional<std::string> backing_name() const override;
    [[nodiscard]] std::optional<std::string> backing_format_name() const override;

  protected:
    Task<Result<void>> do_read(uint64_t offset, const IoVec& into) override;
    Task<Result<void>> do_write(uint64_t offset, const IoVec& from, WriteFlags flags) override;
    Task<Result<void>> do_write_zeroes(uint64_t offset, uint64_t length, WriteFlags flags) override;
    Task<Result<void>> do_discard(uint64_t offset, uint64_t length) override;
    Task<Result<void>> do_flush() override;
    Task<Result<Extent>> do_block_status(uint64_t offset, uint64_t length) override;
    Task<Result<void>> do_truncate(uint64_t size, std::string_view preallocation) override;
    Task<Result<void>> do_read_vm_state(uint64_t offset, const IoVec& into) override;
    Task<Result<void>> do_write_vm_state(uint64_t offset, const IoVec& from) override;

  private:
    friend struct Snapshots;
    friend class Checker;

    struct SnapshotTable {
        uint64_t l1_offset;
        uint32_t l1_entries;
        std::string extra;                   // unknown extra data, kept
    };

    // ---- tables (tables.cpp); the caller holds map_
    Task<Result<Table*>> table(TableCache& cache, uint64_t offset);
    [[nodiscard]] std::unexpected<Error> unaligned(const TableCache& cache, uint64_t offset);
    Task<Result<void>> make_room(TableCache& cache);
    Task<Result<Table*>> new_table(TableCache& cache, uint64_t offset, std::vector<uint8_t> bytes);
    Task<Result<void>> write_tables(TableCache& cache);
    Task<Result<void>> flush_metadata();
    Task<Result<void>> barrier();
    Task<Result<void>> write_header();
    Task<Result<void>> put_header();  // without making it durable
    /// Says on disk that somebody writes, before the first change of a table. Others keep and ignore the mark.
    Task<Result<void>> mark_writing();
    /// After a writer that did not close the image: gives back the clusters that it took and never used.
    Task<Result<void>> settle();
    Task<Result<void>> write_at(uint64_t offset, const void* bytes, size_t n);
    Task<Result<void>> read_at(uint64_t offset, void* bytes, size_t n);
    [[nodiscard]] std::unexpected<Error> corrupt(const std::string& what);

    // ---- damage that shows while the image is in use (overlap.cpp)
    /// The same, and the image gets the bit that says so, by which every program refuses to write to it: with the end of the
    /// request that met it (mark_damage()), or when it is closed.
    [[nodiscard]] std::unexpected<Error> found_damage(const std::string& what);
    /// Damage that what is under way can go on without.
    void note_damage(const std::string& what);
    void tell_damage(const std::string& what, bool fatal);
    Task<void> mark_damage();
    /// `r`, which is not good; marks the image if that is why.
    Task<Result<void>> failed(Result<void> r);
    [[nodiscard]] std::unexpected<Error> no_more_writing() const;
    /// Refuses a write of something else than `own` to that host cluster (its offset) if a table of the image is there.
    [[nodiscard]] Result<void> refuse_overlap(uint64_t host, std::optional<Metadata> own = std::nullopt);
    /// A table has a new place.
    void note_tables(uint64_t offset, uint64_t bytes, Metadata kind);
    /// The L2 tables that snapshots use, where the options want those looked after, too.
    Task<Result<void>> find_inactive();

    // ---- refcounts (refcounts.cpp); the caller holds map_ alone
    [[nodiscard]] uint64_t clusters_of(uint64_t bytes) const noexcept { return (bytes + h_.cluster_size() - 1) >> h_.cluster_bits; }
    [[nodiscard]] uint64_t refcounts_per_block() const noexcept { return h_.cluster_size() * 8 >> h_.refcount_order; }
    [[nodiscard]] uint64_t max_refcount() const noexcept { return h_.refcount_order == 6 ? UINT64_MAX : (uint64_t{1} << (1u << h_.refcount_order)) - 1; }
    static uint64_t get_refcount(const std::vector<uint8_t>& block, unsigned order, uint64_t index);
    static void set_refcount(std::vector<uint8_t>& block, unsigned order, uint64_t index, uint64_t value);
    Task<Result<uint64_t>> refcount(uint64_t cluster);
    /// Adds `delta` (±1) to the refcounts of `count` clusters.
    Task<Result<void>> change_refcount(uint64_t cluster, uint64_t count, int delta);
    /// The refcount block that counts `cluster`, made if there is none.
    Task<Result<Table*>> refcount_block(uint64_t cluster);
    Task<Result<void>> grow_refcount_table(uint64_t blocks_needed);
    /// Up to `count` free host clusters in a row (at least 1; all of them when `exact`), counted once each.
    /// `what` is to lie there, for a message.
    Task<Result<std::pair<uint64_t, uint64_t>>> allocate(uint64_t count, bool exact, const char* what = nullptr);
    /// The clusters lose a reference once the tables that named them are on disk.
    void free_later(uint64_t host, uint64_t bytes);
    /// Finds where the tables of this image lie (overlap.cpp); an error when two refcount blocks are at one place.
    [[nodiscard]] Result<void> find_tables();
    /// Refuses clusters that the counts call free although a table of this image lies there.
    [[nodiscard]] Result<void> refuse_tables(uint64_t cluster, uint64_t count, const char* what = nullptr);
    Task<Result<void>> refuse_uncounted(uint64_t index);
    /// The host may have the bytes of freed clusters.
    Task<Result<void>> give_back(uint64_t offset, uint64_t bytes);
    Task<Result<void>> apply_frees(std::map<uint64_t, uint64_t> frees);
    /// Whether the cluster is to lose references.
    [[nodiscard]] bool owed(uint64_t cluster) const;

    // ---- changes that one write of the header makes visible (shadow.cpp); the caller holds map_ alone, nothing is under way
    /// What there was when such a change began, and what only its new state uses.
    struct Shadow {
        Header header;
        std::vector<uint64_t> l1, refcount_table;
        std::vector<SnapshotInfo> snapshots;
        std::vector<SnapshotTable> snapshot_tables;
        uint64_t old_snapshot_bytes, size, next_free;
        std::unordered_set<uint64_t> fresh;               // offsets of refcount blocks and L2 tables of the new state
        std::vector<bool> held;                           // clusters not to be given away: the old state uses them, or somebody is about to
        std::vector<std::pair<uint64_t, int>> owed;       // changes of counts that follow from moved refcount blocks
        void hold(uint64_t cluster) {
            if (cluster >= held.size()) held.resize(cluster + cluster / 2 + 1);
            held[cluster] = true;
        }
        [[nodiscard]] bool holds(uint64_t cluster) const { return cluster < held.size() && held[cluster]; }
    };
    Task<Result<void>> begin_shadow();
    /// Writes the new state, then the header. An error leaves the old state, here as on disk.
    Task<Result<void>> commit_shadow();
    void abort_shadow();
    /// Takes a cluster that neither state uses; it is not counted yet.
    Task<Result<uint64_t>> unused_cluster();
    /// A copy of the table at `offset`, in a place of its own. The counts of both places are the caller's.
    Task<Result<Table*>> move_table(TableCache& cache, uint64_t offset);

    // ---- mapping (mapping.cpp)
    Task<Result<Mapping>> map(uint64_t offset, uint64_t length);
    struct L2Ref {
        Table* table;
        uint64_t index;
    };
    /// The L2 entry for `offset`, writable: allocates or copies the table. The caller holds map_ alone.
    Task<Result<L2Ref>> l2_for_write(uint64_t offset);
    [[nodiscard]] uint64_t entry(const L2Ref& r) const { return be64(r.table->bytes.data() + r.index * h_.l2_entry_bytes()); }
    [[nodiscard]] uint64_t bitmap(const L2Ref& r) const { return h_.extended_l2() ? be64(r.table->bytes.data() + r.index * 16 + 8) : 0; }
    void set_entry(const L2Ref& r, uint64_t e, uint64_t bm);
    void free_entry(uint64_t e);
    /// The L2 table at `offset` and all that it names lose a reference.
    Task<Result<void>> free_l2(uint64_t offset);
    [[nodiscard]] uint64_t compressed_offset(uint64_t e) const noexcept { return e & low_bits(62 - (h_.cluster_bits - 8)); }
    [[nodiscard]] uint32_t compressed_size(uint64_t e) const noexcept;
    static constexpr uint64_t low_bits(unsigned n) noexcept { return (uint64_t{1} << n) - 1; }

    // ---- data (io.cpp)
    struct InFlight {
        uint64_t begin, end;
        bool alone;
        std::coroutine_handle<> waiter;  // null: it has its turn
    };
    /// A claim on a guest range; ends with its life.
    class Range {
      public:
        Range(Qcow2Node& n, std::list<InFlight>::iterator at) : node_(&n), at_(at) {}
        Range(Range&& o) noexcept : node_(std::exchange(o.node_, nullptr)), at_(o.at_) {}
        Range& operator=(Range&&) = delete;
        ~Range() {
            if (node_ != nullptr) node_->unclaim(at_);
        }

      private:
        Qcow2Node* node_;
        std::list<InFlight>::iterator at_;
    };
    /// Waits until no earlier request conflicts with guest range [begin, end), which is the caller's then.
    Task<Range> claim(uint64_t begin, uint64_t end, bool alone);
    [[nodiscard]] bool blocked(std::list<InFlight>::iterator at);
    /// Ends a claim: who waited for it alone goes on.
    void unclaim(std::list<InFlight>::iterator at);
    /// Whether `length` bytes from byte `within` of the cluster can be written where it is.
    [[nodiscard]] bool in_place(const L2Ref& r, uint64_t within, uint64_t length) const;
    /// Refuses to write to a host cluster (its offset) where no data can be: behind the end of the file, in a table.
    [[nodiscard]] Result<void> refuse_place(uint64_t host);
    /// The L2 table with the entry for `offset` if it is ours alone, else a null table. map_ is held.
    Task<Result<L2Ref>> own_l2(uint64_t offset);
    /// Whether [offset, offset + length) is known to read as zeroes without looking at data.
    Task<bool> hole(uint64_t offset, uint64_t length);
    Task<Result<void>> read_backing(uint64_t offset, const IoVec& into);
    /// Lets the file (the file of the data) reach `end`, in large steps: changing its length waits for all that is under way.
    Task<Result<void>> reach(uint64_t end);
    Task<Result<void>> reach_data(uint64_t end);
    Task<Result<void>> write_piece(uint64_t offset, const IoVec& from);
    /// Returns how many bytes it wrote; 0 when the first cluster can be written in place by now.
    Task<Result<uint64_t>> write_new(uint64_t offset, const IoVec& from);
    Task<Result<void>> zero_clusters(uint64_t offset, uint64_t length, bool unmap, bool cut = false);
    /// [offset, offset + length) is about to change: enabled bitmaps note it.
    Task<Result<void>> mark_dirty(uint64_t offset, uint64_t length);

    // ---- compressed clusters (compressed.cpp)
    /// A compressed cluster: where its bytes are, and what of it a request asks for.
    struct CompressedPiece {
        uint64_t host;
        uint32_t bytes;
        uint64_t offset, length;  // of the guest
    };
    Task<uint64_t> compressed_run(Mapping first, uint64_t offset, uint64_t end, std::vector<CompressedPiece>& run);
    Task<Result<void>> read_compressed(std::vector<CompressedPiece> run, uint64_t offset, const IoVec& into);
    Task<Result<void>> write_compressed(uint64_t offset, const IoVec& from);
    /// What is decompressed of the guest range is old.
    void forget_compressed(uint64_t begin, uint64_t end);

    // ---- bitmaps (bitmaps.cpp)
    struct Bitmap {
        static constexpr uint32_t kInUse = 1, kAuto = 2, kExtraCompatible = 4;
        std::string name, extra;
        uint32_t flags = 0;
        unsigned granularity_bits = 16;
        uint64_t table_offset = 0;
        uint32_t table_entries = 0;
        bool loaded = false;
        BitmapBits bits;
        /// Left behind by a program that ended without storing it: its bits are not known.
        [[nodiscard]] bool broken() const noexcept { return flags & kInUse; }
        [[nodiscard]] bool records() const noexcept { return (flags & kAuto) && !broken(); }
    };
    Task<Result<void>> load_bitmap_directory();
    Task<Result<void>> load_bits(Bitmap& b);
    Task<Result<void>> store_bitmaps();
    /// `all`: also those that do not record.
    Task<Result<void>> mark_bitmaps_in_use(bool all = false);
    [[nodiscard]] static std::string bitmap_row(const Bitmap& b, bool in_use);
    [[nodiscard]] Bitmap* find_bitmap(std::string_view name);

    // ---- VM state (vm_state.cpp): what the L1 table maps behind the disk
    /// The L1 entry with which it begins.
    [[nodiscard]] uint64_t vm_state_entry() const noexcept { return (size_ + h_.l2_reach() - 1) / h_.l2_reach(); }
    /// The disk is to become another length: what lies behind it now is given up. The caller holds map_ alone and flushes.
    Task<Result<void>> drop_vm_state();
    /// Moves the L1 table to where it can have that many entries. The caller holds map_ alone and writes the header.
    Task<Result<void>> move_l1(uint64_t entries);

    // ---- amend.cpp
    Task<Result<void>> change_refcount_width(uint32_t order);
    Task<Result<void>> downgrade();
    /// Cuts the file behind its last cluster in use. The caller holds map_ alone.
    Task<Result<void>> shrink_file();
    Task<Result<void>> grow_or_shrink(uint64_t size);
    Task<Result<void>> zero_growth(uint64_t old_size, uint64_t size);
    // ---- encryption (crypt.cpp): LUKS goes by the place in the file, the legacy AES by the place on the disk
    Task<Result<void>> open_crypt(const OpenOptions& o);
    Task<Result<void>> read_encrypted(uint64_t host, uint64_t guest, const IoVec& into);
    Task<Result<void>> write_encrypted(uint64_t host, uint64_t guest, const IoVec& from);
    [[nodiscard]] Node& data() const { return data_file_ ? *data_file_ : *file_; }
    [[nodiscard]] bool raw_data_file() const noexcept { return h_.autoclear & Autoclear::kRawDataFile; }

    Graph& graph_;
    Header h_;
    std::vector<uint64_t> l1_;               // host order
    std::vector<bool> l1_dirty_;             // per 512-byte sector of the table
    std::vector<uint64_t> refcount_table_;   // host order
    bool refcount_table_dirty_ = false;
    TableCache l2_cache_, refcount_cache_;
    std::unordered_map<uint64_t, std::vector<std::coroutine_handle<>>> loading_;  // tables that are being read, and who waits
    io::SharedMutex map_;
    io::Mutex evicting_;                     // one at a time writes L2 tables to make room
    io::Mutex bitmap_commands_;              // one at a time: none removes what another one is about; taken before map_
    std::list<InFlight> in_flight_;          // in the order of their claims
    std::unordered_map<uint64_t, Metadata> table_clusters_;  // where the tables of the image lie; empty: not looked for yet
    std::vector<uint64_t> inactive_l2_;      // offsets (find_inactive())
    Settings settings_;
    uint64_t fresh_from_ = 0;                // clusters from here on were never used: they read as zeroes
    bool allocated_fresh_ = false;           // whether the last allocate() gave only such clusters
    bool grown_ahead_ = false;               // the file is longer than what is used; close() cuts it
    uint64_t next_free_ = 0;                 // cluster where the search for free ones begins
    uint64_t compressed_next_ = 0;           // where the next compressed bytes may go (0: nowhere yet)
    // What is freed waits until no table on disk names it, and until every read ended that began before: it may have been
    // told of the place. Reads are counted by generation; each flush that has something to free begins a new one.
    struct Frees {
        uint64_t generation;                 // the last one whose reads may know of it
        std::map<uint64_t, uint64_t> references;
    };
    std::map<uint64_t, uint64_t> frees_;     // host cluster -> references to drop; tables on disk may still name it
    std::deque<Frees> frees_waiting_;        // none does any more; oldest first
    std::deque<unsigned> readers_{0};        // reads under way of each generation from oldest_generation_ on
    uint64_t oldest_generation_ = 0;
    unsigned reads_under_way_ = 0;
    [[nodiscard]] uint64_t begin_read();
    void end_read(uint64_t generation);
    void forget_old_generations();
    uint64_t tables_written_ = 0, tables_settled_ = 0;  // how often tables were written, and which of that a flush followed
    std::vector<SnapshotInfo> snapshots_;
    std::vector<SnapshotTable> snapshot_tables_;
    std::unique_ptr<Shadow> shadow_;
    std::optional<std::unordered_set<uint64_t>> uncounted_;  // refcount blocks that are missing though they should count something
    uint64_t old_snapshot_bytes_ = 0;        // of the snapshot table on disk
    NodePtr data_file_;
    std::unique_ptr<crypto::SectorCipher> cipher_;   // null too when an encrypted image is open without its key
    std::unique_ptr<crypto::LuksHeader> luks_;
    std::shared_ptr<std::vector<uint8_t>> last_compressed_;  // the last cluster that was decompressed
    uint64_t last_compressed_at_ = UINT64_MAX;
    uint64_t compressed_changes_ = 0;        // what was read before one of them must not become last_compressed_
    std::list<Bitmap> bitmaps_;              // names in use while others are added stay where they are
    uint64_t bitmap_directory_offset_ = 0, bitmap_directory_bytes_ = 0;  // on disk; 0: none
    struct HostRange {
        uint64_t offset, bytes;
    };
    std::vector<HostRange> removed_bitmap_clusters_;  // free once the directory without them is named
    bool bitmaps_changed_ = false;           // to be stored at close
    bool bitmaps_marked_ = false;            // the directory on disk says "in use"
    bool marked_ = false;                    // the header on disk says that somebody writes, or has no room to
    bool unclean_ = false;                   // it said so when the image was opened, and there may be leaks to repair at the next opening
    bool damaged_ = false;                   // corruption was found: no more writing
    bool mark_due_ = false;                  // and the header is to say so
    bool damage_told_ = false;
    bool checking_ = false;                  // by check(), which reports it in its own way
};

}  // namespace qcow2
}  // namespace myna::block
