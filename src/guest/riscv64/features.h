// The extensions this guest knows: what gates decoder rows, what -cpu names, what hwprobe and HWCAP report.
//
// The numbering is CpuConfig::features'; names are the lower-case extension names of the ISA manual, as the feature
// column of insn.decode and `-cpu rv64,zba=true` have them.
#pragma once

#include <cstdint>

#include "guest/common/arch.h"

namespace myna::guest::riscv64 {

inline constexpr int kNoBit = -1;

// RV_FEATURE(name, bit in hwprobe's IMA_EXT_0 or kNoBit, in the `rv64` base model, doc)
#define RISCV64_FEATURES(F)                                                        \
    F(m, kNoBit, true, "multiplication and division")                              \
    F(a, kNoBit, true, "atomics")                                                  \
    F(f, kNoBit, true, "single-precision floating point")                          \
    F(d, 0, true, "double-precision floating point")                               \
    F(c, 1, true, "compressed instructions")                                       \
    F(zba, 3, false, "address generation")                                         \
    F(zbb, 4, false, "basic bit manipulation")                                     \
    F(zbs, 5, false, "single-bit instructions")                                    \
    F(zicboz, 6, false, "cache-block zero, 64 bytes")                              \
    F(zbc, 7, false, "carry-less multiplication")                                  \
    F(zbkb, 8, false, "bit manipulation for cryptography")                         \
    F(zbkc, 9, false, "carry-less multiplication for cryptography")                \
    F(zbkx, 10, false, "crossbar permutations")                                    \
    F(zknd, 11, false, "AES decryption")                                           \
    F(zkne, 12, false, "AES encryption")                                           \
    F(zknh, 13, false, "SHA-256 and SHA-512")                                      \
    F(zksed, 14, false, "SM4")                                                     \
    F(zksh, 15, false, "SM3")                                                      \
    F(zkt, 16, false, "data-independent execution latency")                        \
    F(zfh, 27, false, "half-precision floating point")                             \
    F(zfhmin, 28, false, "half-precision loads, stores and conversions")           \
    F(zihintntl, 29, false, "non-temporal locality hints")                         \
    F(zfa, 32, false, "additional floating-point instructions")                    \
    F(zacas, 34, false, "atomic compare-and-swap")                                 \
    F(zicond, 35, false, "integer conditional operations")                         \
    F(zihintpause, 36, false, "pause hint")                                        \
    F(zimop, 42, false, "may-be-operations")                                       \
    F(zcb, 44, false, "simple compressed instructions")                            \
    F(zcmop, 47, false, "compressed may-be-operations")                            \
    F(zawrs, 48, false, "wait on reservation set")                                 \
    F(zicntr, 50, true, "cycle, time and instret counters")                        \
    F(zfbfmin, 52, false, "BF16 conversions")                                      \
    F(zicbom, 55, false, "cache-block management, 64 bytes")                       \
    F(zabha, 58, false, "byte and halfword atomics")                               \
    F(zicbop, kNoBit, false, "cache-block prefetch hints")                         \
    F(zicsr, kNoBit, true, "control and status registers")                         \
    F(zifencei, kNoBit, true, "instruction-fetch fence")

enum class Feature : uint8_t {
#define RV_FEATURE(name, bit, base, doc) name,
    RISCV64_FEATURES(RV_FEATURE)
#undef RV_FEATURE
    kCount
};

/// True when `cfg` has `f`.
inline bool has(const CpuConfig& cfg, Feature f) noexcept { return cfg.has(static_cast<unsigned>(f)); }

}  // namespace myna::guest::riscv64
