// rebase: another backing file behind an image. What the two backing files hold differently is copied into the image
// first, so that the disk reads the same; with -u only the name is changed.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "block/graph/chain.h"
#include "img/parallel.h"

namespace myna::img {

namespace {

constexpr uint64_t kChunk = 1 << 20;

constexpr Option kOptions[] = {kOptFormat, kOptImageOpts, {'b', "backing", "FILE", "the new backing file; '' for none"}, {'F', "backing-format", "FMT", "its format"},
                               {'B', "", "FMT", "as -F"}, {'u', "backing-unsafe", "", "change the name only"}, {'c', "compress", "", "store what is copied compressed"},
                               kOptCache, kOptSourceCache, kOptProgress, kOptQuiet, kOptShare, kOptObject};

/// Reads `n` (may be null), zeroes behind its end.
Task<Result<void>> read_padded(Node* n, uint64_t offset, uint8_t* into, uint64_t length) {
    const uint64_t there = n == nullptr || offset >= n->size() ? 0 : std::min(length, n->size() - offset);
    std::memset(into + there, 0, length - there);
    if (there == 0) co_return Result<void>{};
    const IoVec part(into, there);
    co_return co_await n->read(offset, part);
}

/// How `n` (may be null) reads at `offset`: sets zero, shortens `length`.
Task<Result<bool>> zero_at(Node* n, uint64_t offset, uint64_t& length) {
    if (n == nullptr || offset >= n->size()) co_return true;
    length = std::min(length, n->size() - offset);
    co_return co_await block::reads_as_zeroes(*n, offset, length);
}

Task<Result<void>> copy_difference(Node& image, Node* before, Node* after, bool compressed, Progress& progress) {
    const uint64_t cluster = image.cluster_size().value_or(65536);
    const uint64_t step = std::max(kChunk, cluster);
    const Buffer x(step), y(step);
    for (uint64_t at = 0; at < image.size();) {
        progress.report(at, image.size());
        uint64_t n = std::min(step - at % step, image.size() - at);
        auto own = co_await image.block_status(at, n);
        if (!own) co_return std::unexpected(own.error());
        n = own->length;
        if (own->allocated) {
            at += n;
            continue;
        }
        uint64_t zero_n = n;
        auto zb = co_await zero_at(before, at, zero_n);
        if (!zb) co_return std::unexpected(zb.error());
        auto za = co_await zero_at(after, at, zero_n);
        if (!za) co_return std::unexpected(za.error());
        if (*zb && *za) {
            at += zero_n;
            continue;
        }
        if (auto r = co_await read_padded(before, at, x.data(), n); !r) co_return std::unexpected(std::move(r.error()).in("error while reading from old backing file"));
        if (auto r = co_await read_padded(after, at, y.data(), n); !r) co_return std::unexpected(std::move(r.error()).in("error while reading from new backing file"));
        // Whole clusters of the image: one that differs anywhere is copied.
        for (uint64_t done = 0; done < n;) {
            const uint64_t part = std::min(n - done, cluster - (at + done) % cluster);
            if (std::memcmp(x.data() + done, y.data() + done, part) != 0) {
                Result<void> r;
                bool stored = false;
                if (io::is_zero({x.data() + done, part})) {
                    r = co_await image.write_zeroes(at + done, part);
                    // Where nothing is behind the image yet, zeroes may have been left out: then they are written out.
                    if (auto e = co_await image.block_status(at + done, part); r && e) stored = e->allocated && e->length >= part;
                }
                if (r && !stored) {
                    const IoVec v(x.data() + done, part);
                    const bool whole = (at + done) % cluster == 0 && (part == cluster || at + done + part == image.size());
                    r = co_await image.write(at + done, v, {.compressed = compressed && whole});
                }
                if (!r) co_return std::unexpected(std::move(r.error()).in("Error while writing to COW image"));
            }
            done += part;
        }
        at += n;
    }
    co_return Result<void>{};
}

Task<int> run(Tool& tool, Args& a) {
    const bool unsafe = a.has("backing-unsafe");
    if (a.rest.size() != 1) co_return tool.usage("Expecting one image file name");
    if (!a.has("backing") && !unsafe) co_return tool.usage("Must specify backing file (-b) or use unsafe mode (-u)");
    const std::string cache = a.get("cache", "writeback"), source_cache = a.get("source-cache", "writeback");
    if (OpenOptions o; !set_cache_mode(o, cache)) co_return tool.error("Invalid cache option: " + cache);
    if (OpenOptions o; !set_cache_mode(o, source_cache)) co_return tool.error("Invalid source cache option: " + source_cache);
    const std::string backing = a.get("backing");
    const auto format = a.has("B") ? a.find("B") : a.find("backing-format");
    const NodePtr image = co_await open_image(tool, {.name = a.rest[0], .format = a.get("format"), .image_opts = a.has("image-opts"), .writable = true, .force_share = a.has("force-share"), .no_backing = unsafe, .cache = cache});
    if (!image) co_return 1;
    if (format && block::find_driver(*format) == nullptr) co_return tool.error("Invalid format name: '" + *format + "'");
    NodePtr fresh;
    int code = 0;
    {
        Progress progress(a.has("progress") && !a.has("quiet"));
        if (!unsafe) {
            if (!backing.empty()) {
                OpenOptions o;
                o.options = nlohmann::json::object();
                o.read_only = o.force_share = true;
                set_cache_mode(o, source_cache);
                auto opened = co_await tool.graph.open(Graph::resolve_backing(image->filename(), backing), format.value_or(""), std::move(o));
                if (!opened) co_return tool.error("Could not open new backing file '" + backing + "': " + opened.error().message);
                fresh = *opened;
                for (Node* n = fresh.get(); n != nullptr; n = n->backing().get())
                    if (n->filename() == image->filename()) co_return tool.error("'" + backing + "' has '" + image->filename() + "' in its own backing chain: the chain would bite its tail");
            }
            if (auto r = co_await copy_difference(*image, image->backing().get(), fresh.get(), a.has("compress"), progress); !r) code = tool.error(r.error());
            if (code == 0)
                if (auto r = co_await image->flush(); !r) code = tool.error(r.error());
        }
        if (code == 0) {
            std::optional<std::string> name;
            if (!backing.empty()) name = backing;
            Result<void> r;
            if (name && !format) r = fail(ErrorKind::kInvalidArgument, "backing format must be specified");
            else r = co_await image->change_backing(name, format);
            if (!r) {
                if (r.error().kind == ErrorKind::kNoSpace) code = tool.error("Could not change the backing file to '" + backing + "': No space left in the file header");
                else if (name || r.error().kind != ErrorKind::kUnsupported) code = tool.error("Could not change the backing file to '" + backing + "': " + r.error().message);
            }
        }
        if (code == 0) progress.finish();
    }
    if (auto r = co_await image->close(); !r && code == 0) code = tool.error(r.error());
    if (fresh)
        if (auto r = co_await fresh->close(); !r && code == 0) code = tool.error(r.error());
    co_return code;
}

}  // namespace

const Command kRebase{"rebase", "FILE", "Gives an image another backing file", kOptions, run};

}  // namespace myna::img
