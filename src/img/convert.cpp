// convert: copies one or more images to a new one.
//
//   sources ─▶ block status ─▶ pieces ─▶ workers (-m): read, look for zeroes ─▶ write, in order unless -W
//                                              └─ compressed (-c): one piece a cluster, on all cores
//
// Holes are never read; zeroes in data are found in steps of -S. Pieces are handed out under a lock, writes begin in the
// order of the pieces, so the new image is laid out in the order of the disk.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>

#include "block/graph/chain.h"
#include "img/convert.h"
#include "img/create.h"
#include "img/parallel.h"
#include "img/resume.h"

namespace myna::img {

using nlohmann::json;

namespace {

// Of raw and qcow2, and of another machine's disk, fewer and larger requests are faster. Formats that are read grain by grain
// and compressed clusters gain nothing by more than this, and small pieces cost less memory.
constexpr uint64_t kChunk = 384 << 10, kLargeChunk = 1 << 20, kSector = 512;

struct Conversion {
    Conversion(Tool& t, Progress& p) : tool(t), progress(p), next(t.reactor), order(t.reactor) {}
    Tool& tool;
    Progress& progress;
    std::vector<NodePtr> sources;
    std::vector<uint64_t> begins;        // of each source in the target
    uint64_t total = 0;
    NodePtr target;
    uint64_t min_sparse = 4096;          // 0: no zero detection
    uint64_t rate = 0;                   // bytes per second, 0: no limit
    bool compressed = false, target_zero = false, target_backed = false, salvage = false, copy_range = false, in_order = true, quiet = false;
    uint64_t chunk = kLargeChunk;        // a piece of data has no more
    uint64_t target_backing_size = 0;
    uint64_t cluster = 0;                // of the target, when compressing

