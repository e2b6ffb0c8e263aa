// copy-on-read: what a read gets from a backing file is written to the image in front of it, so that it comes from there the
// next time. Only whole clusters are copied; a write to them meanwhile wins.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/bits.h"
#include "block/filters/filter.h"

namespace myna::block {

namespace {

class CopyOnReadNode final : public filters::FilterNode {
  public:
    CopyOnReadNode(io::Reactor& r, NodePtr below) : FilterNode(r, std::move(below)), exclusive_(r) {}
    [[nodiscard]] std::string_view driver() const noexcept override { return "copy-on-read"; }

  protected:
    Task<Result<void>> do_read(uint64_t offset, const IoVec& into) override {
        if (file_->read_only()) co_return co_await file_->read(offset, into);
        const uint64_t cluster = std::max<uint32_t>(file_->cluster_size().value_or(65536), 4096);
        constexpr uint64_t kMost = 1 << 20;
        for (uint64_t done = 0; done < into.size();) {
            const uint64_t at = offset + done;
            auto e = co_await file_->block_status(at, into.size() - done);
            if (!e) co_return std::unexpected(e.error());
            uint64_t n = e->length;
            if (e->allocated) {
                const IoVec part = into.slice(done, n);
                if (auto r = co_await file_->read(at, part); !r) co_return r;
                done += n;
                continue;
            }
            // Whole clusters around it, while nobody writes: what was allocated meanwhile must stay.
            const uint64_t begin = align_down(at, cluster);
            n = std::min(n, align_down(at, cluster) + std::max(kMost, cluster) - at);
            const uint64_t end = std::min(align_up(at + n, cluster), size_);
            std::vector<uint8_t> bytes(end - begin);
            {
                const auto alone = co_await exclusive_.lock();
                const IoVec whole(bytes.data(), bytes.size());
                if (auto r = co_await file_->read(begin, whole); !r) co_return r;
                for (uint64_t from = begin; from < end;) {
                    auto again = co_await file_->block_status(from, end - from);
                    if (!again) co_return std::unexpected(again.error());
                    if (!again->allocated) {
                        const IoVec part = whole.slice(from - begin, again->length);
                        // Zeroes are kept as zeroes where the image can say so.
                        const bool zero = io::is_zero({bytes.data() + (from - begin), again->length});
                        auto r = zero ? co_await file_->write_zeroes(from, again->length) : co_await file_->write(from, part);
                        if (!r) co_return r;
                    }
                    from += again->length;
                }
            }
            into.slice(done, n).copy_from(bytes.data() + (at - begin));
            done += n;
        }
        co_return Result<void>{};
    }
    Task<Result<void>> do_write(uint64_t offset, const IoVec& from, WriteFlags flags) override {
        const auto shared = co_await exclusive_.lock_shared();
        co_return co_await file_->write(offset, from, flags);
    }
    Task<Result<void>> do_write_zeroes(uint64_t offset, uint64_t length, WriteFlags flags) override {
        const auto shared = co_await exclusive_.lock_shared();
        co_return co_await file_->write_zeroes(offset, length, flags);
    }
    Task<Result<void>> do_discard(uint64_t offset, uint64_t length) override {
        const auto shared = co_await exclusive_.lock_shared();
        co_return co_await file_->discard(offset, length);
    }

  private:
    io::SharedMutex exclusive_;  // copies alone, writes together
};

Task<Result<NodePtr>> open_copy_on_read(Graph& graph, const OpenOptions& o) {
    if (auto r = filters::only(o.options, "copy-on-read", {}); !r) co_return std::unexpected(r.error());
    auto below = co_await filters::open_child(graph, o, "file");
    if (!below) co_return below;
    co_return copy_on_read(graph.reactor(), *below);
}

}  // namespace

NodePtr copy_on_read(io::Reactor& r, NodePtr below) { return std::make_shared<CopyOnReadNode>(r, std::move(below)); }

const Driver kCopyOnReadDriver{"copy-on-read", Driver::Kind::kFilter, {}, nullptr, open_copy_on_read, nullptr, nullptr, false, false};

}  // namespace myna::block
