// Random Functions, made from the table of operations: well typed, well formed, memory accesses inside one buffer.
//
// The test prints its seed. Addresses are the base slot's value plus up to kRandomMemoryBytes; the base slot is never
// written.
#pragma once

#include <random>

#include "guest/common/arch.h"
#include "ir/builder.h"
#include "ir/function.h"

namespace myna::testing {

inline constexpr unsigned kRandomMemoryBytes = 512;

struct RandomIrOptions {
    unsigned size = 40;      // about so many operations
    bool flags = true;
    bool memory = true;      // loads and stores
    bool atomics = true;     // ll, sc, cas, rmw_*
    bool wide_atomics = true;  // 16-byte ll, sc, cas
    bool fp = false;
    bool vectors = false;
    bool calls = true;
    bool side_exits = true;
    bool half = false;       // kF16 in FP and vector operations
    unsigned focus = 0;      // not 0: only so many different operations, so that the same ones meet often
    unsigned base_slot = 8;  // ToySlot::kBase
};

ir::Function random_function(std::mt19937_64& rng, const guest::GuestArch& arch, const RandomIrOptions& opt);

/// The same Function sent through a Builder with these options, instruction by instruction.
ir::Function rebuild(const ir::Function& f, const guest::GuestArch& arch, ir::Builder::Options opt);

/// A number that tests edges: small, powers of two, all ones, signed limits, or anything.
uint64_t interesting(std::mt19937_64& rng);

}  // namespace myna::testing
