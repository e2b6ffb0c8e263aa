// How the fields of insn_simd.decode are written.
#include "guest/aarch64/disasm.h"

namespace myna::guest::aarch64 {

std::string format_simd_field(Style, int64_t value, const RowMatch&) { return std::to_string(value); }

}  // namespace myna::guest::aarch64
