// Floating-point values: arithmetic, rounding modes, conversions, comparisons, subnormals. NaNs are counted, not shown:
// their bits are a processor's own business.
#include <fenv.h>
#include <math.h>

#include "test.h"

static double edge_double(void) {
    static const double edges[] = {0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, 1e308, -1e308, 0x1p-1022, 0x1p-1074, -0x1p-1074, 0x1.fffffffffffffp-1023,
                                   INFINITY, -INFINITY, 0x1p52, 0x1p53, 0x1.fffffffffffffp1023, 3.0, 1.0 / 3, 4503599627370495.5};
    uint64_t r = random64();
    if (r >> 62 == 0) return edges[(r >> 20) % (sizeof edges / sizeof edges[0])];
    if (r >> 62 == 1) return (double)(int64_t)(r << 2) * 0x1p-40;
    double d;
    memcpy(&d, &r, 8);
    return d == d ? d : 7.25;
}
static uint64_t bits(double d) {
    if (d != d) return 0x7ff8;
    uint64_t u;
    memcpy(&u, &d, 8);
    return u;
}
static uint64_t bits32(float f) {
    if (f != f) return 0x7fc0;
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

#define EACH(name, expression)                                                       \
    do {                                                                             \
        uint64_t sum = 0;                                                            \
        random_state = 77;                                                           \
        for (int i = 0; i < 4000; i++) {                                             \
            volatile double va = edge_double(), vb = edge_double(), vc = edge_double();   \
            double a = va, b = vb, c = vc;                                           \
            volatile float vfa = (float)a, vfb = (float)b, vfc = (float)c;           \
            float fa = vfa, fb = vfb, fc = vfc;                                      \
            (void)a, (void)b, (void)c, (void)fa, (void)fb, (void)fc;                 \
            sum = mix(sum, expression);                                              \
        }                                                                            \
        show(name, sum);                                                             \
    } while (0)

static void arithmetic(const char* mode) {
    char name[64];
#define NAMED(text) (snprintf(name, sizeof name, "%s %s", mode, text), name)
    EACH(NAMED("add"), bits(a + b));
    EACH(NAMED("sub"), bits(a - b));
    EACH(NAMED("mul"), bits(a * b));
    EACH(NAMED("div"), bits(a / b));
    EACH(NAMED("sqrt"), bits(sqrt(a)));
    EACH(NAMED("fma"), bits(fma(a, b, c)));
    EACH(NAMED("fnma"), bits(fma(-a, b, c)));
    EACH(NAMED("fms"), bits(fma(a, b, -c)));
    EACH(NAMED("float add"), bits32(fa + fb));
    EACH(NAMED("float mul"), bits32(fa * fb));
    EACH(NAMED("float div"), bits32(fa / fb));
    EACH(NAMED("float sqrt"), bits32(sqrtf(fa)));
    EACH(NAMED("float fma"), bits32(fmaf(fa, fb, fc)));
    EACH(NAMED("narrow"), bits32((float)a));
    EACH(NAMED("rint"), bits(rint(a)) + bits32(rintf(fa)));
    EACH(NAMED("nearbyint"), bits(nearbyint(a)));
    EACH(NAMED("lrint"), fabs(a) < 0x1p62 ? (uint64_t)lrint(a) : 0);
    EACH(NAMED("from int"), bits((double)(int64_t)(bits(a) * 3)) + bits((double)(bits(a) * 3)));
    EACH(NAMED("float from int"), bits32((float)(int64_t)(bits(a) * 3)) + bits32((float)(bits(a) * 3)));
}

int main(void) {
    arithmetic("nearest");
    fesetround(FE_UPWARD);
    arithmetic("up");
    fesetround(FE_DOWNWARD);
    arithmetic("down");
    fesetround(FE_TOWARDZERO);
    arithmetic("zero");
    fesetround(FE_TONEAREST);
    EACH("compare", (uint64_t)((a < b) + 2 * (a <= b) + 4 * (a == b) + 8 * (a != b) + 16 * isgreater(a, b) + 32 * isunordered(a, b - b)));
    EACH("float compare", (uint64_t)((fa < fb) + 2 * (fa <= fb) + 4 * (fa == fb) + 8 * !(fa > fb)));
    EACH("to int64", fabs(a) < 0x1p63 ? (uint64_t)(int64_t)a : 0);
    EACH("to uint64", a > -1 && a < 0x1p64 ? (uint64_t)a : 0);
    EACH("to int32", fabs(a) < 0x1p31 ? (uint64_t)(int64_t)(int32_t)a : 0);
    EACH("float to int32", fabsf(fa) < 0x1p31f ? (uint64_t)(int64_t)(int32_t)fa : 0);
    EACH("float to uint32", fa > -1 && fa < 0x1p32f ? (uint32_t)fa : 0);
    EACH("floor ceil", bits(floor(a)) + 3 * bits(ceil(a)) + 5 * bits(trunc(a)) + 7 * bits(round(a)));
    EACH("float floor ceil", bits32(floorf(fa)) + 3 * bits32(ceilf(fa)) + 5 * bits32(truncf(fa)) + 7 * bits32(roundf(fa)));
    EACH("min max", bits(a == b ? a : fmin(a, b)) + 3 * bits(a == b ? a : fmax(a, b)));
    EACH("abs neg copysign", bits(fabs(a)) + 3 * bits(-b) + 5 * bits(copysign(a, b)));
    EACH("select", bits(a < b ? c : a) + bits32(fa > fb ? fc : fa));
    EACH("frexp ldexp", ({ int e = 0; double m = isfinite(a) ? frexp(a, &e) : 0; bits(m) + (uint64_t)e * 3 + bits(ldexp(m, e / 2)); }));
    EACH("fmod remainder", bits(isfinite(a) && b != 0 && fabs(a) < 1e200 ? fmod(a, b) + remainder(a, b) : 0));
    EACH("widen", bits((double)fa));
    EACH("signbit", (uint64_t)(!!signbit(a) + 2 * !!isinf(b) + 4 * !!isnormal(c)));
    EACH("chain", ({ double s = 1; for (int k = 0; k < 20; k++) s = s * 0.75 + (fabs(a) < 1e100 ? a : 1) * 0x1p-3 - s / (2 + k); bits(s); }));
    return 0;
}
