#include "user/linux/sysroot.h"

#include <climits>
#include <fcntl.h>

#include <cstring>
#include <utility>

#include "user/linux/host_calls.h"

namespace myna::user {

void Sysroot::set(std::string prefix) {
    while (prefix.size() > 1 && prefix.back() == '/') prefix.pop_back();
    prefix_ = prefix == "/" ? std::string() : std::move(prefix);
}

const char* Sysroot::map(const char* path, char* buffer) const noexcept {
    if (prefix_.empty() || path[0] != '/') return path;
    const size_t n = std::strlen(path);
    if (prefix_.size() + n + 1 > PATH_MAX) return path;
    // A guest that joins the prefix by itself (its own gcc does) means that place already.
    if (n >= prefix_.size() && std::memcmp(path, prefix_.data(), prefix_.size()) == 0) return path;
    std::memcpy(buffer, prefix_.data(), prefix_.size());
    std::memcpy(buffer + prefix_.size(), path, n + 1);
    const int64_t r = host_syscall(SYS_faccessat2, arg(int64_t{AT_FDCWD}), arg(buffer), 0 /* F_OK */, AT_SYMLINK_NOFOLLOW);
    return r == 0 ? buffer : path;
}

}  // namespace myna::user
