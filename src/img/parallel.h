// Several coroutines at the same work, and a buffer for each.
#pragma once

#include <cstdlib>
#include <new>

#include "img/tool.h"

namespace myna::img {

/// Whether all that `n` reads comes from files of this host, so that small requests cost little.
inline bool is_local(const Node& n) {
    for (const Node* layer = &n; layer != nullptr; layer = layer->backing().get()) {
        const Node* bottom = layer;
        while (bottom->file()) bottom = bottom->file().get();
        if (bottom->host_fd() < 0) return false;
    }
    return true;
}

/// Memory for requests, aligned for O_DIRECT.
class Buffer {
  public:
    explicit Buffer(size_t bytes) : data_(static_cast<uint8_t*>(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096))), bytes_(bytes) {
        if (data_ == nullptr) throw std::bad_alloc();
    }
    ~Buffer() { std::free(data_); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    [[nodiscard]] uint8_t* data() const noexcept { return data_; }
    [[nodiscard]] size_t size() const noexcept { return bytes_; }

  private:
    uint8_t* data_;
    size_t bytes_;
};

/// Runs `count` workers and waits for all; gives the first error.
class Parallel {
  public:
    explicit Parallel(io::Reactor& r) : reactor_(r), finished_(r, 0) {}
    void start(Task<Result<void>> worker) {
        ++started_;
        reactor_.spawn(drive(*this, std::move(worker)));
    }
    Task<Result<void>> wait() {
        co_await finished_.acquire(started_);
        started_ = 0;
        co_return std::exchange(result_, {});
    }

  private:
    static Task<void> drive(Parallel& p, Task<Result<void>> worker) {
        auto r = co_await std::move(worker);
        if (!r && p.result_) p.result_ = std::move(r);
        p.finished_.release();
    }
    io::Reactor& reactor_;
    io::Semaphore finished_;
    uint64_t started_ = 0;
    Result<void> result_;
};

/// Lets work pass in the order of its numbers 0, 1, 2 …
class InOrder {
  public:
    explicit InOrder(io::Reactor& r) : reactor_(r) {}
    auto turn(uint64_t number) noexcept {
        struct Awaiter {
            InOrder& o;
            uint64_t n;
            bool await_ready() const noexcept { return o.next_ == n; }
            void await_suspend(std::coroutine_handle<> h) { o.waiting_[n] = h; }
            void await_resume() const noexcept {}
        };
        return Awaiter{*this, number};
    }
    void done() {
        if (const auto it = waiting_.find(++next_); it != waiting_.end()) {
            reactor_.post(it->second);
            waiting_.erase(it);
        }
    }

  private:
    io::Reactor& reactor_;
    uint64_t next_ = 0;
    std::map<uint64_t, std::coroutine_handle<>> waiting_;
};

}  // namespace myna::img
