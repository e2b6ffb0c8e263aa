// WatchingJob: a job that hears of every change of one node while it runs.
#pragma once

#include "block/jobs/job.h"

namespace myna::block::jobs {

class WatchingJob : public Job, protected Watcher {
  protected:
    WatchingJob(io::Reactor& r, std::string_view type, JobOptions o, NodePtr watched) : Job(r, type, std::move(o)), watched_(std::move(watched)) {}

    void begin_watching() { watched_->watch(*this); }
    /// Returns when the last request that was told of its beginning has been told of its end.
    Task<void> end_watching() {
        watched_->unwatch(*this);
        while (requests_ > 0) co_await sleep_until_woken();
    }
    /// What a job does about a change; before() and after() count for it.
    virtual Task<Result<void>> changing(uint64_t, uint64_t) { co_return Result<void>{}; }
    virtual Task<Result<void>> changed(uint64_t offset, uint64_t length, const IoVec* data, bool ok) = 0;

    Task<Result<void>> before(uint64_t offset, uint64_t length) final {
        ++requests_;
        auto r = co_await changing(offset, length);
        if (!r) left();
        co_return r;
    }
    Task<Result<void>> after(uint64_t offset, uint64_t length, const IoVec* data, bool ok) final {
        auto r = co_await changed(offset, length, data, ok);
        left();
        co_return r;
    }
    NodePtr watched_;

  private:
    void left() {
        if (--requests_ == 0) wake();
    }
    unsigned requests_ = 0;
};

}  // namespace myna::block::jobs
