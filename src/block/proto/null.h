// The null-co and null-aio protocol drivers: a disk that takes everything and keeps nothing, for measuring what is above it.
//
//   driver=null-co,size=SIZE,read-zeroes=on|off,latency-ns=N · null-co:// (1 GiB)
#pragma once

#include "block/graph/driver.h"

namespace myna::block {

extern const Driver kNullCoDriver, kNullAioDriver;

}  // namespace myna::block
