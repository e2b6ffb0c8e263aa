// Mutex, SharedMutex, Semaphore and Gate for coroutines of one Reactor: waiting suspends, nothing spins, no lock is
// needed since all run on one thread. Wake-ups go through Reactor::post, first come first served.
#pragma once

#include <coroutine>
#include <cstdint>
#include <deque>

#include "io/reactor.h"

namespace myna::io {

/// Counts units; acquire waits until enough are there.
class Semaphore {
  public:
    Semaphore(Reactor& r, uint64_t units) : reactor_(r), units_(units) {}
    auto acquire(uint64_t n = 1) noexcept {
        struct Awaiter {
            Semaphore& s;
            uint64_t n;
            bool await_ready() noexcept {
                if (!s.waiters_.empty() || s.units_ < n) return false;
                s.units_ -= n;
                return true;
            }
            void await_suspend(std::coroutine_handle<> h) { s.waiters_.push_back({n, h}); }
            void await_resume() noexcept {}
        };
        return Awaiter{*this, n};
    }
    void release(uint64_t n = 1) {
        units_ += n;
        while (!waiters_.empty() && waiters_.front().n <= units_) {
            units_ -= waiters_.front().n;
            reactor_.post(waiters_.front().h);
            waiters_.pop_front();
        }
    }

  private:
    struct Waiter {
        uint64_t n;
        std::coroutine_handle<> h;
    };
    Reactor& reactor_;
    uint64_t units_;
    std::deque<Waiter> waiters_;
};

/// Many readers or one writer, fair.
class SharedMutex {
  public:
    explicit SharedMutex(Reactor& r) : s_(r, kAll) {}
    class [[nodiscard]] Guard {
      public:
        Guard(Semaphore& s, uint64_t n) : s_(&s), n_(n) {}
        Guard(Guard&& o) noexcept : s_(std::exchange(o.s_, nullptr)), n_(o.n_) {}
        Guard& operator=(Guard&&) = delete;
        ~Guard() { unlock(); }
        void unlock() {
            if (s_ != nullptr) std::exchange(s_, nullptr)->release(n_);
        }

      private:
        Semaphore* s_;
        uint64_t n_;
    };
    Task<Guard> lock() {
        co_await s_.acquire(kAll);
        co_return Guard(s_, kAll);
    }
    Task<Guard> lock_shared() {
        co_await s_.acquire(1);
        co_return Guard(s_, 1);
    }

  private:
    static constexpr uint64_t kAll = 1u << 30;
    Semaphore s_;
};

/// One at a time.
class Mutex {
  public:
    explicit Mutex(Reactor& r) : s_(r, 1) {}
    Task<SharedMutex::Guard> lock() {
        co_await s_.acquire(1);
        co_return SharedMutex::Guard(s_, 1);
    }

  private:
    Semaphore s_;
};

/// Counts what is under way; close() waits for all of it and lets nothing new in until open().
class Gate {
  public:
    explicit Gate(Reactor& r) : m_(r) {}
    Task<SharedMutex::Guard> enter() { return m_.lock_shared(); }
    Task<SharedMutex::Guard> close() { return m_.lock(); }

  private:
    SharedMutex m_;
};

}  // namespace myna::io
