// From an interrupted host context back to the guest state: pinned registers and NZCV.
#include <ucontext.h>

#include <cstring>

#include "codegen/x64/flags_form.h"
#include "codegen/x64/regalloc.h"

namespace myna::x64 {

namespace {
// mcontext's order of the general registers, by their encoding.
constexpr int kGregs[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                            REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

constexpr unsigned bytes_of(Type t) { return t == Type::kV128 ? 16 : t == Type::kI64 || t == Type::kF64 ? 8 : 4; }
}  // namespace

void recover(const guest::GuestArch& arch, const Layout& layout, const FaultPoint& at, const void* ucontext, void* state) {
    const auto& mc = static_cast<const ucontext_t*>(ucontext)->uc_mcontext;
    auto* base = static_cast<uint8_t*>(state);
    for (unsigned s = 0; s < arch.slots.size(); ++s) {
        const guest::Slot& slot = arch.slots[s];
        if (layout.gpr[s] != kNotPinned)
            std::memcpy(base + slot.offset, &mc.gregs[kGregs[layout.gpr[s]]], bytes_of(slot.type));
        else if (layout.xmm[s] != kNotPinned)
            std::memcpy(base + slot.offset, &mc.fpregs->_xmm[layout.xmm[s]], bytes_of(slot.type));
        else if (slot.type == Type::kFlags) {
            uint32_t flags = 0;
            std::memcpy(&flags, base + slot.offset, 4);
            if (at.flags == FlagForm::kState)
                flags = nzcv_from_raw(flags);
            else
                flags = nzcv_from_eflags(static_cast<uint32_t>(mc.gregs[REG_EFL]), at.flags == FlagForm::kSub);
            std::memcpy(base + slot.offset, &flags, 4);
        }
    }
}

}  // namespace myna::x64
