#include "block/jobs/job.h"

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "block/graph/chain.h"

namespace myna::block::jobs {

namespace {

constexpr std::string_view kStatusNames[] = {"undefined", "created", "running", "paused", "ready", "standby", "waiting", "pending", "aborting", "concluded", "null"};

constexpr Status kCancellable[] = {Status::kCreated, Status::kRunning, Status::kPaused, Status::kReady, Status::kStandby, Status::kWaiting, Status::kPending};
constexpr std::span kUntilDone = std::span(kCancellable).first(5);
constexpr Status kOnlyReady[] = {Status::kReady}, kOnlyPending[] = {Status::kPending}, kOnlyConcluded[] = {Status::kConcluded};

/// Suspends and leaves its handle in a list.
struct Park {
    std::vector<std::coroutine_handle<>>& list;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> h) { list.push_back(h); }
    void await_resume() const noexcept {}
};

}  // namespace

std::string_view status_name(Status s) noexcept { return kStatusNames[static_cast<size_t>(s)]; }

std::optional<OnError> parse_on_error(std::string_view name) noexcept {
    if (name == "report") return OnError::kReport;
    if (name == "ignore") return OnError::kIgnore;
    if (name == "stop") return OnError::kStop;
    if (name == "enospc") return OnError::kEnospc;
    return std::nullopt;
}

void Job::set_status(Status s) {
    if (status_ == s) return;
    status_ = s;
    if (listener_ != nullptr) listener_->status_changed(*this);
}

void Job::wake() {
    for (const auto h : sleepers_) reactor_.post(h);
    sleepers_.clear();
}

Task<void> Job::sleep_until_woken() { co_await Park{sleepers_}; }

// ---- verbs

Result<void> Job::verb(std::string_view name, std::span<const Status> allowed) const {
    if (std::find(allowed.begin(), allowed.end(), status_) != allowed.end()) return {};
    return fail(ErrorKind::kInvalidArgument, "Job '" + options_.id + "' in state '" + std::string(status_name(status_)) + "' cannot accept command verb '" + std::string(name) + "'");
}

Result<void> Job::pause() {
    if (auto r = verb("pause", kUntilDone); !r) return r;
    if (paused_) return fail(ErrorKind::kInvalidArgument, "Job is already paused");
    paused_ = true;
    wake();
    return {};
}

Result<void> Job::resume() {
    if (auto r = verb("resume", kUntilDone); !r) return r;
    if (!paused_) return fail(ErrorKind::kInvalidArgument, "Can't resume a job that was not paused");
    paused_ = stopped_by_error_ = false;
    wake();
    return {};
}

Result<void> Job::set_speed(uint64_t speed) {
    if (auto r = verb("set-speed", kUntilDone); !r) return r;
    options_.speed = speed;
    due_ = {};
    wake();
    return {};
}

Result<void> Job::cancel(bool force) {
    if (auto r = verb("cancel", kCancellable); !r) return r;
    if (!force && ready_ && can_complete()) soft_cancelled_ = true;
    else cancelled_ = true;
    paused_ = false;
    wake();
    return {};
}

Result<void> Job::complete() {
    if (auto r = verb("complete", kOnlyReady); !r) return r;
    if (!can_complete() || cancelled_ || soft_cancelled_) return fail(ErrorKind::kInvalidArgument, "The active block job '" + options_.id + "' cannot be completed");
    completing_ = true;
    wake();
    return {};
}

Result<void> Job::finalize() {
    if (auto r = verb("finalize", kOnlyPending); !r) return r;
    finalizing_ = true;
    wake();
    for (const auto& j : group()) {
        j->finalizing_ = true;
        j->wake();
    }
    return {};
}

Result<void> Job::dismiss() {
    if (auto r = verb("dismiss", kOnlyConcluded); !r) return r;
    dismissed_ = true;
    wake();
    return {};
}

Task<Result<void>> Job::wait() {
    while (status_ != Status::kConcluded && status_ != Status::kNull) co_await sleep_until_woken();
    if (error_) co_return std::unexpected(*error_);
    co_return Result<void>{};
}

// ---- groups

void Job::join(const std::shared_ptr<Job>& job, std::shared_ptr<JobGroup> group) {
    group->members.push_back(job);
    job->group_ = std::move(group);
}

std::vector<std::shared_ptr<Job>> Job::group() const {
    std::vector<std::shared_ptr<Job>> out;
    if (group_)
        for (const auto& m : group_->members)
            if (auto j = m.lock()) out.push_back(std::move(j));
    return out;
}

Task<void> Job::wait_for_group() {
    for (const auto& j : group()) j->wake();
    const auto all_can_end = [this] {
        return std::ranges::all_of(group(), [](const auto& j) { return j->status_ >= Status::kWaiting; });
    };
    while (!cancelled_ && !all_can_end()) co_await sleep_until_woken();
}

void Job::fail_group() {
    for (const auto& j : group()) {
        if (j.get() == this || j->status_ >= Status::kAborting) continue;
        j->cancelled_ = true;
        j->paused_ = false;
        j->wake();
    }
}

// ---- while it runs

