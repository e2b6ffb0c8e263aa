// Exceptions to EL1 and back, and the helpers behind MSR, MRS, ERET and TLBI at EL1.
#include "guest/aarch64/system.h"

#include "guest/aarch64/aarch64.h"
#include "guest/aarch64/helpers.h"
#include "guest/aarch64/sysreg.h"

namespace myna::guest::aarch64 {
namespace {

constexpr uint32_t kModeMask = Mode::kEl1 | Mode::kMmuOn;

/// The stack pointer in force: 0 SP_EL0, 1 SP_EL1.
unsigned sp_index(const State& s) { return s.el == 1 && s.sys->spsel != 0 ? 1 : 0; }

/// Changes exception level and SPSel; the stack pointers follow, the mode bits too.
void enter_level(State& s, uint64_t el, uint64_t spsel) {
    s.sys->sp_el[sp_index(s)] = s.sp;
    s.el = el;
    s.sys->spsel = spsel;
    s.sp = s.sys->sp_el[sp_index(s)];
    s.hdr.mode = (s.hdr.mode & ~kModeMask) | system_mode_bits(s);
}

State& state_of(VcpuHeader* hdr) { return *reinterpret_cast<State*>(hdr); }

uint64_t* register_of(State& s, uint32_t reg) {
    SysRegs& sys = *s.sys;
    switch (reg) {
        case kSctlrEl1: return &sys.sctlr;
        case kCpacrEl1: return &sys.cpacr;
        case kTtbr0El1: return &sys.ttbr[0];
        case kTtbr1El1: return &sys.ttbr[1];
        case kTcrEl1: return &sys.tcr;
        case kMairEl1: return &sys.mair;
        case kVbarEl1: return &sys.vbar;
        case kEsrEl1: return &sys.esr;
        case kFarEl1: return &sys.far;
        case kElrEl1: return &sys.elr;
        case kSpsrEl1: return &sys.spsr;
        case kTpidrEl1: return &sys.tpidr_el1;
        case kContextidrEl1: return &sys.contextidr;
        case kDaif: return &sys.daif;
        case kSpEl0: return sp_index(s) == 0 ? &s.sp : &sys.sp_el[0];
        default: return nullptr;
    }
}

void flush_tlb(VcpuHeader* hdr) {
    if (hdr->tlb != nullptr) static_cast<mem::SoftTlb*>(hdr->tlb)->flush();
}

void leave(VcpuHeader* hdr, uint64_t pc) {
    hdr->exit_reason = static_cast<uint32_t>(ir::ExitReason::kMode);
    hdr->pc = pc;
}

}  // namespace

uint32_t system_mode_bits(const State& s) noexcept {
    if (s.sys == nullptr) return 0;
    return (s.el == 1 ? Mode::kEl1 : 0) | ((s.sys->sctlr & 1) != 0 ? Mode::kMmuOn : 0);
}

void reset_system(State& s, SysRegs& sys) {
    s.sys = &sys;
    s.el = 1;
    s.hdr.mode = kArch.mode_of(&s);
}

void take_exception(State& s, uint32_t esr, uint64_t return_pc) {
    SysRegs& sys = *s.sys;
    const bool lower = s.el == 0;
    const uint64_t offset = lower ? 0x400 : sys.spsel != 0 ? 0x200 : 0;
    sys.spsr = s.nzcv | sys.daif | (s.dit_ssbs & (1u << 24 | 1u << 12)) | s.el << 2 | (s.el == 1 ? sys.spsel : 0);
    sys.elr = return_pc;
    sys.esr = esr;
    sys.daif = 0xf << 6;
    enter_level(s, 1, 1);
    s.hdr.excl_addr = kNoExclusive;
    s.hdr.pc = sys.vbar + offset;
}

namespace helper {

uint64_t sys_read(VcpuHeader* hdr, uint64_t, uint64_t, uint64_t, uint32_t reg) {
    State& s = state_of(hdr);
    if (reg == kCurrentEl) return s.el << 2;
    if (reg == kSpSel) return s.sys->spsel;
    const uint64_t* r = register_of(s, reg);
    return r != nullptr ? *r : 0;
}

uint64_t sys_write(VcpuHeader* hdr, uint64_t value, uint64_t, uint64_t, uint32_t reg) {
    State& s = state_of(hdr);
    if (reg == kSpSel) {
        enter_level(s, s.el, value & 1);
        return 0;
    }
    if (uint64_t* r = register_of(s, reg)) *r = reg == kDaif ? value & 0x3c0 : value;
    switch (reg) {
        case kSctlrEl1: case kTcrEl1: case kTtbr0El1: case kTtbr1El1:
            flush_tlb(hdr);
            hdr->mode = (hdr->mode & ~kModeMask) | system_mode_bits(s);
            leave(hdr, hdr->pc + 4);
            break;
        default: break;
    }
    return 0;
}

uint64_t exception_return(VcpuHeader* hdr, uint64_t nzcv, uint64_t, uint64_t, uint32_t) {
    State& s = state_of(hdr);
    SysRegs& sys = *s.sys;
    (void)nzcv;
    sys.daif = sys.spsr & 0x3c0;
    s.dit_ssbs = sys.spsr & (1u << 24 | 1u << 12);
    enter_level(s, sys.spsr >> 2 & 1, sys.spsr & 1);
    hdr->excl_addr = kNoExclusive;
    leave(hdr, sys.elr);
    return 0;
}

uint64_t tlb_invalidate(VcpuHeader* hdr, uint64_t, uint64_t, uint64_t, uint32_t) {
    flush_tlb(hdr);
    leave(hdr, hdr->pc + 4);
    return 0;
}

}  // namespace helper

}  // namespace myna::guest::aarch64
