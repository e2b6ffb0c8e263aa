// The C library's mathematical functions, which use fused multiply-add where the processor has it.
#include <complex.h>
#include <math.h>

#include "test.h"

#define EACH(name, expression)                                     \
    do {                                                           \
        uint64_t sum = 0;                                          \
        random_state = 5;                                          \
        for (int i = 0; i < 1500; i++) {                           \
            double x = (double)(int64_t)random64() * 0x1p-59, y = (double)(int64_t)random64() * 0x1p-60;   \
            (void)y;                                               \
            double r = (expression);                               \
            uint64_t u = 0;                                        \
            if (r == r) memcpy(&u, &r, 8);                         \
            sum = mix(sum, u);                                     \
        }                                                          \
        show(name, sum);                                           \
    } while (0)

int main(void) {
    EACH("sin", sin(x));
    EACH("cos", cos(x * 1e5));
    EACH("tan", tan(x));
    EACH("asin", asin(y / 10));
    EACH("atan2", atan2(x, y));
    EACH("sinh", sinh(x));
    EACH("exp", exp(x));
    EACH("exp2", exp2(x));
    EACH("expm1", expm1(y));
    EACH("log", log(fabs(x)));
    EACH("log2", log2(fabs(x)));
    EACH("log1p", log1p(fabs(y)));
    EACH("pow", pow(fabs(x), y));
    EACH("cbrt", cbrt(x));
    EACH("hypot", hypot(x, y));
    EACH("tgamma", tgamma(x / 4));
    EACH("lgamma", lgamma(fabs(x)));
    EACH("erf", erf(y));
    EACH("j0", j0(x));
    EACH("sinf", sinf((float)x));
    EACH("expf", expf((float)x));
    EACH("powf", powf(fabsf((float)x), (float)y));
    EACH("complex", creal(cexp(x + y * I)) + cimag(csqrt(x + y * I)));
    return 0;
}
