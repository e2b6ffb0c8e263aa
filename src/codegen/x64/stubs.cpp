// The stubs at the start of the code cache: the only ways in and out of translated code.
//
//   run loop ──enter──▶ block ⇄ block ⇄ …  ──exit / link / lookup──▶ run loop
//                         │  ▲
//                         ▼  │ call_pure, call_vector, call_state, soft
//                       helpers (C++)
//
// Frame of enter, from rsp up (rsp is a multiple of 16 in translated code):
//   [rsp, +kFrameBytes)  spill slots     +8 padding     6 saved registers     return address
//
// enter switches MXCSR to the guest's, turns NZCV into the form translated code uses (flags_form.h) and loads the pinned
// registers; exit does the reverse. rbp points 128 bytes into the state throughout.
#include <sys/auxv.h>

#include <cstddef>

#include "codegen/x64/emitter.h"
#include "codegen/x64/flags_form.h"
#include "codegen/x64/regalloc.h"
#include "codegen/x64/selector.h"
#include "codegen/x64/stubs.h"

namespace myna::x64 {

namespace {

constexpr Gpr kCalleeSaved[] = {Gpr::rbx, Gpr::rbp, Gpr::r12, Gpr::r13, Gpr::r14, Gpr::r15};
constexpr int32_t kEntryFrame = kFrameBytes + 8;
constexpr unsigned kHwcap2Fsgsbase = 2;
constexpr int kSysArchPrctl = 158, kArchSetGs = 0x1001;

constexpr bool callee_saved(unsigned g) { return g == 3 || g == 5 || g >= 12; }

struct StubWriter {
    Emitter e;
    const guest::GuestArch& arch;
    const Layout& layout;

    Mem slot(unsigned s) const { return Mem::at(Gpr::rbp, static_cast<int32_t>(arch.slots[s].offset) - kStateBias); }

