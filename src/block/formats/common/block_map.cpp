#include "block/formats/common/block_map.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/bits.h"

namespace myna::block::formats {

namespace {
// A write to new space moves at most this much at once.
constexpr uint64_t kLargestNew = 4 << 20;
}  // namespace

BlockMapNode::BlockMapNode(Graph& graph, NodePtr file) : Node(graph.reactor()), graph_(graph), map_(graph.reactor()) {
    file_ = std::move(file);
    filename_ = file_->filename();
    read_only_ = file_->read_only();
}

std::unexpected<Error> BlockMapNode::corrupt(const std::string& what) const {
    return fail(ErrorKind::kCorrupt, filename_ + ": " + what, EINVAL);
}

Task<void> BlockMapNode::wait_for(uint64_t first, uint64_t end) {
    struct Wait {
        InFlight& f;
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> h) { f.waiters.push_back(h); }
        void await_resume() const noexcept {}
    };
    for (;;) {
        const auto it = std::find_if(in_flight_.begin(), in_flight_.end(), [&](const InFlight& f) { return f.begin < end && first < f.end; });
        if (it == in_flight_.end()) co_return;
        co_await Wait{*it};
    }
}

Task<Result<Place>> BlockMapNode::place(uint64_t block) {
    std::optional<Place> p;
    while (!(p = cached(block)))
        if (auto r = co_await load(block); !r) co_return std::unexpected(r.error());
    if (p->kind == Place::Kind::kBad) co_return corrupt("the table entry of block " + std::to_string(block) + " points outside the image (offset " + std::to_string(p->host) + "); the image is damaged");
    co_return *p;
}

/// How far from `offset`, whose place is `p`, the same goes on, as far as tables are in memory.
uint64_t BlockMapNode::run(uint64_t offset, uint64_t length, const Place& p) {
    using K = Place::Kind;
    const uint64_t block = offset / block_bytes_, within = offset % block_bytes_;
    if (p.kind == K::kCompressed || p.kind == K::kPartial) return std::min(length, block_bytes_ - within);
    uint64_t count = p.blocks;
    const uint64_t needed = (within + length + block_bytes_ - 1) / block_bytes_;
    while (count < needed) {
        const auto q = cached(block + count);
        if (!q || q->kind != p.kind || q->file != p.file || (p.kind == K::kData && q->host != p.host + count * block_bytes_)) break;
        count += q->blocks;
    }
    return count >= needed ? length : count * block_bytes_ - within;
}

// ---- reading

Task<Result<void>> BlockMapNode::read_backing(uint64_t offset, const IoVec& into) {
    const uint64_t there = backed(offset) ? std::min<uint64_t>(into.size(), backing_->size() - backing_offset_ - offset) : 0;
    if (there < into.size()) into.slice(there, into.size() - there).fill(0);
    if (there == 0) co_return Result<void>{};
    const IoVec part = into.slice(0, there);
    co_return co_await backing_->read(backing_offset_ + offset, part);
}

Task<Result<void>> BlockMapNode::do_read(uint64_t offset, const IoVec& into) {
    using K = Place::Kind;
    for (uint64_t done = 0; done < into.size();) {
        const uint64_t at = offset + done, block = at / block_bytes_, within = at % block_bytes_;
        auto p = co_await place(block);
        if (!p) co_return std::unexpected(p.error());
        uint64_t n = run(at, into.size() - done, *p);
        bool here = true;
        if (p->kind == K::kPartial) {
            auto r = co_await partial_run(block, within, n, here);
            if (!r) co_return std::unexpected(r.error());
            n = *r;
        }
        const IoVec part = into.slice(done, n);
        Result<void> r;
        if (p->kind == K::kNone || !here) {
            r = co_await read_backing(at, part);
        } else if (p->kind == K::kZero) {
            part.fill(0);
        } else if (p->kind == K::kCompressed) {
            r = co_await read_compressed(*p, block, within, part);
        } else {
            Node& f = p->file != nullptr ? *p->file : *file_;
            const uint64_t from = p->host + within;
            const uint64_t there = from < f.size() ? std::min(n, f.size() - from) : 0;
            if (there < n) part.slice(there, n - there).fill(0);
            const IoVec stored = part.slice(0, there);
            if (there != 0) r = co_await f.read(from, stored);
        }
        if (!r) co_return r;
        done += n;
    }
    co_return Result<void>{};
}

