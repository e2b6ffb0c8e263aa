// A state machine that tells numbers (integer, decimal, scientific) from junk in a comma-separated text.
#pragma once
#include "../kernel.h"

enum state { start, sign, integer, point, fraction, exponent, exponent_sign, power, junk, states };

static enum state next_state(enum state s, char c) {
    int digit = c >= '0' && c <= '9';
    switch (s) {
        case start: return digit ? integer : c == '+' || c == '-' ? sign : c == '.' ? point : junk;
        case sign: return digit ? integer : c == '.' ? point : junk;
        case integer: return digit ? integer : c == '.' ? fraction : c == 'e' || c == 'E' ? exponent : junk;
        case point: return digit ? fraction : junk;
        case fraction: return digit ? fraction : c == 'e' || c == 'E' ? exponent : junk;
        case exponent: return digit ? power : c == '+' || c == '-' ? exponent_sign : junk;
        case exponent_sign: return digit ? power : junk;
        case power: return digit ? power : junk;
        default: return junk;
    }
}

static uint64_t state_round(uint32_t* seed) {
    static const char* const words[8] = {"5012", "-874", "35.54400", "+.1234500", "-110.700e+1", "5.500e-3", "T0.3e-1F", "-T.T++Tq"};
    static char text[4096];
    size_t at = 0;
    while (at + 16 < sizeof text) {
        const char* word = words[next_random(seed) & 7];
        size_t n = strlen(word);
        memcpy(text + at, word, n);
        text[at + n] = ',';
        at += n + 1;
    }
    text[at] = 0;
    uint32_t finals[states] = {0}, passes[states] = {0};
    enum state s = start;
    for (const char* p = text; *p; p++) {
        if (*p == ',') {
            finals[s]++;
            s = start;
            continue;
        }
        enum state n = next_state(s, *p);
        if (n != s) passes[n]++;
        s = n;
    }
    uint64_t sum = 0;
    for (int i = 0; i < states; i++) sum = mix(sum, finals[i] * 65536ull + passes[i]);
    return sum;
}
