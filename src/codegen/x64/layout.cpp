// Where guest registers live at block edges: the slots with a pin rank, best rank first, as far as registers go.
#include <algorithm>
#include <vector>

#include "codegen/x64/regalloc.h"

namespace myna::x64 {

Layout::Layout(const guest::GuestArch& arch, bool pin) {
    gpr.fill(kNotPinned);
    xmm.fill(kNotPinned);
    slot.fill(0);
    if (!pin) return;
    std::vector<unsigned> order;
    for (unsigned s = 0; s < arch.slots.size(); ++s)
        if (arch.slots[s].pin != 0) order.push_back(s);
    std::sort(order.begin(), order.end(), [&](unsigned a, unsigned b) {
        return arch.slots[a].pin != arch.slots[b].pin ? arch.slots[a].pin < arch.slots[b].pin : a < b;
    });
    size_t gprs = 0, xmms = 0;
    const auto taken = [&](unsigned reg, unsigned s) {
        slot[reg] = static_cast<uint8_t>(s);
        pinned |= 1u << reg;
        return reg;
    };
    for (unsigned s : order) {
        const Type t = arch.slots[s].type;
        if (t == Type::kI32 || t == Type::kI64) {
            if (gprs < std::size(kPinnedGprs)) gpr[s] = static_cast<uint8_t>(taken(static_cast<unsigned>(kPinnedGprs[gprs++]), s));
        } else if (t != Type::kFlags) {
            if (xmms < std::size(kPinnedXmms)) xmm[s] = static_cast<uint8_t>(taken(16 + static_cast<unsigned>(kPinnedXmms[xmms++]), s) - 16);
        }
    }
}

}  // namespace myna::x64
