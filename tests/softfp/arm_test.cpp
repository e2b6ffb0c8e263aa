// Arm's estimates, steps, flush-to-zero and NaN rules: values from the architecture manual's own definitions.
#include <gtest/gtest.h>

#include <cmath>

#include "samples.h"

namespace myna::softfp {
namespace {

TEST(NanRules, ArmTakesTheFirstSignallingThenTheFirstQuietOperand) {
    const uint32_t s1 = 0x7f800001, s2 = 0xff800002, q1 = 0x7fc00003, q2 = 0xffc00004, one = kOne<F32>;
    Context c;
    EXPECT_EQ(add<F32>(q1, s2, c), s2 | kQuiet<F32>);
    EXPECT_EQ(c.flags, Flag::kInvalid);
    c.flags = 0;
    EXPECT_EQ(add<F32>(q1, q2, c), q1);
    EXPECT_EQ(add<F32>(one, q2, c), q2);
    EXPECT_EQ(sub<F32>(one, q2, c), q2);
    EXPECT_EQ(c.flags, 0u);
    EXPECT_EQ(fma<F32>(s1, s2, q1, c), s1 | kQuiet<F32>);
    EXPECT_EQ(fma<F32>(q1, one, q2, c), q2);  // the addend first
    c.flags = 0;
    EXPECT_EQ(fma<F32>(kInf<F32>, 0, q2, c), kDefaultNan<F32>);
    EXPECT_EQ(c.flags, Flag::kInvalid);
    EXPECT_EQ(fma<F32>(kInf<F32>, 0, s2, c), s2 | kQuiet<F32>);  // a signalling addend goes first
    Context d{.nan_rule = NanRule::kArmDefault};
    EXPECT_EQ(add<F32>(q1, q2, d), kDefaultNan<F32>);
    EXPECT_EQ(d.flags, 0u);
}

TEST(MinMaxRules, NumbersAndNans) {
    const uint32_t q = 0x7fc00003, s = 0x7f800001, one = kOne<F32>, minus_zero = kSign<F32>;
    Context c;
    EXPECT_EQ(min<F32>(0, minus_zero, MinMax::kArm, c), minus_zero);
    EXPECT_EQ(max<F32>(minus_zero, 0, MinMax::kArm, c), 0u);
    EXPECT_EQ(max<F32>(q, one, MinMax::kArm, c), q);
    EXPECT_EQ(max<F32>(q, one, MinMax::kNumber, c), one);
    EXPECT_EQ(max<F32>(one, q, MinMax::kNumber19, c), one);
    EXPECT_EQ(c.flags, 0u);
    EXPECT_EQ(min<F32>(s, one, MinMax::kNumber, c), s | kQuiet<F32>);
    EXPECT_EQ(c.flags, Flag::kInvalid);
    Context r{.nan_rule = NanRule::kRiscv};
    EXPECT_EQ(min<F32>(s, one, MinMax::kNumber19, r), one);
    EXPECT_EQ(r.flags, Flag::kInvalid);
    EXPECT_EQ(min<F32>(s, q, MinMax::kNumber19, r), kDefaultNan<F32>);
}

TEST(FlushToZero, InputsAndOutputs) {
    Context c{.flush = true};
    EXPECT_EQ(add<F32>(1, 0x80000001, c), 0u);
    EXPECT_EQ(c.flags, Flag::kInputDenormal);
    c.flags = 0;
    EXPECT_EQ(mul<F32>(kMinNormal<F32>, 0xbf000000, c), kSign<F32>);
    EXPECT_EQ(c.flags, Flag::kUnderflow);
    c.flags = 0;
    EXPECT_EQ(add<F16>(1, 1, c), 2);  // FZ does not reach half precision
    EXPECT_EQ(c.flags, 0u);
    Context h{.flush16 = true};
    EXPECT_EQ(add<F16>(1, 1, h), 0);
    EXPECT_EQ(h.flags, 0u);
    EXPECT_EQ((convert<F32, F16>(1, h)), 0x33800000u);  // conversions keep half-precision denormals
}

TEST(Underflow, BeforeAndAfterRounding) {
    // The largest denormal and a bit: rounds up to the smallest normal.
    Context before{.tiny_before = true}, after{.tiny_before = false};
    const uint64_t a = 0x380fffffffffffff;  // just below 2^-126
    EXPECT_EQ((convert<F32, F64>(a, before)), kMinNormal<F32>);
    EXPECT_EQ((convert<F32, F64>(a, after)), kMinNormal<F32>);
    EXPECT_EQ(before.flags, Flag::kUnderflow | Flag::kInexact);
    EXPECT_EQ(after.flags, Flag::kInexact);
}

TEST(Estimates, ReciprocalIsWithinItsBoundAndExactAtKnownPoints) {
    Context c;
    EXPECT_EQ(recip_estimate<F32>(0x3f800000, c), 0x3f7f8000u);
    EXPECT_EQ(rsqrt_estimate<F32>(0x3f800000, c), 0x3f7f8000u);
    EXPECT_EQ(recip_estimate<F64>(0x3ff0000000000000, c), 0x3feff00000000000u);
    EXPECT_EQ(recip_estimate<F16>(0x3c00, c), 0x3bfc);
    EXPECT_EQ(urecip_estimate(0x80000000), 0xff800000u);
    EXPECT_EQ(urecip_estimate(0x7fffffff), 0xffffffffu);
    EXPECT_EQ(ursqrt_estimate(0x3fffffff), 0xffffffffu);
    EXPECT_EQ(ursqrt_estimate(0x40000000), 0xff800000u);
    EXPECT_EQ(c.flags, 0u);
    std::mt19937_64 rng(test_seed() + 20);
    for (int i = 0; i < 100'000; ++i) {
        const uint64_t a = 0x3000000000000000 + (rng() & 0x1fffffffffffffff);
        const double x = std::bit_cast<double>(a);
        EXPECT_LT(std::fabs(std::bit_cast<double>(recip_estimate<F64>(a, c)) * x - 1), 1.0 / 256) << std::hex << a;
        const double r = std::bit_cast<double>(rsqrt_estimate<F64>(a, c));
        EXPECT_LT(std::fabs(r * r * x - 1), 1.0 / 128) << std::hex << a;
    }
    c.flags = 0;
    EXPECT_EQ(recip_estimate<F32>(0x80000000, c), 0xff800000u);
    EXPECT_EQ(c.flags, Flag::kDivZero);
    c.flags = 0;
    EXPECT_EQ(recip_estimate<F32>(0x00100000, c), kInf<F32>);
    EXPECT_EQ(c.flags, Flag::kOverflow | Flag::kInexact);
    c.flags = 0;
    EXPECT_EQ(recip_estimate<F32>(0x7f7fffff, c), 0x00200000u);
    EXPECT_EQ(recip_exponent<F32>(0x40490fdb, c), 0x3f800000u);
}

TEST(Steps, RecipAndRsqrt) {
    Context c;
    EXPECT_EQ(recip_step<F32>(0x3f800000, 0x3f800000, c), 0x3f800000u);          // 2 - 1
    EXPECT_EQ(rsqrt_step<F32>(0x3f800000, 0x3f800000, c), 0x3f800000u);          // (3 - 1) / 2
    EXPECT_EQ(recip_step<F32>(kInf<F32>, 0, c), 0x40000000u);
    EXPECT_EQ(rsqrt_step<F32>(0, kInf<F32>, c), 0x3fc00000u);
    EXPECT_EQ(recip_step<F32>(0x40000000, 0x3f800000, c), 0u);                   // 2 - 2 * 1
    EXPECT_EQ(mulx<F32>(kInf<F32>, 0x80000000, c), 0xc0000000u);
    EXPECT_EQ(c.flags, 0u);
    EXPECT_EQ(recip_step<F32>(0x7fc00001, 0x3f800000, c), 0xffc00001u);          // the negated operand's sign shows
}

TEST(JavaScriptConversion, ModularAndFlags) {
    const auto run = [](double d, bool* z, uint32_t* flags) {
        Context c;
        const uint32_t r = to_int32_modular(std::bit_cast<uint64_t>(d), z, c);
        *flags = c.flags;
        return r;
    };
    bool z;
    uint32_t f;
    EXPECT_EQ(run(5.0, &z, &f), 5u); EXPECT_TRUE(z); EXPECT_EQ(f, 0u);
    EXPECT_EQ(run(-5.5, &z, &f), static_cast<uint32_t>(-5)); EXPECT_FALSE(z); EXPECT_EQ(f, Flag::kInexact);
    EXPECT_EQ(run(-0.0, &z, &f), 0u); EXPECT_FALSE(z); EXPECT_EQ(f, 0u);
    EXPECT_EQ(run(4294967296.0 + 7, &z, &f), 7u); EXPECT_FALSE(z); EXPECT_EQ(f, Flag::kInvalid);
    EXPECT_EQ(run(-4294967296.0 - 7, &z, &f), static_cast<uint32_t>(-7));
    EXPECT_EQ(run(-2147483648.0, &z, &f), 0x80000000u); EXPECT_TRUE(z);
    EXPECT_EQ(run(2147483648.0, &z, &f), 0x80000000u); EXPECT_FALSE(z); EXPECT_EQ(f, Flag::kInvalid);
    EXPECT_EQ(run(std::ldexp(3.0, 31), &z, &f), 0x80000000u);
    EXPECT_EQ(run(std::ldexp(1.0 + std::ldexp(1.0, -52), 83), &z, &f), 0x80000000u);
    EXPECT_EQ(run(std::ldexp(1.0, 1000), &z, &f), 0u);
    EXPECT_EQ(run(INFINITY, &z, &f), 0u); EXPECT_EQ(f, Flag::kInvalid);
}

TEST(Bf16, DotProduct) {
    EXPECT_EQ(bf16_dot(0x3f800000, 0x3f80'4000, 0x4040'4000), 0x41000000u);  // 1 + (2 * 2 + 1 * 3)
    EXPECT_EQ(bf16_dot(0, 0x0000'7f80, 0x0000'0000), kDefaultNan<F32>);
    EXPECT_EQ(bf16_dot(1, 0, 0), 0u);  // denormal accumulators are zero
}

}  // namespace
}  // namespace myna::softfp
