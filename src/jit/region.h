// Regions: several blocks of a hot loop or trace compiled as one translation (the second tier's unit).
//
//   Engine::snapshot_region(PCs) ─▶ RegionSource ─▶ optimise_region ─▶ ir::Function ─▶ Engine::install_region
//     lock, guest memory              bytes, generation   any thread, no lock,            lock: generation the same?
//                                                         no guest memory                compile, take over the entry
//
// Blocks are joined where one leads to the next: values, flags and guest registers live on across the inner edges, which
// are no block edges any more. Outer edges keep the one layout (docs/jit.md, invariant 1), so the region takes the place
// of the first block and is entered, left and linked like any block; its last edge may lead to its own head.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "guest/common/arch.h"
#include "ir/function.h"

namespace myna::jit {

/// Guest code of a region as it was at one moment.
struct RegionSource {
    struct Piece {
        uint64_t pc;
        std::vector<uint8_t> bytes;
    };
    std::vector<uint64_t> blocks;  // in the order they run; the first is the region's entry
    uint32_t mode = 0;
    uint64_t generation = 0;       // Engine's; a change of guest code since makes the region stale
    std::vector<Piece> code;       // all bytes the blocks depend on
};

/// The region as one Function. Errors (kInvalidArgument): a block does not lead to the next one; the head is not the
/// lowest address (then the edge back to it would not poll); too long.
[[nodiscard]] Result<ir::Function> optimise_region(const guest::GuestArch& arch, const guest::CpuConfig& cpu, const RegionSource& source);

}  // namespace myna::jit
