#include "guest/common/seed.h"

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

}  // namespace myna::test
