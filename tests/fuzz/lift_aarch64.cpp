// Any bytes as A64 code.
#include "guest/aarch64/aarch64.h"
#include "lift_any.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    return myna::fuzz::lift_any(myna::guest::aarch64::kArch, {data, size});
}
