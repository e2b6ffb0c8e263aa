// Random tests: the seed and the length of a run.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace myna::test {

/// MYNA_TEST_SEED, else a fixed one. Failures print what is needed to see them again.
uint64_t seed();
/// MYNA_TEST_ROUNDS (how much longer than by default a random test runs), else 1.
uint64_t rounds();
/// MYNA_TEST_INSNS: how many guest instructions each random test of a guest compares at least, else 0 (the rounds say).
uint64_t least_insns();

/// Counts what a random test compares, and says when it is enough: after so many rounds, and at least least_insns().
class Tally {
  public:
    Tally(std::string_view what, uint64_t planned_rounds) : what_(what), planned_(planned_rounds) {}
    ~Tally();
    Tally(const Tally&) = delete;
    Tally& operator=(const Tally&) = delete;
    [[nodiscard]] bool more() const { return rounds_ < planned_ || insns_ < least_insns(); }
    [[nodiscard]] uint64_t round() const noexcept { return rounds_; }
    void add(uint64_t insns) { ++rounds_, insns_ += insns; }

  private:
    std::string what_;
    uint64_t planned_, rounds_ = 0, insns_ = 0;
};

/// Host features to leave unused, so that one host tests what back ends do on lesser ones.
struct HostMask {
    const char* name;
    std::vector<std::string> features;
};
/// all: nothing masked; avx2: no AVX-512; avx: no AVX2 either; sse42: nothing that is newer.
const std::vector<HostMask>& host_masks();
/// The same, and one more "host" that is the evaluator: interp.
std::vector<HostMask> engines();

}  // namespace myna::test
