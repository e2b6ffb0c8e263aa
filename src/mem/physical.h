// PhysicalMemory: what guest-physical addresses mean. RAM is host memory; everything else is a device's window.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"

namespace myna::mem {

/// A device's registers: sees offsets, never addresses. `bytes`: 1, 2, 4 or 8.
class MmioDevice {
  public:
    virtual ~MmioDevice() = default;
    virtual uint64_t read(uint64_t offset, unsigned bytes) = 0;
    virtual void write(uint64_t offset, uint64_t value, unsigned bytes) = 0;
};

class PhysicalMemory {
  public:
    ~PhysicalMemory();
    PhysicalMemory() = default;
    PhysicalMemory(const PhysicalMemory&) = delete;
    PhysicalMemory& operator=(const PhysicalMemory&) = delete;

    /// Adds zeroed RAM. base and bytes: multiples of 4096.
    Result<uint8_t*> add_ram(uint64_t base, uint64_t bytes);
    /// Adds a device window; `device` outlives this.
    Result<void> add_mmio(uint64_t base, uint64_t bytes, MmioDevice& device);

    struct Region {
        uint64_t base, bytes;
        uint8_t* ram;        // null: mmio
        MmioDevice* device;
    };
    /// The region that holds `addr`, or nullptr.
    [[nodiscard]] const Region* find(uint64_t addr) const noexcept;
    /// Host address of `addr` when [addr, addr+len) is RAM, else nullptr.
    [[nodiscard]] uint8_t* ram(uint64_t addr, uint64_t len = 1) const noexcept;

  private:
    Result<void> add(Region r);
    std::vector<Region> regions_;  // ascending base
};

}  // namespace myna::mem
