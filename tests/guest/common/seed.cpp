#include "guest/common/seed.h"

#include <cstdio>

#include "environment.h"

namespace myna::test {

uint64_t seed() { return number_from_environment("MYNA_TEST_SEED", 20240607); }
uint64_t rounds() { return number_from_environment("MYNA_TEST_ROUNDS", 1); }
uint64_t least_insns() { return number_from_environment("MYNA_TEST_INSNS", 0); }

Tally::~Tally() {
    std::printf("  %s: %llu instructions compared\n", what_.c_str(), static_cast<unsigned long long>(insns_));
    std::fflush(stdout);
}

const std::vector<HostMask>& host_masks() {
    static const std::vector<HostMask> masks = {
        {"all", {}},
        {"avx2", {"avx512"}},
        {"avx", {"avx2"}},
        {"sse42", {"avx", "bmi1", "bmi2", "lzcnt", "movbe", "sha", "gfni", "pclmul", "aes"}},
    };
    return masks;
}

std::vector<HostMask> engines() {
    auto all = host_masks();
    all.push_back({"interp", {}});
    return all;
}

}  // namespace myna::test
