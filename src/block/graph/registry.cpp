// The list of drivers: the one line a new format, protocol or filter adds outside its own folder.
#include <array>

#include "block/filters/filter.h"
#include "block/formats/bochs/bochs.h"
#include "block/formats/cloop/cloop.h"
#include "block/formats/dmg/dmg.h"
#include "block/formats/luks/luks.h"
#include "block/formats/parallels/parallels.h"
#include "block/formats/qcow/qcow.h"
#include "block/formats/qcow2/qcow2.h"
#include "block/formats/qed/qed.h"
#include "block/formats/raw/raw.h"
#include "block/formats/vdi/vdi.h"
#include "block/formats/vhdx/vhdx.h"
#include "block/formats/vmdk/vmdk.h"
#include "block/formats/vpc/vpc.h"
#include "block/graph/graph.h"
#include "block/proto/curl.h"
#include "block/proto/file.h"
#include "block/proto/nbd.h"
#include "block/proto/null.h"
#include "block/proto/ssh.h"

namespace myna::block {

std::span<const Driver* const> all_drivers() noexcept {
    static constexpr std::array drivers{&kFileDriver, &kHostDeviceDriver, &kHostCdromDriver, &kNbdDriver, &kHttpDriver, &kHttpsDriver,
                                        &kFtpDriver,  &kFtpsDriver, &kSshDriver, &kNullCoDriver, &kNullAioDriver, &kRawDriver, &kQcow2Driver, &kVdiDriver,
                                        &kVmdkDriver, &kVhdxDriver,       &kVpcDriver,  &kLuksDriver,  &kQcowDriver,
                                        &kQedDriver,  &kParallelsDriver,  &kBochsDriver, &kCloopDriver, &kDmgDriver,
                                        &kThrottleDriver, &kCopyOnReadDriver, &kBlkdebugDriver, &kBlkverifyDriver, &kQuorumDriver};
    return drivers;
}

const Driver* find_driver(std::string_view name) noexcept {
    for (const Driver* d : all_drivers())
        if (d->name == name) return d;
    return nullptr;
}

}  // namespace myna::block
