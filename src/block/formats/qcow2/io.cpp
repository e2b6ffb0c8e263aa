// Data of a qcow2 image: reads through the mapping, writes in place or to new clusters, zeroes, discards.
// qcow2.h says in what order data and tables reach the disk.
#include <algorithm>

#include "base/bits.h"
#include "block/formats/qcow2/qcow2.h"

namespace myna::block::qcow2 {

// ---- ranges of writes that allocate

bool Qcow2Node::blocked(std::list<InFlight>::iterator at) {
    return std::any_of(in_flight_.begin(), at, [&](const InFlight& f) { return f.begin < at->end && at->begin < f.end && (f.alone || at->alone); });
}

void Qcow2Node::unclaim(std::list<InFlight>::iterator at) {
    for (auto later = in_flight_.erase(at); later != in_flight_.end(); ++later)
        if (later->waiter && !blocked(later)) reactor_.post(std::exchange(later->waiter, nullptr));
}

Task<Qcow2Node::Range> Qcow2Node::claim(uint64_t begin, uint64_t end, bool alone) {
    struct Wait {
        InFlight& f;
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> h) { f.waiter = h; }
        void await_resume() const noexcept {}
    };
    const auto at = in_flight_.insert(in_flight_.end(), {begin, end, alone, nullptr});
    if (blocked(at)) co_await Wait{*at};
    co_return Range(*this, at);
}

// ---- reading

Task<Result<void>> Qcow2Node::read_backing(uint64_t offset, const IoVec& into) {
    const uint64_t behind = backing_ ? std::min(backing_->size(), size_) : 0;  // there is nothing behind a VM state
    const uint64_t there = offset < behind ? std::min<uint64_t>(into.size(), behind - offset) : 0;
    if (there < into.size()) into.slice(there, into.size() - there).fill(0);
    if (there == 0) co_return Result<void>{};
    const IoVec part = into.slice(0, there);
    co_return co_await backing_->read(offset, part);
}

uint64_t Qcow2Node::begin_read() {
    ++reads_under_way_;
    ++readers_.back();
    return oldest_generation_ + readers_.size() - 1;
}

void Qcow2Node::end_read(uint64_t generation) {
    --reads_under_way_;
    --readers_[generation - oldest_generation_];
    forget_old_generations();
}

void Qcow2Node::forget_old_generations() {
    for (; readers_.size() > 1 && readers_.front() == 0; ++oldest_generation_) readers_.pop_front();
}

Task<Result<void>> Qcow2Node::do_read(uint64_t offset, const IoVec& into) {
    struct UnderWay {
        Qcow2Node& n;
        uint64_t generation;
        explicit UnderWay(Qcow2Node& node) : n(node), generation(node.begin_read()) {}
        UnderWay(const UnderWay&) = delete;
        UnderWay& operator=(const UnderWay&) = delete;
        ~UnderWay() { n.end_read(generation); }
    } const reading(*this);
    for (uint64_t done = 0; done < into.size();) {
        Mapping m;
        std::vector<CompressedPiece> run;
        {
            const auto shared = co_await map_.lock_shared();
            auto r = co_await map(offset + done, into.size() - done);
            if (!r) co_return co_await failed(std::unexpected(r.error()));
            m = *r;
            if (m.kind == Mapping::Kind::kCompressed) m.length = co_await compressed_run(m, offset + done, offset + into.size(), run);
        }
        const IoVec part = into.slice(done, m.length);
        Result<void> r;
        switch (m.kind) {
            case Mapping::Kind::kUnallocated: r = co_await read_backing(offset + done, part); break;
            case Mapping::Kind::kZero: part.fill(0); break;
            case Mapping::Kind::kCompressed: r = co_await read_compressed(std::move(run), offset + done, part); break;
            case Mapping::Kind::kData: {
                const uint64_t size = data().size();
                const uint64_t there = m.host < size ? std::min(m.length, size - m.host) : 0;
                if (there < m.length) part.slice(there, m.length - there).fill(0);
                const IoVec stored = part.slice(0, there);
                file_->event("read_aio");
                r = h_.crypt == Crypt::kNone ? co_await data().read(m.host, stored) : co_await read_encrypted(m.host, offset + done, stored);
                break;
            }
        }
        if (!r) co_return r;
        done += m.length;
    }
    co_return Result<void>{};
}

// ---- writing

Task<Result<void>> Qcow2Node::mark_dirty(uint64_t offset, uint64_t length) {
    if (bitmaps_.empty() && bitmap_directory_offset_ == 0) co_return Result<void>{};
    if (!bitmaps_marked_)
        if (auto r = co_await mark_bitmaps_in_use(); !r) co_return r;
    for (Bitmap& b : bitmaps_)
        if (b.records()) b.bits.set(offset, length);
    co_return Result<void>{};
}

