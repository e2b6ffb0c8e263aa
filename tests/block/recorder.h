// A file in memory that remembers what was done to it, and can be as it might be after a power cut: everything up to the
// last flush, and any part of what came after it.
#pragma once

#include <algorithm>
#include <random>
#include <vector>

#include "block/graph/node.h"
#include "io/sync.h"

namespace myna::block {

/// One request that changed the file, or a flush.
struct HostOp {
    enum class Kind : uint8_t { kWrite, kZero, kTruncate, kFlush } kind;
    uint64_t offset = 0, length = 0;
    std::vector<uint8_t> bytes;
    unsigned host = 0;  // which file, where a workload has several

    void apply(std::vector<uint8_t>& file) const {
        if (kind == Kind::kFlush) return;
        if (kind == Kind::kTruncate) return file.resize(offset);
        if (kind == Kind::kZero) {
            if (offset < file.size()) std::fill_n(file.begin() + static_cast<ptrdiff_t>(offset), std::min<uint64_t>(length, file.size() - offset), uint8_t{0});
            return;
        }
        if (offset + bytes.size() > file.size()) file.resize(offset + bytes.size());
        std::copy(bytes.begin(), bytes.end(), file.begin() + static_cast<ptrdiff_t>(offset));
    }
};

class RecorderNode final : public Node {
  public:
    RecorderNode(io::Reactor& r, std::vector<uint8_t> bytes, bool read_only = false) : Node(r), file(std::move(bytes)) {
        filename_ = "recorded";
        size_ = file.size();
        read_only_ = read_only;
    }
    [[nodiscard]] std::string_view driver() const noexcept override { return "recorder"; }
    [[nodiscard]] bool zero_init() const override { return true; }
    std::vector<uint8_t> file;
    std::vector<HostOp> log;
    std::vector<HostOp>* shared_log = nullptr;  // where it remembers instead, as file number `number`
    unsigned number = 0;
    bool changed_only = false;  // of a write, it remembers the sectors that change: what else may be lost of it, is not seen then
    size_t reads = 0;
    io::Semaphore* hold_reads = nullptr;  // each read takes one unit, and waits for it

  protected:
    Task<Result<void>> do_read(uint64_t offset, const IoVec& into) override {
        ++reads;
        if (hold_reads != nullptr) co_await hold_reads->acquire();
        into.copy_from(file.data() + offset);
        co_return Result<void>{};
    }
    Task<Result<void>> do_write(uint64_t offset, const IoVec& from, WriteFlags) override {
        HostOp op{HostOp::Kind::kWrite, offset, from.size(), std::vector<uint8_t>(from.size())};
        from.copy_to(op.bytes.data());
        if (changed_only) {
            keep_changes(op);
            if (op.bytes.empty()) co_return Result<void>{};
        }
        co_return done(std::move(op));
    }
    Task<Result<void>> do_write_zeroes(uint64_t offset, uint64_t length, WriteFlags) override { co_return done({HostOp::Kind::kZero, offset, length, {}}); }
    Task<Result<void>> do_discard(uint64_t offset, uint64_t length) override { co_return done({HostOp::Kind::kZero, offset, length, {}}); }
    Task<Result<void>> do_flush() override { co_return done({HostOp::Kind::kFlush, 0, 0, {}}); }
    Task<Result<void>> do_truncate(uint64_t size, std::string_view) override {
        auto r = done({HostOp::Kind::kTruncate, size, 0, {}});
        size_ = size;
        co_return r;
    }

  private:
    Result<void> done(HostOp op) {
        op.apply(file);
        op.host = number;
        (shared_log != nullptr ? *shared_log : log).push_back(std::move(op));
        return {};
    }
    void keep_changes(HostOp& op) const {
        constexpr size_t kSector = 512;
        const auto same = [&](size_t at) {
            const size_t n = std::min(kSector, op.bytes.size() - at);
            return op.offset + at + n <= file.size() && std::equal(op.bytes.begin() + static_cast<ptrdiff_t>(at), op.bytes.begin() + static_cast<ptrdiff_t>(at + n), file.begin() + static_cast<ptrdiff_t>(op.offset + at));
        };
        size_t first = 0, end = op.bytes.size();
        while (first < end && same(first)) first += kSector;
        while (end > first && same((end - 1) / kSector * kSector)) end = (end - 1) / kSector * kSector;
        first = std::min(first, end);
        op.bytes = std::vector<uint8_t>(op.bytes.begin() + static_cast<ptrdiff_t>(first), op.bytes.begin() + static_cast<ptrdiff_t>(end));
        op.offset += first;
        op.length = op.bytes.size();
    }
};

}  // namespace myna::block
