// The toy guest's tables.
#include "ir/toy_guest.h"

#include <cstddef>
#include <utility>

namespace myna::testing {
namespace {

using guest::Helper;
using guest::HelperKind;
using guest::Slot;
using guest::VcpuHeader;
using ir::Type;

constexpr uint16_t at(size_t offset) { return static_cast<uint16_t>(offset); }

constexpr std::array<Slot, kToySlots> kSlots{{
    {"x0", Type::kI64, at(offsetof(ToyState, x) + 0), 1},
    {"x1", Type::kI64, at(offsetof(ToyState, x) + 8), 2},
    {"x2", Type::kI64, at(offsetof(ToyState, x) + 16), 3},
    {"x3", Type::kI64, at(offsetof(ToyState, x) + 24), 4},
    {"x4", Type::kI64, at(offsetof(ToyState, x) + 32), 0},
    {"x5", Type::kI64, at(offsetof(ToyState, x) + 40), 0},
    {"x6", Type::kI64, at(offsetof(ToyState, x) + 48), 0},
    {"x7", Type::kI64, at(offsetof(ToyState, x) + 56), 0},
    {"base", Type::kI64, at(offsetof(ToyState, base)), 5},
    {"w0", Type::kI32, at(offsetof(ToyState, w) + 0), 6},
    {"w1", Type::kI32, at(offsetof(ToyState, w) + 4), 0},
    {"f0", Type::kF64, at(offsetof(ToyState, f) + 0), 1},
    {"f1", Type::kF64, at(offsetof(ToyState, f) + 8), 0},
    {"v0", Type::kV128, at(offsetof(ToyState, v) + 0), 2},
    {"v1", Type::kV128, at(offsetof(ToyState, v) + 16), 3},
    {"v2", Type::kV128, at(offsetof(ToyState, v) + 32), 0},
    {"v3", Type::kV128, at(offsetof(ToyState, v) + 48), 0},
    {"nzcv", Type::kFlags, at(offsetof(ToyState, nzcv)), 0},
}};

uint64_t mix(uint64_t a, uint64_t b, uint64_t c) { return a * 3 + (b ^ c); }

void swap64(VcpuHeader*, guest::V128* io, uint32_t arg) {
    std::swap(io[0].u64[0], io[0].u64[1]);
    io[0].u64[0] ^= arg & 0xff;
}

uint64_t touch(VcpuHeader* hdr, uint64_t a, uint64_t, uint64_t, uint32_t) {
    auto* s = reinterpret_cast<ToyState*>(hdr);
    s->x[0] += a;
    return s->x[1];
}

uint64_t leave(VcpuHeader* hdr, uint64_t a, uint64_t, uint64_t, uint32_t arg) {
    if (a & 1) {
        hdr->exit_reason = static_cast<uint32_t>(ir::ExitReason::kYield);
        hdr->pc += 4;
        hdr->trap_arg = arg;
    }
    return a >> 1;
}

const Helper kHelpers[] = {
    {"mix", HelperKind::kPure, reinterpret_cast<const void*>(&mix)},
    {"swap64", HelperKind::kVector, reinterpret_cast<const void*>(&swap64)},
    {"touch", HelperKind::kState, reinterpret_cast<const void*>(&touch)},
    {"leave", HelperKind::kState, reinterpret_cast<const void*>(&leave)},
};

}  // namespace

const guest::GuestArch& toy_guest() noexcept {
    static const guest::GuestArch arch{
        .name = "toy",
        .elf_machine = 0,
        .elf_class = 2,
        .big_endian = false,
        .address_bits = 47,
        .insn_align_log2 = 2,
        .nan_rule = ir::NanRule::kArm,
        .state_size = sizeof(ToyState),
        .slots = kSlots,
        .helpers = kHelpers,
        .lift_block = nullptr,
        .disassemble = nullptr,
        .parse_cpu = nullptr,
        .cpu_help = nullptr,
        .init_state = nullptr,
        .mode_of = nullptr,
        .dump = nullptr,
    };
    return arch;
}

}  // namespace myna::testing
