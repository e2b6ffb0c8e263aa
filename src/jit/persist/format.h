// Translations on disk: the format, and nothing of where they come from or go to.
//
//   Engine::save_block ─▶ SavedBlock ─▶ serialise ─▶ bytes ─▶ parse ─▶ SavedBlock ─▶ Engine::load_block
//                                          Key: build, guest CPU, host CPU, options; refused when any differs
//
// A file is a header and any number of blocks. What a block's code needs to run elsewhere is with it: the rel32 fields that
// lead to the stubs (code holds no other address), exits as they are before linking, fault and PC tables, and for each
// range of guest bytes it was made from their hash, which load_block compares with the guest's memory. parse() trusts
// nothing: every length and offset is checked, every block has a hash, and one in doubt is dropped.
//
//   header   "MYNATB1\0"  u32 version  u32 blocks  u64 build guest host options
//   block    u32 bytes that follow the hash  u64 hash of them
//            u64 pc  u64 distance from the stubs  u32 mode  u32 counts: code stub_fields exits faults guest_pcs ranges
//            code; stub_fields u32 …; exits u32 disp, u32 stub, u64 target …; faults u32 host, u32 insn, u32 flags …;
//            guest_pcs u64 …; ranges u64 pc, u32 bytes, u64 hash …
// All numbers are little endian.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "codegen/x64/compiler.h"

namespace myna::jit::persist {

inline constexpr uint32_t kVersion = 1;

/// What must be the same where translations are made and where they are used.
struct Key {
    uint64_t build = 0;    // this program: its stubs, its helpers
    uint64_t guest = 0;    // architecture and CPU features
    uint64_t host = 0;     // host CPU features in use
    uint64_t options = 0;  // guest_base, what is switched off
    friend bool operator==(const Key&, const Key&) = default;
};

struct SavedRange {
    uint64_t pc;
    uint32_t bytes;
    uint64_t hash;  // hash64 of the guest's bytes
};

/// One translation, apart from any place.
struct SavedBlock {
    uint64_t pc = 0;
    uint64_t distance = 0;              // from the start of the stubs to its code, as the rel32 fields have it
    uint32_t mode = 0;
    std::vector<uint8_t> code;
    std::vector<uint32_t> stub_fields;  // offsets of rel32 fields that lead to stubs
    std::vector<x64::ExitSite> exits;
    std::vector<x64::FaultPoint> faults;
    std::vector<uint64_t> guest_pcs;
    std::vector<SavedRange> ranges;     // the first begins at pc
};

/// FNV-1a, 64 bits.
[[nodiscard]] uint64_t hash64(std::span<const uint8_t> bytes, uint64_t seed = 0xcbf29ce484222325) noexcept;

[[nodiscard]] std::vector<uint8_t> serialise(const Key& key, std::span<const SavedBlock> blocks);

struct Parsed {
    std::vector<SavedBlock> blocks;
    unsigned dropped = 0;  // damaged ones
};
/// Any bytes. kCorrupt: not such a file; kUnsupported: of another version, build, guest, host or options, and which.
[[nodiscard]] Result<Parsed> parse(std::span<const uint8_t> bytes, const Key& key);

}  // namespace myna::jit::persist
