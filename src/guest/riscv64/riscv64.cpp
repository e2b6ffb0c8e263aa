// The riscv64 guest as data: registers and where they are pinned, helpers, and the functions behind GuestArch.
#include "guest/riscv64/riscv64.h"

#include <array>
#include <cinttypes>
#include <cstdio>
#include <new>

#include "guest/riscv64/cpu_models.h"
#include "guest/riscv64/disasm.h"
#include "guest/riscv64/helpers.h"
#include "guest/riscv64/lifter.h"
#include "guest/riscv64/state.h"

namespace myna::guest::riscv64 {

namespace {

// Pinned first to last, by how often compiled code uses a register.
constexpr uint8_t kIntOrder[] = {15, 14, 10, 13, 2, 8, 11, 12, 9, 1, 16, 17, 18, 19, 6, 5, 7, 28, 20, 21};
constexpr uint8_t kFpOrder[] = {15, 14, 10, 13, 11, 12, 8, 9, 16, 17, 0, 1, 2, 3, 18, 19};

constexpr const char* kIntSlots[32] = {
    "x0", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5",
    "a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6"};
constexpr const char* kFpSlots[32] = {
    "ft0", "ft1", "ft2", "ft3", "ft4", "ft5", "ft6", "ft7", "fs0", "fs1", "fa0", "fa1", "fa2", "fa3", "fa4", "fa5",
    "fa6", "fa7", "fs2", "fs3", "fs4", "fs5", "fs6", "fs7", "fs8", "fs9", "fs10", "fs11", "ft8", "ft9", "ft10", "ft11"};

constexpr std::array<Slot, kSlotCount> make_slots() {
    std::array<Slot, kSlotCount> s{};
    for (unsigned n = 0; n < 32; ++n) {
        s[kX0 + n] = {kIntSlots[n], ir::Type::kI64, static_cast<uint16_t>(offsetof(State, x) + n * 8), 0};
        s[kF0 + n] = {kFpSlots[n], ir::Type::kF64, static_cast<uint16_t>(offsetof(State, f) + n * 8), 0};
    }
    uint8_t rank = 0;
    for (uint8_t n : kIntOrder) s[kX0 + n].pin = ++rank;
    rank = 0;
    for (uint8_t n : kFpOrder) s[kF0 + n].pin = ++rank;
    return s;
}
constexpr std::array<Slot, kSlotCount> kSlots = make_slots();

#define RV_HELPER(fn, kind) {#fn, HelperKind::kind, reinterpret_cast<const void*>(&helper::fn)},
const Helper kHelpers[] = {RISCV64_HELPERS(RV_HELPER)};
#undef RV_HELPER

void lift_block(ir::Builder& b, CodeFetcher& fetcher, const CpuConfig& cpu, const LiftLimits& limits) {
    b.function().nan_rule = ir::NanRule::kRiscv;
    Lifter(b, fetcher, cpu, limits).block();
}

void init_state(void* mem, const CpuConfig& cfg) {
    auto* s = new (mem) State;
    s->cpu = &cfg;
}

uint32_t mode_of(const void* state) { return static_cast<const State*>(state)->frm & Mode::kFrmMask; }

std::string dump(const void* state) {
    const auto& s = *static_cast<const State*>(state);
    std::string out;
    char line[96];
    std::snprintf(line, sizeof line, " pc       %016" PRIx64 "\n", s.hdr.pc);
    out += line;
    for (unsigned n = 0; n < 32; ++n) {
        std::snprintf(line, sizeof line, " x%u/%-*s %016" PRIx64 "%s", n, n < 10 ? 6 : 5, int_register_name(n), s.x[n], n % 4 == 3 ? "\n" : "");
        out += line;
    }
    for (unsigned n = 0; n < 32; ++n) {
        std::snprintf(line, sizeof line, " f%u/%-*s %016" PRIx64 "%s", n, n < 10 ? 6 : 5, fp_register_name(n), s.f[n], n % 4 == 3 ? "\n" : "");
        out += line;
    }
    std::snprintf(line, sizeof line, " fcsr     %02x\n", fcsr(s));
    return out + line;
}

}  // namespace

static_assert(offsetof(State, x) == sizeof(VcpuHeader));

const GuestArch kArch{
    .name = "riscv64",
    .elf_machine = 243,  // EM_RISCV
    .elf_class = 2,
    .big_endian = false,
    .address_bits = 47,
    .insn_align_log2 = 1,
    .nan_rule = ir::NanRule::kRiscv,
    .state_size = sizeof(State),
    .slots = kSlots,
    .helpers = kHelpers,
    .lift_block = lift_block,
    .disassemble = disassemble_insn,
    .parse_cpu = parse_cpu,
    .cpu_help = cpu_help,
    .init_state = init_state,
    .mode_of = mode_of,
    .dump = dump,
};

}  // namespace myna::guest::riscv64
