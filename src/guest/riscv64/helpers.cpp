// What translated code calls: fcsr, counters, statically rounded floating point, and table-driven cryptography.
//
// The guest's MXCSR is loaded while helpers run: flags are raised by changing it.
#include "guest/riscv64/helpers.h"

#include <xmmintrin.h>

#include <array>
#include <bit>
#include <ctime>

#include "base/bits.h"
#include "guest/riscv64/state.h"
#include "softfp/softfp.h"

namespace myna::guest::riscv64::helper {

namespace {

using softfp::BF16;
using softfp::F16;
using softfp::F32;
using softfp::F64;

softfp::Round round_of_rm(unsigned rm) noexcept {
    constexpr softfp::Round kModes[5] = {softfp::Round::kNearestEven, softfp::Round::kZero, softfp::Round::kDown,
                                         softfp::Round::kUp, softfp::Round::kNearestAway};
    return kModes[rm <= kRmm ? rm : 0];
}

template <class F>
softfp::Bits<F> operand(const V128& v) noexcept { return static_cast<softfp::Bits<F>>(v.u64[0]); }

/// FCVT between formats numbered as fmt (0 S, 1 D, 2 H, 3 BF16), for the pairs that have an instruction.
uint64_t convert(const V128& v, unsigned from, unsigned to, softfp::Context& c) {
    switch (to << 4 | from) {
        case 0x01: return softfp::convert<F32, F64>(operand<F64>(v), c);
        case 0x02: return softfp::convert<F32, F16>(operand<F16>(v), c);
        case 0x03: {
            const bool boxed = v.u64[0] >> 16 == 0xffffffffffff;
            return softfp::convert<F32, BF16>(boxed ? operand<BF16>(v) : softfp::kDefaultNan<BF16>, c);
        }
        case 0x10: return softfp::convert<F64, F32>(operand<F32>(v), c);
        case 0x12: return softfp::convert<F64, F16>(operand<F16>(v), c);
        case 0x20: return softfp::convert<F16, F32>(operand<F32>(v), c);
        case 0x21: return softfp::convert<F16, F64>(operand<F64>(v), c);
        default: return softfp::convert<BF16, F32>(operand<F32>(v), c);
    }
}

template <class F>
uint64_t arithmetic(FpCall call, const V128* io, softfp::Context& c) {
    const auto a = operand<F>(io[0]), b = operand<F>(io[1]), d = operand<F>(io[2]);
    switch (call.op) {
        case FpCall::kAdd: return softfp::add<F>(a, b, c);
        case FpCall::kSub: return softfp::sub<F>(a, b, c);
        case FpCall::kMul: return softfp::mul<F>(a, b, c);
        case FpCall::kDiv: return softfp::div<F>(a, b, c);
        case FpCall::kSqrt: return softfp::sqrt<F>(a, c);
        case FpCall::kFma:
            return softfp::fma<F>(call.from & 1 ? softfp::neg<F>(a) : a, b, call.from & 2 ? softfp::neg<F>(d) : d, c);
        case FpCall::kFromS: return softfp::from_signed<F>(static_cast<int64_t>(io[0].u64[0]), 0, c);
        case FpCall::kFromU: return softfp::from_unsigned<F>(io[0].u64[0], 0, c);
        default: break;
    }
    return 0;
}

// ---- AES and SM4 substitution boxes, from their definitions

constexpr unsigned gf_mul(unsigned a, unsigned b, unsigned poly) noexcept {
    unsigned r = 0;
    for (; b; b >>= 1, a = a & 0x80 ? (a << 1) ^ poly : a << 1)
        if (b & 1) r ^= a;
    return r & 0xff;
}
constexpr unsigned gf_inverse(unsigned a, unsigned poly) noexcept {  // a^254: the product of a^2, a^4 … a^128
    unsigned r = 1, square = a;
    for (int i = 0; i < 7; ++i) {
        square = gf_mul(square, square, poly);
        r = gf_mul(r, square, poly);
    }
    return r;
}
constexpr std::array<uint8_t, 256> make_aes_sbox() noexcept {
    std::array<uint8_t, 256> box{};
    for (unsigned i = 0; i < 256; ++i) {
        const auto s = static_cast<uint8_t>(gf_inverse(i, 0x11b));
        box[i] = static_cast<uint8_t>(s ^ std::rotl(s, 1) ^ std::rotl(s, 2) ^ std::rotl(s, 3) ^ std::rotl(s, 4) ^ 0x63);
    }
    return box;
}
constexpr std::array<uint8_t, 256> kAesSbox = make_aes_sbox();
static_assert(kAesSbox[0] == 0x63 && kAesSbox[0x53] == 0xed);

// SM4: S(x) = A(I(A(x))), I the inverse modulo 0x1f5, A(x) the circulant matrix of 0xa7 times x, plus 0xd3.
constexpr unsigned sm4_affine(unsigned x) noexcept {
    unsigned r = 0;
    for (unsigned i = 0; i < 8; ++i) {
        const auto row = std::rotl(static_cast<uint8_t>(0xa7), static_cast<int>(i));
        r |= static_cast<unsigned>(std::popcount(x & row) & 1) << i;
    }
    return r ^ 0xd3;
}
constexpr std::array<uint8_t, 256> make_sm4_sbox() noexcept {
    std::array<uint8_t, 256> box{};
    for (unsigned i = 0; i < 256; ++i) box[i] = static_cast<uint8_t>(sm4_affine(gf_inverse(sm4_affine(i), 0x1f5)));
    return box;
}
constexpr std::array<uint8_t, 256> kSm4Sbox = make_sm4_sbox();
static_assert(kSm4Sbox[0] == 0xd6 && kSm4Sbox[1] == 0x90);

}  // namespace

// ---- fcsr and counters

uint64_t read_fcsr(VcpuHeader* hdr, uint64_t, uint64_t, uint64_t, uint32_t) {
    return reinterpret_cast<State*>(hdr)->frm << 5 | fflags_of_mxcsr(_mm_getcsr());
}

uint64_t write_fcsr(VcpuHeader* hdr, uint64_t value, uint64_t, uint64_t, uint32_t length) {
    auto& s = *reinterpret_cast<State*>(hdr);
    const uint32_t old_frm = s.frm;
    hdr->mxcsr = _mm_getcsr();
    set_fcsr(s, static_cast<uint32_t>(value));
    _mm_setcsr(hdr->mxcsr);
    if (s.frm != old_frm) {
        hdr->mode = (hdr->mode & ~Mode::kFrmMask) | s.frm;
        hdr->exit_reason = static_cast<uint32_t>(ir::ExitReason::kMode);
        hdr->pc += length;
    }
    return 0;
}

uint64_t read_counter(VcpuHeader*, uint64_t, uint64_t, uint64_t, uint32_t which) {
    constexpr uint32_t kTime = 1;
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    const uint64_t ns = static_cast<uint64_t>(t.tv_sec) * 1000000000 + static_cast<uint64_t>(t.tv_nsec);
    return which == kTime ? ns / (1000000000 / kTimeHz) : ns;
}

// ---- floating point

void fp_static(VcpuHeader*, V128* io, uint32_t arg) {
    const FpCall call = FpCall::unpack(arg);
    softfp::Context c{.round = round_of_rm(call.rm), .nan_rule = softfp::NanRule::kRiscv, .tiny_before = false};
    uint64_t r = 0;
    if (call.op == FpCall::kCvtmod) {
        bool exact;
        r = softfp::to_int32_modular(io[0].u64[0], &exact, c);
    } else if (call.op == FpCall::kCvt) {
        r = convert(io[0], call.from, call.fmt, c);
    } else {
        switch (call.fmt) {
            case 0: r = arithmetic<F32>(call, io, c); break;
            case 1: r = arithmetic<F64>(call, io, c); break;
            default: r = arithmetic<F16>(call, io, c); break;
        }
    }
    io[0] = V128{{r, 0}};
    _mm_setcsr(_mm_getcsr() | c.flags);
}

uint64_t fclass(uint64_t bits, uint64_t fmt, uint64_t) {
    return fmt == 1   ? softfp::riscv_class<F64>(bits)
           : fmt == 0 ? softfp::riscv_class<F32>(static_cast<uint32_t>(bits))
                      : softfp::riscv_class<F16>(static_cast<uint16_t>(bits));
}

// ---- cryptography

uint64_t aes64ks1i(uint64_t rs1, uint64_t rnum, uint64_t) {
    constexpr uint8_t kRcon[10] = {0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x1b, 0x36};
    constexpr uint64_t kLast = 10;  // no rotation, no constant: the middle of AES-256 rounds
    auto v = static_cast<uint32_t>(rs1 >> 32);
    if (rnum < kLast) v = std::rotr(v, 8);
    uint32_t r = 0;
    for (unsigned at = 0; at < 32; at += 8) r |= uint32_t{kAesSbox[v >> at & 0xff]} << at;
    if (rnum < kLast) r ^= kRcon[rnum];
    return uint64_t{r} << 32 | r;
}

uint64_t xperm4(uint64_t table, uint64_t index, uint64_t) {
    uint64_t r = 0;
    for (unsigned at = 0; at < 64; at += 4) r |= bits(table, static_cast<unsigned>(bits(index, at, 4)) * 4, 4) << at;
    return r;
}

uint64_t sm4(uint64_t rs1, uint64_t rs2, uint64_t how) {
    const auto shift = static_cast<int>((how & 3) * 8);
    const uint32_t s = kSm4Sbox[rs2 >> shift & 0xff];
    const bool key_schedule = how & 4;
    const uint32_t y = key_schedule ? s ^ (s & 7) << 29 ^ (s & 0xfe) << 7 ^ (s & 1) << 23 ^ (s & 0xf8) << 13
                                    : s ^ s << 8 ^ s << 2 ^ s << 18 ^ (s & 0x3f) << 26 ^ (s & 0xc0) << 10;
    const uint32_t z = std::rotl(y, shift) ^ static_cast<uint32_t>(rs1);
    return static_cast<uint64_t>(static_cast<int64_t>(static_cast<int32_t>(z)));
}

}  // namespace myna::guest::riscv64::helper
