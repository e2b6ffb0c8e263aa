// bochs: Bochs' growing hard disk images (redolog), read only: a catalog of extents, each with a bitmap of its
// sectors.
// Source: Bochs' disk image specification. Numbers are little-endian.
#pragma once

#include "block/graph/driver.h"

namespace myna::block {
extern const Driver kBochsDriver;
}
