// Byte ranges that one coroutine at a time holds; who wants one that overlaps waits, first come first served.
#pragma once

#include <algorithm>
#include <coroutine>
#include <cstdint>
#include <vector>

#include "io/reactor.h"

namespace myna::block::jobs {

class RangeLock {
  public:
    explicit RangeLock(io::Reactor& r) : reactor_(r) {}

    /// Waits until [from, to) is free and takes it.
    auto lock(uint64_t from, uint64_t to) {
        struct Awaiter {
            RangeLock& l;
            Range r;
            bool await_ready() {
                if (l.blocked(r, l.waiting_.size())) return false;
                l.held_.push_back(r);
                return true;
            }
            void await_suspend(std::coroutine_handle<> h) {
                r.waiter = h;
                l.waiting_.push_back(r);
            }
            void await_resume() const noexcept {}
        };
        return Awaiter{*this, {from, to, nullptr}};
    }
    [[nodiscard]] bool busy(uint64_t from, uint64_t to) const { return blocked({from, to, nullptr}, waiting_.size()); }
    void unlock(uint64_t from, uint64_t to) {
        const auto it = std::find_if(held_.begin(), held_.end(), [&](const Range& r) { return r.from == from && r.to == to; });
        if (it != held_.end()) held_.erase(it);
        for (size_t i = 0; i < waiting_.size();) {
            if (blocked(waiting_[i], i)) {
                ++i;
                continue;
            }
            held_.push_back(waiting_[i]);
            reactor_.post(waiting_[i].waiter);
            waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(i));
        }
    }

  private:
    struct Range {
        uint64_t from, to;
        std::coroutine_handle<> waiter;
    };
    [[nodiscard]] bool blocked(const Range& r, size_t before) const {
        const auto meets = [&](const Range& o) { return r.from < o.to && o.from < r.to; };
        return std::any_of(held_.begin(), held_.end(), meets) || std::any_of(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(before), meets);
    }
    io::Reactor& reactor_;
    std::vector<Range> held_, waiting_;
};

}  // namespace myna::block::jobs
