// gdb's own signal numbers, which are the same on every system, and Linux's.
#pragma once

namespace myna::gdb {

/// Linux → gdb; 0 stays 0, an unknown one is gdb's "unknown signal" (143).
int gdb_signal(int linux_signal) noexcept;
/// gdb → Linux; 0 when Linux has no such signal.
int linux_signal(int gdb_signal) noexcept;

}  // namespace myna::gdb
