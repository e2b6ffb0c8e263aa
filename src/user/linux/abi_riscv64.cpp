// The Linux ABI of riscv64: registers, signal frame (arch/riscv/kernel/signal.c), HWCAP, vDSO.
//
//   sp ─▶ siginfo 128 │ ucontext: flags link stack mask … 176 │ sigcontext: pc x1–x31 │ FP state: f0–f31 fcsr │
#include <cstddef>
#include <cstdio>

#include "base/bits.h"
#include "guest/riscv64/cpu_models.h"
#include "guest/riscv64/riscv64.h"
#include "guest/riscv64/state.h"
#include "user/linux/abi_list.h"
#include "user/linux/thread.h"

namespace myna::user {

namespace {

using guest::riscv64::State;

struct FpState {  // union __riscv_fp_state: the D form; the end of it is the (empty) list of further extensions
    uint64_t f[32];
    uint32_t fcsr;
    uint8_t rest[528 - 260];
};
struct alignas(16) SigContext {
    uint64_t regs[32];  // pc, x1 … x31
    FpState fp;
};
using UContext = GenericUContext<SigContext>;
using SigFrame = GenericSigFrame<SigContext>;
static_assert(sizeof(FpState) == 528 && offsetof(UContext, mcontext) == 176 && sizeof(SigFrame) == 128 + 176 + 784);

constexpr unsigned kRa = 1, kSp = 2, kTp = 4, kA0 = 10, kA7 = 17;

State& state_of(Thread& t) { return *reinterpret_cast<State*>(t.state); }

int push_frame(Thread& t, const SignalDelivery& d) {
    State& s = state_of(t);
    const uint64_t at = align_down(d.sp - sizeof(SigFrame), 16);
    SigFrame f{};
    std::memcpy(f.info, d.info, 128);
    f.uc.stack = d.saved_stack;
    f.uc.mask = d.saved_mask;
    SigContext& c = f.uc.mcontext;
    std::memcpy(c.regs, s.x.data(), sizeof c.regs);
    c.regs[0] = s.hdr.pc;
    std::memcpy(c.fp.f, s.f.data(), sizeof c.fp.f);
    c.fp.fcsr = guest::riscv64::fcsr(s);
    if (t.memory.put(at, f) != 0) return -EFAULT;
    s.x[kRa] = t.process.vdso_sigreturn;
    s.x[kSp] = at;
    s.x[kA0] = static_cast<uint64_t>(d.info->si_signo);
    s.x[kA0 + 1] = at;
    s.x[kA0 + 2] = at + offsetof(SigFrame, uc);
    s.hdr.pc = d.handler;
    s.hdr.excl_addr = guest::kNoExclusive;
    return 0;
}

int pop_frame(Thread& t, SignalReturn& r) {
    State& s = state_of(t);
    SigFrame f;
    if (t.memory.get(s.x[kSp], f) != 0) return -EFAULT;
    const SigContext& c = f.uc.mcontext;
    std::memcpy(s.x.data() + 1, c.regs + 1, sizeof c.regs - 8);
    s.hdr.pc = c.regs[0];
    std::memcpy(s.f.data(), c.fp.f, sizeof c.fp.f);
    guest::riscv64::set_fcsr(s, c.fp.fcsr);
    s.hdr.excl_addr = guest::kNoExclusive;
    r.mask = f.uc.mask;
    r.stack = f.uc.stack;
    return 0;
}

void start_thread(Thread& t, uint64_t entry, uint64_t sp) {
    State& s = state_of(t);
    s.hdr.pc = entry;
    s.x[kSp] = sp;
}

// Register sets by their note types: struct user_regs_struct (pc, x1 … x31) and struct __riscv_d_ext_state.
enum : uint32_t { kNtPrstatus = 1, kNtFpregset = 2 };
struct DState {
    uint64_t f[32];
    uint32_t fcsr, pad;
};

std::vector<uint8_t> get_regset(const void* state, uint32_t type) {
    const State& s = *static_cast<const State*>(state);
    std::vector<uint8_t> out;
    if (type == kNtPrstatus) {
        out.resize(32 * 8);
        std::memcpy(out.data(), s.x.data(), out.size());
        std::memcpy(out.data(), &s.hdr.pc, 8);
    } else if (type == kNtFpregset) {
        DState d{};
        std::memcpy(d.f, s.f.data(), sizeof d.f);
        d.fcsr = guest::riscv64::fcsr(s);
        out.resize(sizeof d);
        std::memcpy(out.data(), &d, sizeof d);
    }
    return out;
}

bool set_regset(void* state, uint32_t type, std::span<const uint8_t> bytes) {
    State& s = *static_cast<State*>(state);
    // A short set changes the registers that are in it.
    std::vector<uint8_t> whole = get_regset(state, type);
    if (whole.empty()) return false;
    std::memcpy(whole.data(), bytes.data(), std::min(whole.size(), bytes.size()));
    if (type == kNtPrstatus) {
        std::memcpy(s.x.data() + 1, whole.data() + 8, 31 * 8);
        std::memcpy(&s.hdr.pc, whole.data(), 8);
        return true;
    }
    DState d;
    std::memcpy(&d, whole.data(), sizeof d);
    std::memcpy(s.f.data(), d.f, sizeof d.f);
    guest::riscv64::set_fcsr(s, d.fcsr);
    return true;
}

uint64_t hwcap(const guest::CpuConfig& cpu, int which) { return which == 1 ? guest::riscv64::hwcap(cpu) : 0; }

std::string cpuinfo(const guest::CpuConfig& cpu, unsigned cpus) {
    const std::string isa = guest::riscv64::isa_string(cpu);
    std::string text;
    for (unsigned n = 0; n < cpus; ++n) {
        char head[64];
        std::snprintf(head, sizeof head, "processor\t: %u\nhart\t\t: %u\nisa\t\t: ", n, n);
        text += head + isa + "\nmmu\t\t: sv48\nmvendorid\t: 0x0\nmarchid\t\t: 0x0\nmimpid\t\t: 0x0\nhart isa\t: " + isa + "\n\n";
    }
    return text;
}

constexpr uint32_t kVdso[] = {
#include "user/linux/vdso_riscv64.inc"
};
constexpr VdsoSymbol kVdsoSymbols[] = {{"__vdso_clock_gettime", 0, 0x6c},   {"__vdso_gettimeofday", 0x6c, 0x60},
                                       {"__vdso_clock_getres", 0xcc, 12},   {"__vdso_rt_sigreturn", 0xd8, 8},
                                       {"__vdso_getcpu", 0xe0, 12},         {"__vdso_flush_icache", 0xec, 12},
                                       {"__vdso_riscv_hwprobe", 0xf8, 12}};

constexpr uint16_t x(unsigned n) { return static_cast<uint16_t>(offsetof(State, x) + 8 * n); }

}  // namespace

extern const LinuxAbi kAbiRiscv64{
    .arch = &guest::riscv64::kArch,
    .machine = "riscv64",
    .platform = nullptr,
    .triplet = "riscv64-linux-gnu",
    .reg = {.number = x(kA7), .arg = {x(10), x(11), x(12), x(13), x(14), x(15)}, .sp = x(kSp), .tls = x(kTp)},
    .syscall_bytes = 4,
    .sa_restorer = false,
    .clone_backwards = true,
    .open_flags = {},
    .syscalls = &kSyscallsGeneric64,
    .vdso = {.words = kVdso, .symbols = kVdsoSymbols, .version = "LINUX_4.15", .sigreturn = 0xd8, .counter_hz = guest::riscv64::kTimeHz},
    .min_sigstack = 0,
    .frame_bytes = sizeof(SigFrame) + 16,
    .hwcap = hwcap,
    .push_frame = push_frame,
    .pop_frame = pop_frame,
    .start_thread = start_thread,
    .fault_code = [](bool, bool) { return uint64_t{0}; },
    .fetch_fault_code = [](bool) { return uint64_t{0}; },
    .retry_strange_address = nullptr,
    .branch_target = nullptr,
    .hwprobe = guest::riscv64::hwprobe,
    .get_regset = get_regset,
    .regset_unit = [](uint32_t) { return 8u; },
    .set_regset = set_regset,
    .audit_arch = 0xc00000f3,
    .cpuinfo = cpuinfo,
};

}  // namespace myna::user
