// Node: one layer of a disk: a protocol (file, nbd), a format (qcow2) or a filter (throttle) over other nodes.
//
//   device, tool ─▶ Node (qcow2) ──file──▶ Node (file)            requests go down by co_await
//                        └───────backing─▶ Node (raw) ─▶ Node (file)
//
// The public operations check bounds, permissions and the gate, align and cut the request to the driver's limits, and
// then call the driver's protected ones. A Node belongs to one Reactor and is used on its thread only.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "io/iovec.h"
#include "io/reactor.h"
#include "io/sync.h"

namespace myna::block {

using io::IoVec;
using io::Task;

class Node;
using NodePtr = std::shared_ptr<Node>;

/// How requests must look for the driver. Bytes; alignments are powers of two.
struct Limits {
    uint32_t request_alignment = 1;      // offset and length of reads and writes
    uint32_t memory_alignment = 1;       // of buffers (O_DIRECT)
    uint64_t max_transfer = 1u << 30;
    uint32_t zeroes_alignment = 1;       // below it write_zeroes falls back to writing
    uint32_t discard_alignment = 1;
};

struct WriteFlags {
    bool fua = false;            // stable when the request ends
    bool compressed = false;     // store compressed (formats that can)
    bool may_unmap = false;      // write_zeroes: deallocating is as good
    bool no_fallback = false;    // write_zeroes: fail rather than write zero bytes
    bool unchanged = false;      // the bytes are what a read gives already (from behind): watchers are not told
};

/// What one stretch of a node is made of.
struct Extent {
    uint64_t length = 0;
    bool data = false;           // reads give stored bytes
    bool zero = false;           // reads give zeroes
    bool allocated = false;      // in this layer; false: a backing file decides
    bool compressed = false;
    bool eof = false;            // the node ends here
    std::optional<uint64_t> offset;  // where the bytes are in `file`
    const Node* file = nullptr;
};

/// What a user of a node may do, and lets others do beside it.
struct Perm {
    static constexpr uint32_t kRead = 1, kWrite = 2, kWriteUnchanged = 4, kResize = 8;
    static constexpr uint32_t kJob = 16;  // a block job changes or copies it; not a lock of files
    static constexpr uint32_t kAll = 31;
    uint32_t perm = kRead;
    uint32_t shared = kRead | kWriteUnchanged;
};

enum class CheckFix : uint8_t { kNone, kLeaks, kAll };
struct CheckResult {
    uint64_t corruptions = 0, leaks = 0, check_errors = 0;
    uint64_t corruptions_fixed = 0, leaks_fixed = 0;
    uint64_t total_clusters = 0, allocated_clusters = 0, fragmented_clusters = 0, compressed_clusters = 0;
    uint64_t image_end_offset = 0;
    uint64_t counted_behind_end = 0;  // clusters behind the file's end that are counted: leaks once the file grows over them
    std::vector<std::string> messages;
};

struct SnapshotInfo {
    std::string id, name;
    uint64_t vm_state_bytes = 0;
    uint64_t date_sec = 0;
    uint32_t date_nsec = 0;
    uint64_t vm_clock_ns = 0;
    std::optional<uint64_t> icount;
    std::optional<uint64_t> disk_size;
};

struct BitmapInfo {
    std::string name;
    uint32_t granularity = 0;
    std::vector<std::string> flags;  // "auto", "in-use"
};

/// A dirty bitmap's bits: bit i says that bytes [i * granularity, (i + 1) * granularity) were written.
struct BitmapBits {
    uint32_t granularity = 0;
    uint64_t count = 0;              // bits
    std::vector<uint64_t> words;
    [[nodiscard]] bool get(uint64_t i) const noexcept { return words[i / 64] >> (i % 64) & 1; }
    /// Sets the bits of bytes [offset, offset + length).
    void set(uint64_t offset, uint64_t length) noexcept {
        if (length == 0) return;
        for (uint64_t i = offset / granularity; i <= (offset + length - 1) / granularity && i < count; ++i) words[i / 64] |= uint64_t{1} << (i % 64);
    }
};

enum class BitmapAction : uint8_t { kAdd, kRemove, kClear, kEnable, kDisable };

/// Sees changes of a node's bytes from within the requests that make them: jobs that copy a disk in use, dirty bitmaps.
/// Called outside the node's gate, so that it may read the node itself.
class Watcher {
  public:
    virtual ~Watcher() = default;
    /// Before [offset, offset + length) changes. An error refuses the change; after() is then not called.
    virtual Task<Result<void>> before(uint64_t, uint64_t) { co_return Result<void>{}; }
    /// After it changed, to `data` or (null) in another way; `ok` false: perhaps, and not wholly.
    virtual Task<Result<void>> after(uint64_t offset, uint64_t length, const IoVec* data, bool ok) = 0;
};

class Node {
  public:
    explicit Node(io::Reactor& reactor) : reactor_(reactor), gate_(reactor) {}
    virtual ~Node() = default;
    Node(const Node&) = delete;
    Node& operator=(const Node&) = delete;

