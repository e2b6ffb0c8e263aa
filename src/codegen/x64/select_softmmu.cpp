// Guest memory in system mode: the inline probe of the softmmu TLB (mem/softmmu.h).
//
//   t1 = tlb + table + ((va >> 12) & 255) * 32      va & (page | size - 1) == entry.tag ?
//        ├ yes: va += entry.addend ▶ the host address, then the access as in user mode
//        └ no:  cold: softmmu_load or _store does it all (devices, page crossing, faults) and comes back behind the
//               access; for atomics softmmu_atomic gives the host address, and the access follows
//
// The slow path's stub has the whole guest state in memory when the helper runs, so a fault leaves from there.
#include <cstddef>

#include "codegen/x64/selector.h"
#include "mem/softmmu.h"

namespace myna::x64 {

using ir::MemAttr;

namespace {

/// What the slow path does, packed into Cold::data[0].
struct SlowAccess {
    uint8_t addr;         // GPR with the virtual address; atomics: gets the host address
    uint8_t reg;          // Reg of the value stored or loaded, kNoReg: constant in data[1]
    uint8_t helper;       // RtHelper
    bool wide;            // a load's result has 64 bits; of one that has 32 the register is zero above them
    uint32_t arg;
};

uint64_t pack(const SlowAccess& s) {
    uint64_t v = 0;
    static_assert(sizeof s == sizeof v);
    std::memcpy(&v, &s, sizeof s);
    return v;
}

}  // namespace

/// Calls the helper with everything saved and hdr.pc right; io[0]: value, io[1]: address.
void Selector::emit_slow_access(const Cold& c) {
    SlowAccess s{};
    std::memcpy(&s, &c.data[0], sizeof s);
    const Mem value = vscratch_mem(0);
    const auto helper = static_cast<RtHelper>(s.helper);
    const bool stores = helper == RtHelper::mmu_store || helper == RtHelper::mmu_store16;
    if (stores) {
        if (s.reg == kNoReg) {
            e.mov_mi(false, value, static_cast<int32_t>(c.data[1]));
            e.mov_mi(false, value.plus(4), static_cast<int32_t>(c.data[1] >> 32));
        } else if (s.reg < 16) {
            e.mov_mr(true, value, static_cast<Gpr>(s.reg));
        } else {
            e.store128a(value, static_cast<Xmm>(s.reg - 16));
        }
    }
    e.mov_mr(true, vscratch_mem(1), static_cast<Gpr>(s.addr));
    e.mov_mi(false, MYNA_HDR(pc), static_cast<int32_t>(c.data[2]));
    e.mov_mi(false, MYNA_HDR(pc).plus(4), static_cast<int32_t>(c.data[2] >> 32));
    e.put8(0x68), e.put32(s.arg);  // push
    e.put8(0x68), e.put32(s.helper);
    call_stub(stubs_.mmu);
    e.lea(true, Gpr::rsp, Mem::at(Gpr::rsp, 16));
    if (helper == RtHelper::mmu_atomic) {
        e.mov_rm(true, static_cast<Gpr>(s.addr), value);
    } else if (!stores && s.reg != kNoReg) {
        if (s.reg < 16)
            e.mov_rm(s.wide, static_cast<Gpr>(s.reg), value);
        else
            e.load128a(static_cast<Xmm>(s.reg - 16), value);
    }
    e.jmp_to(c.back);
}

/// Probes for an access of instruction `n`; the operand of the host address, and the cold path's index in cold_. `keep`:
/// the register of the value to store, which may be part of the address too.
Mem Selector::probe(Mem m, const Inst& n, bool write, size_t* cold, Reg keep) {
    const unsigned size = n.sub & MemAttr::kSizeMask;
    Mem plain = m;
    plain.gs = false;
    const Gpr va = ra.temp();
    e.lea(true, va, plain);
    if (m.base != Mem::kNone) ra.release(static_cast<Gpr>(m.base));
    if (m.index != Mem::kNone) ra.release(static_cast<Gpr>(m.index));
    if (keep < 16) ra.lock(static_cast<Gpr>(keep));
    const Gpr entry = ra.temp();
    const Gpr tag = ra.temp();
    const auto table = static_cast<int32_t>(f_->mmu_index * sizeof(mem::SoftTlb::tables[0]));
    e.mov_rr(false, entry, va);
    e.shift_ri(Shift::shr, false, entry, 12 - 5);
    e.alu_ri(Alu::and_, false, entry, static_cast<int32_t>((mem::kTlbEntries - 1) * sizeof(mem::TlbEntry)));
    e.alu_rm(Alu::add, true, entry, MYNA_HDR(tlb));
    e.mov_rr(true, tag, va);
    e.alu_ri(Alu::and_, true, tag, static_cast<int32_t>(0xfffff000u | ((1u << size) - 1)));
    e.alu_rm(Alu::cmp, true, tag, Mem::at(entry, table + static_cast<int32_t>(write ? offsetof(mem::TlbEntry, write) : offsetof(mem::TlbEntry, read))));
    *cold = cold_.size();
    Cold& c = cold_if(Cc::ne, [](Selector& s, const Cold& self) { s.emit_slow_access(self); });
    c.data[2] = pc_;
    e.alu_rm(Alu::add, true, va, Mem::at(entry, table + static_cast<int32_t>(offsetof(mem::TlbEntry, addend))));
    ra.release(entry);
    ra.release(tag);
    SlowAccess s{};
    s.addr = static_cast<uint8_t>(va);
    s.arg = n.sub | uint32_t{f_->mmu_index} << 8 | (n.op == Op::kLl ? mem::kAtomicReads : 0);
    s.helper = static_cast<uint8_t>(RtHelper::mmu_atomic);
    s.reg = kNoReg;
    c.data[0] = pack(s);
    c.back = e.offset();
    return Mem::at(va);
}

void Selector::softmmu_load(Ref i) {
    const Inst& n = inst(i);
    size_t cold = 0;
    // A register for the result is freed before the slow path branches off: a spill after that would be skipped by it.
    if (in_xmm(n.type)) ra.release(ra.temp_x());
    const Mem m = probe(address(n.a, n.imm), n, false, &cold);
    load_from(i, m);
    Cold& c = cold_[cold];
    SlowAccess s{};
    std::memcpy(&s, &c.data[0], sizeof s);
    s.reg = ra.where(i);
    s.wide = n.type == Type::kI64;
    s.helper = static_cast<uint8_t>((n.sub & MemAttr::kSizeMask) == 4 ? RtHelper::mmu_load16 : RtHelper::mmu_load);
    c.data[0] = pack(s);
    c.back = e.offset();
}

void Selector::softmmu_store(Ref i) {
    const Inst& n = inst(i);
    const Ref v = values_[n.b].root;
    uint64_t k = 0;
    const bool constant = ra.is_const(n.b, &k) && values_[v].reg == kNoReg;
    Reg reg = kNoReg;
    if (!constant) reg = in_xmm(values_[v].type) ? reg_of(ra.use_x(v)) : reg_of(ra.use(v));
    size_t cold = 0;
    const Mem m = probe(address(n.a, n.imm), n, true, &cold, reg);
    store_to(i, m);
    Cold& c = cold_[cold];
    SlowAccess s{};
    std::memcpy(&s, &c.data[0], sizeof s);
    s.reg = reg;
    s.helper = static_cast<uint8_t>((n.sub & MemAttr::kSizeMask) == 4 ? RtHelper::mmu_store16 : RtHelper::mmu_store);
    c.data[0] = pack(s);
    c.data[1] = k;
    c.back = e.offset();
}

}  // namespace myna::x64

namespace myna::x64::rt {

void mmu_load(guest::VcpuHeader* hdr, ir::V128* io, uint32_t arg) {
    io[0].u64 = {mem::softmmu_load(hdr, io[1].u64[0], 0, 0, arg), 0};
}
void mmu_store(guest::VcpuHeader* hdr, ir::V128* io, uint32_t arg) {
    mem::softmmu_store(hdr, io[1].u64[0], io[0].u64[0], 0, arg);
}
void mmu_load16(guest::VcpuHeader* hdr, ir::V128* io, uint32_t arg) { mem::softmmu_load16(hdr, io[1].u64[0], 0, 0, arg); }
void mmu_store16(guest::VcpuHeader* hdr, ir::V128* io, uint32_t arg) { mem::softmmu_store16(hdr, io[1].u64[0], 0, 0, arg); }
void mmu_atomic(guest::VcpuHeader* hdr, ir::V128* io, uint32_t arg) {
    io[0].u64[0] = mem::softmmu_atomic(hdr, io[1].u64[0], 0, 0, arg);
}

}  // namespace myna::x64::rt
