// Guest memory in system mode: the inline probe of the softmmu TLB (mem/softmmu.h).
#include "codegen/x64/selector.h"

namespace myna::x64 {

void Selector::select_softmmu(Ref i) {
    (void)i;
    unsupported_ = true;
}

}  // namespace myna::x64
