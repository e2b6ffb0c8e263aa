#include "guest/common/seed.h"

#include <cstdio>
#include <cstdlib>

namespace myna::test {

namespace {
uint64_t number_from(const char* variable, uint64_t otherwise) {
    const char* text = getenv(variable);
    return text && *text ? std::strtoull(text, nullptr, 0) : otherwise;
}
}  // namespace

uint64_t seed() { return number_from("MYNA_TEST_SEED", 20240607); }
uint64_t rounds() { return number_from("MYNA_TEST_ROUNDS", 1); }
uint64_t least_insns() { return number_from("MYNA_TEST_INSNS", 0); }

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

}  // namespace myna::test
