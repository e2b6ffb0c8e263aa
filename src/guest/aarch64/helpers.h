// Functions that translated code calls, numbered as GuestArch::helpers has them.
//
// One line in helpers_base.inc or helpers_simd.inc declares the function, numbers it and puts it into the table.
//   kPure:   uint64_t fn(uint64_t, uint64_t, uint64_t)                              ir.call(kHelper_fn, …)
//   kVector: void fn(VcpuHeader*, V128* io, uint32_t arg)                           ir.vcall(kHelper_fn, arg, …)
//   kState:  uint64_t fn(VcpuHeader*, uint64_t, uint64_t, uint64_t, uint32_t arg)   ir.call_state(kHelper_fn, …)
#pragma once

#include <cstdint>

#include "guest/aarch64/state.h"
#include "guest/common/arch.h"

namespace myna::guest::aarch64 {

enum HelperId : unsigned {
#define A64_HELPER(fn, kind) kHelper_##fn,
#include "guest/aarch64/helpers_base.inc"
#include "guest/aarch64/helpers_simd.inc"
#undef A64_HELPER
    kHelperCount
};

namespace helper {
#define A64_HELPER(fn, kind) HelperSignature<HelperKind::kind>::Type fn;
#include "guest/aarch64/helpers_base.inc"
#include "guest/aarch64/helpers_simd.inc"
#undef A64_HELPER
}  // namespace helper

}  // namespace myna::guest::aarch64