Task<Result<void>> Qcow2Node::do_write(uint64_t offset, const IoVec& from, WriteFlags flags) {
    if (damaged_) co_return no_more_writing();
    if (auto r = co_await mark_dirty(offset, from.size()); !r) co_return r;
    if (flags.compressed) {
        for (uint64_t done = 0; done < from.size();) {
            const uint64_t n = std::min<uint64_t>(h_.cluster_size() - ((offset + done) & (h_.cluster_size() - 1)), from.size() - done);
            const IoVec part = from.slice(done, n);
            if (auto r = co_await write_compressed(offset + done, part); !r) co_return co_await failed(std::move(r));
            done += n;
        }
        if (flags.fua) co_return co_await do_flush();
        co_return Result<void>{};
    }
    for (uint64_t done = 0; done < from.size();) {
        // One L2 table's reach at a time.
        const uint64_t n = std::min<uint64_t>(from.size() - done, h_.l2_reach() - (offset + done) % h_.l2_reach());
        const IoVec part = from.slice(done, n);
        if (auto r = co_await write_piece(offset + done, part); !r) co_return co_await failed(std::move(r));
        done += n;
    }
    if (flags.fua) co_return co_await do_flush();
    co_return Result<void>{};
}

bool Qcow2Node::in_place(const L2Ref& r, uint64_t within, uint64_t length) const {
    const uint64_t e = entry(r);
    if (!(e & kCopied) || (e & kCompressed)) return false;
    if (!h_.extended_l2()) return !(e & kZeroFlag);
    const uint64_t sub = h_.cluster_size() / 32, first = within / sub, last = (within + length - 1) / sub;
    const uint64_t want = low_bits(static_cast<unsigned>(last + 1)) & ~low_bits(static_cast<unsigned>(first));
    return (bitmap(r) & want) == want;
}

Result<void> Qcow2Node::refuse_place(uint64_t host) {
    if (data_file_) return {};
    if (host == 0) return found_damage("Preventing invalid write on metadata (overlaps with qcow2_header)");  // whatever the options say
    if (host >= file_->size() || (host & (h_.cluster_size() - 1)) != 0)
        return found_damage("a table says that data is at offset " + hex(host) + ", where none can be");
    return refuse_overlap(host);
}

Task<Result<Qcow2Node::L2Ref>> Qcow2Node::own_l2(uint64_t offset) {
    const uint64_t l1_index = offset / h_.l2_reach();
    L2Ref out{nullptr, (offset % h_.l2_reach()) >> h_.cluster_bits};
    if (l1_index >= l1_.size() || !(l1_[l1_index] & kCopied)) co_return out;
    if (auto r = refuse_overlap(l1_[l1_index] & kOffsetMask, Metadata::kActiveL2); !r) co_return std::unexpected(r.error());
    auto t = co_await table(l2_cache_, l1_[l1_index] & kOffsetMask);
    if (!t) co_return std::unexpected(t.error());
    out.table = *t;
    co_return out;
}

Task<Result<void>> Qcow2Node::reach(uint64_t end) {
    if (end <= file_->size()) co_return Result<void>{};
    const uint64_t step = std::clamp<uint64_t>(std::bit_floor(end / 8), 1u << 20, 64u << 20);
    // Not behind what the refcount block of the last cluster counts: the next block must find its own stretch unused.
    const uint64_t counted = align_up(end, refcounts_per_block() << h_.cluster_bits);
    grown_ahead_ = true;
    co_return co_await file_->grow_to(std::min(align_up(end, step), counted));
}

Task<Result<void>> Qcow2Node::reach_data(uint64_t end) {
    if (!data_file_) co_return co_await reach(end);
    // A data file is as long as the disk at most: it may be a raw image of its own.
    co_return co_await data_file_->grow_to(std::min(end, std::max(size_, data_file_->size())));
}

/// Writes within one L2 table: in place where a cluster of our own is there, else to new clusters.
Task<Result<void>> Qcow2Node::write_piece(uint64_t offset, const IoVec& from) {
    const uint64_t cluster = h_.cluster_size();
    for (uint64_t done = 0; done < from.size();) {
        const uint64_t at = offset + done;
        const IoVec rest = from.slice(done, from.size() - done);
        uint64_t host = 0, n = 0;
        {
            const auto range = co_await claim(at, at + rest.size(), false);
            {
                // Clusters with the copied flag are ours alone: in place, as long as the run goes on.
                const auto shared = co_await map_.lock_shared();
                auto r = co_await own_l2(at);
                if (!r) co_return std::unexpected(r.error());
                while (r->table != nullptr && n < rest.size()) {
                    const uint64_t within = (at + n) & (cluster - 1);
                    const uint64_t take = std::min(cluster - within, rest.size() - n);
                    if (!in_place(*r, within, take)) break;
                    const uint64_t here = (entry(*r) & kOffsetMask) + within;
                    if (auto ok = refuse_place(here - within); !ok) co_return ok;
                    if (n == 0) host = here;
                    else if (here != host + n) break;
                    n += take;
                    ++r->index;
                }
            }
            if (n > 0) {
                if (auto r = co_await reach_data(host + n); !r) co_return r;
                const IoVec part = rest.slice(0, n);
                file_->event("write_aio");
                if (auto r = h_.crypt == Crypt::kNone ? co_await data().write(host, part) : co_await write_encrypted(host, at, part); !r) co_return r;
            }
        }
        if (n == 0) {
            auto written = co_await write_new(at, rest);
            if (!written) co_return std::unexpected(written.error());
            n = *written;
        }
        done += n;
    }
    co_return Result<void>{};
}

