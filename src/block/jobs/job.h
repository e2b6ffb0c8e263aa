// Job: long work on a disk in use: stream, commit, mirror, backup. One coroutine, with copies under way beside it.
//
//   start ─▶ created ─▶ running ⇄ paused ─▶ [ready ⇄ standby] ─▶ waiting ─▶ pending ─▶ concluded ─▶ null
//                          │ error, cancel                                   │            ▲
//                          └──────────────────────▶ aborting ────────────────┴────────────┘
//
// A job copies by Node requests, and hears of changes meanwhile as a Watcher. It waits at checkpoints only: there it is
// paused, slowed down to its speed and cancelled, with no copy under way while it says "paused". The states, verbs and
// errors are those of the documented QMP jobs. All on the Reactor's thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "block/graph/graph.h"
#include "block/graph/node.h"
#include "io/sync.h"

namespace myna::block::jobs {

enum class Status : uint8_t { kUndefined, kCreated, kRunning, kPaused, kReady, kStandby, kWaiting, kPending, kAborting, kConcluded, kNull };
/// "running".
std::string_view status_name(Status s) noexcept;

/// What happens when a read or write of the job fails: the job ends, the stretch is tried again later, the job pauses
/// until resume(), or it pauses if the host's disk is full and ends otherwise.
enum class OnError : uint8_t { kReport, kIgnore, kStop, kEnospc };
std::optional<OnError> parse_on_error(std::string_view name) noexcept;

struct JobOptions {
    std::string id;
    uint64_t speed = 0;                // bytes per second; 0: no limit
    bool auto_finalize = true;         // false: waits in "pending" for finalize()
    bool auto_dismiss = true;          // false: stays in "concluded" for dismiss()
    OnError on_source = OnError::kReport, on_target = OnError::kReport;
};

class Job;

/// Told of what happens to a job; called between its steps.
class Listener {
  public:
    virtual ~Listener() = default;
    virtual void status_changed(const Job&) {}
    virtual void ready(const Job&) {}
    virtual void pending(const Job&) {}
    /// A read (else a write) failed; action: "report", "ignore", "stop".
    virtual void failed(const Job&, bool /*read*/, std::string_view /*action*/) {}
    /// It completed, failed (error()) or was cancelled.
    virtual void ended(const Job&) {}
};

/// Jobs that end together: none ends well before all can, and where one fails or is cancelled, all are. One finalize() is
/// for all of them.
struct JobGroup {
    std::vector<std::weak_ptr<Job>> members;
};

class Job {
  public:
    Job(io::Reactor& reactor, std::string_view type, JobOptions options) : reactor_(reactor), type_(type), options_(std::move(options)), slots_(reactor, kCopies) {}
    virtual ~Job() = default;
    Job(const Job&) = delete;
    Job& operator=(const Job&) = delete;

    /// Before start(): from this moment on it hears of changes. The caller holds still who uses what the job works on. Without
    /// it the job finds a moment of its own.
    virtual Task<Result<void>> begin() { co_return Result<void>{}; }
    /// Instead of start(): gives up what begin() and the job's making took.
    Task<void> abandon(Listener* listener);
    /// Before start(). All members join before any starts.
    static void join(const std::shared_ptr<Job>& job, std::shared_ptr<JobGroup> group);
    /// Before start(): what is left to do when the job has given back all that it used; told whether it went well.
    void at_end(std::function<Task<void>(bool good)> then) { at_end_ = std::move(then); }
    /// Begins. The job keeps itself until it is null; `listener` must live as long.
    static void start(const std::shared_ptr<Job>& job, Listener* listener);

