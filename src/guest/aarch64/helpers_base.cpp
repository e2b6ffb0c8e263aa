// Functions that translated code calls for what is not worth inline code: counters, floating-point control and status.
//
// While a helper runs, the guest's MXCSR is in force: its sticky flags are part of FPSR.
#include <sys/random.h>
#include <xmmintrin.h>

#include <ctime>

#include "guest/aarch64/fpcr.h"
#include "guest/aarch64/helpers.h"

namespace myna::guest::aarch64::helper {
namespace {

State& state_of(VcpuHeader* hdr) { return *reinterpret_cast<State*>(hdr); }

}  // namespace

uint64_t counter(VcpuHeader*, uint64_t, uint64_t, uint64_t, uint32_t) {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec);
}

uint64_t read_fpsr(VcpuHeader* hdr, uint64_t, uint64_t, uint64_t, uint32_t) {
    hdr->mxcsr = _mm_getcsr();
    return fpsr(state_of(hdr));
}

uint64_t write_fpsr(VcpuHeader* hdr, uint64_t value, uint64_t, uint64_t, uint32_t) {
    hdr->mxcsr = _mm_getcsr();
    set_fpsr(state_of(hdr), static_cast<uint32_t>(value));
    _mm_setcsr(hdr->mxcsr);
    return 0;
}

uint64_t write_fpcr(VcpuHeader* hdr, uint64_t value, uint64_t, uint64_t, uint32_t) {
    hdr->mxcsr = _mm_getcsr();
    const uint32_t old_mode = hdr->mode;
    set_fpcr(state_of(hdr), static_cast<uint32_t>(value));
    _mm_setcsr(hdr->mxcsr);
    if (hdr->mode != old_mode) {
        hdr->exit_reason = static_cast<uint32_t>(ir::ExitReason::kMode);
        hdr->pc += 4;
    }
    return 0;
}

uint64_t random(VcpuHeader* hdr, uint64_t, uint64_t, uint64_t, uint32_t) {
    uint64_t value = 0;
    const bool ok = getrandom(&value, sizeof value, 0) == static_cast<ssize_t>(sizeof value);
    state_of(hdr).nzcv = ok ? 0 : uint32_t{1} << 30;
    return ok ? value : 0;
}

uint64_t clear_exclusive(VcpuHeader* hdr, uint64_t, uint64_t, uint64_t, uint32_t) {
    hdr->excl_addr = kNoExclusive;
    return 0;
}

uint64_t ic_ivau(VcpuHeader* hdr, uint64_t address, uint64_t, uint64_t, uint32_t) {
    hdr->trap_arg = address & ~uint64_t{63};
    hdr->trap_arg2 = 64;
    hdr->exit_reason = static_cast<uint32_t>(ir::ExitReason::kIcache);
    hdr->pc += 4;
    return 0;
}

}  // namespace myna::guest::aarch64::helper