Task<bool> Qcow2Node::hole(uint64_t offset, uint64_t length) {
    const auto shared = co_await map_.lock_shared();
    auto m = co_await map(offset, length);
    if (!m || m->length < length) co_return false;
    co_return m->kind == Mapping::Kind::kZero || (m->kind == Mapping::Kind::kUnallocated && (!backing_ || offset >= std::min(backing_->size(), size_)));
}

/// Writes to clusters that are not ours yet: allocate, write data with what surrounds it, then let the tables point there.
Task<Result<uint64_t>> Qcow2Node::write_new(uint64_t offset, const IoVec& from) {
    const uint64_t cluster = h_.cluster_size(), begin = align_down(offset, cluster);
    const uint64_t most = align_up(std::min(offset + from.size(), begin + std::max<uint64_t>(4u << 20, cluster)), cluster);
    const auto range = co_await claim(begin, most, true);
    // Up to where a cluster of our own begins (it may have become one while this waited), all is new.
    uint64_t count = 0;
    {
        const auto shared = co_await map_.lock_shared();
        auto r = co_await own_l2(begin);
        if (!r) co_return std::unexpected(r.error());
        for (uint64_t at = begin; at < most; at += cluster, ++r->index, ++count) {
            const uint64_t first = std::max(at, offset), last = std::min(at + cluster, offset + from.size());
            if (r->table != nullptr && in_place(*r, first - at, last - first)) break;
        }
    }
    if (count == 0) co_return uint64_t{0};
    bool fresh = false;
    uint64_t host = begin;  // in a data file: offsets follow the guest's, nothing else lives there
    if (!data_file_) {
        const auto alone = co_await map_.lock();
        // The table first: data lies in a row behind it, as other programs lay it out.
        if (auto r = co_await l2_for_write(begin); !r) co_return std::unexpected(r.error());
        auto got = co_await allocate(count, false);
        if (!got) co_return std::unexpected(got.error());
        host = got->first;
        count = got->second;
        fresh = allocated_fresh_ && h_.crypt == Crypt::kNone;  // zeroes on disk are not zeroes to a cipher
    }
    const uint64_t end = std::min(begin + (count << h_.cluster_bits), begin < size_ ? size_ : UINT64_MAX);
    const uint64_t to = std::min(offset + from.size(), begin + (count << h_.cluster_bits));
    // The data, with the rest of the first and last cluster around it.
    IoVec whole;
    std::vector<uint8_t> head, tail;
    Result<void> result;
    uint64_t skipped = 0;  // zeroes at the edges of clusters that read as zeroes need no writing
    if (fresh && offset > begin && co_await hole(begin, offset - begin)) skipped = offset - begin;
    else head.resize(offset - begin);
    if (end > to && !(fresh && co_await hole(to, end - to))) tail.resize(end - to);
    if (!head.empty() || !tail.empty()) file_->event("cow_read");
    if (!head.empty()) {
        result = co_await do_read(begin, IoVec(head.data(), head.size()));
        if (fresh && io::is_zero(head)) skipped = head.size();
        else whole.add(head.data(), head.size());
    }
    const IoVec middle = from.slice(0, to - offset);
    for (const iovec& p : middle.parts()) whole.add(p.iov_base, p.iov_len);
    if (result && !tail.empty()) {
        result = co_await do_read(to, IoVec(tail.data(), tail.size()));
        if (!fresh || !io::is_zero(tail)) whole.add(tail.data(), tail.size());
    }
    file_->event("write_aio");
    if (result) result = co_await reach_data(host + (count << h_.cluster_bits));
    if (result) result = h_.crypt == Crypt::kNone ? co_await data().write(host + skipped, whole) : co_await write_encrypted(host, begin, whole);
    const auto alone = co_await map_.lock();
    if (result && damaged_) result = no_more_writing();  // by another request, meanwhile
    if (!result) {
        if (!data_file_) free_later(host, count << h_.cluster_bits);
        co_return std::unexpected(result.error());
    }
    for (uint64_t i = 0; i < count; ++i) {
        auto r = co_await l2_for_write(begin + (i << h_.cluster_bits));
        if (!r) co_return std::unexpected(r.error());
        const uint64_t old = entry(*r);
        set_entry(*r, (host + (i << h_.cluster_bits)) | kCopied, low_bits(32));
        free_entry(old);
    }
    forget_compressed(begin, end);
    co_return to - offset;
}

