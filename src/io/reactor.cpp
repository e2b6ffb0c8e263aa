#include "io/reactor.h"

#include <fcntl.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "io/iovec.h"

namespace myna::io {

bool is_zero(std::span<const uint8_t> b) noexcept {
    // A buffer is zero when its first 16 bytes are and it equals itself shifted by 16: memcmp is the fastest scan here.
    const size_t head = std::min<size_t>(b.size(), 16);
    for (size_t i = 0; i < head; ++i)
        if (b[i] != 0) return false;
    return b.size() <= 16 || std::memcmp(b.data(), b.data() + 16, b.size() - 16) == 0;
}

bool IoVec::is_zero() const noexcept {
    for (const iovec& p : parts_)
        if (!io::is_zero({static_cast<const uint8_t*>(p.iov_base), p.iov_len})) return false;
    return true;
}

namespace {

/// Threads that run blocking work; what is done is collected by the Reactor, which an eventfd wakes.
class ThreadPool {
  public:
    explicit ThreadPool(unsigned threads) : wake_(eventfd(0, EFD_CLOEXEC)), size_(threads) {}
    ~ThreadPool() {
        {
            const std::lock_guard lock(mutex_);
            stop_ = true;
        }
        more_.notify_all();
        for (auto& t : threads_) t.join();
        close(wake_);
    }
    void add(Operation& op) {
        const std::lock_guard lock(mutex_);
        queue_.push_back(&op);
        if (idle_ == 0 && threads_.size() < size_) threads_.emplace_back([this] { work(); });
        more_.notify_one();
    }
    /// Moves what is done to `out`. The caller has read fd(), which counts up when there is something.
    void collect(std::vector<Operation*>& out) {
        const std::lock_guard lock(mutex_);
        out.insert(out.end(), done_.begin(), done_.end());
        done_.clear();
    }
    [[nodiscard]] int fd() const noexcept { return wake_; }
    [[nodiscard]] unsigned size() const noexcept { return size_; }

  private:
    static ssize_t result_of(ssize_t r) { return r < 0 ? -errno : r; }
    static ssize_t perform(Operation& op) {
        const auto* v = static_cast<const iovec*>(op.data);
        const int n = static_cast<int>(op.count);
        const auto at = static_cast<off_t>(op.offset);
        switch (op.kind) {
            case Operation::Kind::kReadv: return result_of(::preadv(op.fd, v, n, at));
            case Operation::Kind::kWritev: return result_of(::pwritev(op.fd, v, n, at));
            case Operation::Kind::kFsync: return result_of(::fsync(op.fd));
            case Operation::Kind::kFdatasync: return result_of(::fdatasync(op.fd));
            case Operation::Kind::kFallocate:
                return result_of(::fallocate(op.fd, static_cast<int>(op.flags), at, static_cast<off_t>(op.length)));
            case Operation::Kind::kWork: op.work(); return 0;
            default: return -ENOSYS;
        }
    }
    void work() {
        std::unique_lock lock(mutex_);
        for (;;) {
            ++idle_;
            more_.wait(lock, [&] { return stop_ || !queue_.empty(); });
            --idle_;
            if (queue_.empty()) return;
            Operation* op = queue_.front();
            queue_.pop_front();
            lock.unlock();
            op->result = perform(*op);
            lock.lock();
            done_.push_back(op);
            const uint64_t one = 1;
            if (done_.size() == 1) [[maybe_unused]] const ssize_t n = write(wake_, &one, sizeof one);
        }
    }

    std::mutex mutex_;
    std::condition_variable more_;
    std::deque<Operation*> queue_;
    std::vector<Operation*> done_;
    std::vector<std::thread> threads_;
    int wake_;
    unsigned size_;
    unsigned idle_ = 0;
    bool stop_ = false;
};

class ReactorBase : public Reactor {
  public:
    explicit ReactorBase(unsigned threads) : pool_(threads) {}
    [[nodiscard]] unsigned threads() const noexcept override { return pool_.size(); }

