// raw: the bytes of the file are the disk. With `offset` and `size` it is a window of the file.
#pragma once

#include "block/graph/driver.h"

namespace myna::block {
extern const Driver kRawDriver;
}
