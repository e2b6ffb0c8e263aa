// The architectural features that gate instructions and identification registers, by the Arm ARM's FEAT_ names.
//
// The numbering is CpuConfig::features'. Names are those of the feature column of insn_*.decode.
#pragma once

#include <cstdint>
#include <string_view>

#include "guest/common/arch.h"

namespace myna::guest::aarch64 {

// A64_FEATURE(name, ID register, lowest bit of the field, field value when present, HWCAP word 0/1/2 (0: none), bit, doc)
// hwcap word 1 is AT_HWCAP, 2 is AT_HWCAP2.
#define A64_FEATURES(F)                                                \
    F(fp, kPfr0, 16, 0, 1, 0, "floating point")                        \
    F(asimd, kPfr0, 20, 0, 1, 1, "Advanced SIMD")                      \
    F(aes, kIsar0, 4, 1, 1, 3, "AES instructions")                     \
    F(pmull, kIsar0, 4, 2, 1, 4, "64-bit polynomial multiply")         \
    F(sha1, kIsar0, 8, 1, 1, 5, "SHA-1")                               \
    F(sha256, kIsar0, 12, 1, 1, 6, "SHA-256")                          \
    F(crc32, kIsar0, 16, 1, 1, 7, "CRC32 and CRC32C")                  \
    F(lse, kIsar0, 20, 2, 1, 8, "large system extensions: atomics")    \
    F(fp16, kPfr0, 16, 1, 1, 9, "half precision arithmetic")           \
    F(rdm, kIsar0, 28, 1, 1, 12, "rounding doubling multiply add")     \
    F(jscvt, kIsar1, 12, 1, 1, 13, "JavaScript conversion")            \
    F(fcma, kIsar1, 16, 1, 1, 14, "complex arithmetic")                \
    F(lrcpc, kIsar1, 20, 1, 1, 15, "release consistent loads")         \
    F(dpb, kIsar1, 0, 1, 1, 16, "DC CVAP")                             \
    F(sha3, kIsar0, 32, 1, 1, 17, "SHA-3")                             \
    F(sm3, kIsar0, 36, 1, 1, 18, "SM3")                                \
    F(sm4, kIsar0, 40, 1, 1, 19, "SM4")                                \
    F(dotprod, kIsar0, 44, 1, 1, 20, "byte dot products")              \
    F(sha512, kIsar0, 12, 2, 1, 21, "SHA-512")                         \
    F(fhm, kIsar0, 48, 1, 1, 23, "half precision multiply add long")   \
    F(dit, kPfr0, 48, 1, 1, 24, "data independent timing")             \
    F(lse2, kMmfr2, 32, 1, 1, 25, "single-copy atomicity within 16 bytes") \
    F(lrcpc2, kIsar1, 20, 2, 1, 26, "LDAPUR, STLUR")                   \
    F(flagm, kIsar0, 52, 1, 1, 27, "flag manipulation")                \
    F(ssbs, kPfr1, 4, 2, 1, 28, "speculative store bypass safe")       \
    F(sb, kIsar1, 36, 1, 1, 29, "speculation barrier")                 \
    F(pauth, kIsar1, 8, 1, 1, 30, "pointer authentication, implementation-defined algorithm") \
    F(dpb2, kIsar1, 0, 2, 2, 0, "DC CVADP")                            \
    F(flagm2, kIsar0, 52, 2, 2, 7, "AXFLAG, XAFLAG")                   \
    F(frintts, kIsar1, 32, 1, 2, 8, "FRINT32, FRINT64")                \
    F(i8mm, kIsar1, 52, 1, 2, 13, "8-bit integer matrix multiply")     \
    F(bf16, kIsar1, 44, 1, 2, 14, "BFloat16")                          \
    F(rng, kIsar0, 60, 1, 2, 16, "random numbers")                     \
    F(bti, kPfr1, 0, 1, 2, 17, "branch target identification")         \
    F(wfxt, kIsar2, 0, 2, 2, 31, "WFE and WFI with time limit")        \
    F(cssc, kIsar2, 52, 1, 2, 34, "common short sequence compression") \
    F(hbc, kIsar2, 20, 1, 2, 44, "hinted conditional branches")

enum class Feature : uint8_t {
#define A64_FEATURE(name, reg, lo, val, word, bit, doc) name,
    A64_FEATURES(A64_FEATURE)
#undef A64_FEATURE
    kCount
};

/// True when `cfg` has `f`.
inline bool has(const CpuConfig& cfg, Feature f) noexcept { return cfg.has(static_cast<unsigned>(f)); }

}  // namespace myna::guest::aarch64
