// Selection of scalar floating point and of moves between the register files.
#include "codegen/x64/selector.h"

namespace myna::x64 {

void Selector::select_fp(Ref i) { (void)i; }

}  // namespace myna::x64
