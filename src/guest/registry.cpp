// The list of guests: the one line a new guest adds outside its own folder.
#include <array>

#include "guest/aarch64/aarch64.h"
#include "guest/common/arch.h"
#include "guest/riscv64/riscv64.h"

namespace myna::guest {

std::span<const GuestArch* const> all_guests() noexcept {
    static constexpr std::array guests{&aarch64::kArch, &riscv64::kArch};
    return guests;
}

const GuestArch* find_guest(std::string_view name) noexcept {
    for (const GuestArch* g : all_guests())
        if (g->name == name) return g;
    return nullptr;
}

const GuestArch* find_guest_elf(uint16_t machine, uint8_t elf_class, bool big_endian) noexcept {
    for (const GuestArch* g : all_guests())
        if (g->elf_machine == machine && g->elf_class == elf_class && g->big_endian == big_endian) return g;
    return nullptr;
}

}  // namespace myna::guest
