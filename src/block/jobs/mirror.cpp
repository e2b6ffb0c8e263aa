// mirror, and commit of the active layer: a copy that follows its source, and in the end takes its place.
//
//   dirty bits ─▶ copies, until none is left ─▶ ready ─▶ what changes is copied on ─▶ complete(): users held, the rest copied,
//       ▲                                                                              users of source use target
//       └── after(): a change (write_blocking: written to the target before the write ends)
//
// A stretch is held (RangeLock) while it is copied; a change in write-blocking mode holds its stretch from before the
// source's write to after the target's, so that both see changes of one place in one order.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/bits.h"
#include "block/filters/filter.h"
#include "block/graph/chain.h"
#include "block/jobs/change.h"
#include "block/jobs/jobs.h"
#include "block/jobs/range_lock.h"
#include "block/jobs/watching.h"

namespace myna::block::jobs {

namespace {

constexpr uint64_t kLeastGranularity = 64 << 10;
constexpr uint64_t kLeftAtTheEnd = 16 << 20;  // bytes

struct Plan {
    NodePtr source, target;
    NodePtr replaces;              // whose place the target takes
    NodePtr above;                 // only what lies above this node is copied at first; null: everything
    bool nothing = false;          // nothing is, only changes
    bool write_blocking = false, unmap = true;
    bool takes_backing = false;    // the target gets the source's backing at the end
    uint64_t granularity = 0;
};

class Mirror final : public WatchingJob {
  public:
    Mirror(Graph& graph, std::string_view type, JobOptions o, Plan p, std::vector<std::shared_ptr<void>> uses)
        : WatchingJob(graph.reactor(), type, std::move(o), p.source), graph_(graph), p_(std::move(p)), uses_(std::move(uses)), ranges_(graph.reactor()) {
        g_ = p_.granularity != 0 ? p_.granularity : std::max<uint64_t>(kLeastGranularity, p_.target->cluster_size().value_or(0));
        dirty_.granularity = static_cast<uint32_t>(g_);
        dirty_.count = (p_.source->size() + g_ - 1) / g_;
        dirty_.words.assign((dirty_.count + 63) / 64, 0);
    }

  protected:
    [[nodiscard]] bool can_complete() const noexcept override { return true; }

    Task<Result<void>> run() override {
        {
            const auto still = co_await hold_users(graph_, *p_.source);
            begin_watching();
        }
        if (p_.source->size() > p_.target->size())
            if (auto r = co_await p_.target->truncate(p_.source->size()); !r) co_return r;
        if (p_.takes_backing && !p_.target->backing() && p_.source->backing()) {
            // Before the first zero is written: what is behind makes the difference between a hole and zeroes.
            if (auto r = co_await set_backing(*p_.target, p_.source->backing()); !r) co_return r;
            gave_backing_ = true;
        }
        if (auto r = co_await mark_what_is_there(); !r) co_return r;
        uint64_t at = 0;
        for (;;) {
            if (left_ == 0 && !busy()) {
                set_ready();
                if (completing() || soft_cancelled()) co_return Result<void>{};
            }
            // A client that never rests would keep it from ending: what little is left is copied while users are held.
            if (is_ready() && (completing() || soft_cancelled()) && left_ * g_ <= kLeftAtTheEnd) co_return Result<void>{};
            if (!co_await checkpoint(0)) co_return Result<void>{};
            const bool started = left_ > 0 && co_await copy_next(at);
            if (!started && (left_ > 0 || busy() || !(completing() || soft_cancelled()))) co_await sleep_until_woken();
        }
    }

    Task<Result<void>> finish() override {
        const auto still = co_await hold_users(graph_, *p_.source);
        // Nobody can change anything now: the rest, and both are the same.
        for (unsigned round = 0; round < 3 && left_ > 0 && !fatal(); ++round) {
            for (uint64_t at = 0; left_ > 0 && !fatal() && co_await copy_next(at);) {}
            co_await idle();
        }
        co_await idle();
        if (fatal()) co_return std::unexpected(*fatal());
        if (left_ > 0) co_return fail(ErrorKind::kIo, "the copy could not be finished");
        if (auto r = co_await p_.target->flush(); !r) co_return r;
        if (soft_cancelled()) co_return Result<void>{};
        uses_.clear();
        std::vector<const Node*> held;
        for (const NodePtr& u : graph_.users_of(*p_.source)) held.push_back(u.get());
        const auto also = co_await hold_users(graph_, *p_.replaces, std::move(held));
        replace(graph_, p_.replaces, p_.target);
        co_return Result<void>{};
    }
    Task<void> clean(bool good) override {
        co_await end_watching();
        if (gave_backing_ && !good) (void)co_await set_backing(*p_.target, nullptr);
        uses_.clear();
    }

