// Copying a whole disk the way `convert` does, for other commands.
#pragma once

#include "img/tool.h"

namespace myna::img {

/// Copies `source` to `target`, which is new and at least as large.
Task<Result<void>> copy_image(Tool& tool, NodePtr source, NodePtr target, bool compressed, Progress& progress);

}  // namespace myna::img
