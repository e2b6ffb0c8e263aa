// Runtime helpers: the out-of-line parts of operations that translated code calls by index (rt_helpers.inc).
#pragma once

#include <cstdint>

#include "guest/common/state.h"

namespace myna::x64 {

enum class RtHelper : uint16_t {
#define RT_HELPER(name, doc) name,
#include "codegen/x64/rt_helpers.inc"
#undef RT_HELPER
    kCount
};

namespace rt {
#define RT_HELPER(name, doc) void name(guest::VcpuHeader* hdr, ir::V128* io, uint32_t arg);
#include "codegen/x64/rt_helpers.inc"
#undef RT_HELPER
}  // namespace rt

}  // namespace myna::x64
