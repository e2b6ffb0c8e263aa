// Numbers of fixed width and byte order in buffers: what every on-disk format is made of.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace myna::block::formats {

template <typename T>
[[nodiscard]] inline T load_le(const void* p) noexcept {
    T v;
    std::memcpy(&v, p, sizeof v);
    return v;  // hosts are little-endian
}
template <typename T>
inline void store_le(void* p, T v) noexcept {
    std::memcpy(p, &v, sizeof v);
}
static_assert(std::endian::native == std::endian::little);

inline uint16_t le16(const void* p) noexcept { return load_le<uint16_t>(p); }
inline uint32_t le32(const void* p) noexcept { return load_le<uint32_t>(p); }
inline uint64_t le64(const void* p) noexcept { return load_le<uint64_t>(p); }
inline uint16_t be16(const void* p) noexcept { return std::byteswap(load_le<uint16_t>(p)); }
inline uint32_t be32(const void* p) noexcept { return std::byteswap(load_le<uint32_t>(p)); }
inline uint64_t be64(const void* p) noexcept { return std::byteswap(load_le<uint64_t>(p)); }
inline void put_le16(void* p, uint16_t v) noexcept { store_le(p, v); }
inline void put_le32(void* p, uint32_t v) noexcept { store_le(p, v); }
inline void put_le64(void* p, uint64_t v) noexcept { store_le(p, v); }
inline void put_be16(void* p, uint16_t v) noexcept { store_le(p, std::byteswap(v)); }
inline void put_be32(void* p, uint32_t v) noexcept { store_le(p, std::byteswap(v)); }
inline void put_be64(void* p, uint64_t v) noexcept { store_le(p, std::byteswap(v)); }

}  // namespace myna::block::formats
