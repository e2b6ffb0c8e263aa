// Helpers for SHA-1, SHA-512, SM3 and SM4: the pseudocode of Arm ARM C7.2, word by word.
#include <bit>
#include <cstring>

#include "guest/aarch64/helpers.h"

namespace myna::guest::aarch64::helper {

namespace {

struct Words {
    uint32_t w[4];
    explicit Words(const V128& v) noexcept { std::memcpy(w, &v, 16); }
    void store(V128& v) const noexcept { std::memcpy(&v, w, 16); }
    uint32_t& operator[](unsigned i) noexcept { return w[i]; }
    uint32_t operator[](unsigned i) const noexcept { return w[i]; }
};

uint32_t majority(uint32_t a, uint32_t b, uint32_t c) noexcept { return (a & b) | (a & c) | (b & c); }
uint32_t choose(uint32_t a, uint32_t b, uint32_t c) noexcept { return ((b ^ c) & a) ^ c; }

constexpr uint8_t kSm4Sbox[256] = {
    0xd6, 0x90, 0xe9, 0xfe, 0xcc, 0xe1, 0x3d, 0xb7, 0x16, 0xb6, 0x14, 0xc2, 0x28, 0xfb, 0x2c, 0x05,
    0x2b, 0x67, 0x9a, 0x76, 0x2a, 0xbe, 0x04, 0xc3, 0xaa, 0x44, 0x13, 0x26, 0x49, 0x86, 0x06, 0x99,
    0x9c, 0x42, 0x50, 0xf4, 0x91, 0xef, 0x98, 0x7a, 0x33, 0x54, 0x0b, 0x43, 0xed, 0xcf, 0xac, 0x62,
    0xe4, 0xb3, 0x1c, 0xa9, 0xc9, 0x08, 0xe8, 0x95, 0x80, 0xdf, 0x94, 0xfa, 0x75, 0x8f, 0x3f, 0xa6,
    0x47, 0x07, 0xa7, 0xfc, 0xf3, 0x73, 0x17, 0xba, 0x83, 0x59, 0x3c, 0x19, 0xe6, 0x85, 0x4f, 0xa8,
    0x68, 0x6b, 0x81, 0xb2, 0x71, 0x64, 0xda, 0x8b, 0xf8, 0xeb, 0x0f, 0x4b, 0x70, 0x56, 0x9d, 0x35,
    0x1e, 0x24, 0x0e, 0x5e, 0x63, 0x58, 0xd1, 0xa2, 0x25, 0x22, 0x7c, 0x3b, 0x01, 0x21, 0x78, 0x87,
    0xd4, 0x00, 0x46, 0x57, 0x9f, 0xd3, 0x27, 0x52, 0x4c, 0x36, 0x02, 0xe7, 0xa0, 0xc4, 0xc8, 0x9e,
    0xea, 0xbf, 0x8a, 0xd2, 0x40, 0xc7, 0x38, 0xb5, 0xa3, 0xf7, 0xf2, 0xce, 0xf9, 0x61, 0x15, 0xa1,
    0xe0, 0xae, 0x5d, 0xa4, 0x9b, 0x34, 0x1a, 0x55, 0xad, 0x93, 0x32, 0x30, 0xf5, 0x8c, 0xb1, 0xe3,
    0x1d, 0xf6, 0xe2, 0x2e, 0x82, 0x66, 0xca, 0x60, 0xc0, 0x29, 0x23, 0xab, 0x0d, 0x53, 0x4e, 0x6f,
    0xd5, 0xdb, 0x37, 0x45, 0xde, 0xfd, 0x8e, 0x2f, 0x03, 0xff, 0x6a, 0x72, 0x6d, 0x6c, 0x5b, 0x51,
    0x8d, 0x1b, 0xaf, 0x92, 0xbb, 0xdd, 0xbc, 0x7f, 0x11, 0xd9, 0x5c, 0x41, 0x1f, 0x10, 0x5a, 0xd8,
    0x0a, 0xc1, 0x31, 0x88, 0xa5, 0xcd, 0x7b, 0xbd, 0x2d, 0x74, 0xd0, 0x12, 0xb8, 0xe5, 0xb4, 0xb0,
    0x89, 0x69, 0x97, 0x4a, 0x0c, 0x96, 0x77, 0x7e, 0x65, 0xb9, 0xf1, 0x09, 0xc5, 0x6e, 0xc6, 0x84,
    0x18, 0xf0, 0x7d, 0xec, 0x3a, 0xdc, 0x4d, 0x20, 0x79, 0xee, 0x5f, 0x3e, 0xd7, 0xcb, 0x39, 0x48,
};

uint32_t sm4_substitute(uint32_t x) noexcept {
    return uint32_t{kSm4Sbox[x & 0xff]} | uint32_t{kSm4Sbox[x >> 8 & 0xff]} << 8 | uint32_t{kSm4Sbox[x >> 16 & 0xff]} << 16 |
           uint32_t{kSm4Sbox[x >> 24]} << 24;
}

uint64_t sigma(uint64_t x, int a, int b, int c) noexcept { return std::rotr(x, a) ^ std::rotr(x, b) ^ std::rotr(x, c); }
uint64_t schedule(uint64_t x, int a, int b, int shift) noexcept { return std::rotr(x, a) ^ std::rotr(x, b) ^ x >> shift; }

}  // namespace

/// io: Qd, Sn, Vm; arg 0 SHA1C, 1 SHA1P, 2 SHA1M.
void sha1_rounds(VcpuHeader*, V128* io, uint32_t arg) {
    Words x(io[0]);
    const Words w(io[2]);
    auto y = static_cast<uint32_t>(io[1].u64[0]);
    for (unsigned i = 0; i < 4; ++i) {
        const uint32_t t = arg == 0 ? choose(x[1], x[2], x[3]) : arg == 1 ? x[1] ^ x[2] ^ x[3] : majority(x[1], x[2], x[3]);
        const uint32_t next = y + std::rotl(x[0], 5) + t + w[i];
        y = x[3];
        x[3] = x[2];
        x[2] = std::rotl(x[1], 30);
        x[1] = x[0];
        x[0] = next;
    }
    x.store(io[0]);
}

void sha1su1(VcpuHeader*, V128* io, uint32_t) {
    Words d(io[0]);
    const Words n(io[1]);
    for (unsigned i = 0; i < 4; ++i) d[i] = std::rotl(d[i] ^ (i < 3 ? n[i + 1] : 0), 1);
    d[3] ^= std::rotl(d[0], 1);
    d.store(io[0]);
}

/// io: d (W), n (X), m (Y); arg 0 SHA512H, 1 SHA512H2.
void sha512h(VcpuHeader*, V128* io, uint32_t arg) {
    const auto w = io[0].u64, x = io[1].u64, y = io[2].u64;
    uint64_t lo, hi;
    if (arg == 0) {
        hi = ((y[1] & x[0]) ^ (~y[1] & x[1])) + sigma(y[1], 14, 18, 41) + w[1];
        const uint64_t t = hi + y[0];
        lo = ((t & y[1]) ^ (~t & x[0])) + sigma(t, 14, 18, 41) + w[0];
    } else {
        hi = ((x[0] & y[1]) ^ (x[0] & y[0]) ^ (y[1] & y[0])) + sigma(y[0], 28, 34, 39) + w[1];
        lo = ((hi & y[0]) ^ (hi & y[1]) ^ (y[1] & y[0])) + sigma(hi, 28, 34, 39) + w[0];
    }
    io[0] = {{lo, hi}};
}

/// arg 0: SHA512SU0 of d, n; 1: SHA512SU1 of d, n, m.
void sha512su(VcpuHeader*, V128* io, uint32_t arg) {
    const auto w = io[0].u64, x = io[1].u64, y = io[2].u64;
    if (arg == 0) io[0] = {{w[0] + schedule(w[1], 1, 8, 7), w[1] + schedule(x[0], 1, 8, 7)}};
    else io[0] = {{w[0] + schedule(x[0], 19, 61, 6) + y[0], w[1] + schedule(x[1], 19, 61, 6) + y[1]}};
}

/// arg 0: SM3PARTW1, 1: SM3PARTW2 of d, n, m.
void sm3part(VcpuHeader*, V128* io, uint32_t arg) {
    const Words d(io[0]), n(io[1]), m(io[2]);
    const auto p1 = [](uint32_t x) { return x ^ std::rotl(x, 15) ^ std::rotl(x, 23); };
    Words r(io[0]);
    if (arg == 0) {
        for (unsigned i = 0; i < 3; ++i) r[i] = p1(d[i] ^ n[i] ^ std::rotl(m[i + 1], 15));
        r[3] = p1(d[3] ^ n[3] ^ std::rotl(r[0], 15));
    } else {
        const uint32_t t0 = n[0] ^ std::rotl(m[0], 7);
        for (unsigned i = 0; i < 4; ++i) r[i] = d[i] ^ n[i] ^ std::rotl(m[i], 7);
        r[3] ^= p1(std::rotl(t0, 15));
    }
    r.store(io[0]);
}

/// io: n, m, a.
void sm3ss1(VcpuHeader*, V128* io, uint32_t) {
    const Words n(io[0]), m(io[1]), a(io[2]);
    io[0] = {{0, uint64_t{std::rotl(std::rotl(n[3], 12) + m[3] + a[3], 7)} << 32}};
}

/// io: d, n, m; arg: 0 TT1A, 1 TT1B, 2 TT2A, 3 TT2B, lane of m in bits 3..2.
void sm3tt(VcpuHeader*, V128* io, uint32_t arg) {
    Words d(io[0]);
    const Words n(io[1]), m(io[2]);
    const uint32_t w = m[arg >> 2 & 3];
    const bool second = arg & 2, plain = !(arg & 1);
    uint32_t t;
    if (plain) t = d[1] ^ d[2] ^ d[3];
    else t = second ? choose(d[3], d[2], d[1]) : majority(d[3], d[2], d[1]);
    if (second) {
        t += d[0] + n[3] + w;
        t ^= std::rotl(t, 9) ^ std::rotl(t, 17);
    } else {
        t += d[0] + (n[3] ^ std::rotl(d[3], 12)) + w;
    }
    d[0] = d[1];
    d[1] = std::rotl(d[2], second ? 19 : 9);
    d[2] = d[3];
    d[3] = t;
    d.store(io[0]);
}

/// arg 0: SM4E of d, n; 1: SM4EKEY of n, m.
void sm4(VcpuHeader*, V128* io, uint32_t arg) {
    Words x(io[0]);
    const Words key(io[1]);
    for (unsigned i = 0; i < 4; ++i) {
        const uint32_t s = sm4_substitute(x[1] ^ x[2] ^ x[3] ^ key[i]);
        const uint32_t mixed = arg ? s ^ std::rotl(s, 13) ^ std::rotl(s, 23)
                                   : s ^ std::rotl(s, 2) ^ std::rotl(s, 10) ^ std::rotl(s, 18) ^ std::rotl(s, 24);
        const uint32_t next = x[0] ^ mixed;
        x[0] = x[1];
        x[1] = x[2];
        x[2] = x[3];
        x[3] = next;
    }
    x.store(io[0]);
}

}  // namespace myna::guest::aarch64::helper
