// Soft floating point against the host's FPU: f32 and f64, the four rounding modes, results and exception flags.
#include <gtest/gtest.h>
#include <immintrin.h>

#include <bit>
#include <functional>

#include "samples.h"

namespace myna::softfp {
namespace {

constexpr uint32_t kBase = 0x1f80;
constexpr Round kModes[] = {Round::kNearestEven, Round::kDown, Round::kUp, Round::kZero};

/// The host's result of `f` in rounding mode `mode`, and its flags without the denormal-operand one.
template <class T> T on_host(int mode, uint32_t* flags, auto&& f) {
    const uint32_t old = _mm_getcsr();
    _mm_setcsr(kBase | static_cast<uint32_t>(mode) << 13);
    T r = f();
    asm volatile("" : "+m"(r)::"memory");
    *flags = _mm_getcsr() & (Flag::kAll & ~Flag::kInputDenormal);
    _mm_setcsr(old);
    return r;
}

#define MYNA_SSE2(name, ss, sd)                                              \
    uint32_t name(uint32_t a, uint32_t b) {                                  \
        float x = std::bit_cast<float>(a);                                   \
        asm volatile(ss " %1, %0" : "+x"(x) : "x"(std::bit_cast<float>(b))); \
        return std::bit_cast<uint32_t>(x);                                   \
    }                                                                        \
    uint64_t name(uint64_t a, uint64_t b) {                                  \
        double x = std::bit_cast<double>(a);                                 \
        asm volatile(sd " %1, %0" : "+x"(x) : "x"(std::bit_cast<double>(b)));\
        return std::bit_cast<uint64_t>(x);                                   \
    }
MYNA_SSE2(host_add, "addss", "addsd")
MYNA_SSE2(host_sub, "subss", "subsd")
MYNA_SSE2(host_mul, "mulss", "mulsd")
MYNA_SSE2(host_div, "divss", "divsd")
MYNA_SSE2(host_sqrt, "sqrtss", "sqrtsd")

uint32_t host_fma(uint32_t a, uint32_t b, uint32_t c) {
    float x = std::bit_cast<float>(a);
    asm volatile("vfmadd213ss %2, %1, %0" : "+x"(x) : "x"(std::bit_cast<float>(b)), "x"(std::bit_cast<float>(c)));
    return std::bit_cast<uint32_t>(x);
}
uint64_t host_fma(uint64_t a, uint64_t b, uint64_t c) {
    double x = std::bit_cast<double>(a);
    asm volatile("vfmadd213sd %2, %1, %0" : "+x"(x) : "x"(std::bit_cast<double>(b)), "x"(std::bit_cast<double>(c)));
    return std::bit_cast<uint64_t>(x);
}

template <class F> void expect_same(const char* what, int mode, Bits<F> a, Bits<F> b, Bits<F> d, Bits<F> soft, uint32_t soft_flags,
                                    Bits<F> host, uint32_t host_flags) {
    const bool same = is_nan<F>(host) ? is_nan<F>(soft) : soft == host;
    if (!same || soft_flags != host_flags) {
        ADD_FAILURE() << what << " width " << kWidth<F> << " mode " << mode << std::hex << ": " << +a << ", " << +b << ", " << +d
                      << " gives " << +soft << " flags " << soft_flags << ", host " << +host << " flags " << host_flags;
        if (testing::Test::HasFailure() && ++*[] { static int n; return &n; }() > 20) std::exit(1);
    }
}

template <class F> void check_binary(int mode, Bits<F> a, Bits<F> b) {
    const auto one = [&](const char* what, auto soft, auto host) {
        Context c{.round = kModes[mode], .tiny_before = false};
        uint32_t flags;
        const Bits<F> h = on_host<Bits<F>>(mode, &flags, [&] { return host(a, b); });
        const Bits<F> s = soft(a, b, c);
        expect_same<F>(what, mode, a, b, 0, s, c.flags, h, flags);
    };
    one("add", add<F>, [](Bits<F> x, Bits<F> y) { return host_add(x, y); });
    one("sub", sub<F>, [](Bits<F> x, Bits<F> y) { return host_sub(x, y); });
    one("mul", mul<F>, [](Bits<F> x, Bits<F> y) { return host_mul(x, y); });
    one("div", div<F>, [](Bits<F> x, Bits<F> y) { return host_div(x, y); });
    one("sqrt", [](Bits<F>, Bits<F> y, Context& c) { return sqrt<F>(y, c); }, [](Bits<F> x, Bits<F> y) { return host_sqrt(x, y); });
}

template <class F> void check_fma(int mode, Bits<F> a, Bits<F> b, Bits<F> d) {
    Context c{.round = kModes[mode], .tiny_before = false};
    uint32_t flags;
    const Bits<F> h = on_host<Bits<F>>(mode, &flags, [&] { return host_fma(a, b, d); });
    const Bits<F> s = fma<F>(a, b, d, c);
    // The host raises no invalid for inf * 0 + quiet NaN; Arm and RISC-V do.
    if (is_nan<F>(d) && ((is_inf<F>(a) && is_zero<F>(b)) || (is_zero<F>(a) && is_inf<F>(b)))) flags |= Flag::kInvalid;
    expect_same<F>("fma", mode, a, b, d, s, c.flags, h, flags);
}

template <class F> class HostTest : public testing::Test {};
using Formats = testing::Types<F32, F64>;
TYPED_TEST_SUITE(HostTest, Formats);

TYPED_TEST(HostTest, ArithmeticOfSpecialValues) {
    const auto v = special_values<TypeParam>();
    for (int mode = 0; mode < 4; ++mode)
        for (auto a : v)
            for (auto b : v) check_binary<TypeParam>(mode, a, b);
}

TYPED_TEST(HostTest, ArithmeticOfRandomValues) {
    Samples<TypeParam> s(test_seed());
    for (unsigned i = 0; i < 300'000 * test_rounds(); ++i) check_binary<TypeParam>(static_cast<int>(i & 3), s.next(), s.next());
}

TYPED_TEST(HostTest, FusedMultiplyAdd) {
    if (!__builtin_cpu_supports("fma")) GTEST_SKIP();
    const auto v = special_values<TypeParam>();
    Samples<TypeParam> s(test_seed() + 1);
    for (auto a : v)
        for (auto b : v)
            for (unsigned i = 0; i < v.size(); i += 1 + s.raw() % 7) check_fma<TypeParam>(static_cast<int>(s.raw() & 3), a, b, v[i]);
    for (unsigned i = 0; i < 1'000'000 * test_rounds(); ++i) check_fma<TypeParam>(static_cast<int>(i & 3), s.next(), s.next(), s.next());
}

TYPED_TEST(HostTest, IntegersAndIntegralValues) {
    using F = TypeParam;
    Samples<F> s(test_seed() + 2);
    auto v = special_values<F>();
    for (unsigned i = 0; i < 200'000; ++i) v.push_back(s.next());
    for (auto a : v)
        for (int mode = 0; mode < 4; ++mode) {
            uint32_t flags;
            Context c{.round = kModes[mode], .nan_rule = NanRule::kRiscv, .tiny_before = false};
            const auto to64 = [&] {
                int64_t r;
                if constexpr (sizeof(a) == 4) asm volatile("cvtss2si %1, %0" : "=r"(r) : "x"(std::bit_cast<float>(a)));
                else asm volatile("cvtsd2si %1, %0" : "=r"(r) : "x"(std::bit_cast<double>(a)));
                return static_cast<uint64_t>(r);
            };
            const uint64_t h = on_host<uint64_t>(mode, &flags, to64);
            const uint64_t r = to_signed<F>(a, 64, 0, c);
            ASSERT_EQ(c.flags, flags) << std::hex << +a << " mode " << mode;
            if (!(flags & Flag::kInvalid)) { ASSERT_EQ(r, h) << std::hex << +a << " mode " << mode; }
            // Narrower and unsigned results follow from the 64-bit one.
            for (unsigned width : {8u, 16u, 32u}) {
                Context d{.round = kModes[mode], .nan_rule = NanRule::kArm};
                const uint64_t w = to_signed<F>(a, width, 0, d);
                const int64_t wide = static_cast<int64_t>(r);
                const bool fits = !(flags & Flag::kInvalid) && wide >= -(int64_t{1} << (width - 1)) && wide < (int64_t{1} << (width - 1));
                ASSERT_EQ(d.flags, fits ? flags : Flag::kInvalid) << std::hex << +a;
                if (fits) ASSERT_EQ(w, r & ((uint64_t{1} << width) - 1));
                Context u{.round = kModes[mode], .nan_rule = NanRule::kArm};
                const uint64_t x = to_unsigned<F>(a, width, 0, u);
                const bool ufits = !(flags & Flag::kInvalid) && wide >= 0 && wide < (int64_t{1} << width);
                ASSERT_EQ(u.flags, ufits ? flags : Flag::kInvalid) << std::hex << +a << " width " << width;
                ASSERT_EQ(x, ufits ? r : is_nan<F>(a) || (a & kSign<F>) ? 0 : (uint64_t{1} << width) - 1);
            }
            Context e{.round = kModes[mode], .nan_rule = NanRule::kArm};
            const Bits<F> i = round_to_int<F>(a, true, e);
            const auto round = [&]() -> Bits<F> {
                if constexpr (sizeof(a) == 4) {
                    float y;
                    asm volatile("roundss $4, %1, %0" : "=x"(y) : "x"(std::bit_cast<float>(a)));
                    return std::bit_cast<Bits<F>>(y);
                } else {
                    double y;
                    asm volatile("roundsd $4, %1, %0" : "=x"(y) : "x"(std::bit_cast<double>(a)));
                    return std::bit_cast<Bits<F>>(y);
                }
            };
            const Bits<F> hi = on_host<Bits<F>>(mode, &flags, round);
            expect_same<F>("fround", mode, a, 0, 0, i, e.flags, hi, flags);
        }
    for (unsigned i = 0; i < 300'000; ++i) {
        const int64_t n = static_cast<int64_t>(s.raw()) >> (s.raw() & 63);
        const int mode = static_cast<int>(i & 3);
        uint32_t flags;
        Context c{.round = kModes[mode]};
        const Bits<F> h = on_host<Bits<F>>(mode, &flags, [&] {
            if constexpr (sizeof(Bits<F>) == 4) {
                float y;
                asm volatile("cvtsi2ssq %1, %0" : "=x"(y) : "r"(n));
                return std::bit_cast<Bits<F>>(y);
            } else {
                double y;
                asm volatile("cvtsi2sdq %1, %0" : "=x"(y) : "r"(n));
                return std::bit_cast<Bits<F>>(y);
            }
        });
        expect_same<F>("from_signed", mode, static_cast<Bits<F>>(n), 0, 0, from_signed<F>(n, 0, c), c.flags, h, flags);
    }
}

TYPED_TEST(HostTest, Comparison) {
    using F = TypeParam;
    Samples<F> s(test_seed() + 3);
    const auto check = [](Bits<F> a, Bits<F> b) {
        uint32_t flags;
        const auto order = on_host<int>(0, &flags, [&] {
            int lt, eq, un;
            if constexpr (sizeof(a) == 4) asm volatile("ucomiss %4, %3" : "=@ccb"(lt), "=@ccz"(eq), "=@ccp"(un) : "x"(std::bit_cast<float>(a)), "x"(std::bit_cast<float>(b)));
            else asm volatile("ucomisd %4, %3" : "=@ccb"(lt), "=@ccz"(eq), "=@ccp"(un) : "x"(std::bit_cast<double>(a)), "x"(std::bit_cast<double>(b)));
            return un ? 3 : eq ? 1 : lt ? 0 : 2;
        });
        Context c;
        ASSERT_EQ(static_cast<int>(compare<F>(a, b, false, c)), order) << std::hex << +a << " " << +b;
        ASSERT_EQ(c.flags, flags);
    };
    for (auto a : special_values<F>()) for (auto b : special_values<F>()) check(a, b);
    for (int i = 0; i < 100'000; ++i) check(s.next(), s.next());
}

TEST(HostConversion, BetweenSingleAndDouble) {
    Samples<F64> s(test_seed() + 4);
    Samples<F32> t(test_seed() + 5);
    for (unsigned i = 0; i < 500'000 * test_rounds(); ++i) {
        const int mode = static_cast<int>(i & 3);
        uint64_t a = s.next();
        if (i & 4) {  // exponents where single precision ends
            const uint64_t e = (i & 8) ? 1023 - 127 + s.raw() % 8 - 4 : (i & 16) ? 1023 + 127 + s.raw() % 4 - 2 : 1023 - 127 - s.raw() % 30;
            a = (a & ~kInf<F64>) | e << 52;
            if (i & 32) a &= ~uint64_t{0} << 27;
            if (i & 64) a |= (~uint64_t{0} << 26) & kFracMask<F64>;
        }
        uint32_t flags;
        const uint32_t h = on_host<uint32_t>(mode, &flags, [&] {
            float y;
            asm volatile("cvtsd2ss %1, %0" : "=x"(y) : "x"(std::bit_cast<double>(a)));
            return std::bit_cast<uint32_t>(y);
        });
        Context c{.round = kModes[mode], .nan_rule = NanRule::kArm, .tiny_before = false};
        const uint32_t r = convert<F32, F64>(a, c);
        ASSERT_EQ(r, h) << std::hex << a << " mode " << mode;  // x86 keeps the payload as Arm does
        ASSERT_EQ(c.flags, flags) << std::hex << a << " mode " << mode;

        const uint32_t b = t.next();
        const uint64_t hb = on_host<uint64_t>(mode, &flags, [&] {
            double y;
            asm volatile("cvtss2sd %1, %0" : "=x"(y) : "x"(std::bit_cast<float>(b)));
            return std::bit_cast<uint64_t>(y);
        });
        Context d{.round = kModes[mode]};
        const uint64_t rb = convert<F64, F32>(b, d);
        ASSERT_EQ(rb, hb) << std::hex << b;
        ASSERT_EQ(d.flags, flags) << std::hex << b;
    }
}

TEST(HostConversion, HalfFromAndToSingle) {
    if (!__builtin_cpu_supports("f16c")) GTEST_SKIP();
    for (uint32_t h = 0; h < 0x10000; ++h) {
        uint32_t flags;
        const uint32_t r = on_host<uint32_t>(0, &flags, [&] {
            float y;
            asm volatile("vmovd %1, %%xmm0; vcvtph2ps %%xmm0, %%xmm0; vmovd %%xmm0, %0" : "=r"(y) : "r"(h) : "xmm0");
            return std::bit_cast<uint32_t>(y);
        });
        Context c;
        ASSERT_EQ((convert<F32, F16>(static_cast<uint16_t>(h), c)), r) << std::hex << h;
        ASSERT_EQ(c.flags, flags) << std::hex << h;
    }
    Samples<F32> s(test_seed() + 6);
    for (unsigned i = 0; i < 500'000; ++i) {
        const int mode = static_cast<int>(i & 3);
        uint32_t a = s.next();
        if (i & 4) a = (a & ~kInf<F32>) | static_cast<uint32_t>(127 - 26 + s.raw() % 44) << 23;
        if (i & 8) a &= 0xfffff000;
        uint32_t flags, out;
        on_host<int>(mode, &flags, [&] {
            asm volatile("vmovd %1, %%xmm0; vcvtps2ph $4, %%xmm0, %%xmm0; vmovd %%xmm0, %0" : "=r"(out) : "r"(a) : "xmm0");
            return 0;
        });
        Context c{.round = kModes[mode], .tiny_before = false};
        ASSERT_EQ((convert<F16, F32>(a, c)), out & 0xffff) << std::hex << a;
        ASSERT_EQ(c.flags, flags) << std::hex << a << " mode " << mode;
    }
}

}  // namespace
}  // namespace myna::softfp
