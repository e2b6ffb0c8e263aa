// Integer arithmetic of every width on random and edge values: each operation's results in one checksum.
#include "test.h"

typedef unsigned __int128 u128;
typedef __int128 s128;

#define EACH(name, type, expression)                                  \
    do {                                                              \
        uint64_t sum = 0;                                             \
        random_state = 42;                                            \
        for (int i = 0; i < 3000; i++) {                              \
            volatile type va = (type)edge64(), vb = (type)edge64();   \
            type a = va, b = vb;                                      \
            (void)b;                                                  \
            sum = mix(sum, (uint64_t)(expression));                   \
        }                                                             \
        show(#type " " name, sum);                                    \
    } while (0)

#define UNSIGNED(type, width)                                                          \
    EACH("add", type, (type)(a + b));                                                  \
    EACH("sub", type, (type)(a - b));                                                  \
    EACH("mul", type, (type)((uint64_t)a * b));                                        \
    EACH("div", type, b ? a / b : 0);                                                  \
    EACH("mod", type, b ? a % b : 0);                                                  \
    EACH("shl", type, (type)((uint64_t)a << (b & (width - 1))));                       \
    EACH("shr", type, a >> (b & (width - 1)));                                         \
    EACH("rotate", type, (type)(a << (b & (width - 1)) | a >> (-b & (width - 1))));    \
    EACH("logic", type, (type)((a & ~b) ^ (a | b)));                                   \
    EACH("orn xnor", type, (type)((a | ~b) + (type) ~(a ^ b)));                        \
    EACH("compare", type, (a < b) + 2 * (a <= b) + 4 * (a == b));                      \
    EACH("min max", type, (a < b ? a : b) ^ (type)((a > b ? a : b) * 3));              \
    EACH("select zero", type, (a & 1 ? b : 0) + (b & 1 ? 0 : a))

#define SIGNED(type, utype, width)                                                     \
    EACH("div", type, b && !(b == -1 && a == (type)((utype)1 << (width - 1))) ? a / b : 0);   \
    EACH("mod", type, b && !(b == -1 && a == (type)((utype)1 << (width - 1))) ? a % b : 0);   \
    EACH("sar", type, a >> (b & (width - 1)));                                         \
    EACH("compare", type, (a < b) + 2 * (a <= b) + 4 * (a > 0));                       \
    EACH("min max", type, (utype)(a < b ? a : b) ^ (utype)((utype)(a > b ? a : b) * 3u));   \
    EACH("abs", type, a < 0 ? -(utype)a : (utype)a);                                   \
    EACH("widen", type, (int64_t)a * 2 + (int64_t)(b >> 1));                           \
    EACH("add overflow", type, ({ type r; int o = __builtin_add_overflow(a, b, &r); (uint64_t)r * 2 + (uint64_t)o; }));   \
    EACH("sub overflow", type, ({ type r; int o = __builtin_sub_overflow(a, b, &r); (uint64_t)r * 2 + (uint64_t)o; }));   \
    EACH("mul overflow", type, ({ type r; int o = __builtin_mul_overflow(a, b, &r); (uint64_t)r * 2 + (uint64_t)o; }))

#define WIDE(name, expression)                                                    \
    do {                                                                          \
        uint64_t sum = 0;                                                         \
        random_state = 43;                                                        \
        for (int i = 0; i < 3000; i++) {                                          \
            u128 a = (u128)edge64() << 64 | edge64(), b = (u128)edge64() << 64 | edge64(); \
            (void)b;                                                              \
            u128 r = (u128)(expression);                                          \
            sum = mix(mix(sum, (uint64_t)r), (uint64_t)(r >> 64));                \
        }                                                                         \
        show("128 " name, sum);                                                   \
    } while (0)

int main(void) {
    UNSIGNED(uint8_t, 8);
    UNSIGNED(uint16_t, 16);
    UNSIGNED(uint32_t, 32);
    UNSIGNED(uint64_t, 64);
    SIGNED(int8_t, uint8_t, 8);
    SIGNED(int16_t, uint16_t, 16);
    SIGNED(int32_t, uint32_t, 32);
    SIGNED(int64_t, uint64_t, 64);
    EACH("clz", uint32_t, a ? __builtin_clz(a) : 32);
    EACH("ctz", uint32_t, a ? __builtin_ctz(a) : 32);
    EACH("popcount", uint32_t, __builtin_popcount(a));
    EACH("parity", uint32_t, __builtin_parity(a));
    EACH("bswap", uint32_t, __builtin_bswap32(a));
    EACH("clz", uint64_t, a ? __builtin_clzll(a) : 64);
    EACH("ctz", uint64_t, a ? __builtin_ctzll(a) : 64);
    EACH("popcount", uint64_t, __builtin_popcountll(a));
    EACH("bswap", uint64_t, __builtin_bswap64(a));
    EACH("clrsb", int64_t, __builtin_clrsbll(a));
    EACH("high mul", uint64_t, (uint64_t)((u128)a * b >> 64));
    EACH("high mul", int64_t, (uint64_t)((s128)a * b >> 64));
    EACH("high mul mixed", int64_t, (uint64_t)((s128)a * (s128)(u128)(uint64_t)b >> 64));
    EACH("shift add", uint64_t, (a << 1) + b + (b << 2) + ((uint64_t)(uint32_t)a << 3) + (a >> 63));
    EACH("fields", uint64_t, ((a >> 7) & 0x1ff) | (b & ~0x3ff00ull) | ((a & 0x3ff) << 8));
    EACH("sign fields", int64_t, (a << 20 >> 50) + (int64_t)(int8_t)b + (int64_t)(int16_t)(a >> 9));
    EACH("div by constants", uint64_t, a / 3 + a / 7 + a / 10 + a / 641 + a % 1000003);
    EACH("div by constants", int32_t, a / 3 + a / -7 + a / 10 + a % 641);
    WIDE("add", a + b);
    WIDE("sub", a - b);
    WIDE("mul", a * b);
    WIDE("div", b ? a / b : 0);
    WIDE("mod", b ? a % b : 0);
    WIDE("signed div", b && b != (u128)-1 ? (u128)((s128)a / (s128)b) : 0);
    WIDE("shl", a << (b & 127));
    WIDE("sar", (u128)((s128)a >> (b & 127)));
    WIDE("compare", (a < b) + 2 * ((s128)a < (s128)b) + 4 * (a == b));
    return 0;
}
