// What several fuzzers stand on: a disk in memory, and a peer that reads whatever comes.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "block/graph/node.h"
#include "io/sync.h"
#include "net/stream.h"

namespace myna::fuzz {

/// A disk of so many zero bytes.
class MemoryNode : public block::Node {
  public:
    MemoryNode(io::Reactor& r, size_t size) : Node(r), bytes(size) { size_ = size; }
    [[nodiscard]] std::string_view driver() const noexcept override { return "memory"; }
    std::vector<uint8_t> bytes;

  protected:
    io::Task<Result<void>> do_read(uint64_t offset, const io::IoVec& into) override {
        into.copy_from(bytes.data() + offset);
        co_return Result<void>{};
    }
    io::Task<Result<void>> do_write(uint64_t offset, const io::IoVec& from, block::WriteFlags) override {
        from.copy_to(bytes.data() + offset);
        co_return Result<void>{};
    }
};

/// Reads until the other side is done.
inline io::Task<void> swallow(net::Stream& s, io::Semaphore& done) {
    uint8_t buffer[4096];
    for (;;) {
        const auto n = co_await s.read_some(buffer, sizeof buffer);
        if (!n || *n == 0) break;
    }
    done.release();
}

}  // namespace myna::fuzz
