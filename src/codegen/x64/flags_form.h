// How NZCV is held while translated code runs.
//
//   outside translated code   bits 31..28 of the slot: N Z C V           (what everybody else sees)
//   inside                    "raw": what lahf and seto leave in AX after a subtraction
//
//      bit 15  14  …  8  …  0
//          N   Z      !C    V        the other bits mean nothing
//
// Raw is the cheapest to make (lahf, seto al, mov [slot], ax) and to get back (add al, 0x7f; sahf). The enter and exit
// stubs and the thunks of state helpers convert, and recover() does at a fault; nobody else needs to know.
#pragma once

#include <cstdint>

namespace myna::x64 {

inline constexpr uint32_t kRawN = 0x8000, kRawZ = 0x4000, kRawBorrow = 0x100, kRawV = 1;

constexpr uint32_t nzcv_from_raw(uint32_t raw) {
    return (raw & (kRawN | kRawZ)) << 16 | (~raw & kRawBorrow) << 21 | (raw & kRawV) << 28;
}
constexpr uint32_t raw_from_nzcv(uint32_t nzcv) {
    return (nzcv >> 16 & (kRawN | kRawZ)) | (~nzcv >> 21 & kRawBorrow) | (nzcv >> 28 & kRawV);
}
/// From EFLAGS; sub: after a subtraction (CF is the inverse of C).
constexpr uint32_t nzcv_from_eflags(uint32_t eflags, bool sub) {
    const uint32_t c = (eflags & 1) ^ (sub ? 1 : 0);
    return (eflags >> 7 & 1) << 31 | (eflags >> 6 & 1) << 30 | c << 29 | (eflags >> 11 & 1) << 28;
}
static_assert(nzcv_from_raw(raw_from_nzcv(0xa0000000)) == 0xa0000000);
static_assert(nzcv_from_raw(raw_from_nzcv(0x50000000)) == 0x50000000);

}  // namespace myna::x64
