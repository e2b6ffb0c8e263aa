// -d: where the engine writes what it sees, and for profilers: perf map and jitdump.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "jit/engine.h"

namespace myna::jit {

/// Writes whole texts to a descriptor; concurrent writers do not mix within one text.
class LogSink {
  public:
    /// `ranges`: where blocks must begin to be logged; none: anywhere.
    LogSink(uint32_t items, int fd, std::vector<AddressRange> ranges) : items_(items), fd_(fd), ranges_(std::move(ranges)) {}
    [[nodiscard]] bool on(uint32_t item) const noexcept { return (items_ & item) != 0; }
    /// Whether to log an item about the block that begins at `pc`.
    [[nodiscard]] bool on(uint32_t item, uint64_t pc) const noexcept;
    void write(std::string_view text) const;

  private:
    uint32_t items_;
    int fd_;
    std::vector<AddressRange> ranges_;
};

/// Tells perf about translated code: /tmp/perf-PID.map (symbols) and jit-PID.dump (symbols and code, for perf inject).
class PerfRecorder {
  public:
    ~PerfRecorder();
    /// Opens the files that are asked for; the dump goes to the working directory.
    Result<void> open(bool map, bool dump);
    void add(uint64_t host, uint32_t bytes, const void* code, uint64_t guest_pc);
    [[nodiscard]] bool on() const noexcept { return map_ != nullptr || dump_ != nullptr; }

  private:
    std::FILE* map_ = nullptr;
    std::FILE* dump_ = nullptr;
    void* marker_ = nullptr;  // the executable mapping of the dump by which perf finds it
    uint64_t index_ = 0;
};

}  // namespace myna::jit
