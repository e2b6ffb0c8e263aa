// stream, and commit of a layer that is not the active one.
//
//   stream:  what top lacks and the layers behind it, down to base, have ─▶ top
//   commit:  what top and the layers behind it, down to base, have ─▶ base; nobody writes to them
//
// stream writes what reads of top give already, unless somebody writes there: a stretch is held (RangeLock) by the copy or
// by writes, never by both.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/bits.h"
#include "block/graph/chain.h"
#include "block/jobs/change.h"
#include "block/jobs/jobs.h"
#include "block/jobs/range_lock.h"
#include "block/jobs/watching.h"

namespace myna::block::jobs {

Result<JobPtr> make_active_commit(Graph& graph, JobOptions o, NodePtr top, NodePtr base);

namespace {

using Uses = std::vector<std::shared_ptr<void>>;

Result<void> take(Uses& uses, Node& n, std::string_view who, Perm p) {
    auto u = n.use(std::string(who), p);
    if (!u) return std::unexpected(u.error());
    uses.push_back(*u);
    return {};
}
bool is_behind(const Node& top, const Node* base) {
    for (const Node* n = top.backing().get(); n != nullptr; n = n->backing().get())
        if (n == base) return true;
    return false;
}

class Stream final : public WatchingJob {
  public:
    Stream(Graph& graph, JobOptions o, StreamArgs a, Uses uses)
        : WatchingJob(graph.reactor(), "stream", std::move(o), a.top), graph_(graph), a_(std::move(a)), uses_(std::move(uses)), ranges_(graph.reactor()) {}

  protected:
    Task<Result<void>> run() override {
        {
            const auto still = co_await hold_users(graph_, *a_.top);
            begin_watching();
        }
        Node& top = *a_.top;
        if (top.backing() == a_.base) co_return Result<void>{};  // nothing lies between them
        total_ = top.size();
        const uint64_t step = std::max<uint64_t>(kChunk, top.cluster_size().value_or(0));
        for (uint64_t at = 0; at < total_;) {
            const uint64_t end = std::min(total_, align_down(at + step, step));
            bool copied = false;
            co_await ranges_.lock(at, end);
            const auto r = co_await copy(at, end, copied);
            ranges_.unlock(at, end);
            if (!r.result) {
                if (!tolerate(r.read, r.result.error())) co_return r.result;
                co_await reactor_.sleep(std::chrono::milliseconds(10));
            } else {
                done_ = at = end;
            }
            if (!co_await checkpoint(copied ? step : 0)) co_return Result<void>{};
        }
        co_return Result<void>{};
    }
    Task<Result<void>> finish() override {
        std::optional<std::string> name, format;
        if (a_.base) {
            name = a_.backing_file ? *a_.backing_file : a_.base->filename();
            format = std::string(a_.base->driver());
        }
        if (!a_.top->backing()) co_return Result<void>{};
        if (auto r = co_await a_.top->flush(); !r) co_return r;
        if (auto r = co_await a_.top->change_backing(std::move(name), std::move(format)); !r) co_return r;
        uses_.clear();
        co_return co_await set_backing(*a_.top, a_.base);
    }
    Task<void> clean(bool) override {
        co_await end_watching();
        uses_.clear();
    }
    // Whole clusters: a write of a part of one copies the rest of it from behind.
    Task<Result<void>> changing(uint64_t offset, uint64_t length) override {
        const uint64_t c = std::max<uint64_t>(a_.top->cluster_size().value_or(0), 512);
        co_await ranges_.lock(align_down(offset, c), align_up(offset + length, c));
        co_return Result<void>{};
    }
    Task<Result<void>> changed(uint64_t offset, uint64_t length, const IoVec*, bool) override {
        const uint64_t c = std::max<uint64_t>(a_.top->cluster_size().value_or(0), 512);
        ranges_.unlock(align_down(offset, c), align_up(offset + length, c));
        co_return Result<void>{};
    }

  private:
    Task<Copied> copy(uint64_t at, uint64_t end, bool& copied) {
        Node& top = *a_.top;
        while (at < end) {
            auto mine = co_await top.block_status(at, end - at);
            if (!mine) co_return Copied{std::unexpected(mine.error()), false};
            uint64_t n = mine->length;
            if (!mine->allocated) {
                Node& below = *top.backing();
                auto e = co_await status_above(below, a_.base.get(), at, n);
                if (!e) co_return Copied{std::unexpected(e.error()), true};
                n = e->length;
                if (e->allocated) {
                    copied = true;
                    if (e->zero) {
                        if (auto r = co_await top.write_zeroes(at, n, {.unchanged = true}); !r) co_return Copied{r, false};
                    } else {
                        const auto bytes = std::make_unique_for_overwrite<uint8_t[]>(n);
                        const IoVec v(bytes.get(), n);
                        if (auto r = co_await below.read(at, v); !r) co_return Copied{r, true};
                        if (auto r = co_await top.write(at, v, {.unchanged = true}); !r) co_return Copied{r, false};
                    }
                }
            }
            at += n;
        }
        co_return Copied{};
    }
    Graph& graph_;
    StreamArgs a_;
    Uses uses_;
    RangeLock ranges_;
};

class Commit final : public Job {
  public:
    Commit(Graph& graph, JobOptions o, CommitArgs a, Uses uses) : Job(graph.reactor(), "commit", std::move(o)), a_(std::move(a)), uses_(std::move(uses)) {}

