// Reactor: one thread's event loop. Coroutines await host I/O and CPU work here.
//
//   co_await reactor.preadv(…) ─▶ io_uring where it works, else a thread pool   ─▶ completion resumes the coroutine
//   co_await reactor.offload(f) ─▶ thread pool: compression, checksums          ─┘
//
// All awaitables give what the system call gives: a count, or -errno.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "base/result.h"
#include "io/task.h"

namespace myna::io {

/// One operation under way. Lives in the awaiting coroutine's frame.
struct Operation {
    enum class Kind : uint8_t { kReadv, kWritev, kFsync, kFdatasync, kFallocate, kPoll, kTimeout, kRecv, kSend, kAccept, kConnect, kWork };
    Kind kind{};
    int fd = -1;
    uint32_t flags = 0;       // fallocate mode, poll events, send flags
    uint32_t count = 0;       // parts, or address length
    uint64_t offset = 0;
    uint64_t length = 0;      // fallocate, timeout ns
    const void* data = nullptr;
    std::function<void()> work;
    ssize_t result = 0;
    std::coroutine_handle<> waiter;
    int64_t time[2] = {0, 0};  // for the host's timespec
};

enum class Aio : uint8_t { kAuto, kUring, kThreads };

class Reactor {
  public:
    /// `kUring` fails where the host has none; `kAuto` falls back to threads.
    static Result<std::unique_ptr<Reactor>> create(Aio aio = Aio::kAuto, unsigned threads = 0);
    virtual ~Reactor() = default;

    class [[nodiscard]] Await {
      public:
        Await(Reactor& r, Operation op) : reactor_(r), op_(std::move(op)) {}
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> h) {
            op_.waiter = h;
            reactor_.submit(op_);
        }
        ssize_t await_resume() const noexcept { return op_.result; }

      private:
        Reactor& reactor_;
        Operation op_;
    };

    Await preadv(int fd, std::span<const iovec> v, uint64_t offset) { return io(Operation::Kind::kReadv, fd, v, offset); }
    Await pwritev(int fd, std::span<const iovec> v, uint64_t offset) { return io(Operation::Kind::kWritev, fd, v, offset); }
    Await fdatasync(int fd) { return Await(*this, {.kind = Operation::Kind::kFdatasync, .fd = fd}); }
    Await fallocate(int fd, int mode, uint64_t offset, uint64_t length) {
        return Await(*this, {.kind = Operation::Kind::kFallocate, .fd = fd, .flags = static_cast<uint32_t>(mode), .offset = offset, .length = length});
    }
    /// Waits until `fd` has one of the poll(2) events; gives the events.
    Await poll(int fd, uint32_t events) { return Await(*this, {.kind = Operation::Kind::kPoll, .fd = fd, .flags = events}); }
    Await sleep(std::chrono::nanoseconds t) {
        return Await(*this, {.kind = Operation::Kind::kTimeout, .length = static_cast<uint64_t>(t.count())});
    }
    /// Runs `work` on another thread; gives 0.
    Await offload(std::function<void()> work) { return Await(*this, {.kind = Operation::Kind::kWork, .work = std::move(work)}); }

    /// Runs the loop until `task` ends; gives its value.
    template <typename T>
    T run(Task<T> task);
    /// Starts `task`; it runs whenever the loop does. The Reactor keeps it until it ends.
    void spawn(Task<void> task);
    /// Tasks spawned and not ended.
    [[nodiscard]] size_t active() const noexcept { return active_; }
    /// How many threads offload() uses.
    [[nodiscard]] virtual unsigned threads() const noexcept = 0;
    /// "io_uring" or "threads".
    [[nodiscard]] virtual const char* name() const noexcept = 0;

    /// Whether what takes microseconds (a small write to the page cache) may be done by this thread instead of being awaited.
    /// Tests that want every order of completions say no.
    [[nodiscard]] bool does_short_work() const noexcept { return short_work_; }
    void does_short_work(bool does) noexcept { short_work_ = does; }

    /// Resumes `h` from the loop, after what runs now (wake-ups of mutexes and gates).
    void post(std::coroutine_handle<> h) { ready_.push_back(h); }

  protected:
    virtual void submit(Operation& op) = 0;
    /// Waits for at least one completion (or none when `block` is false) and moves waiters to ready_.
    virtual void wait(bool block) = 0;
    void step();

    std::vector<std::coroutine_handle<>> ready_;

  private:
    Await io(Operation::Kind k, int fd, std::span<const iovec> v, uint64_t offset) {
        return Await(*this, {.kind = k, .fd = fd, .count = static_cast<uint32_t>(v.size()), .offset = offset, .data = v.data()});
    }
    struct Detached;
    static Detached drive(Reactor& r, Task<void> task);
    template <typename T>
    static Task<void> store(Task<T> task, std::optional<T>& out) {
        out.emplace(co_await std::move(task));
    }
    size_t active_ = 0;
    bool short_work_ = true;
    std::exception_ptr failure_;

  protected:
    void run_until_done(Task<void> task);
};

template <typename T>
T Reactor::run(Task<T> task) {
    if constexpr (std::is_void_v<T>) {
        run_until_done(std::move(task));
    } else {
        std::optional<T> out;
        run_until_done(store(std::move(task), out));
        return std::move(*out);
    }
}

}  // namespace myna::io
