// The VMDK descriptor: the text that says what an image is made of: content IDs, kind, parent, extents.
// Source: VMware's "Virtual Disk Format 5.0" technical note.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace myna::block::vmdk {

inline constexpr uint32_t kNoParent = 0xffffffff;

struct ExtentLine {
    std::string access;    // RW, RDONLY, NOACCESS
    uint64_t sectors = 0;
    std::string type;      // FLAT, SPARSE, ZERO, VMFS, VMFSSPARSE, SESPARSE
    std::string file;      // relative to the descriptor
    uint64_t offset = 0;   // in sectors, of flat extents
};

struct Descriptor {
    std::string text;
    uint32_t cid = 0, parent_cid = kNoParent;
    std::string create_type, parent_hint;
    std::vector<ExtentLine> extents;

    /// The same text with another content ID.
    [[nodiscard]] std::string with_cid(uint32_t cid) const;
};

/// `name` is for messages.
Result<Descriptor> parse_descriptor(std::string_view text, const std::string& name);

}  // namespace myna::block::vmdk
