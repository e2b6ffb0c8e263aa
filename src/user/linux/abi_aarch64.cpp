// The Linux ABI of aarch64: registers, signal frame (arch/arm64/kernel/signal.c), HWCAP, vDSO.
//
//   sp ─▶ siginfo 128 │ ucontext: flags link stack mask … 176 │ sigcontext: fault_address x0–x30 sp pc pstate │ records │
//   x29 ─▶ frame record {x29, x30} above it                                      records: fpsimd, esr, end ──┘
#include <sys/mman.h>

#include <array>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/bits.h"
#include "guest/aarch64/aarch64.h"
#include "guest/aarch64/fpcr.h"
#include "guest/aarch64/state.h"
#include "guest/aarch64/sysreg.h"
#include "user/linux/abi_list.h"
#include "user/linux/thread.h"

namespace myna::user {

namespace {

using guest::aarch64::State;

struct alignas(16) SigContext {
    uint64_t fault_address;
    uint64_t regs[31];
    uint64_t sp, pc, pstate;
    alignas(16) uint8_t records[4096];
};
using UContext = GenericUContext<SigContext>;
using SigFrame = GenericSigFrame<SigContext>;
static_assert(offsetof(UContext, mcontext) == 176 && sizeof(UContext) == 4560 && sizeof(SigFrame) == 4688);

struct RecordHead {
    uint32_t magic, size;
};
struct FpsimdRecord {
    static constexpr uint32_t kMagic = 0x46508001;
    RecordHead head;
    uint32_t fpsr, fpcr;
    ir::V128 v[32];
};
static_assert(sizeof(FpsimdRecord) == 528);
struct EsrRecord {
    static constexpr uint32_t kMagic = 0x45535201;
    RecordHead head;
    uint64_t esr;
};
struct FrameRecord {
    uint64_t fp, lr;
};

constexpr uint64_t kBtypeCall = 2u << 10;   // PSTATE.BTYPE after BLR

State& state_of(Thread& t) { return *reinterpret_cast<State*>(t.state); }

void write_fp_control(State& s, uint32_t fpsr, uint32_t fpcr) {
    const uint32_t mode = s.hdr.mode;
    guest::aarch64::set_fpcr(s, fpcr);
    guest::aarch64::set_fpsr(s, fpsr);
    s.hdr.mode = mode;  // the Vcpu's, until state_changed()
}

uint64_t pstate_of(const State& s) {
    return (s.nzcv & 0xf0000000) | uint64_t{s.btype & 3} << 10 | (s.dit_ssbs & (1u << 12 | 1u << 24));
}

int push_frame(Thread& t, const SignalDelivery& d) {
    State& s = state_of(t);
    const uint64_t record_at = align_down(d.sp, 16) - sizeof(FrameRecord);
    const uint64_t at = align_down(record_at - sizeof(SigFrame), 16);
    if (t.memory.put(record_at, FrameRecord{s.x[29], s.x[30]}) != 0) return -EFAULT;

    // Written in pieces: most of the 4096 bytes of records stays as it is.
    struct Head {
        uint8_t info[128];
        uint64_t flags, link;
        AltStack stack;
        uint64_t mask;
        uint8_t unused[120 + 8];
        uint64_t fault_address, regs[31], sp, pc, pstate, pad;
        FpsimdRecord fp;
        EsrRecord esr;
        RecordHead end;
    } f{};
    static_assert(offsetof(Head, fault_address) == 128 + 176 && offsetof(Head, fp) == 128 + 176 + 288);
    std::memcpy(f.info, d.info, 128);
    f.stack = d.saved_stack;
    f.mask = d.saved_mask;
    f.fault_address = d.fault_address;
    std::memcpy(f.regs, s.x.data(), sizeof f.regs);
    f.sp = s.sp;
    f.pc = s.hdr.pc;
    f.pstate = pstate_of(s);
    f.fp.head = {FpsimdRecord::kMagic, sizeof(FpsimdRecord)};
    f.fp.fpsr = guest::aarch64::fpsr(s);
    f.fp.fpcr = s.fpcr;
    std::memcpy(f.fp.v, s.v.data(), sizeof f.fp.v);
    if (d.fault_code != 0) f.esr = {{EsrRecord::kMagic, sizeof(EsrRecord)}, d.fault_code};
    if (t.memory.put(at, f) != 0) return -EFAULT;

    s.x[0] = static_cast<uint64_t>(d.info->si_signo);
    s.x[1] = at;
    s.x[2] = at + offsetof(SigFrame, uc);
    s.x[29] = record_at;
    s.x[30] = d.restorer != 0 ? d.restorer : t.process.vdso_sigreturn;
    s.sp = at;
    s.hdr.pc = d.handler;
    s.btype = kBtypeCall >> 10;
    s.hdr.excl_addr = guest::kNoExclusive;
    return 0;
}

int pop_frame(Thread& t, SignalReturn& r) {
    State& s = state_of(t);
    const uint64_t at = s.sp;
    SigFrame f;
    if ((at & 15) != 0 || t.memory.get(at, f) != 0) return -EFAULT;
    const SigContext& c = f.uc.mcontext;
    bool fp_seen = false;
    for (size_t off = 0; off + sizeof(RecordHead) <= sizeof c.records;) {
        RecordHead head;
        std::memcpy(&head, c.records + off, sizeof head);
        if (head.magic == 0 && head.size == 0) break;
        if (head.size < sizeof head || (head.size & 15) != 0 || head.size > sizeof c.records - off) return -EFAULT;
        if (head.magic == FpsimdRecord::kMagic) {
            if (fp_seen || head.size != sizeof(FpsimdRecord)) return -EFAULT;
            FpsimdRecord fp;
            std::memcpy(&fp, c.records + off, sizeof fp);
            std::memcpy(s.v.data(), fp.v, sizeof fp.v);
            write_fp_control(s, fp.fpsr, fp.fpcr);
            fp_seen = true;
        }
        off += head.size;
    }
    if (!fp_seen) return -EFAULT;
    std::memcpy(s.x.data(), c.regs, sizeof c.regs);
    s.sp = c.sp;
    s.hdr.pc = c.pc;
    s.nzcv = static_cast<uint32_t>(c.pstate & 0xf0000000);
    s.btype = static_cast<uint32_t>(c.pstate >> 10 & 3);
    s.dit_ssbs = c.pstate & (1u << 12 | 1u << 24);
    s.hdr.excl_addr = guest::kNoExclusive;
    r.mask = f.uc.mask;
    r.stack = f.uc.stack;
    return 0;
}

void start_thread(Thread& t, uint64_t entry, uint64_t sp) {
    State& s = state_of(t);
    s.hdr.pc = entry;
    s.sp = sp;
}

uint64_t hwcap(const guest::CpuConfig& cpu, int which) {
    return which == 1 ? guest::aarch64::hwcap(cpu) : guest::aarch64::hwcap2(cpu);
}

struct UserRegs {  // struct user_pt_regs
    uint64_t regs[31], sp, pc, pstate;
};
struct FpRegs {  // struct user_fpsimd_state
    ir::V128 v[32];
    uint32_t fpsr, fpcr, pad[2];
};
static_assert(sizeof(UserRegs) == 272 && sizeof(FpRegs) == 528);

// Register sets by their note types (include/uapi/linux/elf.h).
enum : uint32_t { kNtPrstatus = 1, kNtFpregset = 2, kNtTls = 0x401, kNtHwBreak = 0x402, kNtHwWatch = 0x403, kNtSystemCall = 0x404, kNtPacMask = 0x406 };

template <typename T>
std::vector<uint8_t> bytes_of(const T& v) {
    std::vector<uint8_t> out(sizeof v);
    std::memcpy(out.data(), &v, sizeof v);
    return out;
}

std::vector<uint8_t> get_regset(const void* state, uint32_t type) {
    const State& s = *static_cast<const State*>(state);
    switch (type) {
        case kNtPrstatus: {
            UserRegs r;
            std::memcpy(r.regs, s.x.data(), sizeof r.regs);
            r.sp = s.sp;
            r.pc = s.hdr.pc;
            r.pstate = pstate_of(s);
            return bytes_of(r);
        }
        case kNtFpregset: {
            FpRegs r{};
            std::memcpy(r.v, s.v.data(), sizeof r.v);
            r.fpsr = guest::aarch64::fpsr(s);
            r.fpcr = s.fpcr;
            return bytes_of(r);
        }
        case kNtTls: return bytes_of(s.tpidr_el0);
        // No debug registers: a debugger steps instead.
        case kNtHwBreak: case kNtHwWatch: return bytes_of(std::array<uint32_t, 2>{0x600, 0});
        case kNtSystemCall: return bytes_of(static_cast<uint32_t>(s.x[8]));
        case kNtPacMask: return bytes_of(std::array<uint64_t, 2>{0x7f'0000'0000'0000, 0x7f'0000'0000'0000});
        default: return {};
    }
}

bool set_regset(void* state, uint32_t type, std::span<const uint8_t> bytes) {
    State& s = *static_cast<State*>(state);
    // A short set changes the registers that are in it.
    std::vector<uint8_t> whole = get_regset(state, type);
    if (whole.empty() || type == kNtPacMask) return false;
    std::memcpy(whole.data(), bytes.data(), std::min(whole.size(), bytes.size()));
    switch (type) {
        case kNtPrstatus: {
            UserRegs r;
            std::memcpy(&r, whole.data(), sizeof r);
            std::memcpy(s.x.data(), r.regs, sizeof r.regs);
            s.sp = r.sp;
            s.hdr.pc = r.pc;
            s.nzcv = static_cast<uint32_t>(r.pstate & 0xf0000000);
            s.btype = static_cast<uint32_t>(r.pstate >> 10 & 3);
            s.dit_ssbs = r.pstate & (1u << 12 | 1u << 24);
            return true;
        }
        case kNtFpregset: {
            FpRegs r;
            std::memcpy(&r, whole.data(), sizeof r);
            std::memcpy(s.v.data(), r.v, sizeof r.v);
            // The CPU description is another process's when the state is.
            const auto* cpu = std::exchange(s.cpu, nullptr);
            write_fp_control(s, r.fpsr, r.fpcr);
            s.cpu = cpu;
            return true;
        }
        case kNtTls: std::memcpy(&s.tpidr_el0, whole.data(), sizeof s.tpidr_el0); return true;
        case kNtSystemCall: {
            int32_t number;
            std::memcpy(&number, whole.data(), sizeof number);
            s.x[8] = static_cast<uint64_t>(int64_t{number});
            return true;
        }
        default: return false;
    }
}

// ESR_EL1: exception class, IL, and DFSC of a level 3 translation (0x7) or permission (0xf) fault.
uint64_t fault_code(bool unmapped, bool write) { return uint64_t{0x24} << 26 | 1u << 25 | (write ? 1u << 6 : 0u) | (unmapped ? 0x7u : 0xfu); }
/// Linux lets EL0 use tagged pointers. The first one that is used switches to code that drops the tags.
bool retry_strange_address(void* state) {
    auto& s = *static_cast<State*>(state);
    if (s.tbi != 0) return false;
    s.tbi = 1;
    return true;
}
/// Branches drop tags too (Arm ARM, AArch64.BranchAddr): bits 63 to 56 become copies of bit 55.
uint64_t branch_target(uint64_t pc) { return static_cast<uint64_t>(sign_extend(pc, 56)); }
uint64_t fetch_fault_code(bool unmapped) { return uint64_t{0x20} << 26 | 1u << 25 | (unmapped ? 0x7u : 0xfu); }

std::string cpuinfo(const guest::CpuConfig& cpu, unsigned cpus) {
    static constexpr const char* kNames[] = {
        "fp", "asimd", "evtstrm", "aes", "pmull", "sha1", "sha2", "crc32", "atomics", "fphp", "asimdhp", "cpuid", "asimdrdm",
        "jscvt", "fcma", "lrcpc", "dcpop", "sha3", "sm3", "sm4", "asimddp", "sha512", "sve", "asimdfhm", "dit", "uscat",
        "ilrcpc", "flagm", "ssbs", "sb", "paca", "pacg"};
    static constexpr const char* kNames2[] = {
        "dcpodp", "sve2", "sveaes", "svepmull", "svebitperm", "svesha3", "svesm4", "flagm2", "frint", "svei8mm", "svef32mm",
        "svef64mm", "svebf16", "i8mm", "bf16", "dgh", "rng", "bti", "mte", "ecv", "afp", "rpres", "mte3", "sme", "smei16i64",
        "smef64f64", "smei8i32", "smef16f32", "smeb16f32", "smef32f32", "smefa64", "wfxt", "ebf16", "sveebf16", "cssc"};
    std::string features;
    const uint64_t one = hwcap(cpu, 1), two = hwcap(cpu, 2);
    for (size_t i = 0; i < std::size(kNames); ++i)
        if ((one >> i & 1) != 0) features += std::string(" ") + kNames[i];
    for (size_t i = 0; i < std::size(kNames2); ++i)
        if ((two >> i & 1) != 0) features += std::string(" ") + kNames2[i];
    std::string text;
    for (unsigned n = 0; n < cpus; ++n) {
        char head[64];
        std::snprintf(head, sizeof head, "processor\t: %u\nBogoMIPS\t: 100.00\nFeatures\t:", n);
        text += head + features +
                "\nCPU implementer\t: 0x00\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0x051\nCPU revision\t: 0\n\n";
    }
    return text;
}

// O_DIRECTORY, O_NOFOLLOW, O_DIRECT, O_LARGEFILE
constexpr FlagPair kOpenFlags[] = {{040000, 0200000}, {0100000, 0400000}, {0200000, 040000}, {0400000, 0100000}};

constexpr uint32_t kVdso[] = {
#include "user/linux/vdso_aarch64.inc"
};
constexpr VdsoSymbol kVdsoSymbols[] = {{"__kernel_clock_gettime", 0, 0x5c},
                                       {"__kernel_gettimeofday", 0x5c, 0x58},
                                       {"__kernel_clock_getres", 0xb4, 16},
                                       {"__kernel_rt_sigreturn", 0xc8, 8}};

constexpr uint16_t x(unsigned n) { return static_cast<uint16_t>(offsetof(State, x) + 8 * n); }

}  // namespace

extern const LinuxAbi kAbiAarch64{
    .arch = &guest::aarch64::kArch,
    .machine = "aarch64",
    .platform = "aarch64",
    .triplet = "aarch64-linux-gnu",
    .reg = {.number = x(8), .arg = {x(0), x(1), x(2), x(3), x(4), x(5)}, .sp = offsetof(State, sp), .tls = offsetof(State, tpidr_el0)},
    .syscall_bytes = 4,
    .sa_restorer = true,
    .clone_backwards = true,
    .open_flags = kOpenFlags,
    .syscalls = &kSyscallsGeneric64,
    .vdso = {.words = kVdso, .symbols = kVdsoSymbols, .version = "LINUX_2.6.39", .sigreturn = 0xc8, .counter_hz = guest::aarch64::kCounterHz},
    .min_sigstack = 5120,
    .frame_bytes = sizeof(SigFrame) + sizeof(FrameRecord) + 16,
    .hwcap = hwcap,
    .push_frame = push_frame,
    .pop_frame = pop_frame,
    .start_thread = start_thread,
    .fault_code = fault_code,
    .fetch_fault_code = fetch_fault_code,
    .retry_strange_address = retry_strange_address,
    .branch_target = branch_target,
    .hwprobe = nullptr,
    .get_regset = get_regset,
    .regset_unit = [](uint32_t type) { return type == kNtPrstatus || type == kNtTls || type == kNtPacMask ? 8u : 4u; },
    .set_regset = set_regset,
    .audit_arch = 0xc00000b7,
    .cpuinfo = cpuinfo,
};

}  // namespace myna::user
