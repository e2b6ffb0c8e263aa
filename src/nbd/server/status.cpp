// What clients learn of an export's stretches: data and holes, the layer they come from, dirty or not.
#include <algorithm>

#include "block/graph/chain.h"
#include "nbd/server/session.h"

namespace myna::nbd {

namespace {

void append(std::vector<Status>& out, uint64_t length, uint32_t flags) {
    if (!out.empty() && out.back().flags == flags) out.back().length += length;
    else out.push_back({length, flags});
}

}  // namespace

Task<Result<std::vector<Status>>> export_status(const Export& e, const Context& c, uint64_t offset, uint64_t length, size_t most) {
    std::vector<Status> out;
    const block::NodePtr image = e.image();
    if (c.kind == Context::Kind::kBitmap) {
        const ExportedBitmap& b = e.bitmaps[c.bitmap];
        for (uint64_t at = offset; at < offset + length && out.size() <= most;) {
            const uint64_t i = (e.offset + at) / b.granularity;
            const uint64_t end = std::min(offset + length, (i + 1) * b.granularity - e.offset);
            append(out, end - at, b.get(i) ? kStateDirty : 0);
            at = end;
        }
    } else {
        for (uint64_t at = offset; at < offset + length && out.size() <= most;) {
            const auto run = co_await block::status_above(*image, nullptr, e.offset + at, offset + length - at);
            if (!run) co_return std::unexpected(run.error());
            if (run->length == 0) co_return fail(ErrorKind::kInternal, "block status without length");
            const uint32_t state = (run->data ? 0 : kStateHole) | (run->zero || !run->allocated ? kStateZero : 0);
            append(out, run->length, c.kind == Context::Kind::kDepth ? (run->allocated ? run->depth + 1 : 0) : state);
            at += run->length;
        }
    }
    if (out.size() > most) out.resize(most);
    co_return out;
}

}  // namespace myna::nbd
