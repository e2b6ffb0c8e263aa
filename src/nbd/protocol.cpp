#include "nbd/protocol.h"

#include <cerrno>

namespace myna::nbd {

uint32_t wire_error(int err) noexcept {
    switch (err) {
        case 0: return 0;
        case EPERM: case EROFS: case EACCES: return kEPerm;
        case ENOMEM: return kENoMem;
        case ENOSPC: case EDQUOT: case EFBIG: return kENoSpc;
        case EOVERFLOW: return kEOverflow;
        case ENOTSUP: return kENotSup;
        case ESHUTDOWN: return kEShutdown;
        case EINVAL: return kEInval;
        default: return kEIo;
    }
}

int host_errno(uint32_t wire) noexcept {
    switch (wire) {
        case 0: return 0;
        case kEPerm: return EPERM;
        case kENoMem: return ENOMEM;
        case kEInval: return EINVAL;
        case kENoSpc: return ENOSPC;
        case kEOverflow: return EOVERFLOW;
        case kENotSup: return ENOTSUP;
        case kEShutdown: return ESHUTDOWN;
        default: return EIO;
    }
}

}  // namespace myna::nbd
