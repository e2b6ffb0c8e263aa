// Random Functions as host code and in the evaluator: the same state, memory and exit.
//
// MYNA_SEED and MYNA_ROUNDS in the environment repeat a run or make it longer.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "codegen/host_run.h"
#include "ir/printer.h"

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

class RandomFunctions : public ::testing::TestWithParam<Case> {};

void run(const Case& c, const RandomIrOptions& opt, uint64_t rounds, bool fp) {
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
        const ir::Function f = random_function(rng, toy_guest(), opt);
        const std::string report = compare_runs(host, f, rng, 8, fp);
        if (!report.empty()) FAIL() << "MYNA_SEED=" << seed + k << "\n" << report;
        if (k % 64 == 0) {
            ASSERT_EQ(host.bytes_at(f, uint64_t{0x123} << 32, 0x10000), host.bytes_at(f, uint64_t{0x7ff} << 36, 0x10000))
                << "MYNA_SEED=" << seed + k;
        }
    }
}

TEST_P(RandomFunctions, IntegersAgreeWithTheEvaluator) { run(GetParam(), {.calls = false}, 3000, false); }
TEST_P(RandomFunctions, CallsAgreeWithTheEvaluator) { run(GetParam(), {.size = 60, .vectors = true}, 1500, false); }
TEST_P(RandomFunctions, FewOperationsAgreeWithTheEvaluator) { run(GetParam(), {.size = 80, .focus = 6}, 2000, false); }
TEST_P(RandomFunctions, LongBlocksAgreeWithTheEvaluator) { run(GetParam(), {.size = 400}, 200, false); }
TEST_P(RandomFunctions, FloatingPointAgreesWithTheEvaluator) { run(GetParam(), {.fp = true, .vectors = true, .half = true}, 1500, true); }

INSTANTIATE_TEST_SUITE_P(Hosts, RandomFunctions,
                         ::testing::Values(Case{"all", "", true, true, true}, Case{"no_avx512", "avx512", true, true, true},
                                           Case{"sse42", "avx,lzcnt,movbe,aes,pclmul,sha,gfni", true, true, true},
                                           Case{"no_fuse", "", true, false, true}, Case{"no_dead_sets", "", false, true, true},
                                           Case{"no_pin", "", true, true, false}),
                         [](const auto& i) { return i.param.name; });

}  // namespace
}  // namespace myna::testing
