// The guest's vDSO: a tiny shared object, generated from the ABI's code words and symbols.
//
//   ELF header │ program headers │ .dynsym │ .dynstr │ .hash │ .gnu.version, _d │ dynamic │ code
//
// C libraries find its functions by symbol and version; unwinders recognise the code of rt_sigreturn.
#pragma once

#include <cstdint>
#include <vector>

#include "user/linux/abi.h"

namespace myna::user {

struct VdsoImage {
    std::vector<uint8_t> bytes;
    uint64_t code_offset;
};
VdsoImage build_vdso(const LinuxAbi& abi);

}  // namespace myna::user
