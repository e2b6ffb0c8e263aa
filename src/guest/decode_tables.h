// What an instruction is, by a guest's whole table, whether or not its CPU has it.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "guest/common/arch.h"

namespace myna::guest {

struct InsnInfo {
    std::string text;      // disassembled; "" when it is in no table
    std::string feature;   // what it needs, as the tables name it ("sve", "zfh|zfhmin"); "" for the base
    bool enabled = false;  // this CPU has it
    unsigned length = 0;   // bytes
    uint32_t raw = 0;
};

/// `bytes`: at least one instruction's.
InsnInfo describe_insn(const GuestArch& arch, const CpuConfig& cpu, uint64_t pc, std::span<const uint8_t> bytes);

}  // namespace myna::guest
