// Replaying the log: entries in a ring, each with pages to write and stretches to zero; the newest run of valid entries
// that reaches back to the tail its head names is what counts. Source: [MS-VHDX] 2.3.
#include <algorithm>

#include "base/bits.h"
#include "block/formats/common/crc32c.h"
#include "block/formats/common/open.h"
#include "block/formats/vhdx/vhdx.h"

namespace myna::block::vhdx {

namespace {

constexpr uint64_t kLogSector = 4096, kEntryHeader = 64, kDescriptor = 32;
constexpr uint64_t kMaxLog = 256 << 20;
// A disk of 64 TiB, the largest there is, with all its tables.
constexpr uint64_t kMaxFile = uint64_t{65} << 40;

struct Entry {
    uint64_t at = 0, bytes = 0, sequence = 0, tail = 0, last_size = 0;
    uint32_t descriptors = 0;
};

class Log {
  public:
    explicit Log(std::vector<uint8_t> ring) : ring_(std::move(ring)) {}
    [[nodiscard]] uint64_t size() const { return ring_.size(); }

    /// `n` bytes from `at`, around the end of the ring.
    [[nodiscard]] std::vector<uint8_t> bytes(uint64_t at, uint64_t n) const {
        std::vector<uint8_t> out(n);
        for (uint64_t done = 0; done < n;) {
            const uint64_t from = (at + done) % size(), take = std::min(n - done, size() - from);
            std::copy_n(ring_.begin() + static_cast<ptrdiff_t>(from), take, out.begin() + static_cast<ptrdiff_t>(done));
            done += take;
        }
        return out;
    }
    /// The entry at `at`, if a whole and valid one of log `id` is there.
    /// `budget`: bytes that may still be checked; entries do not overlap, so honest logs need little.
    [[nodiscard]] std::optional<Entry> entry(uint64_t at, const Guid& id, uint64_t& budget) const {
        const auto h = bytes(at, kEntryHeader);
        if (!std::equal(h.begin(), h.begin() + 4, "loge")) return std::nullopt;
        Entry e{at, le32(&h[8]), le64(&h[16]), le32(&h[12]), le64(&h[56]), le32(&h[24])};
        if (e.bytes % kLogSector != 0 || e.bytes == 0 || e.bytes > size() || e.sequence == 0 || e.tail % kLogSector != 0 || e.tail >= size()) return std::nullopt;
        if (!std::equal(id.begin(), id.end(), h.begin() + 32)) return std::nullopt;
        if (kEntryHeader + uint64_t{e.descriptors} * kDescriptor > e.bytes) return std::nullopt;
        if (e.bytes > budget) return std::nullopt;
        budget -= e.bytes;
        auto all = bytes(at, e.bytes);
        const uint32_t said = le32(&all[4]);
        put_le32(&all[4], 0);
        if (crc32c(all) != said) return std::nullopt;
        return e;
    }

  private:
    std::vector<uint8_t> ring_;
};

Task<Result<void>> apply(Node& file, const std::vector<uint8_t>& e, const Entry& head, const std::string& name) {
    const auto corrupt = [&](const char* what) { return fail(ErrorKind::kCorrupt, name + ": the log is damaged: " + what, EINVAL); };
    const uint64_t limit = std::max(file.size(), std::min(head.last_size, kMaxFile));
    uint64_t data = align_up(kEntryHeader + uint64_t{head.descriptors} * kDescriptor, kLogSector);
    for (uint32_t i = 0; i < head.descriptors; ++i) {
        const uint8_t* d = &e[kEntryHeader + i * kDescriptor];
        const uint64_t at = le64(d + 16);
        if (le64(d + 24) != head.sequence || at % kLogSector != 0) co_return corrupt("a descriptor is of another entry");
        if (std::equal(d, d + 4, "zero")) {
            const uint64_t n = le64(d + 8);
            if (n % kLogSector != 0 || at > limit || n > limit - at) co_return corrupt("a zero descriptor is outside the file");
            if (at + n > file.size())
                if (auto r = co_await file.grow_to(at + n); !r) co_return r;
            if (auto r = co_await file.write_zeroes(at, n, {.may_unmap = true}); !r) co_return r;
        } else if (std::equal(d, d + 4, "desc")) {
            if (data + kLogSector > e.size()) co_return corrupt("a data sector is missing");
            const uint8_t* s = &e[data];
            data += kLogSector;
            if (!std::equal(s, s + 4, "data") || (uint64_t{le32(s + 4)} << 32 | le32(s + 4092)) != head.sequence) co_return corrupt("a data sector is of another entry");
            std::vector<uint8_t> page(s, s + kLogSector);
            std::copy_n(d + 8, 8, page.begin());
            std::copy_n(d + 4, 4, page.begin() + 4092);
            if (at > limit || kLogSector > limit - at) co_return corrupt("a data descriptor is outside the file");
            if (auto r = co_await write_bytes(file, at, page.data(), page.size()); !r) co_return r;
        } else {
            co_return corrupt("a descriptor is of unknown kind");
        }
    }
    co_return Result<void>{};
}

}  // namespace

Task<Result<void>> replay_log(Node& file, const Header& h, const std::string& name) {
    if (h.log_version != 0) co_return fail(ErrorKind::kUnsupported, name + ": log version " + std::to_string(h.log_version) + " is unknown", ENOTSUP);
    if (h.log_bytes > kMaxLog || h.log_at + h.log_bytes > file.size()) co_return fail(ErrorKind::kCorrupt, name + ": the log is outside the file or too large", EINVAL);
    auto ring = co_await read_bytes(file, h.log_at, h.log_bytes);
    if (!ring) co_return std::unexpected(ring.error());
    const Log log(std::move(*ring));
    std::vector<std::optional<Entry>> entries(log.size() / kLogSector);
    uint64_t budget = log.size() * 8, steps = entries.size() * 16;
    for (uint64_t i = 0; i < entries.size(); ++i) entries[i] = log.entry(i * kLogSector, h.log, budget);
    // The newest head whose run from its tail on is whole.
    std::vector<Entry> best;
    for (const auto& head : entries) {
        if (!head || steps == 0 || (!best.empty() && best.back().sequence >= head->sequence)) continue;
        std::vector<Entry> run;
        uint64_t at = head->tail;
        while (run.size() <= entries.size() && steps > 0) {
            --steps;
            const auto& e = entries[at / kLogSector];
            if (!e || (!run.empty() && e->sequence != run.back().sequence + 1)) break;
            run.push_back(*e);
            if (e->at == head->at) break;
            at = (at + e->bytes) % log.size();
        }
        if (!run.empty() && run.back().at == head->at && run.back().sequence == head->sequence) best = std::move(run);
    }
    if (best.empty()) co_return fail(ErrorKind::kCorrupt, name + ": the header says that the log has entries, but none of them is whole; the image is damaged", EINVAL);
    if (best.back().last_size > kMaxFile) co_return fail(ErrorKind::kCorrupt, name + ": the log is damaged: it names a file of " + std::to_string(best.back().last_size) + " bytes", EINVAL);
    for (const Entry& e : best)
        if (auto r = co_await apply(file, log.bytes(e.at, e.bytes), e, name); !r) co_return r;
    if (auto r = co_await file.grow_to(best.back().last_size); !r) co_return r;
    co_return co_await file.flush();
}

}  // namespace myna::block::vhdx
