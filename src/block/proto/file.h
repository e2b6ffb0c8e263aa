// The file and host_device protocols: a node over a host file descriptor.
//
// Locks: like the tools people already run, one byte a permission (open file description locks): byte 100 + i is read
// locked by whoever uses permission i, byte 200 + i by whoever does not share it. So two writers never meet, whichever
// program they run in.
#pragma once

#include "block/graph/driver.h"

namespace myna::block {

extern const Driver kFileDriver;
extern const Driver kHostDeviceDriver, kHostCdromDriver;

/// Who holds a lock that conflicts with writing `path`: "process 1234 (qemu-system-x86)", or "" when unknown or nobody.
std::string lock_holder(const std::string& path);

}  // namespace myna::block
