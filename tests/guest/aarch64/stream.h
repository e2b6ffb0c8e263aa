// Random instruction streams from the tables, made so that they run to their end: memory operands stay inside the data,
// branches go forward inside the stream.
#pragma once

#include <string>
#include <vector>

#include "guest/aarch64/decode.inc.h"
#include "machine.h"

namespace myna::guest::aarch64::test {

class StreamMaker {
  public:
    /// `allowed`: rows to choose from (by InsnId).
    explicit StreamMaker(std::vector<const DecodeRow*> allowed) : rows_(std::move(allowed)) {}

    std::vector<uint32_t> instructions(Rng& rng, unsigned length) const;
    /// Registers with values that matter; x26..x28 and sp point into the data, x25 is a small index.
    static Registers registers(Rng& rng, uint32_t fpcr_bits = 0);

  private:
    uint32_t one(Rng& rng, unsigned length, unsigned left) const;
    std::vector<const DecodeRow*> rows_;
};

/// True for rows whose effect an oracle can be asked about in a stream: no traps, no system registers.
bool runs_in_stream(const DecodeRow& row);

/// The stream as text, one instruction a line.
std::string listing(std::span<const uint32_t> code);

}  // namespace myna::guest::aarch64::test
