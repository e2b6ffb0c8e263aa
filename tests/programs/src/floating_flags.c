// What differs between processors by design: exception flags (when is a result tiny?), NaN bits, saturating
// conversions, and traps of integer division. Compared with another emulator of the same processor.
#include <fenv.h>
#include <math.h>

#include "test.h"

static double value(void) {
    static const uint64_t edges[] = {0, 0x8000000000000000, 1, 0x000fffffffffffff, 0x0010000000000000, 0x3ff0000000000000, 0x7fefffffffffffff,
                                     0x7ff0000000000000, 0xfff0000000000000, 0x7ff0000000000001, 0x7ff8000000001234, 0xfff8000000000000,
                                     0xfff4000000000042, 0x41dfffffffc00000, 0x43e0000000000000, 0xc3e0000000000000, 0x3cb0000000000000};
    uint64_t r = random64();
    if (r >> 63) r = edges[(r >> 20) % (sizeof edges / sizeof edges[0])];
    else if (r >> 61 & 1) r = (r & 0x800fffffffffffff) | (uint64_t)(0x3ff - 30 + (r >> 54 & 63)) << 52;
    double d;
    memcpy(&d, &r, 8);
    return d;
}
static float valuef(void) {
    static const uint32_t edges[] = {0, 0x80000000, 1, 0x007fffff, 0x00800000, 0x3f800000, 0x7f7fffff, 0x7f800000, 0xff800000, 0x7f800001,
                                     0x7fc01234, 0xffc00000, 0xffa00042, 0x4effffff, 0x4f000000, 0xcf000000, 0x5f000000};
    uint64_t r = random64();
    uint32_t u = (uint32_t)r;
    if (r >> 63) u = edges[(r >> 40) % (sizeof edges / sizeof edges[0])];
    float f;
    memcpy(&f, &u, 4);
    return f;
}
static uint64_t bits(double d) {
    uint64_t u;
    memcpy(&u, &d, 8);
    return u;
}
static uint64_t bits32(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}
static uint64_t flags(void) {
    int f = fetestexcept(FE_ALL_EXCEPT);
    return (uint64_t)(!!(f & FE_INVALID) | !!(f & FE_DIVBYZERO) << 1 | !!(f & FE_OVERFLOW) << 2 | !!(f & FE_UNDERFLOW) << 3 | !!(f & FE_INEXACT) << 4);
}

#define EACH(name, expression)                                                                    \
    do {                                                                                          \
        uint64_t sum = 0, seen = 0;                                                               \
        random_state = 99;                                                                        \
        for (int i = 0; i < 6000; i++) {                                                          \
            volatile double va = value(), vb = value(), vc = value();                             \
            volatile float vfa = valuef(), vfb = valuef(), vfc = valuef();                        \
            double a = va, b = vb, c = vc;                                                        \
            float fa = vfa, fb = vfb, fc = vfc;                                                   \
            (void)a, (void)b, (void)c, (void)fa, (void)fb, (void)fc;                              \
            feclearexcept(FE_ALL_EXCEPT);                                                         \
            volatile uint64_t r = (uint64_t)(expression);                                         \
            uint64_t f = flags();                                                                 \
            seen |= f;                                                                            \
            sum = mix(sum, r * 32 + f);                                                           \
        }                                                                                         \
        printf("%-8s", mode);                                                                     \
        show(name, sum);                                                                          \
        sum = seen;                                                                               \
        printf("        flags seen %llx\n", (unsigned long long)sum);                             \
    } while (0)

static void all(const char* mode) {
    EACH("add", bits(a + b));
    EACH("sub", bits(a - b));
    EACH("mul", bits(a * b));
    EACH("div", bits(a / b));
    EACH("sqrt", bits(__builtin_sqrt(a)));
    EACH("fma", bits(__builtin_fma(a, b, c)));
    EACH("fnma", bits(__builtin_fma(-a, b, c)));
    EACH("fms", bits(__builtin_fma(a, b, -c)));
    EACH("fnms", bits(-__builtin_fma(a, b, c)));
    EACH("float add", bits32(fa + fb));
    EACH("float mul", bits32(fa * fb));
    EACH("float div", bits32(fa / fb));
    EACH("float sqrt", bits32(__builtin_sqrtf(fa)));
    EACH("float fma", bits32(__builtin_fmaf(fa, fb, fc)));
    EACH("narrow", bits32((float)a));
    EACH("widen", bits((double)fa));
    EACH("less", (a < b) + 2 * (a <= b) + 4 * (a == b));
    EACH("quiet less", __builtin_isless(a, b) + 2 * __builtin_isgreaterequal(a, b));
    EACH("float less", (fa < fb) + 2 * (fa >= fb) + 4 * (fa != fb));
    EACH("min", bits(__builtin_fmin(a, b)));
    EACH("max", bits(__builtin_fmax(a, b)));
    EACH("float min", bits32(__builtin_fminf(fa, fb)));
    EACH("float max", bits32(__builtin_fmaxf(fa, fb)));
    EACH("to int32", (int32_t)a);
    EACH("to uint32", (uint32_t)a);
    EACH("to int64", (int64_t)a);
    EACH("to uint64", (uint64_t)a);
    EACH("float to int32", (int32_t)fa);
    EACH("float to uint32", (uint32_t)fa);
    EACH("float to int64", (int64_t)fa);
    EACH("float to uint64", (uint64_t)fa);
    EACH("rint", bits(__builtin_rint(a)));
    EACH("nearbyint", bits(__builtin_nearbyint(a)));
    EACH("lrint", __builtin_lrint(a));
    EACH("floor", bits(__builtin_floor(a)));
    EACH("round", bits(__builtin_round(a)));
    EACH("float floor", bits32(__builtin_floorf(fa)));
    EACH("from int64", bits((double)(int64_t)bits(a)));
    EACH("float from uint64", bits32((float)bits(a)));
}

int main(void) {
    all("nearest");
    fesetround(FE_UPWARD);
    all("up");
    fesetround(FE_DOWNWARD);
    all("down");
    fesetround(FE_TOWARDZERO);
    all("zero");
    return 0;
}
