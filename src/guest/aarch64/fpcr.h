// FPCR and FPSR (Arm ARM C5.2.8, C5.2.10) against MXCSR, where rounding mode and sticky flags live.
#pragma once

#include <cstdint>

#include "guest/aarch64/features.h"
#include "guest/aarch64/state.h"

namespace myna::guest::aarch64 {

struct Fpcr {
    static constexpr uint32_t kFz16 = 1u << 19, kRMode = 3u << 22, kFz = 1u << 24, kDn = 1u << 25, kAhp = 1u << 26;
    static constexpr uint32_t kWritable = kFz16 | kRMode | kFz | kDn | kAhp;  // no trapped exceptions
};
struct Fpsr {
    static constexpr uint32_t kIoc = 1, kDzc = 2, kOfc = 4, kUfc = 8, kIxc = 16, kIdc = 128, kQc = 1u << 27;
};

/// Exception flags: MXCSR has IE DE ZE OE UE PE in bits 0..5. DE is the softfp's and means IDC.
constexpr uint32_t fpsr_of_mxcsr(uint32_t m) noexcept {
    return (m & 1) | ((m >> 1) & 0x1e) | (m & 2) << 6;
}
constexpr uint32_t mxcsr_of_fpsr(uint32_t f) noexcept {
    return (f & 1) | (f & 0x1e) << 1 | (f & Fpsr::kIdc) >> 6;
}

/// FPSR of a state that is outside of translated code (or whose hdr.mxcsr is up to date).
constexpr uint32_t fpsr(const State& s) noexcept {
    // The host sets DE for any denormal operand; the guest only where it was flushed (FZ).
    const uint32_t m = (s.fpcr & (Fpcr::kFz | Fpcr::kFz16)) != 0 ? s.hdr.mxcsr : s.hdr.mxcsr & ~2u;
    return fpsr_of_mxcsr(m) | s.fpsr | ((s.qc.u64[0] | s.qc.u64[1]) != 0 ? Fpsr::kQc : 0);
}
constexpr void set_fpsr(State& s, uint32_t v) noexcept {
    s.hdr.mxcsr = (s.hdr.mxcsr & ~0x3fu) | mxcsr_of_fpsr(v & ~Fpsr::kIdc);
    s.fpsr = v & Fpsr::kIdc;
    s.qc.u64 = {(v & Fpsr::kQc) != 0 ? 1u : 0u, 0};
}

/// The block key's mode bits that follow from FPCR.
constexpr uint32_t mode_of_fpcr(uint32_t fpcr) noexcept {
    return (fpcr >> 22 & 3) | ((fpcr & Fpcr::kFz) != 0 ? Mode::kFlush : 0) | ((fpcr & Fpcr::kDn) != 0 ? Mode::kDn : 0) |
           ((fpcr & Fpcr::kFz16) != 0 ? Mode::kFlush16 : 0) | ((fpcr & Fpcr::kAhp) != 0 ? Mode::kAhp : 0);
}
/// Sets FPCR, MXCSR's rounding mode and the mode bits.
inline void set_fpcr(State& s, uint32_t v) noexcept {
    const bool half = s.cpu == nullptr || has(*s.cpu, Feature::fp16);
    const uint32_t old = s.fpcr;
    s.fpcr = v & (half ? Fpcr::kWritable : Fpcr::kWritable & ~Fpcr::kFz16);
    constexpr uint32_t kMxcsrRound[4] = {0, 2, 1, 3};  // RN, RP, RM, RZ
    // IDC collected while flushing stays; DE collected while not flushing does not become IDC later.
    if ((old & (Fpcr::kFz | Fpcr::kFz16)) != 0 && (s.hdr.mxcsr & 2) != 0) s.fpsr |= Fpsr::kIdc;
    s.hdr.mxcsr = (s.hdr.mxcsr & ~0x6002u) | kMxcsrRound[s.fpcr >> 22 & 3] << 13;
    s.hdr.mode = (s.hdr.mode & ~(Mode::kRModeMask | Mode::kFlush | Mode::kDn | Mode::kFlush16 | Mode::kAhp)) | mode_of_fpcr(s.fpcr);
}

}  // namespace myna::guest::aarch64
