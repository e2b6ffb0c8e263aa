// Any bytes as RISC-V code.
#include "guest/riscv64/riscv64.h"
#include "lift_any.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    return myna::fuzz::lift_any(myna::guest::riscv64::kArch, {data, size});
}