    /// The driver's name ("qcow2").
    [[nodiscard]] virtual std::string_view driver() const noexcept = 0;
    /// Bytes as the layer above sees them.
    [[nodiscard]] uint64_t size() const noexcept { return size_; }
    [[nodiscard]] bool read_only() const noexcept { return read_only_; }
    /// The name a person knows it by: the file name, or `json:{…}` where no plain name says it all.
    [[nodiscard]] const std::string& filename() const noexcept { return filename_; }
    [[nodiscard]] const Limits& limits() const noexcept { return limits_; }
    [[nodiscard]] io::Reactor& reactor() const noexcept { return reactor_; }

    /// The name that other nodes and commands know it by; empty where it was given none.
    [[nodiscard]] const std::string& node_name() const noexcept { return node_name_; }
    void set_node_name(std::string name) { node_name_ = std::move(name); }

    /// The node that holds this one's bytes (format over protocol), and the one behind unallocated stretches; or null.
    [[nodiscard]] const NodePtr& file() const noexcept { return file_; }
    [[nodiscard]] const NodePtr& backing() const noexcept { return backing_; }

    /// Puts another node in the place of one below. Nothing may be under way here (drain()).
    void set_backing(NodePtr n) { backing_ = std::move(n); }
    void set_file(NodePtr n) { file_ = std::move(n); }

    /// One more of those who close() it: the last one's close counts.
    void add_user() noexcept { ++users_; }
    /// One that never closes it less; the one that opened it stays.
    void drop_user() noexcept { users_ -= users_ > 1; }
    [[nodiscard]] unsigned users() const noexcept { return users_; }

    /// Somebody uses the node as a whole (an export, a job) until the result goes, which must be before the node does.
    /// Fails where that does not go together with what others do, or let others do.
    Result<std::shared_ptr<void>> use(std::string who, Perm perm);

    void watch(Watcher& w) { watchers_.push_back(&w); }
    /// Requests that it has seen the beginning of may still be under way: drain() first, or be ready for after().
    void unwatch(Watcher& w) { std::erase(watchers_, &w); }

    // ---- requests; [offset, offset + length) must lie within size()
    Task<Result<void>> read(uint64_t offset, const IoVec& into);
    Task<Result<void>> write(uint64_t offset, const IoVec& from, WriteFlags flags = {});
    Task<Result<void>> write_zeroes(uint64_t offset, uint64_t length, WriteFlags flags = {});
    Task<Result<void>> discard(uint64_t offset, uint64_t length);
    /// Everything written before is stable when it ends.
    Task<Result<void>> flush();
    /// The first extent of [offset, offset + length); never longer than length, never 0 unless length is.
    Task<Result<Extent>> block_status(uint64_t offset, uint64_t length);
    /// Changes size(); new bytes read as zeroes. preallocation: off, metadata, falloc, full.
    Task<Result<void>> truncate(uint64_t size, std::string_view preallocation = "off");
    /// A machine's memory and devices, kept beside the disk; bytes that nobody wrote read as zeroes. snapshot_create() makes
    /// them part of a snapshot, snapshot_apply() gives them back.
    Task<Result<void>> read_vm_state(uint64_t offset, const IoVec& into);
    Task<Result<void>> write_vm_state(uint64_t offset, const IoVec& from);
    /// Makes it `size` bytes long unless it is as long already: of several at once, none cuts off what another one wrote.
    Task<Result<void>> grow_to(uint64_t size);

    // ---- what images can do beyond bytes; the default says that the driver cannot
    virtual Task<Result<CheckResult>> check(CheckFix fix);
    virtual Task<Result<void>> amend(const nlohmann::json& options);
    virtual Task<Result<std::vector<SnapshotInfo>>> snapshots();
    /// With `vm_state_bytes`, what was written as VM state belongs to the snapshot from then on.
    virtual Task<Result<void>> snapshot_create(SnapshotInfo info);
    virtual Task<Result<void>> snapshot_apply(std::string_view id_or_name);
    virtual Task<Result<void>> snapshot_delete(std::string_view id_or_name);
    virtual Task<Result<void>> change_backing(std::optional<std::string> file, std::optional<std::string> format);
    virtual Task<Result<std::vector<BitmapInfo>>> bitmaps();
    /// `granularity` is for kAdd (0: the driver's default); what changed is stored by flush() or close().
    virtual Task<Result<void>> change_bitmap(BitmapAction action, std::string name, uint32_t granularity = 0);
    /// The bits of a bitmap; an error for one that is inconsistent ("in-use").
    virtual Task<Result<BitmapBits>> bitmap_bits(std::string name);
    /// Adds the bits of `from` (of any granularity) to the bitmap `name`.
    virtual Task<Result<void>> merge_bitmap(std::string name, BitmapBits from);
    /// All of this layer becomes unallocated: what is behind shows through.
    virtual Task<Result<void>> make_empty();
    /// Gives what the image does not use back to the host: leaked clusters, stored clusters behind gaps.
    virtual Task<Result<void>> compact();
    /// This node (opened read only) shows the disk as the internal snapshot has it.
    virtual Task<Result<void>> snapshot_open(std::string_view id_or_name);

