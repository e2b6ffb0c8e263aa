// What a run of random tests takes from the environment: MYNA_TEST_SEED repeats one, MYNA_TEST_ROUNDS makes it that many
// times longer.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <random>

namespace myna::test {

/// The number in an environment variable (decimal, 0x… or 0…); `otherwise` when it is missing or empty.
inline uint64_t number_from_environment(const char* variable, uint64_t otherwise) {
    const char* text = std::getenv(variable);
    return text != nullptr && *text != 0 ? std::strtoull(text, nullptr, 0) : otherwise;
}

/// MYNA_TEST_SEED, else a new one. A failure prints it.
inline uint64_t seed_or_random() { return number_from_environment("MYNA_TEST_SEED", std::random_device{}()); }

/// `usual`, MYNA_TEST_ROUNDS times.
inline uint64_t times_rounds(uint64_t usual) { return usual * number_from_environment("MYNA_TEST_ROUNDS", 1); }

}  // namespace myna::test