// ---- zeroes and discards

/// Whole clusters become zeroes (or, with `unmap`, unallocated where that reads the same). `cut`: nobody reads them any more.
Task<Result<void>> Qcow2Node::zero_clusters(uint64_t offset, uint64_t length, bool unmap, bool cut) {
    const uint64_t cluster = h_.cluster_size();
    const auto range = co_await claim(offset, align_up(offset + length, cluster), true);
    const auto alone = co_await map_.lock();
    for (uint64_t at = offset; at < offset + length; at += cluster) {
        const uint64_t l1_index = at / h_.l2_reach();
        // Zeroes that are wanted as such, and those in front of a file that is not open, are stored even where nothing is behind.
        const bool backed = backing_ ? at < backing_->size() : !h_.backing_file.empty();
        const bool stored = backed || (!unmap && h_.version >= 3);
        if ((l1_[l1_index] & kOffsetMask) == 0 && !stored) {
            // Nothing there and nothing behind: a whole table's reach reads as zeroes already.
            at = std::min(align_up(at + 1, h_.l2_reach()), offset + length) - cluster;
            if ((at & (cluster - 1)) != 0) at = align_down(at, cluster);
            continue;
        }
        auto r = co_await l2_for_write(at);
        if (!r) co_return std::unexpected(r.error());
        const uint64_t e = entry(*r), bm = bitmap(*r);
        const bool none = h_.extended_l2() ? e == 0 && bm == 0 : e == 0;
        if (none && !stored) continue;
        const uint64_t zeroes = low_bits(32) << 32;
        const bool in_place = (e & kCopied) && !(e & kCompressed) && !unmap;
        if (data_file_ && raw_data_file()) {
            if (auto w = co_await data().write_zeroes(at, std::min(cluster, size_ - at), {.may_unmap = unmap}); !w) co_return w;
            continue;
        }
        if (h_.version < 3) {
            if (backed && !cut) co_return fail(ErrorKind::kUnsupported, filename_ + ": version 2 images have no zero clusters", ENOTSUP);
            set_entry(*r, 0, 0);
            free_entry(e);
            continue;
        }
        if (h_.extended_l2()) set_entry(*r, in_place ? e : 0, zeroes);
        else set_entry(*r, (in_place ? e : 0) | kZeroFlag, 0);
        if (!in_place) free_entry(e);
        forget_compressed(at, at + cluster);
    }
    co_return Result<void>{};
}

Task<Result<void>> Qcow2Node::do_write_zeroes(uint64_t offset, uint64_t length, WriteFlags flags) {
    if (damaged_) co_return no_more_writing();
    if (auto r = co_await mark_dirty(offset, length); !r) co_return r;
    const uint64_t cluster = h_.cluster_size();
    const uint64_t end = offset + length;
    uint64_t first = align_up(offset, cluster), last = end == size_ ? align_up(end, cluster) : align_down(end, cluster);
    if (first >= last || (h_.version < 3 && (backing_ || !h_.backing_file.empty()))) co_return co_await Node::do_write_zeroes(offset, length, flags);
    if (first > offset)
        if (auto r = co_await Node::do_write_zeroes(offset, first - offset, flags); !r) co_return r;
    if (auto r = co_await zero_clusters(first, last - first, flags.may_unmap); !r) co_return co_await failed(std::move(r));
    if (end > last)
        if (auto r = co_await Node::do_write_zeroes(last, end - last, flags); !r) co_return r;
    if (flags.fua) co_return co_await do_flush();
    co_return Result<void>{};
}

Task<Result<void>> Qcow2Node::do_discard(uint64_t offset, uint64_t length) {
    if (damaged_) co_return Result<void>{};
    if (auto r = co_await mark_dirty(offset, length); !r) co_return r;
    const uint64_t cluster = h_.cluster_size();
    const uint64_t first = align_up(offset, cluster), end = offset + length;
    const uint64_t last = end == size_ ? align_up(end, cluster) : align_down(end, cluster);
    if (first >= last) co_return Result<void>{};
    if (h_.version < 3 && (backing_ || !h_.backing_file.empty())) co_return Result<void>{};  // what is behind would show through
    auto r = co_await zero_clusters(first, last - first, true);
    co_return r ? r : co_await failed(std::move(r));
}

}  // namespace myna::block::qcow2
