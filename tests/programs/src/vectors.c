// Vectors of every lane width, written with the compiler's vector types and as loops it will vectorise.
#include "test.h"

typedef uint8_t u8x16 __attribute__((vector_size(16)));
typedef int8_t s8x16 __attribute__((vector_size(16)));
typedef uint16_t u16x8 __attribute__((vector_size(16)));
typedef int16_t s16x8 __attribute__((vector_size(16)));
typedef uint32_t u32x4 __attribute__((vector_size(16)));
typedef int32_t s32x4 __attribute__((vector_size(16)));
typedef uint64_t u64x2 __attribute__((vector_size(16)));
typedef int64_t s64x2 __attribute__((vector_size(16)));
typedef float f32x4 __attribute__((vector_size(16)));
typedef double f64x2 __attribute__((vector_size(16)));

static void random_bytes(void* p, size_t n) {
    uint8_t* at = p;
    for (size_t i = 0; i < n; i++) at[i] = (uint8_t)(edge64() >> (random64() & 7));
}
static uint64_t digest(uint64_t sum, const void* p, size_t n) {
    const uint8_t* at = p;
    for (size_t i = 0; i < n; i++) sum = mix(sum, at[i]);
    return sum;
}

#define EACH(name, type, statement)                                \
    do {                                                           \
        uint64_t sum = 0;                                          \
        random_state = 21;                                         \
        for (int i = 0; i < 400; i++) {                            \
            type a, b, r;                                          \
            random_bytes(&a, 16);                                  \
            random_bytes(&b, 16);                                  \
            statement;                                             \
            sum = digest(sum, &r, sizeof r);                       \
        }                                                          \
        show(#type " " name, sum);                                 \
    } while (0)
#define INTEGER(type, width)                                       \
    EACH("add", type, r = a + b);                                  \
    EACH("sub", type, r = a - b);                                  \
    EACH("mul", type, r = a * b);                                  \
    EACH("logic", type, r = (a & ~b) ^ (a | b));                   \
    EACH("shift left", type, r = a << (b & (width - 1)));          \
    EACH("shift right", type, r = a >> (b & (width - 1)));         \
    EACH("shift by constant", type, r = (a >> 3) + (b << 2));      \
    EACH("equal", type, r = (type)(a == b));                       \
    EACH("less", type, r = (type)(a < b));                         \
    EACH("select", type, r = ((type)(a > b) & a) | (~(type)(a > b) & b));                       \
    EACH("negate", type, r = -a + ~b)

#define LOOP(name, out_type, in_type, expression)                                                   \
    do {                                                                                            \
        enum { n = 203 };                                                                           \
        static in_type a[n], b[n];                                                                  \
        static out_type r[n];                                                                       \
        random_state = 31;                                                                          \
        random_bytes(a, sizeof a);                                                                  \
        random_bytes(b, sizeof b);                                                                  \
        for (int i = 0; i < n; i++) r[i] = (out_type)(expression);                                  \
        show(name, digest(0, r, sizeof r));                                                         \
    } while (0)
#define REDUCE(name, acc_type, in_type, expression)                                                 \
    do {                                                                                            \
        enum { n = 203 };                                                                           \
        static in_type a[n], b[n];                                                                  \
        random_state = 41;                                                                          \
        random_bytes(a, sizeof a);                                                                  \
        random_bytes(b, sizeof b);                                                                  \
        acc_type s = 0;                                                                             \
        for (int i = 0; i < n; i++) s = (acc_type)(expression);                                     \
        show(name, (uint64_t)s);                                                                    \
    } while (0)
static int abs_diff(int a, int b) { return a > b ? a - b : b - a; }
static int clamp(int v, int low, int high) { return v < low ? low : v > high ? high : v; }

int main(void) {
    INTEGER(u8x16, 8);
    INTEGER(s8x16, 8);
    INTEGER(u16x8, 16);
    INTEGER(s16x8, 16);
    INTEGER(u32x4, 32);
    INTEGER(s32x4, 32);
    INTEGER(u64x2, 64);
    INTEGER(s64x2, 64);
    EACH("reverse", u8x16, r = __builtin_shuffle(a, (u8x16){15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0}) + b);
    EACH("table", u8x16, r = __builtin_shuffle(a, b & 15));
    EACH("two tables", u8x16, r = __builtin_shuffle(a, b, (a ^ b) & 31));
    EACH("interleave", u16x8, r = __builtin_shuffle(a, b, (u16x8){0, 8, 1, 9, 2, 10, 3, 11}));
    EACH("even odd", u16x8, r = __builtin_shuffle(a, b, (u16x8){0, 2, 4, 6, 8, 10, 12, 14}) - __builtin_shuffle(a, b, (u16x8){1, 3, 5, 7, 9, 11, 13, 15}));
    EACH("transpose", u32x4, r = __builtin_shuffle(a, b, (u32x4){0, 4, 2, 6}));
    EACH("lane", u32x4, r = a; r[i & 3] = b[(i >> 2) & 3]);
    EACH("broadcast", u32x4, r = (u32x4){0} + b[i & 3] * 3);
    EACH("extract", u64x2, r = b; r[i & 1] += a[!(i & 1)]);
    EACH("floats", f32x4, f32x4 x = __builtin_convertvector((s32x4)a >> 4, f32x4); f32x4 y = __builtin_convertvector((s32x4)b >> 9, f32x4);
         r = (x + y) * 0.25f - x / (y * y + 1));
    EACH("doubles", f64x2, f64x2 x = __builtin_convertvector((s64x2)a >> 12, f64x2); f64x2 y = __builtin_convertvector((s64x2)b >> 30, f64x2);
         r = (x + y) * 0.25 - x / (y * y + 1));
    EACH("float compare", f32x4, f32x4 x = __builtin_convertvector((s32x4)a >> 28, f32x4); f32x4 y = __builtin_convertvector((s32x4)b >> 28, f32x4);
         r = (f32x4)((x < y) ^ (x == y)));
    EACH("to ints", f32x4, f32x4 x = __builtin_convertvector((s32x4)a, f32x4) * 0x1p-8f; r = (f32x4)__builtin_convertvector(x, s32x4));

    LOOP("absolute difference", uint8_t, uint8_t, abs_diff(a[i], b[i]));
    LOOP("average", uint8_t, uint8_t, (a[i] + b[i] + 1) >> 1);
    LOOP("saturating add", uint8_t, uint8_t, clamp(a[i] + b[i], 0, 255));
    LOOP("saturating signed", int16_t, int16_t, clamp(a[i] - b[i], -32768, 32767));
    LOOP("widening mul", int32_t, int16_t, (int32_t)a[i] * b[i]);
    LOOP("narrowing", uint8_t, int16_t, clamp(a[i] >> 2, 0, 255));
    LOOP("high mul", int16_t, int16_t, ((int32_t)a[i] * b[i] + 0x4000) >> 15);
    LOOP("popcount", uint8_t, uint8_t, __builtin_popcount(a[i]) + __builtin_popcount(b[i] & 0x3c));
    LOOP("clz", uint32_t, uint32_t, __builtin_clz(a[i] | 1));
    LOOP("bswap", uint32_t, uint32_t, __builtin_bswap32(a[i]) ^ b[i]);
    LOOP("bytes to floats", float, uint8_t, (float)a[i] * 0.5f + (float)b[i]);
    LOOP("floats to bytes", uint8_t, uint16_t, (float)a[i] * 0.00389f + (float)(b[i] & 1));
    LOOP("abs", int32_t, int32_t, a[i] == INT32_MIN ? 0 : abs(a[i]));
    LOOP("min max", int32_t, int32_t, (a[i] < b[i] ? a[i] : b[i]) ^ (int32_t)((uint32_t)(a[i] > b[i] ? a[i] : b[i]) << 1));
    LOOP("conditional", int64_t, int64_t, a[i] > 0 ? b[i] : a[i] ^ b[i]);
    LOOP("stride", uint16_t, uint8_t, a[i / 3 * 3] + a[(i * 2) % 203] * b[202 - i]);
    REDUCE("sum of bytes", uint32_t, uint8_t, s + a[i]);
    REDUCE("dot of bytes", uint32_t, uint8_t, s + (uint32_t)a[i] * b[i]);
    REDUCE("dot of signed bytes", int32_t, int8_t, s + a[i] * b[i]);
    REDUCE("dot of shorts", uint32_t, int16_t, s + (uint32_t)(a[i] * b[i]));
    REDUCE("sum of differences", uint32_t, uint8_t, s + (uint32_t)abs_diff(a[i], b[i]));
    REDUCE("max", int32_t, int32_t, s > a[i] ? s : a[i]);
    REDUCE("min of shorts", int32_t, int16_t, s < b[i] ? s : b[i]);
    REDUCE("xor", uint64_t, uint64_t, s ^ a[i]);
    REDUCE("any", int, uint8_t, s | (a[i] == b[i]));
    return 0;
}
