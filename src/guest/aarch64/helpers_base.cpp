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

namespace {
/// The first look at FPSR: blocks from here on are made to miss no underflow (docs/floating-point.md). True: the block
/// is left, with all the instruction does done.
bool first_use_of_fpsr(VcpuHeader* hdr) {
    State& s = state_of(hdr);
    if (s.fpsr_watched) return false;
    s.fpsr_watched = 1;
    hdr->mode |= Mode::kUnderflow;
    hdr->exit_reason = static_cast<uint32_t>(ir::ExitReason::kMode);
    hdr->pc += 4;
    return true;
}
}  // namespace

/// arg: the number of the register that gets it, as the block may be left before it is written.
uint64_t read_fpsr(VcpuHeader* hdr, uint64_t, uint64_t, uint64_t, uint32_t rt) {
    hdr->mxcsr = _mm_getcsr();
    State& s = state_of(hdr);
    const uint32_t value = fpsr(s);
    if (first_use_of_fpsr(hdr) && rt < s.x.size()) s.x[rt] = value;
    return value;
}

uint64_t write_fpsr(VcpuHeader* hdr, uint64_t value, uint64_t, uint64_t, uint32_t) {
    hdr->mxcsr = _mm_getcsr();
    set_fpsr(state_of(hdr), static_cast<uint32_t>(value));
    _mm_setcsr(hdr->mxcsr);
    first_use_of_fpsr(hdr);
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
