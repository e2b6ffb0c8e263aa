// Source: include/gdb/signals.def of the gdb distribution (the numbers only).
#include "gdb/signals.h"

#include <cstdint>

namespace myna::gdb {

namespace {

constexpr int kUnknown = 143;
/// By Linux number 0…31.
constexpr uint8_t kGdb[32] = {0, 1, 2, 3, 4, 5, 6, 10, 8, 9, 30, 11, 31, 13, 14, 15,
                              150, 20, 19, 17, 18, 21, 22, 16, 24, 25, 26, 27, 28, 23, 32, 12};
// Linux 16 (SIGSTKFLT) has no gdb number of its own.
constexpr uint8_t kNone = 150;
constexpr int kFirstRealtime = 33, kFirstGdb = 45, kGdb32 = 77, kGdb64 = 78;

}  // namespace

int gdb_signal(int sig) noexcept {
    if (sig >= 0 && sig < 32) return kGdb[sig] == kNone ? kUnknown : kGdb[sig];
    if (sig == 32) return kGdb32;
    if (sig >= kFirstRealtime && sig < 64) return kFirstGdb + sig - kFirstRealtime;
    return sig == 64 ? kGdb64 : kUnknown;
}

int linux_signal(int sig) noexcept {
    for (int i = 1; i <= 64; ++i)
        if (gdb_signal(i) == sig && sig != kUnknown) return i;
    return 0;
}

}  // namespace myna::gdb
