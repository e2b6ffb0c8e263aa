// qcow2 on disk: the header, the bits of table entries, the extensions. All numbers are big-endian.
// Source: the qcow2 specification (docs/interop/qcow2 of the format's home), versions 2 and 3.
#pragma once

#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "base/result.h"

namespace myna::block::qcow2 {

inline constexpr uint32_t kMagic = 0x514649fb;  // "QFI\xfb"

struct Incompatible {
    static constexpr uint64_t kDirty = 1, kCorrupt = 2, kDataFile = 4, kCompressionType = 8, kExtendedL2 = 16;
    static constexpr uint64_t kKnown = 31;
};
struct Compatible {
    static constexpr uint64_t kLazyRefcounts = 1;
};
struct Autoclear {
    static constexpr uint64_t kBitmaps = 1, kRawDataFile = 2;
    static constexpr uint64_t kKnown = 3;
};
enum class Crypt : uint32_t { kNone, kAes, kLuks };
enum class Compression : uint8_t { kZlib, kZstd };

/// L1 and L2 entries.
inline constexpr uint64_t kCopied = uint64_t{1} << 63;      // refcount is exactly 1
inline constexpr uint64_t kCompressed = uint64_t{1} << 62;  // L2 only
inline constexpr uint64_t kZeroFlag = 1;                    // L2 only, version 3
inline constexpr uint64_t kOffsetMask = 0x00fffffffffffe00;

struct Extension {
    static constexpr uint32_t kEnd = 0, kBackingFormat = 0xe2792aca, kFeatureNames = 0x6803f857, kBitmaps = 0x23852875,
                              kCryptHeader = 0x0537be77, kDataFile = 0x44415441,
                              kWriting = 0x4d796e61;  // "Myna": a writer of ours has changed tables and not closed the image (no data)
    uint32_t type;
    std::string data;
    [[nodiscard]] static bool known(uint32_t type) noexcept {
        return type == kBackingFormat || type == kFeatureNames || type == kBitmaps || type == kCryptHeader || type == kDataFile || type == kWriting;
    }
};

inline uint64_t be64(const void* p) {
    uint64_t v;
    std::memcpy(&v, p, 8);
    return std::byteswap(v);
}
inline uint32_t be32(const void* p) {
    uint32_t v;
    std::memcpy(&v, p, 4);
    return std::byteswap(v);
}
inline uint16_t be16(const void* p) {
    uint16_t v;
    std::memcpy(&v, p, 2);
    return std::byteswap(v);
}
inline void put64(void* p, uint64_t v) { v = std::byteswap(v), std::memcpy(p, &v, 8); }
inline void put32(void* p, uint32_t v) { v = std::byteswap(v), std::memcpy(p, &v, 4); }
inline void put16(void* p, uint16_t v) { v = std::byteswap(v), std::memcpy(p, &v, 2); }

/// "0x2a00"; "0": how the documented tools write offsets in messages.
inline std::string hex(uint64_t v) {
    char text[24];
    std::snprintf(text, sizeof text, "%#llx", static_cast<unsigned long long>(v));
    return text;
}

/// The header, decoded.
struct Header {
    uint32_t version = 3;
    uint32_t cluster_bits = 16;
    uint64_t size = 0;
    Crypt crypt = Crypt::kNone;
    uint32_t l1_entries = 0;
    uint64_t l1_offset = 0;
    uint64_t refcount_table_offset = 0;
    uint32_t refcount_table_clusters = 0;
    uint32_t snapshot_count = 0;
    uint64_t snapshots_offset = 0;
    uint64_t incompatible = 0, compatible = 0, autoclear = 0;
    uint32_t refcount_order = 4;
    Compression compression = Compression::kZlib;
    std::string backing_file;
    std::vector<Extension> extensions;  // without the end marker

    [[nodiscard]] uint64_t cluster_size() const noexcept { return uint64_t{1} << cluster_bits; }
    [[nodiscard]] bool extended_l2() const noexcept { return incompatible & Incompatible::kExtendedL2; }
    [[nodiscard]] uint32_t l2_entry_bytes() const noexcept { return extended_l2() ? 16 : 8; }
    [[nodiscard]] uint64_t l2_entries() const noexcept { return cluster_size() / l2_entry_bytes(); }
    /// Guest bytes that one L2 table maps.
    [[nodiscard]] uint64_t l2_reach() const noexcept { return l2_entries() << cluster_bits; }
    [[nodiscard]] uint32_t subclusters() const noexcept { return extended_l2() ? 32 : 1; }
    [[nodiscard]] const Extension* extension(uint32_t type) const noexcept {
        for (const Extension& e : extensions)
            if (e.type == type) return &e;
        return nullptr;
    }
    void set_extension(uint32_t type, std::string data);
    void drop_extension(uint32_t type) {
        std::erase_if(extensions, [type](const Extension& e) { return e.type == type; });
    }
};

/// Decodes and checks `head` (the file's first cluster, or as much of it as there is). `name` is for messages; `repair`: a
/// refcount table that is missing can be made anew.
Result<Header> decode_header(const std::string& head, const std::string& name, uint64_t file_size, bool repair = false);
/// Encodes it with extensions and backing file name; an error when that does not fit one cluster.
Result<std::string> encode_header(const Header& h);

inline constexpr uint64_t kMaxL1Bytes = 32u << 20;
inline constexpr uint64_t kMaxRefcountTableBytes = 8u << 20;
inline constexpr uint32_t kMaxSnapshots = 65536;

}  // namespace myna::block::qcow2
