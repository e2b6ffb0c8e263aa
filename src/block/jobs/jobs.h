// The block jobs: what each copies, and what it changes in the graph at its end.
//
//   stream    behind ─▶ top         then top no longer needs what was copied
//   commit    top ─▶ base           then base takes the place of top
//   mirror    source ─▶ target      and every change after it; then, on complete(), target takes the place of source
//   backup    source ─▶ target      as source was at the beginning: what is about to change is copied first
#pragma once

#include "block/jobs/job.h"

namespace myna::block::jobs {

/// Bytes of a node that changed since some moment, kept by somebody else.
class ChangeSource {
  public:
    virtual ~ChangeSource() = default;
    /// The changes until now; from now on others are gathered. One step: no change is in both, or in none.
    virtual Task<Result<BitmapBits>> take() = 0;
    /// Counts these as changed again.
    virtual Task<Result<void>> give_back(BitmapBits bits) = 0;
};

struct StreamArgs {
    NodePtr top;
    NodePtr base;                                  // stays behind top; null: nothing does
    std::optional<std::string> backing_file;       // stored in top; else base's name
};
/// Fails where base is not behind top, or top is in use by another job.
Result<JobPtr> make_stream(Graph& graph, JobOptions o, StreamArgs a);

struct CommitArgs {
    NodePtr top, base;
    NodePtr overlay;                               // has top behind it; null: top is the active layer
    std::optional<std::string> backing_file;       // stored in overlay; else base's name
};
/// The active layer needs complete(), as a mirror does.
Result<JobPtr> make_commit(Graph& graph, JobOptions o, CommitArgs a);

struct MirrorArgs {
    NodePtr source, target;
    enum class Sync : uint8_t { kFull, kTop, kNone } sync = Sync::kFull;
    bool write_blocking = false;                   // changes are written to both before they end
    uint64_t granularity = 0;                      // power of 2; 0: 64 KiB or the target's cluster
    bool unmap = true;                             // zeroes become holes
    NodePtr replaces;                              // the target takes its place: source or, through filters, below it; null: source
};
Result<JobPtr> make_mirror(Graph& graph, JobOptions o, MirrorArgs a);

struct BackupArgs {
    NodePtr source, target;
    enum class Sync : uint8_t { kFull, kTop, kNone, kBitmap } sync = Sync::kFull;
    std::shared_ptr<ChangeSource> changes;         // kBitmap: what to copy
    enum class Keep : uint8_t { kOnSuccess, kNever, kAlways } keep = Keep::kOnSuccess;  // what becomes of them
    bool compress = false;
};
Result<JobPtr> make_backup(Graph& graph, JobOptions o, BackupArgs a);

}  // namespace myna::block::jobs
