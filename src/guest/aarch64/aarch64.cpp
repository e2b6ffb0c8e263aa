// The AArch64 guest's descriptor: registers and their pin ranks, helpers, reset state.
#include "guest/aarch64/aarch64.h"

#include <sys/random.h>

#include <array>
#include <cstdio>
#include <new>

#include "guest/aarch64/cpu_models.h"
#include "guest/aarch64/disasm.h"
#include "guest/aarch64/fpcr.h"
#include "guest/aarch64/helpers.h"
#include "guest/aarch64/lift_insn.h"
#include "guest/aarch64/state.h"
#include "guest/aarch64/system.h"

namespace myna::guest::aarch64 {
namespace {

constexpr std::string_view kXNames[31] = {"x0",  "x1",  "x2",  "x3",  "x4",  "x5",  "x6",  "x7",  "x8",  "x9",  "x10",
                                          "x11", "x12", "x13", "x14", "x15", "x16", "x17", "x18", "x19", "x20", "x21",
                                          "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x29", "x30"};
constexpr std::string_view kVNames[32] = {"v0",  "v1",  "v2",  "v3",  "v4",  "v5",  "v6",  "v7",  "v8",  "v9",  "v10",
                                          "v11", "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21",
                                          "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31"};
constexpr std::string_view kKeyNames[10] = {"apia_lo", "apia_hi", "apib_lo", "apib_hi", "apda_lo",
                                            "apda_hi", "apdb_lo", "apdb_hi", "apga_lo", "apga_hi"};

/// In the order in which registers are worth a host register: arguments and results, the stack pointer, what loops keep
/// in callee-saved registers, then temporaries.
constexpr unsigned kPinnedInts[] = {0, 1, 2, kSp, 3, 19, 20, 4, 30, 5, 8, 29, 21, 6, 9, 7};
constexpr unsigned kPinnedVectors[] = {0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21};

constexpr std::array<Slot, kSlotCount> make_slots() {
    std::array<Slot, kSlotCount> slots{};
    const auto at = [](size_t base, size_t index, size_t size) { return static_cast<uint16_t>(base + index * size); };
    for (unsigned n = 0; n < 31; ++n) slots[kX0 + n] = {kXNames[n], Type::kI64, at(offsetof(State, x), n, 8), 0};
    slots[kSp] = {"sp", Type::kI64, offsetof(State, sp), 0};
    slots[kNzcv] = {"nzcv", Type::kFlags, offsetof(State, nzcv), 0};
    for (unsigned n = 0; n < 32; ++n) slots[kV0 + n] = {kVNames[n], Type::kV128, at(offsetof(State, v), n, 16), 0};
    slots[kQc] = {"qc", Type::kV128, offsetof(State, qc), 0};
    slots[kTpidr] = {"tpidr_el0", Type::kI64, offsetof(State, tpidr_el0), 0};
    slots[kTpidrro] = {"tpidrro_el0", Type::kI64, offsetof(State, tpidrro_el0), 0};
    slots[kTpidr2] = {"tpidr2_el0", Type::kI64, offsetof(State, tpidr2_el0), 0};
    slots[kFpcr] = {"fpcr", Type::kI32, offsetof(State, fpcr), 0};
    slots[kFpsr] = {"fpsr", Type::kI32, offsetof(State, fpsr), 0};
    slots[kDitSsbs] = {"dit_ssbs", Type::kI64, offsetof(State, dit_ssbs), 0};
    for (unsigned n = 0; n < 10; ++n)
        slots[kPauthKey0 + n] = {kKeyNames[n], Type::kI64, at(offsetof(State, pauth_keys), n, 8), 0};
    uint8_t rank = 0;
    for (const unsigned n : kPinnedInts) slots[n].pin = ++rank;
    rank = 0;
    for (const unsigned n : kPinnedVectors) slots[kV0 + n].pin = ++rank;
    return slots;
}
constexpr auto kSlots = make_slots();

const Helper kHelpers[] = {
#define A64_HELPER(fn, kind) {#fn, HelperKind::kind, reinterpret_cast<const void*>(&helper::fn)},
#include "guest/aarch64/helpers_base.inc"
#include "guest/aarch64/helpers_simd.inc"
#undef A64_HELPER
};

void lift_block(ir::Builder& builder, CodeFetcher& fetcher, const CpuConfig& cpu, const LiftLimits& limits) {
    ir::Function& f = builder.function();
    f.nan_rule = (f.mode & Mode::kDn) != 0 ? ir::NanRule::kArmDefault : ir::NanRule::kArm;
    f.fp_mode = {.flush = (f.mode & Mode::kFlush) != 0, .flush16 = (f.mode & Mode::kFlush16) != 0};
    f.fp_exact = f.fp_mode.flush || f.fp_mode.flush16;
    f.mmu_index = (f.mode & Mode::kEl1) != 0 ? 1 : 0;
    f.exact_underflow = (f.mode & Mode::kUnderflow) != 0;
    InsnLifter(builder, fetcher, cpu, limits).run();
}

void init_state(void* mem, const CpuConfig& cpu) {
    auto* s = new (mem) State{};
    s->cpu = &cpu;
    s->hdr.mxcsr = 0x1f80;
    if (getrandom(s->pauth_keys.data(), sizeof s->pauth_keys, 0) < 0) s->pauth_keys.fill(0x9e3779b97f4a7c15);
    for (size_t k = 1; k < s->pauth_keys.size(); k += 2) s->pauth_keys[k] |= 1;  // multipliers (lift_pauth.cpp)
}

uint32_t mode_of(const void* state) {
    const auto& s = *static_cast<const State*>(state);
    return mode_of_fpcr(s.fpcr) | system_mode_bits(s) | (s.tbi != 0 ? Mode::kTbi : 0) |
           (s.fpsr_watched != 0 ? Mode::kUnderflow : 0);
}

std::string dump(const void* state) {
    const auto& s = *static_cast<const State*>(state);
    std::string text;
    char line[128];
    const auto append = [&](const char* format, auto... args) {
        std::snprintf(line, sizeof line, format, args...);
        text += line;
    };
    append(" PC=%016lx ", s.hdr.pc);
    for (unsigned n = 0; n < 31; ++n) append("X%02u=%016lx%c", n, s.x[n], n % 4 == 2 ? '\n' : ' ');
    append("SP=%016lx\nPSTATE=%08x %c%c%c%c\n", s.sp, s.nzcv & 0xf0000000u, (s.nzcv & 1u << 31) != 0 ? 'N' : '-',
           (s.nzcv & 1u << 30) != 0 ? 'Z' : '-', (s.nzcv & 1u << 29) != 0 ? 'C' : '-', (s.nzcv & 1u << 28) != 0 ? 'V' : '-');
    append("FPCR=%08x FPSR=%08x\n", s.fpcr, fpsr(s));
    for (unsigned n = 0; n < 32; ++n) append("Q%02u=%016lx:%016lx%c", n, s.v[n].u64[1], s.v[n].u64[0], n % 2 != 0 ? '\n' : ' ');
    return text;
}

}  // namespace

constinit const GuestArch kArch{
    .name = "aarch64",
    .elf_machine = 183,  // EM_AARCH64
    .elf_class = 2,
    .big_endian = false,
    .address_bits = 48,
    .insn_align_log2 = 2,
    .nan_rule = ir::NanRule::kArm,
    .state_size = sizeof(State),
    .slots = kSlots,
    .helpers = kHelpers,
    .lift_block = lift_block,
    .disassemble = disassemble,
    .parse_cpu = parse_cpu,
    .cpu_help = cpu_help,
    .init_state = init_state,
    .mode_of = mode_of,
    .dump = dump,
};

}  // namespace myna::guest::aarch64
