// qed: QEMU Enhanced Disks: a header, L1 and L2 tables of a fixed number of clusters each, clusters.
// Source: the qed specification (docs/interop/qed_spec of the format's home). All numbers are little-endian.
#pragma once

#include "block/graph/driver.h"

namespace myna::block {
extern const Driver kQedDriver;
}