    /// The host's file descriptor where this node's bytes are one file's; -1 elsewhere.
    [[nodiscard]] virtual int host_fd() const noexcept { return -1; }
    /// "format-specific" of `info`: {"type": …, "data": {…}}; null when there is none.
    [[nodiscard]] virtual nlohmann::json specific_info() const;
    /// Bytes it takes on the host; nullopt where nobody knows.
    [[nodiscard]] virtual std::optional<uint64_t> allocated_bytes() const;
    [[nodiscard]] virtual std::optional<uint32_t> cluster_size() const { return std::nullopt; }
    [[nodiscard]] virtual bool encrypted() const { return false; }
    [[nodiscard]] virtual bool compressed() const { return false; }
    [[nodiscard]] virtual bool dirty() const { return false; }
    /// Whether a new image of this kind reads as zeroes.
    [[nodiscard]] virtual bool zero_init() const { return false; }
    /// Backing file name as stored in the image.
    [[nodiscard]] virtual std::optional<std::string> backing_name() const { return std::nullopt; }
    [[nodiscard]] virtual std::optional<std::string> backing_format_name() const { return std::nullopt; }

    /// Ends cleanly: waits for what is under way, writes what is cached, releases locks. Must be awaited before the
    /// last reference goes, or the image is left as after a crash (which is safe, but slower to open again).
    Task<Result<void>> close();

    /// What the node above is doing ("l2_update"), for filters that fail on purpose.
    virtual void event(std::string_view) {}

    /// A request that stops at an event until it is told to go on (blkdebug), to test what others do meanwhile.
    enum class Breakpoint : uint8_t { kSet, kRemove, kResume };
    virtual Result<void> breakpoint(Breakpoint action, std::string_view event, std::string_view tag);
    /// Whether a request with that tag has stopped.
    [[nodiscard]] virtual bool stopped(std::string_view tag) const;

    /// "discard" (ignore, unmap: the default) and "detect-zeroes" (off: the default, on, unmap) of `options`: whether discards
    /// are passed on, and whether writes of zero bytes become write_zeroes.
    Result<void> set_general(const nlohmann::json& options);

    /// Cache mode writethrough: every write is stable when it ends, the tables that say where it is included.
    void set_write_through(bool on) noexcept { write_through_ = on; }

    /// Waits until nothing is under way and keeps new requests out while the guard lives.
    Task<io::SharedMutex::Guard> drain() { return gate_.close(); }

  protected:
    // The driver's part: requests are within bounds and meet limits().
    virtual Task<Result<void>> do_read(uint64_t offset, const IoVec& into) = 0;
    virtual Task<Result<void>> do_write(uint64_t offset, const IoVec& from, WriteFlags flags);
    virtual Task<Result<void>> do_write_zeroes(uint64_t offset, uint64_t length, WriteFlags flags);
    virtual Task<Result<void>> do_discard(uint64_t offset, uint64_t length);
    virtual Task<Result<void>> do_flush();
    virtual Task<Result<Extent>> do_block_status(uint64_t offset, uint64_t length);
    virtual Task<Result<void>> do_truncate(uint64_t size, std::string_view preallocation);
    virtual Task<Result<void>> do_read_vm_state(uint64_t offset, const IoVec& into);
    virtual Task<Result<void>> do_write_vm_state(uint64_t offset, const IoVec& from);

    /// close(), when the last user has left.
    virtual Task<Result<void>> do_close();

    io::Reactor& reactor_;
    io::Gate gate_;
    NodePtr file_, backing_;
    std::string filename_;
    Limits limits_;
    uint64_t size_ = 0;
    bool read_only_ = false;

  private:
    Task<Result<void>> write_now(uint64_t offset, const IoVec& from, WriteFlags flags);
    Task<Result<void>> write_zeroes_now(uint64_t offset, uint64_t length, WriteFlags flags);
    Task<Result<void>> discard_now(uint64_t offset, uint64_t length);
    Task<Result<void>> write_watched(uint64_t offset, const IoVec& from, WriteFlags flags);
    Task<Result<void>> write_zeroes_watched(uint64_t offset, uint64_t length, WriteFlags flags);
    Task<Result<void>> discard_watched(uint64_t offset, uint64_t length);
    Task<Result<void>> told_before(const std::vector<Watcher*>& to, uint64_t offset, uint64_t length);
    Task<Result<void>> told_after(const std::vector<Watcher*>& to, uint64_t offset, uint64_t length, const IoVec* data, Result<void> done);

    struct Use {
        std::string who;
        Perm perm;
    };
    std::string node_name_;
    std::list<Use> uses_;
    std::vector<Watcher*> watchers_;
    unsigned users_ = 1;
    enum class DetectZeroes : uint8_t { kOff, kOn, kUnmap } detect_zeroes_ = DetectZeroes::kOff;
    bool discards_ = true;
    bool write_through_ = false;
};

}  // namespace myna::block
