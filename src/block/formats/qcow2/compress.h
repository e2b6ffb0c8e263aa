// Cluster compression: raw deflate with a 4 KiB window (the format's), or one zstd frame a cluster.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "block/formats/qcow2/layout.h"

namespace myna::block::qcow2 {

/// `in` compressed into `out`; false when that would not be smaller than out.size(). Sets `used`.
bool compress_cluster(Compression type, std::span<const uint8_t> in, std::span<uint8_t> out, size_t& used);
/// Exactly out.size() bytes from `in`, which may have anything behind its end. False: the data is damaged.
bool decompress_cluster(Compression type, std::span<const uint8_t> in, std::span<uint8_t> out);

}  // namespace myna::block::qcow2
