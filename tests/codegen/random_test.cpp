// Random Functions as host code and in the evaluator: the same state, memory and exit.
//
// environment.h tells how to repeat a run or make it longer.
#include <gtest/gtest.h>

#include <random>

#include "codegen/host_run.h"
#include "environment.h"
#include "ir/printer.h"

namespace myna::testing {
namespace {

class RandomFunctions : public ::testing::TestWithParam<HostCase> {};

void run(const HostCase& c, const RandomIrOptions& opt, uint64_t rounds, bool fp) {
    HostRunner host(c.options());
    const uint64_t seed = test::seed_or_random();
    rounds = test::times_rounds(rounds);
    for (uint64_t k = 0; k < rounds; ++k) {
        std::mt19937_64 rng(seed + k);
        const ir::Function f = random_function(rng, toy_guest(), opt);
        const std::string report = compare_runs(host, f, rng, 8, fp);
        if (!report.empty()) FAIL() << "MYNA_TEST_SEED=" << seed + k << "\n" << report;
        if (k % 64 == 0) {
            ASSERT_EQ(host.bytes_at(f, uint64_t{0x123} << 32, 0x10000), host.bytes_at(f, uint64_t{0x7ff} << 36, 0x10000))
                << "MYNA_TEST_SEED=" << seed + k;
        }
    }
}

TEST_P(RandomFunctions, IntegersAgreeWithTheEvaluator) { run(GetParam(), {.calls = false}, 3000, false); }
TEST_P(RandomFunctions, CallsAgreeWithTheEvaluator) { run(GetParam(), {.size = 60, .vectors = true}, 1500, false); }
TEST_P(RandomFunctions, FewOperationsAgreeWithTheEvaluator) { run(GetParam(), {.size = 80, .focus = 6}, 2000, false); }
TEST_P(RandomFunctions, LongBlocksAgreeWithTheEvaluator) { run(GetParam(), {.size = 400}, 200, false); }
TEST_P(RandomFunctions, FloatingPointAgreesWithTheEvaluator) { run(GetParam(), {.fp = true, .vectors = true, .half = true}, 1500, true); }

INSTANTIATE_TEST_SUITE_P(Hosts, RandomFunctions,
                         ::testing::Values(HostCase{"all", "", true, true, true}, HostCase{"no_avx512", "avx512", true, true, true},
                                           HostCase{"sse42", "avx,lzcnt,movbe,aes,pclmul,sha,gfni", true, true, true},
                                           HostCase{"no_fuse", "", true, false, true}, HostCase{"no_dead_sets", "", false, true, true},
                                           HostCase{"no_pin", "", true, true, false}),
                         [](const auto& i) { return i.param.name; });

}  // namespace
}  // namespace myna::testing
