#include "base/result.h"

#include <cerrno>
#include <cstring>

namespace myna {

int errno_of(const Error& e) noexcept {
    if (e.sys_errno != 0) return e.sys_errno;
    switch (e.kind) {
        case ErrorKind::kInvalidArgument: return EINVAL;
        case ErrorKind::kNotFound: return ENOENT;
        case ErrorKind::kPermission: return EACCES;
        case ErrorKind::kCorrupt: return EIO;
        case ErrorKind::kUnsupported: return ENOTSUP;
        case ErrorKind::kInUse: return EAGAIN;
        case ErrorKind::kNoSpace: return ENOSPC;
        case ErrorKind::kNoMemory: return ENOMEM;
        case ErrorKind::kIo: return EIO;
        case ErrorKind::kInterrupted: return ECANCELED;
        case ErrorKind::kInternal: return EFAULT;
    }
    return EIO;
}

Error error_from_errno(int err, std::string_view what) {
    ErrorKind kind = ErrorKind::kIo;
    switch (err) {
        case ENOENT: case ENODEV: case ENXIO: kind = ErrorKind::kNotFound; break;
        case EACCES: case EPERM: case EROFS: kind = ErrorKind::kPermission; break;
        case EINVAL: kind = ErrorKind::kInvalidArgument; break;
        case ENOSPC: case EDQUOT: kind = ErrorKind::kNoSpace; break;
        case ENOMEM: kind = ErrorKind::kNoMemory; break;
        case EBUSY: case ETXTBSY: kind = ErrorKind::kInUse; break;
        case ENOSYS: case EOPNOTSUPP: kind = ErrorKind::kUnsupported; break;
        default: break;
    }
    return Error{kind, std::string(what) + ": " + std::strerror(err), err};
}

}  // namespace myna
