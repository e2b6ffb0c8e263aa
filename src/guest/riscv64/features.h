// The extensions of RISC-V that this guest knows, as decoder, CPU models and hwprobe number them.
#pragma once

#include <cstdint>

namespace myna::guest::riscv64 {

/// Names are the lower-case extension names of the ISA manual. I, Zicsr and Zifencei are always there.
enum class Feature : uint16_t {
    m, a, f, d, c,
    zba, zbb, zbc, zbs, zbkb, zbkc, zbkx,
    zknd, zkne, zknh, zksed, zksh, zkt,
    zicond, zfa, zfh, zfhmin, zfbfmin, zcb, zcmop, zimop,
    zawrs, zihintpause, zihintntl, zicbom, zicbop, zicboz, zicntr, zacas,
    kCount,
};

}  // namespace myna::guest::riscv64
