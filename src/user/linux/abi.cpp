#include "user/linux/abi.h"

#include "user/linux/abi_list.h"

namespace myna::user {

const LinuxAbi* find_abi(const guest::GuestArch& arch) noexcept {
    for (const LinuxAbi* abi : {&kAbiAarch64, &kAbiRiscv64})
        if (abi->arch == &arch) return abi;
    return nullptr;
}

}  // namespace myna::user
