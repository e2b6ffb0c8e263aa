// Traps and returns, the privileged registers, and the helpers behind CSR instructions, SRET, MRET and SFENCE.VMA.
#include "guest/riscv64/system.h"

#include <atomic>

#include "guest/riscv64/helpers.h"
#include "guest/riscv64/lifter.h"
#include "guest/riscv64/riscv64.h"

namespace myna::guest::riscv64 {

namespace {

constexpr uint32_t kSystemMask = Mode::kPrivMask | Mode::kDataMask;

State& state_of(VcpuHeader* hdr) { return *reinterpret_cast<State*>(hdr); }

void flush_tlb(VcpuHeader& hdr) {
    if (hdr.tlb != nullptr) static_cast<mem::SoftTlb*>(hdr.tlb)->flush();
}

void set_privilege(State& s, uint64_t priv) {
    s.priv = priv;
    s.hdr.mode = (s.hdr.mode & ~kSystemMask) | system_mode_bits(s);
}

void leave(VcpuHeader& hdr, uint64_t pc) {
    hdr.exit_reason = static_cast<uint32_t>(ir::ExitReason::kMode);
    hdr.pc = pc;
}

void illegal(VcpuHeader& hdr) {
    hdr.exit_reason = static_cast<uint32_t>(ir::ExitReason::kException);
    hdr.trap_arg = Cause::kIllegal;
}

/// Storage of a register that is plain; nullptr: not plain, or not there.
uint64_t* plain(SysRegs& r, unsigned csr) {
    switch (csr) {
        case 0x105: return &r.stvec;
        case 0x106: return &r.scounteren;
        case 0x140: return &r.sscratch;
        case 0x141: return &r.sepc;
        case 0x142: return &r.scause;
        case 0x143: return &r.stval;
        case 0x180: return &r.satp;
        case 0x302: return &r.medeleg;
        case 0x303: return &r.mideleg;
        case 0x304: return &r.mie;
        case 0x305: return &r.mtvec;
        case 0x306: return &r.mcounteren;
        case 0x340: return &r.mscratch;
        case 0x341: return &r.mepc;
        case 0x342: return &r.mcause;
        case 0x343: return &r.mtval;
        case 0x344: return &r.mip;
        case 0x3a0: return &r.pmpcfg[0];
        case 0x3a2: return &r.pmpcfg[1];
        default: return csr >= 0x3b0 && csr <= 0x3bf ? &r.pmpaddr[csr - 0x3b0] : nullptr;
    }
}

/// What of a written value is kept.
uint64_t kept(unsigned csr, uint64_t old, uint64_t value) {
    constexpr uint64_t kWritable = Status::kSie | Status::kMie | Status::kSpie | Status::kMpie | Status::kSpp | Status::kMpp | Status::kFs |
                                   Status::kMprv | Status::kSum | Status::kMxr;
    constexpr uint64_t kDelegable = 0xb3ff;  // not ECALL from M, nor what is reserved
    switch (csr) {
        case 0x100: return (old & ~(Status::kSupervisorView & kWritable)) | (value & Status::kSupervisorView & kWritable);
        case 0x300:
            if ((value & Status::kMpp) == uint64_t{2} << Status::kMppShift) value = (value & ~Status::kMpp) | (old & Status::kMpp);
            return (old & ~kWritable) | (value & kWritable);
        case 0x141: case 0x341: return value & ~uint64_t{1};
        case 0x180: return value >> 60 == 0 || value >> 60 == 8 ? value : old;  // Bare, Sv39
        case 0x302: return value & kDelegable & ~uint64_t{1 << 11};
        default: return value;
    }
}

}  // namespace

uint32_t system_mode_bits(const State& s) noexcept {
    if (s.sys == nullptr) return 0;
    const uint64_t status = s.sys->mstatus;
    uint64_t data = s.priv;
    if (s.priv == kMachine && (status & Status::kMprv) != 0) data = (status & Status::kMpp) >> Status::kMppShift;
    const uint32_t index = data == kUser ? 0 : data == kMachine ? 3 : (status & Status::kSum) != 0 ? 2 : 1;
    return static_cast<uint32_t>(s.priv) << Mode::kPrivShift | index << Mode::kDataShift | Mode::kSystem;
}

unsigned data_index(uint32_t mode) noexcept { return (mode & Mode::kDataMask) >> Mode::kDataShift; }
unsigned fetch_index(const State& s) noexcept { return s.priv == kUser ? 0 : s.priv == kSupervisor ? 1 : 3; }

void reset_system(State& s, SysRegs& sys) {
    s.sys = &sys;
    s.priv = kMachine;
    s.hdr.mode = kArch.mode_of(&s);
}

void take_trap(State& s, uint32_t cause, uint64_t at, uint64_t tval) {
    SysRegs& r = *s.sys;
    uint64_t& st = r.mstatus;
    s.hdr.excl_addr = kNoExclusive;
    if (s.priv != kMachine && (r.medeleg >> cause & 1) != 0) {
        r.scause = cause, r.sepc = at, r.stval = tval;
        st = (st & ~(Status::kSpie | Status::kSpp)) | ((st & Status::kSie) != 0 ? Status::kSpie : 0) | (s.priv == kSupervisor ? Status::kSpp : 0);
        st &= ~Status::kSie;
        s.hdr.pc = r.stvec & ~uint64_t{3};
        set_privilege(s, kSupervisor);
    } else {
        r.mcause = cause, r.mepc = at, r.mtval = tval;
        st = (st & ~(Status::kMpie | Status::kMpp)) | ((st & Status::kMie) != 0 ? Status::kMpie : 0) | s.priv << Status::kMppShift;
        st &= ~Status::kMie;
        s.hdr.pc = r.mtvec & ~uint64_t{3};
        set_privilege(s, kMachine);
    }
}

namespace helper {

/// A CSR instruction on a register that translated code does not know. a: the source; arg: csr | rd << 12 | op << 17 |
/// writes << 19. rd is written here, as the block may be left.
uint64_t csr_access(VcpuHeader* hdr, uint64_t source, uint64_t, uint64_t, uint32_t arg) {
    State& s = state_of(hdr);
    SysRegs& r = *s.sys;
    const unsigned csr = arg & 0xfff, rd = arg >> 12 & 31, op = arg >> 17 & 3;
    const bool writes = arg >> 19 & 1;
    if (s.priv < (csr >> 8 & 3) || (writes && csr >> 10 == 3)) return illegal(*hdr), 0;
    uint64_t* reg = plain(r, csr);
    uint64_t old = 0;
    switch (csr) {
        case 0x100: case 0x300:
            reg = &r.mstatus;
            old = r.mstatus | ((r.mstatus & Status::kFs) == Status::kFs ? Status::kSd : 0);
            if (csr == 0x100) old &= Status::kSupervisorView;
            break;
        case 0x104: old = r.mie & r.mideleg; break;      // sie, sip: no interrupts yet
        case 0x144: old = r.mip & r.mideleg; break;
        case 0x301: old = uint64_t{2} << 62 | 0x14112d; break;  // misa: RV64ACDFIMSU
        case 0xf11: case 0xf12: case 0xf13: case 0xf14: break;  // vendor, architecture, implementation, hart
        default:
            if (reg == nullptr) return illegal(*hdr), 0;
            old = *reg;
    }
    if (writes && reg != nullptr) {
        const uint64_t value = op == 1 ? source : op == 2 ? old | source : old & ~source;
        *reg = kept(csr, *reg, value);
        if (csr == 0x100 || csr == 0x300 || csr == 0x180) {
            // MXR and what a table holds of it; ASIDs are not kept apart.
            flush_tlb(*hdr);
            set_privilege(s, s.priv);
            leave(*hdr, hdr->pc + 4);
        }
    }
    if (rd != 0) s.x[rd] = old;
    return 0;
}

/// SRET (arg 1) and MRET (3).
uint64_t trap_return(VcpuHeader* hdr, uint64_t, uint64_t, uint64_t, uint32_t from) {
    State& s = state_of(hdr);
    SysRegs& r = *s.sys;
    if (s.priv < from) return illegal(*hdr), 0;
    uint64_t& st = r.mstatus;
    uint64_t to;
    if (from == kMachine) {
        to = (st & Status::kMpp) >> Status::kMppShift;
        st = (st & ~Status::kMie) | ((st & Status::kMpie) != 0 ? Status::kMie : 0) | Status::kMpie;
        st &= ~Status::kMpp;
        leave(*hdr, r.mepc);
    } else {
        to = (st & Status::kSpp) != 0 ? kSupervisor : kUser;
        st = (st & ~Status::kSie) | ((st & Status::kSpie) != 0 ? Status::kSie : 0) | Status::kSpie;
        st &= ~Status::kSpp;
        leave(*hdr, r.sepc);
    }
    if (to != kMachine) st &= ~Status::kMprv;
    hdr->excl_addr = kNoExclusive;
    set_privilege(s, to);
    return 0;
}

uint64_t fence_vma(VcpuHeader* hdr, uint64_t, uint64_t, uint64_t, uint32_t) {
    State& s = state_of(hdr);
    if (s.priv == kUser) return illegal(*hdr), 0;
    flush_tlb(*hdr);
    leave(*hdr, hdr->pc + 4);
    return 0;
}

}  // namespace helper

bool Sv39::translate(VcpuHeader& hdr, uint64_t va, mem::Access access, unsigned mmu_index, mem::Translation& out) {
    State& s = state_of(&hdr);
    SysRegs& r = *s.sys;
    constexpr uint64_t kV = 1, kR = 2, kW = 4, kX = 8, kU = 16, kA = 64, kD = 128;
    if (mmu_index == 3 || r.satp >> 60 == 0) {
        out = {va, true, true, true};
        return true;
    }
    const auto fault = [&] {
        r.tval = va;
        hdr.trap_arg = access == mem::Access::kFetch ? Cause::kFetchPage : access == mem::Access::kWrite ? Cause::kStorePage : Cause::kLoadPage;
        return false;
    };
    const auto signed_va = static_cast<int64_t>(va);
    if (signed_va >> 38 != 0 && signed_va >> 38 != -1) return fault();
    auto& memory = *static_cast<mem::SoftTlb*>(hdr.tlb)->memory;
    uint64_t table = (r.satp & 0xfffffffffff) << 12;
    for (int level = 2; level >= 0; --level) {
        const unsigned shift = 12 + 9 * static_cast<unsigned>(level);
        uint8_t* entry = memory.ram(table + (va >> shift & 511) * 8, 8);
        if (entry == nullptr) return fault();  // an access fault, strictly
        std::atomic_ref<uint64_t> pte_ref(*reinterpret_cast<uint64_t*>(entry));
        uint64_t pte = pte_ref.load();
        if ((pte & kV) == 0 || (pte & (kR | kW)) == kW || pte >> 54 != 0) return fault();
        if ((pte & (kR | kX)) == 0) {
            if ((pte & (kU | kA | kD)) != 0) return fault();
            table = (pte >> 10 & 0xfffffffffff) << 12;
            continue;
        }
        const bool user_page = (pte & kU) != 0;
        const bool mode_ok = mmu_index == 0 ? user_page : !user_page || (mmu_index == 2 && access != mem::Access::kFetch);
        const uint64_t low = (uint64_t{1} << shift) - 1;
        if (!mode_ok || ((pte >> 10 << 12) & low & ~uint64_t{0xfff}) != 0) return fault();
        const bool read = (pte & kR) != 0 || ((r.mstatus & Status::kMxr) != 0 && (pte & kX) != 0);
        const bool allowed = access == mem::Access::kRead ? read : access == mem::Access::kWrite ? (pte & kW) != 0 : (pte & kX) != 0;
        if (!allowed) return fault();
        const uint64_t wanted = kA | (access == mem::Access::kWrite ? kD : 0);
        if ((pte & wanted) != wanted) pte = pte_ref.fetch_or(wanted) | wanted;
        out.phys = ((pte >> 10 & 0xfffffffffff) << 12 & ~low) | (va & low);
        out.read = read;
        out.write = (pte & kW) != 0 && (pte & kD) != 0;  // the first write sets D
        out.exec = (pte & kX) != 0 && mmu_index != 2;
        return true;
    }
    return fault();
}

}  // namespace myna::guest::riscv64
