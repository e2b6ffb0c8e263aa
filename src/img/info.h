// What `info` and `snapshot -l` print.
#pragma once

#include "img/tool.h"

namespace myna::img {

/// The table of internal snapshots, with its heading.
std::string snapshot_table(const std::vector<block::SnapshotInfo>& list, const std::string& indent = "");

}  // namespace myna::img
