// cloop: compressed loop images (as of Knoppix), read only: zlib blocks of one size, and a table of where they begin.
// Source: the header as cloop 2.0 writes it. Numbers are big-endian.
#pragma once

#include "block/graph/driver.h"

namespace myna::block {
extern const Driver kCloopDriver;
}
