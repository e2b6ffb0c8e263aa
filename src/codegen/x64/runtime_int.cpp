// Runtime helpers of the integer and flag operations.
#include <xmmintrin.h>

#include <bit>

#include "codegen/x64/flags_form.h"
#include "codegen/x64/runtime.h"
#include "ir/lanes.h"

namespace myna::x64::rt {

void lane_flags(guest::VcpuHeader*, ir::V128* io, uint32_t) {
    uint32_t mxcsr = _mm_getcsr();
    const auto r = ir::evaluate_lanes(std::bit_cast<ir::LaneOp>(io[2]), io[0], io[1], {}, mxcsr);
    _mm_setcsr(mxcsr);
    io[0].u64[0] = raw_from_nzcv(static_cast<uint32_t>(r.u64[0]));
}

void crc32_ieee(guest::VcpuHeader*, ir::V128* io, uint32_t arg) {
    uint32_t crc = static_cast<uint32_t>(io[0].u64[0]);
    for (unsigned i = 0; i < 1u << arg; ++i) {
        crc ^= static_cast<uint8_t>(io[1].u64[0] >> 8 * i);
        for (unsigned k = 0; k < 8; ++k) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    io[0].u64[0] = crc;
}

void carry_less(guest::VcpuHeader*, ir::V128* io, uint32_t) {
    const uint64_t a = io[0].u64[0], b = io[1].u64[0];
    uint64_t lo = 0, hi = 0;
    for (unsigned i = 0; i < 64; ++i) {
        if (!(b >> i & 1)) continue;
        lo ^= a << i;
        if (i != 0) hi ^= a >> (64 - i);
    }
    io[0].u64 = {lo, hi};
}

}  // namespace myna::x64::rt
