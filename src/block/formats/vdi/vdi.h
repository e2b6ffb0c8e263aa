// vdi: VirtualBox disk images: a header, a table with an index for each block of the disk, and blocks in that order.
//
//   0        512 (bmap_offset)        data_offset
//   header | u32 index a block ...  | block 0 of the file | block 1 | ...
//
// Source: the header as VirtualBox documents it (VDI 1.1), little-endian.
#pragma once

#include "block/graph/driver.h"

namespace myna::block {
extern const Driver kVdiDriver;
}
