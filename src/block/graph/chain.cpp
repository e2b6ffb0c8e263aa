#include "block/graph/chain.h"

#include <algorithm>

namespace myna::block {

Task<Result<ChainExtent>> status_above(Node& top, const Node* base, uint64_t offset, uint64_t length) {
    ChainExtent out;
    uint64_t n = std::min(length, top.size() - std::min(offset, top.size()));
    out.length = n;  // nothing above the base: nothing has it
    unsigned depth = 0;
    for (Node* at = &top; at != nullptr && at != base; at = at->backing().get(), ++depth) {
        if (offset >= at->size()) {
            out = ChainExtent{};
            out.length = n;
            out.zero = out.allocated = true;
            out.depth = depth;
            out.layer = at;
            co_return out;
        }
        auto e = co_await at->block_status(offset, n);
        if (!e) co_return std::unexpected(e.error());
        static_cast<Extent&>(out) = *e;
        out.depth = depth;
        out.layer = at;
        // Behind the end of this layer a longer layer above it reads as zeroes.
        if (out.allocated) break;
        n = std::min(n, e->length);
        out.length = n;
    }
    co_return out;
}

Task<Result<bool>> reads_as_zeroes(Node& n, uint64_t offset, uint64_t& length) {
    auto e = co_await status_above(n, nullptr, offset, length);
    if (!e) co_return std::unexpected(e.error());
    length = e->length;
    co_return e->zero;
}

}  // namespace myna::block
