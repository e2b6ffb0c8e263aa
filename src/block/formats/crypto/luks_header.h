// The LUKS1 header: cipher, key slots, and how the master key is got from a password.
//
//   password ─PBKDF2─▶ slot key ─decrypts─▶ 4000 stripes ─AF merge─▶ master key ─PBKDF2─▶ digest: was it the right one?
//
// Source: "LUKS On-Disk Format Specification" 1.2.3. Numbers are big-endian.
#pragma once

#include <array>
#include <nlohmann/json_fwd.hpp>

#include "block/formats/crypto/sector_cipher.h"

namespace myna::block::crypto {

inline constexpr size_t kLuksHeaderBytes = 592, kLuksSlots = 8;

struct LuksSlot {
    bool active = false;
    uint32_t iterations = 0, sector = 0, stripes = 4000;
    std::array<uint8_t, 32> salt{};
};

struct LuksHeader {
    CipherSpec spec;
    uint32_t payload_sector = 0, key_bytes = 0, digest_iterations = 0;
    std::array<uint8_t, 20> digest{};
    std::array<uint8_t, 32> salt{};
    std::string uuid;
    std::array<LuksSlot, kLuksSlots> slots;

    /// `raw`: the header's bytes, at least kLuksHeaderBytes. Nothing is believed before it is checked.
    static Result<LuksHeader> decode(std::span<const uint8_t> raw, const std::string& name);
    [[nodiscard]] std::vector<uint8_t> encode() const;
    /// Bytes of key material of a slot.
    [[nodiscard]] size_t material_bytes(const LuksSlot& s) const noexcept { return size_t{key_bytes} * s.stripes; }
    /// "format-specific" data, as `info` shows it.
    [[nodiscard]] nlohmann::json info() const;
    [[nodiscard]] uint64_t payload_bytes() const noexcept { return uint64_t{payload_sector} * 512; }

    /// The master key, if `password` opens slot `s` whose material is given. Slow (PBKDF2): not on the loop's thread.
    [[nodiscard]] std::vector<uint8_t> try_slot(const LuksSlot& s, std::span<const uint8_t> material, std::span<const uint8_t> password) const;
    /// A new slot for `password`: fills it in and gives the material to store. `ms`: how long PBKDF2 should take.
    Result<std::vector<uint8_t>> fill_slot(LuksSlot& s, std::span<const uint8_t> master_key, std::span<const uint8_t> password, unsigned ms) const;
};

/// What `create` asks for; the header and the first slot's material for it, and the bytes before the payload.
struct LuksNew {
    LuksHeader header;
    std::vector<uint8_t> material, master_key;
};
Result<LuksNew> new_luks(const CipherSpec& spec, const std::string& password, unsigned ms);

}  // namespace myna::block::crypto
