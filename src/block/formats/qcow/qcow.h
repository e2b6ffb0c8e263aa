// qcow: the first version of QEMU's copy-on-write format: two levels of tables, clusters, compressed clusters, AES.
// Source: the format's description as it was published with it; numbers are big-endian.
#pragma once

#include "block/graph/driver.h"

namespace myna::block {
extern const Driver kQcowDriver;
}