  protected:
    void collect_pool() {
        pool_.collect(done_);
        for (Operation* op : done_) ready_.push_back(op->waiter);
        done_.clear();
    }
    ThreadPool pool_;
    std::vector<Operation*> done_;
};

// ---- io_uring

class UringReactor final : public ReactorBase {
  public:
    explicit UringReactor(unsigned threads) : ReactorBase(threads) {}
    ~UringReactor() override {
        if (open_) io_uring_queue_exit(&ring_);
    }
    int start() {
        const int r = io_uring_queue_init(256, &ring_, 0);
        open_ = r == 0;
        return r;
    }
    [[nodiscard]] const char* name() const noexcept override { return "io_uring"; }

  protected:
    io_uring_sqe* next_sqe() {
        io_uring_sqe* s = io_uring_get_sqe(&ring_);
        while (s == nullptr) {
            io_uring_submit(&ring_);
            s = io_uring_get_sqe(&ring_);
        }
        return s;
    }
    void submit(Operation& op) override {
        if (op.kind == Operation::Kind::kWork) return pool_.add(op);
        io_uring_sqe* s = next_sqe();
        const auto* v = static_cast<const iovec*>(op.data);
        switch (op.kind) {
            case Operation::Kind::kReadv: io_uring_prep_readv(s, op.fd, v, op.count, op.offset); break;
            case Operation::Kind::kWritev: io_uring_prep_writev(s, op.fd, v, op.count, op.offset); break;
            case Operation::Kind::kFsync: io_uring_prep_fsync(s, op.fd, 0); break;
            case Operation::Kind::kFdatasync: io_uring_prep_fsync(s, op.fd, IORING_FSYNC_DATASYNC); break;
            case Operation::Kind::kFallocate:
                io_uring_prep_fallocate(s, op.fd, static_cast<int>(op.flags), static_cast<off_t>(op.offset), static_cast<off_t>(op.length));
                break;
            case Operation::Kind::kPoll: io_uring_prep_poll_add(s, op.fd, op.flags); break;
            case Operation::Kind::kTimeout:
                op.time[0] = static_cast<int64_t>(op.length / 1'000'000'000u);
                op.time[1] = static_cast<int64_t>(op.length % 1'000'000'000u);
                io_uring_prep_timeout(s, reinterpret_cast<__kernel_timespec*>(op.time), 0, 0);
                break;
            default: io_uring_prep_nop(s); break;
        }
        io_uring_sqe_set_data(s, &op);
    }
    void wait(bool block) override {
        if (!watching_pool_) {
            io_uring_sqe* s = next_sqe();
            io_uring_prep_read(s, pool_.fd(), &pool_count_, sizeof pool_count_, 0);
            io_uring_sqe_set_data(s, nullptr);
            watching_pool_ = true;
        }
        if (block) io_uring_submit_and_wait(&ring_, 1);
        else io_uring_submit(&ring_);
        io_uring_cqe* cqe;
        unsigned head, seen = 0;
        io_uring_for_each_cqe(&ring_, head, cqe) {
            ++seen;
            auto* op = static_cast<Operation*>(io_uring_cqe_get_data(cqe));
            if (op == nullptr) {
                watching_pool_ = false;
                continue;
            }
            op->result = cqe->res == -ETIME ? 0 : cqe->res;
            ready_.push_back(op->waiter);
        }
        io_uring_cq_advance(&ring_, seen);
        if (!watching_pool_) collect_pool();
    }

  private:
    io_uring ring_{};
    uint64_t pool_count_ = 0;  // the kernel writes it
    bool open_ = false, watching_pool_ = false;
};

// ---- threads and epoll

class ThreadReactor final : public ReactorBase {
  public:
    explicit ThreadReactor(unsigned threads) : ReactorBase(std::max(threads, 4u)), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
        epoll_event e{.events = EPOLLIN, .data = {.ptr = nullptr}};
        epoll_ctl(epoll_, EPOLL_CTL_ADD, pool_.fd(), &e);
    }
    ~ThreadReactor() override { close(epoll_); }
    [[nodiscard]] const char* name() const noexcept override { return "threads"; }

  protected:
    void submit(Operation& op) override {
        if (op.kind == Operation::Kind::kPoll) {
            epoll_event e{.events = op.flags | EPOLLONESHOT, .data = {.ptr = &op}};
            // One waiter a descriptor at a time is registered directly; a second one gets a duplicate.
            if (epoll_ctl(epoll_, EPOLL_CTL_ADD, op.fd, &e) != 0) {
                op.count = static_cast<uint32_t>(fcntl(op.fd, F_DUPFD_CLOEXEC, 3));
                epoll_ctl(epoll_, EPOLL_CTL_ADD, static_cast<int>(op.count), &e);
            }
            return;
        }
        if (op.kind == Operation::Kind::kTimeout) {
            timers_.push_back({std::chrono::steady_clock::now() + std::chrono::nanoseconds(op.length), &op});
            return;
        }
        pool_.add(op);
    }
    void wait(bool block) override {
        int timeout = block ? -1 : 0;
        if (block && !timers_.empty()) {
            const auto first = std::min_element(timers_.begin(), timers_.end(), [](auto& a, auto& b) { return a.when < b.when; });
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(first->when - std::chrono::steady_clock::now());
            timeout = static_cast<int>(std::max<int64_t>(left.count(), 0));
        }
        epoll_event events[64];
        const int n = epoll_wait(epoll_, events, 64, timeout);
        for (int i = 0; i < n; ++i) {
            auto* op = static_cast<Operation*>(events[i].data.ptr);
            if (op == nullptr) {
                uint64_t count;
                if (read(pool_.fd(), &count, sizeof count) == sizeof count) collect_pool();
                continue;
            }
            const int fd = op->count != 0 ? static_cast<int>(op->count) : op->fd;
            epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
            if (op->count != 0) close(fd);
            op->result = static_cast<ssize_t>(events[i].events);
            ready_.push_back(op->waiter);
        }
        const auto now = std::chrono::steady_clock::now();
        std::erase_if(timers_, [&](const Timer& t) {
            if (t.when > now) return false;
            ready_.push_back(t.op->waiter);
            return true;
        });
    }

  private:
    struct Timer {
        std::chrono::steady_clock::time_point when;
        Operation* op;
    };
    int epoll_;
    std::vector<Timer> timers_;
};

}  // namespace

// ---- the loop

struct Reactor::Detached {
    struct promise_type {
        Detached get_return_object() noexcept { return {}; }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_void() noexcept {}
        void unhandled_exception() noexcept { std::terminate(); }
    };
};

Reactor::Detached Reactor::drive(Reactor& r, Task<void> task) {
    try {
        co_await std::move(task);
    } catch (...) {
        if (!r.failure_) r.failure_ = std::current_exception();
    }
    --r.active_;
}

void Reactor::spawn(Task<void> task) {
    ++active_;
    drive(*this, std::move(task));
}

void Reactor::step() {
    if (ready_.empty()) wait(true);
    std::vector<std::coroutine_handle<>> now;
    now.swap(ready_);
    for (auto h : now) h.resume();
}

void Reactor::run_until_done(Task<void> task) {
    bool done = false;
    spawn([](Task<void> t, bool& flag) -> Task<void> {
        co_await std::move(t);
        flag = true;
    }(std::move(task), done));
    while (!done && !failure_) step();
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

Result<std::unique_ptr<Reactor>> Reactor::create(Aio aio, unsigned threads) {
    if (threads == 0) threads = std::max(1u, std::thread::hardware_concurrency());
    if (aio != Aio::kThreads) {
        auto r = std::make_unique<UringReactor>(threads);
        const int err = r->start();
        if (err == 0) return r;
        if (aio == Aio::kUring) return fail_errno(-err, "io_uring");
    }
    return std::make_unique<ThreadReactor>(threads);
}

}  // namespace myna::io