    Task<Result<void>> changing(uint64_t offset, uint64_t length) override {
        if (p_.write_blocking) co_await ranges_.lock(align_down(offset, g_), align_up(offset + length, g_));
        co_return Result<void>{};
    }
    Task<Result<void>> changed(uint64_t offset, uint64_t length, const IoVec* data, bool ok) override {
        if (!p_.write_blocking) {
            mark(offset, length);
            wake();
            co_return Result<void>{};
        }
        const uint64_t from = align_down(offset, g_), to = align_up(offset + length, g_);
        Result<void> r;
        if (ok && length > 0) r = data != nullptr ? co_await p_.target->write(offset, *data) : co_await copy_now(offset, length);
        if (!ok || !r) mark(offset, length);
        if (!r) tolerate(false, r.error());
        ranges_.unlock(from, to);
        wake();
        co_return Result<void>{};  // the source has it: the user's write is good
    }

  private:
    Task<Result<void>> copy_now(uint64_t offset, uint64_t length) {
        auto c = co_await copy_range(*p_.source, *p_.target, offset, length, {.may_unmap = p_.unmap});
        co_return std::move(c.result);
    }
    void mark(uint64_t offset, uint64_t length) {
        for (uint64_t i = offset / g_; length > 0 && i <= (offset + length - 1) / g_ && i < dirty_.count; ++i)
            if (!dirty_.get(i)) {
                dirty_.words[i / 64] |= uint64_t{1} << (i % 64);
                ++left_;
                total_ += bytes_of(i, 1);
            }
    }
    [[nodiscard]] uint64_t bytes_of(uint64_t i, uint64_t n) const { return std::min(n * g_, p_.source->size() - i * g_); }

    Task<Result<void>> mark_what_is_there() {
        if (p_.nothing) co_return Result<void>{};
        const uint64_t size = p_.source->size();
        if (!p_.above) {
            mark(0, size);
            co_return Result<void>{};
        }
        for (uint64_t at = 0; at < size;) {
            if (!co_await checkpoint(0)) co_return Result<void>{};
            auto e = co_await status_above(*p_.source, p_.above.get(), at, size - at);
            if (!e) co_return std::unexpected(e.error());
            if (e->allocated) mark(at, e->length);
            at += e->length;
        }
        co_return Result<void>{};
    }

    /// Starts copying the next dirty stretch from granule `at` on (round about); false: all that is dirty is held.
    Task<bool> copy_next(uint64_t& at) {
        const uint64_t most = std::max<uint64_t>(1, kChunk / g_);
        for (uint64_t looked = 0; looked < dirty_.count; ++looked, ++at) {
            if (at >= dirty_.count) at = 0;
            if (at % 64 == 0 && dirty_.words[at / 64] == 0 && looked + 64 < dirty_.count && at + 64 <= dirty_.count) {
                at += 63;
                looked += 63;
                continue;
            }
            if (!dirty_.get(at) || ranges_.busy(at * g_, (at + 1) * g_)) continue;
            uint64_t n = 1;
            while (n < most && at + n < dirty_.count && dirty_.get(at + n) && !ranges_.busy((at + n) * g_, (at + n + 1) * g_)) ++n;
            const uint64_t first = at;
            at += n;
            co_await ranges_.lock(first * g_, (first + n) * g_);
            for (uint64_t i = first; i < first + n; ++i)
                if (dirty_.get(i)) {
                    dirty_.words[i / 64] &= ~(uint64_t{1} << (i % 64));
                    --left_;
                }
            co_await beside(copy(first, n));
            if (options().speed != 0) (void)co_await checkpoint(bytes_of(first, n));
            co_return true;
        }
        co_return false;
    }
    Task<void> copy(uint64_t first, uint64_t n) {
        const auto c = co_await copy_range(*p_.source, *p_.target, first * g_, bytes_of(first, n), {.may_unmap = p_.unmap});
        if (c.result) {
            done_ += bytes_of(first, n);
        } else {
            total_ -= bytes_of(first, n);
            mark(first * g_, bytes_of(first, n));
            if (tolerate(c.read, c.result.error()) && !paused()) co_await reactor_.sleep(std::chrono::milliseconds(10));
        }
        ranges_.unlock(first * g_, (first + n) * g_);
    }

