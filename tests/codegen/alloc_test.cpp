// Register allocation proven block by block (alloc_check.h): random Functions, and blocks of real guest programs.
//
// environment.h tells how to repeat a run or make it longer.
#include <gtest/gtest.h>

#include <random>

#include "codegen/host_run.h"
#include "environment.h"

namespace myna::testing {
namespace {

class Allocation : public ::testing::TestWithParam<HostCase> {};

void run(const HostCase& c, const RandomIrOptions& opt, uint64_t rounds) {
    HostRunner host(c.options());
    const uint64_t seed = test::seed_or_random();
    rounds = test::times_rounds(rounds);
    for (uint64_t k = 0; k < rounds; ++k) {
        std::mt19937_64 rng(seed + k);
        const std::string wrong = host.check_allocation(random_function(rng, toy_guest(), opt));
        if (!wrong.empty()) FAIL() << "MYNA_TEST_SEED=" << seed + k << "\n" << wrong;
    }
}

TEST_P(Allocation, OfIntegers) { run(GetParam(), {.calls = false}, 1500); }
TEST_P(Allocation, AroundCalls) { run(GetParam(), {.size = 60, .vectors = true}, 800); }
TEST_P(Allocation, OfFewOperations) { run(GetParam(), {.size = 80, .focus = 6}, 1000); }
TEST_P(Allocation, OfLongBlocks) { run(GetParam(), {.size = 400}, 100); }
TEST_P(Allocation, OfFloatingPoint) { run(GetParam(), {.fp = true, .vectors = true, .half = true}, 800); }

INSTANTIATE_TEST_SUITE_P(Hosts, Allocation,
                         ::testing::Values(HostCase{"all", "", true, true, true},
                                           HostCase{"sse42", "avx,lzcnt,movbe,aes,pclmul,sha,gfni", true, true, true},
                                           HostCase{"no_fuse", "", true, false, true}, HostCase{"no_dead_sets", "", false, true, true},
                                           HostCase{"no_pin", "", true, true, false}),
                         [](const auto& i) { return i.param.name; });

}  // namespace
}  // namespace myna::testing