Task<Result<Extent>> BlockMapNode::do_block_status(uint64_t offset, uint64_t length) {
    using K = Place::Kind;
    const uint64_t block = offset / block_bytes_, within = offset % block_bytes_;
    auto p = co_await place(block);
    if (!p) co_return std::unexpected(p.error());
    Extent e;
    e.length = run(offset, length, *p);
    bool here = true;
    if (p->kind == K::kPartial) {
        auto r = co_await partial_run(block, within, e.length, here);
        if (!r) co_return std::unexpected(r.error());
        e.length = *r;
    }
    if (p->kind == K::kNone || !here) {
        e.zero = !backed(offset);
        if (backed(offset)) e.length = std::min(e.length, backing_->size() - backing_offset_ - offset);
    } else if (p->kind == K::kZero) {
        e.zero = e.allocated = true;
    } else {
        e.data = e.allocated = true;
        e.compressed = p->kind == K::kCompressed;
        if (!e.compressed) {
            Node& f = p->file != nullptr ? *p->file : *file_;
            e.offset = p->host + within;
            e.file = &f;
            if (look_below_ && *e.offset < f.size()) {
                auto below = co_await f.block_status(*e.offset, std::min(e.length, f.size() - *e.offset));
                if (!below) co_return below;
                e.length = below->length;
                e.zero = below->zero;
            }
        }
    }
    co_return e;
}

// ---- writing

Task<Result<void>> BlockMapNode::begin_writing() {
    if (writing_) co_return Result<void>{};
    const auto alone = co_await map_.lock();
    if (writing_) co_return Result<void>{};
    if (auto r = co_await before_first_write(); !r) co_return r;
    writing_ = true;
    co_return Result<void>{};
}

Task<Result<void>> BlockMapNode::do_write(uint64_t offset, const IoVec& from, WriteFlags flags) {
    using K = Place::Kind;
    if (auto r = co_await begin_writing(); !r) co_return r;
    if (flags.compressed) {
        auto r = co_await write_compressed(offset, from);
        if (r && flags.fua) r = co_await do_flush();
        co_return r;
    }
    for (uint64_t done = 0; done < from.size();) {
        const uint64_t at = offset + done, block = at / block_bytes_, left = from.size() - done;
        co_await wait_for(block, (at + left + block_bytes_ - 1) / block_bytes_);
        auto p = co_await place(block);
        if (!p) co_return std::unexpected(p.error());
        if (auto w = writable(*p); !w) co_return w;
        uint64_t n = run(at, left, *p);
        if (p->kind == K::kData) {
            Node& f = p->file != nullptr ? *p->file : *file_;
            const uint64_t to = p->host + at % block_bytes_;
            if (to + n > f.size())
                if (auto r = co_await f.grow_to(to + n); !r) co_return r;
            const IoVec part = from.slice(done, n);
            if (auto r = co_await f.write(to, part); !r) co_return r;
        } else {
            // Cut at a block's end: what is behind may need another way.
            if (n > kLargestNew) n = std::max<uint64_t>(1, (at % block_bytes_ + kLargestNew) / block_bytes_) * block_bytes_ - at % block_bytes_;
            n = std::min(n, left);
            const IoVec part = from.slice(done, n);
            if (auto r = co_await write_new(at, part); !r) co_return r;
        }
        done += n;
    }
    if (flags.fua) co_return co_await do_flush();
    co_return Result<void>{};
}

/// Blocks without a place of their own get one: data first, then the table.
Task<Result<void>> BlockMapNode::write_new(uint64_t offset, const IoVec& from) {
    using K = Place::Kind;
    for (uint64_t done = 0; done < from.size();) {
        const uint64_t at = offset + done, first = at / block_bytes_;
        uint64_t count = (offset + from.size() + block_bytes_ - 1) / block_bytes_ - first;
        co_await wait_for(first, first + count);
        // Somebody else may have given it a place while this one waited.
        auto now = co_await place(first);
        if (!now) co_return std::unexpected(now.error());
        if (now->kind == K::kData) {
            const IoVec part = from.slice(done, std::min<uint64_t>(from.size() - done, block_bytes_ - at % block_bytes_));
            if (auto r = co_await do_write(at, part, {}); !r) co_return r;
            done += part.size();
            continue;
        }
        const Range range(*this, first, first + count);
        uint64_t host;
        {
            const auto alone = co_await map_.lock();
            auto got = co_await reserve(first, count);
            if (!got) co_return std::unexpected(got.error());
            host = got->first;
            count = got->second;
        }
        const uint64_t begin = first * block_bytes_, end = std::min(begin + count * block_bytes_, size_);
        const uint64_t to = std::min(offset + from.size(), begin + count * block_bytes_);
        // What is around the data in the first and the last block. New space reads as zeroes already.
        auto last = co_await place((to - 1) / block_bytes_);
        if (!last) co_return std::unexpected(last.error());
        const bool clean = file_->zero_init();
        const auto empty = [&](const Place& p, uint64_t from_byte) { return clean && (p.kind == K::kZero || (p.kind == K::kNone && !backed(from_byte))); };
        std::vector<uint8_t> head(empty(*now, begin) ? 0 : at - begin), tail(empty(*last, to) ? 0 : end - to);
        IoVec whole;
        Result<void> result;
        if (!head.empty()) {
            const IoVec part(head.data(), head.size());
            result = co_await do_read(begin, part);
            whole.add(head.data(), head.size());
        }
        const IoVec middle = from.slice(done, to - at);
        for (const iovec& p : middle.parts()) whole.add(p.iov_base, p.iov_len);
        if (result && !tail.empty()) {
            const IoVec part(tail.data(), tail.size());
            result = co_await do_read(to, part);
            whole.add(tail.data(), tail.size());
        }
        const uint64_t start = host + (at - begin) - head.size();
        if (result && start + whole.size() > file_->size()) result = co_await file_->grow_to(start + whole.size());
        if (result) result = co_await file_->write(start, whole);
        if (!result) co_return result;
        const auto alone = co_await map_.lock();
        if (auto r = co_await point(first, count, host); !r) co_return r;
        done = to - offset;
    }
    co_return Result<void>{};
}

