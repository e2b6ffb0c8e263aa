// Lanes: AES rounds (FIPS 197) and SHA-256 (FIPS 180-4) the way Arm's instructions divide them.
#include <bit>

#include "ir/lanes_internal.h"

namespace myna::ir {

namespace {

constexpr uint8_t gf_double(uint8_t v) { return static_cast<uint8_t>(v << 1 ^ ((v & 0x80) ? 0x1b : 0)); }
constexpr uint8_t gf_mul(uint8_t a, uint8_t b) {
    uint8_t r = 0;
    for (; b; b >>= 1, a = gf_double(a))
        if (b & 1) r ^= a;
    return r;
}

struct Boxes {
    std::array<uint8_t, 256> forward{}, inverse{};
};
/// Walks the multiplicative group with the generator 3 and its inverse side by side.
constexpr Boxes make_boxes() {
    Boxes t;
    uint8_t p = 1, q = 1;
    do {
        p = static_cast<uint8_t>(p ^ gf_double(p));
        q = static_cast<uint8_t>(q ^ q << 1);
        q = static_cast<uint8_t>(q ^ q << 2);
        q = static_cast<uint8_t>(q ^ q << 4);
        if (q & 0x80) q ^= 0x09;
        t.forward[p] = static_cast<uint8_t>(q ^ std::rotl(q, 1) ^ std::rotl(q, 2) ^ std::rotl(q, 3) ^ std::rotl(q, 4) ^ 0x63);
    } while (p != 1);
    t.forward[0] = 0x63;
    for (unsigned i = 0; i < 256; ++i) t.inverse[t.forward[i]] = static_cast<uint8_t>(i);
    return t;
}
constexpr Boxes kBoxes = make_boxes();

/// Byte i of the result comes from byte (i * step) mod 16: 5 is ShiftRows, 13 its inverse.
V128 substituted(const V128& a, const V128& b, unsigned step, const std::array<uint8_t, 256>& box) {
    const auto x = lanes<uint8_t>(a), y = lanes<uint8_t>(b);
    Array<uint8_t> out;
    for (unsigned i = 0; i < 16; ++i) {
        const unsigned from = i * step % 16;
        out[i] = box[x[from] ^ y[from]];
    }
    return pack<uint8_t>(out);
}

V128 mixed(const V128& a, std::array<uint8_t, 4> row) {
    const auto x = lanes<uint8_t>(a);
    Array<uint8_t> out{};
    for (unsigned col = 0; col < 16; col += 4)
        for (unsigned i = 0; i < 4; ++i)
            for (unsigned j = 0; j < 4; ++j) out[col + i] ^= gf_mul(x[col + j], row[(j + 4 - i) % 4]);
    return pack<uint8_t>(out);
}

/// Four rounds: x = a b c d, y = e f g h; `first`: the new a..d, else the new e..h.
V128 sha256_rounds(V128 xv, V128 yv, const V128& wv, bool first) {
    auto x = lanes<uint32_t>(xv), y = lanes<uint32_t>(yv);
    const auto w = lanes<uint32_t>(wv);
    for (unsigned i = 0; i < 4; ++i) {
        const uint32_t choose = ((y[1] ^ y[2]) & y[0]) ^ y[2];
        const uint32_t majority = (x[0] & x[1]) | ((x[0] | x[1]) & x[2]);
        const uint32_t s1 = std::rotr(y[0], 6) ^ std::rotr(y[0], 11) ^ std::rotr(y[0], 25);
        const uint32_t s0 = std::rotr(x[0], 2) ^ std::rotr(x[0], 13) ^ std::rotr(x[0], 22);
        const uint32_t t = y[3] + s1 + choose + w[i];
        const uint32_t e = t + x[3], a = t + s0 + majority;
        x = {a, x[0], x[1], x[2]};
        y = {e, y[0], y[1], y[2]};
    }
    return pack<uint32_t>(first ? x : y);
}

V128 sha256_su0(const V128& a, const V128& b) {
    auto x = lanes<uint32_t>(a);
    const uint32_t next[4] = {x[1], x[2], x[3], lanes<uint32_t>(b)[0]};
    for (unsigned i = 0; i < 4; ++i) x[i] += std::rotr(next[i], 7) ^ std::rotr(next[i], 18) ^ next[i] >> 3;
    return pack<uint32_t>(x);
}

V128 sha256_su1(const V128& a, const V128& b, const V128& c) {
    auto x = lanes<uint32_t>(a);
    const auto y = lanes<uint32_t>(b), z = lanes<uint32_t>(c);
    const uint32_t t0[4] = {y[1], y[2], y[3], z[0]};
    for (unsigned i = 0; i < 4; ++i) {
        const uint32_t s = i < 2 ? z[2 + i] : x[i - 2];
        x[i] += (std::rotr(s, 17) ^ std::rotr(s, 19) ^ s >> 10) + t0[i];
    }
    return pack<uint32_t>(x);
}

}  // namespace

V128 evaluate_crypto(const LaneOp& op, const V128& a, const V128& b, const V128& c) noexcept {
    switch (static_cast<Op>(op.op)) {
        case Op::kVAesE: return substituted(a, b, 5, kBoxes.forward);
        case Op::kVAesD: return substituted(a, b, 13, kBoxes.inverse);
        case Op::kVAesMc: return mixed(a, {2, 3, 1, 1});
        case Op::kVAesImc: return mixed(a, {14, 11, 13, 9});
        case Op::kVSha256H: return op.imm ? sha256_rounds(b, a, c, false) : sha256_rounds(a, b, c, true);
        case Op::kVSha256Su: return op.imm ? sha256_su1(a, b, c) : sha256_su0(a, b);
        default: return {};
    }
}

}  // namespace myna::ir
