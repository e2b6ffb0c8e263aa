// A guest's registers as gdb numbers and lays them out: the target description, and bytes to and from the state struct.
//
//   state struct ──read──▶ bytes of 'g' packets in the description's order ──write──▶ state struct
//
// Which features and names there are is gdb's choice: the manual's appendix G.5 "Standard Target Features".
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "guest/common/arch.h"

namespace myna::gdb {

/// Registers of one guest architecture. All functions: the vCPU stands still.
class RegisterSet {
  public:
    virtual ~RegisterSet() = default;
    /// target.xml. `linux`: gdb expects a Linux process.
    [[nodiscard]] std::string description(bool linux) const;
    [[nodiscard]] std::span<const uint16_t> sizes() const noexcept { return sizes_; }
    [[nodiscard]] size_t total() const noexcept { return total_; }

    virtual void read(const void* state, uint8_t* bytes) const = 0;
    virtual void write(void* state, const uint8_t* bytes) const = 0;

    /// The registers of a guest; nullptr when there are none for it yet.
    static const RegisterSet* find(const guest::GuestArch& arch);

  protected:
    struct Register {
        std::string name;
        uint16_t bits;
        std::string type;
    };
    struct Feature {
        std::string name, types;  // `types`: XML of types of its own
        std::vector<Register> registers;
    };
    RegisterSet(std::string architecture, std::vector<Feature> features);

  private:
    std::string architecture_;
    std::vector<Feature> features_;
    std::vector<uint16_t> sizes_;
    size_t total_ = 0;
};

}  // namespace myna::gdb