Task<Result<std::pair<uint64_t, uint64_t>>> BlockMapNode::reserve(uint64_t, uint64_t count) { return append(count); }

Task<Result<std::pair<uint64_t, uint64_t>>> BlockMapNode::append(uint64_t count) {
    const uint64_t host = next_, end = host + count * block_bytes_;
    if (host < file_->size())  // left over from a crash, or preallocated: not known to be zeroes
        if (auto r = co_await file_->write_zeroes(host, std::min(end, file_->size()) - host, {.may_unmap = true}); !r) co_return std::unexpected(r.error());
    if (end > file_->size())
        if (auto r = co_await file_->grow_to(end); !r) co_return std::unexpected(r.error());
    next_ = end;
    co_return std::pair{host, count};
}

Task<Result<void>> BlockMapNode::do_write_zeroes(uint64_t offset, uint64_t length, WriteFlags flags) {
    using K = Place::Kind;
    if (auto r = co_await begin_writing(); !r) co_return r;
    for (uint64_t done = 0; done < length;) {
        const uint64_t at = offset + done, block = at / block_bytes_, within = at % block_bytes_, left = length - done;
        co_await wait_for(block, (at + left + block_bytes_ - 1) / block_bytes_);
        auto p = co_await place(block);
        if (!p) co_return std::unexpected(p.error());
        uint64_t n = run(at, left, *p);
        if (p->kind == K::kZero || (p->kind == K::kNone && !backed(at))) {
            done += n;
            continue;
        }
        if (auto w = writable(*p); !w) co_return w;
        // Whole blocks, the last one of the disk among them even when it is short.
        const bool to_end = at + n == size_;
        const uint64_t whole = within != 0 ? 0 : to_end ? (n + block_bytes_ - 1) / block_bytes_ : n / block_bytes_;
        if (whole > 0 && p->kind != K::kData) {
            const auto alone = co_await map_.lock();
            auto done_so = co_await zero_blocks(block, whole);
            if (!done_so) co_return std::unexpected(done_so.error());
            if (*done_so) {
                done += std::min(n, whole * block_bytes_);
                continue;
            }
        }
        if (p->kind == K::kData) {
            Node& f = p->file != nullptr ? *p->file : *file_;
            const uint64_t to = p->host + within;
            if (to + n > f.size())
                if (auto r = co_await f.grow_to(to + n); !r) co_return r;
            if (auto r = co_await f.write_zeroes(to, n, {.may_unmap = flags.may_unmap, .no_fallback = flags.no_fallback}); !r) co_return r;
        } else {
            // Up to the block's end, so that what follows can be looked at again.
            if (within != 0) n = std::min(n, block_bytes_ - within);
            if (auto r = co_await Node::do_write_zeroes(at, n, {.no_fallback = flags.no_fallback}); !r) co_return r;
        }
        done += n;
    }
    if (flags.fua) co_return co_await do_flush();
    co_return Result<void>{};
}

