// Jobs on disks that are written to meanwhile, over layers in memory whose requests end in any order: each job to its end,
// cancelled after every number of the client's requests, and with requests that fail. A shadow says what the client wrote.
//
//   client ─▶ Backend ─▶ top ─▶ middle ─▶ base (Layer: blocks in memory, some of them here, the others behind)
//
// MYNA_TEST_SEED repeats a run; MYNA_TEST_ROUNDS makes it longer.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "block/graph/backend.h"
#include "block/jobs/jobs.h"

namespace myna::block {
namespace {

using namespace jobs;

constexpr uint64_t kBlock = 4096, kSize = 2 << 20;

/// Back to the event loop, once.
struct Yield {
    io::Reactor& r;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> h) const { r.post(h); }
    void await_resume() const noexcept {}
};

class Layer final : public Node {
  public:
    Layer(io::Reactor& r, std::mt19937_64& rng, const char* name, NodePtr behind = nullptr) : Node(r), rng_(rng), bytes_(kSize), here_(kSize / kBlock, behind == nullptr) {
        size_ = kSize;
        filename_ = name;
        set_node_name(name);
        backing_ = std::move(behind);
    }
    [[nodiscard]] std::string_view driver() const noexcept override { return "layer"; }
    [[nodiscard]] std::optional<uint32_t> cluster_size() const override { return kBlock; }
    Task<Result<void>> change_backing(std::optional<std::string>, std::optional<std::string>) override { co_return Result<void>{}; }
    int fail_reads = 0, fail_writes = 0;  // so many of the next requests, after `fail_after` others
    int fail_after = 0;

  protected:
    Task<Result<void>> do_read(uint64_t offset, const IoVec& into) override {
        co_await wander();
        if (spoil(fail_reads)) co_return fail_errno(EIO, "read");
        for (uint64_t done = 0; done < into.size();) {
            const uint64_t at = offset + done, n = std::min(kBlock - at % kBlock, into.size() - done);
            const IoVec part = into.slice(done, n);
            if (here_[at / kBlock]) part.copy_from(bytes_.data() + at);
            else if (auto r = co_await backing_->read(at, part); !r) co_return r;
            done += n;
        }
        co_return Result<void>{};
    }
    Task<Result<void>> do_write(uint64_t offset, const IoVec& from, WriteFlags) override {
        co_await wander();
        if (spoil(fail_writes)) co_return fail_errno(EIO, "write");
        for (uint64_t done = 0; done < from.size();) {
            const uint64_t at = offset + done, n = std::min(kBlock - at % kBlock, from.size() - done);
            const auto alone = co_await mapping_.lock();
            if (!here_[at / kBlock] && n < kBlock) {
                const IoVec whole(bytes_.data() + at / kBlock * kBlock, kBlock);
                if (auto r = co_await backing_->read(at / kBlock * kBlock, whole); !r) co_return r;
            }
            from.slice(done, n).copy_to(bytes_.data() + at);
            here_[at / kBlock] = true;
            done += n;
            if (rng_() % 4 == 0) co_await Yield{reactor_};
        }
        co_return Result<void>{};
    }
    Task<Result<Extent>> do_block_status(uint64_t offset, uint64_t length) override {
        co_await wander();
        const bool here = here_[offset / kBlock];
        uint64_t end = offset;
        while (end < offset + length && here_[end / kBlock] == here) end = (end / kBlock + 1) * kBlock;
        co_return Extent{.length = std::min(end - offset, length), .data = here, .allocated = here};
    }

