// compact: gives space back to the host, in place: stored zeroes become holes, leaked clusters are freed, what is free is
// punched out of the file, and stored clusters move down so that the file gets shorter where the format can do that.
#include <algorithm>
#include <cstdio>

#include "img/parallel.h"

namespace myna::img {

namespace {

constexpr uint64_t kChunk = 1 << 20;

constexpr Option kOptions[] = {kOptFormat, kOptImageOpts, kOptProgress, kOptQuiet, kOptObject};

/// Zeroes that this layer stores are given up; gives how many bytes.
Task<Result<uint64_t>> drop_zeroes(Node& n, Progress& progress) {
    const uint64_t step = n.cluster_size().value_or(4096);
    const Buffer buffer(std::max(kChunk, step));
    const uint64_t chunk = buffer.size() / step * step;
    uint64_t dropped = 0;
    for (uint64_t at = 0; at < n.size();) {
        progress.report(at, n.size());
        auto s = co_await n.block_status(at, n.size() - at);
        if (!s) co_return std::unexpected(s.error());
        if (!s->data || s->zero) {
            at += s->length;
            continue;
        }
        const uint64_t length = std::min(s->length, chunk - at % step);
        const IoVec v(buffer.data(), length);
        if (auto r = co_await n.read(at, v); !r) co_return std::unexpected(r.error());
        uint64_t zero_from = 0, zero_to = 0;
        for (uint64_t done = 0; done < length;) {
            const uint64_t part = std::min(length - done, step - (at + done) % step);
            const bool whole = (at + done) % step == 0 && (part == step || at + done + part == n.size());
            const bool zero = whole && io::is_zero({buffer.data() + done, part});
            if (zero) {
                if (zero_to != done || zero_from == zero_to) zero_from = done;
                zero_to = done + part;
            }
            done += part;
            if (zero_to > zero_from && (!zero || done == length)) {
                if (auto r = co_await n.write_zeroes(at + zero_from, zero_to - zero_from, {.may_unmap = true}); !r) co_return std::unexpected(r.error());
                dropped += zero_to - zero_from;
                zero_from = zero_to = 0;
            }
        }
        at += length;
    }
    co_return dropped;
}

Task<int> run(Tool& tool, Args& a) {
    if (a.rest.size() != 1) co_return tool.usage("Expecting one image file name");
    const NodePtr node = co_await open_image(tool, {.name = a.rest[0], .format = a.get("format"), .image_opts = a.has("image-opts"), .writable = true});
    if (!node) co_return 1;
    const uint64_t before = node->allocated_bytes().value_or(0);
    int code = 0;
    {
        Progress progress(a.has("progress") && !a.has("quiet"));
        auto dropped = co_await drop_zeroes(*node, progress);
        Result<void> r;
        if (!dropped) r = std::unexpected(dropped.error());
        if (r) r = co_await node->flush();
        if (r) r = co_await node->compact();
        if (!r) code = tool.error(r.error());
        else progress.finish();
    }
    if (auto r = co_await node->close(); !r && code == 0) code = tool.error(r.error());
    if (code == 0 && !a.has("quiet"))
        std::printf("Image compacted: %s on disk, %s before.\n", human_size(node->allocated_bytes().value_or(0)).c_str(), human_size(before).c_str());
    co_return code;
}

}  // namespace

const Command kCompact{"compact", "FILE", "Gives unused space back to the host, in place", kOptions, run};

}  // namespace myna::img
