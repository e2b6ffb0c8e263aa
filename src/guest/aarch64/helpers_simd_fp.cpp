// Vector helpers for floating-point operations that the host has no like of, over softfp. They run with the guest's
// MXCSR in force: rounding comes from there, exception flags go there. FPCR's other bits come from the state.
#include <immintrin.h>

#include <cstring>
#include <limits>

#include "guest/aarch64/helpers.h"
#include "guest/aarch64/simd_args.h"
#include "softfp/softfp.h"

namespace myna::guest::aarch64::helper {

namespace {

using namespace simd_arg;
using softfp::BF16;
using softfp::Bits;
using softfp::Context;
using softfp::F16;
using softfp::F32;
using softfp::F64;
using softfp::NanRule;
using softfp::Round;

/// The context of one guest instruction; its flags are raised when it goes.
class GuestContext {
  public:
    explicit GuestContext(VcpuHeader* hdr) {
        constexpr uint32_t kFz16 = 1u << 19, kFz = 1u << 24, kDn = 1u << 25;
        const uint32_t fpcr = reinterpret_cast<const State*>(hdr)->fpcr;
        c = softfp::context(_mm_getcsr(), fpcr & kDn ? NanRule::kArmDefault : NanRule::kArm,
                            {.flush = (fpcr & kFz) != 0, .flush16 = (fpcr & kFz16) != 0, .round_away = false});
    }
    ~GuestContext() {
        if (c.flags) _mm_setcsr(_mm_getcsr() | c.flags);
    }
    GuestContext(const GuestContext&) = delete;
    GuestContext& operator=(const GuestContext&) = delete;
    Context c;
};

template <class T>
T lane(const V128& v, unsigned i) noexcept {
    T x;
    std::memcpy(&x, reinterpret_cast<const char*>(&v) + i * sizeof(T), sizeof(T));
    return x;
}
template <class T>
void set_lane(V128& v, unsigned i, T x) noexcept {
    std::memcpy(reinterpret_cast<char*>(&v) + i * sizeof(T), &x, sizeof(T));
}

/// FRINT32Z … FRINT64X: what does not fit becomes the most negative integer, with invalid alone.
template <class F>
Bits<F> round_to_width(Bits<F> a, unsigned width, bool to_zero, Context& c) {
    Context k = c;
    k.flags = 0;
    if (to_zero) k.round = Round::kZero;
    Context probe = k;
    softfp::to_signed<F>(a, width, 0, probe);
    if (probe.flags & softfp::Flag::kInvalid) {
        c.flags |= probe.flags;
        return softfp::from_signed<F>(std::numeric_limits<int64_t>::min() >> (64 - width), 0, k);
    }
    const Bits<F> r = softfp::round_to_int<F>(a, true, k);
    c.flags |= k.flags;
    return r;
}

/// RecipEstimate and RecipSqrtEstimate (Arm ARM shared pseudocode): 8 bits of fraction by 9 bits of the operand.
struct EstimateTables {
    uint8_t reciprocal[512]{}, root[512]{};
    constexpr EstimateTables() {
        for (unsigned a = 256; a < 512; ++a) reciprocal[a] = static_cast<uint8_t>(((1u << 19) / (a * 2 + 1) + 1) / 2);
        for (uint32_t a = 128, b = 1023; a < 512; ++a) {
            const uint32_t wide = a < 256 ? a * 2 + 1 : ((a | 1) * 2);
            if (a == 256) b = 1023;
            while (b > 512 && uint64_t{wide} * b * b >= 1u << 28) --b;  // the greatest b with wide * b * b below 2^28
            root[a] = static_cast<uint8_t>((b + 1) / 2);
        }
    }
};
constexpr EstimateTables kEstimates;

/// FRECPE and FRSQRTE where operand and result are normal numbers: no exception then.
template <class F>
bool estimate_normal(unsigned op, Bits<F> a, Bits<F>& result) {
    constexpr unsigned kFrac = F::kFracBits, kMaxExp = (1u << F::kExpBits) - 1;
    const auto exp = static_cast<unsigned>(a >> kFrac) & kMaxExp;
    const auto top = static_cast<unsigned>(a >> (kFrac - 8)) & 0xff;
    const auto pack = [&](unsigned e, uint8_t fraction) {
        return static_cast<Bits<F>>((a & softfp::kSign<F>) | static_cast<Bits<F>>(e) << kFrac | static_cast<Bits<F>>(fraction) << (kFrac - 8));
    };
    if (op == kRecpE) {
        if (exp == 0 || exp + 3 > kMaxExp) return false;
        result = pack(kMaxExp - 2 - exp, kEstimates.reciprocal[256 | top]);
        return true;
    }
    if (exp == 0 || exp == kMaxExp || (a & softfp::kSign<F>)) return false;
    result = pack((3 * (kMaxExp / 2) - 1 - exp) / 2, kEstimates.root[exp & 1 ? 128 | top >> 1 : 256 | top]);
    return true;
}

/// The usual case: all `lanes` of `io` are estimated without asking for modes. False: nothing was done.
template <class F>
bool all_estimates_normal(unsigned op, V128& io, unsigned lanes) {
    Bits<F> x[16 / sizeof(Bits<F>)], out[16 / sizeof(Bits<F>)] = {};
    std::memcpy(x, &io, 16);
    for (unsigned i = 0; i < lanes; ++i)
        if (!estimate_normal<F>(op, x[i], out[i])) return false;
    std::memcpy(&io, out, 16);
    return true;
}

template <class F>
Bits<F> special(unsigned op, Bits<F> a, Bits<F> b, Context& c) {
    switch (op) {
        case kMulx: return softfp::mulx<F>(a, b, c);
        case kRecpS: return softfp::recip_step<F>(a, b, c);
        case kRsqrtS: return softfp::rsqrt_step<F>(a, b, c);
        case kRecpE: return softfp::recip_estimate<F>(a, c);
        case kRsqrtE: return softfp::rsqrt_estimate<F>(a, c);
        case kRecpX: return softfp::recip_exponent<F>(a, c);
        case kRint32Z: case kRint32X: return round_to_width<F>(a, 32, op == kRint32Z, c);
        default: return round_to_width<F>(a, 64, op == kRint64Z, c);
    }
}

template <class F>
void special_lanes(V128* io, uint32_t arg, Context& c) {
    V128 out{};
    for (unsigned i = 0; i < lanes_of(arg); ++i)
        set_lane(out, i, special<F>(operation_of(arg), lane<Bits<F>>(io[0], i), lane<Bits<F>>(io[1], i), c));
    io[0] = out;
}

}  // namespace

void fp_special(VcpuHeader* hdr, V128* io, uint32_t arg) {
    const unsigned op = operation_of(arg);
    if (op == kRecpE || op == kRsqrtE) {
        const unsigned fs = arg & kSizeMask;
        if (fs == 2 ? all_estimates_normal<F32>(op, io[0], lanes_of(arg)) : fs == 3 && all_estimates_normal<F64>(op, io[0], lanes_of(arg)))
            return;
    }
    GuestContext g(hdr);
    switch (arg & kSizeMask) {
        case 1: special_lanes<F16>(io, arg, g.c); break;
        case 2: special_lanes<F32>(io, arg, g.c); break;
        default: special_lanes<F64>(io, arg, g.c);
    }
}

/// The integer in 32-bit lane 0, NZCV in lane 1.
void fjcvtzs(VcpuHeader* hdr, V128* io, uint32_t) {
    GuestContext g(hdr);
    bool exact = false;
    const uint32_t value = softfp::to_int32_modular(io[0].u64[0], &exact, g.c);
    io[0] = {{value | uint64_t{exact ? 0x40000000u : 0} << 32, 0}};
}

/// arg lanes of doubles to singles, rounded to odd.
void fcvtxn(VcpuHeader* hdr, V128* io, uint32_t arg) {
    GuestContext g(hdr);
    g.c.round = Round::kOdd;
    V128 out{};
    for (unsigned i = 0; i < arg; ++i) set_lane(out, i, softfp::convert<F32, F64>(lane<uint64_t>(io[0], i), g.c));
    io[0] = out;
}

/// arg lanes of singles to BFloat16.
void bfcvt(VcpuHeader* hdr, V128* io, uint32_t arg) {
    GuestContext g(hdr);
    V128 out{};
    for (unsigned i = 0; i < arg; ++i) set_lane(out, i, softfp::convert<BF16, F32>(lane<uint32_t>(io[0], i), g.c));
    io[0] = out;
}

/// io[2].32 ± io[0].16 * io[1].16; operation 1: minus.
void fmlal(VcpuHeader* hdr, V128* io, uint32_t arg) {
    GuestContext g(hdr);
    V128 out{};
    for (unsigned i = 0; i < lanes_of(arg); ++i) {
        const auto a = lane<uint16_t>(io[0], i);
        const auto factor = operation_of(arg) ? softfp::neg<F16>(a) : a;
        set_lane(out, i, softfp::muladd_widening(factor, lane<uint16_t>(io[1], i), lane<uint32_t>(io[2], i), g.c));
    }
    io[0] = out;
}

void bfdot(VcpuHeader*, V128* io, uint32_t) {
    V128 out{};
    for (unsigned i = 0; i < 4; ++i)
        set_lane(out, i, softfp::bf16_dot(lane<uint32_t>(io[2], i), lane<uint32_t>(io[0], i), lane<uint32_t>(io[1], i)));
    io[0] = out;
}

/// d[2x2] += n[2x4] * transposed m[2x4].
void bfmmla(VcpuHeader*, V128* io, uint32_t) {
    V128 out{};
    for (unsigned row = 0; row < 2; ++row)
        for (unsigned col = 0; col < 2; ++col) {
            uint32_t sum = lane<uint32_t>(io[2], row * 2 + col);
            for (unsigned k = 0; k < 2; ++k)
                sum = softfp::bf16_dot(sum, lane<uint32_t>(io[0], row * 2 + k), lane<uint32_t>(io[1], col * 2 + k));
            set_lane(out, row * 2 + col, sum);
        }
    io[0] = out;
}

}  // namespace myna::guest::aarch64::helper
