// What a disk is made of across its backing chain.
//
//   top ──backing──▶ middle ──backing──▶ base        the first layer that has a stretch allocated decides
#pragma once

#include "block/graph/node.h"

namespace myna::block {

/// An extent, and the layer it comes from.
struct ChainExtent : Extent {
    unsigned depth = 0;          // steps below the top
    const Node* layer = nullptr;
};

/// The first extent of [offset, offset + length) of `top` above `base` (exclusive; null: the whole chain). `allocated`
/// false: none of those layers has it. Stretches behind the end of a short backing file read as zeroes of that layer.
Task<Result<ChainExtent>> status_above(Node& top, const Node* base, uint64_t offset, uint64_t length);

/// Whether [offset, offset + length) of `n`, up to the length it sets, reads as zeroes and nothing is stored for it.
Task<Result<bool>> reads_as_zeroes(Node& n, uint64_t offset, uint64_t& length);

}  // namespace myna::block
