// bench: sends many requests of one size to an image, so many at a time, and says how long that took.
#include <chrono>
#include <cstdio>
#include <cstring>

#include "img/parallel.h"

namespace myna::img {

namespace {

constexpr Option kOptions[] = {{'c', "count", "N", "requests (default: 75000)"}, {'d', "depth", "N", "requests at a time (default: 64)"}, kOptFormat, kOptImageOpts,
                               {0, "flush-interval", "N", "flush after every N writes"}, {'i', "aio", "AIO", "threads, native or io_uring"}, {'n', "native", "", "as -i native"},
                               {0, "no-drain", "", "do not wait for other requests before a flush"}, {'o', "offset", "SIZE", "begin there"}, {0, "pattern", "BYTE", "write this byte"},
                               {'s', "buffer-size", "SIZE", "bytes of a request (default: 4096)"}, {'S', "step-size", "SIZE", "distance of requests (default: the buffer size)"},
                               kOptCache, {'w', "write", "", "write instead of reading"}, kOptQuiet, kOptShare, kOptObject};

struct Bench {
    Node& node;
    uint64_t count, step, offset, buffer_bytes;
    bool write, drain;
    uint64_t flush_interval;
    uint64_t started = 0, since_flush = 0;
    io::Gate gate;
};

Task<Result<void>> worker(Bench& b, uint8_t* memory) {
    const IoVec v(memory, b.buffer_bytes);
    while (b.started < b.count) {
        ++b.started;
        const uint64_t at = b.offset;
        b.offset += b.step;
        if (b.offset + b.buffer_bytes > b.node.size() || b.offset > b.node.size()) b.offset = b.node.size() <= b.buffer_bytes ? 0 : b.offset % (b.node.size() - b.buffer_bytes);
        bool flush = false;
        if (b.flush_interval != 0 && ++b.since_flush == b.flush_interval) {
            b.since_flush = 0;
            flush = true;
        }
        {
            const auto inside = co_await b.gate.enter();
            auto r = b.write ? co_await b.node.write(at, v) : co_await b.node.read(at, v);
            if (!r) co_return r;
        }
        if (flush) {
            if (b.drain) {
                const auto alone = co_await b.gate.close();
                if (auto r = co_await b.node.flush(); !r) co_return r;
            } else if (auto r = co_await b.node.flush(); !r) {
                co_return r;
            }
        }
    }
    co_return Result<void>{};
}

Task<int> run(Tool& tool, Args& a) {
    const auto number = [&](const char* key, const char* what, uint64_t otherwise, uint64_t min, uint64_t max) -> std::optional<uint64_t> {
        const auto s = a.find(key);
        if (!s) return otherwise;
        uint64_t v = 0;
        if (parse_size(*s, v, max) != SizeError::kNone || v < min) {
            tool.error(text("Invalid %s specified", what));
            return std::nullopt;
        }
        return v;
    };
    const auto count = number("count", "request count", 75000, 0, INT32_MAX), depth = number("depth", "queue depth", 64, 1, INT32_MAX);
    if (!count || !depth) co_return 1;
    const auto bytes = number("buffer-size", "buffer size", 4096, 1, INT32_MAX);
    if (!bytes) co_return 1;
    const auto step = number("step-size", "step size", 0, 0, INT32_MAX), offset = number("offset", "offset", 0, 0, INT64_MAX);
    const auto flush = number("flush-interval", "flush interval", 0, 0, INT32_MAX), pattern = number("pattern", "pattern byte", 0, 0, 255);
    if (!step || !offset || !flush || !pattern) co_return 1;
    if (const auto aio = a.find("aio"); aio && *aio != "threads" && *aio != "native" && *aio != "io_uring") co_return tool.error("Invalid aio option: " + *aio);
    if (*flush != 0 && !a.has("write")) co_return tool.error("--flush-interval is only available in write tests");
    if (*flush != 0 && *flush < *depth)
        co_return tool.error("Flush interval can't be smaller than depth");
    if (a.rest.size() != 1) co_return tool.usage("Expecting one image file name");
    const bool write = a.has("write");
    const NodePtr node = co_await open_image(tool, {.name = a.rest[0], .format = a.get("format"), .image_opts = a.has("image-opts"), .writable = write, .force_share = a.has("force-share"), .cache = a.get("cache", "writeback")});
    if (!node) co_return 1;
    const uint64_t stride = *step != 0 ? *step : *bytes;
    if (*bytes > node->size()) co_return tool.error("The image is smaller than one request");
    {
        std::printf("Sending %llu %s requests, %llu bytes each, %llu in parallel (starting at offset %llu, step size %llu)\n", static_cast<unsigned long long>(*count), write ? "write" : "read",
                    static_cast<unsigned long long>(*bytes), static_cast<unsigned long long>(*depth), static_cast<unsigned long long>(*offset), static_cast<unsigned long long>(stride));
        if (*flush != 0)
            std::printf("Sending flush every %llu %srequests\n", static_cast<unsigned long long>(*flush), a.has("no-drain") ? "in-flight " : "");
        std::fflush(stdout);
    }
    const uint64_t each = (*bytes + 4095) / 4096 * 4096;
    const Buffer memory(each * *depth);
    std::memset(memory.data(), static_cast<int>(*pattern), each * *depth);
    Bench b{*node, *count, stride, *offset, *bytes, write, !a.has("no-drain"), *flush, 0, 0, io::Gate(tool.reactor)};
    const auto start = std::chrono::steady_clock::now();
    Parallel all(tool.reactor);
    for (uint64_t i = 0; i < std::min(*depth, *count); ++i) all.start(worker(b, memory.data() + i * each));
    if (auto r = co_await all.wait(); !r) co_return tool.error("Failed request: " + r.error().message);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::printf("Run completed in %3.3f seconds.\n", seconds);
    if (auto r = co_await node->close(); !r) co_return tool.error(r.error());
    co_return 0;
}

}  // namespace

const Command kBench{"bench", "FILE", "Measures requests to an image", kOptions, run};

}  // namespace myna::img
