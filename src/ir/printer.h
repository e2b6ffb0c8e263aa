// Functions as text (text.h has an example).
#pragma once

#include <string>

#include "guest/common/arch.h"
#include "ir/function.h"

namespace myna::ir {

/// The whole Function, one instruction a line.
std::string print(const Function& f, const guest::GuestArch& arch);
/// One instruction, without indentation or newline.
std::string print(const Function& f, Ref r, const guest::GuestArch& arch);

}  // namespace myna::ir
