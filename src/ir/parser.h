// Text to Functions (text.h has an example). For tests: nothing in the product reads IR.
#pragma once

#include <string_view>

#include "base/result.h"
#include "guest/common/arch.h"
#include "ir/function.h"

namespace myna::ir {

/// Reads a Function as print() writes it. Value names are free (%base, %7) but each is defined once, before its use;
/// what follows ';' or '#' at a line's start is a comment. The result is as written: run verify() on it.
/// Errors name the line.
Result<Function> parse(std::string_view text, const guest::GuestArch& arch);

}  // namespace myna::ir
