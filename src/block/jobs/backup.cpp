// backup: the source as it was when the job began, while it goes on changing.
//
//   write to source ─▶ before(): its clusters that are still to be copied are copied first
//   run()           ─▶ the others, one after the other
//
// A cluster is held (RangeLock) while it is copied and is copied once. Where copying before a write fails, the write fails
// (the documented default): the backup stays what it promised to be.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/bits.h"
#include "block/graph/chain.h"
#include "block/jobs/change.h"
#include "block/jobs/jobs.h"
#include "block/jobs/range_lock.h"
#include "block/jobs/watching.h"

namespace myna::block::jobs {

namespace {

constexpr uint64_t kLeastCluster = 64 << 10;

class Backup final : public WatchingJob {
  public:
    Backup(Graph& graph, JobOptions o, BackupArgs a, std::vector<std::shared_ptr<void>> uses)
        : WatchingJob(graph.reactor(), "backup", std::move(o), a.source), graph_(graph), a_(std::move(a)), uses_(std::move(uses)), ranges_(graph.reactor()) {
        cluster_ = std::max<uint64_t>(kLeastCluster, a_.target->cluster_size().value_or(0));
        todo_.granularity = static_cast<uint32_t>(cluster_);
        todo_.count = (a_.source->size() + cluster_ - 1) / cluster_;
        todo_.words.assign((todo_.count + 63) / 64, 0);
    }

    /// From one moment on: nothing is under way in the source when watching begins.
    Task<Result<void>> begin() override {
        if (a_.changes) {
            auto bits = co_await a_.changes->take();
            if (!bits) co_return std::unexpected(bits.error());
            taken_ = std::move(*bits);
            for (uint64_t i = 0; i < taken_->count; ++i)
                if (taken_->get(i)) mark(i * taken_->granularity, taken_->granularity);
        } else {
            for (uint64_t i = 0; i < todo_.count; ++i) todo_.words[i / 64] |= uint64_t{1} << (i % 64);
        }
        begin_watching();
        begun_ = true;
        co_return Result<void>{};
    }

  protected:
    Task<Result<void>> run() override {
        if (!begun_) {
            const auto still = co_await hold_users(graph_, *a_.source);
            if (auto r = co_await begin(); !r) co_return r;
        }
        if (a_.sync == BackupArgs::Sync::kTop)
            if (auto r = co_await leave_out_what_is_behind(); !r) co_return r;
        for (uint64_t i = 0; i < todo_.count; ++i) total_ += todo_.get(i) ? bytes_of(i) : 0;
        if (a_.sync == BackupArgs::Sync::kNone) {
            while (co_await checkpoint(0)) co_await sleep_until_woken();  // copies only what is about to change, until it is cancelled
            co_return Result<void>{};
        }
        const uint64_t most = std::max<uint64_t>(1, kChunk / cluster_);
        // Once, and again for what failed and is to be tried again.
        for (bool first = true; first || std::ranges::any_of(todo_.words, [](uint64_t w) { return w != 0; }); first = false) {
            if (!first) co_await reactor_.sleep(std::chrono::milliseconds(10));
            for (uint64_t i = 0; i < todo_.count;) {
                if (!todo_.get(i)) {
                    ++i;
                    continue;
                }
                uint64_t n = 1;
                while (n < most && i + n < todo_.count && todo_.get(i + n)) ++n;
                if (!co_await checkpoint(n * cluster_)) co_return Result<void>{};
                co_await beside(copy_clusters(i, n));
                i += n;
            }
            co_await idle();
            if (!co_await checkpoint(0)) break;
        }
        co_return Result<void>{};
    }
    Task<Result<void>> finish() override { co_return co_await a_.target->flush(); }
    Task<void> clean(bool good) override {
        if (begun_) co_await end_watching();
        if (taken_ && (a_.keep == BackupArgs::Keep::kNever || (a_.keep == BackupArgs::Keep::kOnSuccess && !good))) {
            (void)co_await a_.changes->give_back(std::move(*taken_));
        } else if (taken_ && !good) {  // always: what was not copied counts as changed still
            BitmapBits rest = *taken_;
            for (uint64_t i = 0; i < rest.count; ++i)
                if (!todo_.get(std::min(i * rest.granularity / cluster_, todo_.count - 1))) rest.words[i / 64] &= ~(uint64_t{1} << (i % 64));
            (void)co_await a_.changes->give_back(std::move(rest));
        }
        uses_.clear();
    }

