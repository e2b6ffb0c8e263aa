#include "user/linux/sysroot.h"

#include <climits>
#include <cerrno>
#include <fcntl.h>
#include <linux/openat2.h>

#include <cstdio>
#include <cstring>
#include <utility>

#include "user/linux/host_calls.h"

#ifndef SYS_openat2
#define SYS_openat2 437
#endif

namespace myna::user {

namespace {

/// Folders that programs share with the host whatever the prefix holds under their names.
bool is_hosts(const char* path) noexcept {
    for (const std::string_view dir : {"/proc", "/sys", "/dev", "/tmp"})
        if (std::strncmp(path, dir.data(), dir.size()) == 0 && (path[dir.size()] == '/' || path[dir.size()] == '\0')) return true;
    return false;
}

}  // namespace

void Sysroot::set(std::string prefix) {
    while (prefix.size() > 1 && prefix.back() == '/') prefix.pop_back();
    prefix_ = prefix == "/" ? std::string() : std::move(prefix);
    if (fd_ >= 0) host_syscall(SYS_close, arg(int64_t{fd_}));
    fd_ = -1;
}

/// An O_PATH descriptor of the file under the prefix, or -errno.
int Sysroot::resolve(const char* path, bool follow) const noexcept {
    open_how how{};
    how.flags = O_PATH | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW);
    how.resolve = RESOLVE_IN_ROOT;
    for (int tries = 0; tries < 2; ++tries) {
        if (fd_ >= 0) {
            const int64_t r = host_syscall(SYS_openat2, arg(int64_t{fd_}), arg(path), arg(&how), sizeof how);
            if (r != -EBADF && r != -EAGAIN) return static_cast<int>(r);
        }
        const int64_t low = host_syscall(SYS_openat, arg(int64_t{AT_FDCWD}), arg(prefix_.c_str()), O_PATH | O_CLOEXEC | O_DIRECTORY);
        if (low < 0) return static_cast<int>(low);
        const int64_t high = host_syscall(SYS_fcntl, arg(low), F_DUPFD_CLOEXEC, 1000);
        if (high >= 0) host_syscall(SYS_close, arg(low));
        fd_ = static_cast<int>(high >= 0 ? high : low);
    }
    return -EBADF;
}

const char* Sysroot::map(const char* path, char* buffer, bool follow) const noexcept {
    if (prefix_.empty() || path[0] != '/' || is_hosts(path)) return path;
    const size_t n = std::strlen(path);
    if (prefix_.size() + n + 1 > PATH_MAX) return path;
    // A guest that joins the prefix by itself (its own gcc does) means that place already.
    if (n >= prefix_.size() && std::memcmp(path, prefix_.data(), prefix_.size()) == 0) return path;
    const int fd = resolve(path, follow);
    if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP) return path;
    if (fd >= 0) {
        char link[32];
        std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        const int64_t got = host_syscall(SYS_readlinkat, arg(int64_t{AT_FDCWD}), arg(link), arg(buffer), PATH_MAX - 1);
        host_syscall(SYS_close, arg(int64_t{fd}));
        if (got > 0) {
            buffer[got] = '\0';
            return buffer;
        }
    }
    // No openat2, or no /proc: the plain way, where absolute links lead out.
    std::memcpy(buffer, prefix_.data(), prefix_.size());
    std::memcpy(buffer + prefix_.size(), path, n + 1);
    return host_syscall(SYS_faccessat2, arg(int64_t{AT_FDCWD}), arg(buffer), 0 /* F_OK */, AT_SYMLINK_NOFOLLOW) == 0 ? buffer : path;
}

}  // namespace myna::user