  protected:
    Task<Result<void>> run() override {
        Node &top = *a_.top, &base = *a_.base;
        total_ = top.size();
        if (top.size() > base.size())
            if (auto r = co_await base.truncate(top.size()); !r) co_return r;
        for (uint64_t at = 0; at < total_;) {
            auto e = co_await status_above(top, &base, at, std::min(kChunk, total_ - at));
            uint64_t n = e ? e->length : 0;
            Copied c;
            if (!e) c = {std::unexpected(e.error()), true};
            else if (e->allocated) c = co_await copy_range(top, base, at, n, {.may_unmap = true});
            if (!c.result) {
                if (!tolerate(c.read, c.result.error())) co_return c.result;
                co_await reactor_.sleep(std::chrono::milliseconds(10));
                n = 0;
            }
            done_ = at += n;
            if (!co_await checkpoint(e && e->allocated ? n : 0)) co_return Result<void>{};
        }
        co_return Result<void>{};
    }
    Task<Result<void>> finish() override {
        if (auto r = co_await a_.base->flush(); !r) co_return r;
        if (auto r = co_await a_.overlay->change_backing(a_.backing_file ? *a_.backing_file : a_.base->filename(), std::string(a_.base->driver())); !r) co_return r;
        uses_.clear();
        co_return co_await set_backing(*a_.overlay, a_.base);
    }
    Task<void> clean(bool) override {
        uses_.clear();
        a_ = {};  // a layer that nobody else has is gone with the job's work
        co_return;
    }

  private:
    CommitArgs a_;
    Uses uses_;
};

}  // namespace

Result<JobPtr> make_stream(Graph& graph, JobOptions o, StreamArgs a) {
    if (a.base && !is_behind(*a.top, a.base.get())) return fail(ErrorKind::kInvalidArgument, "Node '" + a.base->node_name() + "' is not a backing image of '" + a.top->node_name() + "'");
    if (a.top->read_only()) return fail(ErrorKind::kPermission, "Block node is read-only", EACCES);
    Uses uses;
    if (auto r = take(uses, *a.top, "stream", {.perm = Perm::kRead | Perm::kWriteUnchanged | Perm::kJob, .shared = Perm::kRead | Perm::kWrite | Perm::kWriteUnchanged}); !r) return std::unexpected(r.error());
    for (Node* n = a.top->backing().get(); n != nullptr && n != a.base.get(); n = n->backing().get())
        if (auto r = take(uses, *n, "stream", {.perm = Perm::kRead | Perm::kJob, .shared = Perm::kRead | Perm::kWriteUnchanged}); !r) return std::unexpected(r.error());
    return std::make_shared<Stream>(graph, std::move(o), std::move(a), std::move(uses));
}

Result<JobPtr> make_commit(Graph& graph, JobOptions o, CommitArgs a) {
    if (a.top == a.base) return fail(ErrorKind::kInvalidArgument, "cannot commit an image into itself");
    if (!is_behind(*a.top, a.base.get())) return fail(ErrorKind::kInvalidArgument, "'" + a.base->node_name() + "' is not in the backing chain of '" + a.top->node_name() + "'");
    if (a.base->read_only()) return fail(ErrorKind::kPermission, "Block node is read-only", EACCES);
    if (!a.overlay) return make_active_commit(graph, std::move(o), std::move(a.top), std::move(a.base));
    Uses uses;
    if (auto r = take(uses, *a.base, "commit", {.perm = Perm::kRead | Perm::kWrite | Perm::kResize | Perm::kJob, .shared = Perm::kRead | Perm::kWriteUnchanged}); !r) return std::unexpected(r.error());
    for (Node* n = a.top.get(); n != a.base.get(); n = n->backing().get())
        if (auto r = take(uses, *n, "commit", {.perm = Perm::kRead | Perm::kJob, .shared = Perm::kRead | Perm::kWriteUnchanged}); !r) return std::unexpected(r.error());
    return std::make_shared<Commit>(graph, std::move(o), std::move(a), std::move(uses));
}

}  // namespace myna::block::jobs
