// How the fields of insn_simd.decode are written: arrangements, scalar names, elements, register lists, constants.
//
// Element sizes are read where the encoding has them: Q in bit 30, size in bits 23..22, immh in bits 22..19.
#include <bit>
#include <cstdio>

#include "base/bits.h"
#include "guest/aarch64/disasm.h"

namespace myna::guest::aarch64 {
namespace {

constexpr char kScalar[] = "bhsdq";

template <class... Args>
std::string format(const char* text, Args... args) {
    char out[96];
    std::snprintf(out, sizeof out, text, args...);
    return out;
}

unsigned field(uint32_t raw, unsigned hi, unsigned lo) { return raw >> lo & ((1u << (hi - lo + 1)) - 1); }

/// "v3.4s": a register of `q` ? 16 : 8 bytes with elements of 1 << size bytes.
std::string vector(int64_t n, bool q, unsigned size) {
    return format("v%d.%d%c", static_cast<int>(n), (q ? 16 : 8) >> size, kScalar[size]);
}
std::string scalar(int64_t n, unsigned size) { return format("%c%d", kScalar[size], static_cast<int>(n)); }
std::string element(unsigned n, const char* kind, unsigned index) { return format("v%u.%s[%u]", n, kind, index); }

/// The indexed element of the by-element classes, named `kind`, when elements have 1 << size bytes.
std::string indexed(uint32_t raw, unsigned size, const char* kind) {
    const unsigned hlm = field(raw, 11, 11) << 2 | field(raw, 21, 20), rm = field(raw, 20, 16);
    switch (size) {
        case 1: return element(rm & 15, kind, hlm);
        case 2: return element(rm, kind, hlm >> 1);
        default: return element(rm, kind, hlm >> 2);
    }
}

/// FP constants as the assembler writes them: eight digits behind the point.
std::string fp_constant(unsigned imm8) {
    const int exponent = static_cast<int>((imm8 >> 4 & 7) ^ 4) - 3;
    const double value = (16 + (imm8 & 15)) / 16.0 * (exponent >= 0 ? 1 << exponent : 1.0 / (1 << -exponent));
    return format("%s%.8f", (imm8 & 0x80) != 0 ? "-" : "", value);
}

std::string byte_mask(unsigned imm8) {
    std::string text = "0x";
    for (int i = 7; i >= 0; --i) text += (imm8 >> i & 1) != 0 ? "ff" : "00";
    return text;
}

/// "{ v31.4s, v0.4s }" of `count` registers, each followed by `suffix`.
std::string list(int64_t first, unsigned count, const std::string& suffix) {
    std::string text = "{ ";
    for (unsigned i = 0; i < count; ++i)
        text += format("%sv%u", i != 0 ? ", " : "", static_cast<unsigned>(first + i) & 31) + suffix;
    return text + " }";
}

std::string arrangement(bool q, unsigned size) { return format(".%d%c", (q ? 16 : 8) >> size, kScalar[size]); }

unsigned structure_registers(const RowMatch& m) {
    constexpr uint8_t kRegs[16] = {4, 0, 4, 0, 3, 0, 3, 1, 2, 0, 2, 0, 0, 0, 0, 0};
    return m.has("n") ? static_cast<unsigned>(m.field("n")) + 1 : kRegs[m.field("op") & 15];
}

std::string post_index(int64_t rm, const RowMatch& m) {
    if (rm != 31) return register_name(true, rm);
    unsigned bytes = bit(m.raw, 30) ? 16 : 8;
    if (m.has("es")) bytes = 1u << m.field("es");
    else if (m.has("n")) bytes = 1u << m.field("size");
    return format("#%u", bytes * structure_registers(m));
}

/// Amounts of the shift-by-immediate classes.
unsigned shift_size(uint32_t raw) { return static_cast<unsigned>(std::bit_width(field(raw, 22, 19))) - 1; }

}  // namespace

std::string format_simd_field(Style style, int64_t value, const RowMatch& m) {
    const uint32_t raw = m.raw;
    const bool q = bit(raw, 30);
    const unsigned size = field(raw, 23, 22), sz = bit(raw, 22);
    const auto n = static_cast<unsigned>(value);
    switch (style) {
        // registers
        case Style::v: return vector(value, q, size);
        case Style::vb: return vector(value, q, 0);
        case Style::vh: return vector(value, q, 1);
        case Style::vs: return vector(value, q, 2);
        case Style::vw: return vector(value, true, size + 1);
        case Style::vp: return vector(value, q, size + 1);
        case Style::vf: return vector(value, q, 2 + sz);
        case Style::vfn: return vector(value, q, 1 + sz);
        case Style::vfw: return vector(value, true, 2 + sz);
        case Style::v2f: return format("v%u.2%c", n, kScalar[2 + sz]);
        case Style::v2h: return format("v%u.%dh", n, q ? 4 : 2);
        case Style::vi: return vector(value, q, shift_size(raw));
        case Style::viw: return vector(value, true, shift_size(raw) + 1);
        case Style::vdup: return vector(value, q, static_cast<unsigned>(std::countr_zero(field(raw, 20, 16))));
        case Style::vreg: return format("v%u", n);
        case Style::h: return scalar(value, 1);
        case Style::f: {
            constexpr unsigned kSize[4] = {2, 3, 4, 1};
            return scalar(value, kSize[size]);
        }
        case Style::sv: return scalar(value, size);
        case Style::sw: return scalar(value, size + 1);
        case Style::sf: return scalar(value, 2 + sz);
        case Style::si: return scalar(value, shift_size(raw));
        case Style::siw: return scalar(value, shift_size(raw) + 1);
        case Style::s5: return scalar(value, static_cast<unsigned>(std::countr_zero(field(raw, 20, 16))));
        case Style::gr: return register_name(bit(raw, 31), value);
        case Style::gr5: return register_name((field(raw, 20, 16) & 15) == 8, value);

        // elements
        case Style::elem: {
            const unsigned bytes_log2 = size == 0 ? 1 : size;
            const char kind[2] = {kScalar[bytes_log2], 0};
            return indexed(raw, bytes_log2, kind);
        }
        case Style::elemh: return indexed(raw, 1, "h");
        case Style::elem2h: return indexed(raw, 2, "2h");
        case Style::elem4b: return indexed(raw, 2, "4b");
        case Style::elemc: {
            const unsigned high = field(raw, 11, 11);
            return element(n, size == 1 ? "h" : "s", size == 1 ? high << 1 | field(raw, 21, 21) : high);
        }
        case Style::elem5: {
            const unsigned imm5 = field(raw, 20, 16), log2 = static_cast<unsigned>(std::countr_zero(imm5));
            return format("v%u.%c[%u]", n, kScalar[log2], imm5 >> (log2 + 1));
        }
        case Style::elem4: {
            const auto log2 = static_cast<unsigned>(std::countr_zero(field(raw, 20, 16)));
            return format("v%u.%c[%u]", n, kScalar[log2], field(raw, 14, 11) >> log2);
        }

        // mnemonics
        case Style::two: return n ? "2" : "";
        case Style::bt: return n ? "t" : "b";
        case Style::ldst: return n ? "ld" : "st";
        case Style::count: return format("%u", n + 1);

        // constants
        case Style::shr: return format("%u", (16u << shift_size(raw)) - n);
        case Style::shl: return format("%u", n - (8u << shift_size(raw)));
        case Style::bits: return format("%u", 8u << n);
        case Style::fbits: return format("%u", 64 - n);
        case Style::fpimm: return fp_constant(n);
        case Style::hex8: return format("0x%x", n);
        case Style::mask64: return byte_mask(n);
        case Style::lsls: return n >> 1 ? format(", lsl #%u", 8 * (n >> 1 & 3)) : "";
        case Style::lslh: return n >> 1 & 1 ? ", lsl #8" : "";
        case Style::msl: return format(", msl #%u", n & 1 ? 16 : 8);
        case Style::rot90: return format("%u", 90 * n);
        case Style::rot180: return format("%u", 90 + 180 * n);

        // lists and structures
        case Style::list16b: return list(value, static_cast<unsigned>(m.field("len")) + 1, ".16b");
        case Style::list: return list(value, structure_registers(m), arrangement(q, static_cast<unsigned>(m.field("size"))));
        case Style::lanes: return list(value, structure_registers(m), format(".%c", kScalar[m.field("es") & 3]));
        case Style::post: return post_index(value, m);
        default: return std::to_string(value);
    }
}

}  // namespace myna::guest::aarch64
