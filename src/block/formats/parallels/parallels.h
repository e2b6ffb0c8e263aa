// parallels: Parallels disks: a header, a table (BAT) with a place for each cluster, clusters of any number of sectors.
// Two kinds: "WithoutFreeSpace" counts places in sectors, "WithouFreSpacExt" in clusters.
// Source: the parallels specification (docs/interop/parallels of QEMU). All numbers are little-endian.
#pragma once

#include "block/graph/driver.h"

namespace myna::block {
extern const Driver kParallelsDriver;
}