Task<bool> Job::checkpoint(uint64_t bytes) {
    using namespace std::chrono;
    if (options_.speed != 0) due_ = std::max(due_, Clock::now()) + nanoseconds(static_cast<int64_t>(static_cast<double>(bytes) * 1e9 / static_cast<double>(options_.speed)));
    for (;;) {
        if (cancelled_ || fatal_) co_return false;
        if (paused_) {
            co_await idle();
            if (!paused_) continue;
            set_status(ready_ ? Status::kStandby : Status::kPaused);
            while (paused_ && !cancelled_ && !fatal_) co_await sleep_until_woken();
            set_status(ready_ ? Status::kReady : Status::kRunning);
            continue;
        }
        // A tenth of a second's worth goes at once; then it naps shortly, so that verbs are heard.
        const auto early = due_ - milliseconds(100) - Clock::now();
        if (options_.speed == 0 || early <= nanoseconds(0)) co_return true;
        co_await reactor_.sleep(std::min<nanoseconds>(early, milliseconds(50)));
    }
}

Task<void> Job::run_copy(Job& job, Task<void> copy) {
    co_await std::move(copy);
    --job.copies_;
    job.slots_.release();
    job.wake();
}

Task<void> Job::beside(Task<void> copy) {
    co_await slots_.acquire();
    ++copies_;
    reactor_.spawn(run_copy(*this, std::move(copy)));
}

Task<void> Job::idle() {
    while (copies_ > 0) co_await sleep_until_woken();
}

void Job::fail_with(const Error& e) {
    if (!fatal_) fatal_ = e;
    wake();
}

bool Job::tolerate(bool read, const Error& e) {
    OnError policy = read ? options_.on_source : options_.on_target;
    if (policy == OnError::kEnospc) policy = errno_of(e) == ENOSPC ? OnError::kStop : OnError::kReport;
    constexpr std::string_view kActions[] = {"report", "ignore", "stop"};
    if (listener_ != nullptr) listener_->failed(*this, read, kActions[static_cast<size_t>(policy)]);
    if (policy == OnError::kReport) {
        fail_with(e);
        return false;
    }
    if (policy == OnError::kStop && !cancelled_) {
        paused_ = stopped_by_error_ = true;
        wake();
    }
    return true;
}

void Job::set_ready() {
    if (ready_) return;
    ready_ = true;
    set_status(Status::kReady);
    if (listener_ != nullptr) listener_->ready(*this);
}

void Job::start(const std::shared_ptr<Job>& job, Listener* listener) {
    job->listener_ = listener;
    job->set_status(Status::kCreated);
    job->reactor_.spawn(main(job));
}

Task<void> Job::abandon(Listener* listener) {
    listener_ = listener;
    set_status(Status::kCreated);
    set_status(Status::kAborting);
    co_await clean(false);
    if (at_end_) co_await at_end_(false);
    set_status(Status::kConcluded);
    set_status(Status::kNull);
}

Task<void> Job::main(std::shared_ptr<Job> job) {
    Job& j = *job;
    j.set_status(Status::kRunning);
    auto r = co_await j.run();
    co_await j.idle();
    if (r && j.fatal_) r = std::unexpected(*j.fatal_);
    const auto stopped = [&] { return fail(ErrorKind::kInterrupted, "Operation canceled", ECANCELED); };
    if (r && j.cancelled_) r = stopped();
    if (r) {
        j.set_status(Status::kWaiting);
        co_await j.wait_for_group();
        if (!j.cancelled_) j.set_status(Status::kPending);
        if (!j.options_.auto_finalize && !j.cancelled_ && j.listener_ != nullptr) j.listener_->pending(j);
        const auto others = j.group();
        const bool waits = !j.options_.auto_finalize || std::ranges::any_of(others, [](const auto& o) { return !o->options_.auto_finalize; });
        while (waits && !j.finalizing_ && !j.cancelled_) co_await j.sleep_until_woken();
        if (j.cancelled_) r = stopped();
        else r = co_await j.finish();
    }
    if (!r) {
        j.set_status(Status::kAborting);
        j.fail_group();
    }
    co_await j.clean(r.has_value());
    if (j.at_end_) co_await j.at_end_(r.has_value());
    if (!r) j.error_ = r.error();
    if (j.listener_ != nullptr) j.listener_->ended(j);
    j.set_status(Status::kConcluded);
    j.wake();
    while (!j.options_.auto_dismiss && !j.dismissed_) co_await j.sleep_until_woken();
    j.set_status(Status::kNull);
    j.wake();
}

Task<Copied> copy_range(Node& from, Node& to, uint64_t offset, uint64_t length, WriteFlags flags) {
    std::unique_ptr<uint8_t[]> bytes;
    for (const uint64_t end = offset + length; offset < end;) {
        auto e = co_await status_above(from, nullptr, offset, end - offset);
        if (!e) co_return Copied{std::unexpected(e.error()), true};
        const uint64_t n = e->length;
        if (e->zero || !e->allocated) {
            WriteFlags zero = flags;
            zero.compressed = false;
            if (auto r = co_await to.write_zeroes(offset, n, zero); !r) co_return Copied{r, false};
        } else {
            if (!bytes) bytes = std::make_unique_for_overwrite<uint8_t[]>(end - offset);
            const IoVec v(bytes.get(), n);
            if (auto r = co_await from.read(offset, v); !r) co_return Copied{r, true};
            if (auto r = co_await to.write(offset, v, flags); !r) co_return Copied{r, false};
        }
        offset += n;
    }
    co_return Copied{};
}

}  // namespace myna::block::jobs
