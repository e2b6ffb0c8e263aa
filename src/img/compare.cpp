// compare: whether two disks read the same. What both lack is not read; the rest is read by several coroutines, and of
// all differences found the first is told.
//
// Exit codes: 0 the same, 1 different (or misused), 2 an image does not open, 3 and 4 reading its map or data failed.
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "block/graph/chain.h"
#include "img/parallel.h"

namespace myna::img {

namespace {

// What is read mostly stays in the processor's caches until it is compared, and requests are not too many; from other machines
// it comes in larger pieces.
constexpr uint64_t kChunk = 512 << 10, kChunkFromAfar = 1 << 20, kSector = 512;
constexpr unsigned kWorkers = 4;

struct Comparison {
    Node &a, &b;
    bool strict;
    Progress& progress;
    uint64_t at = 0, end = 0, whole = 0, chunk;
    struct Known {
        block::ChainExtent extent;
        uint64_t end = 0;
    } known_a, known_b;            // what the disks are made of from `at` on
    uint64_t mismatch = UINT64_MAX;
    bool status_mismatch = false;
    int failed = 0;                // exit code of the first failure
    uint64_t failed_at = 0;
    std::string failed_in;         // the image's name as given
    std::string name_a, name_b;
    io::Mutex next;

    Comparison(Node& x, Node& y, bool s, Progress& p) : a(x), b(y), strict(s), progress(p), next(x.reactor()) {
        end = std::min(a.size(), b.size());
        whole = std::max(a.size(), b.size());
        chunk = is_local(a) && is_local(b) ? kChunk : kChunkFromAfar;
    }
};

struct Piece {
    uint64_t offset = 0, length = 0;
    bool read_a = false, read_b = false;
};

/// What `n` is made of from `at` on, up to `end`, asked once for each extent.
Task<Result<uint64_t>> look(Node& n, Comparison::Known& k, uint64_t at, uint64_t end) {
    if (at >= k.end) {
        auto e = co_await block::status_above(n, nullptr, at, end - at);
        if (!e) co_return std::unexpected(e.error());
        k.extent = *e;
        k.end = at + e->length;
    }
    co_return std::min(k.end, end) - at;
}

/// Notes where it went wrong; of failures at several places the first one counts.
void note(Comparison& c, int code, uint64_t at, const Node& in) {
    if (c.failed != 0 && c.failed_at <= at) return;
    c.failed = code;
    c.failed_at = at;
    c.failed_in = &in == &c.a ? c.name_a : c.name_b;
}

/// The next stretch that has to be looked at; length 0 at the end.
Task<Result<Piece>> next_piece(Comparison& c) {
    const auto alone = co_await c.next.lock();
    while (c.at < c.whole && c.mismatch == UINT64_MAX && c.failed == 0) {
        Piece p{.offset = c.at};
        if (c.at < c.end) {
            auto long_a = co_await look(c.a, c.known_a, c.at, c.end);
            if (!long_a) co_return note(c, 3, c.at, c.a), std::unexpected(long_a.error());
            auto long_b = co_await look(c.b, c.known_b, c.at, c.end);
            if (!long_b) co_return note(c, 3, c.at, c.b), std::unexpected(long_b.error());
            p.length = std::min(*long_a, *long_b);
            const block::ChainExtent *x = &c.known_a.extent, *y = &c.known_b.extent;
            if (c.strict && (x->data != y->data || x->zero != y->zero || x->allocated != y->allocated || x->compressed != y->compressed)) {
                c.mismatch = c.at;
                c.status_mismatch = true;
                break;
            }
            p.read_a = !x->zero && x->data;
            p.read_b = !y->zero && y->data;
        } else {
            // What one image has beyond the other's end must be zeroes.
            Node& longer = c.a.size() > c.b.size() ? c.a : c.b;
            Comparison::Known& known = &longer == &c.a ? c.known_a : c.known_b;
            auto length = co_await look(longer, known, c.at, c.whole);
            if (!length) co_return note(c, 3, c.at, longer), std::unexpected(length.error());
            p.length = *length;
            (&longer == &c.a ? p.read_a : p.read_b) = !known.extent.zero && known.extent.data;
        }
        if (!p.read_a && !p.read_b) {
            c.at += p.length;
            c.progress.report(c.at, c.whole);
            continue;
        }
        p.length = std::min(p.length, c.chunk);
        c.at += p.length;
        c.progress.report(c.at, c.whole);
        co_return p;
    }
    co_return Piece{};
}

uint64_t first_difference(const uint8_t* x, const uint8_t* y, uint64_t n) {
    for (uint64_t at = 0; at < n; at += kSector)
        if (std::memcmp(x + at, y + at, std::min(kSector, n - at)) != 0) return at;
    return n;
}
uint64_t first_nonzero(const uint8_t* x, uint64_t n) {
    for (uint64_t at = 0; at < n; at += kSector)
        if (!io::is_zero({x + at, std::min(kSector, n - at)})) return at;
    return n;
}

Task<Result<void>> worker(Comparison& c) {
    const Buffer x(c.chunk), y(c.chunk);
    for (;;) {
        auto p = co_await next_piece(c);
        if (!p) co_return std::unexpected(p.error());
        if (p->length == 0) co_return Result<void>{};
        Result<void> r;
        Node* from = &c.a;
        const IoVec into_x(x.data(), p->length), into_y(y.data(), p->length);
        if (p->read_a) r = co_await c.a.read(p->offset, into_x);
        if (r && p->read_b) r = co_await (from = &c.b)->read(p->offset, into_y);
        if (!r) {
            note(c, 4, p->offset, *from);
            co_return r;
        }
        uint64_t same = p->length;
        if (p->read_a && p->read_b) {
            if (std::memcmp(x.data(), y.data(), p->length) != 0) same = first_difference(x.data(), y.data(), p->length);
        } else {
            const uint8_t* only = p->read_a ? x.data() : y.data();
            if (!io::is_zero({only, p->length})) same = first_nonzero(only, p->length);
        }
        if (same < p->length) {
            c.mismatch = std::min(c.mismatch, p->offset + same);
            c.status_mismatch = false;
        }
    }
}

constexpr Option kOptions[] = {{'f', "a-format", "FMT", "format of the first image"}, {'F', "b-format", "FMT", "format of the second image"}, kOptImageOpts,
                               {'s', "strict", "", "sizes and allocation must be the same too"}, kOptSourceCache, kOptProgress, kOptQuiet, kOptShare, kOptObject};

Task<int> run(Tool& tool, Args& a) {
    if (a.rest.size() != 2) co_return tool.usage("Expecting two image file names");
    const std::string cache = a.get("source-cache", "writeback");
    if (OpenOptions o; !set_cache_mode(o, cache)) co_return tool.error("Invalid source cache option: " + cache), 2;
    const bool quiet = a.has("quiet"), strict = a.has("strict");
    NodePtr nodes[2];
    const std::string formats[] = {a.get("a-format"), a.get("b-format")};
    for (int i = 0; i < 2; ++i) {
        nodes[i] = co_await open_image(tool, {.name = a.rest[static_cast<size_t>(i)], .format = formats[i], .image_opts = a.has("image-opts"), .force_share = a.has("force-share"), .cache = cache});
        if (!nodes[i]) co_return 2;
    }
    int code = 0;
    {
        Progress progress(a.has("progress") && !quiet);
        if (strict && nodes[0]->size() != nodes[1]->size()) {
            if (!quiet) std::printf("Strict mode: Image size mismatch!\n");
            co_return 1;
        }
        Comparison c(*nodes[0], *nodes[1], strict, progress);
        c.name_a = a.rest[0];
        c.name_b = a.rest[1];
        Parallel all(tool.reactor);
        for (unsigned i = 0; i < kWorkers; ++i) all.start(worker(c));
        const auto r = co_await all.wait();
        if (!quiet && nodes[0]->size() != nodes[1]->size() && (r || c.mismatch != UINT64_MAX ? c.mismatch : c.failed_at) >= c.end) std::printf("Warning: Image size mismatch!\n");
        if (c.mismatch == UINT64_MAX && !r) {
            if (c.failed == 3) tool.error("Sector allocation test failed for " + c.failed_in + ": " + r.error().message);
            else tool.error(text("Error while reading offset %llu of %s: %s", static_cast<unsigned long long>(c.failed_at), c.failed_in.c_str(),
                                 reason(r.error()).c_str()));
            co_return c.failed;
        }
        if (c.mismatch != UINT64_MAX) {
            if (!quiet) {
                if (c.status_mismatch) std::printf("Strict mode: Offset %llu block status mismatch!\n", static_cast<unsigned long long>(c.mismatch));
                else std::printf("Content mismatch at offset %llu!\n", static_cast<unsigned long long>(c.mismatch));
            }
            code = 1;
        } else {
            progress.finish();
            if (!quiet) std::printf("Images are identical.\n");
        }
    }
    for (const NodePtr& n : nodes)
        if (auto r = co_await n->close(); !r) co_return tool.error(r.error()), 2;
    co_return code;
}

}  // namespace

const Command kCompare{"compare", "FILE1 FILE2", "Says whether two images have the same contents", kOptions, run};

}  // namespace myna::img
