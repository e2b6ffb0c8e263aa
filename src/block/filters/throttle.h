// Limits of bytes and requests per second, for one node or several that share a group.
//
//   request ─▶ ThrottleGroup::pass ─▶ its bucket is full: wait, first come first served ─▶ node below
//
// A bucket leaks at the average rate. It takes a tenth of a second's worth at once, or, with a maximum, a burst at that
// rate for `burst seconds`; then the average holds. Bytes and requests are counted for reads, writes and both together.
#pragma once

#include <array>
#include <chrono>
#include <memory>

#include "block/filters/filter.h"

namespace myna::block {

class ThrottleGroup {
  public:
    using Clock = std::chrono::steady_clock;
    explicit ThrottleGroup(io::Reactor& r) : reactor_(r), queue_{io::Mutex(r), io::Mutex(r)} {}

    /// Limits by name, as `--object throttle-group` has them: x-bps-total, x-iops-read-max, x-bps-write-max-length,
    /// x-iops-size …, or the same within "limits" without x-. Numbers or texts. Errors name what is wrong.
    Result<void> set(const nlohmann::json& limits);
    /// All limits by name, without x-: "bps-total", "bps-total-max", "bps-total-max-length" …, "iops-size".
    [[nodiscard]] nlohmann::json limits() const;
    /// Waits until a request of so many bytes may go on, and counts it.
    Task<void> pass(bool write, uint64_t bytes);
    /// Seconds that a request must wait at `now` (0: none); for pass() and tests.
    [[nodiscard]] double delay(bool write, Clock::time_point now);

  private:
    struct Bucket {
        double average = 0, maximum = 0, seconds = 1;  // units per second; 0: no limit
        double level = 0, burst = 0;
        [[nodiscard]] double wait() const;
        void leak(double t);
        void add(double units);
    };
    enum Kind : size_t { kBytesTotal, kBytesRead, kBytesWrite, kOpsTotal, kOpsRead, kOpsWrite, kKinds };
    io::Reactor& reactor_;
    std::array<Bucket, kKinds> buckets_;
    uint64_t op_bytes_ = 0;  // a request counts once for each of so many bytes; 0: once
    Clock::time_point last_{};
    io::Mutex queue_[2];     // reads, writes
};

}  // namespace myna::block
