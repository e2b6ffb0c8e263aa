// The verifier: what must hold of any Function that is given to a pass, a back end or the evaluator.
#pragma once

#include <string>

#include "guest/common/arch.h"
#include "ir/function.h"

namespace myna::ir {

/// Empty when `f` is well formed, else the first fault with its instruction: operands that are defined before their use
/// and have the types of the table, slots and helpers that exist, fields in range, one terminator at the end.
std::string verify(const Function& f, const guest::GuestArch& arch);

}  // namespace myna::ir
