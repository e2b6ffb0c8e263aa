// Selection of 128-bit vector operations.
#include "codegen/x64/selector.h"

namespace myna::x64 {

void Selector::select_vec(Ref i) { (void)i; }

}  // namespace myna::x64
