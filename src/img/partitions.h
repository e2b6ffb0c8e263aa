// Partition tables, as far as growing the last partition needs them.
#pragma once

#include "img/tool.h"

namespace myna::img {

/// Lets the last partition of a GPT or MBR disk end where the disk ends, and moves the second GPT to the end. Gives a
/// sentence that says what was done. The file system inside is not changed.
Task<Result<std::string>> grow_last_partition(Node& disk);

}  // namespace myna::img
