// dd: copies blocks from one image to a new one, with the operands of dd(1).
#include <algorithm>
#include <cstdio>

#include "block/graph/chain.h"
#include "img/create.h"
#include "img/parallel.h"

namespace myna::img {

namespace {

constexpr Option kOptions[] = {kOptFormat, {'O', "target-format", "FMT", "format of the new image (default: raw)"}, kOptImageOpts, kOptShare, kOptObject};

Task<int> run(Tool& tool, Args& a) {
    uint64_t bs = 512, skip = 0;
    std::optional<uint64_t> count;
    std::string in, out;
    for (const std::string& operand : a.rest) {
        const size_t eq = operand.find('=');
        const std::string name = operand.substr(0, eq), value = eq == std::string::npos ? "" : operand.substr(eq + 1);
        const auto number = [&](uint64_t min, uint64_t max) { return size_argument(tool, value, name, min, max); };
        if (eq == std::string::npos || (name != "bs" && name != "count" && name != "skip" && name != "if" && name != "of"))
            co_return tool.error("unrecognized operand " + name);
        if (name == "if") in = value;
        else if (name == "of") out = value;
        else if (name == "bs") {
            const auto v = number(1, INT32_MAX);
            if (!v) co_return 1;
            bs = *v;
        } else {
            const auto v = number(0, INT64_MAX);
            if (!v) co_return 1;
            if (name == "count") count = *v;
            else skip = *v;
        }
    }
    if (in.empty() || out.empty()) co_return tool.error("Must specify both input and output files");
    if (a.has("image-opts") && a.has("format")) co_return tool.error("--image-opts and --format are mutually exclusive");
    const NodePtr source = co_await open_image(tool, {.name = in, .format = a.get("format"), .image_opts = a.has("image-opts"), .force_share = a.has("force-share")});
    if (!source) co_return 1;
    const std::string format = a.get("target-format", "raw");
    const block::Driver* d = block::find_driver(format);
    if (d == nullptr) co_return tool.error("Unknown file format '" + format + "'");
    if (d->create == nullptr) co_return tool.error("Format driver '" + format + "' does not support image creation");
    uint64_t size = source->size();
    if (count && *count <= INT64_MAX / bs && *count * bs < size) size = *count * bs;
    const bool beyond = skip > INT64_MAX / bs || skip * bs > size;
    // The documented tool cuts the input by count first, and what skip leaves of that is copied.
    const uint64_t begin = beyond ? size : skip * bs;
    const std::string target_name = out;
    NewImage w;
    w.filename = out;
    w.format = format;
    w.size = size - begin;
    if (auto r = co_await create_image(tool, std::move(w)); !r) co_return tool.error(target_name + ": error while creating output image of type '" + format + "': " + r.error().message);
    const NodePtr target = co_await open_image(tool, {.name = out, .format = format, .writable = true});
    if (!target) co_return 1;
    if (beyond) tool.error(in + ": cannot skip to specified offset");
    constexpr uint64_t kChunk = 1 << 20;
    const Buffer buffer(kChunk);
    for (uint64_t at = begin; at < size;) {
        auto s = co_await block::status_above(*source, nullptr, at, size - at);
        if (!s) co_return tool.error(s.error());
        const uint64_t n = s->zero ? s->length : std::min(s->length, kChunk);
        if (!s->zero) {
            const IoVec part(buffer.data(), n);
            if (auto r = co_await source->read(at, part); !r) co_return tool.error("error while reading from input image file: " + r.error().message);
            if (auto r = co_await target->write(at - begin, part); !r) co_return tool.error("error while writing to output image file: " + r.error().message);
        }
        at += n;
    }
    if (auto r = co_await target->close(); !r) co_return tool.error(r.error());
    if (auto r = co_await source->close(); !r) co_return tool.error(r.error());
    co_return 0;
}

}  // namespace

const Command kDd{"dd", "[bs=SIZE] [count=N] [skip=N] if=FILE of=FILE", "Copies blocks to a new image", kOptions, run};

}  // namespace myna::img
