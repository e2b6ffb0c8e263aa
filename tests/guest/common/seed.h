// Random tests: the seed and the length of a run.
#pragma once

#include <cstdint>

namespace myna::test {

/// MYNA_TEST_SEED, else a fixed one. Failures print what is needed to see them again.
uint64_t seed();
/// MYNA_TEST_ROUNDS (how much longer than by default a random test runs), else 1.
uint64_t rounds();

}  // namespace myna::test
