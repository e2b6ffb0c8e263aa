// Block: what is known of one translated block after its code was written.
#pragma once

#include <cstdint>
#include <span>

#include "codegen/x64/compiler.h"

namespace myna::jit {

struct Block;

/// One direct exit: where its jump is and what it is linked to.
struct Exit {
    uint64_t target_pc;
    uint32_t disp_offset;   // of the rel32, from Block::host
    uint32_t stub_offset;   // of the cold stub
    Block* source;
    Block* target;          // null while unlinked
    Exit* next_incoming;    // the next exit that is linked to the same target
    Exit* prev_incoming;
};

/// A may-fault point, packed.
struct Fault {
    uint32_t host_offset;
    uint16_t insn;          // index into insn_pcs
    x64::FlagForm flags;
};

/// One block. Lives in the arena of its region; freed with it. Everything but links and `valid` is constant.
struct Block {
    uint64_t pc;
    uint64_t host;          // executable address
    uint32_t mode;
    uint32_t code_bytes;
    uint32_t guest_insns;
    uint16_t exit_count;
    uint16_t fault_count;
    bool valid;             // false once invalidated; written under the engine's lock
    uint8_t range_count;
    Exit* exits;
    Fault* faults;
    int32_t* insn_deltas;   // guest PC of each instruction, relative to pc
    ir::GuestRange* ranges;
    Exit* incoming;
    uint32_t* stub_fields;  // EngineOptions::keep_relocations: x64::CompiledBlock's; else null
    uint32_t stub_field_count;

    [[nodiscard]] uint64_t insn_pc(unsigned index) const noexcept { return pc + static_cast<int64_t>(insn_deltas[index]); }
};

}  // namespace myna::jit
