// vpc: Virtual PC and Hyper-V (VHD) images: a footer at the end says what it is; dynamic ones have a copy of it in front,
// a header, and a table (BAT) with the sector of each 2 MiB block. A block begins with a bitmap of its sectors.
//
//   fixed:    data ........................... | footer
//   dynamic:  footer | header | BAT | bitmap, block | bitmap, block | ... | footer
//
// Source: Microsoft's "Virtual Hard Disk Image Format Specification" 1.0. All numbers are big-endian.
#pragma once

#include "block/graph/driver.h"

namespace myna::block {
extern const Driver kVpcDriver;
}
