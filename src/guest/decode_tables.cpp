#include "guest/decode_tables.h"

#include <cstring>

#include "guest/aarch64/decode.inc.h"
#include "guest/riscv64/decode.inc.h"

namespace myna::guest {

InsnInfo describe_insn(const GuestArch& arch, const CpuConfig& cpu, uint64_t pc, std::span<const uint8_t> bytes) {
    const bool riscv = arch.name == "riscv64";
    const DecodeTable& table = riscv ? riscv64::decode_table() : aarch64::decode_table();
    InsnInfo info;
    if (bytes.size() < 2) return info;
    info.length = riscv && (bytes[0] & 3) != 3 ? 2 : 4;
    if (bytes.size() < info.length) return info;
    std::memcpy(&info.raw, bytes.data(), info.length);
    const auto any = match(table, info.raw, info.length * 8, pc);
    if (!any) return info;
    // Another row may be the one that this CPU has.
    const auto own = match(table, info.raw, info.length * 8, pc, &cpu);
    info.text = disassemble(table, own ? *own : *any);
    info.feature = (own ? own : any)->row->feature;
    info.enabled = own.has_value();
    return info;
}

}  // namespace myna::guest
