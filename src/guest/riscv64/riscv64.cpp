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
#include "guest/riscv64/system.h"

namespace myna::guest::riscv64 {

namespace {

// Pinned first to last, by how often compiled code uses a register.
constexpr uint8_t kIntOrder[] = {15, 14, 10, 13, 2, 8, 11, 12, 9, 1, 16, 17, 18, 19, 6, 5, 7, 28, 20, 21};
constexpr uint8_t kFpOrder[] = {15, 14, 10, 13, 11, 12, 8, 9, 16, 17, 0, 1, 2, 3, 18, 19};

constexpr const char* kSlotNames[kSlotCount] = {
    "x0",  "x1",  "x2",  "x3",  "x4",  "x5",  "x6",  "x7",  "x8",  "x9",  "x10", "x11", "x12", "x13", "x14", "x15",
    "x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x29", "x30", "x31",
    "f0",  "f1",  "f2",  "f3",  "f4",  "f5",  "f6",  "f7",  "f8",  "f9",  "f10", "f11", "f12", "f13", "f14", "f15",
    "f16", "f17", "f18", "f19", "f20", "f21", "f22", "f23", "f24", "f25", "f26", "f27", "f28", "f29", "f30", "f31"};

constexpr std::array<Slot, kSlotCount> make_slots() {
    std::array<Slot, kSlotCount> s{};
    for (unsigned n = 0; n < 32; ++n) {
        s[kX0 + n] = {kSlotNames[kX0 + n], ir::Type::kI64, static_cast<uint16_t>(offsetof(State, x) + n * 8), 0};
        s[kF0 + n] = {kSlotNames[kF0 + n], ir::Type::kF64, static_cast<uint16_t>(offsetof(State, f) + n * 8), 0};
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
    b.function().mmu_index = static_cast<uint8_t>(data_index(b.function().mode));
    Lifter(b, fetcher, cpu, limits).block();
}

void init_state(void* mem, const CpuConfig& cfg) {
    auto* s = new (mem) State;
    s->cpu = &cfg;
}

uint32_t mode_of(const void* state) {
    const auto& s = *static_cast<const State*>(state);
    return (s.frm & Mode::kFrmMask) | system_mode_bits(s);
}

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