    Graph& graph_;
    Plan p_;
    std::vector<std::shared_ptr<void>> uses_;
    RangeLock ranges_;                   // in bytes
    uint64_t g_;
    BitmapBits dirty_;
    uint64_t left_ = 0;                  // dirty granules
    bool gave_backing_ = false;
};

Result<JobPtr> make(Graph& graph, std::string_view type, JobOptions o, Plan p, bool between) {
    if (!p.replaces) p.replaces = p.source;
    if (p.target->read_only()) return fail(ErrorKind::kPermission, "Block node is read-only", EACCES);
    std::vector<std::shared_ptr<void>> uses;
    constexpr uint32_t kSharedOfSource = Perm::kRead | Perm::kWrite | Perm::kWriteUnchanged;
    std::vector<std::pair<Node*, Perm>> wanted{{p.source.get(), {.perm = Perm::kRead | Perm::kJob, .shared = kSharedOfSource}},
                                               {p.target.get(), {.perm = Perm::kRead | Perm::kWrite | Perm::kResize | Perm::kJob, .shared = Perm::kRead | Perm::kWriteUnchanged}}};
    if (between)
        for (Node* n = p.source->backing().get(); n != nullptr && n != p.target.get(); n = n->backing().get()) wanted.push_back({n, {.perm = Perm::kRead | Perm::kJob, .shared = Perm::kRead | Perm::kWriteUnchanged}});
    for (const auto& [node, perm] : wanted) {
        auto u = node->use(std::string(type), perm);
        if (!u) return std::unexpected(u.error());
        uses.push_back(*u);
    }
    return std::make_shared<Mirror>(graph, type, std::move(o), std::move(p), std::move(uses));
}

}  // namespace

Result<JobPtr> make_mirror(Graph& graph, JobOptions o, MirrorArgs a) {
    if (a.source == a.target) return fail(ErrorKind::kInvalidArgument, "Can't mirror node into itself");
    if (a.granularity != 0 && (a.granularity < 512 || a.granularity > 64u << 20)) return fail(ErrorKind::kInvalidArgument, "Parameter 'granularity' expects a value in range [512B, 64MB]");
    if ((a.granularity & (a.granularity - 1)) != 0) return fail(ErrorKind::kInvalidArgument, "Parameter 'granularity' expects a power of 2");
    if (a.target->size() < a.source->size()) return fail(ErrorKind::kInvalidArgument, "Target is smaller than the source");
    if (a.replaces) {
        NodePtr n = a.source;
        while (n != a.replaces && dynamic_cast<const filters::FilterNode*>(n.get()) != nullptr) n = n->file();
        if (n != a.replaces)
            return fail(ErrorKind::kInvalidArgument, "Cannot replace '" + a.replaces->node_name() + "' by a node mirrored from '" + a.source->node_name() + "', because it cannot be guaranteed that doing so would not lead to an abrupt change of visible data");
        if (a.replaces->size() != a.target->size()) return fail(ErrorKind::kInvalidArgument, "cannot replace image with a mirror image of different size");
    }
    using Sync = MirrorArgs::Sync;
    Plan p{.source = a.source, .target = a.target, .replaces = a.replaces, .nothing = a.sync == Sync::kNone, .write_blocking = a.write_blocking, .unmap = a.unmap, .granularity = a.granularity};
    if (a.sync != Sync::kFull && a.source->backing()) {
        if (a.sync == Sync::kTop) p.above = a.source->backing();
        p.takes_backing = true;
    }
    return make(graph, "mirror", std::move(o), std::move(p), false);
}

Result<JobPtr> make_active_commit(Graph& graph, JobOptions o, NodePtr top, NodePtr base) {
    Plan p{.source = std::move(top), .target = base, .above = base};
    return make(graph, "commit", std::move(o), std::move(p), true);
}

}  // namespace myna::block::jobs