  private:
    Task<void> wander() {
        for (uint64_t n = rng_() % 6; n > 0; --n) co_await Yield{reactor_};
    }
    bool spoil(int& left) {
        if (left == 0) return false;
        if (fail_after > 0) return --fail_after, false;
        --left;
        return true;
    }
    std::mt19937_64& rng_;
    std::vector<uint8_t> bytes_;
    std::vector<bool> here_;
    io::Mutex mapping_{reactor_};
};

struct World {
    explicit World(uint64_t seed) : rng(seed), reactor(std::move(*io::Reactor::create(io::Aio::kThreads, 1))), graph(*reactor) {
        base = std::make_shared<Layer>(*reactor, rng, "base");
        middle = std::make_shared<Layer>(*reactor, rng, "middle", base);
        top = std::make_shared<Layer>(*reactor, rng, "top", middle);
        target = std::make_shared<Layer>(*reactor, rng, "target");
        for (const NodePtr& n : {NodePtr(base), NodePtr(middle), NodePtr(top), NodePtr(target)}) graph.enlist(n);
        base->add_user();
        middle->add_user();
        shadow.resize(kSize);
        for (const NodePtr& n : {NodePtr(base), NodePtr(middle), NodePtr(top)})
            for (int i = 0; i < 12; ++i) reactor->run(write_one(n));
        disk = Backend::create(graph, top);
    }
    Task<void> write_one(NodePtr to) {
        const uint64_t n = 1 + rng() % (1u << (9 + rng() % 8)), at = rng() % (kSize - n);
        std::vector<uint8_t> data(n, static_cast<uint8_t>(rng()));
        const IoVec v{std::span(data)};
        std::copy(data.begin(), data.end(), shadow.begin() + static_cast<ptrdiff_t>(at));
        const auto r = co_await to->write(at, v);
        EXPECT_TRUE(r) << r.error().message;
    }
    Task<std::vector<uint8_t>> all_of(NodePtr n) {
        std::vector<uint8_t> out(kSize);
        const IoVec v{std::span(out)};
        EXPECT_TRUE(co_await n->read(0, v));
        co_return out;
    }
    JobPtr make(const std::string& kind, OnError policy = OnError::kReport) {
        JobOptions o{.id = "job", .on_source = policy, .on_target = policy};
        Result<JobPtr> j;
        if (kind == "mirror") j = make_mirror(graph, o, {.source = top, .target = target, .granularity = kBlock});
        if (kind == "mirror-blocking") j = make_mirror(graph, o, {.source = top, .target = target, .write_blocking = true});
        if (kind == "backup") j = make_backup(graph, o, {.source = top, .target = target});
        if (kind == "stream") j = make_stream(graph, o, {.top = top});
        if (kind == "stream-base") j = make_stream(graph, o, {.top = top, .base = base});
        if (kind == "commit") j = make_commit(graph, o, {.top = top, .base = base});
        if (kind == "commit-middle") j = make_commit(graph, o, {.top = middle, .base = base, .overlay = top});
        EXPECT_TRUE(j) << j.error().message;
        return *j;
    }
    std::mt19937_64 rng;
    std::unique_ptr<io::Reactor> reactor;
    Graph graph;
    std::shared_ptr<Layer> base, middle, top, target;
    std::shared_ptr<Backend> disk;
    std::vector<uint8_t> shadow;
};

constexpr const char* kKinds[] = {"mirror", "mirror-blocking", "backup", "stream", "stream-base", "commit", "commit-middle"};

/// Runs the job with a client that writes all the time. `cancel_at` of its requests: the job is cancelled after them.
Result<void> run(World& w, const JobPtr& job, int cancel_at, Listener* listener = nullptr) {
    return w.reactor->run([](World& wd, JobPtr j, int at, Listener* l) -> Task<Result<void>> {
        Job::start(j, l);
        for (int i = 0; j->status() < Status::kWaiting; ++i) {
            if (i == at) (void)j->cancel(true);
            if (i % 5 == 1) (void)j->pause();
            if (i % 5 == 3) (void)j->resume();
            if (j->paused() && j->stopped_by_error()) (void)j->resume();
            if (j->is_ready() && wd.rng() % 4 == 0) (void)j->complete();
            co_await wd.write_one(wd.disk);
            for (uint64_t rest = wd.rng() % 60; rest > 0; --rest) co_await Yield{*wd.reactor};  // a client that never rests is never caught up with
        }
        if (j->paused()) (void)j->resume();
        auto r = co_await j->wait();
        for (int i = 0; i < 5; ++i) co_await wd.write_one(wd.disk);
        co_return r;
    }(w, job, cancel_at, listener));
}

uint64_t seed_of() {
    const char* s = std::getenv("MYNA_TEST_SEED");
    return s != nullptr ? std::strtoull(s, nullptr, 0) : std::random_device()();
}
int rounds_of() {
    const char* s = std::getenv("MYNA_TEST_ROUNDS");
    return s != nullptr ? std::atoi(s) : 1;
}

TEST(Job, ClientAndTargetAgreeAtTheEnd) {
    const uint64_t seed = seed_of();
    SCOPED_TRACE("MYNA_TEST_SEED=" + std::to_string(seed));
    for (int round = 0; round < 6 * rounds_of(); ++round)
        for (const std::string kind : kKinds) {
            World w(seed + static_cast<uint64_t>(round));
            const auto before = w.shadow;
            if (std::getenv("MYNA_TEST_VERBOSE") != nullptr) std::fprintf(stderr, "%s\n", kind.c_str());
            const auto r = run(w, w.make(kind), -1);
            ASSERT_TRUE(r) << kind << ": " << r.error().message;
            ASSERT_EQ(w.reactor->run(w.all_of(w.disk)), w.shadow) << kind;
            if (kind == "backup") ASSERT_EQ(w.reactor->run(w.all_of(w.target)), before) << kind;
            if (kind.starts_with("mirror")) ASSERT_EQ(w.disk->file(), w.target) << kind;
            if (kind == "commit") ASSERT_EQ(w.disk->file(), w.base) << kind;
            if (kind == "commit-middle" || kind == "stream-base") ASSERT_EQ(w.top->backing(), w.base) << kind;
            if (kind == "stream") ASSERT_EQ(w.top->backing(), nullptr) << kind;
        }
}

TEST(Job, CancelledAnywhereTheDiskIsWhatTheClientWrote) {
    const uint64_t seed = seed_of();
    SCOPED_TRACE("MYNA_TEST_SEED=" + std::to_string(seed));
    for (const std::string kind : kKinds)
        for (int at = 0; at < 40 * rounds_of(); ++at) {
            World w(seed + static_cast<uint64_t>(at));
            const NodePtr was = w.disk->file();
            const auto r = run(w, w.make(kind), at);
            ASSERT_EQ(w.reactor->run(w.all_of(w.disk)), w.shadow) << kind << " cancelled after " << at;
            if (!r) ASSERT_EQ(w.disk->file(), was) << kind << " cancelled after " << at;
            // Nothing of it is left: another job may begin.
            if (!r) ASSERT_TRUE(run(w, w.make(kind), -1)) << kind << " again after " << at;
        }
}

TEST(Job, ErrorsAreReportedIgnoredOrStopIt) {
    struct Count : Listener {
        int failures = 0;
        void failed(const Job&, bool, std::string_view) override { ++failures; }
    };
    const uint64_t seed = seed_of();
    SCOPED_TRACE("MYNA_TEST_SEED=" + std::to_string(seed));
    for (const std::string kind : {"mirror", "backup"})
        for (const OnError policy : {OnError::kReport, OnError::kIgnore, OnError::kStop})
            for (int after = 0; after < 4; ++after) {
                World w(seed + static_cast<uint64_t>(after));
                Count count;
                w.target->fail_writes = 1;
                w.target->fail_after = after;
                const auto job = w.make(kind, policy);
                // The client's own writes meet the failure in a backup: a change that cannot be copied first fails.
                const auto r = w.reactor->run([](World& wd, JobPtr j, Listener* l) -> Task<Result<void>> {
                    Job::start(j, l);
                    while (j->status() < Status::kWaiting) {
                        if (j->stopped_by_error()) (void)j->resume();
                        if (j->is_ready()) (void)j->complete();
                        co_await wd.reactor->sleep(std::chrono::microseconds(100));
                    }
                    co_return co_await j->wait();
                }(w, job, &count));
                ASSERT_EQ(count.failures, 1) << kind;
                ASSERT_EQ(r.has_value(), policy != OnError::kReport) << kind;
                if (r) ASSERT_EQ(w.reactor->run(w.all_of(w.target)), w.shadow) << kind;
            }
}

TEST(Job, TwoJobsOnOneNodeAreRefused) {
    World w(1);
    const auto first = w.make("mirror");
    const auto second = make_backup(w.graph, {.id = "b"}, {.source = w.top, .target = w.base});
    ASSERT_FALSE(second);
    ASSERT_EQ(second.error().message, "Node 'top' is busy: block device is in use by block job: mirror");
}

}  // namespace
}  // namespace myna::block
