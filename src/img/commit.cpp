// commit: writes what an image has over its backing file into that file, and empties the image.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>

#include "block/graph/chain.h"
#include "img/parallel.h"

namespace myna::img {

namespace {

constexpr uint64_t kChunk = 1 << 20;

constexpr Option kOptions[] = {kOptFormat, kOptImageOpts, {'b', "base", "FILE", "commit down to this image of the chain (implies -d)"}, {'d', "drop", "", "do not empty the image afterwards"},
                               {'r', "rate-limit", "RATE", "bytes per second"}, kOptCache, kOptProgress, kOptQuiet, kOptObject};

/// The one file that `name` stands for, as `image` names others; empty where there is none.
std::string real_path(const std::string& image, const std::string& name) {
    std::error_code ec;
    const auto path = std::filesystem::canonical(Graph::resolve_backing(image, name), ec);
    return ec ? std::string() : path.string();
}

/// Steps from `top` down to the image called `base` (empty: the next one); 0 when there is none. Relative names are as
/// the image right above would write them.
unsigned depth_of(Node& top, const std::string& base) {
    if (base.empty()) return top.backing() ? 1 : 0;
    unsigned depth = 1;
    for (Node* n = &top; n->backing(); n = n->backing().get(), ++depth) {
        const std::string written = n->backing_name().value_or(""), below = n->backing()->filename();
        if (base == written || base == below) {
            if (base.starts_with('/') || base.find(':') != std::string::npos || real_path(n->filename(), base) == real_path("", below)) return depth;
        } else if (const std::string path = real_path(n->filename(), base); !path.empty() && path == real_path("", below)) {
            return depth;
        }
    }
    return 0;
}

Task<Result<void>> copy_down(Node& top, Node& base, uint64_t rate, Progress& progress) {
    if (top.size() > base.size())
        if (auto r = co_await base.truncate(top.size()); !r) co_return r;
    const Buffer buffer(kChunk);
    const auto began = std::chrono::steady_clock::now();
    uint64_t sent = 0;
    for (uint64_t at = 0; at < top.size();) {
        progress.report(at, top.size());
        auto s = co_await block::status_above(top, &base, at, top.size() - at);
        if (!s) co_return std::unexpected(s.error());
        if (!s->allocated) {
            at += s->length;
            continue;
        }
        if (s->zero) {
            if (auto r = co_await base.write_zeroes(at, s->length, {.may_unmap = true}); !r) co_return r;
            at += s->length;
            continue;
        }
        const uint64_t n = std::min(s->length, kChunk);
        const IoVec v(buffer.data(), n);
        if (auto r = co_await top.read(at, v); !r) co_return r;
        if (auto r = co_await base.write(at, v); !r) co_return r;
        at += n;
        sent += n;
        if (rate != 0) {
            const auto due = began + std::chrono::nanoseconds(static_cast<int64_t>(static_cast<double>(sent) * 1e9 / static_cast<double>(rate)));
            if (const auto now = std::chrono::steady_clock::now(); due > now) co_await top.reactor().sleep(due - now);
        }
    }
    co_return co_await base.flush();
}

Task<int> run(Tool& tool, Args& a) {
    uint64_t rate = 0;
    if (const auto s = a.find("rate-limit")) {
        const auto v = size_argument(tool, *s, "rate limit");
        if (!v) co_return 1;
        rate = *v;
    }
    if (a.rest.size() != 1) co_return tool.usage("Expecting one image file name");
    const std::string cache = a.get("cache", "writeback"), base_name = a.get("base");
    Wanted w{.name = a.rest[0], .format = a.get("format"), .image_opts = a.has("image-opts"), .cache = cache};
    // Once to find the base, once with the base open for writing.
    unsigned depth = 0;
    {
        const NodePtr look = co_await open_image(tool, w);
        if (!look) co_return 1;
        depth = depth_of(*look, base_name);
        if (auto r = co_await look->close(); !r) co_return tool.error(r.error());
    }
    if (depth == 0) co_return tool.error(base_name.empty() ? "Image does not have a backing file" : "Did not find '" + base_name + "' in the backing chain of '" + a.rest[0] + "'");
    w.writable = true;
    w.writable_backing = depth;
    const NodePtr top = co_await open_image(tool, w);
    if (!top) co_return 1;
    Node* base = top.get();
    for (unsigned i = 0; i < depth; ++i) base = base->backing().get();
    int code = 0;
    {
        Progress progress(a.has("progress") && !a.has("quiet"));
        auto r = co_await copy_down(*top, *base, rate, progress);
        if (r && !a.has("drop") && base_name.empty()) {
            // A format that cannot be emptied keeps a second copy of what its backing file has now.
            r = co_await top->make_empty();
            if (!r && r.error().kind == ErrorKind::kUnsupported) r = Result<void>{};
        }
        if (!r) code = tool.error("Block job failed: " + reason(r.error()));
        else progress.finish();
    }
    if (auto r = co_await top->close(); !r && code == 0) code = tool.error(r.error());
    if (code == 0 && !a.has("quiet")) std::printf("Image committed.\n");
    co_return code;
}

}  // namespace

const Command kCommit{"commit", "FILE", "Writes an image's changes into its backing file", kOptions, run};

}  // namespace myna::img
