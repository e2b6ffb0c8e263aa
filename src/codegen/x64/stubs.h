// Writes the stubs (stubs.cpp tells what they are).
#pragma once

#include <cstdint>
#include <span>

#include "codegen/x64/compiler.h"

namespace myna::x64 {

/// Writes them to `write`, to be run at `exec`.
Result<Stubs> write_stubs(const guest::GuestArch& arch, const Layout& layout, const Options& opt, std::span<uint8_t> write,
                          uint64_t exec);

}  // namespace myna::x64
