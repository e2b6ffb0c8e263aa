// Soft floating point against MPFR: half precision, ties away, and underflow detected before rounding.
#include <gtest/gtest.h>
#include <mpfr.h>

#include "samples.h"
#include "softfp/unpack.h"

namespace myna::softfp {
namespace {

constexpr Round kModes[] = {Round::kNearestEven, Round::kDown, Round::kUp, Round::kZero, Round::kNearestAway};

struct Real {
    mpfr_t v;
    Real() { mpfr_init2(v, 4500); }
    ~Real() { mpfr_clear(v); }
};

template <class F> void set(Real& r, Bits<F> x) {
    Context c;
    const Number n = unpack<F>(x, c);
    mpfr_set_uj(r.v, n.sig, MPFR_RNDN);
    mpfr_mul_2si(r.v, r.v, n.exp - 63, MPFR_RNDN);
    if (n.zero()) mpfr_set_zero(r.v, 1);
    if (n.sign) mpfr_neg(r.v, r.v, MPFR_RNDN);
}

/// The exact value `r` (not zero) rounded to F, by MPFR's comparison with the neighbouring numbers of the format.
template <class F> Bits<F> rounded(Real& r, const Context& in, uint32_t* flags) {
    const bool sign = mpfr_sgn(r.v) < 0;
    *flags = 0;
    Real a, step, q;
    mpfr_abs(a.v, r.v, MPFR_RNDN);
    const long e = mpfr_get_exp(a.v) - 1;  // 2^e <= a < 2^(e+1)
    const long min_exp = 1 - kBias<F>;
    const long unit = (e < min_exp ? min_exp : e) - F::kFracBits;
    mpfr_mul_2si(q.v, a.v, -unit, MPFR_RNDN);
    Real i;
    mpfr_floor(i.v, q.v);
    Real f;
    mpfr_sub(f.v, q.v, i.v, MPFR_RNDN);
    uint64_t m = mpfr_get_uj(i.v, MPFR_RNDN);
    const bool exact = mpfr_zero_p(f.v);
    const int half = mpfr_cmp_d(f.v, 0.5);
    const auto up = [&](uint64_t odd, int to_half, bool ex) {
        switch (in.round) {
            case Round::kNearestEven: return to_half > 0 || (to_half == 0 && (odd & 1));
            case Round::kNearestAway: return to_half >= 0;
            case Round::kDown: return sign && !ex;
            case Round::kUp: return !sign && !ex;
            default: return false;
        }
    };
    bool tiny = e < min_exp;
    if (tiny && !in.tiny_before) {  // with an unbounded exponent range, would it round to the smallest normal?
        Real u, fl, fr;
        mpfr_mul_2si(u.v, a.v, F::kFracBits - e, MPFR_RNDN);
        mpfr_floor(fl.v, u.v);
        mpfr_sub(fr.v, u.v, fl.v, MPFR_RNDN);
        const uint64_t k = mpfr_get_uj(fl.v, MPFR_RNDN) + (up(mpfr_get_uj(fl.v, MPFR_RNDN), mpfr_cmp_d(fr.v, 0.5), mpfr_zero_p(fr.v)) ? 1 : 0);
        if (e == min_exp - 1 && k >> (F::kFracBits + 1)) tiny = false;
    }
    if (up(m, half, exact)) ++m;
    uint64_t bits;
    if (unit == min_exp - F::kFracBits) bits = m;  // denormal or the first binade
    else bits = (static_cast<uint64_t>(e + kBias<F> - 1) << F::kFracBits) + m;
    if (e > kBias<F> || bits >= kInf<F>) {
        *flags |= Flag::kOverflow | Flag::kInexact;
        const bool inf = in.round == Round::kNearestEven || in.round == Round::kNearestAway || (in.round == Round::kUp && !sign) || (in.round == Round::kDown && sign);
        bits = inf ? kInf<F> : kMaxNormal<F>;
    } else if (!exact) {
        *flags |= Flag::kInexact | (tiny ? Flag::kUnderflow : 0);
    }
    return static_cast<Bits<F>>(bits | (sign ? kSign<F> : 0));
}

template <class F> bool plain(Bits<F> x) { return !is_nan<F>(x) && !is_inf<F>(x) && !is_zero<F>(x); }

template <class F> void check(Bits<F> a, Bits<F> b, Bits<F> d, Round mode, bool before) {
    Real x, y, z, r;
    set<F>(x, a), set<F>(y, b), set<F>(z, d);
    const Context c{.round = mode, .tiny_before = before};
    const auto expect = [&](const char* what, auto soft) {
        if (mpfr_zero_p(r.v)) return;
        uint32_t flags;
        const Bits<F> want = rounded<F>(r, c, &flags);
        Context mine = c;
        const Bits<F> got = soft(mine);
        ASSERT_TRUE(got == want && mine.flags == flags)
            << what << kWidth<F> << " mode " << static_cast<int>(mode) << " before " << before << std::hex << ": " << +a << " " << +b << " "
            << +d << " gives " << +got << " flags " << mine.flags << ", MPFR " << +want << " flags " << flags;
    };
    mpfr_add(r.v, x.v, y.v, MPFR_RNDN);
    expect("add", [&](Context& k) { return add<F>(a, b, k); });
    mpfr_mul(r.v, x.v, y.v, MPFR_RNDN);
    expect("mul", [&](Context& k) { return mul<F>(a, b, k); });
    mpfr_add(r.v, r.v, z.v, MPFR_RNDN);
    expect("fma", [&](Context& k) { return fma<F>(a, b, d, k); });
    mpfr_set_prec(r.v, 400);
    mpfr_div(r.v, x.v, y.v, MPFR_RNDZ);
    expect("div", [&](Context& k) { return div<F>(a, b, k); });
    if (!(a & kSign<F>)) {
        mpfr_sqrt(r.v, x.v, MPFR_RNDZ);
        expect("sqrt", [&](Context& k) { return sqrt<F>(a, k); });
    }
}

template <class F> class MpfrTest : public testing::Test {};
using Formats = testing::Types<F16, F32, F64>;
TYPED_TEST_SUITE(MpfrTest, Formats);

TYPED_TEST(MpfrTest, Arithmetic) {
    using F = TypeParam;
    Samples<F> s(test_seed() + 10);
    for (unsigned i = 0; i < 30'000 * test_rounds();) {
        const Bits<F> a = s.next(), b = s.next(), d = s.next();
        if (!plain<F>(a) || !plain<F>(b) || !plain<F>(d)) continue;
        ++i;
        check<F>(a, b, d, kModes[s.raw() % 5], s.raw() & 1);
        if (this->HasFatalFailure()) return;
    }
}

TEST(MpfrHalf, UnaryExhaustively) {
    for (uint32_t h = 0; h < 0x10000; ++h) {
        const auto a = static_cast<uint16_t>(h);
        if (!plain<F16>(a)) continue;
        Real x, r;
        set<F16>(x, a);
        for (Round mode : kModes) {
            uint32_t flags;
            Context c{.round = mode};
            if (!(a & 0x8000)) {
                mpfr_set_prec(r.v, 200);
                mpfr_sqrt(r.v, x.v, MPFR_RNDZ);
                const uint16_t want = rounded<F16>(r, c, &flags);
                ASSERT_EQ(sqrt<F16>(a, c), want) << std::hex << h;
                ASSERT_EQ(c.flags, flags) << std::hex << h;
            }
            // Integral values and integers by MPFR's own rounding functions.
            const bool even = mode == Round::kNearestEven;
            (mode == Round::kDown ? mpfr_floor(r.v, x.v) : mode == Round::kUp ? mpfr_ceil(r.v, x.v) : mode == Round::kZero ? mpfr_trunc(r.v, x.v)
                 : even ? mpfr_rint(r.v, x.v, MPFR_RNDN) : mpfr_round(r.v, x.v));
            const long want = mpfr_get_si(r.v, MPFR_RNDN);
            Context k{.round = mode};
            ASSERT_EQ(static_cast<int16_t>(to_signed<F16>(a, 64, 0, k)) , static_cast<int16_t>(want)) << std::hex << h;
            ASSERT_EQ(k.flags, mpfr_equal_p(r.v, x.v) ? 0u : Flag::kInexact);
            Context i{.round = mode};
            Context j;
            const uint16_t integral = round_to_int<F16>(a, true, i);
            ASSERT_EQ(static_cast<int64_t>(to_signed<F16>(integral, 64, 0, j)), want) << std::hex << h;
            ASSERT_EQ(i.flags, k.flags);
            // Scaled by 2^7: exactly the integer of the value times 128.
            Real t;
            mpfr_mul_2si(t.v, x.v, 7, MPFR_RNDN);
            (mode == Round::kDown ? mpfr_floor(r.v, t.v) : mode == Round::kUp ? mpfr_ceil(r.v, t.v) : mode == Round::kZero ? mpfr_trunc(r.v, t.v)
                 : even ? mpfr_rint(r.v, t.v, MPFR_RNDN) : mpfr_round(r.v, t.v));
            Context m{.round = mode};
            ASSERT_EQ(static_cast<int64_t>(to_signed<F16>(a, 64, 7, m)), mpfr_get_si(r.v, MPFR_RNDN)) << std::hex << h;
        }
        // Widening is exact and comes back.
        Context c;
        ASSERT_EQ((convert<F16, F32>(convert<F32, F16>(a, c), c)), a);
        ASSERT_EQ((convert<F16, F64>(convert<F64, F16>(a, c), c)), a);
        ASSERT_EQ(c.flags, 0u);
    }
}

TEST(MpfrConversion, NarrowingRoundsOnce) {
    Samples<F64> s(test_seed() + 11);
    for (unsigned i = 0; i < 60'000 * test_rounds(); ++i) {
        uint64_t a = s.next();
        if (i & 1) a = (a & ~kInf<F64>) | (1023 - 26 + s.raw() % 44) << 52;
        if (!plain<F64>(a)) continue;
        Real x;
        set<F64>(x, a);
        for (Round mode : kModes) {
            uint32_t flags;
            Context c{.round = mode};
            const uint32_t want32 = rounded<F32>(x, c, &flags);
            ASSERT_EQ((convert<F32, F64>(a, c)), want32) << std::hex << a;
            ASSERT_EQ(c.flags, flags);
            Context d{.round = mode};
            const uint16_t want16 = rounded<F16>(x, d, &flags);
            ASSERT_EQ((convert<F16, F64>(a, d)), want16) << std::hex << a;
            ASSERT_EQ(d.flags, flags);
            Context e{.round = mode};
            const uint16_t want_b = rounded<BF16>(x, e, &flags);
            ASSERT_EQ((convert<BF16, F64>(a, e)), want_b) << std::hex << a;
            ASSERT_EQ(e.flags, flags);
        }
        // Round to odd, then to half, is rounding to half at once (the reason FCVTXN exists).
        Context odd{.round = Round::kOdd}, near, once;
        const uint32_t o = convert<F32, F64>(a, odd);
        ASSERT_EQ((convert<F16, F32>(o, near)), (convert<F16, F64>(a, once))) << std::hex << a;
    }
}

}  // namespace
}  // namespace myna::softfp