    [[nodiscard]] const std::string& id() const noexcept { return options_.id; }
    /// "mirror".
    [[nodiscard]] std::string_view type() const noexcept { return type_; }
    [[nodiscard]] Status status() const noexcept { return status_; }
    [[nodiscard]] const JobOptions& options() const noexcept { return options_; }
    [[nodiscard]] uint64_t done() const noexcept { return done_; }
    [[nodiscard]] uint64_t total() const noexcept { return total_; }
    [[nodiscard]] bool paused() const noexcept { return paused_; }
    /// Paused by an error of the kind that `OnError::kStop` names.
    [[nodiscard]] bool stopped_by_error() const noexcept { return stopped_by_error_; }
    [[nodiscard]] bool is_ready() const noexcept { return ready_; }
    [[nodiscard]] bool busy() const noexcept { return copies_ > 0; }
    [[nodiscard]] bool cancelled() const noexcept { return cancelled_; }
    [[nodiscard]] const std::optional<Error>& error() const noexcept { return error_; }

    // Verbs. Errors say in which state the job is.
    Result<void> pause();
    Result<void> resume();
    Result<void> set_speed(uint64_t speed);
    /// Not forced, a mirror that is ready ends well, its target being whole; else the job ends and what it did is undone
    /// or left for another try.
    Result<void> cancel(bool force);
    Result<void> complete();
    Result<void> finalize();
    Result<void> dismiss();
    /// Until it has concluded.
    Task<Result<void>> wait();

  protected:
    static constexpr unsigned kCopies = 8;
    static constexpr uint64_t kChunk = 1 << 20;

    /// The work. What it returns is the job's result, unless it was cancelled.
    virtual Task<Result<void>> run() = 0;
    /// After run() went well and the job may end: the change of the graph. An error aborts.
    virtual Task<Result<void>> finish() { co_return Result<void>{}; }
    /// Always, at the end: stops watching, gives back what is held.
    virtual Task<void> clean(bool good) = 0;
    [[nodiscard]] virtual bool can_complete() const noexcept { return false; }

    /// Waits while paused and for the speed limit (for `bytes` more); false: the job is to end, cancelled or failed.
    Task<bool> checkpoint(uint64_t bytes);
    /// Runs `copy` beside the others, when one of the places is free.
    Task<void> beside(Task<void> copy);
    /// Until no copy is under way.
    Task<void> idle();
    /// What to do about an error; true: try again later, false: the job ends (fail_with() was called).
    bool tolerate(bool read, const Error& e);
    void fail_with(const Error& e);
    [[nodiscard]] const std::optional<Error>& fatal() const noexcept { return fatal_; }
    void set_ready();
    /// Waits until somebody calls wake(): the state changed.
    Task<void> sleep_until_woken();
    void wake();
    [[nodiscard]] bool completing() const noexcept { return completing_; }
    [[nodiscard]] bool soft_cancelled() const noexcept { return soft_cancelled_; }

    io::Reactor& reactor_;
    uint64_t done_ = 0, total_ = 0;

  private:
    using Clock = std::chrono::steady_clock;
    static Task<void> main(std::shared_ptr<Job> job);
    static Task<void> run_copy(Job& job, Task<void> copy);
    void set_status(Status s);
    /// The members of its group; itself where it has none.
    [[nodiscard]] std::vector<std::shared_ptr<Job>> group() const;
    Task<void> wait_for_group();
    void fail_group();
    Result<void> verb(std::string_view name, std::span<const Status> allowed) const;

    std::string type_;
    JobOptions options_;
    Listener* listener_ = nullptr;
    std::function<Task<void>(bool)> at_end_;
    Status status_ = Status::kUndefined;
    bool paused_ = false, stopped_by_error_ = false, ready_ = false;
    bool cancelled_ = false, soft_cancelled_ = false, completing_ = false, finalizing_ = false, dismissed_ = false;
    std::optional<Error> fatal_, error_;
    Clock::time_point due_{};
    io::Semaphore slots_;
    unsigned copies_ = 0;
    std::vector<std::coroutine_handle<>> sleepers_;
    std::shared_ptr<JobGroup> group_;
};
using JobPtr = std::shared_ptr<Job>;

/// How a copy went; `read`: it was reading that failed.
struct Copied {
    Result<void> result;
    bool read = false;
};
/// Copies [offset, offset + length) as `from` with all that is behind it reads; zeroes as zeroes.
Task<Copied> copy_range(Node& from, Node& to, uint64_t offset, uint64_t length, WriteFlags flags);

}  // namespace myna::block::jobs
