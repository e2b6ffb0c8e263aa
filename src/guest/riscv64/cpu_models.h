// CPU models, and what Linux tells programs about them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "guest/common/arch.h"

namespace myna::guest::riscv64 {

/// "max", "rv64", "rv64,zba=true,zfh=off,…"; also "any" for max.
Result<CpuConfig> parse_cpu(std::string_view spec);
std::string cpu_help();

/// AT_HWCAP: one bit a single-letter extension.
uint64_t hwcap(const CpuConfig& cfg) noexcept;
/// riscv_hwprobe(2): the value of `key`; false when the key is not known (the kernel then writes key -1).
bool hwprobe(const CpuConfig& cfg, int64_t key, uint64_t& value) noexcept;
/// The "isa" line of /proc/cpuinfo: rv64imafdc_zicbom_….
std::string isa_string(const CpuConfig& cfg);

inline constexpr unsigned kCacheBlockBytes = 64;  // of Zicbom and Zicboz

}  // namespace myna::guest::riscv64