    Task<Result<void>> changing(uint64_t offset, uint64_t length) override {
        for (uint64_t i = offset / cluster_; length > 0 && i <= (offset + length - 1) / cluster_ && i < todo_.count; ++i) {
            if (!todo_.get(i) && !ranges_.busy(i, i + 1)) continue;
            if (auto r = co_await copy_cluster(i); !r.result) co_return r.result;
        }
        co_return Result<void>{};
    }
    Task<Result<void>> changed(uint64_t, uint64_t, const IoVec*, bool) override { co_return Result<void>{}; }

  private:
    [[nodiscard]] uint64_t bytes_of(uint64_t i) const { return std::min(cluster_, a_.source->size() - i * cluster_); }
    void mark(uint64_t offset, uint64_t length) {
        if (offset < a_.source->size()) todo_.set(offset, std::min(length, a_.source->size() - offset));
    }

    /// Copies cluster `i` unless that has been done; waits for who does it now.
    Task<Copied> copy_cluster(uint64_t i) {
        co_await ranges_.lock(i, i + 1);
        Copied c;
        if (todo_.get(i)) {
            c = co_await copy_range(*a_.source, *a_.target, i * cluster_, bytes_of(i), {.compressed = a_.compress, .may_unmap = true});
            if (c.result) {
                todo_.words[i / 64] &= ~(uint64_t{1} << (i % 64));
                done_ += bytes_of(i);
            }
        }
        ranges_.unlock(i, i + 1);
        co_return c;
    }
    Task<void> copy_clusters(uint64_t i, uint64_t n) {
        for (uint64_t at = i; at < i + n; ++at) {
            if (fatal() || cancelled()) co_return;
            if (const auto c = co_await copy_cluster(at); !c.result) {
                tolerate(c.read, c.result.error());
                co_return;
            }
        }
    }
    Task<Result<void>> leave_out_what_is_behind() {
        std::vector<bool> here(todo_.count);
        for (uint64_t at = 0; at < a_.source->size();) {
            auto e = co_await status_above(*a_.source, a_.source->backing().get(), at, a_.source->size() - at);
            if (!e) co_return std::unexpected(e.error());
            if (e->allocated)
                for (uint64_t i = at / cluster_; i <= (at + e->length - 1) / cluster_; ++i) here[i] = true;
            at += e->length;
        }
        for (uint64_t i = 0; i < todo_.count; ++i)
            if (!here[i] && !ranges_.busy(i, i + 1)) todo_.words[i / 64] &= ~(uint64_t{1} << (i % 64));
        co_return Result<void>{};
    }

    Graph& graph_;
    BackupArgs a_;
    std::vector<std::shared_ptr<void>> uses_;
    RangeLock ranges_;                   // in clusters
    uint64_t cluster_;
    BitmapBits todo_;
    std::optional<BitmapBits> taken_;
    bool begun_ = false;
};

}  // namespace

Result<JobPtr> make_backup(Graph& graph, JobOptions o, BackupArgs a) {
    if (a.source == a.target) return fail(ErrorKind::kInvalidArgument, "Source and target cannot be the same");
    if (a.source->size() != a.target->size()) return fail(ErrorKind::kInvalidArgument, "Source and target image have different sizes");
    if (a.target->read_only()) return fail(ErrorKind::kPermission, "Block node is read-only", EACCES);
    std::vector<std::shared_ptr<void>> uses;
    for (const auto& [node, perm] : {std::pair{a.source, Perm{.perm = Perm::kRead | Perm::kJob, .shared = Perm::kRead | Perm::kWrite | Perm::kWriteUnchanged}},
                                     std::pair{a.target, Perm{.perm = Perm::kWrite | Perm::kJob, .shared = Perm::kRead | Perm::kWriteUnchanged}}}) {
        auto u = node->use("backup", perm);
        if (!u) return std::unexpected(u.error());
        uses.push_back(*u);
    }
    return std::make_shared<Backup>(graph, std::move(o), std::move(a), std::move(uses));
}

}  // namespace myna::block::jobs
