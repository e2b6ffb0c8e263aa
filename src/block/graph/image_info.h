// What an image is, as `info` and QMP tell it: names, sizes, snapshots, what its format adds.
#pragma once

#include <nlohmann/json.hpp>

#include "block/graph/node.h"

namespace myna::block {

/// The documented ImageInfo object, without what is behind the image.
Task<Result<nlohmann::json>> image_info(Node& node);

}  // namespace myna::block