    void pinned_to_state(bool store) {
        for (unsigned s = 0; s < arch.slots.size(); ++s) {
            const Type t = arch.slots[s].type;
            if (layout.gpr[s] != kNotPinned) {
                const Gpr g = static_cast<Gpr>(layout.gpr[s]);
                store ? e.mov_mr(t == Type::kI64, slot(s), g) : e.mov_rm(t == Type::kI64, g, slot(s));
            } else if (layout.xmm[s] != kNotPinned) {
                const Xmm x = static_cast<Xmm>(layout.xmm[s]);
                if (t == Type::kV128)
                    store ? e.store128a(slot(s), x) : e.load128a(x, slot(s));
                else if (t == Type::kF64)
                    store ? e.store64(slot(s), x) : e.load64(x, slot(s));
                else
                    store ? e.store32(slot(s), x) : e.load32(x, slot(s));
            }
        }
    }
    /// The flags slot from raw to NZCV; uses rcx, rdx, rsi.
    void flags_to_nzcv() {
        for (unsigned s = 0; s < arch.slots.size(); ++s) {
            if (arch.slots[s].type != Type::kFlags) continue;
            e.mov_rm(false, Gpr::rcx, slot(s));
            e.mov_rr(false, Gpr::rdx, Gpr::rcx);
            e.alu_ri(Alu::and_, false, Gpr::rdx, kRawN | kRawZ);
            e.shift_ri(Shift::shl, false, Gpr::rdx, 16);
            e.mov_rr(false, Gpr::rsi, Gpr::rcx);
            e.alu_ri(Alu::and_, false, Gpr::rsi, kRawV);
            e.shift_ri(Shift::shl, false, Gpr::rsi, 28);
            e.alu_rr(Alu::or_, false, Gpr::rdx, Gpr::rsi);
            e.not_r(false, Gpr::rcx);
            e.alu_ri(Alu::and_, false, Gpr::rcx, kRawBorrow);
            e.shift_ri(Shift::shl, false, Gpr::rcx, 21);
            e.alu_rr(Alu::or_, false, Gpr::rdx, Gpr::rcx);
            e.mov_mr(false, slot(s), Gpr::rdx);
        }
    }
    /// The flags slot from NZCV to raw; uses rcx, rdx, rdi.
    void flags_to_raw() {
        for (unsigned s = 0; s < arch.slots.size(); ++s) {
            if (arch.slots[s].type != Type::kFlags) continue;
            e.mov_rm(false, Gpr::rcx, slot(s));
            e.mov_rr(false, Gpr::rdx, Gpr::rcx);
            e.shift_ri(Shift::shr, false, Gpr::rdx, 16);
            e.alu_ri(Alu::and_, false, Gpr::rdx, kRawN | kRawZ);
            e.mov_rr(false, Gpr::rdi, Gpr::rcx);
            e.shift_ri(Shift::shr, false, Gpr::rdi, 28);
            e.alu_ri(Alu::and_, false, Gpr::rdi, kRawV);
            e.alu_rr(Alu::or_, false, Gpr::rdx, Gpr::rdi);
            e.not_r(false, Gpr::rcx);
            e.shift_ri(Shift::shr, false, Gpr::rcx, 21);
            e.alu_ri(Alu::and_, false, Gpr::rcx, kRawBorrow);
            e.alu_rr(Alu::or_, false, Gpr::rdx, Gpr::rcx);
            e.mov_mr(false, slot(s), Gpr::rdx);
        }
    }
    void enter(uint64_t guest_base) {
        for (Gpr g : kCalleeSaved) e.push(g);
        e.alu_ri(Alu::sub, true, Gpr::rsp, kEntryFrame);
        e.lea(true, Gpr::rbp, Mem::at(Gpr::rdi, kStateBias));
        e.mov_mr(true, MYNA_HDR(host_rsp), Gpr::rsp);
        e.mov_rr(true, Gpr::rbx, Gpr::rsi);  // rsi may be pinned
        e.stmxcsr(MYNA_HDR(host_mxcsr));
        e.ldmxcsr(MYNA_HDR(mxcsr));
        if (guest_base != 0) {
            if (getauxval(AT_HWCAP2) & kHwcap2Fsgsbase) {
                e.mov_rm(true, Gpr::rax, MYNA_HDR(guest_base));
                e.wrgsbase(Gpr::rax);
            } else {
                e.mov_ri(Gpr::rdi, kArchSetGs);
                e.mov_rm(true, Gpr::rsi, MYNA_HDR(guest_base));
                e.mov_ri(Gpr::rax, kSysArchPrctl);
                e.put8(0x0f), e.put8(0x05);  // syscall
            }
        }
        flags_to_raw();
        pinned_to_state(false);
        e.jmp_r(Gpr::rbx);
    }
    void leave() {
        e.stmxcsr(MYNA_HDR(mxcsr));
        e.ldmxcsr(MYNA_HDR(host_mxcsr));
        e.alu_ri(Alu::add, true, Gpr::rsp, kEntryFrame);
        for (size_t i = std::size(kCalleeSaved); i-- > 0;) e.pop(kCalleeSaved[i]);
        e.ret();
    }
    /// Saves or restores, around a C++ call, the pinned registers that calls destroy.
    unsigned caller_saved(bool store) {
        int32_t at = 0;
        for (unsigned s = 0; s < arch.slots.size(); ++s) {
            if (layout.xmm[s] == kNotPinned) continue;
            const Mem m = Mem::at(Gpr::rsp, at);
            const Xmm x = static_cast<Xmm>(layout.xmm[s]);
            store ? e.store128a(m, x) : e.load128a(x, m);
            at += 16;
        }
        for (unsigned s = 0; s < arch.slots.size(); ++s) {
            if (layout.gpr[s] == kNotPinned || callee_saved(layout.gpr[s])) continue;
            const Mem m = Mem::at(Gpr::rsp, at);
            const Gpr g = static_cast<Gpr>(layout.gpr[s]);
            store ? e.mov_mr(true, m, g) : e.mov_rm(true, g, m);
            at += 8;
        }
        return static_cast<unsigned>(at);
    }
    void call_saving(bool vector) {
        constexpr int32_t kSave = 16 * 16 + 9 * 8;  // room for all; keeps rsp a multiple of 16 at the call
        static_assert(kSave % 16 == 8);
        e.alu_ri(Alu::sub, true, Gpr::rsp, kSave);
        caller_saved(true);
        if (!vector) e.mov_rr(true, Gpr::rsi, Gpr::rbx);
        if (vector) {
            e.lea(true, Gpr::rdi, Mem::at(Gpr::rbp, -kStateBias));
            e.lea(true, Gpr::rsi, MYNA_HDR(vscratch));
        }
        e.call_r(Gpr::rax);
        caller_saved(false);
        e.alu_ri(Alu::add, true, Gpr::rsp, kSave);
        e.ret();
    }
    /// state: the guest state is in memory for the helper; when it sets exit_reason, on to `leave`.
    void soft(bool state, uint32_t leave) {
        constexpr Gpr kAll[] = {Gpr::rax, Gpr::rcx, Gpr::rdx, Gpr::rsi, Gpr::rdi, Gpr::r8, Gpr::r9, Gpr::r10, Gpr::r11};
        constexpr int32_t kSave = 16 * 16 + 9 * 8;
        e.alu_ri(Alu::sub, true, Gpr::rsp, kSave);
        for (unsigned x = 0; x < 16; ++x) e.store128a(Mem::at(Gpr::rsp, static_cast<int32_t>(16 * x)), static_cast<Xmm>(x));
        for (unsigned i = 0; i < 9; ++i) e.mov_mr(true, Mem::at(Gpr::rsp, static_cast<int32_t>(256 + 8 * i)), kAll[i]);
        if (state) {
            pinned_to_state(true);
            flags_to_nzcv();
        }
        e.mov_rm(false, Gpr::rax, Mem::at(Gpr::rsp, kSave + 8));
        e.mov_rm(false, Gpr::rdx, Mem::at(Gpr::rsp, kSave + 16));
        e.mov_rm(true, Gpr::rcx, MYNA_HDR(rt_helpers));
        e.lea(true, Gpr::rdi, Mem::at(Gpr::rbp, -kStateBias));
        e.lea(true, Gpr::rsi, MYNA_HDR(vscratch));
        e.call_m(Mem::at(Gpr::rcx, Gpr::rax, 3));
        if (state) {
            e.alu_mi(Alu::cmp, false, MYNA_HDR(exit_reason), 0);
            const uint32_t stay = e.jcc8(Cc::e);
            e.mov_rm(true, Gpr::rsp, MYNA_HDR(host_rsp));
            e.mov_rm(false, Gpr::rax, MYNA_HDR(exit_reason));
            e.jmp_to(leave);
            e.bind8(stay);
            flags_to_raw();
        }
        for (unsigned x = 0; x < 16; ++x) e.load128a(static_cast<Xmm>(x), Mem::at(Gpr::rsp, static_cast<int32_t>(16 * x)));
        for (unsigned i = 0; i < 9; ++i) e.mov_rm(true, kAll[i], Mem::at(Gpr::rsp, static_cast<int32_t>(256 + 8 * i)));
        e.alu_ri(Alu::add, true, Gpr::rsp, kSave);
        e.ret();
    }
};

}  // namespace

Result<Stubs> write_stubs(const guest::GuestArch& arch, const Layout& layout, const Options& opt, std::span<uint8_t> write,
                          uint64_t exec) {
    if (write.size() < 8192) return fail(ErrorKind::kNoSpace, "the code cache is too small for its stubs");
    StubWriter w{.e = {}, .arch = arch, .layout = layout};
    Emitter& e = w.e;
    e.begin(write.data(), write.data() + write.size(), opt.host.avx);
    Stubs s;
    const auto here = [&] {
        e.align(16);
        return exec + e.offset();
    };
    // The executable view is another mapping: the address is the function.
    s.enter = reinterpret_cast<uint32_t (*)(guest::VcpuHeader*, const void*)>(here());
    w.enter(opt.guest_base);

    s.exit = here();
    const uint32_t exit = e.offset();
    e.mov_mr(false, MYNA_HDR(exit_reason), Gpr::rax);
    w.pinned_to_state(true);
    w.flags_to_nzcv();
    const uint32_t leave = e.offset();
    w.leave();

    s.fault_exit = here();
    e.mov_rm(true, Gpr::rsp, MYNA_HDR(host_rsp));
    e.mov_ri(Gpr::rax, static_cast<uint64_t>(ir::ExitReason::kFault));
    e.jmp_to(leave);

    s.link = here();
    e.pop(Gpr::rax);
    e.mov_mr(true, MYNA_HDR(trap_arg), Gpr::rax);
    e.mov_rm(true, Gpr::rcx, Mem::at(Gpr::rax, offsetof(ExitStubData, target)));
    e.mov_mr(true, MYNA_HDR(pc), Gpr::rcx);
    e.mov_ri(Gpr::rax, static_cast<uint64_t>(ir::ExitReason::kLink));
    e.jmp_to(exit);

    s.poll = here();
    e.pop(Gpr::rax);
    e.mov_rm(true, Gpr::rcx, Mem::at(Gpr::rax));
    e.mov_mr(true, MYNA_HDR(pc), Gpr::rcx);
    e.mov_ri(Gpr::rax, static_cast<uint64_t>(ir::ExitReason::kPoll));
    e.jmp_to(exit);

    s.lookup = here();
    e.mov_mr(true, MYNA_HDR(pc), Gpr::rax);
    e.mov_ri(Gpr::rax, static_cast<uint64_t>(ir::ExitReason::kLookup));
    e.jmp_to(exit);

    s.call_state = here();  // rax = function, edi = arg; rbx, rdx, rcx = a, b, c
    w.pinned_to_state(true);
    e.mov_rr(false, Gpr::r8, Gpr::rdi);
    e.mov_rr(true, Gpr::r9, Gpr::rcx);
    e.mov_rr(true, Gpr::r10, Gpr::rdx);
    w.flags_to_nzcv();
    e.mov_rr(true, Gpr::rcx, Gpr::r9);
    e.mov_rr(true, Gpr::rdx, Gpr::r10);
    e.mov_rr(true, Gpr::rsi, Gpr::rbx);
    e.lea(true, Gpr::rdi, Mem::at(Gpr::rbp, -kStateBias));
    e.alu_ri(Alu::sub, true, Gpr::rsp, 8);
    e.call_r(Gpr::rax);
    e.alu_ri(Alu::add, true, Gpr::rsp, 8);
    e.alu_mi(Alu::cmp, false, MYNA_HDR(exit_reason), 0);
    const uint32_t leaves = e.jcc32(Cc::ne);
    w.flags_to_raw();
    w.pinned_to_state(false);
    e.ret();
    e.bind32(leaves);
    e.alu_ri(Alu::add, true, Gpr::rsp, 8);  // the return address into the block
    e.mov_rm(false, Gpr::rax, MYNA_HDR(exit_reason));
    e.jmp_to(leave);

    s.call_vector = here();
    w.call_saving(true);
    s.call_pure = here();
    w.call_saving(false);
    s.soft = here();
    w.soft(false, 0);
    s.mmu = here();
    w.soft(true, leave);
    s.end = here();
    return s;
}

namespace {
const void* const kRuntime[] = {
#define RT_HELPER(name, doc) reinterpret_cast<const void*>(&rt::name),
#include "codegen/x64/rt_helpers.inc"
#undef RT_HELPER
};
}  // namespace

std::span<const void* const> runtime_helpers() noexcept { return kRuntime; }

}  // namespace myna::x64