Task<Result<void>> BlockMapNode::do_discard(uint64_t offset, uint64_t length) {
    using K = Place::Kind;
    if (auto r = co_await begin_writing(); !r) co_return r;
    for (uint64_t done = 0; done < length;) {
        const uint64_t at = offset + done, block = at / block_bytes_;
        auto p = co_await place(block);
        if (!p) co_return std::unexpected(p.error());
        const uint64_t n = run(at, length - done, *p);
        Node& f = p->file != nullptr ? *p->file : *file_;
        const uint64_t to = p->host + at % block_bytes_;
        if (p->kind == K::kData && to + n <= f.size() && writable(*p))
            if (auto r = co_await f.discard(to, n); !r) co_return r;
        done += n;
    }
    co_return Result<void>{};
}

// ---- tables

Task<Result<void>> BlockMapNode::flush_tables() {
    if (auto r = co_await file_->flush(); !r) co_return r;
    if (!tables_dirty_) co_return Result<void>{};
    if (auto r = co_await write_tables(); !r) co_return r;
    tables_dirty_ = false;
    co_return co_await file_->flush();
}

Task<Result<void>> BlockMapNode::do_flush() {
    const auto alone = co_await map_.lock();
    co_return co_await flush_tables();
}

Task<Result<CheckResult>> BlockMapNode::check_places(uint64_t data_start) {
    using K = Place::Kind;
    CheckResult out;
    constexpr size_t kMostMessages = 1000;
    std::vector<uint64_t> taken;
    // A table may say the same place a billion times: such are counted and forgotten before they fill the memory.
    size_t fold_at = 1 << 20;
    const auto fold = [&] {
        std::sort(taken.begin(), taken.end());
        size_t kept = 0;
        for (const uint64_t host : taken) {
            if (kept == 0 || taken[kept - 1] != host) {
                taken[kept++] = host;
                continue;
            }
            ++out.corruptions;
            if (out.messages.size() < kMostMessages) out.messages.push_back("ERROR: two blocks share the bytes at offset " + std::to_string(host));
        }
        taken.resize(kept);
        fold_at = std::max<size_t>(1 << 20, kept * 2);
    };
    uint64_t previous = 0;
    out.total_clusters = blocks();
    for (uint64_t b = 0; b < blocks();) {
        std::optional<Place> p;
        while (!(p = cached(b)))
            if (auto r = co_await load(b); !r) co_return std::unexpected(r.error());
        const uint64_t n = std::max<uint64_t>(1, std::min(p->blocks, blocks() - b));
        if (p->kind == K::kBad || (p->kind == K::kData && (p->host < data_start || p->host >= file_->size()))) {
            ++out.corruptions;
            if (out.messages.size() < kMostMessages) out.messages.push_back("ERROR: block " + std::to_string(b) + " is at offset " + std::to_string(p->host) + ", outside the image's data");
        } else if (p->kind == K::kData || p->kind == K::kPartial) {
            taken.push_back(p->host);
            if (taken.size() >= fold_at) fold();
            ++out.allocated_clusters;
            if (previous != 0 && p->host != previous + block_bytes_) ++out.fragmented_clusters;
            previous = p->host;
        }
        b += n;
    }
    fold();
    for (size_t i = 1; i < taken.size(); ++i)
        if (taken[i] - taken[i - 1] < block_bytes_) {
            ++out.corruptions;
            if (out.messages.size() < kMostMessages) out.messages.push_back("ERROR: two blocks share the bytes at offset " + std::to_string(taken[i]));
        }
    out.image_end_offset = taken.empty() ? data_start : taken.back() + block_bytes_;
    co_return out;
}

// ---- defaults

Task<Result<void>> BlockMapNode::point(uint64_t, uint64_t, uint64_t) {
    co_return fail(ErrorKind::kUnsupported, filename_ + ": new blocks cannot be written to this kind of '" + std::string(driver()) + "' image", ENOTSUP);
}
Task<Result<void>> BlockMapNode::write_tables() { co_return Result<void>{}; }
Task<Result<void>> BlockMapNode::before_first_write() { co_return Result<void>{}; }
Task<Result<void>> BlockMapNode::read_compressed(Place, uint64_t, uint64_t, const IoVec&) {
    co_return fail(ErrorKind::kInternal, filename_ + ": compressed block in a format without compression");
}
Task<Result<void>> BlockMapNode::write_compressed(uint64_t, const IoVec&) {
    co_return fail(ErrorKind::kUnsupported, filename_ + ": format '" + std::string(driver()) + "' does not support compressed writes", ENOTSUP);
}
Task<Result<uint64_t>> BlockMapNode::partial_run(uint64_t, uint64_t, uint64_t length, bool& here) {
    here = true;
    co_return length;
}
Task<Result<bool>> BlockMapNode::zero_blocks(uint64_t, uint64_t) { co_return false; }

}  // namespace myna::block::formats
