// Operands for floating-point tests: special values of a format, and random ones that lie near each other and near
// the borders often enough to matter.
#pragma once

#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

#include "environment.h"
#include "softfp/softfp.h"

namespace myna::softfp {

/// The seed of this run: MYNA_TEST_SEED or a random one; printed.
inline uint64_t test_seed() {
    static const uint64_t seed = [] {
        const uint64_t v = test::seed_or_random();
        std::printf("MYNA_TEST_SEED=%llu\n", static_cast<unsigned long long>(v));
        return v;
    }();
    return seed;
}
/// MYNA_TEST_ROUNDS: how many times longer than usual random tests run.
inline unsigned test_rounds() { return static_cast<unsigned>(test::times_rounds(1)); }

template <class F> std::vector<Bits<F>> special_values() {
    std::vector<uint64_t> v = {0, 1, 2, 3, kFracMask<F> - 1u, kFracMask<F>, kMinNormal<F>, kMinNormal<F> + 1u, kOne<F> - 1u, kOne<F>,
                               kOne<F> + 1u, kOne<F> | kQuiet<F>, kMaxNormal<F> - 1u, kMaxNormal<F>, kInf<F>, kInf<F> + 1u,
                               kInf<F> | kFracMask<F> >> 1, kDefaultNan<F>, kDefaultNan<F> + 5u, kInf<F> | kFracMask<F>};
    for (int e : {-2, -1, 1, 2, F::kFracBits - 1, F::kFracBits, F::kFracBits + 1, 7, 8, 15, 16, 30, 31, 32, 62, 63, 64})
        if (e <= kBias<F>) {
            const uint64_t p = static_cast<uint64_t>(kBias<F> + e) << F::kFracBits;
            v.push_back(p), v.push_back(p - 1), v.push_back(p + 1), v.push_back(p | kQuiet<F>);
        }
    std::vector<Bits<F>> out;
    for (uint64_t x : v) out.push_back(static_cast<Bits<F>>(x)), out.push_back(static_cast<Bits<F>>(x | kSign<F>));
    return out;
}

template <class F> class Samples {
  public:
    explicit Samples(uint64_t seed) : rng_(seed), special_(special_values<F>()) {}
    Bits<F> next() {
        const uint64_t r = rng_();
        switch (r & 15) {
            case 0: case 1: return special_[(r >> 8) % special_.size()];
            case 2: case 3: return last_ = static_cast<Bits<F>>(rng_());
            case 4: return static_cast<Bits<F>>(last_ ^ (r >> 60));                              // a near neighbour
            case 5: return static_cast<Bits<F>>(neg<F>(last_) + (r >> 62));                      // cancellation
            case 6: return static_cast<Bits<F>>(rng_() & (kFracMask<F> | kSign<F>));             // denormal
            case 14: {  // products of two of these are about the smallest normal number
                const uint64_t e = static_cast<uint64_t>(kBias<F> - (kBias<F> - 1) / 2) - (r >> 8 & 1);
                return static_cast<Bits<F>>((e << F::kFracBits) | ((r & 0x200) ? kFracMask<F> - (r >> 61) : (r & 0x400) ? r >> 61 : rng_() & kFracMask<F>));
            }
            case 7: return static_cast<Bits<F>>((rng_() & kSign<F>) | kOne<F> | (kFracMask<F> & ~(~uint64_t{0} >> (r >> 58))));
            default: {  // exponent near one
                const uint64_t e = static_cast<uint64_t>(kBias<F>) + (r >> 8) % 71 - 35;
                const uint64_t m = (r & 0x100) ? rng_() : rng_() & ~(~uint64_t{0} >> (rng_() & 63));
                last_ = static_cast<Bits<F>>((m & (kFracMask<F> | kSign<F>)) | ((e << F::kFracBits) & kInf<F>));
                return last_;
            }
        }
    }
    uint64_t raw() { return rng_(); }

  private:
    std::mt19937_64 rng_;
    std::vector<Bits<F>> special_;
    Bits<F> last_ = 0;
};

}  // namespace myna::softfp