    // ---- what the workers share
    uint64_t at = 0, done = 0;
    block::ChainExtent extent;           // what [extent_at, extent_end) is made of; the sources do not change
    uint64_t extent_at = 0, extent_end = 0;
    uint64_t pieces = 0;
    bool failed = false;
    io::Mutex next;
    InOrder order;
    std::chrono::steady_clock::time_point began = std::chrono::steady_clock::now();
    uint64_t sent = 0;
    Resume* resume = nullptr;
    std::map<uint64_t, uint64_t> finished;  // pieces done behind a gap: begin -> end
};

struct Piece {
    uint64_t number = 0, offset = 0, length = 0;
    enum class Kind : uint8_t { kData, kZero, kSkip } kind = Kind::kData;
    size_t source = 0;
    const Node* file = nullptr;          // where the stored bytes are, when that is known
    uint64_t file_offset = 0;
};

size_t source_of(const Conversion& c, uint64_t at) {
    size_t i = c.sources.size() - 1;
    while (c.begins[i] > at) --i;
    return i;
}

/// The next piece; length 0 at the end.
Task<Result<Piece>> next_piece(Conversion& c) {
    const auto alone = co_await c.next.lock();
    while (c.at < c.total && !c.failed) {
        const size_t i = source_of(c, c.at);
        Node& n = *c.sources[i];
        const uint64_t within = c.at - c.begins[i];
        Piece p{.offset = c.at, .length = n.size() - within, .source = i};
        if (c.target_backed && c.at < c.target_backing_size) p.length = std::min(p.length, c.target_backing_size - c.at);
        Result<void> s;
        if (c.at >= c.extent_end) {
            // With a backing file behind the target, only what the top layer has is copied.
            auto e = co_await block::status_above(n, c.target_backed ? n.backing().get() : nullptr, within, p.length);
            // Up to the damage the map is good.
            while (!e && c.salvage && p.length > kSector) {
                p.length = std::max(kSector, p.length / 2 / kSector * kSector);
                e = co_await block::status_above(n, c.target_backed ? n.backing().get() : nullptr, within, p.length);
            }
            if (e) {
                c.extent = *e;
                c.extent_at = c.at;
                c.extent_end = c.at + e->length;
            } else {
                s = std::unexpected(std::move(e.error()));
            }
        }
        if (!s) {
            if (!c.salvage) co_return std::unexpected(std::move(s.error()).in(text("error while reading block status at offset %llu", static_cast<unsigned long long>(c.at))));
            p.length = std::min<uint64_t>(p.length, kSector);  // the map is damaged here: the next sector may be readable
            if (!c.quiet) c.tool.warning(text("error while reading block status at offset %llu: %s", static_cast<unsigned long long>(c.at), reason(s.error()).c_str()));
        } else {
            const block::ChainExtent& e = c.extent;
            p.length = c.extent_end - c.at;
            if (e.zero) p.kind = c.target_backed && c.at >= c.target_backing_size && c.target_zero ? Piece::Kind::kSkip : Piece::Kind::kZero;
            else if (!e.data) p.kind = c.target_backed ? Piece::Kind::kSkip : Piece::Kind::kData;
            if (e.data && e.offset && e.file != nullptr) {
                p.file = e.file;
                p.file_offset = *e.offset + (c.at - c.extent_at);
            }
        }
        if (p.kind == Piece::Kind::kZero && c.min_sparse == 0) p.kind = Piece::Kind::kData;
        if (p.kind == Piece::Kind::kZero && c.target_zero && !c.target_backed) p.kind = Piece::Kind::kSkip;
        if (c.compressed) {
            // Whole clusters: a piece that begins or ends within one takes all of it.
            const uint64_t to_end = c.cluster - c.at % c.cluster;
            if (p.kind == Piece::Kind::kData || p.length < to_end || c.at % c.cluster != 0) {
                p.kind = Piece::Kind::kData;
                p.file = nullptr;
                p.length = std::min(to_end, c.total - c.at);
            } else if (p.length < c.total - c.at) {
                p.length = p.length / c.cluster * c.cluster;
            }
        } else if (p.kind == Piece::Kind::kData) {
            p.length = std::min(p.length, c.extent.compressed ? kChunk : c.chunk);
        }
        c.at += p.length;
        if (p.kind == Piece::Kind::kSkip) {
            c.done += p.length;
            c.finished[p.offset] = p.offset + p.length;
            c.progress.report(c.done, c.total);
            continue;
        }
        p.number = c.pieces++;
        co_return p;
    }
    co_return Piece{};
}

/// Reads a piece; it may go over the end of one source into the next. Damaged sectors become zeroes with --salvage.
Task<Result<void>> read_piece(Conversion& c, Piece p, uint8_t* into) {
    for (uint64_t done = 0; done < p.length;) {
        const size_t i = source_of(c, p.offset + done);
        Node& n = *c.sources[i];
        const uint64_t within = p.offset + done - c.begins[i];
        const uint64_t length = std::min(p.length - done, n.size() - within);
        const IoVec part(into + done, length);
        auto r = co_await n.read(within, part);
        if (!r && !c.salvage) co_return std::unexpected(std::move(r.error()).in(text("error while reading at byte %llu", static_cast<unsigned long long>(p.offset + done))));
        if (!r) {
            for (uint64_t at = 0; at < length; at += kSector) {
                const IoVec sector(into + done + at, std::min(kSector, length - at));
                if (auto one = co_await n.read(within + at, sector); !one) {
                    if (!c.quiet) c.tool.warning(text("error while reading offset %llu: %s", static_cast<unsigned long long>(p.offset + done + at), reason(one.error()).c_str()));
                    sector.fill(0);
                }
            }
        }
        done += length;
    }
    co_return Result<void>{};
}

/// Lets the kernel copy (and share where the file system can). False: it cannot, copy by reading.
Task<bool> copy_in_kernel(Conversion& c, Piece p) {
    const Node* to = c.target->driver() == "raw" ? c.target->file().get() : nullptr;
    if (p.file == nullptr || to == nullptr || p.file->host_fd() < 0 || to->host_fd() < 0) co_return false;
    const int from_fd = p.file->host_fd(), to_fd = to->host_fd();
    auto in = static_cast<off_t>(p.file_offset), out = static_cast<off_t>(p.offset);
    uint64_t left = p.length;
    bool ok = true;
    co_await c.tool.reactor.offload([&] {
        while (left > 0) {
            const ssize_t n = copy_file_range(from_fd, &in, to_fd, &out, left, 0);
            if (n <= 0) {
                ok = false;
                return;
            }
            left -= static_cast<uint64_t>(n);
        }
    });
    co_return ok;
}

Task<Result<void>> write_zeroes(Conversion& c, uint64_t offset, uint64_t length) {
    if (c.target_zero && !c.target_backed) co_return Result<void>{};
    co_return co_await c.target->write_zeroes(offset, length, {.may_unmap = c.min_sparse != 0});
}

/// Writes what is not zero of a piece that was read.
Task<Result<void>> write_data(Conversion& c, Piece p, const uint8_t* data) {
    const auto bytes = const_cast<uint8_t*>(data);
    if (c.compressed) {
        if (c.min_sparse != 0 && io::is_zero({data, p.length})) co_return co_await write_zeroes(c, p.offset, p.length);
        const IoVec whole(bytes, p.length);
        co_return co_await c.target->write(p.offset, whole, {.compressed = true});
    }
    if (c.min_sparse == 0) {
        const IoVec whole(bytes, p.length);
        co_return co_await c.target->write(p.offset, whole);
    }
    const auto step_end = [&](uint64_t at) { return std::min(p.length, (p.offset + at) / c.min_sparse * c.min_sparse + c.min_sparse - p.offset); };
    for (uint64_t at = 0; at < p.length;) {
        uint64_t end = step_end(at);
        const bool zero = io::is_zero({data + at, end - at});
        while (end < p.length) {
            const uint64_t further = step_end(end);
            if (io::is_zero({data + end, further - end}) != zero) break;
            end = further;
        }
        Result<void> r;
        if (zero) {
            r = co_await write_zeroes(c, p.offset + at, end - at);
        } else {
            const IoVec part(bytes + at, end - at);
            r = co_await c.target->write(p.offset + at, part);
        }
        if (!r) co_return r;
        at = end;
    }
    co_return Result<void>{};
}

Task<Result<void>> note_done(Conversion& c, Piece p) {
    c.done += p.length;
    c.progress.report(c.done, c.total);
    if (c.resume == nullptr) co_return Result<void>{};
    c.finished[p.offset] = p.offset + p.length;
    co_return co_await c.resume->note(*c.target, c.finished);
}

Task<Result<void>> worker(Conversion& c) {
    const Buffer buffer(c.compressed ? c.cluster : c.chunk);
    for (;;) {
        auto next = co_await next_piece(c);
        if (!next) {
            c.failed = true;
            co_return std::unexpected(next.error());
        }
        const Piece p = *next;
        if (p.length == 0) co_return Result<void>{};
        if (c.rate != 0) {
            // As much time must have gone as the bytes sent so far take.
            c.sent += p.kind == Piece::Kind::kData ? p.length : 0;
            const auto due = c.began + std::chrono::nanoseconds(static_cast<int64_t>(static_cast<double>(c.sent) * 1e9 / static_cast<double>(c.rate)));
            if (const auto now = std::chrono::steady_clock::now(); due > now) co_await c.tool.reactor.sleep(due - now);
        }
        Result<void> r;
        bool copied = false;
        if (p.kind == Piece::Kind::kData && c.copy_range) copied = co_await copy_in_kernel(c, p);
        if (p.kind == Piece::Kind::kData && !copied) r = co_await read_piece(c, p, buffer.data());
        if (c.in_order) {
            co_await c.order.turn(p.number);
            c.order.done();  // the next may begin once this one has: the target takes requests in that order
        }
        if (r && !copied && !c.failed) {
            if (p.kind == Piece::Kind::kZero) r = co_await write_zeroes(c, p.offset, p.length);
            else r = co_await write_data(c, p, buffer.data());
            if (!r) r = std::unexpected(std::move(r.error()).in(text("error while writing at byte %llu", static_cast<unsigned long long>(p.offset))));
        }
        if (r) r = co_await note_done(c, p);
        if (!r) {
            c.failed = true;
            co_return r;
        }
    }
}

/// Lets `parallel` workers copy everything.
Task<Result<void>> copy_all(Conversion& c, uint64_t parallel) {
    for (const NodePtr& n : c.sources)
        if (is_local(*n) && n->driver() != "raw" && n->driver() != "qcow2") c.chunk = kChunk;
    Parallel all(c.tool.reactor);
    for (uint64_t i = 0; i < parallel; ++i) all.start(worker(c));
    co_return co_await all.wait();
}

constexpr uint64_t kDefaultParallel = 8;

uint64_t parallel_when_compressing(uint64_t parallel, const io::Reactor& r) { return std::max<uint64_t>(parallel, uint64_t{2} * r.threads()); }

constexpr Option kOptions[] = {kOptFormat, {'O', "target-format", "FMT", "format of the new image (default: raw)"}, kOptImageOpts, {0, "target-image-opts", "", "the target is a list of driver options"},
                               {'c', "compress", "", "store compressed"}, {'o', "options", "OPTIONS", "options of the new image; 'help' lists them"},
                               {'B', "backing", "FILE", "give the new image this backing file, copy only what differs"}, {'F', "backing-format", "FMT", "the backing file's format"},
                               {'l', "snapshot", "SNAPSHOT", "copy an internal snapshot"}, {'S', "sparse-size", "SIZE", "zeroes of that length become holes (default 4k, 0: none)"},
                               {'n', "no-create", "", "write into an existing image"}, {0, "target-is-zero", "", "with -n: the target reads as zeroes"}, {'m', "parallel", "N", "requests at a time (1-16, default 8)"},
                               {'W', "oob", "", "write out of order"}, {'C', "copy-range-offloading", "", "let the host copy, or share blocks"}, {'r', "rate-limit", "RATE", "bytes per second"},
                               {0, "bitmaps", "", "copy persistent bitmaps"}, {0, "skip-broken-bitmaps", "", "with --bitmaps: leave inconsistent ones out"}, {0, "salvage", "", "go on after read errors: zeroes"},
                               {0, "resume", "", "record how far it is, and go on from there when run again"}, kOptCache, kOptSourceCache, kOptProgress, kOptQuiet, kOptShare, kOptObject};

Task<Result<void>> copy_bitmaps(Conversion& c, bool skip_broken) {
    auto list = co_await c.sources[0]->bitmaps();
    if (!list) co_return std::unexpected(list.error());
    for (const auto& b : *list) {
        if (std::find(b.flags.begin(), b.flags.end(), "in-use") != b.flags.end()) {
            if (!skip_broken) co_return fail(ErrorKind::kInvalidArgument, "Cannot copy inconsistent bitmap '" + b.name + "'\nTry --skip-broken-bitmaps, or use 'bitmap --remove' to delete it");
            c.tool.warning("Skipping inconsistent bitmap '" + b.name + "'");
            continue;
        }
        auto bits = co_await c.sources[0]->bitmap_bits(b.name);
        if (!bits) co_return std::unexpected(std::move(bits.error()).in("Failed to populate bitmap " + b.name));
        if (auto r = co_await c.target->change_bitmap(block::BitmapAction::kAdd, b.name, b.granularity); !r) co_return std::unexpected(std::move(r.error()).in("Failed to create bitmap " + b.name));
        if (std::find(b.flags.begin(), b.flags.end(), "auto") == b.flags.end())
            if (auto r = co_await c.target->change_bitmap(block::BitmapAction::kDisable, b.name); !r) co_return r;
        if (auto r = co_await c.target->merge_bitmap(b.name, std::move(*bits)); !r) co_return r;
    }
    co_return Result<void>{};
}

Task<int> run(Tool& tool, Args& a) {
    const bool skip_create = a.has("no-create"), compressed = a.has("compress");
    const std::string format = a.get("target-format", "raw");
    const auto given = a.all("options");
    if (!takes_options(tool, given)) co_return 1;
    if (asks_for_help(given)) co_return print_creation_help(tool, format, a.rest.size() > 1 ? std::optional(a.rest.back()) : std::nullopt);
    uint64_t min_sparse = 4096, parallel = kDefaultParallel, rate = 0;
    if (const auto s = a.find("sparse-size")) {
        const auto v = size_argument(tool, *s, "sparse size");
        if (!v) co_return 1;
        if (*v % kSector != 0 || *v > (16u << 20))
            co_return tool.error("Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up to 16777216. Select 0 to disable sparse detection (fully allocates output).");
        min_sparse = *v;
    }
    if (const auto s = a.find("parallel"))
        if (s->empty() || s->find_first_not_of("0123456789") != std::string::npos || s->size() > 3 || (parallel = std::stoull(*s)) < 1 || parallel > 16)
            co_return tool.error("Invalid number of coroutines. Allowed number of coroutines is between 1 and 16");
    if (const auto s = a.find("rate-limit")) {
        const auto v = size_argument(tool, *s, "rate limit");
        if (!v) co_return 1;
        rate = *v;
    }
    if (a.has("image-opts") && a.has("format")) co_return tool.error("--image-opts and --format are mutually exclusive");
    if (a.has("oob") && a.has("resume")) co_return tool.error("--resume needs writes in order: it cannot be used with -W");
    if (compressed && a.has("copy-range-offloading")) co_return tool.error("Cannot enable copy offloading when -c is used");
    if (a.has("salvage") && a.has("copy-range-offloading")) co_return tool.error("Cannot use copy offloading in salvaging mode");
    if (a.has("sparse-size") && a.has("copy-range-offloading")) co_return tool.error("Cannot enable copy offloading when -S is used");
    if (a.has("target-image-opts") && !skip_create) co_return tool.error("--target-image-opts requires use of -n flag");
    if (a.has("skip-broken-bitmaps") && !a.has("bitmaps")) co_return tool.error("Use of --skip-broken-bitmaps requires --bitmaps");
    if (a.has("target-is-zero") && !skip_create) co_return tool.error("--target-is-zero requires use of -n flag");
    if (skip_create && !given.empty()) co_return tool.error("-o has no effect when skipping image creation");
    if (a.rest.size() < 2) co_return tool.error("Must specify image file name");
    const std::string out = a.rest.back();
    const std::vector<std::string> in(a.rest.begin(), a.rest.end() - 1);

    int code = 0;
    Progress progress(a.has("progress") && !a.has("quiet"));
    Conversion c(tool, progress);
    c.min_sparse = min_sparse;
    c.rate = rate;
    c.compressed = compressed;
    c.salvage = a.has("salvage");
    c.copy_range = a.has("copy-range-offloading");
    c.in_order = !a.has("oob");
    c.quiet = a.has("quiet");
    for (const std::string& name : in) {
        const NodePtr n = co_await open_image(tool, {.name = name, .format = a.get("format"), .image_opts = a.has("image-opts"), .force_share = a.has("force-share"), .cache = a.get("source-cache", "writeback")});
        if (!n) co_return 1;
        c.begins.push_back(c.total);
        c.total += n->size();
        c.sources.push_back(n);
    }
    if (const auto snapshot = a.find("snapshot")) {
        if (in.size() > 1) co_return tool.error("No support for concatenating multiple snapshot");
        const auto name = snapshot_argument(tool, *snapshot);
        if (!name) co_return 1;
        if (auto r = co_await c.sources[0]->snapshot_open(*name); !r)
            co_return tool.error(r.error().kind == ErrorKind::kNotFound ? "Failed to load snapshot: Can't find snapshot" : "Failed to load snapshot: " + r.error().message);
        c.total = c.sources[0]->size();
    }
    const block::Driver* d = block::find_driver(format);
    json options = creation_options(given);
    auto backing = a.find("backing");
    auto backing_format = a.find("backing-format");
    if (!skip_create) {
        if (d == nullptr) co_return tool.error("Unknown file format '" + format + "'");
        if (d->create == nullptr) co_return tool.error("Format driver '" + format + "' does not support image creation");
        if (auto r = check_creation_options(*d, options); !r) co_return tool.error(r.error());
        if (backing && !d->supports_backing) co_return tool.error("Backing file not supported for file format '" + format + "'");
        if (const auto it = options.find("backing_file"); it != options.end() && !backing) backing = it->get<std::string>();
        if (const auto it = options.find("backing_fmt"); it != options.end() && !backing_format) backing_format = it->get<std::string>();
        options.erase("backing_file");
        options.erase("backing_fmt");
        if (backing && c.sources.size() > 1) co_return tool.error("Having a backing file for the target makes no sense when concatenating multiple input images");
        if (backing && !backing_format) co_return tool.error("Use of backing file requires explicit backing format");
        if (compressed && !d->supports_compression) co_return tool.error("Compression not supported for this file format");
        if (compressed && options.value("preallocation", "off") != "off") co_return tool.error("Compression and preallocation not supported at the same time");
        if (compressed && options.contains("encrypt.format")) co_return tool.error("Compression and encryption not supported at the same time");
    }
    if (a.has("bitmaps")) {
        if (c.sources.size() > 1) co_return tool.error("Copying bitmaps only possible with single source");
        if (c.sources[0]->driver() != "qcow2") co_return tool.error("Source lacks bitmap support");
        auto list = co_await c.sources[0]->bitmaps();
        if (!list) co_return tool.error(list.error());
        if (!a.has("skip-broken-bitmaps"))
            for (const auto& b : *list)
                if (std::find(b.flags.begin(), b.flags.end(), "in-use") != b.flags.end())
                    co_return tool.error("Cannot copy inconsistent bitmap '" + b.name + "'\nTry --skip-broken-bitmaps, or use 'bitmap --remove' to delete it");
    }

    std::unique_ptr<Resume> resume;
    bool continues = false;
    if (a.has("resume")) {
        auto r = Resume::open(out, in, format, options, compressed, c.total);
        if (!r) co_return tool.error(r.error());
        resume = std::move(*r);
        continues = resume->done() > 0;
        c.resume = resume.get();
    }
    std::string cache = a.get("cache", resume ? "writeback" : "unsafe");
    if (!skip_create && !continues) {
        NewImage w;
        w.filename = out;
        w.format = format;
        w.size = options.contains("size") ? std::nullopt : std::optional(c.total);
        w.options = options;
        w.backing = backing;
        w.backing_format = backing_format;
        w.trust_backing = true;
        if (auto r = co_await create_image(tool, std::move(w)); !r)
            co_return tool.error(out + ": error while converting " + format + ": " + r.error().message);
    }
    Wanted wanted{.name = out, .format = a.has("target-image-opts") ? "" : skip_create && !a.has("target-format") ? "raw" : format, .image_opts = a.has("target-image-opts"), .writable = true, .cache = cache};
    // Keys that the new image is made with open it, too: "encrypt.key-secret" or "key-secret".
    for (const auto& [key, value] : options.items())
        if (key == "key-secret") wanted.options[key] = value;
        else if (key.ends_with(".key-secret")) wanted.options[key.substr(0, key.rfind('.'))]["key-secret"] = value;
    c.target = co_await open_image(tool, wanted);
    if (!c.target) co_return 1;
    if (a.has("bitmaps") && c.target->driver() != "qcow2") co_return tool.error("Format driver '" + std::string(c.target->driver()) + "' does not support bitmaps");
    if (c.target->size() < c.total) co_return tool.error("output file is smaller than input file");
    if (compressed) {
        const block::Driver* td = block::find_driver(c.target->driver());
        if (!td->supports_compression) co_return tool.error("Compression not supported for this file format");
        c.cluster = c.target->cluster_size().value_or(65536);
        parallel = parallel_when_compressing(parallel, tool.reactor);
    }
    c.target_backed = backing.has_value();
    if (c.target->backing()) c.target_backing_size = c.target->backing()->size();
    else if (c.target_backed) c.target_backing_size = c.total;
    c.target_zero = skip_create ? a.has("target-is-zero") : c.target->zero_init();
    if (continues) c.target_zero = c.target_zero && resume->target_was_zero();
    // What an interrupted run allocated and did not get to use is leaked; formats without such counts have nothing to check.
    if (continues)
        if (auto r = co_await c.target->check(block::CheckFix::kLeaks); !r && r.error().kind != ErrorKind::kUnsupported) co_return tool.error(r.error());
    if (resume) {
        if (continues && !a.has("quiet")) std::printf("Going on at %s of %s.\n", human_size(resume->done()).c_str(), human_size(c.total).c_str());
        resume->set_target_zero(c.target_zero);
        c.at = c.done = resume->done();
        c.finished[0] = c.at;
    }
    if (auto r = co_await copy_all(c, parallel); !r) code = tool.error(r.error());
    if (code == 0 && a.has("bitmaps"))
        if (auto r = co_await copy_bitmaps(c, a.has("skip-broken-bitmaps")); !r) code = tool.error(r.error());
    if (auto r = co_await c.target->close(); !r && code == 0) code = tool.error(r.error());
    if (code == 0) {
        if (resume) resume->finish();
        progress.finish();
    }
    for (const NodePtr& n : c.sources)
        if (auto r = co_await n->close(); !r && code == 0) code = tool.error(r.error());
    co_return code;
}

}  // namespace

Task<Result<void>> copy_image(Tool& tool, NodePtr source, NodePtr target, bool compressed, Progress& progress) {
    Conversion c(tool, progress);
    c.total = source->size();
    c.begins.push_back(0);
    c.sources.push_back(std::move(source));
    c.target = std::move(target);
    c.target_zero = c.target->zero_init();
    c.compressed = compressed;
    c.cluster = c.target->cluster_size().value_or(65536);
    co_return co_await copy_all(c, compressed ? parallel_when_compressing(kDefaultParallel, tool.reactor) : kDefaultParallel);
}

const Command kConvert{"convert", "FILE... TARGET", "Copies images to a new one of any format", kOptions, run};

}  // namespace myna::img
