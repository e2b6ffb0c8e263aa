// Register allocation proven block by block (alloc_check.h): random Functions, and blocks of real guest programs.
//
// MYNA_SEED and MYNA_ROUNDS in the environment repeat a run or make it longer.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "codegen/host_run.h"

namespace myna::testing {
namespace {

uint64_t from_environment(const char* name, uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text != nullptr ? std::strtoull(text, nullptr, 0) : otherwise;
}

struct Case {
    const char* name;
    const char* masked;
    bool dead_sets, fuse, pin;
};

class Allocation : public ::testing::TestWithParam<Case> {};

void run(const Case& c, const RandomIrOptions& opt, uint64_t rounds) {
    x64::Options o;
    o.host = host_without(c.masked);
    o.dead_sets = c.dead_sets;
    o.fuse = c.fuse;
    o.pin = c.pin;
    HostRunner host(o);
    const uint64_t seed = from_environment("MYNA_SEED", std::random_device{}());
    rounds = from_environment("MYNA_ROUNDS", rounds);
    for (uint64_t k = 0; k < rounds; ++k) {
        std::mt19937_64 rng(seed + k);
        const std::string wrong = host.check_allocation(random_function(rng, toy_guest(), opt));
        if (!wrong.empty()) FAIL() << "MYNA_SEED=" << seed + k << "\n" << wrong;
    }
}

TEST_P(Allocation, OfIntegers) { run(GetParam(), {.calls = false}, 1500); }
TEST_P(Allocation, AroundCalls) { run(GetParam(), {.size = 60, .vectors = true}, 800); }
TEST_P(Allocation, OfFewOperations) { run(GetParam(), {.size = 80, .focus = 6}, 1000); }
TEST_P(Allocation, OfLongBlocks) { run(GetParam(), {.size = 400}, 100); }
TEST_P(Allocation, OfFloatingPoint) { run(GetParam(), {.fp = true, .vectors = true, .half = true}, 800); }

INSTANTIATE_TEST_SUITE_P(Hosts, Allocation,
                         ::testing::Values(Case{"all", "", true, true, true},
                                           Case{"sse42", "avx,lzcnt,movbe,aes,pclmul,sha,gfni", true, true, true},
                                           Case{"no_fuse", "", true, false, true}, Case{"no_dead_sets", "", false, true, true},
                                           Case{"no_pin", "", true, true, false}),
                         [](const auto& i) { return i.param.name; });

}  // namespace
}  // namespace myna::testing
