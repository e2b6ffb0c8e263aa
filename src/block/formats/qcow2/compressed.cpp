// Compressed clusters of a qcow2 image: read in runs, written one behind the other.
//
//   request ─▶ compressed_run(): clusters that lie together in the file
//                  └─▶ one read of all their bytes ─▶ thread pool: each decompressed to where the reader wants it
//
// A cluster of which only a part is wanted is kept, since the next request mostly wants the rest.
#include <algorithm>
#include <memory>

#include "base/bits.h"
#include "block/formats/qcow2/compress.h"
#include "block/formats/qcow2/qcow2.h"

namespace myna::block::qcow2 {

namespace {
// What one read of compressed bytes may span: enough that its cost is shared, little enough for many at a time.
constexpr uint64_t kRunBytes = 256 << 10;
}  // namespace

/// The compressed clusters from guest offset `offset` on, up to `end`, that one read gets; gives the guest bytes of them.
/// `first` maps the first one. map_ is held.
Task<uint64_t> Qcow2Node::compressed_run(Mapping first, uint64_t offset, uint64_t end, std::vector<CompressedPiece>& run) {
    uint64_t at = offset, low = first.host, high = first.host + first.compressed_bytes, stored = first.compressed_bytes;
    for (Mapping m = first;;) {
        run.push_back({m.host, m.compressed_bytes, at, m.length});
        at += m.length;
        if (at >= end) break;
        auto next = co_await map(at, end - at);
        if (!next || next->kind != Mapping::Kind::kCompressed) break;  // an error is reported when it is that one's turn
        m = *next;
        low = std::min(low, m.host);
        high = std::max(high, m.host + m.compressed_bytes);
        stored += m.compressed_bytes;
        if (high - low > kRunBytes || high - low > 2 * stored) break;
    }
    co_return at - offset;
}

Task<Result<void>> Qcow2Node::read_compressed(std::vector<CompressedPiece> run, uint64_t offset, const IoVec& into) {
    const uint64_t cluster = h_.cluster_size();
    if (run.size() == 1 && last_compressed_at_ == align_down(offset, cluster)) {
        into.copy_from(last_compressed_->data() + (offset - last_compressed_at_));
        co_return Result<void>{};
    }
    const uint64_t changes = compressed_changes_;
    uint64_t low = UINT64_MAX, high = 0;
    for (const CompressedPiece& p : run) {
        if (p.host >= file_->size()) co_return corrupt("compressed cluster at guest offset " + std::to_string(align_down(p.offset, cluster)) + " is outside the file");
        low = std::min(low, p.host);
        high = std::max(high, p.host + p.bytes);
    }
    const auto in = std::make_unique_for_overwrite<uint8_t[]>(high - low);
    file_->event("read_compressed");
    if (auto r = co_await read_at(low, in.get(), high - low); !r) co_return r;

    // Whole clusters go to the reader's memory where it is in one part, others through a buffer of their own.
    struct Work {
        std::span<const uint8_t> from;
        std::span<uint8_t> to;
        std::shared_ptr<std::vector<uint8_t>> own;
        bool ok = false;
    };
    std::vector<Work> works(run.size());
    for (size_t i = 0; i < run.size(); ++i) {
        const CompressedPiece& p = run[i];
        Work& w = works[i];
        w.from = {in.get() + (p.host - low), p.bytes};
        const IoVec part = into.slice(p.offset - offset, p.length);
        if (p.length == cluster && part.parts().size() == 1) {
            w.to = {static_cast<uint8_t*>(part.parts()[0].iov_base), cluster};
        } else {
            w.own = std::make_shared<std::vector<uint8_t>>(cluster);
            w.to = *w.own;
        }
    }
    // A reader that is alone has all threads work for it; several share them by themselves.
    const size_t jobs = reads_under_way_ > 1 ? 1 : std::min<size_t>(works.size(), reactor_.threads());
    io::Semaphore finished(reactor_, 0);
    const auto job = [](Qcow2Node& n, std::span<Work> mine, io::Semaphore& done) -> Task<void> {
        co_await n.reactor_.offload([&] {
            for (Work& w : mine) w.ok = decompress_cluster(n.h_.compression, w.from, w.to);
        });
        done.release();
    };
    for (size_t j = 0; j < jobs; ++j) {
        const size_t begin = works.size() * j / jobs, last = works.size() * (j + 1) / jobs;
        reactor_.spawn(job(*this, std::span(works).subspan(begin, last - begin), finished));
    }
    co_await finished.acquire(jobs);
    for (size_t i = 0; i < run.size(); ++i) {
        const CompressedPiece& p = run[i];
        Work& w = works[i];
        if (!w.ok) co_return corrupt("compressed cluster at guest offset " + std::to_string(align_down(p.offset, cluster)) + " cannot be decompressed");
        if (!w.own) continue;
        into.slice(p.offset - offset, p.length).copy_from(w.own->data() + (p.offset & (cluster - 1)));
        if (changes == compressed_changes_) {
            last_compressed_ = std::move(w.own);
            last_compressed_at_ = align_down(p.offset, cluster);
        }
    }
    co_return Result<void>{};
}

void Qcow2Node::forget_compressed(uint64_t begin, uint64_t end) {
    ++compressed_changes_;
    if (last_compressed_at_ >= begin && last_compressed_at_ < end) last_compressed_at_ = UINT64_MAX;
}

Task<Result<void>> Qcow2Node::write_compressed(uint64_t offset, const IoVec& from) {
    const uint64_t cluster = h_.cluster_size();
    if (h_.crypt != Crypt::kNone) co_return fail(ErrorKind::kUnsupported, filename_ + ": compression and encryption do not go together", ENOTSUP);
    if (data_file_) co_return fail(ErrorKind::kUnsupported, filename_ + ": compressed clusters cannot be in an external data file", ENOTSUP);
    if (offset % cluster != 0 || (from.size() != cluster && offset + from.size() != size_))
        co_return fail(ErrorKind::kInvalidArgument, filename_ + ": compressed writes are of whole clusters", EINVAL);
    std::vector<uint8_t> in(cluster), out(cluster);
    from.copy_to(in.data());
    size_t used = 0;
    bool ok = false;
    co_await reactor_.offload([&] { ok = compress_cluster(h_.compression, in, out, used); });
    if (!ok) co_return co_await write_piece(offset, from);
    const auto range = co_await claim(offset, offset + cluster, true);
    uint64_t at = 0;
    {
        const auto alone = co_await map_.lock();
        if (auto r = co_await l2_for_write(offset); !r) co_return std::unexpected(r.error());
        // Compressed bytes are packed one behind the other; each host cluster counts one reference for each piece in it.
        const uint64_t left = compressed_next_ == 0 ? 0 : cluster - (compressed_next_ & (cluster - 1));
        if (compressed_next_ != 0 && left != cluster && used <= left) {
            at = compressed_next_;
            if (auto r = co_await change_refcount(at >> h_.cluster_bits, 1, 1); !r) at = 0;  // the count is full: elsewhere
        }
        if (at == 0) {
            auto got = co_await allocate(1, true, "compressed cluster");
            if (!got) co_return std::unexpected(got.error());
            at = got->first;
            if (left != 0 && left != cluster && got->first == align_up(compressed_next_, cluster) && used > left) {
                // The new cluster follows the old one: the piece may lie across both.
                if (auto r = co_await change_refcount(compressed_next_ >> h_.cluster_bits, 1, 1); r) at = compressed_next_;
            }
        }
        compressed_next_ = at + used;
    }
    file_->event("write_compressed");
    if (auto r = co_await write_at(at, out.data(), used); !r) co_return r;
    const auto alone = co_await map_.lock();
    if (damaged_) co_return no_more_writing();
    auto r = co_await l2_for_write(offset);
    if (!r) co_return std::unexpected(r.error());
    const uint64_t old = entry(*r);
    const uint64_t sectors = ((at + used - 1) >> 9) - (at >> 9);
    set_entry(*r, kCompressed | at | sectors << (62 - (h_.cluster_bits - 8)), 0);
    free_entry(old);
    forget_compressed(offset, offset + cluster);
    co_return Result<void>{};
}

}  // namespace myna::block::qcow2
