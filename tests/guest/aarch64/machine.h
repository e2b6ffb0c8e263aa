// Machines that run a piece of A64 code from given registers: ours (through the engine) and the oracles.
//
//   kCode  64 KiB of code       every machine sees the same addresses, each has memory of its own
//   kData  256 KiB of data
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "guest/common/arch.h"
#include "guest/common/seed.h"
#include "jit/engine.h"

namespace myna::guest::aarch64::test {

inline constexpr uint64_t kCode = 0x20000000, kCodeSize = 0x10000;
inline constexpr uint64_t kData = 0x28000000, kDataSize = 0x40000;

struct Registers {
    std::array<uint64_t, 31> x{};
    uint64_t sp = 0, pc = kCode;
    uint32_t nzcv = 0, fpcr = 0, fpsr = 0;
    std::array<V128, 32> v{};
    friend bool operator==(const Registers&, const Registers&) = default;
};

/// What differs, one register a line: name, `a`'s value, `b`'s value.
std::string difference(const Registers& a, const Registers& b);

enum class Stop : uint8_t { kEnd, kUndefined, kOther };

class Machine {
  public:
    virtual ~Machine() = default;
    /// Runs `code`, put at kCode, from regs.pc until the first address behind it. `regs` are changed.
    virtual Stop run(std::span<const uint32_t> code, Registers& regs) = 0;
    virtual std::span<uint8_t> data() = 0;
};

/// Ours. `host_mask`: host features to ignore.
std::unique_ptr<Machine> make_myna(const CpuConfig& cpu, const jit::EngineOptions& options);
/// Unicorn 2 (QEMU 5.0's core, cpu max), or nullptr where it is not available.
std::unique_ptr<Machine> make_unicorn();
/// Ours of cpu max on such a host (interp: the evaluator), and Unicorn; both with the same data.
std::pair<std::unique_ptr<Machine>, std::unique_ptr<Machine>> make_pair_for(const myna::test::HostMask& host);

}  // namespace myna::guest::aarch64::test
