// GuestArch: all that the rest of the program needs to know of a guest architecture, as data and a few functions.
//
//   ELF header ──▶ registry ──▶ GuestArch ──▶ lift_block(bytes → IR)     the JIT and the interpreter
//                                        ├──▶ slots (name, offset, pin)  codegen, gdb stub, logs, tests
//                                        ├──▶ helpers                    called by translated code
//                                        └──▶ cpu models, disassemble, user ABI
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "guest/common/state.h"
#include "ir/types.h"

namespace myna::ir {
class Builder;
}

namespace myna::guest {

/// A guest register as translated code sees it.
struct Slot {
    std::string_view name;  // "x0", "sp", "v3", "nzcv"
    ir::Type type;          // kI64, kI32, kF64, kV128, kFlags (stored as uint32_t NZCV in bits 31..28)
    uint16_t offset;        // from the start of the state struct
    uint8_t pin;            // 1 = pin first, 2 next, …; 0: never pinned. Integers and vectors rank separately
};

enum class HelperKind : uint8_t {
    kPure,    // uint64_t fn(uint64_t a, uint64_t b, uint64_t c)
    kVector,  // void fn(VcpuHeader*, V128* io, uint32_t arg): io[0..2] operands, result in io[0]
    kState,   // uint64_t fn(VcpuHeader*, uint64_t a, uint64_t b, uint64_t c, uint32_t arg); hdr->pc is the insn's;
              // may set hdr->exit_reason (and pc) to leave the block after the call
};
/// The C++ type of a helper of a kind, as the comments above have it.
template <HelperKind K>
struct HelperSignature;
template <>
struct HelperSignature<HelperKind::kPure> { using Type = uint64_t(uint64_t, uint64_t, uint64_t); };
template <>
struct HelperSignature<HelperKind::kVector> { using Type = void(VcpuHeader*, V128*, uint32_t); };
template <>
struct HelperSignature<HelperKind::kState> { using Type = uint64_t(VcpuHeader*, uint64_t, uint64_t, uint64_t, uint32_t); };

struct Helper {
    std::string_view name;
    HelperKind kind;
    const void* fn;
};

/// Reads guest code. Lifters ask for bytes; the fetcher notes which bytes the block depends on.
class CodeFetcher {
  public:
    virtual ~CodeFetcher() = default;
    /// Up to `want` bytes (2, 4 …) at `pc` into `out`; returns how many are executable there (0: the first is not).
    virtual unsigned fetch(uint64_t pc, void* out, unsigned want) = 0;
    /// The same for bytes the block will not depend on, because a wrong answer only costs speed. May give fewer, or none.
    virtual unsigned peek(uint64_t pc, void* out, unsigned want) {
        (void)pc, (void)out, (void)want;
        return 0;
    }
};

/// CPU features switched on, as the architecture numbers them, with the model's name.
struct CpuConfig {
    std::string model;
    uint64_t features[4] = {};  // bit sets; the numbering is the architecture's Feature enum
    uint64_t vlen_bits = 128;
    void* extra = nullptr;
    [[nodiscard]] bool has(unsigned f) const noexcept { return (features[f / 64] >> (f % 64)) & 1; }
    void add(unsigned f) noexcept { features[f / 64] |= uint64_t{1} << (f % 64); }
    void remove(unsigned f) noexcept { features[f / 64] &= ~(uint64_t{1} << (f % 64)); }
};

/// What bounds one block.
struct LiftLimits {
    unsigned max_insns = 64;
    unsigned max_side_exits = 4;
    bool single_insn = false;  // -one-insn-per-tb
    bool system_mode = false;
    bool if_convert = true;    // branches over a few plain instructions become selects
    bool look_ahead = true;    // flags that the code behind an exit overwrites are not stored
    bool unroll = true;        // a short loop's block goes round more than once; blocks follow a backward jump
};

struct GuestArch {
    std::string_view name;          // "aarch64"
    uint16_t elf_machine;           // EM_*
    uint8_t elf_class;              // 1: 32 bit, 2: 64 bit
    bool big_endian;
    uint8_t address_bits;           // of user space pointers: 32, 39, 47, 48…
    uint8_t insn_align_log2;        // 1 (RISC-V C), 2 (A64), 0 (x86)
    ir::NanRule nan_rule;
    uint32_t state_size;            // of the state struct; allocated page aligned and zeroed
    std::span<const Slot> slots;
    std::span<const Helper> helpers;

    /// Lifts one block starting at the Builder's pc and mode into IR, ending with a terminator; never fails: code that
    /// cannot be fetched or is undefined becomes exit_trap(kNoExec / kIllegal).
    void (*lift_block)(ir::Builder&, CodeFetcher&, const CpuConfig&, const LiftLimits&);
    /// One instruction as text (objdump's syntax without aliases) and its length in bytes; "" when undefined.
    std::string (*disassemble)(uint64_t pc, std::span<const uint8_t> bytes, unsigned* length);
    /// Parses a -cpu argument ("max", "cortex-a72", "rv64,zba=true").
    Result<CpuConfig> (*parse_cpu)(std::string_view spec);
    /// The text of `-cpu help`.
    std::string (*cpu_help)();
    /// Constructs the state struct at `mem` (state_size bytes, zeroed) for `cfg` at reset.
    void (*init_state)(void* mem, const CpuConfig& cfg);
    /// The block key's mode bits for this state (rounding mode, FP behaviour, ...).
    uint32_t (*mode_of)(const void* state);
    /// Register dump for -d cpu.
    std::string (*dump)(const void* state);
};

/// All guests, in alphabetic order.
std::span<const GuestArch* const> all_guests() noexcept;
/// By name ("aarch64") or nullptr.
const GuestArch* find_guest(std::string_view name) noexcept;
/// By ELF header fields or nullptr.
const GuestArch* find_guest_elf(uint16_t machine, uint8_t elf_class, bool big_endian) noexcept;

}  // namespace myna::guest
