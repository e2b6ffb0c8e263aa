// Calling conventions: variable arguments, structures by value of every shape, many arguments, callbacks.
#include <stdarg.h>

#include "test.h"

struct small { char a; short b; };
struct two { long a, b; };
struct big { long v[5]; };
struct floats { float a, b, c; };
struct doubles { double a, b, c, d; };
struct mixed { double a; int b; };
union either { double d; long l; };

static uint64_t sum_all(const char* kinds, ...) {
    va_list args, copy;
    va_start(args, kinds);
    va_copy(copy, args);
    uint64_t sum = 0;
    for (int pass = 0; pass < 2; pass++) {
        va_list* from = pass ? &copy : &args;
        for (const char* k = kinds; *k; k++) switch (*k) {
                case 'i': sum = mix(sum, (uint64_t)va_arg(*from, int)); break;
                case 'l': sum = mix(sum, (uint64_t)va_arg(*from, long)); break;
                case 'd': sum = mix(sum, (uint64_t)(int64_t)(va_arg(*from, double) * 1024)); break;
                case 's': { struct small s = va_arg(*from, struct small); sum = mix(sum, (uint64_t)(s.a + s.b)); break; }
                case 't': { struct two t = va_arg(*from, struct two); sum = mix(sum, (uint64_t)(t.a - t.b)); break; }
                case 'b': { struct big b = va_arg(*from, struct big); sum = mix(sum, (uint64_t)(b.v[0] + b.v[4])); break; }
                case 'f': { struct floats f = va_arg(*from, struct floats); sum = mix(sum, (uint64_t)(int64_t)(f.a + f.b * f.c)); break; }
                case 'D': { struct doubles d = va_arg(*from, struct doubles); sum = mix(sum, (uint64_t)(int64_t)(d.a + d.d)); break; }
                case 'm': { struct mixed m = va_arg(*from, struct mixed); sum = mix(sum, (uint64_t)(int64_t)(m.a + m.b)); break; }
                case 'p': sum = mix(sum, (uint64_t)strlen(va_arg(*from, char*))); break;
                default: abort();
            }
    }
    va_end(copy);
    va_end(args);
    return sum;
}

__attribute__((noinline)) static struct big make_big(int a, long b, double c, struct small d, struct floats e, union either f) {
    return (struct big){{a, b, (long)c, d.a * d.b, (long)(e.a + e.b + e.c) + (long)f.d}};
}
__attribute__((noinline)) static struct floats make_floats(struct floats f, struct doubles d) {
    return (struct floats){f.c, (float)d.b, f.a + (float)d.d};
}
__attribute__((noinline)) static double many(int a, float b, long c, double d, char e, float f, short g, double h, int i, float j, long k, double l,
                                             int m, double n, int o, double p, int q, double r, unsigned char s, signed char t) {
    return a + b * 2 + (double)c * 3 + d * 4 + e * 5 + f * 6 + g * 7 + h * 8 + i * 9 + j * 10 + (double)k * 11 + l * 12 + m * 13 + n * 14 + o * 15 + p * 16 +
           q * 17 + r * 18 + s * 19 + t * 20;
}
static int by_last_digit(const void* a, const void* b) { return *(const int*)a % 10 - *(const int*)b % 10; }

int main(void) {
    struct small s = {3, -700};
    struct two t = {1l << 40, -9};
    struct big b = {{1, 2, 3, 4, 5}};
    struct floats f = {1.5f, 2.5f, -3.5f};
    struct doubles d = {1, 2, 3, 4.25};
    struct mixed m = {10.5, -3};
    show("ints", sum_all("iiiiiiiiiiii", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12));
    show("doubles", sum_all("dddddddddddd", 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12.));
    show("mixed", sum_all("idldidpdldidid", 1, 2.5, 3l, 4.5, 5, 6.5, "seven", 8.5, 9l, 10.5, 11, 12.5, 13, 14.5));
    show("structs", sum_all("istbfDmdtsbi", 1, s, t, b, f, d, m, 2.0, t, s, b, 9));
    struct big made = make_big(1, 2, 3.9, s, f, (union either){.d = 12.5});
    show("big", sum_all("b", made));
    struct floats swapped = make_floats(f, d);
    printf("%g %g %g\n", swapped.a, swapped.b, swapped.c);
    printf("%g\n", many(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 200, -100));
    int data[] = {19, 28, 37, 46, 55, 64, 73, 82, 91};
    qsort(data, 9, sizeof data[0], by_last_digit);
    for (int i = 0; i < 9; i++) printf("%d ", data[i]);
    putchar('\n');
    return 0;
}
