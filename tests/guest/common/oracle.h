// Unicorn as an oracle: the image of a Batch run inside this process.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "guest/common/batch.h"

namespace myna::test {

/// True when this program was built with Unicorn.
bool have_unicorn() noexcept;

/// Runs `code` at kImage until `finish`; records and sandbox are copied in and out. Empty, or why it did not work.
std::string run_in_unicorn(const GuestUnderTest& guest, const std::vector<uint8_t>& code, uint64_t finish,
                           std::vector<uint8_t>& records, std::vector<uint8_t>& sandbox);

}  // namespace myna::test
