// dmg: Apple disk images (UDIF), read only: chunks of any size, raw, zeroes, zlib or bzip2, listed in a property list
// or resource fork.
// Source: the trailer (koly) and block tables (mish) as images have them. Numbers are big-endian.
#pragma once

#include "block/graph/driver.h"

namespace myna::block {
extern const Driver kDmgDriver;
}
