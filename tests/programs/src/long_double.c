// long double: 128 bits wide on both guests, done by library code that reads and raises the processor's own flags.
#include <fenv.h>
#include <math.h>

#include "test.h"

int main(void) {
    long double x = 1, sum = 0;
    for (int i = 1; i < 400; i++) {
        x = x * 1.0625L / (1 + 0.001L * i) + (long double)i / 7;
        sum += sqrtl(x) - floorl(x / 3) + fmodl(x, 2.5L);
        if (i % 40 == 0) printf("%.30Lg %La\n", sum, x);
    }
    printf("%.34Lg %.34Lg %.34Lg\n", sinl(1.0L), expl(1.0L), powl(2.0L, 0.5L));
    printf("%ld %lld %g %g\n", (long)sum, (long long)(sum * 1e9L), (double)sum, (double)(float)sum);
    feclearexcept(FE_ALL_EXCEPT);
    volatile long double zero = 0, one = 1, huge = 0x1p16383L;
    volatile long double r = one / zero;
    printf("%Lg %d\n", r, fetestexcept(FE_DIVBYZERO) != 0);
    r = huge * huge;
    printf("%Lg %d\n", r, fetestexcept(FE_OVERFLOW) != 0);
    fesetround(FE_UPWARD);
    r = one / 3;
    printf("%La\n", r);
    fesetround(FE_DOWNWARD);
    r = one / 3;
    printf("%La %d %d %d\n", r, r < one, r == one, isnan(zero / zero));
    return 0;
}
