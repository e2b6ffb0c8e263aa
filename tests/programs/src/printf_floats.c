// The C library's decimal conversions in both directions: long multiplications, and every digit counts.
#include "test.h"

int main(void) {
    static const char* const formats[] = {"%g", "%.17g", "%e", "%.3f", "%a", "%20.10e|", "%-12.4g|", "%+.0f", "%#.3g", "%.25f"};
    static const double values[] = {0.1, -0.0, 1e22, 1e23, 5e-324, 1.7976931348623157e308, 123456.789, 2.5, 3.5, 0x1p-1022, 1.0 / 3, 1e100, 9.995, 6.02214076e23};
    for (unsigned v = 0; v < sizeof values / sizeof values[0]; v++)
        for (unsigned f = 0; f < sizeof formats / sizeof formats[0]; f++) {
            printf(formats[f], values[v]);
            putchar(f % 5 == 4 ? '\n' : ' ');
        }
    uint64_t sum = 0;
    int wrong = 0;
    for (int i = 0; i < 3000; i++) {
        uint64_t u = random64();
        double d;
        memcpy(&d, &u, 8);
        if (d != d || d - d != 0) continue;
        char text[64];
        int n = snprintf(text, sizeof text, "%.17g", d);
        for (int k = 0; k < n; k++) sum = mix(sum, (uint8_t)text[k]);
        double back = strtod(text, NULL);
        wrong += memcmp(&back, &d, 8) != 0;
        float f = strtof(text, NULL);
        memcpy(&u, &f, 4);
        sum = mix(sum, (uint32_t)u);
    }
    show("digits", sum);
    printf("wrong %d\n", wrong);
    printf("%d %u %lx %lld %5s|%-5s|%c %p %%\n", -5, 7u, 0xdeadbeeful, -123456789012345ll, "ab", "cd", 'x', (void*)0x1234);
    long l;
    double d;
    char word[16];
    CHECK(sscanf("  -42 3.75e2 word", "%ld %lf %15s", &l, &d, word) == 3);
    printf("%ld %g %s\n", l, d, word);
    return 0;
}
